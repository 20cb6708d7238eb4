package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"
	"google.golang.org/protobuf/encoding/protowire"
)

// formats is one part: the same trades in the forms of several producers, each
// stored by a connector with the converter for it.
type formats struct {
	*bench
	brokers, registry string
	broker            *child
}

// format is a form of records.
type format struct {
	name, topic string
	settings    []string
	schema      sr.Schema
	schemaID    int      // 0: there is none
	goal        *float64 // % of native JSON's rate
	append      func(b []byte, f *feed, id int) []byte
}

const (
	avroID     = 1
	protobufID = 2
)

var allFormats = []format{
	{name: "native JSON", topic: "crypto-trades-native", append: appendNativeTrade},
	{name: "cryptofeed JSON", topic: "trades-BINANCE-ALL", settings: []string{"value.converter: cryptofeed"}, goal: value(70), append: appendCryptofeedTrade},
	{name: "mapped JSON", topic: "binance-raw", settings: []string{
		"value.converter: json", "value.converter.kind: trade",
		"value.converter.fields: exchangeId='binance',symbol=data.s,tradeId=data.t,time=data.T:us,price=data.p,size=data.q,side=data.m:buyer_maker",
	}, append: appendBinanceTrade},
	{name: "Avro", topic: "crypto-trades-avro", settings: []string{"value.converter: avro"}, goal: value(90), append: appendAvroTrade, schemaID: avroID, schema: sr.Schema{Type: sr.TypeAvro, Schema: `{"type":"record","name":"trade","fields":[
		{"name":"exchangeId","type":"string"},{"name":"symbol","type":"string"},{"name":"tradeId","type":"string"},
		{"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":18,"scale":8}},{"name":"size","type":{"type":"bytes","logicalType":"decimal","precision":18,"scale":8}},
		{"name":"side","type":{"type":"enum","name":"side","symbols":["buy","sell"]}},{"name":"time","type":{"type":"long","logicalType":"timestamp-micros"}}]}`}},
	{name: "Protobuf", topic: "crypto-trades-protobuf", settings: []string{"value.converter: protobuf"}, goal: value(90), append: appendProtobufTrade, schemaID: protobufID, schema: sr.Schema{Type: sr.TypeProtobuf, Schema: `syntax = "proto3";
		import "google/protobuf/timestamp.proto";
		enum Side { buy = 0; sell = 1; }
		message Trade { string exchangeId = 1; string symbol = 2; string tradeId = 3; string price = 4; string size = 5; Side side = 6; google.protobuf.Timestamp time = 7; }`}},
}

// newRegistry starts a schema registry that knows the formats' schemas.
func newRegistry() *srfake.Registry {
	r := srfake.New()
	for _, format := range allFormats {
		if format.schemaID > 0 {
			r.SeedSchema(format.topic+"-value", 1, format.schemaID, format.schema)
		}
	}
	return r
}

// header is that of a schema registry's records.
func header(b []byte, id uint32) []byte { return binary.BigEndian.AppendUint32(append(b, 0), id) }

func (b *bench) formats(ctx context.Context) error {
	broker, brokers, err := b.startBroker()
	if err != nil {
		return err
	}
	defer broker.kill()
	registry := newRegistry()
	defer registry.Close()
	f := &formats{bench: b, brokers: brokers, broker: broker, registry: registry.URL()}
	for _, format := range allFormats {
		if err := f.load(ctx, format); err != nil {
			return fmt.Errorf("producing %s: %w", format.name, err)
		}
	}
	if _, _, err := f.run(ctx, allFormats[0]); err != nil { // warms up
		return err
	}
	for round := range b.rounds {
		rates := make([]float64, len(allFormats))
		var last reading
		for i := range allFormats {
			i = (i + round) % len(allFormats)
			rate, m, err := f.run(ctx, allFormats[i])
			if err != nil {
				return fmt.Errorf("round %d: %s: %w", round+1, allFormats[i].name, err)
			}
			rates[i], last = rate, m
			b.report.add(figure{Part: "formats", Name: allFormats[i].name, Unit: "k records/s"}, rate/1000, m)
			b.report.add(figure{Part: "formats", Name: allFormats[i].name + ": connector CPU for a record", Unit: "µs"},
				float64(m.cpu["connector"].Microseconds())/float64(b.records), m)
		}
		for i, rate := range rates[1:] {
			format := allFormats[i+1]
			b.report.add(figure{Part: "formats", Name: format.name + " / " + allFormats[0].name, Unit: "%", Goal: format.goal}, 100*rate/rates[0], last)
		}
	}
	return nil
}

func (f *formats) load(ctx context.Context, format format) error {
	if err := createTopics(ctx, f.brokers, throughputPartitions, format.topic); err != nil {
		return err
	}
	client, err := newProducer(f.brokers)
	if err != nil {
		return err
	}
	defer client.Close()
	var failed firstError
	p := newPartitioner(format.topic, throughputPartitions)
	records := f.newFeed("binance")
	for id := range f.records {
		records.next()
		key := records.current.ticker
		client.Produce(ctx, &kgo.Record{
			Topic: format.topic, Partition: p.of(key), Key: []byte(key), Value: format.append(make([]byte, 0, 256), records, id),
		}, func(_ *kgo.Record, err error) { failed.set(err) })
	}
	if err := client.Flush(ctx); err != nil {
		return err
	}
	return failed.get()
}

// run stores a whole topic in a schema of its own.
func (f *formats) run(ctx context.Context, format format) (float64, reading, error) {
	schema, err := f.newSchema(ctx)
	if err != nil {
		return 0, reading{}, err
	}
	settings := format.settings
	if format.schemaID > 0 {
		settings = append(slices.Clone(settings), "value.converter.schema.registry.url: "+f.registry)
	}
	c, err := f.startConnector(connectorRun{f.brokers, schema, format.topic, "upsert", settings})
	if err != nil {
		return 0, reading{}, err
	}
	defer c.kill()
	m, err := startMeter(map[string]cpuOf{"database": f.databaseCPU, "broker": f.broker.cpu, "connector": c.cpu})
	if err != nil {
		return 0, reading{}, err
	}
	first, last, err := f.waitStored(ctx, c, schema, int64(f.records))
	if err != nil {
		return 0, reading{}, err
	}
	r, err := m.read()
	if err != nil {
		return 0, r, err
	}
	if err := c.stop(); err != nil {
		return 0, r, err
	}
	if err := f.checkStored(ctx, schema, "crypto_trades", int64(f.records), int64(f.records), int64(f.records)); err != nil {
		return 0, r, err
	}
	if last.at.Equal(first.at) {
		return 0, r, fmt.Errorf("all %d records were stored at once: take more of them", f.records)
	}
	return float64(last.stored-first.stored) / last.at.Sub(first.at).Seconds(), r, f.drop(ctx, schema)
}

// The trades of a feed: its price and volume, and a number for an id.

func appendNativeTrade(b []byte, f *feed, id int) []byte {
	b = append(append(b, `{"exchangeId":"binance","symbol":"`...), f.current.ticker...)
	b = strconv.AppendInt(append(b, `","tradeId":"`...), int64(id), 10)
	b = append(append(b, `","price":"`...), f.price()...)
	b = append(append(b, `","size":"`...), f.volume()...)
	b = f.moment.UTC().AppendFormat(append(b, `","side":"buy","time":"`...), timeFormat)
	return append(b, `"}`...)
}

// appendCryptofeedTrade has numbers and times as numeric_type float has them.
func appendCryptofeedTrade(b []byte, f *feed, id int) []byte {
	b = append(append(b, `{"exchange": "BINANCE", "symbol": "`...), f.current.ticker...)
	b = append(append(b, `", "side": "buy", "amount": `...), f.volume()...)
	b = append(append(b, `, "price": `...), f.price()...)
	b = strconv.AppendInt(append(b, `, "id": "`...), int64(id), 10)
	seconds := float64(f.moment.UnixMicro()) / 1e6
	b = strconv.AppendFloat(append(b, `", "type": null, "timestamp": `...), seconds, 'f', 6, 64)
	b = strconv.AppendFloat(append(b, `, "receipt_timestamp": `...), seconds+0.01, 'f', 6, 64)
	return append(b, '}')
}

// appendBinanceTrade is as Binance's combined streams have it.
func appendBinanceTrade(b []byte, f *feed, id int) []byte {
	b = append(append(b, `{"stream":"btcusdt@trade","data":{"e":"trade","s":"`...), f.current.ticker...)
	b = strconv.AppendInt(append(b, `","t":`...), int64(id), 10)
	b = append(append(b, `,"p":"`...), f.price()...)
	b = append(append(b, `","q":"`...), f.volume()...)
	b = strconv.AppendInt(append(b, `","T":`...), f.moment.UnixMicro(), 10)
	return append(b, `,"m":false,"M":true}}`...)
}

func appendAvroTrade(b []byte, f *feed, id int) []byte {
	text := func(s []byte) {
		b = append(binary.AppendVarint(b, int64(len(s))), s...)
	}
	decimal := func(s []byte) { // to 8 digits behind the point, in as few bytes as hold it and its sign
		whole, fraction, _ := bytes.Cut(s, []byte{'.'})
		unscaled, _ := strconv.ParseInt(string(whole)+string(fraction)+"00000000"[len(fraction):], 10, 64)
		var buf [8]byte
		binary.BigEndian.PutUint64(buf[:], uint64(unscaled))
		first := 0
		for first < 7 && buf[first] == 0 && buf[first+1] < 0x80 {
			first++
		}
		text(buf[first:])
	}
	b = header(b, avroID)
	text([]byte("binance"))
	text([]byte(f.current.ticker))
	text(strconv.AppendInt(nil, int64(id), 10))
	decimal(f.price())
	decimal(f.volume())
	b = append(b, 0) // buy
	return binary.AppendVarint(b, f.moment.UnixMicro())
}

func appendProtobufTrade(b []byte, f *feed, id int) []byte {
	b = append(header(b, protobufID), 0) // the schema's first message
	for i, s := range [][]byte{[]byte("binance"), []byte(f.current.ticker), strconv.AppendInt(nil, int64(id), 10), f.price(), f.volume()} {
		b = protowire.AppendBytes(protowire.AppendTag(b, protowire.Number(i+1), protowire.BytesType), s)
	} // buy is 0, which is not sent
	moment := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(f.moment.Unix()))
	moment = protowire.AppendVarint(protowire.AppendTag(moment, 2, protowire.VarintType), uint64(f.moment.Nanosecond()))
	return protowire.AppendBytes(protowire.AppendTag(b, 7, protowire.BytesType), moment)
}

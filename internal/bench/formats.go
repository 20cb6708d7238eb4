package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"
)

// formats is one part: the same trades in the forms of several producers, each
// stored by a connector with the converter for it.
type formats struct {
	*bench
	brokers string
	broker  *child
}

// format is a form of records.
type format struct {
	name, topic string
	settings    []string
	append      func(b []byte, f *feed, id int) []byte
}

var allFormats = []format{
	{"native JSON", "crypto-trades-native", nil, appendNativeTrade},
	{"cryptofeed JSON", "trades-BINANCE-ALL", []string{"value.converter: cryptofeed"}, appendCryptofeedTrade},
	{"mapped JSON", "binance-raw", []string{
		"value.converter: json", "value.converter.kind: trade",
		"value.converter.fields: exchangeId='binance',symbol=data.s,tradeId=data.t,time=data.T:us,price=data.p,size=data.q,side=data.m:buyer_maker",
	}, appendBinanceTrade},
}

func (b *bench) formats(ctx context.Context) error {
	broker, brokers, err := b.startBroker()
	if err != nil {
		return err
	}
	defer broker.kill()
	f := &formats{bench: b, brokers: brokers, broker: broker}
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
			goal := value(70)
			if format.name != "cryptofeed JSON" {
				goal = nil
			}
			b.report.add(figure{Part: "formats", Name: format.name + " / " + allFormats[0].name, Unit: "%", Goal: goal}, 100*rate/rates[0], last)
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
	c, err := f.startConnector(connectorRun{f.brokers, schema, format.topic, "upsert", format.settings})
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

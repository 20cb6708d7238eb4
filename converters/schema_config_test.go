package converters

import (
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/marketdata"
)

// TestRegistryFormats: a configuration with each format's name, and with Confluent's
// class for it, makes a trade of a record in that format, and of none of another.
func TestRegistryFormats(t *testing.T) {
	t.Parallel()
	registry := srfake.New()
	t.Cleanup(registry.Close)
	formats := []struct {
		name, class, schema, payload string
		kind                         sr.SchemaType
	}{
		{
			"avro", "io.confluent.connect.avro.AvroConverter",
			`{"type":"record","name":"t","fields":[{"name":"s","type":"string"},{"name":"p","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},{"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}}]}`,
			"06425443" + "020a" + "dedcdf86fd67", sr.TypeAvro,
		},
		{
			"protobuf", "io.confluent.connect.protobuf.ProtobufConverter",
			`syntax = "proto3"; import "google/protobuf/timestamp.proto"; message T { string s = 1; string p = 2; google.protobuf.Timestamp at = 3; }`,
			"00" + "0a03425443" + "1204" + hex.EncodeToString([]byte("0.10")) + "1a0c08a1e1e3d30610c0bfff9502", sr.TypeProtobuf,
		},
		{
			"jsonschema", "io.confluent.connect.json.JsonSchemaConverter", `{"type":"object"}`,
			hex.EncodeToString([]byte(`{"s":"BTC","p":"0.10","at":"2026-08-09T21:26:57.583Z"}`)), sr.TypeJSON,
		},
	}
	values := make([][]byte, len(formats))
	for i, f := range formats {
		id, _, err := registry.RegisterSchema(f.name+"-value", sr.Schema{Schema: f.schema, Type: f.kind})
		if err != nil {
			t.Fatal(err)
		}
		payload, err := hex.DecodeString(f.payload)
		if err != nil {
			t.Fatal(err)
		}
		values[i] = append(binary.BigEndian.AppendUint32([]byte{0}, uint32(id)), payload...)
	}
	fields := []string{"exchangeId='binance'", "symbol=s", "price=p", "size='1'", "time=at", "tradeId='7'"}
	for i, f := range formats {
		for _, name := range []string{f.name, f.class} {
			cfg := Config{ValueConverter: name, MapConfig: mapConfig("trade", fields...), SchemaConfig: SchemaConfig{RegistryURLs: []string{registry.URL()}}}
			if err := cfg.Validate(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			converter := cfg.Converter().(Observer)
			for j, value := range values {
				var out cfRows
				var seen Noticed
				err := converter.Observe("trades", &connect.Record{Value: value}, cfNow, &out, &seen)
				if j != i {
					if err == nil || len(out.got) > 0 {
						t.Errorf("%s took a record in %s: %+v", name, formats[j].name, out.got)
					}
					continue
				}
				want := []any{marketdata.Trade{ExchangeID: "binance", Symbol: "BTC", TradeID: "7", Time: cfTime("2026-08-09T21:26:57.583Z"), Price: cfDecimal("0.10"), Size: cfDecimal("1")}}
				if err != nil || !slices.EqualFunc(out.got, want, func(a, b any) bool { return a == b }) {
					t.Errorf("%s: %+v, %v; want %+v", name, out.got, err, want)
				}
			}
		}
	}
	cfg := Config{ValueConverter: "protobuf", MapConfig: mapConfig("trade", fields...)}
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), registryKey+": is missing") {
		t.Errorf("without a registry: %v", err)
	}
}

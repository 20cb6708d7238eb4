package main

import (
	"strings"
	"testing"
	"time"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/converters"
	"github.com/qicore/tickconnect/marketdata"
)

// onlyTrade keeps the one row of a record.
type onlyTrade struct{ got marketdata.Trade }

func (o *onlyTrade) Row(v marketdata.Row) error {
	o.got = *v.(*marketdata.Trade)
	return nil
}

// TestFormats: each form of a record is the same trade.
func TestFormats(t *testing.T) {
	t.Parallel()
	registry := newRegistry()
	defer registry.Close()
	for _, format := range allFormats {
		f := newFeed(1, "binance", time.Now().Add(-time.Hour), 80*time.Microsecond)
		var d marketdata.Decoder
		for id := range 1000 {
			f.next()
			var want marketdata.Trade
			native := appendNativeTrade(nil, f, id)
			if err := d.Trade(native, time.Now(), &want); err != nil {
				t.Fatalf("%s: %v", native, err)
			}
			cfg := converters.Default()
			cfg.RegistryURLs = []string{registry.URL()}
			for _, line := range format.settings {
				key, value, _ := strings.Cut(line, ": ")
				switch key {
				case "value.converter":
					cfg.ValueConverter = value
				case "value.converter.kind":
					cfg.Kind = value
				case "value.converter.fields":
					cfg.Fields = strings.Split(value, ",")
				}
			}
			converter := cfg.Converter()
			if converter == nil {
				continue
			}
			var row onlyTrade
			value := format.append(nil, f, id)
			if err := converter.Convert(format.topic, &connect.Record{Value: value}, time.Now(), &row); err != nil {
				t.Fatalf("%s: %v: %s", format.name, err, value)
			}
			if row.got.Price.Cmp(want.Price) == 0 && row.got.Size.Cmp(want.Size) == 0 {
				row.got.Price, row.got.Size = want.Price, want.Size // Avro's have the scale of their schema
			}
			if row.got.Source = ""; row.got != want {
				t.Fatalf("%s: %s is\n%+v, want\n%+v", format.name, value, row.got, want)
			}
		}
	}
}

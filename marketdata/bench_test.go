package marketdata

import (
	"encoding/json"
	"testing"
	"time"
)

// benchPrice is a price record of 225 bytes, as producers of this package send it.
const benchPrice = `{"coinId":"bitcoin","symbol":"BTC","exchangeId":"binance","usdPrice":"67123.45","marketCap":"1322334455667.12",` +
	`"volume24h":"28123456789.01","time":"2026-02-03T04:05:06.789012Z","source":"exchange-feed","attribution":"binance spot"}`

func BenchmarkDecodePrice(b *testing.B) {
	if len(benchPrice) < 225 {
		b.Fatalf("the record has %d bytes", len(benchPrice))
	}
	value := []byte(benchPrice)
	b.Run("decoder", func(b *testing.B) {
		var d Decoder
		var out Price
		b.SetBytes(int64(len(value)))
		b.ReportAllocs()
		for b.Loop() {
			if err := d.Price(value, testNow, &out); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.SetBytes(int64(len(value)))
		b.ReportAllocs()
		for b.Loop() {
			var out struct {
				CoinID      string    `json:"coinId"`
				Symbol      string    `json:"symbol"`
				ExchangeID  string    `json:"exchangeId"`
				USDPrice    string    `json:"usdPrice"`
				MarketCap   string    `json:"marketCap"`
				Volume24h   string    `json:"volume24h"`
				Time        time.Time `json:"time"`
				Source      string    `json:"source"`
				Attribution string    `json:"attribution"`
			}
			if err := json.Unmarshal(value, &out); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkDecodeOthers(b *testing.B) {
	for _, k := range Kinds() {
		value := []byte(goodRecords[k])
		b.Run(k.String(), func(b *testing.B) {
			var d Decoder
			var r anyRecord
			b.SetBytes(int64(len(value)))
			b.ReportAllocs()
			for b.Loop() {
				if err := r.decode(&d, k, value); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendJSON(b *testing.B) {
	var d Decoder
	var out Price
	if err := d.Price([]byte(benchPrice), testNow, &out); err != nil {
		b.Fatal(err)
	}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendJSON(buf[:0], &out)
	}
}

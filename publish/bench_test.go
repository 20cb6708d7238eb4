package publish

import (
	"testing"

	"github.com/qicore/tickconnect/internal/devstack/testenv"
	"github.com/qicore/tickconnect/marketdata"
)

// BenchmarkRecord is what the library does before the client: check, address,
// encode.
func BenchmarkRecord(b *testing.B) {
	p, err := New()
	if err != nil {
		b.Fatal(err)
	}
	v := marketdata.Price{
		CoinID: "bitcoin", Symbol: "BTC", ExchangeID: "kraken", USDPrice: decimal("65000.10"), MarketCap: decimal("1290000000000.12"),
		Volume24h: decimal("35000000000.5"), Time: when, Source: "exchange-feed", Attribution: "kraken spot",
	}
	value := marketdata.AppendJSON(nil, &v)
	b.Run("price", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := p.price(&v); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encode alone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			marketdata.AppendJSON(make([]byte, 0, 256), &v)
		}
	})
	b.Run("json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := p.json(&JSON{Kind: marketdata.KindPrice, Value: value}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkEnqueue is the whole way, to a broker in this process.
func BenchmarkEnqueue(b *testing.B) {
	f := newFixture(b, testenv.Broker(b))
	p := f.publisher()
	v := marketdata.Price{
		CoinID: "bitcoin", Symbol: "BTC", ExchangeID: f.exchange, USDPrice: decimal("65000.10"), MarketCap: decimal("1290000000000.12"),
		Volume24h: decimal("35000000000.5"), Time: when, Source: "exchange-feed", Attribution: "kraken spot",
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := p.EnqueuePrice(b.Context(), &v, nil); err != nil {
			b.Fatal(err)
		}
	}
	if err := p.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
}

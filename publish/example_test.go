package publish_test

import (
	"context"
	"fmt"
	"time"

	"github.com/qicore/tickconnect/internal/devstack"
	"github.com/qicore/tickconnect/marketdata"
	"github.com/qicore/tickconnect/publish"
)

// brokers are an in-process cluster here; yours are at localhost:9092 or so.
func brokers() (addresses []string, stop func()) {
	b, err := devstack.StartBroker(context.Background(), devstack.BrokerOptions{})
	if err != nil {
		panic(err)
	}
	return b.Brokers(), func() { _ = b.Close() }
}

func number(s string) marketdata.Decimal {
	d, err := marketdata.ParseDecimal(s)
	if err != nil {
		panic(err)
	}
	return d
}

func Example() {
	addresses, stop := brokers()
	defer stop()
	ctx := context.Background()

	p, err := publish.New(publish.WithBrokers(addresses...))
	if err != nil {
		panic(err)
	}
	result, err := p.PublishPrice(ctx, marketdata.Price{
		CoinID: "bitcoin", Symbol: "BTC", ExchangeID: "kraken", USDPrice: number("65000.10"),
		Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Source: "kraken-ws",
	})
	fmt.Println(result.Topic, result.Offset, err)
	fmt.Println(p.Close(ctx))
	// Output:
	// crypto-prices-kraken 0 <nil>
	// <nil>
}

// One bad record costs the others nothing.
func ExamplePublisher_PublishTrades() {
	addresses, stop := brokers()
	defer stop()
	ctx := context.Background()
	p, err := publish.New(publish.WithBrokers(addresses...))
	if err != nil {
		panic(err)
	}
	defer p.Close(ctx)

	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	results, err := p.PublishTrades(ctx, []marketdata.Trade{
		{ExchangeID: "kraken", Symbol: "BTC-USD", TradeID: "1", Time: now, Price: number("65000.10"), Size: number("0.5")},
		{ExchangeID: "kraken", Symbol: "BTC-USD", TradeID: "2", Time: now, Price: number("-1"), Size: number("0.5")},
		{ExchangeID: "kraken", Symbol: "BTC-USD", TradeID: "3", Time: now, Price: number("65000.20"), Size: number("0.1")},
	})
	fmt.Println(err)
	for _, r := range results {
		fmt.Println(r.Offset, publish.IsBadRecord(r.Err))
	}
	// Output:
	// 1 of 3 records were not published; record 1: price: "-1" is not above 0
	// 0 false
	// -1 true
	// 1 false
}

// Publish and forget: nothing waits for the brokers, and Close loses nothing.
func ExamplePublisher_EnqueueLevel1() {
	addresses, stop := brokers()
	defer stop()
	ctx := context.Background()
	p, err := publish.New(publish.WithBrokers(addresses...), publish.WithHooks(publish.Hooks{
		Done: func(r publish.Result, _ int, _ time.Duration) {
			if r.Err != nil {
				fmt.Println("lost:", r.Err)
			}
		},
	}))
	if err != nil {
		panic(err)
	}
	for range 1000 {
		err := p.EnqueueLevel1(ctx, &marketdata.Level1{
			ExchangeID: "binance", Symbol: "BTCUSDT", Time: time.Now(), BidPrice: number("65000.1"), AskPrice: number("65000.2"),
		}, nil)
		if err != nil {
			fmt.Println("not taken:", err)
		}
	}
	fmt.Println(p.Close(ctx), p.BufferedRecords())
	// Output: <nil> 0
}

// Records that are JSON already are checked and published as they are.
func ExamplePublisher_PublishJSON() {
	addresses, stop := brokers()
	defer stop()
	ctx := context.Background()
	p, err := publish.New(publish.WithBrokers(addresses...))
	if err != nil {
		panic(err)
	}
	defer p.Close(ctx)
	results, err := p.PublishJSON(ctx, []publish.JSON{{
		Kind: marketdata.KindTrade, Exchange: "kraken",
		Value: []byte(`{"symbol":"BTC-USD","tradeId":1,"time":1767323045,"price":65000.10,"size":0.5}`),
	}})
	fmt.Println(results[0].Topic, err)
	// Output: crypto-trades-kraken <nil>
}

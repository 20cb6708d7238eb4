// Command go publishes trades and prices with package publish, and says where
// they lie.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/qicore/tickconnect/marketdata"
	"github.com/qicore/tickconnect/publish"
)

func main() {
	brokers := flag.String("brokers", "localhost:9092", "brokers to begin with, `host:port` separated by commas")
	exchange := flag.String("exchange", "example", "the exchange, which is the end of the topics' names")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, strings.Split(*brokers, ","), *exchange); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:gocritic // nothing is left to be stopped
	}
}

func run(ctx context.Context, out io.Writer, brokers []string, exchange string) (err error) {
	p, err := publish.New(publish.WithBrokers(brokers...))
	if err != nil {
		return err
	}
	// Close waits for what is buffered, also after Ctrl-C.
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		err = errors.Join(err, p.Close(ctx))
	}()

	// A topic that is not there is made with the settings of its kind.
	trades, err := p.PublishTrades(ctx, tradesOf(exchange))
	show(out, trades)
	if err != nil {
		return err
	}
	prices, err := p.PublishPrices(ctx, pricesOf(exchange))
	show(out, prices)
	return err
}

// show prints where each record lies, or why it does not.
func show(out io.Writer, results []publish.Result) {
	for _, r := range results {
		if r.Err != nil {
			fmt.Fprintf(out, "not published to %s: %v\n", r.Topic, r.Err)
			continue
		}
		fmt.Fprintf(out, "%s/%d@%d\n", r.Topic, r.Partition, r.Offset)
	}
}

func tradesOf(exchange string) []marketdata.Trade {
	at := time.Date(2026, 1, 2, 3, 4, 5, 123456000, time.UTC)
	return []marketdata.Trade{
		{
			ExchangeID: exchange, Symbol: "BTC-USD", TradeID: "1001", Time: at,
			Price: number("65000.123456789012345678"), Size: number("0.00000001"), Side: "buy", Source: "example",
		},
		{
			ExchangeID: exchange, Symbol: "PEPE-USD", TradeID: "1002", Time: at.Add(time.Second),
			Price: number("0.000000012345678901"), Size: number("987654321098765432.10"), Side: "sell", Source: "example",
		},
		{
			ExchangeID: exchange, Symbol: "BTC-USD", TradeID: "1003", Time: at.Add(2 * time.Second),
			Price: number("65000.10"), Size: number("12.5000"), Source: "example",
		},
	}
}

func pricesOf(exchange string) []marketdata.Price {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return []marketdata.Price{
		{
			CoinID: "bitcoin", Symbol: "BTC", ExchangeID: exchange, USDPrice: number("65000.123456789012345678"),
			MarketCap: number("1280000000000.000000000000000001"), Time: at, Source: "example",
		},
		{
			CoinID: "ethereum", Symbol: "ETH", ExchangeID: exchange, USDPrice: number("3500.10"), Time: at, Source: "example",
		},
	}
}

// number reads a literal of this file. What comes from outside goes through
// marketdata.ParseDecimal and its error, and never through a float64.
func number(s string) marketdata.Decimal {
	d, err := marketdata.ParseDecimal(s)
	if err != nil {
		panic(err)
	}
	return d
}

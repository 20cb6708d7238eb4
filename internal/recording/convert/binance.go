package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/qicore/tickconnect/marketdata"
)

// readBinance reads combined streams of the spot market or the USD-M futures.
func readBinance(exchange string) func(*recorder, []frame) error {
	return func(r *recorder, frames []frame) error {
		for i := range frames {
			if err := binanceFrame(r, exchange, frames[i].at, frames[i].data, true); err != nil {
				return err
			}
		}
		return nil
	}
}

// readRaw reads lines of "<receive time in ns> <frame>".
func readRaw(r *recorder, path, exchange string, quotes bool) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, lineBytesMax)
	for lines.Scan() {
		received, data, ok := bytes.Cut(lines.Bytes(), []byte(" "))
		if !ok {
			return fmt.Errorf("line without a receive time: %.100q", lines.Bytes())
		}
		at, err := unixTime(string(received), inNanos)
		if err != nil {
			return err
		}
		if err := binanceFrame(r, exchange, at, data, quotes); err != nil {
			return err
		}
	}
	return lines.Err()
}

func binanceFrame(r *recorder, exchange string, at time.Time, data []byte, quotes bool) error {
	var envelope struct {
		Stream string
		Data   json.RawMessage
	}
	if err := json.Unmarshal(data, &envelope); err != nil {
		return err
	}
	_, channel, _ := strings.Cut(envelope.Stream, "@")
	switch {
	case channel == "trade" || channel == "aggTrade":
		return binanceTrade(r, exchange, channel, envelope.Data)
	case channel == "bookTicker" && quotes:
		return binanceQuote(r, exchange, at, envelope.Data)
	case strings.HasPrefix(channel, "kline"):
		return binanceBar(r, exchange, envelope.Data)
	}
	return nil
}

// binanceTrade: m says that the buyer was the maker, so the taker sold.
func binanceTrade(r *recorder, exchange, channel string, data []byte) error {
	// encoding/json matches names without regard to case where no name is equal,
	// so each letter that differs only in case is named too.
	var m struct {
		Event     string             `json:"e"`
		EventTime json.Number        `json:"E"`
		Symbol    string             `json:"s"`
		ID        json.Number        `json:"t"`
		Aggregate json.Number        `json:"a"`
		Price     marketdata.Decimal `json:"p"`
		Size      marketdata.Decimal `json:"q"`
		Time      json.Number        `json:"T"`
		BuyerMade bool               `json:"m"`
		Ignore    bool               `json:"M"`
		Type      string             `json:"X"`
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return err
	}
	if m.Type != "" && m.Type != "MARKET" {
		return nil
	}
	at, err := unixTime(m.Time.String(), inMillis)
	if err != nil {
		return err
	}
	t := marketdata.Trade{
		ExchangeID: exchange, Symbol: m.Symbol, TradeID: m.ID.String(), Time: at,
		Price: m.Price, Size: m.Size, Side: "buy",
	}
	if channel == "aggTrade" {
		t.TradeID, t.Source = m.Aggregate.String(), "aggTrade"
	}
	if m.BuyerMade {
		t.Side = "sell"
	}
	return r.trade(t)
}

// binanceQuote: the spot market's quotes have no time of their own.
func binanceQuote(r *recorder, exchange string, at time.Time, data []byte) error {
	var m struct {
		Event     string             `json:"e"`
		EventTime json.Number        `json:"E"`
		Update    marketdata.Decimal `json:"u"`
		Symbol    string             `json:"s"`
		BidPrice  marketdata.Decimal `json:"b"`
		BidSize   marketdata.Decimal `json:"B"`
		AskPrice  marketdata.Decimal `json:"a"`
		AskSize   marketdata.Decimal `json:"A"`
		Time      json.Number        `json:"T"`
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return err
	}
	if m.Time != "" {
		var err error
		if at, err = unixTime(m.Time.String(), inMillis); err != nil {
			return err
		}
	}
	return r.quote(marketdata.Level1{
		ExchangeID: exchange, Symbol: m.Symbol, Time: at, Sequence: m.Update,
		BidPrice: m.BidPrice, BidSize: m.BidSize, AskPrice: m.AskPrice, AskSize: m.AskSize,
	}, m.Time != "")
}

func binanceBar(r *recorder, exchange string, data []byte) error {
	var m struct {
		Symbol string `json:"s"`
		K      struct {
			Start     json.Number        `json:"t"`
			End       json.Number        `json:"T"`
			Interval  string             `json:"i"`
			First     json.Number        `json:"f"`
			Last      json.Number        `json:"L"`
			Open      marketdata.Decimal `json:"o"`
			High      marketdata.Decimal `json:"h"`
			Low       marketdata.Decimal `json:"l"`
			Close     marketdata.Decimal `json:"c"`
			Volume    marketdata.Decimal `json:"v"`
			Trades    int64              `json:"n"`
			Closed    bool               `json:"x"`
			Quote     marketdata.Decimal `json:"q"`
			TakerBase marketdata.Decimal `json:"V"`
			TakerCost marketdata.Decimal `json:"Q"`
		} `json:"k"`
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return err
	}
	at, err := unixTime(m.K.Start.String(), inMillis)
	if err != nil {
		return err
	}
	return r.bar(marketdata.OHLCV{
		ExchangeID: exchange, Symbol: m.Symbol, Interval: m.K.Interval, Time: at,
		Open: m.K.Open, High: m.K.High, Low: m.K.Low, Close: m.K.Close, Volume: m.K.Volume,
		QuoteVolume: m.K.Quote, Trades: marketdata.Some(m.K.Trades), Closed: marketdata.Some(m.K.Closed),
	})
}

// readTradeStreamCSV reads Binance's trade stream as a table: TransactionTime is
// the trade's own time, in microseconds.
func readTradeStreamCSV(r *recorder, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	rows := csv.NewReader(z)
	header, err := rows.Read()
	if err != nil {
		return err
	}
	column := make(map[string]int)
	for i, name := range header {
		column[name] = i
	}
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		at, err := unixTime(row[column["TransactionTime"]], inMicros)
		if err != nil {
			return err
		}
		price, err := marketdata.ParseDecimal(row[column["Price"]])
		if err != nil {
			return err
		}
		size, err := marketdata.ParseDecimal(row[column["Quantity"]])
		if err != nil {
			return err
		}
		side := "buy"
		if row[column["IsBuyerMarketMaker"]] == "1" {
			side = "sell"
		}
		err = r.trade(marketdata.Trade{
			ExchangeID: "binance", Symbol: row[column["Symbol"]], TradeID: row[column["TradeId"]], Time: at,
			Price: price, Size: size, Side: side,
		})
		if err != nil {
			return err
		}
	}
}

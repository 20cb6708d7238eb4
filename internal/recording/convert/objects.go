package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/qicore/tickconnect/marketdata"
)

// readOKX reads trades and tickers. A side of the book without an order is "".
func readOKX(r *recorder, frames []frame) error {
	const exchange = "okx"
	for i := range frames {
		var m struct {
			Arg  struct{ Channel string }
			Data []struct {
				InstID, TradeID, Side, TS  string
				Px, Sz                     marketdata.Decimal
				BidPx, BidSz, AskPx, AskSz marketdata.Decimal
			}
		}
		if string(frames[i].data) == "pong" {
			continue
		}
		if err := json.Unmarshal(frames[i].data, &m); err != nil {
			return err
		}
		if m.Arg.Channel != "trades" && m.Arg.Channel != "tickers" {
			continue
		}
		for _, d := range m.Data {
			at, err := unixTime(d.TS, inMillis)
			if err != nil {
				return err
			}
			if m.Arg.Channel == "trades" {
				err = r.trade(marketdata.Trade{
					ExchangeID: exchange, Symbol: d.InstID, TradeID: d.TradeID, Time: at, Price: d.Px, Size: d.Sz, Side: d.Side,
				})
			} else {
				err = r.quote(marketdata.Level1{
					ExchangeID: exchange, Symbol: d.InstID, Time: at,
					BidPrice: d.BidPx, BidSize: d.BidSz, AskPrice: d.AskPx, AskSize: d.AskSz,
				}, true)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// readBybit reads the linear contracts. Their tickers come whole once and then
// hold what changed: a quote is made where a bid or ask did.
func readBybit(r *recorder, frames []frame) error {
	const exchange = "bybit-linear"
	quotes := make(map[string]*marketdata.Level1)
	for i := range frames {
		if !strings.HasSuffix(frames[i].addr, "/linear") {
			continue
		}
		var m struct {
			Topic string
			TS    json.Number
			CS    marketdata.Decimal
			Data  json.RawMessage
		}
		if err := json.Unmarshal(frames[i].data, &m); err != nil {
			return err
		}
		channel, symbol, _ := strings.Cut(m.Topic, ".")
		var err error
		switch channel {
		case "publicTrade":
			err = bybitTrades(r, exchange, m.Data)
		case "kline":
			interval, of, _ := strings.Cut(symbol, ".")
			err = bybitBars(r, exchange, of, interval+"m", m.Data)
		case "tickers":
			q := quotes[symbol]
			if q == nil {
				q = &marketdata.Level1{ExchangeID: exchange, Symbol: symbol}
				quotes[symbol] = q
			}
			err = bybitTicker(r, q, m.TS, frames[i].at, m.CS, m.Data)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func bybitTrades(r *recorder, exchange string, data []byte) error {
	var trades []struct {
		Time   json.Number        `json:"T"`
		Symbol string             `json:"s"`
		Side   string             `json:"S"`
		Size   marketdata.Decimal `json:"v"`
		Price  marketdata.Decimal `json:"p"`
		ID     string             `json:"i"`
	}
	if err := json.Unmarshal(data, &trades); err != nil {
		return err
	}
	for _, t := range trades {
		at, err := unixTime(t.Time.String(), inMillis)
		if err != nil {
			return err
		}
		err = r.trade(marketdata.Trade{
			ExchangeID: exchange, Symbol: t.Symbol, TradeID: t.ID, Time: at, Price: t.Price, Size: t.Size, Side: t.Side,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func bybitBars(r *recorder, exchange, symbol, interval string, data []byte) error {
	var bars []struct {
		Start                                    json.Number
		Open, Close, High, Low, Volume, Turnover marketdata.Decimal
		Confirm                                  bool
	}
	if err := json.Unmarshal(data, &bars); err != nil {
		return err
	}
	for _, b := range bars {
		at, err := unixTime(b.Start.String(), inMillis)
		if err != nil {
			return err
		}
		err = r.bar(marketdata.OHLCV{
			ExchangeID: exchange, Symbol: symbol, Interval: interval, Time: at,
			Open: b.Open, High: b.High, Low: b.Low, Close: b.Close, Volume: b.Volume,
			QuoteVolume: b.Turnover, Closed: marketdata.Some(b.Confirm),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func bybitTicker(r *recorder, q *marketdata.Level1, ts json.Number, received time.Time, cs marketdata.Decimal, data []byte) error {
	var t struct{ Bid1Price, Bid1Size, Ask1Price, Ask1Size marketdata.Decimal }
	if err := json.Unmarshal(data, &t); err != nil {
		return err
	}
	changed := false
	for _, side := range []struct{ to, from *marketdata.Decimal }{
		{&q.BidPrice, &t.Bid1Price}, {&q.BidSize, &t.Bid1Size}, {&q.AskPrice, &t.Ask1Price}, {&q.AskSize, &t.Ask1Size},
	} {
		if side.from.Present() {
			*side.to, changed = *side.from, true
		}
	}
	if !changed {
		return nil
	}
	q.Time, q.Sequence = received, cs
	if ts != "" { // the first one has none
		var err error
		if q.Time, err = unixTime(ts.String(), inMillis); err != nil {
			return err
		}
	}
	return r.quote(*q, true)
}

// readBitget reads the spot markets. Trades have no id; a snapshot lists old
// ones newest first and may overlap with the updates that follow.
func readBitget(r *recorder, frames []frame) error {
	const exchange = "bitget"
	inSnapshot := make(map[string]bool)
	for i := range frames {
		if string(frames[i].data) == "pong" {
			continue
		}
		var m struct {
			Action string
			Arg    struct{ InstType, Channel, InstID string }
			Data   []json.RawMessage
		}
		if err := json.Unmarshal(frames[i].data, &m); err != nil {
			return err
		}
		if m.Arg.InstType != "sp" {
			continue
		}
		var err error
		switch m.Arg.Channel {
		case "trade":
			err = bitgetTrades(r, exchange, m.Arg.InstID, m.Action == "snapshot", inSnapshot, m.Data)
		case "ticker":
			err = bitgetTickers(r, exchange, m.Data)
		case "candle1m":
			err = bitgetBars(r, exchange, m.Arg.InstID, m.Data)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func bitgetTrades(r *recorder, exchange, symbol string, snapshot bool, inSnapshot map[string]bool, data []json.RawMessage) error {
	for _, raw := range slices.Backward(data) {
		var t []string
		if err := json.Unmarshal(raw, &t); err != nil {
			return err
		}
		if len(t) != 4 {
			return fmt.Errorf("trade of another shape: %s", raw)
		}
		key := symbol + string(raw)
		if snapshot {
			inSnapshot[key] = true
		} else if inSnapshot[key] {
			r.source.repeats++
			continue
		}
		at, err := unixTime(t[0], inMillis)
		if err != nil {
			return err
		}
		price, err := marketdata.ParseDecimal(t[1])
		if err != nil {
			return err
		}
		size, err := marketdata.ParseDecimal(t[2])
		if err != nil {
			return err
		}
		err = r.trade(marketdata.Trade{ExchangeID: exchange, Symbol: symbol, Time: at, Price: price, Size: size, Side: t[3]})
		if err != nil {
			return err
		}
	}
	return nil
}

func bitgetTickers(r *recorder, exchange string, data []json.RawMessage) error {
	for _, raw := range data {
		var t struct {
			InstID                               string
			BestBid, BestAsk, BidSz, AskSz, Last marketdata.Decimal
			TS                                   json.Number
		}
		if err := json.Unmarshal(raw, &t); err != nil {
			return err
		}
		at, err := unixTime(t.TS.String(), inMillis)
		if err != nil {
			return err
		}
		err = r.quote(marketdata.Level1{
			ExchangeID: exchange, Symbol: t.InstID, Time: at,
			BidPrice: t.BestBid, BidSize: t.BidSz, AskPrice: t.BestAsk, AskSize: t.AskSz,
		}, true)
		if err != nil {
			return err
		}
	}
	return nil
}

func bitgetBars(r *recorder, exchange, symbol string, data []json.RawMessage) error {
	for _, raw := range data {
		var b []marketdata.Decimal
		if err := json.Unmarshal(raw, &b); err != nil {
			return err
		}
		if len(b) != 6 {
			return fmt.Errorf("bar of another shape: %s", raw)
		}
		at, err := unixTime(b[0].String(), inMillis)
		if err != nil {
			return err
		}
		err = r.bar(marketdata.OHLCV{
			ExchangeID: exchange, Symbol: symbol, Interval: "1m", Time: at,
			Open: b[1], High: b[2], Low: b[3], Close: b[4], Volume: b[5],
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// readBitmex reads the tables trade and quote.
func readBitmex(r *recorder, frames []frame) error {
	const exchange = "bitmex"
	for i := range frames {
		var m struct {
			Table string
			Data  []struct {
				Timestamp, Symbol, Side, TrdMatchID  string
				Size, Price                          marketdata.Decimal
				BidPrice, BidSize, AskPrice, AskSize marketdata.Decimal
			}
		}
		if err := json.Unmarshal(frames[i].data, &m); err != nil {
			return err
		}
		if m.Table != "trade" && m.Table != "quote" {
			continue
		}
		for _, d := range m.Data {
			at, err := time.Parse(time.RFC3339Nano, d.Timestamp)
			if err != nil {
				return err
			}
			if m.Table == "trade" {
				err = r.trade(marketdata.Trade{
					ExchangeID: exchange, Symbol: d.Symbol, TradeID: d.TrdMatchID, Time: at,
					Price: d.Price, Size: d.Size, Side: d.Side,
				})
			} else {
				err = r.quote(marketdata.Level1{
					ExchangeID: exchange, Symbol: d.Symbol, Time: at,
					BidPrice: d.BidPrice, BidSize: d.BidSize, AskPrice: d.AskPrice, AskSize: d.AskSize,
				}, true)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// readBitstamp reads live trades: the strings hold the digits, the numbers were
// rounded.
func readBitstamp(r *recorder, frames []frame) error {
	var trades []marketdata.Trade
	for i := range frames {
		var m struct {
			Event, Channel string
			Data           struct {
				ID             json.Number
				PriceStr       marketdata.Decimal `json:"price_str"`
				AmountStr      marketdata.Decimal `json:"amount_str"`
				Microtimestamp string
				Type           json.Number
			}
		}
		if err := json.Unmarshal(frames[i].data, &m); err != nil {
			return err
		}
		symbol, ok := strings.CutPrefix(m.Channel, "live_trades_")
		if m.Event != "trade" || !ok {
			continue
		}
		at, err := unixTime(m.Data.Microtimestamp, inMicros)
		if err != nil {
			return err
		}
		trades = append(trades, marketdata.Trade{
			ExchangeID: "bitstamp", Symbol: symbol, TradeID: m.Data.ID.String(), Time: at,
			Price: m.Data.PriceStr, Size: m.Data.AmountStr, Side: map[string]string{"0": "buy", "1": "sell"}[m.Data.Type.String()],
		})
	}
	return tradesAndPrices(r, trades, "usd")
}

// readGemini reads live trades and those that the first book frame lists newest
// first.
func readGemini(r *recorder, frames []frame) error {
	type trade struct {
		Type, Symbol, Side string
		ID                 json.Number `json:"event_id"`
		Timestamp          json.Number
		Price, Quantity    marketdata.Decimal
	}
	var trades []marketdata.Trade
	for i := range frames {
		var m struct {
			trade
			Trades []trade
		}
		if err := json.Unmarshal(frames[i].data, &m); err != nil {
			return err
		}
		if m.Type == "trade" {
			m.Trades = []trade{m.trade}
		} else if m.Type != "l2_updates" {
			continue
		}
		for _, t := range slices.Backward(m.Trades) {
			at, err := unixTime(t.Timestamp.String(), inMillis)
			if err != nil {
				return err
			}
			trades = append(trades, marketdata.Trade{
				ExchangeID: "gemini", Symbol: t.Symbol, TradeID: t.ID.String(), Time: at,
				Price: t.Price, Size: t.Quantity, Side: t.Side,
			})
		}
	}
	return tradesAndPrices(r, trades, "USD")
}

// tradesAndPrices takes trades of a venue without a ticker, whose last price is
// that of the last trade. Of several trades at one time the last one gives it.
func tradesAndPrices(r *recorder, trades []marketdata.Trade, dollar string) error {
	for i, t := range trades {
		if err := r.trade(t); err != nil {
			return err
		}
		base, inDollars := strings.CutSuffix(t.Symbol, dollar)
		if !inDollars || i+1 < len(trades) && trades[i+1].Symbol == t.Symbol && trades[i+1].Time.Equal(t.Time) {
			continue
		}
		if err := r.price(t.ExchangeID, strings.ToUpper(base), t.Price, t.Time, t.ExchangeID+" last trade"); err != nil {
			return err
		}
	}
	return nil
}

// readKucoin reads matches (ns), tickers (ms) and bars ([start s, open, CLOSE,
// HIGH, LOW, volume, turnover]).
func readKucoin(r *recorder, frames []frame) error {
	const exchange = "kucoin"
	for i := range frames {
		var m struct {
			Subject, Topic string
			Data           struct {
				Symbol, Side, TradeID string
				Size, Price           marketdata.Decimal
				Time                  json.Number
				Sequence              marketdata.Decimal
				BestBid, BestBidSize  marketdata.Decimal
				BestAsk, BestAskSize  marketdata.Decimal
				Candles               []marketdata.Decimal
			}
		}
		if err := json.Unmarshal(frames[i].data, &m); err != nil {
			return err
		}
		_, of, _ := strings.Cut(m.Topic, ":")
		var times unixTimes
		var err error
		switch m.Subject {
		case "trade.l3match":
			err = r.trade(marketdata.Trade{
				ExchangeID: exchange, Symbol: m.Data.Symbol, TradeID: m.Data.TradeID,
				Time: times.read(m.Data.Time.String(), inNanos), Price: m.Data.Price, Size: m.Data.Size, Side: m.Data.Side,
			})
		case "trade.ticker":
			err = r.quote(marketdata.Level1{
				ExchangeID: exchange, Symbol: of, Time: times.read(m.Data.Time.String(), inMillis), Sequence: m.Data.Sequence,
				BidPrice: m.Data.BestBid, BidSize: m.Data.BestBidSize, AskPrice: m.Data.BestAsk, AskSize: m.Data.BestAskSize,
			}, true)
		case "trade.candles.add", "trade.candles.update":
			c := m.Data.Candles
			if len(c) != 7 || !strings.HasSuffix(of, "_1min") {
				return fmt.Errorf("bar of another shape: %s", frames[i].data)
			}
			err = r.bar(marketdata.OHLCV{
				ExchangeID: exchange, Symbol: m.Data.Symbol, Interval: "1m", Time: times.read(c[0].String(), inSeconds),
				Open: c[1], Close: c[2], High: c[3], Low: c[4], Volume: c[5], QuoteVolume: c[6],
			})
		}
		if err == nil {
			err = times.err
		}
		if err != nil {
			return err
		}
	}
	return nil
}

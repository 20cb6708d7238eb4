package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/qicore/tickconnect/marketdata"
)

// readKraken reads [channel, payload, name, pair]. Trades have no id, so equal
// ones are different trades.
func readKraken(r *recorder, frames []frame) error {
	const exchange = "kraken"
	for i := range frames {
		if !frames[i].isArray() {
			continue
		}
		var parts []json.RawMessage
		if err := json.Unmarshal(frames[i].data, &parts); err != nil {
			return err
		}
		if len(parts) != 4 {
			continue // book frames may have five
		}
		var name, pair string
		if err := unmarshalAll(parts[2:], &name, &pair); err != nil {
			return err
		}
		switch name {
		case "trade":
			if err := krakenTrades(r, exchange, pair, parts[1]); err != nil {
				return err
			}
		case "ticker":
			var t struct{ A, B []marketdata.Decimal }
			if err := json.Unmarshal(parts[1], &t); err != nil {
				return err
			}
			if len(t.A) != 3 || len(t.B) != 3 {
				return fmt.Errorf("ticker of another shape: %s", parts[1])
			}
			err := r.quote(marketdata.Level1{
				ExchangeID: exchange, Symbol: pair, Time: frames[i].at,
				BidPrice: t.B[0], BidSize: t.B[2], AskPrice: t.A[0], AskSize: t.A[2],
			}, false)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// krakenTrades reads [[price, volume, time, side, type, misc], ...].
func krakenTrades(r *recorder, exchange, pair string, data []byte) error {
	var trades [][]json.RawMessage
	if err := json.Unmarshal(data, &trades); err != nil {
		return err
	}
	for _, t := range trades {
		if len(t) < 4 {
			return fmt.Errorf("trade of another shape: %s", data)
		}
		var price, size marketdata.Decimal
		var when, side string
		if err := unmarshalAll(t[:4], &price, &size, &when, &side); err != nil {
			return err
		}
		at, err := unixTime(when, inSeconds)
		if err != nil {
			return err
		}
		err = r.trade(marketdata.Trade{
			ExchangeID: exchange, Symbol: pair, Time: at, Price: price, Size: size,
			Side: map[string]string{"b": "buy", "s": "sell"}[side],
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// readBitfinex reads [channel id, payload, sequence] and [channel id, "te",
// payload, sequence]; "tu" repeats "te". A snapshot lists trades newest first.
func readBitfinex(r *recorder, frames []frame) error {
	const exchange = "bitfinex"
	type channel struct{ name, symbol string }
	channels := make(map[string]channel)
	for i := range frames {
		f := &frames[i]
		if !f.isArray() {
			var m struct {
				Event, Channel, Symbol string
				ChanID                 json.Number
			}
			if err := json.Unmarshal(f.data, &m); err != nil {
				return err
			}
			if m.Event == "subscribed" {
				channels[f.conn+"/"+m.ChanID.String()] = channel{m.Channel, m.Symbol}
			}
			continue
		}
		var parts []json.RawMessage
		if err := json.Unmarshal(f.data, &parts); err != nil {
			return err
		}
		c := channels[f.conn+"/"+string(parts[0])]
		switch {
		case c.name == "ticker" && strings.HasPrefix(string(parts[1]), "["):
			if err := bitfinexTicker(r, exchange, c.symbol, f.at, parts[1]); err != nil {
				return err
			}
		case c.name == "trades" && string(parts[1]) == `"te"`:
			if err := bitfinexTrade(r, exchange, c.symbol, parts[2]); err != nil {
				return err
			}
		case c.name == "trades" && strings.HasPrefix(string(parts[1]), "[["):
			var snapshot []json.RawMessage
			if err := json.Unmarshal(parts[1], &snapshot); err != nil {
				return err
			}
			for _, trade := range slices.Backward(snapshot) {
				if err := bitfinexTrade(r, exchange, c.symbol, trade); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// bitfinexTicker reads [bid, its size, ask, its size, change, change %, last, ...].
func bitfinexTicker(r *recorder, exchange, symbol string, at time.Time, data []byte) error {
	var t []marketdata.Decimal
	if err := json.Unmarshal(data, &t); err != nil {
		return err
	}
	if len(t) < 7 {
		return fmt.Errorf("ticker of another shape: %s", data)
	}
	err := r.quote(marketdata.Level1{
		ExchangeID: exchange, Symbol: symbol, Time: at, BidPrice: t[0], BidSize: t[1], AskPrice: t[2], AskSize: t[3],
	}, false)
	if err != nil {
		return err
	}
	base, ok := strings.CutSuffix(strings.TrimPrefix(symbol, "t"), "USD")
	if !ok {
		return nil
	}
	return r.price(exchange, base, t[6], at, "bitfinex ticker")
}

// bitfinexTrade reads [id, ms, amount, price]: the amount of a sale is negative.
func bitfinexTrade(r *recorder, exchange, symbol string, data []byte) error {
	var t []json.Number
	if err := json.Unmarshal(data, &t); err != nil {
		return err
	}
	if len(t) != 4 {
		return fmt.Errorf("trade of another shape: %s", data)
	}
	at, err := unixTime(t[1].String(), inMillis)
	if err != nil {
		return err
	}
	amount, sold := strings.CutPrefix(t[2].String(), "-")
	side := "buy"
	if sold {
		side = "sell"
	}
	size, err := marketdata.ParseDecimal(amount)
	if err != nil {
		return err
	}
	price, err := marketdata.ParseDecimal(t[3].String())
	if err != nil {
		return err
	}
	return r.trade(marketdata.Trade{
		ExchangeID: exchange, Symbol: symbol, TradeID: t[0].String(), Time: at, Price: price, Size: size, Side: side,
	})
}

func unmarshalAll(parts []json.RawMessage, to ...any) error {
	for i := range to {
		if err := json.Unmarshal(parts[i], to[i]); err != nil {
			return err
		}
	}
	return nil
}

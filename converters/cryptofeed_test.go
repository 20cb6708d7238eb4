package converters

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/qicore/tickconnect/config"
	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/marketdata"
)

var cfNow = time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)

// cfRows keeps the rows that a converter gives, checked as a sink does.
type cfRows struct{ got []any }

func (r *cfRows) Row(v marketdata.Row) error {
	err := v.Check(cfNow)
	if err != nil {
		return err
	}
	if book, ok := v.(*marketdata.Book); ok { // its levels lie in a buffer of the converter
		book.Bids, book.Asks = slices.Clone(book.Bids), slices.Clone(book.Asks)
	}
	r.got = append(r.got, reflect.ValueOf(v).Elem().Interface())
	return nil
}

// cfConvert gives the one row of a record.
func cfConvert(c Converter, topic, value string) (row any, seen Noticed, err error) {
	var rows cfRows
	err = c.(Observer).Observe(topic, &connect.Record{Value: []byte(value)}, cfNow, &rows, &seen)
	if err == nil && len(rows.got) != 1 {
		return nil, seen, fmt.Errorf("%d rows", len(rows.got))
	}
	if err != nil {
		return nil, seen, err
	}
	return rows.got[0], seen, nil
}

func cfDecimal(s string) marketdata.Decimal {
	d, err := marketdata.ParseDecimal(s)
	if err != nil {
		panic(err)
	}
	return d
}

func cfTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return t
}

const (
	cfTrade = `{"exchange":"KRAKEN","symbol":"SC-EUR","side":"sell","amount":15979.71727919,"price":0.04299,"id":null,"type":"limit",` +
		`"timestamp":1618678145.920708,"receipt_timestamp":1618678145.9489012}`
	cfTick   = `{"exchange":"BITGET","symbol":"AVAX-USDT","bid":82.8686,"ask":83.0614,"timestamp":1649290076.112,"receipt_timestamp":1649290077.869122}`
	cfCandle = `{"exchange":"BYBIT","symbol":"BTC-USDT","start":1786310760000,"stop":1786310819999,"interval":"1m","trades":true,"open":65140.4,` +
		`"close":65140.6,"high":65140.7,"low":65140.3,"volume":0.15388,"closed":false,"timestamp":1786310820563,"receipt_timestamp":1786310820.670458}`
)

// cfWith replaces parts of a record.
func cfWith(record string, oldnew ...string) string {
	for i := 0; i < len(oldnew); i += 2 {
		if !strings.Contains(record, oldnew[i]) {
			panic("no " + oldnew[i])
		}
	}
	return strings.NewReplacer(oldnew...).Replace(record)
}

// TestCryptofeedRows has a record of each kind and each trap.
func TestCryptofeedRows(t *testing.T) {
	t.Parallel()
	trade := marketdata.Trade{
		ExchangeID: "kraken", Symbol: "SC-EUR", Time: cfTime("2021-04-17T16:49:05.920708Z"), Price: cfDecimal("0.04299"),
		Size: cfDecimal("15979.71727919"), Side: "sell", Source: "cryptofeed",
	}
	tick := marketdata.Level1{
		ExchangeID: "bitget", Symbol: "AVAX-USDT", Time: cfTime("2022-04-07T00:07:56.112Z"), BidPrice: cfDecimal("82.8686"),
		AskPrice: cfDecimal("83.0614"), Source: "cryptofeed",
	}
	candle := marketdata.OHLCV{
		ExchangeID: "bybit", Symbol: "BTC-USDT", Interval: "1m", Time: cfTime("2026-08-09T21:26:00Z"), Open: cfDecimal("65140.4"),
		Close: cfDecimal("65140.6"), High: cfDecimal("65140.7"), Low: cfDecimal("65140.3"), Volume: cfDecimal("0.15388"),
		Closed: marketdata.Some(true), Source: "cryptofeed",
	}
	trades := func(change func(*marketdata.Trade)) marketdata.Trade { v := trade; change(&v); return v }
	ticks := func(change func(*marketdata.Level1)) marketdata.Level1 { v := tick; change(&v); return v }
	candles := func(change func(*marketdata.OHLCV)) marketdata.OHLCV { v := candle; change(&v); return v }
	floats := Noticed{Floats: 2}
	version := func(v string) CryptofeedConfig {
		return CryptofeedConfig{Version: v, QuoteAmounts: quoteSent}
	}
	coinbase := []string{"KRAKEN", "COINBASE"}
	for _, test := range []struct {
		name, topic, value string
		cfg                CryptofeedConfig
		want               any
		seen               Noticed
	}{
		{name: "trade without an id", topic: "trades-KRAKEN-SC-EUR", value: cfTrade, want: trade, seen: floats},
		{name: "trade id", value: cfWith(cfTrade, `"id":null`, `"id":"082f-é"`), want: trades(func(v *marketdata.Trade) { v.TradeID = "082f-é" }), seen: floats},
		{
			name: "trade id as a number", value: cfWith(cfTrade, `"id":null`, `"id":18446744073709551617`),
			want: trades(func(v *marketdata.Trade) { v.TradeID = "18446744073709551617" }), seen: floats,
		},
		{name: "none_to 0 makes no id", value: cfWith(cfTrade, `"id":null`, `"id":0`), want: trade, seen: floats},
		{
			name: "none_to None", value: cfWith(cfTrade, `"id":null`, `"id":"None"`, `"sell"`, `"None"`),
			want: trades(func(v *marketdata.Trade) { v.Side = "" }), seen: floats,
		},
		{
			name: "numeric_type str with exponents", value: cfWith(cfTrade, "15979.71727919", `"9.2E-7"`, "0.04299", `"0.0429900000000000000000001"`),
			want: trades(func(v *marketdata.Trade) {
				v.Size, v.Price = cfDecimal("9.2E-7"), cfDecimal("0.0429900000000000000000001")
			}),
		},
		{
			name: "long floats", value: cfWith(cfTrade, "15979.71727919", "0.4439999999999999", "0.04299", "0.000000123456789012345"),
			want: trades(func(v *marketdata.Trade) {
				v.Size, v.Price = cfDecimal("0.4439999999999999"), cfDecimal("0.000000123456789012345")
			}), seen: Noticed{Floats: 2, LongFloats: 1},
		},
		{
			name: "whole seconds of version 3", value: cfWith(cfTrade, "1618678145.920708", "1618678145.0"),
			want: trades(func(v *marketdata.Trade) { v.Time = cfTime("2021-04-17T16:49:05Z") }), seen: floats,
		},
		{
			name: "whole seconds of version 2", value: cfWith(cfTrade, "1618678145.920708", "1618678145"),
			want: trades(func(v *marketdata.Trade) { v.Time = cfTime("2021-04-17T16:49:05Z") }), seen: floats,
		},
		{name: "seven decimals round up", value: cfWith(cfTrade, "1618678145.920708", "1618678145.9207078"), want: trade, seen: floats},
		{name: "a time as a text", value: cfWith(cfTrade, "1618678145.920708", `"2021-04-17T16:49:05.920708+00:00"`), want: trade, seen: floats},
		{
			name: "the receive time", value: cfWith(cfTrade, "1618678145.9489012", "1618678145.920708"), want: trade,
			seen: Noticed{Floats: 2, ReceiveTime: true},
		},
		{name: "unknown fields", value: cfWith(cfTrade, `"type"`, `"raw":{"a":[1]},"type"`), want: trade, seen: Noticed{Floats: 2, UnknownFields: 1}},
		{
			name: "COINBASE 2", cfg: version("2"), value: cfWith(cfTrade, coinbase...),
			want: trades(func(v *marketdata.Trade) { v.ExchangeID, v.Side = "coinbase", "buy" }), seen: floats,
		},
		{
			name: "COINBASE 2 buy", cfg: version("2"), value: cfWith(cfTrade, append(coinbase, `"sell"`, `"buy"`)...),
			want: trades(func(v *marketdata.Trade) { v.ExchangeID, v.Side = "coinbase", "sell" }), seen: floats,
		},
		{
			name: "COINBASE 3", cfg: version("3"), value: cfWith(cfTrade, coinbase...),
			want: trades(func(v *marketdata.Trade) { v.ExchangeID, v.Side = "coinbase", "sell" }), seen: floats,
		},
		{
			name: "COINBASE mixed", cfg: version("mixed"), value: cfWith(cfTrade, coinbase...),
			want: trades(func(v *marketdata.Trade) { v.ExchangeID, v.Side = "coinbase", "" }), seen: floats,
		},
		{name: "other exchanges in version 2", cfg: version("2"), value: cfTrade, want: trade, seen: floats},
		{
			name: "COINBASE in another form", cfg: version("2"), value: cfWith(cfTrade, "KRAKEN", `Coinb\u0061se`),
			want: trades(func(v *marketdata.Trade) { v.ExchangeID, v.Side = "coinbase", "buy" }), seen: floats,
		},
		{
			name: "POLONIEX", cfg: version(""), value: cfWith(cfTrade, "KRAKEN", "POLONIEX"),
			want: trades(func(v *marketdata.Trade) { v.ExchangeID = "poloniex" }), seen: Noticed{Floats: 2, QuoteAmount: true},
		},
		{
			name: "renamed", cfg: CryptofeedConfig{Exchanges: []string{"KRAKEN=HTX"}}, value: cfTrade,
			want: trades(func(v *marketdata.Trade) { v.ExchangeID = "htx" }), seen: floats,
		},
		{name: "own key", cfg: CryptofeedConfig{Keys: []string{"my-trades=trades"}}, topic: "my-trades-KRAKEN-SC-EUR", value: cfTrade, want: trade, seen: floats},
		{
			name: "a kind's key taken for another", cfg: CryptofeedConfig{Keys: []string{"book=trades"}}, topic: "book-KRAKEN-SC-EUR", value: cfTrade,
			want: trade, seen: floats,
		},

		{name: "ticker", topic: "ticker-BITGET-AVAX-USDT", value: cfTick, want: tick, seen: floats},
		{
			name: "ticker without times", value: cfWith(cfTick, "1649290076.112,", "null,"),
			want: ticks(func(v *marketdata.Level1) { v.Time = cfTime("2022-04-07T00:07:57.869122Z") }), seen: Noticed{Floats: 2, ReceiveTime: true},
		},
		{
			name: "both 0", value: cfWith(cfTick, "82.8686", "0", "83.0614", `"0E-8"`),
			want: ticks(func(v *marketdata.Level1) { v.BidPrice, v.AskPrice = marketdata.Decimal{}, marketdata.Decimal{} }), seen: Noticed{Floats: 1},
		},
		{
			name: "bid null", value: cfWith(cfTick, "82.8686", "null"),
			want: ticks(func(v *marketdata.Level1) { v.BidPrice = marketdata.Decimal{} }), seen: Noticed{Floats: 1},
		},
		{name: "milliseconds", value: cfWith(cfTick, "1649290076.112,", "1649290076112,"), want: tick, seen: Noticed{Floats: 2, Milliseconds: true}},
		{
			name: "l1_book", topic: "l1_book-BITGET-AVAX-USDT",
			value: cfWith(cfTick, `"bid":82.8686,"ask":83.0614`, `"bid_price":82.8686,"bid_size":"0","ask_price":0,"ask_size":0`),
			want:  ticks(func(v *marketdata.Level1) { v.BidSize, v.AskPrice = cfDecimal("0"), marketdata.Decimal{} }), seen: Noticed{Floats: 3},
		},

		{name: "candle of BYBIT 2", topic: "candles-BYBIT-BTC-USDT", value: cfCandle, want: candle, seen: Noticed{Floats: 5, Milliseconds: true}},
		{
			name: "candle with trades", value: cfWith(cfCandle, "1786310760000", "1786310760.0", `"trades":true`, `"trades":21.0`),
			want: candles(func(v *marketdata.OHLCV) { v.Trades, v.Closed = marketdata.Some[int64](21), marketdata.Some(false) }), seen: Noticed{Floats: 5},
		},
		{
			name: "candle with nulls", value: cfWith(cfCandle, "1786310760000", "1786310760", `"trades":true`, `"trades":null`, `"closed":false`, `"closed":null`),
			want: candles(func(v *marketdata.OHLCV) { v.Closed = marketdata.Optional[bool]{} }), seen: Noticed{Floats: 5},
		},
		{
			name: "candle of GATE", cfg: version(""), value: cfWith(cfCandle, "1786310760000", "1786310760", "BYBIT", "GATE", "true", "0"),
			want: candles(func(v *marketdata.OHLCV) {
				v.ExchangeID, v.Trades, v.Closed = "gate", marketdata.Some[int64](0), marketdata.Some(false)
			}), seen: Noticed{Floats: 5, QuoteAmount: true},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			topic := test.topic
			if topic == "" {
				topic = "unknown-X-Y"
			}
			got, seen, err := cfConvert(NewCryptofeed(test.cfg), topic, test.value)
			if err != nil || !reflect.DeepEqual(got, test.want) || seen != test.seen {
				t.Errorf("%s\nbecame %+v, %+v, %v\n  want %+v, %+v", test.value, got, seen, err, test.want, test.seen)
			}
		})
	}
}

// TestCryptofeedBadRecords: what is no record of a known form is refused with the
// reason, whatever the topic's name promises. None is filtered.
func TestCryptofeedBadRecords(t *testing.T) {
	t.Parallel()
	refuse := CryptofeedConfig{QuoteAmounts: quoteRefuse}
	for _, test := range []struct {
		topic, value  string
		cfg           CryptofeedConfig
		reason, field string
		message       string // part of it
	}{
		{value: "", reason: marketdata.ReasonEmptyValue},
		{value: "[]", reason: marketdata.ReasonNotAnObject},
		{value: cfTrade + "x", reason: marketdata.ReasonNotJSON},
		{value: cfWith(cfTrade, "0.04299", "NaN"), reason: marketdata.ReasonNotJSON, message: "version 3 writes null"},
		{value: cfWith(cfTrade, "0.04299", "-Infinity"), reason: marketdata.ReasonNotJSON, message: "version 3 writes null"},
		{value: cfWith(cfTrade, "0.04299", `"NaN"`), reason: marketdata.ReasonBadNumber, field: "price"},
		{value: cfWith(cfTrade, "0.04299", "null"), reason: marketdata.ReasonMissingField, field: "price"},
		{value: cfWith(cfTrade, "15979.71727919", "null"), reason: marketdata.ReasonMissingField, field: "size"},
		{value: cfWith(cfTrade, "15979.71727919", "[1]"), reason: marketdata.ReasonWrongType, field: "amount"},
		{value: cfWith(cfTrade, "15979.71727919", "1e2000"), reason: marketdata.ReasonOutOfRange, field: "amount"},
		{value: cfWith(cfTrade, "1618678145.920708", "null"), reason: marketdata.ReasonMissingField, field: "time"},
		{value: cfWith(cfTrade, "1618678145.920708", "12.5"), reason: marketdata.ReasonOutOfRange, field: "time"},
		{value: cfWith(cfTrade, "1618678145.920708", "true"), reason: marketdata.ReasonWrongType, field: "timestamp"},
		{value: cfWith(cfTrade, "1618678145.920708", "1.6e9"), reason: marketdata.ReasonBadTime, field: "timestamp"},
		{value: cfWith(cfTrade, `"id":null`, `"id":1.5`), reason: marketdata.ReasonWrongType, field: "id"},
		{value: cfWith(cfTrade, "KRAKEN", `\ud800`), reason: marketdata.ReasonInvalidText, field: "exchange"},
		{value: cfWith(cfTrade, "SC-EUR", `\u0000`), reason: marketdata.ReasonInvalidText, field: "symbol"},
		{value: cfWith(cfTrade, `"SC-EUR"`, `7`), reason: marketdata.ReasonWrongType, field: "symbol"},
		{value: cfWith(cfTrade, "SC-EUR", "\xff"), reason: marketdata.ReasonInvalidText, field: "symbol"},
		{value: cfWith(cfTrade, "KRAKEN", "COINBASE"), reason: marketdata.ReasonOutOfRange, field: "side", message: "set value.converter.cryptofeed.version"},
		{value: cfWith(cfTrade, "KRAKEN", "COINBASE", "sell", "SELL"), cfg: CryptofeedConfig{Version: "2"}, reason: marketdata.ReasonOutOfRange, field: "side"},
		{value: cfWith(cfTrade, "KRAKEN", "POLONIEX"), cfg: refuse, reason: marketdata.ReasonOutOfRange, field: "amount", message: "quote currency"},
		{value: cfWith(cfCandle, "BYBIT", "GATEIO"), cfg: refuse, reason: marketdata.ReasonOutOfRange, field: "volume", message: "quote currency"},
		{value: cfWith(cfCandle, `"trades":true`, `"trades":1.5`), reason: marketdata.ReasonBadNumber, field: "trades"},
		{value: cfWith(cfCandle, `"closed":false`, `"closed":1`), reason: marketdata.ReasonWrongType, field: "closed"},
		{value: cfWith(cfTick, "82.8686", "-1"), reason: marketdata.ReasonOutOfRange, field: "bidPrice"},
		{value: cfWith(cfTick, "1649290076.112,", "null,", "1649290077.869122", "null"), reason: marketdata.ReasonMissingField, field: "time"},
		// What other shapes are.
		{value: "{}", reason: marketdata.ReasonMissingField, message: "trades have exchange, symbol, side"},
		{topic: "trades-X-Y", value: `{"exchange":"X"}`, reason: marketdata.ReasonMissingField, message: "no record of cryptofeed's trades, which have exchange, symbol, side"},
		{topic: "book-X-Y", value: "{}", reason: marketdata.ReasonMissingField, message: "no record of cryptofeed's book"},
		{topic: "book-X-Y", value: cfTrade, reason: marketdata.ReasonMissingField, message: "value.converter.cryptofeed.keys"},
		{topic: "index-X-Y", value: cfTrade, reason: marketdata.ReasonMissingField, message: "has the fields of trades"},
		{topic: "trades-X-Y", value: cfTick, reason: marketdata.ReasonMissingField, message: "has the fields of ticker"},
		// An own account's fill has all fields of a trade.
		{topic: "trades-X-Y", value: cfWith(cfTrade, `"type"`, `"order_id":"1","type"`), reason: marketdata.ReasonMissingField, message: "has the fields of fills"},
	} {
		topic := test.topic
		if topic == "" {
			topic = "unknown-X-Y"
		}
		_, _, err := cfConvert(NewCryptofeed(test.cfg), topic, test.value)
		var bad *marketdata.Error
		if !errors.As(err, &bad) || bad.Reason != test.reason || bad.Field != test.field || !strings.Contains(bad.Message, test.message) {
			t.Errorf("%s: %s: %#v", topic, test.value, err)
		}
	}
}

// TestCryptofeedDerivatives: funding, open interest, liquidations and books, with
// what is special to them.
func TestCryptofeedDerivatives(t *testing.T) {
	t.Parallel()
	at := cfTime("2026-08-09T21:26:57.583Z")
	level := func(price, size string) marketdata.Level {
		return marketdata.Level{Price: cfDecimal(price), Size: cfDecimal(size)}
	}
	for _, test := range []struct {
		topic, value string
		want         any
		seen         Noticed
	}{
		// BYBIT in version 2: milliseconds, as integers.
		{
			topic: "funding-BYBIT-BTC-USDT-PERP",
			value: `{"exchange":"BYBIT","symbol":"BTC-USDT-PERP","mark_price":"65117.440","rate":"-1E-4","next_funding_time":1786320000000,` +
				`"predicted_rate":null,"timestamp":1786310817583,"receipt_timestamp":1786310819.526357}`,
			want: marketdata.Funding{
				ExchangeID: "bybit", Symbol: "BTC-USDT-PERP", Time: at, Rate: cfDecimal("-1E-4"), MarkPrice: cfDecimal("65117.440"),
				NextFundingTime: cfTime("2026-08-10T00:00:00Z"), Source: "cryptofeed",
			},
			seen: Noticed{Milliseconds: true},
		},
		// Only the mark price is known, and a time that the exchange did not send.
		{
			topic: "funding-X-Y",
			value: `{"exchange":"X","symbol":"Y","mark_price":2,"rate":null,"next_funding_time":null,"predicted_rate":null,"timestamp":null,"receipt_timestamp":1786310817.583}`,
			want:  marketdata.Funding{ExchangeID: "x", Symbol: "Y", Time: at, MarkPrice: cfDecimal("2"), Source: "cryptofeed"},
			seen:  Noticed{Floats: 1, ReceiveTime: true},
		},
		{
			topic: "open_interest-BYBIT-BTC-USDT-PERP",
			value: `{"exchange":"BYBIT","symbol":"BTC-USDT-PERP","open_interest":51234.5670,"timestamp":1786310817.583,"receipt_timestamp":1786310819.5}`,
			want:  marketdata.OpenInterest{ExchangeID: "bybit", Symbol: "BTC-USDT-PERP", Time: at, OpenInterest: cfDecimal("51234.5670"), Source: "cryptofeed"},
			seen:  Noticed{Floats: 1},
		},
		{
			topic: "liquidations-BINANCE_FUTURES-BTC-USDT-PERP",
			value: `{"exchange":"BINANCE_FUTURES","symbol":"BTC-USDT-PERP","side":"buy","quantity":"0.500","price":"65000.10","id":null,"status":"filled",` +
				`"timestamp":1786310817.583,"receipt_timestamp":1786310819.5}`,
			want: marketdata.Liquidation{
				ExchangeID: "binance_futures", Symbol: "BTC-USDT-PERP", Time: at, Price: cfDecimal("65000.10"), Size: cfDecimal("0.500"),
				Side: "buy", Status: "filled", Source: "cryptofeed",
			},
		},
		// A whole book has its prices as names, and so as text, whatever numeric_type is.
		{
			topic: "book-KRAKEN-BTC-USD",
			value: `{"exchange":"KRAKEN","symbol":"BTC-USD","book":{"bid":{"1.10":2.50,"1E-2":3},"ask":{}},"timestamp":1786310817.583,"receipt_timestamp":1786310819.5}`,
			want: marketdata.Book{
				ExchangeID: "kraken", Symbol: "BTC-USD", Time: at, Snapshot: true, Source: "cryptofeed",
				Bids: []marketdata.Level{level("1.10", "2.50"), level("1E-2", "3")}, Asks: []marketdata.Level{},
			},
			seen: Noticed{Floats: 2},
		},
		{
			topic: "book-KRAKEN-BTC-USD",
			value: `{"exchange":"KRAKEN","symbol":"BTC-USD","delta":{"bid":[["1.10","0"]],"ask":[[1.2,1.0],["1.30","0E-8"]]},"timestamp":1786310817.583,"receipt_timestamp":1786310817.583}`,
			want: marketdata.Book{
				ExchangeID: "kraken", Symbol: "BTC-USD", Time: at, Source: "cryptofeed",
				Bids: []marketdata.Level{level("1.10", "0")}, Asks: []marketdata.Level{level("1.2", "1.0"), level("1.30", "0E-8")},
			},
			seen: Noticed{Floats: 2, ReceiveTime: true},
		},
	} {
		for _, topic := range []string{test.topic, "mine-X-Y"} {
			got, seen, err := cfConvert(NewCryptofeed(DefaultCryptofeed()), topic, test.value)
			if err != nil || !reflect.DeepEqual(got, test.want) || seen != test.seen {
				t.Errorf("%s: %s:\n got %+v, %+v, %v\nwant %+v, %+v", topic, test.value, got, seen, err, test.want, test.seen)
			}
		}
	}
	for value, field := range map[string]string{
		`{"exchange":"X","symbol":"Y","delta":{"bid":[[1]],"ask":[]},"timestamp":1786310817}`:                        "delta",
		`{"exchange":"X","symbol":"Y","delta":{"bid":3},"timestamp":1786310817}`:                                     "delta",
		`{"exchange":"X","symbol":"Y","delta":[],"timestamp":1786310817}`:                                            "delta",
		`{"exchange":"X","symbol":"Y","book":{"bid":{"x":1}},"timestamp":1786310817}`:                                "book",
		`{"exchange":"X","symbol":"Y","book":{"bid":{"1":-1}},"timestamp":1786310817}`:                               "bids",
		`{"exchange":"X","symbol":"Y","book":{},"timestamp":1786310817}`:                                             "bids",
		`{"exchange":"X","symbol":"Y","open_interest":null,"timestamp":1786310817}`:                                  "openInterest",
		`{"exchange":"X","symbol":"Y","rate":null,"next_funding_time":null,"timestamp":1786310817}`:                  "rate",
		`{"exchange":"X","symbol":"Y","quantity":null,"price":1,"side":"buy","timestamp":1786310817}`:                "size",
		`{"exchange":"X","symbol":"Y","quantity":1,"price":1,"side":"buy","timestamp":null,"receipt_timestamp":1.5}`: "time",
	} {
		_, _, err := cfConvert(NewCryptofeed(DefaultCryptofeed()), "mine", value)
		var bad *marketdata.Error
		if !errors.As(err, &bad) || bad.Field != field {
			t.Errorf("%s: %v, want %s to blame", value, err, field)
		}
	}
}

// TestCryptofeedFiltered: kinds that are not stored are filtered, both by the
// topic and where only the fields tell.
func TestCryptofeedFiltered(t *testing.T) {
	t.Parallel()
	c := NewCryptofeed(DefaultCryptofeed())
	for key, value := range map[string]string{
		"index":        `{"exchange":"X","symbol":"Y","price":1,"timestamp":1}`,
		"order_info":   `{"exchange":"X","symbol":"Y","id":"1","side":"buy","status":"open","type":"limit","price":1,"amount":1,"remaining":1,"timestamp":1}`,
		"fills":        `{"exchange":"X","symbol":"Y","side":"buy","amount":1,"price":1,"fee":0,"liquidity":"taker","id":"1","order_id":"1","timestamp":1}`,
		"balances":     `{"exchange":"X","currency":"Y","balance":1,"reserved":0,"timestamp":1}`,
		"transactions": `{"exchange":"X","currency":"Y","type":"deposit","status":"done","amount":1,"timestamp":1}`,
	} {
		for _, topic := range []string{key + "-X-Y", "mine-X-Y"} {
			if _, _, err := cfConvert(c, topic, value); !errors.Is(err, connect.ErrFiltered) {
				t.Errorf("%s: %v", topic, err)
			}
		}
		if kinds := c.Kinds(key + "-X-Y"); kinds == nil || len(kinds) != 0 {
			t.Errorf("%s holds %v", key, kinds)
		}
	}
	var rows cfRows
	if err := c.Convert("trades-X-Y", &connect.Record{}, cfNow, &rows); !errors.Is(err, connect.ErrFiltered) {
		t.Errorf("a tombstone: %v", err)
	}
}

func TestCryptofeedKinds(t *testing.T) {
	t.Parallel()
	c := NewCryptofeed(CryptofeedConfig{Keys: []string{"my-book=trades", "crypto-trades=trades"}})
	for topic, want := range map[string]string{
		"trades-BINANCE_US-BTC-USDT": "[trade]", "candles-CRYPTO.COM-BTC-USDT": "[ohlcv]", "ticker-X-Y": "[level1]", "l1_book-X-Y": "[level1]",
		"my-book-X-Y": "[trade]", "crypto-trades-X-Y": "[trade]", "book-X-Y": "[book]", "funding-X-Y": "[funding]",
		"open_interest-X-Y": "[open_interest]", "liquidations-X-Y": "[liquidation]",
		"tradesX": "[ohlcv level1 trade funding open_interest liquidation book]", "other": "[ohlcv level1 trade funding open_interest liquidation book]",
	} {
		if got := fmt.Sprint(c.Kinds(topic)); got != want {
			t.Errorf("%s: %s, want %s", topic, got, want)
		}
	}
	for _, topic := range []string{"crypto-prices-binance", "crypto-level1"} {
		if kinds := c.Kinds(topic); kinds != nil {
			t.Errorf("%s: %v, though it is not for this converter", topic, kinds)
		}
	}
}

func TestCryptofeedConfig(t *testing.T) {
	t.Parallel()
	cfg := DefaultCryptofeed()
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
	cfg = CryptofeedConfig{
		Version: "2.4.1", Keys: []string{"a=trade", "b", "=c", "d=trades", "d=book"}, Exchanges: []string{"HUOBI="}, QuoteAmounts: "drop",
	}
	err := cfg.Validate()
	for _, want := range []string{
		`value.converter.cryptofeed.version: "2.4.1" is none of 2, 3, mixed`, `keys: a=trade: "trade" is none of trades, ticker`,
		`keys: "b" is not of the form`, `keys: "=c" is not of`, `keys: d is both trades and book`, `exchanges: "HUOBI=" is not`,
		`quote.amounts: "drop" is neither sent nor refuse`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}

// TestCryptofeedKeys: the keys decode as users write them, and the description has
// each.
func TestCryptofeedKeys(t *testing.T) {
	t.Parallel()
	cfg := DefaultCryptofeed()
	if keys := config.Describe(&cfg); len(keys) != 4 {
		t.Errorf("%d keys", len(keys))
	}
	if _, err := config.Decode(map[string]string{
		"value.converter.cryptofeed.version": "3", "value.converter.cryptofeed.keys": "mytrades=trades, q=ticker",
		"value.converter.cryptofeed.exchanges": "HUOBI=HTX,GATEIO=GATE", "value.converter.cryptofeed.quote.amounts": "refuse",
	}, &cfg); err != nil {
		t.Fatal(err)
	}
	want := CryptofeedConfig{
		Version: cryptofeed3, Keys: []string{"mytrades=trades", "q=ticker"}, Exchanges: []string{"HUOBI=HTX", "GATEIO=GATE"}, QuoteAmounts: quoteRefuse,
	}
	if err := cfg.Validate(); err != nil || !reflect.DeepEqual(cfg, want) {
		t.Errorf("%+v, %v", cfg, err)
	}
	cfg = DefaultCryptofeed()
	if _, err := config.Decode(nil, &cfg); err != nil || cfg.Validate() != nil || cfg.Version != "" {
		t.Errorf("without a version: %+v, %v", cfg, err)
	}
}

func TestEpochTime(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"1618678145.9207085":        "2021-04-17T16:49:05.920708Z", // half to even
		"1618678145.9207075":        "2021-04-17T16:49:05.920708Z",
		"1618678145.92070850":       "2021-04-17T16:49:05.920708Z",
		"1618678145.92070850001":    "2021-04-17T16:49:05.920709Z",
		"1618678145.9999996":        "2021-04-17T16:49:06Z",
		"1618678145.9":              "2021-04-17T16:49:05.9Z",
		"1618678145920.5":           "2021-04-17T16:49:05.9205Z",
		"1618678145920708.9":        "2021-04-17T16:49:05.920708Z", // finer than the floats in question: cut
		"1618678145920708999":       "2021-04-17T16:49:05.920708Z",
		"2021-04-17 16:49:05.9999Z": "2021-04-17T16:49:05.9999Z",
	} {
		got, _, fault := epochTime(s)
		if fault != nil || !got.Equal(cfTime(want)) {
			t.Errorf("%s: %v, %v; want %s", s, got, fault, want)
		}
	}
	for _, s := range []string{"", ".", "1.", ".5", "-1.5", "1e9", "1618678145.5x", "1618678145920708.x", "1618678145920708.", "99999999999999999999.5", "99999999999999999999"} {
		if got, _, fault := epochTime(s); fault == nil {
			t.Errorf("%q is %v", s, got)
		}
	}
}

// TestCryptofeedConcurrent has many converting with one converter, each its own
// records.
func TestCryptofeedConcurrent(t *testing.T) {
	t.Parallel()
	c := NewCryptofeed(DefaultCryptofeed())
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			value := cfWith(cfTrade, "SC-EUR", fmt.Sprintf("S%d-EUR", i), "KRAKEN", fmt.Sprintf("K%d", i))
			for range 2000 {
				got, _, err := cfConvert(c, "trades-X-Y", value)
				v, ok := got.(marketdata.Trade)
				if !ok || v.Symbol != fmt.Sprintf("S%d-EUR", i) || v.ExchangeID != fmt.Sprintf("k%d", i) {
					t.Errorf("%+v, %v", got, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestCryptofeedExchangeIsKept: the buffer of a record is used again, and what is
// kept of its exchange does not change with it.
func TestCryptofeedExchangeIsKept(t *testing.T) {
	t.Parallel()
	rec := NewCryptofeed(DefaultCryptofeed()).(*cryptofeed).states.New().(*cryptofeedRecord)
	value := []byte(cfWith(cfTrade, "KRAKEN", "kraken"))
	if err := rec.convert("trades-X-Y", value, &cfRows{}); err != nil {
		t.Fatal(err)
	}
	copy(value, bytes.Repeat([]byte("x"), len(value)))
	if want := map[string]string{"kraken": "kraken"}; !maps.Equal(rec.names, want) {
		t.Errorf("%v", rec.names)
	}
	for i := range 3 * exchangesMax {
		if err := rec.convert("trades-X-Y", []byte(cfWith(cfTrade, "KRAKEN", fmt.Sprint("K", i))), &cfRows{}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(rec.names); n > exchangesMax {
		t.Errorf("%d names are kept", n)
	}
}

// cfSamples reads the records of testdata.
func cfSamples(tb testing.TB) (samples []struct{ Topic, Value string }) {
	tb.Helper()
	f, err := os.Open("testdata/cryptofeed.jsonl")
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var s struct{ Topic, Value string }
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			tb.Fatal(err)
		}
		samples = append(samples, s)
	}
	if len(samples) < 30 || lines.Err() != nil {
		tb.Fatalf("%d samples, %v", len(samples), lines.Err())
	}
	return samples
}

func FuzzCryptofeed(f *testing.F) {
	for _, s := range cfSamples(f) {
		f.Add(s.Topic, []byte(s.Value))
	}
	f.Add("x", []byte(cfWith(cfTrade, `"id"`, `"\u0069d"`)))
	version := []Converter{NewCryptofeed(DefaultCryptofeed()), NewCryptofeed(CryptofeedConfig{Version: "2", QuoteAmounts: quoteRefuse, Exchanges: []string{"a=b"}})}
	f.Fuzz(func(t *testing.T, topic string, value []byte) {
		for _, c := range version {
			given := bytes.Clone(value)
			var rows cfRows
			err := c.Convert(topic, &connect.Record{Value: given}, cfNow, &rows)
			if !bytes.Equal(given, value) {
				t.Fatal("the value was changed")
			}
			var bad *marketdata.Error
			switch {
			case err == nil:
				if len(rows.got) != 1 || !json.Valid(value) {
					t.Fatalf("%d rows", len(rows.got))
				}
			case errors.Is(err, connect.ErrFiltered):
				// Only what is a whole record of another kind may be filtered.
				var members map[string]json.RawMessage
				if value != nil && json.Unmarshal(value, &members) != nil {
					t.Fatalf("filtered: %q", value)
				}
				if value != nil && !cfNotStored(members) {
					t.Fatalf("filtered: %q", value)
				}
			case !errors.As(err, &bad) || bad.Reason == "" || bad.Message == "":
				t.Fatalf("%#v", err)
			}
		}
	})
}

// cfNotStored says whether members are those of a kind that is not stored.
func cfNotStored(members map[string]json.RawMessage) bool {
	for _, name := range []string{
		"balance", "reserved",
		"currency", "remaining", "order_id", "liquidity", "fee", "account",
	} {
		if _, ok := members[name]; ok {
			return true
		}
	}
	_, price := members["price"]
	_, amount := members["amount"]
	return price && !amount
}

// cfCheckedRows checks rows, as a sink does, and keeps none.
type cfCheckedRows struct{}

func (cfCheckedRows) Row(v marketdata.Row) error { return v.Check(cfNow) }

// BenchmarkConvertCryptofeed has the native decoder beside it, which checks too.
func BenchmarkConvertCryptofeed(b *testing.B) {
	b.Run("native-price", func(b *testing.B) {
		value := []byte(`{"coinId":"bitcoin","symbol":"BTC","exchangeId":"binance","usdPrice":"67123.45","marketCap":"1322334455667.12",` +
			`"volume24h":"28123456789.01","time":"2026-02-03T04:05:06.789012Z","source":"exchange-feed","attribution":"binance spot"}`)
		var d marketdata.Decoder
		var out marketdata.Price
		b.ReportAllocs()
		b.SetBytes(int64(len(value)))
		for b.Loop() {
			if err := d.Price(value, cfNow, &out); err != nil {
				b.Fatal(err)
			}
		}
	})
	for name, value := range map[string]string{"trades": cfTrade, "ticker": cfTick, "candles": cfCandle} {
		b.Run(name, func(b *testing.B) {
			c := NewCryptofeed(DefaultCryptofeed())
			r := &connect.Record{Value: []byte(value)}
			topic := name + "-X-Y"
			b.ReportAllocs()
			b.SetBytes(int64(len(value)))
			for b.Loop() {
				if err := c.Convert(topic, r, cfNow, cfCheckedRows{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

package converters

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/qicore/tickconnect/config"
	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/marketdata"
)

const (
	ccxtTradeText = `{"info":{"instId":"PROPS-ETH","px":"0.00000166","sz":"637.040568470","side":"sell"},"timestamp":1645999995692,` +
		`"datetime":"2022-02-27T22:13:15.692Z","symbol":"PROPS/ETH","id":"47220","order":null,"type":null,"takerOrMaker":null,"side":"sell",` +
		`"price":1.66e-06,"amount":637.04056847,"cost":0.0010574873436602,"fee":{"cost":null,"currency":null},"fees":[]}`
	ccxtTickerText = `{"symbol":"BTC/USDT","timestamp":null,"datetime":null,"high":null,"low":null,"bid":6621.55,"bidVolume":0.163567,"ask":6622.1,` +
		`"askVolume":0.18635,"vwap":6600.123456789012345,"open":1.0,"close":2.0,"last":2.0,"previousClose":null,"change":1.0,"percentage":50.0,` +
		`"average":1.5,"baseVolume":10.0,"quoteVolume":20.0,"markPrice":null,"indexPrice":null,"info":{"askPrice":"6622.10000000",` +
		`"askQty":"0.18635000","bidPrice":"6621.55000000","bidQty":"0.16356700","symbol":"BTCUSDT"}}`
	ccxtBarText  = `[1586987400000,6733.55,6737.79,6726.61,6727.14,121.201391]`
	ccxtBookText = `{"symbol":"BTC/USDT","bids":[[32085.65,5e-06],[32083.66,0.022568]],"asks":[[32085.66,2.048437,17]],"timestamp":null,` +
		`"datetime":null,"nonce":8223158780}`
	ccxtCoinbaseText = `{"info":{"product_id":"BTC-USD","trade_id":"1068572091","price":"65083.670","size":"0.01034361","time":"2026-08-09T21:05:48.167634Z",` +
		`"side":"SELL"},"id":"1068572091","order":null,"timestamp":1786309548167,"datetime":"2026-08-09T21:05:48.167634Z","symbol":"BTC/USD","type":null,` +
		`"side":"sell","takerOrMaker":null,"price":65083.67,"amount":0.01034361,"cost":673.2000998487,"fee":{"cost":null},"fees":[]}`
	ccxtKrakenText = `{"id":null,"order":null,"info":["0.042990","15979.71727919","1618678145.920708","s","l",""],"timestamp":1618678145920,` +
		`"datetime":"2021-04-17T16:49:05.920Z","symbol":"SC/EUR","type":"limit","side":"sell","takerOrMaker":null,"price":0.04299,` +
		`"amount":15979.71727919,"cost":686.9680458323782,"fee":{"cost":null,"currency":null},"fees":[]}`
)

// ccxtTest is a record and what becomes of it.
type ccxtTest struct {
	name, topic, key, value string
	cfg                     func(*CCXTConfig)
	want                    []any
	seen                    Noticed
}

func (test *ccxtTest) run(t *testing.T) {
	t.Helper()
	cfg := DefaultCCXT()
	if test.cfg != nil {
		test.cfg(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	var key []byte
	if test.key != "" {
		key = []byte(test.key)
	}
	c := NewCCXT(cfg)
	got, seen, err := convertAll(c, test.topic, key, test.value)
	holdsOnly(t, c.Kinds(test.topic), got)
	if err != nil || !reflect.DeepEqual(got, test.want) || seen != test.seen {
		t.Errorf("%s\nbecame %+v, %+v, %v\n  want %+v, %+v", test.value, got, seen, err, test.want, test.seen)
	}
}

// TestCCXTRows has a structure of each kind, each trap and each way to tell what the
// structures do not.
func TestCCXTRows(t *testing.T) {
	t.Parallel()
	trade := marketdata.Trade{
		ExchangeID: "okx", Symbol: "PROPS/ETH", TradeID: "47220", Time: cfTime("2022-02-27T22:13:15.692Z"), Price: cfDecimal("0.00000166"),
		Size: cfDecimal("637.040568470"), Side: "sell", Source: "ccxt",
	}
	// The record's Kafka timestamp stands for the time that the exchange did not give.
	quote := marketdata.Level1{
		ExchangeID: "binance", Symbol: "BTC/USDT", Time: cfTime("2026-08-09T21:30:00Z"), BidPrice: cfDecimal("6621.55000000"),
		BidSize: cfDecimal("0.16356700"), AskPrice: cfDecimal("6622.10000000"), AskSize: cfDecimal("0.18635000"), Source: "ccxt",
	}
	bar := marketdata.OHLCV{
		ExchangeID: "binance", Symbol: "BTC/USDT", Interval: "1m", Time: cfTime("2020-04-15T21:50:00Z"), Open: cfDecimal("6733.55"),
		High: cfDecimal("6737.79"), Low: cfDecimal("6726.61"), Close: cfDecimal("6727.14"), Volume: cfDecimal("121.201391"), Source: "ccxt",
	}
	book := marketdata.Book{
		ExchangeID: "binance", Symbol: "BTC/USDT", Time: cfTime("2026-08-09T21:30:00Z"), Snapshot: true, Sequence: cfDecimal("8223158780"),
		Bids: tardisLevels("32085.65", "5e-06", "32083.66", "0.022568"), Asks: tardisLevels("32085.66", "2.048437"), Source: "ccxt",
	}
	coinbase := marketdata.Trade{
		ExchangeID: "coinbase", Symbol: "BTC/USD", TradeID: "1068572091", Time: cfTime("2026-08-09T21:05:48.167634Z"), Price: cfDecimal("65083.670"),
		Size: cfDecimal("0.01034361"), Side: "buy", Source: "ccxt",
	}
	kraken := marketdata.Trade{
		ExchangeID: "kraken", Symbol: "SC/EUR", Time: cfTime("2021-04-17T16:49:05.920708Z"), Price: cfDecimal("0.042990"),
		Size: cfDecimal("15979.71727919"), Side: "sell", Source: "ccxt",
	}
	const okx, binance, bars = "ccxt.okx.trades", "ccxt.binance.tickers", "ccxt.binance.ohlcv.1m"
	received := Noticed{ReceiveTime: true}
	for _, key := range []string{"BTC/USDT", `"BTC/USDT"`} {
		test := ccxtTest{topic: bars, key: key, value: ccxtBarText, want: []any{bar}, seen: Noticed{Floats: 5}}
		test.run(t)
	}
	for _, test := range []ccxtTest{
		{name: "trade with the exchange's own digits", topic: okx, value: ccxtTradeText, want: []any{trade}},
		{
			name: "info as another number does not count", topic: okx, value: cfWith(ccxtTradeText, `"637.040568470"`, `"6.3704056847"`, `"px":"0.00000166"`, `"px":""`),
			want: []any{edited(trade, func(v *marketdata.Trade) { v.Price, v.Size = cfDecimal("1.66e-06"), cfDecimal("637.04056847") })}, seen: Noticed{Floats: 2},
		},
		{
			name: "info with numbers is as float as the structure", topic: okx, value: cfWith(ccxtTradeText, `"637.040568470"`, `637.0405684700000001`, `"px":"0.00000166"`, `"px":1.66e-06`),
			want: []any{edited(trade, func(v *marketdata.Trade) { v.Price, v.Size = cfDecimal("1.66e-06"), cfDecimal("637.04056847") })}, seen: Noticed{Floats: 2},
		},
		{
			name: "info of an exchange that is not known", topic: "ccxt.gate.trades", value: cfWith(ccxtTradeText, "637.04056847,", "0.12345678901234567,"),
			want: []any{edited(trade, func(v *marketdata.Trade) {
				v.ExchangeID, v.Price, v.Size = "gate", cfDecimal("1.66e-06"), cfDecimal("0.12345678901234567")
			})}, seen: Noticed{Floats: 2, LongFloats: 1},
		},
		{
			name: "exchange.number is str", topic: okx, value: cfWith(ccxtTradeText, `1.66e-06`, `"0.0000016600"`, "637.04056847,", `"637.0405684700",`),
			want: []any{edited(trade, func(v *marketdata.Trade) { v.Price, v.Size = cfDecimal("0.0000016600"), cfDecimal("637.0405684700") })},
		},
		{
			name: "JavaScript's numbers", topic: "ccxt.x.trades", value: cfWith(ccxtTradeText, "1.66e-06", "0.00000166", "637.04056847,", "23,"),
			want: []any{edited(trade, func(v *marketdata.Trade) { v.ExchangeID, v.Size = "x", cfDecimal("23") })}, seen: Noticed{Floats: 2},
		},
		{
			name: "a slash that is escaped", topic: okx, value: cfWith(ccxtTradeText, "PROPS/ETH", `PROPS\/ETH:ETH`),
			want: []any{edited(trade, func(v *marketdata.Trade) { v.Symbol = "PROPS/ETH:ETH" })},
		},
		{name: "the structure's symbol beats the key's", topic: okx, key: "BTC/USDT", value: ccxtTradeText, want: []any{trade}},
		{
			name: "unknown fields", topic: okx, value: cfWith(ccxtTradeText, `"order"`, `"mine":{"a":1},"order"`),
			want: []any{trade}, seen: Noticed{UnknownFields: 1},
		},
		{name: "coinbase has the maker's side and a datetime in microseconds", topic: "ccxt.coinbase.trades", value: ccxtCoinbaseText, want: []any{coinbase}},
		{
			name: "coinbase buy", topic: "ccxt.coinbase.trades", value: cfWith(ccxtCoinbaseText, `"side":"sell"`, `"side":"buy"`),
			want: []any{edited(coinbase, func(v *marketdata.Trade) { v.Side = "sell" })},
		},
		{
			name: "coinbase without a side", topic: "ccxt.coinbase.trades", value: cfWith(ccxtCoinbaseText, `"side":"sell"`, `"side":null`),
			want: []any{edited(coinbase, func(v *marketdata.Trade) { v.Side = "" })},
		},
		{
			name: "coinbaseexchange has the taker's side", topic: "ccxt.coinbaseexchange.trades", value: cfWith(ccxtCoinbaseText, `"datetime":"2026-08-09T21:05:48.167634Z"`, `"datetime":"2026-08-09T21:05:48.167Z"`),
			want: []any{edited(coinbase, func(v *marketdata.Trade) { v.ExchangeID, v.Side = "coinbaseexchange", "sell" })},
		},
		{
			name: "maker.sides", topic: okx, value: ccxtTradeText, cfg: func(c *CCXTConfig) { c.MakerSides = []string{"OKX"} },
			want: []any{edited(trade, func(v *marketdata.Trade) { v.Side = "buy" })},
		},
		{
			name: "no maker.sides", topic: "ccxt.coinbase.trades", value: ccxtCoinbaseText, cfg: func(c *CCXTConfig) { c.MakerSides = nil },
			want: []any{edited(coinbase, func(v *marketdata.Trade) { v.Side = "sell" })},
		},
		{name: "id null, and microseconds in info", topic: "ccxt.kraken.trades", value: ccxtKrakenText, want: []any{kraken}},
		{
			name: "a datetime of another instant does not count", topic: "ccxt.kraken.trades", value: cfWith(ccxtKrakenText, `1618678145.920708`, `1618678145.930708`, "05.920Z", "07.920001Z"),
			want: []any{edited(kraken, func(v *marketdata.Trade) { v.Time = cfTime("2021-04-17T16:49:05.920Z") })},
		},
		{
			name: "a datetime alone", topic: okx, value: cfWith(ccxtTradeText, `"timestamp":1645999995692`, `"timestamp":null`),
			want: []any{trade},
		},

		{name: "ticker without a time", topic: binance, value: ccxtTickerText, want: []any{quote}, seen: received},
		{
			name: "ticker with a time", topic: binance, value: cfWith(ccxtTickerText, `"timestamp":null`, `"timestamp":1611715404283`),
			want: []any{edited(quote, func(v *marketdata.Level1) { v.Time = cfTime("2021-01-27T02:43:24.283Z") })},
		},
		{
			name: "ticker with a null and a 0", topic: binance, value: cfWith(ccxtTickerText, `0.163567`, "null", "6622.1,", "0.0,"),
			want: []any{edited(quote, func(v *marketdata.Level1) {
				v.BidSize, v.AskPrice, v.AskSize = marketdata.Decimal{}, marketdata.Decimal{}, marketdata.Decimal{}
			})}, seen: Noticed{ReceiveTime: true, Floats: 1},
		},
		{
			name: "tickers by their symbols", topic: binance, value: `{"BTC/USDT":` + ccxtTickerText + `,"ETH/USDT":` + cfWith(ccxtTickerText, "BTC/USDT", "ETH/USDT") + `}`,
			want: []any{quote, edited(quote, func(v *marketdata.Level1) { v.Symbol = "ETH/USDT" })}, seen: received,
		},
		{
			name: "one of several tickers has a quote", topic: binance,
			value: `[` + ccxtTickerText + `,` + cfWith(ccxtTickerText, "6621.55,", "null,", "6622.1,", "null,") + `]`,
			want:  []any{quote}, seen: Noticed{ReceiveTime: true, Floats: 0},
		},

		{name: "bar", topic: bars, key: "BTC/USDT", value: ccxtBarText, want: []any{bar}, seen: Noticed{Floats: 5}},
		{
			name: "the bars of a call", topic: bars, key: "BTC/USDT", value: `[` + ccxtBarText + `,` + cfWith(ccxtBarText, "1586987400000", "1586987460000", "121.201391", "0") + `]`,
			want: []any{bar, edited(bar, func(v *marketdata.OHLCV) { v.Time, v.Volume = cfTime("2020-04-15T21:51:00Z"), cfDecimal("0") })}, seen: Noticed{Floats: 10},
		},
		{name: "a bar with a seventh element", topic: bars, key: "BTC/USDT", value: cfWith(ccxtBarText, "]", ",7]"), want: []any{bar}, seen: Noticed{Floats: 5, UnknownFields: 1}},
		{
			name: "a topic of one's own", topic: "md_binance_watchOHLCV_BTC-USDT_1m", value: ccxtBarText,
			cfg: func(c *CCXTConfig) {
				c.TopicPattern = `^md_(?P<exchange>\w+)_(?P<kind>\w+)_(?P<symbol>[^_]+)_(?P<interval>\w+)$`
			},
			want: []any{edited(bar, func(v *marketdata.OHLCV) { v.Symbol = "BTC-USDT" })}, seen: Noticed{Floats: 5},
		},
		{
			name: "a key of one's own", topic: "bars", key: "Binance|BTC/USDT|1m", value: ccxtBarText,
			cfg: func(c *CCXTConfig) {
				c.KeyPattern = `^(?P<exchange>[^|]+)\|(?P<symbol>[^|]+)\|(?P<interval>.+)$`
			},
			want: []any{bar}, seen: Noticed{Floats: 5},
		},
		{
			name: "an envelope beats the key and the topic", topic: "ccxt.okx.trades.1h", key: "ETH/USDT",
			value: `{"venue":"binance","what":"ohlcv","market":"BTC\/USDT","tf":"1m","note":[1],"data":[` + ccxtBarText + `]}`,
			cfg: func(c *CCXTConfig) {
				c.Envelope = []string{"value=data", "exchange=venue", "kind=what", "symbol=market", "interval=tf"}
			},
			want: []any{bar}, seen: Noticed{Floats: 5},
		},
		{
			name: "what an envelope does not tell", topic: bars, key: "BTC/USDT", value: `{"exchange":null,"value":` + ccxtBarText + `}`,
			cfg: func(c *CCXTConfig) { c.Envelope = []string{"value=value", "exchange=exchange", "kind=kind"} }, want: []any{bar}, seen: Noticed{Floats: 5},
		},
		{
			name: "one exchange", topic: "anything", value: ccxtTradeText, cfg: func(c *CCXTConfig) { c.Exchange = "OKX" },
			want: []any{trade},
		},

		{name: "order book with a third element", topic: "ccxt.binance.orderbook", value: ccxtBookText, want: []any{book}, seen: Noticed{Floats: 6, ReceiveTime: true}},
		{
			name: "order book and its top", topic: "ccxt.binance.orderbook", value: ccxtBookText, cfg: func(c *CCXTConfig) { c.OrderBookTop = true },
			want: []any{book, marketdata.Level1{
				ExchangeID: "binance", Symbol: "BTC/USDT", Time: book.Time, BidPrice: cfDecimal("32085.65"), BidSize: cfDecimal("5e-06"),
				AskPrice: cfDecimal("32085.66"), AskSize: cfDecimal("2.048437"), Sequence: cfDecimal("8223158780"), Source: "ccxt",
			}}, seen: Noticed{Floats: 6, ReceiveTime: true},
		},
		{
			name: "order book without orders and a symbol", topic: "ccxt.binance.orderbook", key: "BTC/USDT",
			value: `{"symbol":null,"bids":[],"asks":[],"timestamp":1611715404283,"nonce":null}`, cfg: func(c *CCXTConfig) { c.OrderBookTop = true },
			want: []any{marketdata.Book{
				ExchangeID: "binance", Symbol: "BTC/USDT", Time: cfTime("2021-01-27T02:43:24.283Z"), Snapshot: true, Bids: tardisLevels(), Asks: tardisLevels(), Source: "ccxt",
			}},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t)
		})
	}
}

// TestCCXTOverlap: a call that is made again brings the same trades and bars again
// and the last bar changed. They have the same keys, so that the newer wins.
func TestCCXTOverlap(t *testing.T) {
	t.Parallel()
	c := NewCCXT(DefaultCCXT())
	first, _, err1 := convertAll(c, "ccxt.binance.ohlcv.1m", []byte("BTC/USDT"), ccxtBarText)
	again, _, err2 := convertAll(c, "ccxt.binance.ohlcv.1m", []byte("BTC/USDT"), `[`+cfWith(ccxtBarText, "6727.14", "6730.01")+`]`)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	a, b := first[0].(marketdata.OHLCV), again[0].(marketdata.OHLCV)
	if b.Close = a.Close; !reflect.DeepEqual(a, b) || a.Closed.Set {
		t.Errorf("%+v, %+v", a, b)
	}
}

// TestCCXTBadRecords: what is no structure, or of which something is told by nobody,
// is refused with the reason and what to set, all rows of a call together.
func TestCCXTBadRecords(t *testing.T) {
	t.Parallel()
	const okx, bars = "ccxt.okx.trades", "ccxt.binance.ohlcv.1m"
	envelope := func(c *CCXTConfig) { c.Envelope = []string{"value=data", "exchange=venue"} }
	for _, test := range []struct {
		topic, key, value, reason, field, message string
		cfg                                       func(*CCXTConfig)
	}{
		{topic: okx, value: "", reason: marketdata.ReasonEmptyValue},
		{topic: okx, value: "7", reason: marketdata.ReasonNotAnObject},
		{topic: okx, value: `"x"`, reason: marketdata.ReasonNotAnObject},
		{topic: okx, value: ccxtTradeText + "x", reason: marketdata.ReasonNotJSON},
		{topic: okx, value: cfWith(ccxtTradeText, "1.66e-06", "NaN"), reason: marketdata.ReasonNotJSON},
		{topic: okx, value: "{}", reason: marketdata.ReasonMissingField, message: "a trade has price and amount"},
		{topic: okx, value: `{"symbol":"A/B","fundingRate":1.0,"markPrice":1.0}`, reason: marketdata.ReasonMissingField, message: "no structure"},
		{topic: okx, value: `{"A/B":{"1m":[` + ccxtBarText + `]}}`, reason: marketdata.ReasonMissingField, message: "no structure"},
		// An order of one's own has all that a trade has.
		{topic: okx, value: cfWith(ccxtTradeText, `"order":null`, `"filled":0.0,"remaining":1.0,"status":"open"`), reason: marketdata.ReasonMissingField, message: "no structure"},
		{topic: okx, value: ccxtTickerText, reason: marketdata.ReasonMissingField, message: "the value is of the kind ticker, but"},
		{topic: "ccxt.okx.positions", value: ccxtTradeText, reason: marketdata.ReasonOutOfRange, field: "kind", message: `"positions"`},
		{topic: "anything", value: ccxtTradeText, reason: marketdata.ReasonMissingField, field: "exchange", message: "set value.converter.ccxt.exchange"},
		{topic: okx, value: cfWith(ccxtTradeText, `"PROPS/ETH"`, "null"), reason: marketdata.ReasonMissingField, field: "symbol", message: "(?P<symbol>...)"},
		{topic: okx, value: cfWith(ccxtTradeText, `"PROPS/ETH"`, "7"), reason: marketdata.ReasonWrongType, field: "symbol"},
		{topic: okx, value: cfWith(ccxtTradeText, `"PROPS/ETH"`, `"\u0000"`), reason: marketdata.ReasonInvalidText, field: "symbol"},
		{topic: okx, value: cfWith(ccxtTradeText, `637.04056847,`, "null,"), reason: marketdata.ReasonMissingField, field: "size"},
		{topic: okx, value: cfWith(ccxtTradeText, `1.66e-06`, `"x"`), reason: marketdata.ReasonBadNumber, field: "price"},
		{topic: okx, value: cfWith(ccxtTradeText, `1.66e-06`, `0.0`), reason: marketdata.ReasonOutOfRange, field: "price"},
		{topic: okx, value: cfWith(ccxtTradeText, `"timestamp":1645999995692,"datetime":"2022-02-27T22:13:15.692Z"`, `"timestamp":null,"datetime":null`), reason: marketdata.ReasonMissingField, field: "time"},
		{topic: okx, value: cfWith(ccxtTradeText, `1645999995692`, `1.6e12`), reason: marketdata.ReasonBadTime, field: "timestamp"},
		{topic: okx, value: cfWith(ccxtTradeText, `"47220"`, `1.5`), reason: marketdata.ReasonWrongType, field: "id"},
		{topic: "ccxt.coinbase.trades", value: cfWith(ccxtCoinbaseText, `"side":"sell"`, `"side":"SELL"`), reason: marketdata.ReasonOutOfRange, field: "side", message: "maker.sides"},
		{topic: okx, value: `[` + ccxtTradeText + `,` + cfWith(ccxtTradeText, "1.66e-06", "-1.0") + `]`, reason: marketdata.ReasonOutOfRange, field: "price"},
		{topic: okx, value: `[` + cfWith(ccxtTradeText, "1.66e-06", "-1.0") + `,` + ccxtTradeText + `]`, reason: marketdata.ReasonOutOfRange, field: "price"},
		{topic: okx, value: `{"A":` + cfWith(ccxtTradeText, "1.66e-06", "-1.0") + `,"B":` + ccxtTradeText + `}`, reason: marketdata.ReasonOutOfRange, field: "price"},
		{topic: okx, value: `[` + ccxtTradeText + `,null]`, reason: marketdata.ReasonMissingField, message: "no structure"},
		{topic: "ccxt.okx.tickers", value: cfWith(ccxtTickerText, "6621.55,", "-1.0,"), reason: marketdata.ReasonOutOfRange, field: "bidPrice"},
		{topic: bars, value: ccxtBarText, reason: marketdata.ReasonMissingField, field: "symbol", message: "make it the record's key"},
		// A key that holds more than a symbol is none.
		{topic: bars, key: "binance:BTC/USDT", value: ccxtBarText, reason: marketdata.ReasonMissingField, field: "symbol"},
		{topic: bars, key: "binance-BTC/USDT", value: ccxtBarText, reason: marketdata.ReasonMissingField, field: "symbol"},
		{topic: bars, key: "binance/BTC/USDT", value: ccxtBarText, reason: marketdata.ReasonMissingField, field: "symbol"},
		{topic: bars, key: "BTC/USDT|1m", value: ccxtBarText, reason: marketdata.ReasonMissingField, field: "symbol"},
		{topic: "ccxt.binance.ohlcv", key: "BTC/USDT", value: ccxtBarText, reason: marketdata.ReasonMissingField, field: "interval", message: "(?P<interval>...)"},
		{topic: bars, key: "BTC/USDT", value: `[1586987400000,6733.55]`, reason: marketdata.ReasonWrongType, message: "2 elements"},
		{topic: bars, key: "BTC/USDT", value: cfWith(ccxtBarText, "121.201391", "null"), reason: marketdata.ReasonMissingField, field: "volume"},
		{topic: bars, key: "BTC/USDT", value: cfWith(ccxtBarText, "1586987400000", "null"), reason: marketdata.ReasonMissingField, field: "time"},
		{topic: bars, key: "BTC/USDT", value: cfWith(ccxtBarText, "6733.55", "[1]"), reason: marketdata.ReasonWrongType, field: "open"},
		{topic: bars, key: "a/\xff", value: ccxtBarText, reason: marketdata.ReasonInvalidText, field: "symbol"},
		{topic: "ccxt.okx.orderbook", value: cfWith(ccxtBookText, `[32085.66,2.048437,17]`, `[32085.66]`), reason: marketdata.ReasonWrongType, field: "asks"},
		{topic: "ccxt.okx.orderbook", value: cfWith(ccxtBookText, `[32085.66,2.048437,17]`, `[32085.66,null]`), reason: marketdata.ReasonMissingField, field: "asks"},
		{topic: "ccxt.okx.orderbook", value: cfWith(ccxtBookText, `8223158780`, `1.5`), reason: marketdata.ReasonBadNumber, field: "sequence"},
		{topic: "ccxt.okx.orderbook", value: cfWith(ccxtBookText, `"BTC/USDT"`, `null`), reason: marketdata.ReasonMissingField, field: "symbol"},
		{topic: okx, cfg: envelope, value: ccxtTradeText, reason: marketdata.ReasonMissingField, field: "data", message: "value.converter.ccxt.envelope"},
		{topic: okx, cfg: envelope, value: `[]`, reason: marketdata.ReasonMissingField, field: "data"},
		{topic: okx, cfg: envelope, value: `{"venue":7,"data":` + ccxtTradeText + `}`, reason: marketdata.ReasonWrongType, field: "venue"},
		{topic: okx, cfg: envelope, value: `{"venue":"\ud800","data":` + ccxtTradeText + `}`, reason: marketdata.ReasonInvalidText, field: "venue"},
	} {
		cfg := DefaultCCXT()
		if test.cfg != nil {
			test.cfg(&cfg)
		}
		var key []byte
		if test.key != "" {
			key = []byte(test.key)
		}
		_, _, err := convertAll(NewCCXT(cfg), test.topic, key, test.value)
		var bad *marketdata.Error
		if !errors.As(err, &bad) || bad.Reason != test.reason || bad.Field != test.field || !strings.Contains(bad.Message, test.message) {
			t.Errorf("%s: %s: %#v, want %s of %q", test.topic, test.value, err, test.reason, test.field)
		}
	}
}

// TestCCXTFiltered: a call that returned nothing, and tickers without a quote.
func TestCCXTFiltered(t *testing.T) {
	t.Parallel()
	c := NewCCXT(DefaultCCXT())
	bare := cfWith(ccxtTickerText, "6621.55,", "null,", "6622.1,", "null,")
	for _, value := range []string{"[]", bare, "[" + bare + "," + bare + "]", `{"BTC/USDT":` + bare + `}`} {
		if _, _, err := convertAll(c, "ccxt.binance.tickers", nil, value); !errors.Is(err, connect.ErrFiltered) {
			t.Errorf("%s: %v", value, err)
		}
	}
	var rows cfRows
	if err := c.Convert("any", &connect.Record{}, cfNow, &rows); !errors.Is(err, connect.ErrFiltered) {
		t.Errorf("a tombstone: %v", err)
	}
}

func TestCCXTKinds(t *testing.T) {
	t.Parallel()
	own := DefaultCCXT()
	own.TopicPattern = `^md\.(?P<exchange>\w+)\.(?P<kind>\w+)$`
	top := DefaultCCXT()
	top.OrderBookTop = true
	// A kind that the record tells beats the topic's, so its table must be there too.
	envelope, key := DefaultCCXT(), DefaultCCXT()
	envelope.Envelope = []string{"value=data", "kind=channel", "exchange=venue"}
	key.KeyPattern = `^(?P<exchange>\w+) (?P<kind>\w+)$`
	none := CCXTConfig{Exchange: "binance"}
	for _, test := range []struct {
		cfg         CCXTConfig
		topic, want string
	}{
		{DefaultCCXT(), "ccxt.binance.trades", "[trade]"},
		{DefaultCCXT(), "ccxt-binanceusdm-watchTickers", "[level1]"},
		{DefaultCCXT(), "ccxt.okx.fetch_ohlcv.4h", "[ohlcv]"},
		{DefaultCCXT(), "ccxt.okx.order_book", "[book]"},
		{DefaultCCXT(), "ccxt.okx.fetchOrderBooks", "[book]"},
		{DefaultCCXT(), "ccxt.okx.bidsasks", "[level1]"},
		{CCXTConfig{TopicPattern: ccxtTopicPattern, Exchange: "okx"}, "anything", "[ohlcv level1 trade book]"},
		{none, "ccxt.binance.trades", "[ohlcv level1 trade book]"},
		{top, "ccxt.okx.orderbook", "[level1 book]"},
		{own, "md.kraken.trades", "[trade]"},
		{envelope, "ccxt.binance.trades", "[ohlcv level1 trade book]"},
		{envelope, "ccxt.binance.positions", "[ohlcv level1 trade book]"},
		{key, "ccxt.binance.trades", "[ohlcv level1 trade book]"},
		{envelope, "anything", "[ohlcv level1 trade book]"},
		{key, "anything", "[ohlcv level1 trade book]"},
	} {
		if got := fmt.Sprint(NewCCXT(test.cfg).Kinds(test.topic)); got != test.want {
			t.Errorf("%s: %s, want %s", test.topic, got, test.want)
		}
	}
	// A topic that is not read is refused before its records become dead letters.
	for _, test := range []struct {
		cfg           CCXTConfig
		topic, reason string
	}{
		{DefaultCCXT(), "ccxt.okx.positions", `its name tells the kind "positions"`},
		{DefaultCCXT(), "anything", "nothing tells the exchange"},
		{own, "ccxt.okx.trades", "topic.pattern does not match"},
		{own, "md.okx.balance", `its name tells the kind "balance"`},
	} {
		c := NewCCXT(test.cfg)
		reason, advice := c.(Refuser).Refusal(test.topic)
		if kinds := c.Kinds(test.topic); kinds != nil || !strings.Contains(reason, test.reason) || advice == "" {
			t.Errorf("%s: %v, %q, %q, want %q", test.topic, kinds, reason, advice, test.reason)
		}
	}
}

func TestCCXTConfig(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		cfg  CCXTConfig
		want []string
	}{
		{DefaultCCXT(), nil},
		{CCXTConfig{}, nil},
		{CCXTConfig{TopicPattern: "(", KeyPattern: ".+"}, []string{"value.converter.ccxt.topic.pattern: error parsing", "value.converter.ccxt.key.pattern: it names no group, as (?P<exchange>"}},
		{CCXTConfig{TopicPattern: "(?P<venue>.+)"}, []string{`topic.pattern: the group "venue" is none of exchange, kind, symbol, interval`}},
		{CCXTConfig{Envelope: []string{"exchange=venue", "x=y", "z"}}, []string{
			`envelope: x=y: "x" is none of value, exchange`, `envelope: "z" is not of the form from=to`, `envelope: it does not say which member holds the structures`,
		}},
	} {
		err := test.cfg.Validate()
		if (err == nil) != (test.want == nil) {
			t.Errorf("%+v: %v", test.cfg, err)
		}
		for _, want := range test.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("no %q in %v", want, err)
			}
		}
	}
	cfg := DefaultCCXT()
	if _, err := config.Decode(map[string]string{
		"value.converter.ccxt.exchange": "kraken", "value.converter.ccxt.topic.pattern": "^(?P<kind>[a-z]{3,9})$", "value.converter.ccxt.key.pattern": "",
		"value.converter.ccxt.envelope": "value=data, symbol=market", "value.converter.ccxt.maker.sides": "", "value.converter.ccxt.orderbook.top": "true",
	}, &cfg); err != nil {
		t.Fatal(err)
	}
	want := CCXTConfig{Exchange: "kraken", TopicPattern: "^(?P<kind>[a-z]{3,9})$", Envelope: []string{"value=data", "symbol=market"}, OrderBookTop: true}
	if len(cfg.MakerSides) > 0 {
		t.Errorf("maker.sides: %v", cfg.MakerSides)
	}
	if cfg.MakerSides = nil; !reflect.DeepEqual(cfg, want) {
		t.Errorf("%+v", cfg)
	}
}

// TestForeignConcurrent has many converting with one converter, each its own records,
// whose buffers they use again.
func TestForeignConcurrent(t *testing.T) {
	t.Parallel()
	tardis, ccxt := NewTardis(DefaultTardis()), NewCCXT(DefaultCCXT())
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			name := fmt.Sprintf("S%d", i)
			message := []byte(cfWith(tardisTradeText, "SC/EUR", name, "kraken", strings.ToLower(name)))
			key, value := make([]byte, 0, 16), []byte(ccxtBarText)
			for n := range 2000 {
				var rows cfRows
				if err := tardis.Convert("any", &connect.Record{Value: message}, cfNow, &rows); err != nil {
					t.Error(err)
					return
				}
				if v := rows.got[0].(marketdata.Trade); v.Symbol != name || v.ExchangeID != strings.ToLower(name) {
					t.Errorf("%+v", v)
					return
				}
				key = fmt.Appendf(key[:0], "%s/%d", name, n)
				topic := fmt.Sprintf("ccxt.x%d.ohlcv.%dm", i, n)
				if err := ccxt.Convert(topic, &connect.Record{Key: key, Value: value}, cfNow, &rows); err != nil {
					t.Error(err)
					return
				}
				if v := rows.got[1].(marketdata.OHLCV); v.Symbol != string(key) || v.Interval != fmt.Sprintf("%dm", n) || v.ExchangeID != fmt.Sprintf("x%d", i) {
					t.Errorf("%s, %s: %+v", topic, key, v)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestCCXTKeepsFewKeys: what was told is kept for a bounded number of keys, and does
// not change with the buffer of a record.
func TestCCXTKeepsFewKeys(t *testing.T) {
	t.Parallel()
	c := NewCCXT(DefaultCCXT()).(*ccxt)
	rec := c.states.New().(*ccxtRecord)
	buffer := []byte("A/B")
	rec.keys.tell(buffer)
	copy(buffer, "X/Y")
	if told, ok := rec.keys.known["A/B"]; !ok || told.symbol != "A/B" {
		t.Errorf("%+v", rec.keys.known)
	}
	for n := range 3 * ccxtKnownMax {
		for _, key := range []string{fmt.Sprint("A/", n), fmt.Sprint("A/", strings.Repeat("x", ccxtKnownBytesMax), n)} {
			if told := rec.keys.tell([]byte(key)); told.symbol != key {
				t.Fatalf("%s: %+v", key, told)
			}
		}
	}
	if n := len(rec.keys.known); n == 0 || n > ccxtKnownMax {
		t.Errorf("%d keys are kept", n)
	}
}

// ccxtEnvelope reads the form in which the samples and recordings are kept.
func ccxtEnvelope() CCXTConfig {
	cfg := DefaultCCXT()
	cfg.Envelope = []string{"value=value", "exchange=exchange", "kind=kind"}
	cfg.KeyPattern = `^(?P<symbol>[^ ]+) (?P<interval>.+)$`
	return cfg
}

func FuzzCCXT(f *testing.F) {
	for _, line := range sampleLines(f, "ccxt.jsonl") {
		f.Add("x", []byte("BTC/USDT 1m"), []byte(line))
	}
	for _, text := range []string{ccxtTradeText, ccxtTickerText, ccxtBarText, ccxtBookText, ccxtCoinbaseText, ccxtKrakenText} {
		f.Add("ccxt.okx.trades", []byte("BTC/USDT"), []byte(text))
		f.Add("ccxt.coinbase.fetchTrades.1m", []byte("BTC/USDT"), []byte("["+text+","+text+"]"))
		f.Add("ccxt.kraken.tickers", []byte("BTC/USDT"), []byte(`{"a":`+text+`,"b":`+text+`}`))
	}
	fixed := DefaultCCXT()
	fixed.Exchange, fixed.OrderBookTop, fixed.TopicPattern = "kraken", true, ""
	all := []Converter{NewCCXT(DefaultCCXT()), NewCCXT(ccxtEnvelope()), NewCCXT(fixed)}
	f.Fuzz(func(t *testing.T, topic string, key, value []byte) {
		for _, c := range all {
			kinds := c.Kinds(topic)
			given := bytes.Clone(value)
			var rows cfRows
			err := c.Convert(topic, &connect.Record{Key: key, Value: given}, cfNow, &rows)
			if !bytes.Equal(given, value) {
				t.Fatal("the value was changed")
			}
			var bad *marketdata.Error
			switch {
			case err == nil:
				if len(rows.got) == 0 || !json.Valid(value) {
					t.Fatalf("%d rows", len(rows.got))
				}
				if kinds != nil {
					holdsOnly(t, kinds, rows.got)
				}
			case errors.Is(err, connect.ErrFiltered):
				if len(rows.got) > 0 || value != nil && !json.Valid(value) {
					t.Fatalf("filtered: %q", value)
				}
			case !errors.As(err, &bad) || bad.Reason == "" || bad.Message == "":
				t.Fatalf("%#v", err)
			}
		}
	})
}

func BenchmarkConvertCCXT(b *testing.B) {
	for _, test := range []struct{ name, topic, value string }{
		{"trade", "ccxt.okx.trades", ccxtTradeText},
		{"ticker", "ccxt.binance.tickers", ccxtTickerText},
		{"ohlcv", "ccxt.binance.ohlcv.1m", ccxtBarText},
		{"orderbook", "ccxt.binance.orderbook", ccxtBookText},
	} {
		b.Run(test.name, func(b *testing.B) {
			c := NewCCXT(DefaultCCXT())
			r := &connect.Record{Key: []byte("BTC/USDT"), Value: []byte(test.value), Timestamp: 1611715404283}
			b.ReportAllocs()
			b.SetBytes(int64(len(test.value)))
			for b.Loop() {
				if err := c.Convert(test.topic, r, cfNow, cfCheckedRows{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

package converters

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/marketdata"
)

const (
	tardisTradeText = `{"type":"trade","symbol":"SC/EUR","exchange":"kraken","price":0.04299,"amount":15979.71727919,"side":"sell",` +
		`"timestamp":"2021-04-17T16:49:05.920708Z","localTimestamp":"2021-04-17T16:49:05.948901Z"}`
	tardisTickerText = `{"type":"book_ticker","symbol":"BTCUSD_PERP","exchange":"binance-delivery","askAmount":1645,"askPrice":61804.8,` +
		`"bidPrice":61804.7,"bidAmount":35,"timestamp":"2024-08-08T23:54:17.476Z","localTimestamp":"2024-08-08T23:54:16.207640Z"}`
	tardisBarText = `{"type":"trade_bar","symbol":"NMR-EUR","exchange":"coinbase","name":"trade_bar_10000ms","interval":10000,"kind":"time",` +
		`"open":67.021,"high":67.03,"low":67.02,"close":67.021,"volume":0.44399999999999995,"buyVolume":0.44399999999999995,"sellVolume":0,` +
		`"trades":3,"vwap":67.021,"openTimestamp":"2021-04-17T16:43:37.207503Z","closeTimestamp":"2021-04-17T16:43:37.870988Z",` +
		`"localTimestamp":"2021-04-17T16:43:40.437896Z","timestamp":"2021-04-17T16:43:40.000Z"}`
	tardisDerivativeText = `{"type":"derivative_ticker","symbol":"BTCUSDT","exchange":"bybit","lastPrice":65114.3,"openInterest":59891.732,` +
		`"fundingRate":-0.0001,"fundingTimestamp":"2026-08-10T00:00:00.000Z","predictedFundingRate":1e-7,"indexPrice":65137.76,` +
		`"markPrice":65117.44,"timestamp":"2026-08-09T21:26:57.583Z","localTimestamp":"2026-08-09T21:26:59.526357Z"}`
	tardisChangeText = `{"type":"book_change","symbol":"XBTUSD","exchange":"bitmex","isSnapshot":false,"bids":[{"price":7633.5,"amount":0}],` +
		`"asks":[{"price":7634,"amount":1.5},{"price":1e-7,"amount":2}],"timestamp":"2021-07-22T22:36:10.014Z","localTimestamp":"2021-07-22T22:36:10.146107Z"}`
	tardisSnapshotText = `{"type":"book_snapshot","symbol":"XBTUSD","exchange":"bitmex","name":"book_snapshot_2_50ms","depth":2,"interval":50,` +
		`"bids":[{"price":7633.5,"amount":1906067},{"price":7633,"amount":65319}],"asks":[{"price":7634,"amount":1467849},{}],` +
		`"timestamp":"2021-07-22T22:36:10.014Z","localTimestamp":"2021-07-22T22:36:10.146107Z"}`
	tardisLiquidationText = `{"type":"liquidation","symbol":"BTCUSDT","exchange":"binance-futures","id":"7","price":65000.5,"amount":0.25,` +
		`"side":"buy","timestamp":"2021-07-22T22:36:10.014Z","localTimestamp":"2021-07-22T22:36:10.146107Z"}`
	tardisDisconnectText = `{"type":"disconnect","exchange":"bitmex","localTimestamp":"2021-07-22T22:36:10.146107Z","symbols":["XBTUSD"]}`
	tardisErrorText      = `{"type":"error","exchange":"bitmex","localTimestamp":"2021-07-22T22:36:10.146107Z","details":"x"}`
)

func tardisLevels(pairs ...string) []marketdata.Level {
	levels := []marketdata.Level{}
	for i := 0; i < len(pairs); i += 2 {
		levels = append(levels, marketdata.Level{Price: cfDecimal(pairs[i]), Size: cfDecimal(pairs[i+1])})
	}
	return levels
}

// TestTardisRows has a message of each type and each trap.
func TestTardisRows(t *testing.T) {
	t.Parallel()
	at := cfTime("2021-07-22T22:36:10.014Z")
	trade := marketdata.Trade{
		ExchangeID: "kraken", Symbol: "SC/EUR", Time: cfTime("2021-04-17T16:49:05.920708Z"), Price: cfDecimal("0.04299"),
		Size: cfDecimal("15979.71727919"), Side: "sell", Source: "tardis",
	}
	quote := marketdata.Level1{
		ExchangeID: "binance-delivery", Symbol: "BTCUSD_PERP", Time: cfTime("2024-08-08T23:54:17.476Z"), BidPrice: cfDecimal("61804.7"),
		BidSize: cfDecimal("35"), AskPrice: cfDecimal("61804.8"), AskSize: cfDecimal("1645"), Source: "tardis",
	}
	bar := marketdata.OHLCV{
		ExchangeID: "coinbase", Symbol: "NMR-EUR", Interval: "10s", Time: cfTime("2021-04-17T16:43:30Z"), Open: cfDecimal("67.021"),
		High: cfDecimal("67.03"), Low: cfDecimal("67.02"), Close: cfDecimal("67.021"), Volume: cfDecimal("0.44399999999999995"),
		Trades: marketdata.Some[int64](3), VWAP: cfDecimal("67.021"), Closed: marketdata.Some(true), Source: "tardis",
	}
	funding := marketdata.Funding{
		ExchangeID: "bybit", Symbol: "BTCUSDT", Time: cfTime("2026-08-09T21:26:57.583Z"), Rate: cfDecimal("-0.0001"), PredictedRate: cfDecimal("1e-7"),
		NextFundingTime: cfTime("2026-08-10T00:00:00Z"), MarkPrice: cfDecimal("65117.44"), IndexPrice: cfDecimal("65137.76"), Source: "tardis",
	}
	openInterest := marketdata.OpenInterest{
		ExchangeID: "bybit", Symbol: "BTCUSDT", Time: cfTime("2026-08-09T21:26:57.583Z"), OpenInterest: cfDecimal("59891.732"), Source: "tardis",
	}
	change := marketdata.Book{
		ExchangeID: "bitmex", Symbol: "XBTUSD", Time: at, Bids: tardisLevels("7633.5", "0"), Asks: tardisLevels("7634", "1.5", "1e-7", "2"), Source: "tardis",
	}
	snapshot := marketdata.Book{
		ExchangeID: "bitmex", Symbol: "XBTUSD", Time: at, Snapshot: true, Bids: tardisLevels("7633.5", "1906067", "7633", "65319"),
		Asks: tardisLevels("7634", "1467849"), Source: "tardis/book_snapshot_2_50ms",
	}
	liquidation := marketdata.Liquidation{
		ExchangeID: "binance-futures", Symbol: "BTCUSDT", LiquidationID: "7", Time: at, Price: cfDecimal("65000.5"), Size: cfDecimal("0.25"),
		Side: "buy", Source: "tardis",
	}
	for _, test := range []struct {
		name, value string
		want        []any
		seen        Noticed
	}{
		{"trade without an id", tardisTradeText, []any{trade}, Noticed{Floats: 2}},
		{"trade with an id", cfWith(tardisTradeText, `"price"`, `"id":"280232","price"`), []any{edited(trade, func(v *marketdata.Trade) { v.TradeID = "280232" })}, Noticed{Floats: 2}},
		{"trade with a numeric id", cfWith(tardisTradeText, `"price"`, `"id":18446744073709551617,"price"`), []any{edited(trade, func(v *marketdata.Trade) { v.TradeID = "18446744073709551617" })}, Noticed{Floats: 2}},
		{"side not known", cfWith(tardisTradeText, `"sell"`, `"unknown"`), []any{edited(trade, func(v *marketdata.Trade) { v.Side = "" })}, Noticed{Floats: 2}},
		{"the taker's side on Coinbase is as sent", cfWith(tardisTradeText, "kraken", "coinbase"), []any{edited(trade, func(v *marketdata.Trade) { v.ExchangeID = "coinbase" })}, Noticed{Floats: 2}},
		{"Poloniex has the base size", cfWith(tardisTradeText, "kraken", "poloniex"), []any{edited(trade, func(v *marketdata.Trade) { v.ExchangeID = "poloniex" })}, Noticed{Floats: 2}},
		{"milliseconds and microseconds in one message", cfWith(tardisTradeText, "05.920708Z", "05.920Z"), []any{edited(trade, func(v *marketdata.Trade) { v.Time = cfTime("2021-04-17T16:49:05.920Z") })}, Noticed{Floats: 2}},
		{"the exchange's time after the local one", cfWith(tardisTradeText, "05.948901Z", "04.000Z"), []any{trade}, Noticed{Floats: 2}},
		{"exponents and 16 digits", cfWith(tardisTradeText, "0.04299", "1.117e-7", "15979.71727919", "4.3404000000000001"), []any{edited(trade, func(v *marketdata.Trade) {
			v.Price, v.Size = cfDecimal("1.117e-7"), cfDecimal("4.3404000000000001")
		})}, Noticed{Floats: 2, LongFloats: 1}},
		{"unknown fields", cfWith(tardisTradeText, `"price"`, `"raw":{"a":[1]},"price"`), []any{trade}, Noticed{Floats: 2, UnknownFields: 1}},

		{"book_ticker", tardisTickerText, []any{quote}, Noticed{Floats: 4}},
		{"book_ticker without amounts", cfWith(tardisTickerText, `"askAmount":1645,`, "", `"bidAmount":35,`, ""), []any{edited(quote, func(v *marketdata.Level1) {
			v.BidSize, v.AskSize = marketdata.Decimal{}, marketdata.Decimal{}
		})}, Noticed{Floats: 2}},
		{"book_ticker with an empty side", cfWith(tardisTickerText, `"bidPrice":61804.7,"bidAmount":35,`, ""), []any{edited(quote, func(v *marketdata.Level1) {
			v.BidPrice, v.BidSize = marketdata.Decimal{}, marketdata.Decimal{}
		})}, Noticed{Floats: 2}},
		{"book_ticker with a price of 0", cfWith(tardisTickerText, `61804.7`, "0", `35`, "0"), []any{edited(quote, func(v *marketdata.Level1) {
			v.BidPrice, v.BidSize = marketdata.Decimal{}, marketdata.Decimal{}
		})}, Noticed{Floats: 4}},
		{"book_ticker of Binance spot has the local time", cfWith(tardisTickerText, "17.476Z", "16.207640Z"), []any{edited(quote, func(v *marketdata.Level1) {
			v.Time = cfTime("2024-08-08T23:54:16.207640Z")
		})}, Noticed{Floats: 4, ReceiveTime: true}},

		{"trade_bar begins an interval before its timestamp", tardisBarText, []any{bar}, Noticed{Floats: 6, LongFloats: 1}},
		{"trade_bar by its other name", cfWith(tardisBarText, "trade_bar_10000ms", "trade_bar_1m", `"interval":10000`, `"interval":60000`), []any{edited(bar, func(v *marketdata.OHLCV) {
			v.Interval, v.Time = "1m", cfTime("2021-04-17T16:42:40Z")
		})}, Noticed{Floats: 6, LongFloats: 1}},

		{"derivative_ticker", tardisDerivativeText, []any{funding, openInterest}, Noticed{Floats: 5}},
		{"derivative_ticker with open interest alone", cfWith(tardisDerivativeText, `"fundingRate":-0.0001,"fundingTimestamp":"2026-08-10T00:00:00.000Z","predictedFundingRate":1e-7,"indexPrice":65137.76,"markPrice":65117.44,`, ""), []any{openInterest}, Noticed{Floats: 1}},
		{"derivative_ticker with prices alone", cfWith(tardisDerivativeText, `"openInterest":59891.732,"fundingRate":-0.0001,"fundingTimestamp":"2026-08-10T00:00:00.000Z","predictedFundingRate":1e-7,`, "", "65137.76", "0"), []any{edited(funding, func(v *marketdata.Funding) {
			v.Rate, v.PredictedRate, v.IndexPrice = marketdata.Decimal{}, marketdata.Decimal{}, marketdata.Decimal{}
			v.NextFundingTime = cfTime("0001-01-01T00:00:00Z")
		})}, Noticed{Floats: 2}},
		{"derivative_ticker whose mark price is not known", cfWith(tardisDerivativeText, "65117.44", "0"), []any{edited(funding, func(v *marketdata.Funding) { v.MarkPrice = marketdata.Decimal{} }), openInterest}, Noticed{Floats: 5}},

		{"book_change", tardisChangeText, []any{change}, Noticed{Floats: 6}},
		{"book_change that is a snapshot", cfWith(tardisChangeText, `"isSnapshot":false`, `"isSnapshot":true`, `[{"price":7633.5,"amount":0}]`, "[]"), []any{edited(change, func(v *marketdata.Book) {
			v.Snapshot, v.Bids = true, tardisLevels()
		})}, Noticed{Floats: 4}},
		{"book_snapshot with an empty level", tardisSnapshotText, []any{snapshot}, Noticed{Floats: 6}},
		{"quote", cfWith(tardisSnapshotText, `"depth":2`, `"depth":1`, "book_snapshot_2_50ms", "quote_10s", `,{"price":7633,"amount":65319}`, "", `{"price":7634,"amount":1467849},`, ""), []any{marketdata.Level1{
			ExchangeID: "bitmex", Symbol: "XBTUSD", Time: at, BidPrice: cfDecimal("7633.5"), BidSize: cfDecimal("1906067"), Source: "tardis/quote_10s",
		}}, Noticed{Floats: 2}},
		{"type quote", cfWith(tardisSnapshotText, `book_snapshot"`, `quote"`, `"name":"book_snapshot_2_50ms",`, ""), []any{marketdata.Level1{
			ExchangeID: "bitmex", Symbol: "XBTUSD", Time: at, BidPrice: cfDecimal("7633.5"), BidSize: cfDecimal("1906067"),
			AskPrice: cfDecimal("7634"), AskSize: cfDecimal("1467849"), Source: "tardis",
		}}, Noticed{Floats: 6}},

		{"liquidation", tardisLiquidationText, []any{liquidation}, Noticed{Floats: 2}},
		{"liquidation without an id", cfWith(tardisLiquidationText, `"id":"7",`, "", `"buy"`, `"unknown"`), []any{edited(liquidation, func(v *marketdata.Liquidation) {
			v.LiquidationID, v.Side = "", ""
		})}, Noticed{Floats: 2}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, seen, err := convertAll(NewTardis(DefaultTardis()), "any", nil, test.value)
			if err != nil || !reflect.DeepEqual(got, test.want) || seen != test.seen {
				t.Errorf("%s\nbecame %+v, %+v, %v\n  want %+v, %+v", test.value, got, seen, err, test.want, test.seen)
			}
		})
	}
}

// edited gives a changed copy.
func edited[T any](v T, change func(*T)) T {
	change(&v)
	return v
}

// convertAll gives all rows of a record.
func convertAll(c Converter, topic string, key []byte, value string) (got []any, seen Noticed, err error) {
	var rows cfRows
	r := &connect.Record{Key: key, Value: []byte(value), Timestamp: cfTime("2026-08-09T21:30:00Z").UnixMilli()}
	err = c.(Observer).Observe(topic, r, cfNow, &rows, &seen)
	if err == nil {
		return rows.got, seen, nil
	}
	return nil, seen, err
}

// TestTardisBadRecords: what Tardis could not read, and what is none of its
// messages, is refused with the reason. None is filtered.
func TestTardisBadRecords(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ value, reason, field, message string }{
		{value: "", reason: marketdata.ReasonEmptyValue},
		{value: "[]", reason: marketdata.ReasonNotAnObject},
		{value: tardisTradeText + "x", reason: marketdata.ReasonNotJSON},
		{value: "{}", reason: marketdata.ReasonMissingField, field: "type", message: "no normalised message of Tardis"},
		{value: cfWith(tardisTradeText, `"trade"`, `"trades"`), reason: marketdata.ReasonOutOfRange, field: "type", message: "book_ticker"},
		{value: cfWith(tardisTradeText, `"trade"`, `1`), reason: marketdata.ReasonWrongType, field: "type"},
		{value: cfWith(tardisTradeText, "0.04299", "null"), reason: marketdata.ReasonBadNumber, field: "price", message: "could not read"},
		{value: cfWith(tardisTradeText, "15979.71727919", "null"), reason: marketdata.ReasonBadNumber, field: "amount"},
		{value: cfWith(tardisTradeText, `"amount":15979.71727919,`, ""), reason: marketdata.ReasonMissingField, field: "size"},
		{value: cfWith(tardisTradeText, `"2021-04-17T16:49:05.920708Z"`, "null"), reason: marketdata.ReasonBadTime, field: "timestamp", message: "could not read"},
		{value: cfWith(tardisTradeText, `2021-04-17T16:49:05.920708Z`, "Invalid Date"), reason: marketdata.ReasonBadTime, field: "timestamp"},
		{value: cfWith(tardisTradeText, `"timestamp":"2021-04-17T16:49:05.920708Z",`, ""), reason: marketdata.ReasonMissingField, field: "time"},
		{value: cfWith(tardisTradeText, `"kraken"`, "7"), reason: marketdata.ReasonWrongType, field: "exchange"},
		{value: cfWith(tardisTradeText, `"symbol":"SC/EUR",`, ""), reason: marketdata.ReasonMissingField, field: "symbol"},
		{value: cfWith(tardisTradeText, `"SC/EUR"`, `"\u0000"`), reason: marketdata.ReasonInvalidText, field: "symbol"},
		{value: cfWith(tardisTradeText, `"price"`, `"id":1.5,"price"`), reason: marketdata.ReasonWrongType, field: "id"},
		{value: cfWith(tardisTradeText, "0.04299", "1e2000"), reason: marketdata.ReasonOutOfRange, field: "price"},
		{value: cfWith(tardisTickerText, "61804.7", "null"), reason: marketdata.ReasonBadNumber, field: "bidPrice"},
		{value: cfWith(tardisTickerText, "61804.7", "-1"), reason: marketdata.ReasonOutOfRange, field: "bidPrice"},
		{value: cfWith(tardisBarText, `"kind":"time"`, `"kind":"volume"`), reason: marketdata.ReasonOutOfRange, field: "kind", message: "no interval of time"},
		{value: cfWith(tardisBarText, `"kind":"time"`, `"kind":"tick"`), reason: marketdata.ReasonOutOfRange, field: "kind"},
		{value: cfWith(tardisBarText, `"kind":"time",`, ""), reason: marketdata.ReasonMissingField, field: "kind"},
		{value: cfWith(tardisBarText, `"interval":10000`, `"interval":0`), reason: marketdata.ReasonOutOfRange, field: "interval"},
		{value: cfWith(tardisBarText, `"interval":10000`, `"interval":1.5`), reason: marketdata.ReasonBadNumber, field: "interval"},
		{value: cfWith(tardisBarText, `"interval":10000`, `"interval":99999999999999`), reason: marketdata.ReasonOutOfRange, field: "interval"},
		{value: cfWith(tardisBarText, `"vwap":67.021`, `"vwap":null`), reason: marketdata.ReasonBadNumber, field: "vwap"},
		{value: cfWith(tardisBarText, `"trades":3`, `"trades":null`), reason: marketdata.ReasonBadNumber, field: "trades"},
		{value: cfWith(tardisBarText, `"2021-04-17T16:43:40.000Z"`, "null"), reason: marketdata.ReasonBadTime, field: "timestamp"},
		{value: cfWith(tardisDerivativeText, "-0.0001", "null"), reason: marketdata.ReasonBadNumber, field: "fundingRate"},
		{value: cfWith(tardisDerivativeText, `"2026-08-10T00:00:00.000Z"`, "null"), reason: marketdata.ReasonBadTime, field: "fundingTimestamp"},
		{value: `{"type":"derivative_ticker","symbol":"A","exchange":"b","lastPrice":null,"timestamp":"2021-07-22T22:36:10.014Z"}`, reason: marketdata.ReasonBadNumber, field: "lastPrice"},
		{value: `{"type":"derivative_ticker","symbol":"A","exchange":"b","timestamp":"2021-07-22T22:36:10.014Z"}`, reason: marketdata.ReasonMissingField, field: "fundingRate"},
		{value: cfWith(tardisChangeText, "7634", "null"), reason: marketdata.ReasonBadNumber, field: "asks"},
		{value: cfWith(tardisChangeText, `{"price":7633.5,"amount":0}`, "{}"), reason: marketdata.ReasonMissingField, field: "bids"},
		{value: cfWith(tardisChangeText, `{"price":7633.5,"amount":0}`, "[7633.5,0]"), reason: marketdata.ReasonWrongType, field: "bids"},
		{value: cfWith(tardisChangeText, `"isSnapshot":false,`, ""), reason: marketdata.ReasonWrongType, field: "isSnapshot"},
		{value: cfWith(tardisSnapshotText, `{"price":7633,"amount":65319}`, `{"price":7633}`), reason: marketdata.ReasonMissingField, field: "bids"},
		{value: cfWith(tardisSnapshotText, `"asks":[{"price":7634,"amount":1467849},{}]`, `"asks":{}`), reason: marketdata.ReasonWrongType, field: "asks"},
		{value: `{"type":"quote","symbol":"A","exchange":"b","timestamp":"2021-07-22T22:36:10.014Z"}`, reason: marketdata.ReasonMissingField, field: "bids"},
		{value: cfWith(tardisLiquidationText, "0.25", "null"), reason: marketdata.ReasonBadNumber, field: "amount"},
	} {
		_, _, err := convertAll(NewTardis(DefaultTardis()), "any", nil, test.value)
		var bad *marketdata.Error
		if !errors.As(err, &bad) || bad.Reason != test.reason || bad.Field != test.field || !strings.Contains(bad.Message, test.message) {
			t.Errorf("%s: %#v, want %s of %q", test.value, err, test.reason, test.field)
		}
	}
}

// TestTardisFiltered: control messages, tickers with a last price alone, and types
// that are not to be stored are filtered; a disconnect marks a gap.
func TestTardisFiltered(t *testing.T) {
	t.Parallel()
	c, trades := NewTardis(DefaultTardis()), NewTardis(TardisConfig{Types: []string{"trade"}})
	last := cfWith(tardisDerivativeText, `"openInterest":59891.732,"fundingRate":-0.0001,"fundingTimestamp":"2026-08-10T00:00:00.000Z","predictedFundingRate":1e-7,"indexPrice":65137.76,"markPrice":65117.44,`, "")
	for _, value := range []string{tardisDisconnectText, tardisErrorText, `{"type":"option_summary","symbol":"A","exchange":"deribit"}`, last} {
		_, seen, err := convertAll(c, "any", nil, value)
		if !errors.Is(err, connect.ErrFiltered) || seen.Gap != (value == tardisDisconnectText) {
			t.Errorf("%s: %v, %+v", value, err, seen)
		}
	}
	for _, value := range []string{tardisTickerText, tardisBarText, tardisChangeText, tardisSnapshotText, tardisDerivativeText, tardisLiquidationText} {
		if _, _, err := convertAll(trades, "any", nil, value); !errors.Is(err, connect.ErrFiltered) {
			t.Errorf("%s: %v", value, err)
		}
	}
	if got, _, err := convertAll(trades, "any", nil, tardisTradeText); err != nil || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
	// A quote is a snapshot of depth 1.
	quotes := NewTardis(TardisConfig{Types: []string{"quote"}})
	if _, _, err := convertAll(quotes, "any", nil, tardisSnapshotText); !errors.Is(err, connect.ErrFiltered) {
		t.Errorf("%v", err)
	}
	if got, _, err := convertAll(quotes, "any", nil, cfWith(tardisSnapshotText, `"depth":2`, `"depth":1`)); err != nil || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
	var rows cfRows
	if err := c.Convert("any", &connect.Record{}, cfNow, &rows); !errors.Is(err, connect.ErrFiltered) {
		t.Errorf("a tombstone: %v", err)
	}
}

// TestTardisKinds: the configuration tells what a topic may hold, whatever its name.
func TestTardisKinds(t *testing.T) {
	t.Parallel()
	for types, want := range map[string]string{
		"trade": "[trade]", "book_ticker,quote": "[level1]", "derivative_ticker": "[funding open_interest]",
		"book_snapshot,book_change,trade_bar,liquidation": "[ohlcv liquidation book]",
		strings.Join(DefaultTardis().Types, ","):          "[ohlcv level1 trade funding open_interest liquidation book]",
	} {
		cfg := TardisConfig{Types: strings.Split(types, ",")}
		if err := cfg.Validate(); err != nil {
			t.Error(err)
		}
		for _, topic := range []string{"mine", "crypto-trades-binance"} {
			if got := fmt.Sprint(NewTardis(cfg).Kinds(topic)); got != want {
				t.Errorf("%s: %s, want %s", types, got, want)
			}
		}
	}
	for _, types := range [][]string{nil, {"trades"}, {"trade", "disconnect"}} {
		cfg := TardisConfig{Types: types}
		if err := cfg.Validate(); err == nil || !strings.HasPrefix(err.Error(), "value.converter.tardis.types: ") || !strings.Contains(err.Error(), "book_ticker") {
			t.Errorf("%v: %v", types, err)
		}
	}
}

func TestIntervalName(t *testing.T) {
	t.Parallel()
	for ms, want := range map[int64]string{
		1: "1ms", 250: "250ms", 1000: "1s", 10_000: "10s", 90_000: "90s", 60_000: "1m", 300_000: "5m", 3_600_000: "1h", 14_400_000: "4h", 86_400_000: "1d",
	} {
		if got := intervalName(ms); got != want {
			t.Errorf("%d: %s, want %s", ms, got, want)
		}
	}
}

// sampleLines reads a file of testdata.
func sampleLines(tb testing.TB, name string) []string {
	tb.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		tb.Fatal(err)
	}
	lines := slices.Collect(strings.Lines(string(text)))
	if len(lines) < 10 {
		tb.Fatalf("%d lines in %s", len(lines), name)
	}
	return lines
}

// holdsOnly says whether rows are of the kinds that were told before they were read:
// the tables of others may be missing.
func holdsOnly(t *testing.T, kinds []marketdata.Kind, rows []any) {
	t.Helper()
	for _, row := range rows {
		var kind marketdata.Kind
		switch row.(type) {
		case marketdata.OHLCV:
			kind = marketdata.KindOHLCV
		case marketdata.Level1:
			kind = marketdata.KindLevel1
		case marketdata.Trade:
			kind = marketdata.KindTrade
		case marketdata.Funding:
			kind = marketdata.KindFunding
		case marketdata.OpenInterest:
			kind = marketdata.KindOpenInterest
		case marketdata.Liquidation:
			kind = marketdata.KindLiquidation
		case marketdata.Book:
			kind = marketdata.KindBook
		}
		if !slices.Contains(kinds, kind) {
			t.Fatalf("%T is none of %v", row, kinds)
		}
	}
}

func FuzzTardis(f *testing.F) {
	for _, line := range sampleLines(f, "tardis.jsonl") {
		f.Add([]byte(line))
	}
	for _, text := range []string{tardisChangeText, tardisSnapshotText, tardisLiquidationText, tardisDisconnectText, tardisErrorText} {
		f.Add([]byte(text))
	}
	c := NewTardis(DefaultTardis())
	f.Fuzz(func(t *testing.T, value []byte) {
		given := bytes.Clone(value)
		var rows cfRows
		err := c.Convert("any", &connect.Record{Value: given}, cfNow, &rows)
		if !bytes.Equal(given, value) {
			t.Fatal("the value was changed")
		}
		var bad *marketdata.Error
		switch {
		case err == nil:
			if len(rows.got) < 1 || len(rows.got) > 2 || !json.Valid(value) {
				t.Fatalf("%d rows", len(rows.got))
			}
			holdsOnly(t, c.Kinds("any"), rows.got)
		case errors.Is(err, connect.ErrFiltered):
			// Only what is known not to be stored may be filtered.
			message := map[string]json.RawMessage{}
			if value != nil && json.Unmarshal(value, &message) != nil {
				t.Fatalf("filtered: %q", value)
			}
			var name string
			_ = json.Unmarshal(message["type"], &name)
			if value != nil && !slices.Contains([]string{"disconnect", "error", "option_summary", "derivative_ticker"}, name) {
				t.Fatalf("filtered: %q", value)
			}
		case !errors.As(err, &bad) || bad.Reason == "" || bad.Message == "":
			t.Fatalf("%#v", err)
		}
	})
}

func BenchmarkConvertTardis(b *testing.B) {
	for name, value := range map[string]string{
		"trade": tardisTradeText, "book_ticker": tardisTickerText, "trade_bar": tardisBarText, "book_snapshot": tardisSnapshotText,
	} {
		b.Run(name, func(b *testing.B) {
			c := NewTardis(DefaultTardis())
			r := &connect.Record{Value: []byte(value)}
			b.ReportAllocs()
			b.SetBytes(int64(len(value)))
			for b.Loop() {
				if err := c.Convert("any", r, cfNow, cfCheckedRows{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

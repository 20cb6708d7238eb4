package converters

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/marketdata"
)

func mapConfig(kind string, fields ...string) MapConfig { return MapConfig{Kind: kind, Fields: fields} }

// mapConvert converts one record of topic md-binance-trades-7.
func mapConvert(t *testing.T, cfg MapConfig, value string) (rows []any, seen Noticed, err error) {
	t.Helper()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	var out cfRows
	r := &connect.Record{Key: []byte("BTC\"USDT"), Timestamp: 1786310817583, Value: []byte(value)}
	err = NewMapped(cfg).(Observer).Observe("md-binance-trades-7", r, cfNow, &out, &seen)
	return out.got, seen, err
}

// TestMapped: renaming, units, constants, paths, sides, and what lies beside the
// value; digits stay as they were sent.
func TestMapped(t *testing.T) {
	t.Parallel()
	at := cfTime("2026-08-09T21:26:57.583Z")
	trade := marketdata.Trade{ExchangeID: "binance", Symbol: "BTCUSDT", TradeID: "7", Time: at, Price: cfDecimal("65000.10"), Size: cfDecimal("1E-7"), Side: "sell"}
	for name, test := range map[string]struct {
		cfg   MapConfig
		value string
		want  any
		seen  Noticed
	}{
		"binance's own": {
			mapConfig("trade", "exchangeId='BINANCE'", "symbol=data.s", "tradeId=data.t", "time=data.T:ms", "price=data.p", "size=data.q", "side=data.m:buyer_maker"),
			`{"stream":"btcusdt@trade","data":{"e":"trade","s":"BTCUSDT","t":7,"T":1786310817583,"p":"65000.10","q":"1E-7","m":true}}`,
			trade,
			Noticed{UnknownFields: 1},
		},
		"arrays, the first source that is there, and own names": {
			mapConfig("trade", "exchangeId='binance'", "symbol = data.sym | [0] | pair[1][0]", "price=none|levels[1][0]", "size=levels[1][1]", "side=maker:invert"),
			`{"pair":["x",["BTCUSDT"]],"TRADE_ID":"7","time":"2026-08-09T21:26:57.583Z","levels":[[1,2],[65000.10,1E-7]],"maker":"BID","none":null}`,
			trade,
			Noticed{Floats: 2},
		},
		"an array, with a time in seconds": {
			mapConfig("trade", "exchangeId='binance'", "symbol=$topic.1", "time=[0]:s", "price=[1]", "size=[2]"),
			`[1786310817.5829999, "65000.10", "1"]`,
			marketdata.Trade{ExchangeID: "binance", Symbol: "binance", Time: at, Price: cfDecimal("65000.10"), Size: cfDecimal("1")},
			Noticed{},
		},
		"beside the value": {
			mapConfig("trade", "exchangeId=$topic", "symbol=$key", "time=$timestamp"),
			`{"price":"65000.10","size":"1","SIDE":"Buy"}`,
			marketdata.Trade{ExchangeID: "md-binance-trades-7", Symbol: `BTC"USDT`, Time: at, Price: cfDecimal("65000.10"), Size: cfDecimal("1"), Side: "Buy"},
			Noticed{},
		},
		"a book": {
			mapConfig("book", "exchangeId='kraken'", "bids=b", "asks=a", "snapshot=type"),
			`{"symbol":"X","time":1786310817583000,"type":true,"b":[["1.10",2]],"a":[]}`,
			marketdata.Book{
				ExchangeID: "kraken", Symbol: "X", Time: at, Snapshot: true,
				Bids: []marketdata.Level{{Price: cfDecimal("1.10"), Size: cfDecimal("2")}}, Asks: []marketdata.Level{},
			},
			Noticed{},
		},
		"nanoseconds": {
			mapConfig("price", "time=ns:ns", "usdPrice=last", "source=''", "attribution=''"),
			`{"coinId":"bitcoin","symbol":"BTC","exchangeId":"X","last":12345678901234567.5,"ns":"1786310817583000999"}`,
			marketdata.Price{CoinID: "bitcoin", Symbol: "BTC", ExchangeID: "x", USDPrice: cfDecimal("12345678901234567.5"), Time: at},
			Noticed{Floats: 1, LongFloats: 1},
		},
	} {
		rows, seen, err := mapConvert(t, test.cfg, test.value)
		if err != nil || len(rows) != 1 || !reflect.DeepEqual(rows[0], test.want) || seen != test.seen {
			t.Errorf("%s:\n got %+v, %+v, %v\nwant %+v, %+v", name, rows, seen, err, test.want, test.seen)
		}
	}
}

// TestMappedPage: the page's configuration makes a trade of the page's record.
func TestMappedPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join("..", "docs", "json.md"))
	if err != nil {
		t.Fatal(err)
	}
	var fields []string
	record := ""
	for line := range strings.SplitSeq(string(page), "\n") {
		if item, ok := strings.CutPrefix(line, "      - "); ok {
			fields = append(fields, item)
		}
		if _, rest, ok := strings.Cut(line, "stores records like `"); ok {
			record, _, _ = strings.Cut(rest, "`")
		}
	}
	rows, _, err := mapConvert(t, mapConfig("trade", fields...), record)
	want := marketdata.Trade{
		ExchangeID: "binance", Symbol: "BTCUSDT", TradeID: "7", Time: cfTime("2026-08-09T21:26:57.583Z"),
		Price: cfDecimal("65000.10"), Size: cfDecimal("0.5"), Side: "sell",
	}
	if err != nil || len(rows) != 1 || rows[0] != want {
		t.Errorf("%v, %v: want %+v", rows, err, want)
	}
}

// TestMappedBad: each record is refused with where its field was looked for.
func TestMappedBad(t *testing.T) {
	t.Parallel()
	cfg := mapConfig("trade", "exchangeId='binance'", "symbol=s", "time=T:ms", "price=data.p|p", "size=q", "side=m:buyer_maker")
	for value, want := range map[string][3]string{
		`{"s":"X","T":1786310817583,"q":1}`:                  {marketdata.ReasonMissingField, "price", "none of what value.converter.fields names for it: data.p, p"},
		`{"s":"X","T":1786310817583,"q":1,"price":"2"}`:      {marketdata.ReasonMissingField, "price", "data.p, p"},
		`{"s":"X","T":1786310817583,"q":1,"p":"x"}`:          {marketdata.ReasonBadNumber, "price", "takes it from data.p, p"},
		`{"s":"X","T":"soon","q":1,"p":1}`:                   {marketdata.ReasonBadTime, "time", "no number of ms"},
		`{"s":"X","T":1786310817583000,"q":1,"p":1}`:         {marketdata.ReasonBadTime, "time", "no number of ms"},
		`{"s":"X","T":{},"q":1,"p":1}`:                       {marketdata.ReasonWrongType, "time", ""},
		`{"s":"X","T":1786310817583,"q":1,"p":1,"m":"true"}`: {marketdata.ReasonWrongType, "side", "neither true nor false"},
		`{"s":{"a":1},"T":1786310817583,"q":1,"p":1}`:        {marketdata.ReasonWrongType, "symbol", "takes it from s"},
		`{"s":"X","T":1786310817583,"q":1,"data":{"p":[1]}}`: {marketdata.ReasonWrongType, "price", ""},
		`3`:    {marketdata.ReasonNotAnObject, "", ""},
		`{"s"`: {marketdata.ReasonNotJSON, "", ""},
		``:     {marketdata.ReasonEmptyValue, "", ""},
	} {
		_, _, err := mapConvert(t, cfg, value)
		var bad *marketdata.Error
		if !errors.As(err, &bad) || bad.Reason != want[0] || bad.Field != want[1] || !strings.Contains(bad.Message, want[2]) {
			t.Errorf("%s: %#v, want %v", value, err, want)
		}
	}
	invert := mapConfig("trade", "side=side:invert")
	if _, _, err := mapConvert(t, invert, `{"exchangeId":"x","symbol":"y","time":1786310817,"price":1,"size":1,"side":"long"}`); err == nil {
		t.Error("a side that is neither buy nor sell was turned round")
	}
	var rows cfRows
	c := NewMapped(mapConfig(""))
	if err := c.Convert("crypto-trades", &connect.Record{}, cfNow, &rows); !errors.Is(err, connect.ErrFiltered) {
		t.Errorf("a tombstone: %v", err)
	}
	if kinds := c.Kinds("md"); kinds != nil {
		t.Errorf("a topic whose name tells no kind holds %v", kinds)
	}
	if kinds := c.Kinds("crypto-book-x"); len(kinds) != 1 || kinds[0] != marketdata.KindBook {
		t.Errorf("crypto-book-x holds %v", kinds)
	}
}

// TestMapConfig: what cannot be meant is said with what may have been.
func TestMapConfig(t *testing.T) {
	t.Parallel()
	for item, want := range map[string]string{
		"pricee=p":        `"pricee" is no field of the kind trade; did you mean price?`,
		"usdPrice=p":      "is no field of the kind trade",
		"price":           "is not of the form field=source",
		"price=":          "is not of the form field=source",
		"price='x":        "has no closing quote",
		"price=p:ms":      "price is no time",
		"time=p:hours":    "none of s, ms, us, ns",
		"symbol=s:invert": "for a side alone",
		"symbol=$header":  "none of $key, $topic, $timestamp",
		"symbol=$key.1":   "has no parts",
		"symbol=$topic.x": "no number of a part",
		"symbol=a..b":     "is no path",
		"symbol=a[x]":     "is no path",
		"symbol=a[1":      "is no path",
		"symbol=a[-1]":    "is no path",
		"symbol=a | |b":   "is no path",
	} {
		cfg := mapConfig("trade", item)
		if err := cfg.Validate(); err == nil || !strings.HasPrefix(err.Error(), "value.converter.fields: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", item, err, want)
		}
	}
	twice := mapConfig("", "price=a", "PRICE=b")
	if err := twice.Validate(); err == nil || !strings.Contains(err.Error(), "named twice") {
		t.Errorf("%v", err)
	}
	unknown := mapConfig("trades")
	if err := unknown.Validate(); err == nil || !strings.HasPrefix(err.Error(), "value.converter.kind: ") {
		t.Errorf("%v", err)
	}
	other := Config{ValueConverter: native, MapConfig: mapConfig("trade")}
	if err := other.Validate(); err == nil || !strings.Contains(err.Error(), "json, avro, protobuf and jsonschema") {
		t.Errorf("%v", err)
	}
}

// FuzzMapped: no record panics, changes, or gives a row that breaks a rule.
func FuzzMapped(f *testing.F) {
	f.Add([]byte(`{"data":{"s":"X","p":["1.5",2],"T":1786310817.5},"m":true,"size":3}`))
	f.Add([]byte(`[[1,2],{"a":null}]`))
	c := NewMapped(mapConfig("trade", "exchangeId=$topic.1", "symbol=data.s|[0][1]|$key", "time=data.T:s|[0]", "price=data.p[0]|p", "side=m:buyer_maker"))
	f.Fuzz(func(t *testing.T, value []byte) {
		given := string(value)
		var rows cfRows
		err := c.Convert("md-x", &connect.Record{Key: []byte("k"), Value: value}, cfNow, &rows)
		if string(value) != given {
			t.Fatal("the value was changed")
		}
		var bad *marketdata.Error
		if err != nil && !errors.Is(err, connect.ErrFiltered) && (!errors.As(err, &bad) || bad.Message == "") {
			t.Fatalf("%#v", err)
		}
		if err == nil && len(rows.got) != 1 {
			t.Fatalf("%d rows", len(rows.got))
		}
	})
}

// TestMappedOwnNames: a record that has this product's own names is read, and
// noticed, as it is where its fields are named by a map.
func TestMappedOwnNames(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		value string
		want  Noticed
	}{
		"texts":           {`{"exchangeId":"b","symbol":"S","tradeId":"7","time":"2026-08-09T21:26:57.583Z","price":"65000.10","size":"1E-7"}`, Noticed{}},
		"numbers":         {`{"exchange_id":"b","SYMBOL":"S","tradeId":7,"time":1786310817583,"price":65000.10,"size":0.12345678901234567,"x":1,"y":{}}`, Noticed{UnknownFields: 2, Floats: 2, LongFloats: 1}},
		"absent and null": {`{"exchangeId":"b","symbol":"S","tradeId":null,"time":1786310817583,"price":1,"size":"0.00"}`, Noticed{Floats: 1}},
	} {
		own, seen, err := mapConvert(t, mapConfig("trade"), test.value)
		mapped, mappedSeen, mappedErr := mapConvert(t, mapConfig("trade", "source='x'", "price=price", "exchangeId=exchangeId|exchange_id"), test.value)
		if err != nil || mappedErr != nil || seen != test.want || mappedSeen != test.want {
			t.Errorf("%s: %+v, %v; mapped %+v, %v; want %+v", name, seen, err, mappedSeen, mappedErr, test.want)
			continue
		}
		trade := mapped[0].(marketdata.Trade)
		trade.Source = ""
		if own[0] != any(trade) {
			t.Errorf("%s: %+v, mapped %+v", name, own[0], trade)
		}
	}
	for name, value := range map[string]string{"an array": `[]`, "a text": `"x"`, "no JSON": `{`, "half a pair": `{"exchangeId":"\ud800"}`} {
		_, _, err := mapConvert(t, mapConfig("trade"), value)
		_, _, mappedErr := mapConvert(t, mapConfig("trade", "source='x'"), value)
		var bad, mappedBad *marketdata.Error
		if !errors.As(err, &bad) || !errors.As(mappedErr, &mappedBad) || bad.Reason != mappedBad.Reason && name != "an array" {
			t.Errorf("%s: %v, mapped %v", name, err, mappedErr)
		}
	}
}

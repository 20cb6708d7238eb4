package marketdata

import (
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestDecodeGood(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 2, 3, 4, 0, 0, 0, time.UTC)
	for k, want := range map[Kind]map[string]any{
		KindPrice: {
			"coinid": "bitcoin", "symbol": "BTC", "exchangeid": "binance", "usdprice": dec(t, "67123.4500"),
			"marketcap": dec(t, "1322334455667.12"), "volume24h": dec(t, "0"),
			"time": time.Date(2026, 2, 3, 4, 5, 6, 789012000, time.UTC), "source": "feed", "attribution": "",
		},
		KindOHLCV: {
			"exchangeid": "kraken", "symbol": "XBT/USD", "interval": "1m", "time": at, "open": dec(t, "1.10"), "high": dec(t, "1.30"),
			"low": dec(t, "1.00"), "close": dec(t, "1.2"), "volume": dec(t, "1E-7"), "quotevolume": dec(t, "3.50"),
			"trades": Some(int64(7)), "vwap": dec(t, "1.15"), "closed": Some(true), "source": "ws",
		},
		KindLevel1: {
			"exchangeid": "okx", "symbol": "BTC-USDT", "time": at, "bidprice": dec(t, "1.10"), "bidsize": dec(t, "0"),
			"askprice": dec(t, "1.20"), "asksize": dec(t, "3"), "sequence": dec(t, "18446744073709551616"), "source": "bbo",
		},
		KindTrade: {
			"exchangeid": "bitmex", "symbol": "XBTUSD", "tradeid": "f3a1", "time": at, "price": dec(t, "1.10"), "size": dec(t, "3"),
			"side": "sell", "source": "ws",
		},
		KindAnalytics: {
			"time": at, "exchangeid": "global", "symbol": "", "totalmarketcap": dec(t, "2.5e12"), "totalvolume": dec(t, "9"),
			"btcdominance": dec(t, "51.20"), "ethdominance": dec(t, "17"), "activecryptocurrencies": dec(t, "9000"),
			"markets": dec(t, "800"), "marketcapchange24h": dec(t, "-1.50"), "source": "gecko", "attribution": "x",
		},
		KindFunding: {
			"exchangeid": "bybit", "symbol": "BTCUSDT", "time": at, "rate": dec(t, "-0.000100"), "predictedrate": dec(t, "1E-5"),
			"nextfundingtime": at.Add(4 * time.Hour), "markprice": dec(t, "67000.10"), "indexprice": dec(t, "67001"), "source": "ws",
		},
		KindOpenInterest: {
			"exchangeid": "okx", "symbol": "BTC-USDT-SWAP", "time": at, "openinterest": dec(t, "2500000.10"),
			"openinterestvalue": dec(t, "0"), "source": "ws",
		},
		KindLiquidation: {
			"exchangeid": "binance", "symbol": "BTCUSDT", "liquidationid": "77", "time": at, "price": dec(t, "66000.10"),
			"size": dec(t, "0.500"), "side": "sell", "status": "filled", "source": "ws",
		},
		KindBook: {
			"exchangeid": "kraken", "symbol": "XBT/USD", "time": at, "snapshot": Some(true), "epoch": dec(t, "18446744073709551616"),
			"sequence": dec(t, "9"), "source": "ws",
			"bids": textOf([]Level{{dec(t, "1.10"), dec(t, "2.00")}, {dec(t, "1.09"), dec(t, "0")}}),
			"asks": textOf([]Level{{dec(t, "1.20"), dec(t, "1E-7")}}),
		},
	} {
		var d Decoder
		var r anyRecord
		if err := r.decode(&d, k, []byte(goodRecords[k])); err != nil {
			t.Errorf("%s: %v", k, err)
			continue
		}
		if got := r.values(); !maps.Equal(got, want) {
			t.Errorf("%s:\n got %v\nwant %v", k, got, want)
		}
		if d.UnknownFields() != 0 {
			t.Errorf("%s: %d unknown fields", k, d.UnknownFields())
		}
		if k == KindAnalytics && r.analytics.Metrics != `{"fearGreed":55.50,"altSeason":0.10}` {
			t.Errorf("metrics %s", r.analytics.Metrics)
		}
	}
}

// TestDecodeBad changes one field of a good record. The value
// remove removes it.
func TestDecodeBad(t *testing.T) {
	t.Parallel()
	surrogates := []string{`"\ud800"`, `"\udc00"`, `"\ud800x"`, `"\ud800\u0041"`, `"\ud8000udc00"`, `"a\ud83d"`, `"\udc00\ud800"`}
	type change struct{ field, value, reason string }
	cases := map[Kind][]change{}
	add := func(k Kind, field, reason string, values ...string) {
		for _, v := range values {
			cases[k] = append(cases[k], change{field, v, reason})
		}
	}
	required := map[Kind][]string{
		KindPrice:        {"coinId", "symbol", "exchangeId", "usdPrice", "time", "source", "attribution"},
		KindOHLCV:        {"exchangeId", "symbol", "interval", "time", "open", "high", "low", "close", "volume"},
		KindLevel1:       {"exchangeId", "symbol", "time"},
		KindTrade:        {"exchangeId", "symbol", "time", "price", "size"},
		KindAnalytics:    {"time"},
		KindFunding:      {"exchangeId", "symbol", "time"},
		KindOpenInterest: {"exchangeId", "symbol", "time", "openInterest"},
		KindLiquidation:  {"exchangeId", "symbol", "time", "size"},
		KindBook:         {"exchangeId", "symbol", "time"},
	}
	for k, list := range required {
		for _, f := range list {
			add(k, f, ReasonMissingField, remove, "null")
			if f != "source" && f != "attribution" {
				add(k, f, ReasonMissingField, `""`)
			}
		}
	}
	texts := map[Kind][]string{
		KindPrice:        {"coinId", "symbol", "exchangeId", "source", "attribution"},
		KindOHLCV:        {"exchangeId", "symbol", "interval", "source"},
		KindLevel1:       {"exchangeId", "symbol", "source"},
		KindTrade:        {"exchangeId", "symbol", "tradeId", "side", "source"},
		KindAnalytics:    {"exchangeId", "symbol", "source", "attribution"},
		KindFunding:      {"exchangeId", "symbol", "source"},
		KindOpenInterest: {"exchangeId", "symbol", "source"},
		KindLiquidation:  {"exchangeId", "symbol", "liquidationId", "side", "status", "source"},
		KindBook:         {"exchangeId", "symbol", "source"},
	}
	for k, list := range texts {
		for _, f := range list {
			add(k, f, ReasonInvalidText, surrogates...)
			add(k, f, ReasonInvalidText, `"a\u0000"`, "\"\xff\"", "\"\xed\xa0\x80\"", "\"\xc0\x80\"", "\"\xe2\x82\"", "\"\\t\xff\"")
			add(k, f, ReasonWrongType, "true", "{}", "[]", "1.5", "1e3")
			if f != "tradeId" && f != "liquidationId" {
				add(k, f, ReasonWrongType, "15")
			}
			keySource := k == KindOHLCV || k == KindAnalytics || k == KindFunding || k == KindOpenInterest
			if f != "attribution" && f != "side" && f != "status" && (f != "source" || keySource) {
				add(k, f, ReasonOutOfRange, `"`+strings.Repeat("x", 513)+`"`)
			}
		}
	}
	prices := map[Kind][]string{
		KindPrice:       {"usdPrice"},
		KindOHLCV:       {"open", "high", "low", "close"},
		KindLevel1:      {"bidPrice", "askPrice"},
		KindTrade:       {"price"},
		KindFunding:     {"markPrice", "indexPrice"},
		KindLiquidation: {"price"},
	}
	amounts := map[Kind][]string{
		KindPrice:        {"marketCap", "volume24h"},
		KindOHLCV:        {"volume", "quoteVolume", "vwap"},
		KindLevel1:       {"bidSize", "askSize"},
		KindTrade:        {"size"},
		KindAnalytics:    {"totalMarketCap", "totalVolume", "btcDominance", "ethDominance", "activeCryptocurrencies", "markets"},
		KindOpenInterest: {"openInterest", "openInterestValue"},
		KindLiquidation:  {"size"},
	}
	number := func(k Kind, f string) {
		add(k, f, ReasonBadNumber, `"NaN"`, `"Infinity"`, `"-inf"`, `" 1"`, `"1 "`, `"0x1"`, `"1,5"`, `"abc"`, `"1e"`)
		add(k, f, ReasonOutOfRange, `1e1001`, `"1e-1001"`, `"`+strings.Repeat("9", 131073)+`"`, `"0.`+strings.Repeat("9", 16384)+`"`)
		add(k, f, ReasonWrongType, "true", "false", "{}", "[1]")
		add(k, f, ReasonNotJSON, "NaN", "Infinity", "-Infinity", "-", "01", "+1", ".5", "5.", "1e", "0x1", "1_0")
	}
	for k, list := range prices {
		for _, f := range list {
			number(k, f)
			add(k, f, ReasonOutOfRange, "0", `"0.000"`, "-1", `"-0.00000001"`, `"0e5"`, "-0")
		}
	}
	for k, list := range amounts {
		for _, f := range list {
			number(k, f)
			add(k, f, ReasonOutOfRange, "-1", `"-0.00000001"`)
		}
	}
	number(KindAnalytics, "marketCapChange24h")
	number(KindFunding, "rate")
	number(KindFunding, "predictedRate")
	add(KindFunding, "nextFundingTime", ReasonBadTime, `"soon"`, `1.5`)
	add(KindFunding, "nextFundingTime", ReasonOutOfRange, `0`, `"2008-12-31T23:59:59Z"`)
	add(KindBook, "snapshot", ReasonMissingField, remove, "null")
	add(KindBook, "snapshot", ReasonWrongType, `1`, `"true"`)
	add(KindBook, "epoch", ReasonBadNumber, `1.5`, `"x"`)
	add(KindBook, "sequence", ReasonBadNumber, `1.5`, `1e3`)
	for _, side := range []string{"bids", "asks"} {
		add(KindBook, side, ReasonWrongType, `1`, `"x"`, `{}`, `true`, `[1]`, `[[1]]`, `[[1,2,3]]`, `[["1","2"],{}]`, `[[null,1]]`, `[["",1]]`,
			`[[1,[2]]]`, `[[]]`)
		add(KindBook, side, ReasonBadNumber, `[["1","x"]]`, `[["1 ","1"]]`)
		add(KindBook, side, ReasonOutOfRange, `[["0","1"]]`, `[["1","-1"]]`, `[["1",1e1001]]`, `[[-1,1]]`)
		add(KindBook, side, ReasonNotJSON, `[[1,2]`, `[[1,2],]`)
	}
	for _, k := range Kinds() {
		add(k, "time", ReasonBadTime, `"yesterday"`, `"2026-02-03"`, `1626992700.5`, `1.6e9`, `"2026-02-30T00:00:00Z"`)
		add(k, "time", ReasonOutOfRange, `0`, `-5`, `"2008-12-31T23:59:59Z"`, `1230767999`, `"2026-02-04T12:00:00.000001Z"`, `1770206401`, `1`,
			`99999999999999999999999`)
		add(k, "time", ReasonWrongType, "true", "{}", "[]")
	}
	add(KindOHLCV, "trades", ReasonBadNumber, `"x"`, `1.5`, `1e3`, `"1.0"`)
	add(KindOHLCV, "trades", ReasonOutOfRange, `-1`, `9223372036854775808`)
	add(KindOHLCV, "trades", ReasonWrongType, `true`)
	add(KindOHLCV, "closed", ReasonWrongType, `1`, `"true"`, `{}`)
	add(KindLevel1, "sequence", ReasonBadNumber, `1.5`, `"x"`, `1e3`)
	add(KindAnalytics, "metrics", ReasonWrongType, `1`, `"x"`, `[]`, `true`)
	add(KindAnalytics, "metrics", ReasonOutOfRange, `{"x":1e1001}`, `{"x":`+strings.Repeat("7", 131073)+`}`)
	add(KindAnalytics, "metrics", ReasonInvalidText, `{"\u0000":1}`, "{\"\xff\":1}", `{"\ud800":1}`)

	for k, list := range cases {
		for _, c := range list {
			t.Run(fmt.Sprintf("%s/%s=%.40q", k, c.field, c.value), func(t *testing.T) {
				t.Parallel()
				var d Decoder
				var r anyRecord
				err := r.decode(&d, k, withField(t, k, c.field, c.value))
				field := c.field
				if c.reason == ReasonNotJSON {
					field = ""
				}
				wantReason(t, err, c.reason, field)
			})
		}
	}
}

const remove = "(removed)"

// withField gives the good record of the kind with one field's value replaced;
// remove removes it.
func withField(t testing.TB, k Kind, field, value string) []byte {
	t.Helper()
	var s scanner
	s.data = []byte(goodRecords[k])
	var parts []string
	found := false
	s.object(0, 0, func(key, val token) {
		name := string(s.bytes(key))
		old := string(s.bytes(val))
		if val.kind == tokenString {
			old = `"` + old + `"`
		}
		if name == field {
			found = true
			if value == remove {
				return
			}
			old = value
		}
		parts = append(parts, `"`+name+`":`+old)
	})
	if !found {
		t.Fatalf("the good %s record has no %s", k, field)
	}
	return []byte("{" + strings.Join(parts, ",") + "}")
}

func TestDecodeNotARecord(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 300) + strings.Repeat("]", 300)
	for _, tt := range []struct{ value, reason string }{
		{"", ReasonEmptyValue},
		{" ", ReasonNotJSON},
		{"hello", ReasonNotJSON},
		{"{", ReasonNotJSON},
		{"\xef\xbb\xbf{}", ReasonNotJSON},
		{"\x00\x00\x00\x00\x01{}", ReasonNotJSON}, // a schema registry's frame
		{"[1,2", ReasonNotJSON},
		{"[]", ReasonNotAnObject},
		{` [{"a":1}] `, ReasonNotAnObject},
		{"null", ReasonNotAnObject},
		{"12", ReasonNotAnObject},
		{`"x"`, ReasonNotAnObject},
		{"12 13", ReasonNotJSON},
		{`{}{}`, ReasonNotJSON},
		{`{} x`, ReasonNotJSON},
		{"{}\x00", ReasonNotJSON},
		{`{"a":1,}`, ReasonNotJSON},
		{`{,}`, ReasonNotJSON},
		{`{"a"}`, ReasonNotJSON},
		{`{"a":}`, ReasonNotJSON},
		{`{"a" 1}`, ReasonNotJSON},
		{`{"a":1 "b":2}`, ReasonNotJSON},
		{`{'a':1}`, ReasonNotJSON},
		{`{a:1}`, ReasonNotJSON},
		{`{"a":[1,]}`, ReasonNotJSON},
		{`{"a":[1 2]}`, ReasonNotJSON},
		{`{"a":[1}`, ReasonNotJSON},
		{`{"a":{"b":[{"c":tru}]}}`, ReasonNotJSON},
		{`{"a":nul}`, ReasonNotJSON},
		{`{"a":truex}`, ReasonNotJSON},
		{`{"a":"\x"}`, ReasonNotJSON},
		{`{"a":"\u12g4"}`, ReasonNotJSON},
		{`{"a":"\u12"}`, ReasonNotJSON},
		{"{\"a\":\"\n\"}", ReasonNotJSON},
		{`{"a":"`, ReasonNotJSON},
		{`{"a":"\`, ReasonNotJSON},
		{`{"a":{"b":01}}`, ReasonNotJSON},
		{`{"a":1.}`, ReasonNotJSON},
		{`{"a":-}`, ReasonNotJSON},
		{`{"a":1e+}`, ReasonNotJSON},
		{"{\"a\":1\v}", ReasonNotJSON},
		{`{"a":` + deep + `}`, ReasonTooDeep},
		{`{"a":` + deep[:300], ReasonTooDeep},
		{deep, ReasonTooDeep},
		{strings.Repeat(`{"a":`, 1_000_000), ReasonTooDeep},
	} {
		for _, k := range Kinds() {
			var d Decoder
			var r anyRecord
			err := r.decode(&d, k, []byte(tt.value))
			if err == nil {
				t.Fatalf("%.40q is a good %s record", tt.value, k)
			}
			wantReason(t, err, tt.reason, "")
		}
	}
}

func TestDecodeFieldNames(t *testing.T) {
	t.Parallel()
	var d Decoder
	var got Price
	value := `{"COIN_ID":"c","Symbol":"s","exchange_id":"E","usd_price":"1","market_cap":"2","volume_24h":"3","_time_":1770091200,` +
		`"so\u0075rce":"","ATTRIBUTION":""}`
	if err := d.Price([]byte(value), testNow, &got); err != nil {
		t.Fatal(err)
	}
	want := Price{
		CoinID: "c", Symbol: "s", ExchangeID: "e", USDPrice: dec(t, "1"), MarketCap: dec(t, "2"), Volume24h: dec(t, "3"),
		Time: time.Date(2026, 2, 3, 4, 0, 0, 0, time.UTC),
	}
	if got != want || d.UnknownFields() != 0 {
		t.Errorf("got %+v with %d unknown fields", got, d.UnknownFields())
	}
	for f := fieldCoinID; f < fieldCount; f++ {
		var snake strings.Builder
		for _, c := range fieldNames[f] {
			if c >= 'A' && c <= 'Z' {
				snake.WriteByte('_')
			}
			snake.WriteRune(c)
		}
		for _, name := range []string{fieldNames[f], strings.ToUpper(fieldNames[f]), strings.ToLower(fieldNames[f]), snake.String()} {
			if fieldOf([]byte(name)) != f {
				t.Errorf("%q is not %s", name, fieldNames[f])
			}
		}
	}
	// The Kelvin sign is a K to Unicode's case folding; field names are ASCII.
	for _, name := range []string{"", "_", "mar\u212aets", "symbol ", "sym-bol", "x", strings.Repeat("symbol", 10)} {
		if f := fieldOf([]byte(name)); f != fieldNone {
			t.Errorf("%q is %s", name, fieldNames[f])
		}
	}
}

func TestDecodeTexts(t *testing.T) {
	t.Parallel()
	var d Decoder
	var got Trade
	value := `{"exchangeId":"Binance\u005fUS","symbol":"\u20bf\ud83d\ude80\"\\\/\b\f\n\r\tß","tradeId":340282366920938463463374607431768211456,` +
		`"time":1770091200,"price":1,"size":0,"side":"Buy"}`
	if err := d.Trade([]byte(value), testNow, &got); err != nil {
		t.Fatal(err)
	}
	if got.ExchangeID != "binance_us" {
		t.Errorf("exchange %q", got.ExchangeID)
	}
	if want := "₿🚀\"\\/\b\f\n\r\tß"; got.Symbol != want {
		t.Errorf("symbol %q, want %q", got.Symbol, want)
	}
	if got.TradeID != "340282366920938463463374607431768211456" {
		t.Errorf("trade id %q", got.TradeID)
	}
	if got.Side != "Buy" {
		t.Errorf("side %q", got.Side)
	}
	if err := d.Trade(withField(t, KindTrade, "exchangeId", `"ÖRSE"`), testNow, &got); err != nil || got.ExchangeID != "örse" {
		t.Errorf("exchange %q, %v", got.ExchangeID, err)
	}
}

func TestDecodeLastWins(t *testing.T) {
	t.Parallel()
	var d Decoder
	var got Trade
	good := strings.TrimSuffix(goodRecords[KindTrade], "}")
	if err := d.Trade([]byte(good+`,"PRICE":"NaN","price":"2","side":"buy","SIDE":null}`), testNow, &got); err != nil {
		t.Fatal(err)
	}
	if got.Price.String() != "2" || got.Side != "" {
		t.Errorf("got %+v", got)
	}
	err := d.Trade([]byte(good+`,"price":null}`), testNow, &got)
	wantReason(t, err, ReasonMissingField, "price")
}

func TestDecodeOptional(t *testing.T) {
	t.Parallel()
	var d Decoder
	var bar OHLCV
	value := `{"exchangeId":"a","symbol":"b","interval":"1m","time":"1770091200","open":1,"high":1,"low":1,"close":1,"volume":0,` +
		`"quoteVolume":"","trades":"","vwap":0,"closed":null}`
	if err := d.OHLCV([]byte(value), testNow, &bar); err != nil {
		t.Fatal(err)
	}
	if bar.QuoteVolume.Present() || bar.Trades.Set || bar.Closed.Set || !bar.VWAP.Present() || !bar.Volume.Present() {
		t.Errorf("got %+v", bar)
	}
	if err := d.OHLCV(withField(t, KindOHLCV, "closed", "false"), testNow, &bar); err != nil || bar.Closed != Some(false) {
		t.Errorf("closed %+v, %v", bar.Closed, err)
	}
	if err := d.OHLCV(withField(t, KindOHLCV, "trades", `"12"`), testNow, &bar); err != nil || bar.Trades != Some(int64(12)) {
		t.Errorf("trades %+v, %v", bar.Trades, err)
	}
	var quote Level1
	value = `{"exchangeId":"OKX","symbol":"ETH-USD-220624-20000-C","time":1646003643199,"bidPrice":"","bidSize":"","askPrice":"0.002","askSize":"20"}`
	if err := d.Level1([]byte(value), testNow, &quote); err != nil {
		t.Fatal(err)
	}
	if quote.BidPrice.Present() || quote.BidSize.Present() || quote.AskPrice.String() != "0.002" || quote.Flags != 0 {
		t.Errorf("got %+v", quote)
	}
	var figures Analytics
	if err := d.Analytics([]byte(`{"time":1770091200}`), testNow, &figures); err != nil {
		t.Fatal(err)
	}
	if figures.Metrics != "" || figures.TotalMarketCap.Present() {
		t.Errorf("got %+v", figures)
	}
}

func TestDecodeFlags(t *testing.T) {
	t.Parallel()
	var d Decoder
	var quote Level1
	for ask, want := range map[string]string{
		`"1.20"`: "", `"1.1"`: "", `"1.0999999999999999999999"`: "crossed", `"11e-2"`: "crossed", `null`: "",
	} {
		if err := d.Level1(withField(t, KindLevel1, "askPrice", ask), testNow, &quote); err != nil || quote.Flags.String() != want {
			t.Errorf("bid 1.10, ask %s: flags %q, %v", ask, quote.Flags, err)
		}
	}
	var bar OHLCV
	for high, want := range map[string][]string{`"1.00"`: nil, `0.99999999999999999999`: {"high_below_low"}} {
		if err := d.OHLCV(withField(t, KindOHLCV, "high", high), testNow, &bar); err != nil || !reflect.DeepEqual(bar.Flags.Names(), want) {
			t.Errorf("low 1.00, high %s: flags %q, %v", high, bar.Flags, err)
		}
	}
	if got := (FlagCrossed | FlagHighBelowLow).String(); got != "crossed,high_below_low" {
		t.Error(got)
	}
	if !FlagCrossed.Has(FlagCrossed) || FlagCrossed.Has(FlagHighBelowLow) {
		t.Error("Has is wrong")
	}
}

func TestDecodeBook(t *testing.T) {
	t.Parallel()
	var d Decoder
	var book Book
	for _, tt := range []struct {
		sides      string
		bids, asks int // -1: absent
		flags      Flags
	}{
		{`"bids":[],"asks":[]`, 0, 0, 0},
		{`"bids":[["2","1"]]`, 1, -1, 0},
		{`"asks":[ [ "2" , 1 ] , [3,1] ]`, -1, 2, 0},
		{`"bids":null,"asks":[]`, -1, 0, 0},
		{`"bids":[["1","1"],["3","1"]],"asks":[["4","1"],["2","1"]]`, 2, 2, FlagCrossed},
		{`"bids":[["1","1"],["2","1"]],"asks":[["4","1"],["2","1"]]`, 2, 2, 0},
	} {
		value := `{"exchangeId":"e","symbol":"s","time":1770091200,"snapshot":true,` + tt.sides + `}`
		if err := d.Book([]byte(value), testNow, &book); err != nil {
			t.Errorf("%s: %v", tt.sides, err)
			continue
		}
		length := func(side []Level) int {
			if side == nil {
				return -1
			}
			return len(side)
		}
		if length(book.Bids) != tt.bids || length(book.Asks) != tt.asks || book.Flags != tt.flags {
			t.Errorf("%s: %v and %v, flags %s", tt.sides, book.Bids, book.Asks, book.Flags)
		}
	}
	var funding Funding
	wantReason(t, d.Funding([]byte(`{"exchangeId":"e","symbol":"s","time":1770091200}`), testNow, &funding), ReasonMissingField, "rate")
	if err := d.Funding([]byte(`{"exchangeId":"e","symbol":"s","time":1770091200,"markPrice":1}`), testNow, &funding); err != nil {
		t.Errorf("a mark price alone: %v", err)
	}
	none := `{"exchangeId":"e","symbol":"s","time":1770091200,"snapshot":false}`
	wantReason(t, d.Book([]byte(none), testNow, &book), ReasonMissingField, "bids")
	// A change may take away a level on either side of what the other holds.
	crossed := `{"exchangeId":"e","symbol":"s","time":1770091200,"snapshot":false,"bids":[["3","0"]],"asks":[["2","1"]]}`
	if err := d.Book([]byte(crossed), testNow, &book); err != nil || book.Flags != 0 {
		t.Errorf("a change has flags %s, %v", book.Flags, err)
	}
}

func TestDecodeUnknownFields(t *testing.T) {
	t.Parallel()
	var d Decoder
	var trade Trade
	extra := `,"info":{"a":[1,{"b":"\u0000\ud800"},[],{}],"c":null},"type":"limit","n":1,"usdPrice":5,` + "\"bytes\":\"\xff\"}"
	value := strings.TrimSuffix(goodRecords[KindTrade], "}") + extra
	if err := d.Trade([]byte(value), testNow, &trade); err != nil {
		t.Fatal(err)
	}
	if d.UnknownFields() != 5 {
		t.Errorf("%d unknown fields, want 5", d.UnknownFields())
	}
	if err := d.Trade([]byte(goodRecords[KindTrade]), testNow, &trade); err != nil || d.UnknownFields() != 0 {
		t.Errorf("%d unknown fields of the last record are counted again, %v", d.UnknownFields(), err)
	}
}

func TestDecodeMetrics(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		fields  string
		want    string
		unknown int
	}{
		{``, ``, 0},
		{`,"metrics":null`, ``, 0},
		{`,"metrics":{}`, ``, 0},
		{`,"metrics":{"a":1.500,"b":"0.10","c":null,"d":""}`, `{"a":1.500,"b":0.10}`, 0},
		{`,"metrics":{"a":"+.5","b":"007.","c":"-01E+2"}`, `{"a":0.5,"b":7,"c":-1e2}`, 0},
		{`,"metrics":{"a":{"b":1},"c":[1],"d":true,"e":"high","f":2}`, `{"f":2}`, 4},
		{`,"metrics":{"a":1},"metrics":{"b":2}`, `{"b":2}`, 0},
		{`,"fearGreed":55,"rank":"7","note":"x","list":[1]`, `{"fearGreed":55,"rank":7}`, 2},
		{`,"volatility":0.12345678901234567890123456789,"metrics":{"m":1}`, `{"m":1,"volatility":0.12345678901234567890123456789}`, 0},
		{`,"quo\"te\u0007\u00e9":1,"n":"\u0031"`, `{"quo\"te\u0007é":1,"n":1}`, 0},
		{`,"nan":"NaN"`, ``, 1},
		{`,"id":"12e98765","hash":"` + strings.Repeat("7", 200_000) + `"`, ``, 2},
	} {
		var d Decoder
		var got Analytics
		if err := d.Analytics([]byte(`{"time":1770091200`+tt.fields+`}`), testNow, &got); err != nil {
			t.Errorf("%s: %v", tt.fields, err)
			continue
		}
		if got.Metrics != tt.want || d.UnknownFields() != tt.unknown {
			t.Errorf("%.200s: metrics %s with %d unknown fields, want %s and %d", tt.fields, got.Metrics, d.UnknownFields(), tt.want, tt.unknown)
		}
	}
}

// TestDecodeLarge has a record of 1 MiB, numbers of 40 digits, and after it a
// small record in the same Decoder.
func TestDecodeLarge(t *testing.T) {
	t.Parallel()
	var d Decoder
	var got Price
	digits := "1234567890123456789012345678901234567.890"
	value := fmt.Sprintf(`{"coinId":"c","symbol":"s","exchangeId":"e","usdPrice":%s,"time":1770091200,"source":"","info":[%s0],"attribution":"\u0041%s"}`,
		digits, strings.Repeat(`{"x":[1,"y"]},`, 40_000), strings.Repeat("é", 250_000))
	if len(value) < 1<<20 {
		t.Fatalf("the record has %d bytes", len(value))
	}
	if err := d.Price([]byte(value), testNow, &got); err != nil {
		t.Fatal(err)
	}
	if got.USDPrice.String() != digits || got.Attribution != "A"+strings.Repeat("é", 250_000) || d.UnknownFields() != 1 {
		t.Error("the large record is not what it was")
	}
	if err := d.Price([]byte(goodRecords[KindPrice]), testNow, &got); err != nil {
		t.Fatal(err)
	}
	if cap(d.scratch) > scratchBytesMax {
		t.Errorf("the Decoder keeps %d bytes", cap(d.scratch))
	}
}

// TestDecodeAllocations upholds that a good record costs no allocation. It is
// not parallel since testing.AllocsPerRun counts for the whole process.
func TestDecodeAllocations(t *testing.T) {
	for k, record := range goodRecords {
		value := []byte(strings.Replace(record, `"exchangeId":"`, `"exchangeId":"\u0041BC`, 1))
		var d Decoder
		var r anyRecord
		allocs := testing.AllocsPerRun(100, func() {
			if err := r.decode(&d, k, value); err != nil {
				t.Error(err)
			}
		})
		if allocs != 0 {
			t.Errorf("%s: %v allocations", k, allocs)
		}
	}
}

// TestErrorOutlivesValue upholds that an error refers to nothing of the record.
func TestErrorOutlivesValue(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ field, value string }{{"price", `"bad-digits"`}, {"time", `"bad-time"`}, {"price", `-15`}} {
		value := withField(t, KindTrade, c.field, c.value)
		var d Decoder
		var out Trade
		err := d.Trade(value, testNow, &out)
		before := err.Error()
		for i := range value {
			value[i] = 'x'
		}
		if err.Error() != before {
			t.Errorf("the message became %q", err)
		}
	}
}

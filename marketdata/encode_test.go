package marketdata

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"
)

// roundTrip encodes a decoded record and decodes it again.
func roundTrip(t *testing.T, r *anyRecord) {
	t.Helper()
	if err := r.check(); err != nil {
		t.Fatalf("Check refuses what was decoded: %v", err)
	}
	encoded, ok := strings.CutPrefix(string(r.appendJSON([]byte("before"))), "before")
	if !ok || !json.Valid([]byte(encoded)) {
		t.Fatalf("%s is not JSON", encoded)
	}
	var d Decoder
	var back anyRecord
	if err := back.decode(&d, r.kind, []byte(encoded)); err != nil {
		t.Fatalf("%s: %v", encoded, err)
	}
	if d.UnknownFields() != 0 {
		t.Fatalf("%s has %d unknown fields", encoded, d.UnknownFields())
	}
	if got, want := back.values(), r.values(); !maps.Equal(got, want) {
		t.Fatalf("%s:\n got %v\nwant %v", encoded, got, want)
	}
	if back.analytics.Metrics != r.analytics.Metrics {
		t.Fatalf("metrics %s became %s", r.analytics.Metrics, back.analytics.Metrics)
	}
	if back.book.Flags != r.book.Flags || back.level1.Flags != r.level1.Flags || back.ohlcv.Flags != r.ohlcv.Flags {
		t.Fatalf("%s: other flags", encoded)
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, k := range Kinds() {
		var d Decoder
		var r anyRecord
		if err := r.decode(&d, k, []byte(goodRecords[k])); err != nil {
			t.Fatal(err)
		}
		roundTrip(t, &r)
	}
}

func TestAppendJSON(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 2, 3, 5, 0, 0, 120000, time.FixedZone("", 3600))
	bar := OHLCV{
		ExchangeID: "a\"b\\c\n", Symbol: "é\u2028", Interval: "1m", Time: at, Open: dec(t, "1.10"), High: dec(t, "1E-7"), Low: dec(t, "0.9"),
		Close: dec(t, "1"), Volume: dec(t, "0"), Trades: Some(int64(0)), Closed: Some(false),
	}
	want := `{"exchangeId":"a\"b\\c\u000a","symbol":"é` + "\u2028" + `","interval":"1m","time":"2026-02-03T04:00:00.00012Z","open":"1.10",` +
		`"high":"1E-7","low":"0.9","close":"1","volume":"0","trades":0,"closed":false}`
	if got := string(AppendJSON(nil, &bar)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, err := json.Marshal(bar); err != nil || !json.Valid(got) || !strings.Contains(string(got), `"open":"1.10"`) {
		t.Errorf("json.Marshal gives %s, %v", got, err)
	}
	if got := string(AppendJSON(nil, &Analytics{})); got != "{}" {
		t.Errorf("an empty record is %s", got)
	}
	if got := string(AppendJSON(nil, &Price{Source: "\xff"})); got != `{"source":"`+"\ufffd"+`","attribution":""}` {
		t.Errorf("what is not UTF-8 becomes %s", got)
	}
}

// TestCheck has what only a producer can get wrong; decoding cannot give it.
func TestCheck(t *testing.T) {
	t.Parallel()
	var d Decoder
	var r anyRecord
	for _, k := range Kinds() {
		if err := r.decode(&d, k, []byte(goodRecords[k])); err != nil {
			t.Fatal(err)
		}
		if err := r.check(); err != nil {
			t.Errorf("%s: %v", k, err)
		}
	}
	price := Price{CoinID: "c", Symbol: "s", ExchangeID: "e", USDPrice: dec(t, "1"), Time: testNow}
	for _, tt := range []struct {
		change        func(*Price)
		reason, field string
	}{
		{func(p *Price) { p.Symbol = "a\x00" }, ReasonInvalidText, "symbol"},
		{func(p *Price) { p.Attribution = "\xff" }, ReasonInvalidText, "attribution"},
		{func(p *Price) { p.CoinID = "" }, ReasonMissingField, "coinId"},
		{func(p *Price) { p.USDPrice = Decimal{} }, ReasonMissingField, "usdPrice"},
		{func(p *Price) { p.USDPrice = dec(t, "-1") }, ReasonOutOfRange, "usdPrice"},
		{func(p *Price) { p.Time = time.Time{} }, ReasonMissingField, "time"},
		{func(p *Price) { p.Time = timeMin.Add(-1) }, ReasonOutOfRange, "time"},
		{func(p *Price) { p.Time = testNow.Add(timeAheadMax + 1) }, ReasonOutOfRange, "time"},
	} {
		p := price
		tt.change(&p)
		wantReason(t, p.Check(testNow), tt.reason, tt.field)
	}
	price.Time = testNow.Add(timeAheadMax)
	if err := price.Check(testNow); err != nil {
		t.Errorf("a day ahead of now is refused: %v", err)
	}
	bar := OHLCV{
		ExchangeID: "e", Symbol: "s", Interval: "1m", Time: testNow, Open: dec(t, "1"), High: dec(t, "1"), Low: dec(t, "1"),
		Close: dec(t, "1"), Volume: dec(t, "1"), Trades: Some(int64(-1)),
	}
	wantReason(t, bar.Check(testNow), ReasonOutOfRange, "trades")
	for metrics, reason := range map[string]string{
		`{"a":1}`: "", `{"a":`: ReasonNotJSON, `[]`: ReasonWrongType, `{"a":1}x`: ReasonWrongType, `{"a":"high"}`: ReasonWrongType,
		`{"a":1e2000}`: ReasonOutOfRange, `{"\u0000":1}`: ReasonInvalidText,
	} {
		v := Analytics{Time: testNow, Metrics: metrics}
		err := v.Check(testNow)
		if reason == "" {
			if err != nil {
				t.Errorf("metrics %s: %v", metrics, err)
			}
			continue
		}
		wantReason(t, err, reason, "metrics")
	}
}

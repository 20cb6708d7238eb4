package converters

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/marketdata"
)

// ccxtKey is the key that a producer gives the records of testdata and of the
// recordings, as ccxtEnvelope reads it: a bar names neither its symbol nor interval.
const ccxtKey = "BTC/USDT 1m"

// TestCCXTRecordings converts structures that CCXT made of real messages. Each
// becomes a row or is a ticker without a bid and an ask, and the sums of the rows are
// those of the structures' own texts. Where the exchange's digits are in info, the
// rows have these.
func TestCCXTRecordings(t *testing.T) {
	t.Parallel()
	for _, file := range recordings(t, "ccxt") {
		got := ccxtRead(t, func(line func(string)) { eachLine(t, file, line) })
		t.Logf("%s: %v, %d numbers with the exchange's own digits, %d trades with its microseconds, %d long floats",
			file, got.fates, got.exact, got.fine, got.seen.LongFloats)
		want := map[string]int{"trade": 362, "level1": 25, "ohlcv": 254, "book": 1, "filtered": 48}
		if strings.HasSuffix(file, "ccxt-4.5.90.jsonl.zst") && !maps.Equal(got.fates, want) {
			t.Errorf("%v, want %v", got.fates, want)
		}
	}
}

// TestCCXTSamples converts the structures that are kept beside the test.
func TestCCXTSamples(t *testing.T) {
	t.Parallel()
	got := ccxtRead(t, func(line func(string)) {
		for _, text := range sampleLines(t, "ccxt.jsonl") {
			line(text)
		}
	})
	if f := got.fates; f["trade"] < 10 || f["level1"] < 4 || f["ohlcv"] < 4 || f["book"] != 1 || f["filtered"] != 2 || got.exact < 20 || got.fine < 4 {
		t.Errorf("%v, %d exact, %d fine", f, got.exact, got.fine)
	}
}

type ccxtTotals struct {
	fates       map[string]int
	exact, fine int
	seen        Noticed
}

func ccxtRead(t *testing.T, each func(func(string))) *ccxtTotals {
	t.Helper()
	totals := &ccxtTotals{fates: map[string]int{}}
	rows, text := cfSums{}, cfSums{}
	c := NewCCXT(ccxtEnvelope())
	each(func(line string) {
		envelope := decoded(t, line).(map[string]any)
		got, seen, err := convertAll(c, "anything", []byte(ccxtKey), line)
		structure, _ := envelope["value"].(map[string]any)
		if errors.Is(err, connect.ErrFiltered) {
			if envelope["kind"] != "ticker" || structure["bid"] != nil || structure["ask"] != nil {
				t.Fatalf("filtered: %s", line)
			}
			totals.fates["filtered"]++
			return
		}
		if err != nil || len(got) != 1 {
			t.Fatalf("%d rows, %v: %s", len(got), err, line)
		}
		totals.seen.LongFloats += seen.LongFloats
		x := &ccxtCompared{compared{t, line, structure, rows, text}, totals, envelope}
		totals.fates[x.compare(got[0])]++
	})
	if !cfSameSums(rows, text) {
		t.Errorf("the rows' sums are %v, the structures' %v", rows, text)
	}
	return totals
}

type ccxtCompared struct {
	compared
	totals   *ccxtTotals
	envelope map[string]any
}

// digits compares a number with the structure's, whose digits may be fewer.
func (c *ccxtCompared) digits(name string, d marketdata.Decimal) {
	c.t.Helper()
	sent := c.shown(name)
	c.rows.add(name, d.String())
	c.text.add(name, sent)
	if d.String() == sent {
		return
	}
	if !strings.Contains(c.value, strconv.Quote(d.String())) || d.Cmp(cfDecimal(sent)) != 0 {
		c.t.Fatalf("%s: %s, want %s or its digits in info: %s", name, d, sent, c.value)
	}
	c.totals.exact++
}

func (c *ccxtCompared) identity(exchange, symbol, source string) {
	c.t.Helper()
	c.same("exchange", exchange, fmt.Sprint(c.envelope["exchange"]))
	c.same("source", source, "ccxt")
	want := "BTC/USDT"
	if c.sent != nil {
		want = c.shown("symbol")
	}
	c.same("symbol", symbol, want)
}

// at compares a time: its milliseconds are the structure's, or all of it the record's.
func (c *ccxtCompared) at(got time.Time) {
	c.t.Helper()
	if c.sent["timestamp"] == nil {
		c.same("time", got.Format(time.RFC3339Nano), "2026-08-09T21:30:00Z") // the record's
		return
	}
	c.same("timestamp", fmt.Sprint(got.UnixMilli()), c.shown("timestamp"))
	if got.UnixMicro()%1000 != 0 {
		c.totals.fine++
	}
}

func (c *ccxtCompared) compare(row any) string {
	c.t.Helper()
	switch v := row.(type) {
	case marketdata.Trade:
		c.identity(v.ExchangeID, v.Symbol, v.Source)
		c.same("id", v.TradeID, c.shown("id"))
		side := c.shown("side")
		if v.ExchangeID == "coinbase" {
			side = map[string]string{"buy": "sell", "sell": "buy"}[side]
		}
		c.same("side", v.Side, side)
		c.at(v.Time)
		c.digits("price", v.Price)
		c.digits("amount", v.Size)
		return "trade"
	case marketdata.Level1:
		c.identity(v.ExchangeID, v.Symbol, v.Source)
		c.at(v.Time)
		c.digits("bid", v.BidPrice)
		c.digits("bidVolume", v.BidSize)
		c.digits("ask", v.AskPrice)
		c.digits("askVolume", v.AskSize)
		return "level1"
	case marketdata.OHLCV:
		c.identity(v.ExchangeID, v.Symbol, v.Source)
		c.same("interval", v.Interval, "1m")
		bar := c.envelope["value"].([]any)
		c.sent = map[string]any{"timestamp": bar[0], "open": bar[1], "high": bar[2], "low": bar[3], "close": bar[4], "volume": bar[5]}
		c.at(v.Time)
		c.digits("open", v.Open)
		c.digits("high", v.High)
		c.digits("low", v.Low)
		c.digits("close", v.Close)
		c.digits("volume", v.Volume)
		if v.Closed.Set {
			c.t.Fatalf("closed is %t", v.Closed.Value)
		}
		return "ohlcv"
	case marketdata.Book:
		c.identity(v.ExchangeID, v.Symbol, v.Source)
		c.at(v.Time)
		c.same("nonce", v.Sequence.String(), c.shown("nonce"))
		for name, levels := range map[string][]marketdata.Level{"bids": v.Bids, "asks": v.Asks} {
			sent := c.sent[name].([]any)
			c.same(name, fmt.Sprint(len(levels)), fmt.Sprint(len(sent)))
			for i, level := range levels {
				pair := sent[i].([]any)
				c.same(name, level.Price.String()+" "+level.Size.String(), fmt.Sprint(pair[0], " ", pair[1]))
				c.rows.add(name, level.Size.String())
				c.text.add(name, fmt.Sprint(pair[1]))
			}
		}
		return "book"
	}
	c.t.Fatalf("%T", row)
	return ""
}

// TestCCXTCalls: the structures of a call in one record become the rows that they
// become one by one.
func TestCCXTCalls(t *testing.T) {
	t.Parallel()
	c := NewCCXT(DefaultCCXT())
	topics := map[string]string{}
	single, call := map[string][]any{}, map[string][]string{}
	for _, line := range sampleLines(t, "ccxt.jsonl") {
		var envelope struct {
			Exchange, Kind string
			Value          json.RawMessage
		}
		if err := json.Unmarshal([]byte(line), &envelope); err != nil {
			t.Fatal(err)
		}
		topic := "ccxt." + envelope.Exchange + "." + envelope.Kind + ".1m"
		topics[topic] = envelope.Kind
		got, _, err := convertAll(c, topic, []byte("BTC/USDT"), string(envelope.Value))
		if err != nil && !errors.Is(err, connect.ErrFiltered) {
			t.Fatal(err)
		}
		single[topic] = append(single[topic], got...)
		call[topic] = append(call[topic], string(envelope.Value))
	}
	if len(topics) < 10 {
		t.Fatalf("%d topics", len(topics))
	}
	for topic := range topics {
		got, _, err := convertAll(c, topic, []byte("BTC/USDT"), "["+strings.Join(call[topic], ",")+"]")
		if err != nil || fmt.Sprint(got) != fmt.Sprint(single[topic]) {
			t.Errorf("%s: %v, %v, want %v", topic, got, err, single[topic])
		}
	}
}

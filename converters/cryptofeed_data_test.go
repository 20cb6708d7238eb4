package converters

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/marketdata"
)

// cfSums are sums of the numbers of a recording, by the field's name.
type cfSums map[string]*big.Rat

func (s cfSums) add(name, text string) {
	if text == "" {
		return
	}
	n, ok := new(big.Rat).SetString(text)
	if !ok {
		panic(name + ": " + text)
	}
	if s[name] == nil {
		s[name] = new(big.Rat)
	}
	s[name].Add(s[name], n)
}

// cfTotals is what became of a recording's records.
type cfTotals struct {
	fates map[string]int
	rows  cfSums // of the rows' decimals
	sent  cfSums // of the records' own texts
	seen  Noticed
}

// TestCryptofeedRecordings converts what both versions of cryptofeed sent for real
// frames, with each numeric_type. Each record becomes a row, or has a kind that is
// not stored; the sums of each file's rows are those of its records' texts, to the
// last digit, and do not depend on the numeric_type.
func TestCryptofeedRecordings(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("TICKCONNECT_DATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "data")
	}
	files, err := filepath.Glob(filepath.Join(dir, "cryptofeed", "*.jsonl.zst"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skip("no recordings of cryptofeed; set TICKCONNECT_DATA")
	}
	var table strings.Builder
	fmt.Fprintf(&table, "%-52s %6s %6s %6s %7s %6s %6s %6s %8s\n", "file", "trade", "level1", "ohlcv", "funding", "open_i", "book", "other", "long")
	records, long := 0, 0
	captures := map[string]cfSums{}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".jsonl.zst")
		got := cfReadFile(t, file, name)
		fmt.Fprintf(&table, "%-52s %6d %6d %6d %7d %6d %6d %6d %8d\n", name, got.fates["trade"], got.fates["level1"], got.fates["ohlcv"],
			got.fates["funding"], got.fates["open_interest"], got.fates["book"], got.fates["filtered"], got.seen.LongFloats)
		for _, n := range got.fates {
			records += n
		}
		long += got.seen.LongFloats
		if !cfSameSums(got.rows, got.sent) {
			t.Errorf("%s: the rows' sums are %v, the records' %v", name, got.rows, got.sent)
		}
		// A version may have more kinds in one numeric_type's file than in another's,
		// but of those that both have the numbers are the same.
		dot := strings.LastIndexByte(name, '.')
		for number, sum := range captures[name[:dot]] {
			if got.rows[number] != nil && got.rows[number].Cmp(sum) != 0 {
				t.Errorf("%s: the sum of %s is %v, with another numeric_type %v", name, number, got.rows[number], sum)
			}
		}
		captures[name[:dot]] = got.rows
	}
	t.Logf("%d records, %d numbers with more than 15 digits that may be floats\n%s", records, long, &table)
	if len(files) >= 49 && records != 78_687 {
		t.Errorf("%d records", records)
	}
}

func cfSameSums(a, b cfSums) bool {
	if len(a) != len(b) || len(a) == 0 {
		return false
	}
	for name, sum := range a {
		if b[name] == nil || sum.Cmp(b[name]) != 0 {
			return false
		}
	}
	return true
}

// cfReadFile converts a file's records and compares each row with its record.
func cfReadFile(t *testing.T, file, name string) *cfTotals {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	cfg := DefaultCryptofeed()
	_, rest, _ := strings.Cut(name, ".cryptofeed-")
	cfg.Version = rest[:1]
	c := NewCryptofeed(cfg).(Observer)
	totals := &cfTotals{fates: map[string]int{}, rows: cfSums{}, sent: cfSums{}}
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var line struct{ Topic, Value string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		// The fields tell what the topic tells.
		for _, topic := range []string{"mine" + line.Topic, line.Topic} {
			key, _, _ := strings.Cut(line.Topic, "-")
			var rows cfRows
			var seen Noticed
			err := c.Observe(topic, &connect.Record{Value: []byte(line.Value)}, cfNow, &rows, &seen)
			stored := slices.Contains([]string{"trades", "ticker", "candles", "funding", "open_interest", "liquidations", "book"}, key)
			if !stored {
				if !errors.Is(err, connect.ErrFiltered) {
					t.Fatalf("%s: %v: %.300s", topic, err, line.Value)
				}
				if topic == line.Topic {
					totals.fates["filtered"]++
				}
				continue
			}
			if err != nil || len(rows.got) != 1 {
				t.Fatalf("%s: %d rows, %v: %s", topic, len(rows.got), err, line.Value)
			}
			if topic != line.Topic {
				continue
			}
			totals.seen.LongFloats += seen.LongFloats
			cfCompare(t, totals, cfg.Version, line.Value, rows.got[0])
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return totals
}

// cfCompare compares a row with its record, read by encoding/json, and adds both
// to the sums.
func cfCompare(t *testing.T, totals *cfTotals, version, value string, row any) {
	t.Helper()
	var sent map[string]any
	dec := json.NewDecoder(strings.NewReader(value))
	dec.UseNumber()
	if err := dec.Decode(&sent); err != nil {
		t.Fatal(err)
	}
	text := func(name string) string {
		if sent[name] == nil {
			return ""
		}
		return fmt.Sprint(sent[name])
	}
	check := func(name, got, want string) {
		t.Helper()
		if got != want {
			t.Fatalf("%s: %q, want %q: %s", name, got, want, value)
		}
	}
	same := func(name string, d marketdata.Decimal) {
		t.Helper()
		want := text(name)
		if n, ok := new(big.Rat).SetString(want); ok && n.Sign() == 0 && (name == "bid" || name == "ask") {
			want = ""
		}
		check(name, d.String(), want)
		totals.rows.add(name, d.String())
		totals.sent.add(name, text(name))
	}
	timed := func(name string, at time.Time) {
		t.Helper()
		check(name, fmt.Sprint(at.UnixMicro()), cfMicros(text(name)))
	}
	switch v := row.(type) {
	case marketdata.Trade:
		totals.fates["trade"]++
		check("exchange", v.ExchangeID, strings.ToLower(text("exchange")))
		check("symbol", v.Symbol, text("symbol"))
		check("id", v.TradeID, text("id"))
		side := text("side")
		if version == "2" && text("exchange") == "COINBASE" {
			side = map[string]string{"buy": "sell", "sell": "buy"}[side]
		}
		check("side", v.Side, side)
		timed("timestamp", v.Time)
		same("price", v.Price)
		same("amount", v.Size)
	case marketdata.Level1:
		totals.fates["level1"]++
		check("exchange", v.ExchangeID, strings.ToLower(text("exchange")))
		check("symbol", v.Symbol, text("symbol"))
		timed("timestamp", v.Time)
		same("bid", v.BidPrice)
		same("ask", v.AskPrice)
		if v.BidSize.Present() || v.AskSize.Present() {
			t.Fatalf("a ticker has sizes: %s", value)
		}
	case marketdata.OHLCV:
		totals.fates["ohlcv"]++
		check("exchange", v.ExchangeID, strings.ToLower(text("exchange")))
		check("symbol", v.Symbol, text("symbol"))
		check("interval", v.Interval, text("interval"))
		timed("start", v.Time)
		same("open", v.Open)
		same("high", v.High)
		same("low", v.Low)
		same("close", v.Close)
		same("volume", v.Volume)
		closed := text("closed")
		switch flag, isFlag := sent["trades"].(bool); {
		case isFlag:
			closed = strconv.FormatBool(flag)
		case v.Trades.Set:
			check("trades", fmt.Sprint(v.Trades.Value), strings.TrimSuffix(text("trades"), ".0"))
		default:
			check("trades", "", text("trades"))
		}
		check("closed", strconv.FormatBool(v.Closed.Value), closed)
	case marketdata.Funding:
		totals.fates["funding"]++
		check("exchange", v.ExchangeID, strings.ToLower(text("exchange")))
		check("symbol", v.Symbol, text("symbol"))
		timed("timestamp", v.Time)
		timed("next_funding_time", v.NextFundingTime)
		same("rate", v.Rate)
		same("predicted_rate", v.PredictedRate)
		same("mark_price", v.MarkPrice)
	case marketdata.OpenInterest:
		totals.fates["open_interest"]++
		check("exchange", v.ExchangeID, strings.ToLower(text("exchange")))
		check("symbol", v.Symbol, text("symbol"))
		timed("timestamp", v.Time)
		same("open_interest", v.OpenInterest)
	case marketdata.Book:
		totals.fates["book"]++
		check("exchange", v.ExchangeID, strings.ToLower(text("exchange")))
		check("symbol", v.Symbol, text("symbol"))
		timed("timestamp", v.Time)
		cfCompareBook(t, totals, sent, &v)
	default:
		t.Fatalf("%T", row)
	}
}

// cfCompareBook compares each level with what encoding/json reads.
func cfCompareBook(t *testing.T, totals *cfTotals, sent map[string]any, v *marketdata.Book) {
	t.Helper()
	whole, isWhole := sent["book"].(map[string]any)
	delta, _ := sent["delta"].(map[string]any)
	if v.Snapshot != isWhole {
		t.Fatalf("snapshot is %t", v.Snapshot)
	}
	for name, levels := range map[string][]marketdata.Level{"bid": v.Bids, "ask": v.Asks} {
		want := map[string]string{}
		if isWhole {
			for price, size := range whole[name].(map[string]any) {
				want[price] = fmt.Sprint(size)
			}
		} else {
			for _, level := range delta[name].([]any) {
				pair := level.([]any)
				want[fmt.Sprint(pair[0])] = fmt.Sprint(pair[1])
			}
		}
		got := map[string]string{}
		for _, level := range levels {
			got[level.Price.String()] = level.Size.String()
			totals.rows.add(name+" price", level.Price.String())
			totals.rows.add(name+" size", level.Size.String())
		}
		for price, size := range want {
			totals.sent.add(name+" price", price)
			totals.sent.add(name+" size", size)
		}
		if len(levels) != len(want) || !maps.Equal(got, want) {
			t.Fatalf("%s: %v, want %v", name, got, want)
		}
	}
}

// cfMicros is a time in microseconds: the nearest, of two the even one.
func cfMicros(text string) string {
	n, ok := new(big.Rat).SetString(text)
	if !ok {
		return "no number " + text
	}
	scale := int64(1_000_000)
	if n.Cmp(big.NewRat(1e11, 1)) >= 0 {
		scale = 1000
	}
	n.Mul(n, big.NewRat(scale, 1))
	micros := new(big.Int).Quo(n.Num(), n.Denom())
	if !n.IsInt() && new(big.Rat).Add(n, n).IsInt() { // a half
		return micros.Add(micros, big.NewInt(int64(micros.Bit(0)))).String()
	}
	return n.FloatString(0)
}

// TestCryptofeedSamples converts the records that are kept beside the test.
func TestCryptofeedSamples(t *testing.T) {
	t.Parallel()
	c := NewCryptofeed(CryptofeedConfig{Version: cryptofeed3, QuoteAmounts: quoteSent})
	totals := &cfTotals{fates: map[string]int{}, rows: cfSums{}, sent: cfSums{}}
	for _, s := range cfSamples(t) {
		row, _, err := cfConvert(c, s.Topic, s.Value)
		if errors.Is(err, connect.ErrFiltered) {
			totals.fates["filtered"]++
			continue
		}
		if err != nil {
			t.Errorf("%s: %v: %s", s.Topic, err, s.Value)
			continue
		}
		cfCompare(t, totals, cryptofeed3, s.Value, row)
	}
	if f := totals.fates; f["trade"] < 10 || f["level1"] < 10 || f["ohlcv"] < 5 || f["funding"] < 1 || f["open_interest"] < 1 || f["book"] < 3 || f["filtered"] < 1 || !cfSameSums(totals.rows, totals.sent) {
		t.Errorf("%v", f)
	}
}

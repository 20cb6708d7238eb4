package converters

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/qicore/tickconnect/marketdata"
)

// recordings gives the files of a folder of recordings; it skips where there are none.
func recordings(t *testing.T, folder string) []string {
	t.Helper()
	dir := os.Getenv("TICKCONNECT_DATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "data")
	}
	files, err := filepath.Glob(filepath.Join(dir, folder, "*.jsonl.zst"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skipf("no recordings of %s; set TICKCONNECT_DATA", folder)
	}
	return files
}

// eachLine calls line for each of a recording's.
func eachLine(t *testing.T, file string, line func(string)) {
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
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		line(lines.Text())
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}

// decoded reads a value by encoding/json, its numbers as they are written.
func decoded(t *testing.T, text string) (v any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// compared compares a row with what was sent, and adds both to sums.
type compared struct {
	t          *testing.T
	value      string
	sent       map[string]any
	rows, text cfSums
}

// shown is a member as it was written; "" for null and none.
func (c *compared) shown(name string) string {
	if c.sent[name] == nil {
		return ""
	}
	return fmt.Sprint(c.sent[name])
}

func (c *compared) same(name, got, want string) {
	c.t.Helper()
	if got != want {
		c.t.Fatalf("%s: %q, want %q: %s", name, got, want, c.value)
	}
}

func (c *compared) number(name string, d marketdata.Decimal) {
	c.t.Helper()
	c.rows.add(name, d.String())
	c.text.add(name, c.shown(name))
	c.same(name, d.String(), c.shown(name))
}

func (c *compared) time(name string, got time.Time, before time.Duration) {
	c.t.Helper()
	want, err := time.Parse(time.RFC3339, c.shown(name))
	if err != nil {
		c.t.Fatal(err)
	}
	if !got.Equal(want.Add(-before)) {
		c.t.Fatalf("%s: %v, want %v less %v: %s", name, got, want, before, c.value)
	}
}

// TestTardisRecordings converts what Tardis' programs made of real frames. Each
// message becomes its rows, and the sums of each file's rows are those of its
// messages' own texts, to the last digit.
func TestTardisRecordings(t *testing.T) {
	t.Parallel()
	files := recordings(t, "tardis")
	var table strings.Builder
	fmt.Fprintf(&table, "%-46s %6s %6s %5s %7s %6s %5s %8s\n", "file", "trade", "level1", "ohlcv", "funding", "open_i", "long", "received")
	messages, derivative := 0, 0
	for _, file := range files {
		c := NewTardis(DefaultTardis())
		rows, text, fates := cfSums{}, cfSums{}, map[string]int{}
		var long, received int
		eachLine(t, file, func(line string) {
			messages++
			got, seen, err := convertAll(c, "any", nil, line)
			if err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			long += seen.LongFloats
			if seen.ReceiveTime {
				received++
			}
			if len(got) == 2 {
				derivative++
			}
			for _, row := range got {
				x := &compared{t, line, decoded(t, line).(map[string]any), rows, text}
				fates[tardisCompare(x, row)]++
			}
		})
		if !cfSameSums(rows, text) {
			t.Errorf("%s: the rows' sums are %v, the messages' %v", file, rows, text)
		}
		fmt.Fprintf(&table, "%-46s %6d %6d %5d %7d %6d %5d %8d\n", strings.TrimSuffix(filepath.Base(file), ".jsonl.zst"),
			fates["trade"], fates["level1"], fates["ohlcv"], fates["funding"], fates["open_interest"], long, received)
	}
	t.Logf("%d messages\n%s", messages, &table)
	if len(files) >= 16 && (messages != 14_466 || derivative != 89) {
		t.Errorf("%d messages, %d of them two rows", messages, derivative)
	}
}

func tardisCompare(c *compared, row any) (kind string) {
	c.t.Helper()
	identity := func(exchange, symbol, source string) {
		c.t.Helper()
		c.same("exchange", exchange, c.shown("exchange"))
		c.same("symbol", symbol, c.shown("symbol"))
		c.same("source", source, "tardis")
	}
	switch v := row.(type) {
	case marketdata.Trade:
		identity(v.ExchangeID, v.Symbol, v.Source)
		c.same("id", v.TradeID, c.shown("id"))
		c.same("side", v.Side, c.shown("side"))
		c.time("timestamp", v.Time, 0)
		c.number("price", v.Price)
		c.number("amount", v.Size)
		return "trade"
	case marketdata.Level1:
		identity(v.ExchangeID, v.Symbol, v.Source)
		c.time("timestamp", v.Time, 0)
		c.number("bidPrice", v.BidPrice)
		c.number("bidAmount", v.BidSize)
		c.number("askPrice", v.AskPrice)
		c.number("askAmount", v.AskSize)
		return "level1"
	case marketdata.OHLCV:
		identity(v.ExchangeID, v.Symbol, v.Source)
		interval := map[string]time.Duration{"10s": 10 * time.Second, "1m": time.Minute}[v.Interval]
		c.same("interval", fmt.Sprint(interval.Milliseconds()), c.shown("interval"))
		c.time("timestamp", v.Time, interval)
		c.same("trades", fmt.Sprint(v.Trades.Value), c.shown("trades"))
		c.same("closed", strconv.FormatBool(v.Closed.Value), "true")
		c.number("open", v.Open)
		c.number("high", v.High)
		c.number("low", v.Low)
		c.number("close", v.Close)
		c.number("volume", v.Volume)
		c.number("vwap", v.VWAP)
		return "ohlcv"
	case marketdata.Funding:
		identity(v.ExchangeID, v.Symbol, v.Source)
		c.time("timestamp", v.Time, 0)
		c.time("fundingTimestamp", v.NextFundingTime, 0)
		c.number("fundingRate", v.Rate)
		c.number("predictedFundingRate", v.PredictedRate)
		c.number("markPrice", v.MarkPrice)
		c.number("indexPrice", v.IndexPrice)
		return "funding"
	case marketdata.OpenInterest:
		identity(v.ExchangeID, v.Symbol, v.Source)
		c.time("timestamp", v.Time, 0)
		c.number("openInterest", v.OpenInterest)
		return "open_interest"
	}
	c.t.Fatalf("%T", row)
	return ""
}

// TestTardisPlain: what tardis-dev writes alone has its times cut to the millisecond,
// and is the same otherwise.
func TestTardisPlain(t *testing.T) {
	t.Parallel()
	pairs := 0
	for _, file := range recordings(t, "tardis") {
		whole, isPlain := strings.CutSuffix(file, ".plain.jsonl.zst")
		if !isPlain {
			continue
		}
		read := func(file string) (got []any) {
			c := NewTardis(DefaultTardis())
			eachLine(t, file, func(line string) {
				rows, _, err := convertAll(c, "any", nil, line)
				if err != nil {
					t.Fatal(err)
				}
				for _, row := range rows {
					switch v := row.(type) {
					case marketdata.Trade:
						v.Time = v.Time.Truncate(time.Millisecond)
						row = v
					case marketdata.Level1:
						v.Time = v.Time.Truncate(time.Millisecond)
						row = v
					}
					got = append(got, row)
				}
			})
			return got
		}
		plain, fine := read(file), read(whole+".jsonl.zst")
		if fmt.Sprint(plain) != fmt.Sprint(fine) {
			t.Errorf("%s differs from what tardis-machine writes in more than the microseconds", file)
		}
		pairs += len(plain)
	}
	if pairs == 0 {
		t.Skip("no plain recordings")
	}
}

// TestTardisSamples converts the messages that are kept beside the test.
func TestTardisSamples(t *testing.T) {
	t.Parallel()
	rows, text, fates := cfSums{}, cfSums{}, map[string]int{}
	for _, line := range sampleLines(t, "tardis.jsonl") {
		got, _, err := convertAll(NewTardis(DefaultTardis()), "any", nil, line)
		if err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		for _, row := range got {
			fates[tardisCompare(&compared{t, line, decoded(t, line).(map[string]any), rows, text}, row)]++
		}
	}
	if fates["trade"] < 10 || fates["level1"] < 5 || fates["ohlcv"] < 10 || fates["funding"] != 1 || fates["open_interest"] != 1 || !cfSameSums(rows, text) {
		t.Errorf("%v", fates)
	}
}

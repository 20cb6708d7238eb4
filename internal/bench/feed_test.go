package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/qicore/tickconnect/marketdata"
)

// TestFeed: its records are good ones of the promised size, no key repeats, and
// the line of COPY says the same as the JSON.
func TestFeed(t *testing.T) {
	t.Parallel()
	from := time.Now().Add(-time.Hour)
	f := newFeed(1, "binance", from, 80*time.Microsecond)
	var d marketdata.Decoder
	var price marketdata.Price
	keys := map[string]bool{}
	total := 0
	const n = 20_000
	for i := range n {
		f.next()
		value := f.appendJSON(nil)
		total += len(value)
		if err := d.Price(value, time.Now(), &price); err != nil {
			t.Fatalf("%s: %v", value, err)
		}
		line := string(f.appendLine(nil, origin{1, 2, int64(i), from}))
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(fields) != strings.Count(priceColumns, ",")+1 {
			t.Fatalf("%d fields: %s", len(fields), line)
		}
		got := []string{
			price.CoinID, price.ExchangeID, price.Time.UTC().Format(timeFormat), price.Symbol, price.USDPrice.String(),
			price.MarketCap.String(), price.Volume24h.String(), price.Source, price.Attribution,
		}
		if strings.Join(got, "\t") != strings.Join(fields[:9], "\t") {
			t.Fatalf("JSON %q and line %q differ", got, fields)
		}
		key := strings.Join(fields[:3], "\t")
		if keys[key] {
			t.Fatalf("%s comes twice", key)
		}
		keys[key] = true
	}
	if average := total / n; average < 215 || average > 235 {
		t.Errorf("a record has %d bytes on average, want about 225", average)
	}
}

// TestFeedIsRepeatable: the same seed makes the same records.
func TestFeedIsRepeatable(t *testing.T) {
	t.Parallel()
	from := time.Now()
	a, b := newFeed(7, "kraken", from, time.Millisecond), newFeed(7, "kraken", from, time.Millisecond)
	other := newFeed(8, "kraken", from, time.Millisecond)
	same := 0
	for range 1000 {
		a.next()
		b.next()
		other.next()
		if !bytes.Equal(a.appendJSON(nil), b.appendJSON(nil)) {
			t.Fatal("the same seed makes other records")
		}
		if bytes.Equal(a.appendJSON(nil), other.appendJSON(nil)) {
			same++
		}
	}
	if same > 0 {
		t.Errorf("another seed makes %d equal records", same)
	}
}

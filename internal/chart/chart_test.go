package chart

import (
	"flag"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var update = flag.Bool("update", false, "write the pictures in testdata anew")

// wave makes n candles of a price that swings, from a fixed formula.
func wave(n int, interval time.Duration) []Candle {
	start := time.Date(2024, 8, 8, 23, 54, 20, 0, time.UTC).Truncate(interval)
	price := func(i float64) float64 { return 61800 + 60*math.Sin(i/4) + 25*math.Cos(i*1.7) }
	candles := make([]Candle, n)
	for i := range candles {
		c := Candle{Start: start.Add(time.Duration(i) * interval), Open: price(float64(i)), Close: price(float64(i + 1))}
		c.High = max(c.Open, c.Close) + 6*float64(i%3)
		c.Low = min(c.Open, c.Close) - 4*float64(i%4)
		c.Volume = 2 + float64(i*7%11)
		candles[i] = c
	}
	return candles
}

func TestPicture(t *testing.T) {
	t.Parallel()
	withGap := append(wave(30, 10*time.Second)[:12:12], wave(30, 10*time.Second)[18:]...)
	for name, test := range map[string]struct {
		candles []Candle
		options Options
	}{
		"colour":  {wave(34, 10*time.Second), Options{Title: "BTCUSDT on binance, 10 s candles", Width: 90, Height: 24, Interval: 10 * time.Second, Colour: true}},
		"plain":   {wave(34, 10*time.Second), Options{Title: "BTCUSDT on binance, 10 s candles", Width: 90, Height: 24, Interval: 10 * time.Second}},
		"wide":    {wave(12, time.Minute), Options{Title: "wide bodies", Width: 80, Height: 18, Interval: time.Minute}},
		"crowded": {wave(200, time.Minute), Options{Title: "only the last ones fit", Width: 60, Height: 16, Interval: time.Minute}},
		"gap":     {withGap, Options{Width: 80, Height: 16, Interval: 10 * time.Second}},
		"tiny":    {wave(5, time.Hour), Options{Interval: time.Hour}},
		"flat":    {[]Candle{{Start: time.Unix(0, 0), Open: 0.5, High: 0.5, Low: 0.5, Close: 0.5}}, Options{Width: 40, Height: 12, Interval: time.Minute}},
		"empty":   {nil, Options{Title: "no trades", Width: 40, Height: 12}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := Render(test.candles, test.options)
			path := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("the picture differs from %s (go test -update writes it anew):\n%s\nwant:\n%s", path, got, want)
			}
		})
	}
}

// TestFits draws many sizes: a picture is as high as asked, never wider, and
// without colour it holds no escape.
func TestFits(t *testing.T) {
	t.Parallel()
	for width := 0; width <= 130; width += 13 {
		for height := 0; height <= 50; height += 7 {
			for n := 1; n <= 150; n += 37 {
				got := Render(wave(n, 10*time.Second), Options{Title: "title", Width: width, Height: height, Interval: 10 * time.Second})
				lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
				if len(lines) != max(height, heightMin) {
					t.Fatalf("%d x %d with %d candles: %d lines", width, height, n, len(lines))
				}
				for _, line := range lines {
					if utf8.RuneCountInString(line) > max(width, widthMin) {
						t.Fatalf("%d x %d with %d candles: line of %d cells: %q", width, height, n, utf8.RuneCountInString(line), line)
					}
				}
				if strings.Contains(got, "\x1b") {
					t.Fatalf("%d x %d with %d candles: an escape without colour", width, height, n)
				}
			}
		}
	}
}

// TestInterval: the intervals that are chosen make candles that all fit.
func TestInterval(t *testing.T) {
	t.Parallel()
	first := time.Date(2024, 8, 8, 23, 54, 15, 0, time.UTC)
	for _, test := range []struct {
		last time.Time
		want time.Duration
	}{
		{first, time.Second},
		{first.Add(346 * time.Second), 10 * time.Second},
		{first.Add(24 * time.Hour), time.Hour},
		{first.Add(20 * 365 * 24 * time.Hour), 7 * 24 * time.Hour},
	} {
		if got := Interval(first, test.last, 40); got != test.want {
			t.Errorf("Interval over %s = %s, want %s", test.last.Sub(first), got, test.want)
		}
	}
	candles := wave(Columns(90), 10*time.Second)
	got := Render(candles, Options{Width: 90, Height: 20, Interval: 10 * time.Second})
	all := Render(candles, Options{Width: 300, Height: 20, Interval: 10 * time.Second})
	if summary, want := strings.SplitN(got, "\n", 2)[0], strings.SplitN(all, "\n", 2)[0]; summary != want {
		t.Errorf("Columns(90) candles do not all fit into 90 columns: %q, want %q", summary, want)
	}
}

func TestShortNumber(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]string{
		0: "0.00", 0.0012: "1.2e-03", 1.234: "1.23", 12.34: "12.3", 123.4: "123", 999.7: "1.00K", 45678: "45.7K", 1.5e9: "1.50B",
	} {
		if got := shortNumber(v); got != want {
			t.Errorf("shortNumber(%v) = %s, want %s", v, got, want)
		}
	}
}

func TestGroupDigits(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		v        float64
		decimals int
		want     string
	}{{61837.634, 2, "61,837.63"}, {123, 0, "123"}, {1234567.5, 1, "1,234,567.5"}, {0.00001234, 8, "0.00001234"}, {-1234, 0, "-1,234"}} {
		if got := groupDigits(test.v, test.decimals); got != test.want {
			t.Errorf("groupDigits(%v, %d) = %s, want %s", test.v, test.decimals, got, test.want)
		}
	}
}

package timescalesink

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/marketdata"
)

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	for key, change := range map[string]func(*Config){
		"connection.url":              func(c *Config) { c.ConnectionURL = "" },
		"insert.mode":                 func(c *Config) { c.InsertMode = "insert" },
		"connection.pool.size":        func(c *Config) { c.PoolSize = 101 },
		"table.price":                 func(c *Config) { c.TablePrice = "" },
		"table.trade":                 func(c *Config) { c.TableTrade = c.TablePrice },
		"table.level1":                func(c *Config) { c.TableLevel1 = ledgerTable },
		"chunk.interval.ohlcv.ms":     func(c *Config) { c.ChunkOHLCV = 1 },
		"compress.after.ms":           func(c *Config) { c.Retention = c.CompressAfter },
		"kinds.ignore":                func(c *Config) { c.KindsIgnore = []string{""} },
		"fence.timeout.ms":            func(c *Config) { c.FenceTimeout = 0 },
		"schema.name":                 func(c *Config) { c.SchemaName = strings.Repeat("s", 64) },
		"chunk.interval.analytics.ms": func(c *Config) { c.ChunkAnalytics = -1 },
	} {
		cfg := Default()
		cfg.ConnectionURL = "postgres://localhost/db"
		if err := cfg.Validate(); err != nil {
			t.Fatalf("the defaults: %v", err)
		}
		change(cfg)
		if err := cfg.Validate(); err == nil || !strings.HasPrefix(err.Error(), key+":") {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// TestConnectionURLs: what users of Kafka Connect have works, and no error
// repeats a password.
func TestConnectionURLs(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"postgres://u:p@h1:1,h2:2/db?sslmode=disable":                                                               "u p h1 1 db",
		"jdbc:postgresql://h:5433/db?user=u&password=p%26q&sslmode=disable&targetServerType=primary&loginTimeout=3": "u p&q h 5433 db",
		"jdbc:postgresql://u@h/db?sslmode=disable":                                                                  "u  h 5432 db",
	} {
		cfg := Default()
		cfg.ConnectionURL = text
		cc, err := cfg.connConfig("name")
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got := strings.Join([]string{cc.User, cc.Password, cc.Host, strconv.Itoa(int(cc.Port)), cc.Database}, " ")
		if got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	for _, text := range []string{"postgres://u:s3cret/x:y@h/db", "jdbc:postgresql://u:s3cret%zz@h/db", "jdbc:mysql://s3cret@h"} {
		cfg := Default()
		cfg.ConnectionURL = text
		err := cfg.Validate()
		if err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestErrorClasses is promise 6 by SQLSTATE.
func TestErrorClasses(t *testing.T) {
	t.Parallel()
	for class, codes := range map[string]string{
		"outage": "08006 08001 57P01 57P02 57P03 53100 53200 53300 25006 40001 40P01 55P03 57014 25P03 58030",
		"bad":    "22003 22P02 22021 23502 23514 21000 54000",
		"stop":   "28P01 28000 3D000 3F000 42501 42703 42P01 0A000 53400 XX000 P0001 99999",
	} {
		for _, code := range strings.Fields(codes) {
			err := classify("testing", &pgconn.PgError{Code: code, Message: "m", ConstraintName: "c"})
			var bad *connect.BadDataError
			got := "stop"
			switch {
			case connect.IsRetriable(err):
				got = "outage"
			case errors.As(err, &bad):
				got = "bad"
			}
			if got != class {
				t.Errorf("%s is %s, want %s", code, got, class)
			}
		}
	}
	if err := classify("testing", errors.New("something else")); connect.IsRetriable(err) {
		t.Error("an unknown error is no outage")
	}
}

func TestPrepareFilters(t *testing.T) {
	t.Parallel()
	cfg := Default()
	cfg.ConnectionURL = "postgres://localhost/db"
	cfg.KindsIgnore = []string{"options", "level1"}
	c, err := New("market", cfg, connect.Env{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, k := range []struct {
		topic  string
		value  []byte
		want   error
		reason string
	}{
		{trades, nil, connect.ErrFiltered, ""},
		{trades, []byte{}, nil, "empty"},
		{"crypto-options-x", []byte("anything"), connect.ErrFiltered, ""},
		{"crypto-level1", []byte("anything"), connect.ErrFiltered, ""},
		{"crypto-candles2", []byte("{}"), nil, "unknown_kind"},
		{trades, []byte("{"), nil, "*"},
	} {
		dst := []byte("before")
		got, err := c.Prepare(dst, k.topic, 0, &connect.Record{Value: k.value})
		var rec *connect.RecordError
		switch {
		case k.want != nil:
			if !errors.Is(err, k.want) {
				t.Errorf("%s %q: %v, want %v", k.topic, k.value, err, k.want)
			}
		case !errors.As(err, &rec) || rec.Stage != connect.StageValueConverter || rec.Message == "" || rec.Reason == "" ||
			k.reason == "unknown_kind" && rec.Reason != k.reason:
			t.Errorf("%s %q: %v, want the reason %s", k.topic, k.value, err, k.reason)
		}
		if string(got) != "before" {
			t.Errorf("%s %q: the row is %q", k.topic, k.value, got)
		}
	}
}

// TestPrepareAllocatesNothing for a good record into a buffer that is there, in any
// form.
func TestPrepareAllocatesNothing(t *testing.T) {
	for name, test := range map[string]struct{ topic, value string }{
		"native":     {trades, `{"exchangeId":"kraken","symbol":"BTC-USD","tradeId":"a","time":"2026-02-03T04:05:06Z","price":"1.5","size":"2"}`},
		"json":       {trades, `{"exchangeId":"kraken","symbol":"BTC-USD","tradeId":"a","time":"2026-02-03T04:05:06Z","price":"1.5","size":"2"}`},
		"cryptofeed": {"trades-KRAKEN-BTC-USD", `{"exchange":"KRAKEN","symbol":"BTC-USD","side":"buy","amount":"2","price":"1.5","id":"a","type":null,"timestamp":1770091506.5,"receipt_timestamp":1770091506.6}`},
		"ccxt":       {"ccxt-trades", `{"info":{},"timestamp":1770091506000,"exchange":"kraken","symbol":"BTC/USD","id":"a","price":1.5,"amount":2,"side":"buy","takerOrMaker":"taker"}`},
	} {
		cfg := Default()
		cfg.ConnectionURL, cfg.ValueConverter, cfg.CCXTConfig.Exchange = "postgres://localhost/db", name, "kraken"
		c, err := New("market", cfg, connect.Env{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		r := connect.Record{Value: []byte(test.value)}
		buf := make([]byte, 0, 1024)
		least := 1e9
		for range 100 { // under the race detector a sync.Pool forgets some of what it gets
			least = min(least, testing.AllocsPerRun(1, func() {
				if _, err := c.Prepare(buf, test.topic, 0, &r); err != nil {
					t.Fatal(err)
				}
			}))
		}
		if least > 0 {
			t.Errorf("%s: %v allocations for each record", name, least)
		}
	}
}

// TestFloatsAreCounted: decimals that are JSON numbers, and those of more digits than
// a binary float keeps, in this product's own records as in a converter's.
func TestFloatsAreCounted(t *testing.T) {
	t.Parallel()
	for _, converter := range []string{"native", "json"} {
		cfg := Default()
		cfg.ConnectionURL, cfg.ValueConverter = "postgres://localhost/db", converter
		c, err := New("market", cfg, connect.Env{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		value := `{"exchangeId":"kraken","symbol":"BTC-USD","tradeId":7,"time":1770091200,"price":1.5,"size":0.1234567890123456}`
		for range 2 {
			if _, err := c.Prepare(nil, "crypto-trades-kraken", 0, &connect.Record{Value: []byte(value)}); err != nil {
				t.Fatal(err)
			}
		}
		if all, long := c.Counters().FloatDecimals.Load(), c.Counters().LongFloats.Load(); all != 4 || long != 2 {
			t.Errorf("%s: %d decimals are numbers, %d long; want 4, 2", converter, all, long)
		}
	}
}

// TestExchangeOfTheValueWins and a mismatch is counted.
func TestExchangeOfTheValueWins(t *testing.T) {
	t.Parallel()
	cfg := Default()
	cfg.ConnectionURL = "postgres://localhost/db"
	c, err := New("market", cfg, connect.Env{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := trade(0, 0, "a", "1")
	for topic, mismatches := range map[string]int64{"crypto-trades-kraken": 0, "crypto-trades": 0, "crypto-trades-binance": 1} {
		before := c.Counters().ExchangeMismatches.Load()
		raw, err := c.Prepare(nil, topic, 0, &r)
		if err != nil {
			t.Fatal(err)
		}
		kind, parsed, _, _ := parseRow(raw)
		if kind != marketdata.KindTrade || !strings.HasPrefix(string(parsed.fields), "\x00\x00\x00\x06kraken") {
			t.Errorf("%s: %q", topic, parsed.fields)
		}
		if got := c.Counters().ExchangeMismatches.Load() - before; got != mismatches {
			t.Errorf("%s: %d mismatches, want %d", topic, got, mismatches)
		}
	}
}

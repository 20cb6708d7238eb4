package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// documentedConverter gives the keys of the value.converter in the first
// configuration of a page of the documentation.
func documentedConverter(t *testing.T, page string) map[string]string {
	t.Helper()
	text := string(readModuleFile(t, "docs", page))
	_, text, _ = strings.Cut(text, "```yaml\n")
	text, _, _ = strings.Cut(text, "```")
	keys := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && strings.HasPrefix(key, "value.converter") {
			keys[key] = value
		}
	}
	if len(keys) == 0 {
		t.Fatalf("%s shows no value.converter", page)
	}
	return keys
}

func readModuleFile(t *testing.T, path ...string) []byte {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(append([]string{root}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// waitAccount waits until the ledger has so many records, and gives how many are
// stored, themselves or in a later one of their key, filtered and dead-lettered.
func (s *stack) waitAccount(records int) (stored, filtered, dead int) {
	s.t.Helper()
	eventually(s.t, limit, func() string {
		err := s.db.QueryRow(s.t.Context(), "SELECT coalesce(sum(written + unchanged + merged), 0)::int, coalesce(sum(filtered), 0)::int, coalesce(sum(dead_lettered), 0)::int FROM "+
			s.table("connector_ledger")).Scan(&stored, &filtered, &dead)
		if err != nil || stored+filtered+dead < records {
			return fmt.Sprintf("%d stored, %d filtered, %d dead of %d records, %v", stored, filtered, dead, records, err)
		}
		return ""
	})
	return stored, filtered, dead
}

// wantSum checks the number of rows of a query that gives it and a sum, and that the
// sum is exact.
func (s *stack) wantSum(what, sql string, rows int, sum *big.Rat) {
	s.t.Helper()
	var n int
	var text string
	if err := s.db.QueryRow(s.t.Context(), sql).Scan(&n, &text); err != nil {
		s.t.Fatalf("%s: %v", what, err)
	}
	got, ok := new(big.Rat).SetString(text)
	if !ok || n != rows || got.Cmp(sum) != 0 {
		s.t.Errorf("%s: %d rows with a sum of %s, want %d with %s", what, n, text, rows, sum.FloatString(20))
	}
}

func addNumber(t *testing.T, sum *big.Rat, n json.Number) {
	t.Helper()
	v, ok := new(big.Rat).SetString(n.String())
	if !ok {
		t.Fatalf("%q is no number", n)
	}
	sum.Add(sum, v)
}

// TestTardisTopics: messages of Tardis, of all types in one topic, are stored by the
// documented configuration. The sums over the rows are those over the messages' own
// text, a disconnect is counted as a gap, and a message that Tardis could not read is
// a dead letter.
func TestTardisTopics(t *testing.T) {
	t.Parallel()
	config := documentedConverter(t, "tardis.md")
	lines := slices.Collect(strings.Lines(string(readModuleFile(t, "converters", "testdata", "tardis.jsonl"))))
	eachBroker(t, func(t *testing.T, brokers []string) {
		s := newStack(t, brokers)
		topics := []string{"tardis-" + s.id + "-a", "mine-" + s.id + "-b"}
		for _, topic := range topics {
			s.createNamed(topic, 2, nil)
		}
		types, sizes, volumes := map[string]int{}, new(big.Rat), new(big.Rat)
		var first string // a trade
		for i, line := range lines {
			var m struct {
				Type, Symbol   string
				Amount, Volume json.Number
			}
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatal(err)
			}
			switch types[m.Type]++; m.Type {
			case "trade":
				first = line
				addNumber(t, sizes, m.Amount)
			case "trade_bar":
				addNumber(t, volumes, m.Volume)
			}
			s.produceRaw(&kgo.Record{Topic: topics[i%2], Key: []byte(m.Symbol), Value: []byte(line)})
		}
		if types["trade"] == 0 || types["trade_bar"] == 0 || types["book_ticker"] == 0 || types["derivative_ticker"] == 0 {
			t.Fatalf("the messages are %v", types)
		}
		s.produceRaw(&kgo.Record{Topic: topics[0], Value: []byte(`{"type":"disconnect","exchange":"bitmex","localTimestamp":"2021-07-22T22:36:10.146107Z"}`)})
		var bad map[string]any
		if err := json.Unmarshal([]byte(first), &bad); err != nil {
			t.Fatal(err)
		}
		bad["price"] = nil
		value, err := json.Marshal(bad)
		if err != nil {
			t.Fatal(err)
		}
		s.produceRaw(&kgo.Record{Topic: topics[1], Value: value})
		keys := maps.Clone(config)
		keys["topics.regex"] = ".+-" + s.id + "-.+"
		r := startReplica(t, "replica-0", s.config("replica-0", keys, ""))
		if stored, filtered, dead := s.waitAccount(len(lines) + 2); stored != len(lines) || filtered != 1 || dead != 1 {
			t.Errorf("%d stored, %d filtered, %d dead; want %d, 1, 1", stored, filtered, dead, len(lines))
		}
		s.wantSum("trades", "SELECT count(*), sum(size)::text FROM "+s.table("crypto_trades"), types["trade"], sizes)
		s.wantSum("bars", "SELECT count(*), sum(volume)::text FROM "+s.table("crypto_ohlcv")+" WHERE source = 'tardis' AND closed", types["trade_bar"], volumes)
		for table, want := range map[string]int{
			"crypto_level1": types["book_ticker"], "crypto_funding": types["derivative_ticker"], "crypto_open_interest": types["derivative_ticker"],
		} {
			var rows int
			if err := s.db.QueryRow(t.Context(), "SELECT count(*) FROM "+s.table(table)).Scan(&rows); err != nil || rows != want {
				t.Errorf("%d rows in %s, want %d; %v", rows, table, want, err)
			}
		}
		var reason, column string
		if err := s.db.QueryRow(t.Context(), "SELECT reason, column_name FROM "+s.table("connector_dead_letters")).Scan(&reason, &column); err != nil ||
			reason != "bad_number" || column != "price" {
			t.Errorf("the dead letter: %s of %s, %v", reason, column, err)
		}
		r.waitHealth(http.StatusOK)
		// A record that is read again, as when the second topic's reader joins, counts again.
		_, metrics := r.get("/metrics")
		if gaps := sumOf(metrics, "tickconnect_producer_gaps_total", s.connector); gaps < 1 {
			t.Errorf("%v gaps are counted", gaps)
		}
		r.terminate(limit)
	})
}

// TestCCXTTopics: what CCXT's calls return, an array a record, is stored by the
// documented configuration: the topic tells the exchange, the kind and the interval,
// the key a bar's symbol. The sums over the rows are those over the structures' own
// text; a call that overlaps another changes the last bar and doubles none.
func TestCCXTTopics(t *testing.T) {
	t.Parallel()
	config := documentedConverter(t, "ccxt.md")
	eachBroker(t, func(t *testing.T, brokers []string) {
		s := newStack(t, brokers)
		calls := map[string][]string{}
		trades, bars, quotes, books, filtered := 0, 0, 0, 0, 0
		sizes, volumes := new(big.Rat), new(big.Rat)
		for line := range strings.Lines(string(readModuleFile(t, "converters", "testdata", "ccxt.jsonl"))) {
			var m struct {
				Exchange, Kind string
				Value          json.RawMessage
			}
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatal(err)
			}
			topic := "ccxt." + s.id + m.Exchange + "." + m.Kind
			switch m.Kind {
			case "trade":
				trades++
				var trade struct{ Amount json.Number }
				if err := json.Unmarshal(m.Value, &trade); err != nil {
					t.Fatal(err)
				}
				addNumber(t, sizes, trade.Amount)
			case "ohlcv":
				topic += ".1m"
				bars++
				var bar []json.Number
				if err := json.Unmarshal(m.Value, &bar); err != nil {
					t.Fatal(err)
				}
				addNumber(t, volumes, bar[5])
			case "ticker":
				var ticker struct{ Bid, Ask *json.Number }
				if err := json.Unmarshal(m.Value, &ticker); err != nil {
					t.Fatal(err)
				}
				if ticker.Bid != nil || ticker.Ask != nil {
					quotes++
				}
			case "orderbook":
				books++
			}
			calls[topic] = append(calls[topic], string(m.Value))
		}
		if trades == 0 || bars == 0 || quotes == 0 || books == 0 {
			t.Fatalf("%d trades, %d bars, %d quotes, %d order books", trades, bars, quotes, books)
		}
		records := 0
		for topic, values := range calls {
			s.createNamed(topic, 2, nil)
			send := func(value string) {
				s.produceRaw(&kgo.Record{Topic: topic, Key: []byte("BTC/USDT"), Value: []byte(value)})
				records++
			}
			send("[" + strings.Join(values, ",") + "]")
			if strings.HasSuffix(topic, "binance.ohlcv.1m") {
				last := strings.Split(strings.Trim(values[len(values)-1], "[]"), ",")
				last[4] = "7777.5"
				send("[" + strings.Join(values[:len(values)-1], ",") + ",[" + strings.Join(last, ",") + "]]")
			}
			if strings.HasSuffix(topic, ".ticker") {
				send("[]")
				filtered++
			}
		}
		keys := maps.Clone(config)
		keys["topics.regex"] = `ccxt\.` + s.id + ".+"
		r := startReplica(t, "replica-0", s.config("replica-0", keys, ""))
		stored, gone, dead := s.waitAccount(records)
		if stored != records-filtered || gone != filtered || dead != 0 {
			t.Errorf("%d stored, %d filtered, %d dead; want %d, %d, 0", stored, gone, dead, records-filtered, filtered)
		}
		s.wantSum("trades", "SELECT count(*), sum(size)::text FROM "+s.table("crypto_trades"), trades, sizes)
		s.wantSum("bars", "SELECT count(*), sum(volume)::text FROM "+s.table("crypto_ohlcv")+" WHERE symbol = 'BTC/USDT' AND interval = '1m' AND closed IS NULL", bars, volumes)
		s.wantSum("the changed bar", "SELECT count(*), sum(close)::text FROM "+s.table("crypto_ohlcv")+" WHERE close = 7777.5", 1, big.NewRat(15555, 2))
		for table, want := range map[string]int{"crypto_level1": quotes, "crypto_book": books} {
			var rows int
			if err := s.db.QueryRow(t.Context(), "SELECT count(*) FROM "+s.table(table)).Scan(&rows); err != nil || rows != want {
				t.Errorf("%d rows in %s, want %d; %v", rows, table, want, err)
			}
		}
		// The order book has no time: the record's stands for it.
		s.wantSum("order books at their records' times", "SELECT count(*), count(*)::text FROM "+s.table("crypto_book")+" WHERE time = origin_time", books, big.NewRat(int64(books), 1))
		r.waitHealth(http.StatusOK)
		r.terminate(limit)
	})
}

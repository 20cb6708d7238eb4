package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestCryptofeedTopics: what cryptofeed's Kafka backend writes, topics of its own
// naming with one constant key, is stored by one connector that names it. The
// sums over the rows are those over the records' own text.
func TestCryptofeedTopics(t *testing.T) {
	t.Parallel()
	eachBroker(t, func(t *testing.T, brokers []string) {
		root, err := moduleRoot()
		if err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(filepath.Join(root, "converters", "testdata", "cryptofeed.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		s := newStack(t, brokers)
		// The exchange and the symbol come from the value: the topics may end otherwise.
		kinds, records, sizes := map[string]int{}, 0, new(big.Rat)
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			var line struct{ Topic, Value string }
			if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
				t.Fatal(err)
			}
			kind, _, _ := strings.Cut(line.Topic, "-")
			kinds[kind]++
			records++
			var trade struct{ Amount json.Number }
			if err := json.Unmarshal([]byte(line.Value), &trade); err != nil {
				t.Fatal(err)
			}
			if kind == "trades" {
				amount, ok := new(big.Rat).SetString(trade.Amount.String())
				if !ok {
					t.Fatalf("amount %q", trade.Amount)
				}
				sizes.Add(sizes, amount)
			}
			topic := line.Topic + "-" + s.id
			s.createNamed(topic, 1, nil)
			s.produceRaw(&kgo.Record{Topic: topic, Key: []byte(kind), Value: []byte(line.Value)})
		}
		if kinds["trades"] == 0 || kinds["candles"] == 0 || kinds["ticker"] == 0 {
			t.Fatalf("the records are %v", kinds)
		}
		r := startReplica(t, "replica-0", s.config("replica-0", map[string]string{
			"topics.regex": ".+-" + s.id, "value.converter": "cryptofeed", "value.converter.cryptofeed.version": "3",
		}, ""))
		var written, filtered, dead int
		eventually(t, limit, func() string {
			err := s.db.QueryRow(t.Context(), "SELECT coalesce(sum(written), 0)::int, coalesce(sum(filtered), 0)::int, coalesce(sum(dead_lettered), 0)::int FROM "+
				s.table("connector_ledger")).Scan(&written, &filtered, &dead)
			if err != nil || written+filtered+dead < records {
				return fmt.Sprintf("%d written, %d filtered, %d dead of %d records, %v", written, filtered, dead, records, err)
			}
			return ""
		})
		stored := records - kinds["index"]
		if written != stored || filtered != records-stored || dead != 0 {
			t.Errorf("%d written, %d filtered, %d dead; want %d, %d, 0", written, filtered, dead, stored, records-stored)
		}
		var trades, bars, quotes int
		var sum string
		err = s.db.QueryRow(t.Context(), fmt.Sprintf(`SELECT (SELECT count(*) FROM %[1]s), (SELECT sum(size)::text FROM %[1]s), (SELECT count(*) FROM %s), (SELECT count(*) FROM %s)`,
			s.table("crypto_trades"), s.table("crypto_ohlcv"), s.table("crypto_level1"))).Scan(&trades, &sum, &bars, &quotes)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := new(big.Rat).SetString(sum)
		if !ok || got.Cmp(sizes) != 0 || trades != kinds["trades"] || bars != kinds["candles"] || quotes != kinds["ticker"] {
			t.Errorf("%d trades of %s in all, %d bars, %d quotes; want %v, %s", trades, sum, bars, quotes, kinds, sizes.FloatString(20))
		}
		for kind, table := range map[string]string{
			"book": "crypto_book", "funding": "crypto_funding", "open_interest": "crypto_open_interest", "liquidations": "crypto_liquidations",
		} {
			if kinds[kind] == 0 {
				continue
			}
			var rows int
			if err := s.db.QueryRow(t.Context(), "SELECT count(*) FROM "+s.table(table)).Scan(&rows); err != nil || rows != kinds[kind] {
				t.Errorf("%d rows in %s, want %d; %v", rows, table, kinds[kind], err)
			}
		}
		r.waitHealth(http.StatusOK)
		r.terminate(limit)
	})
}

// TestCryptofeedItself has cryptofeed's own Kafka backend write, as text and as
// floats, and finds each kind's rows.
func TestCryptofeedItself(t *testing.T) {
	t.Parallel()
	python, packages := pythonPackages(t, "cryptofeed", filepath.Join("testdata", "cryptofeed_requirements.txt"))
	eachBroker(t, func(t *testing.T, brokers []string) {
		s := newStack(t, brokers)
		text, floats := strings.ToUpper(s.id), strings.ToUpper(s.id)+"_F" // exchanges
		tables := map[string]string{
			"trades": "crypto_trades", "ticker": "crypto_level1", "candles": "crypto_ohlcv", "book": "crypto_book", "funding": "crypto_funding",
			"open_interest": "crypto_open_interest", "liquidations": "crypto_liquidations",
		}
		for key := range tables {
			for _, exchange := range []string{text, floats} {
				s.createNamed(key+"-"+exchange+"-BTC-USDT-PERP", 2, nil)
			}
		}
		r := startReplica(t, "replica-0", s.config("replica-0", map[string]string{
			"topics.regex": "[a-z_]+-" + text + "(_F)?-.+", "value.converter": "cryptofeed", "value.converter.cryptofeed.version": "2",
		}, ""))
		out := s.runExample(pythonCommand(python, packages, filepath.Join("testdata", "cryptofeed_publish.py"), strings.Join(brokers, ","), text, floats))
		sent, records := map[string]int{}, 0
		for _, part := range strings.Fields(out) {
			key, n, _ := strings.Cut(part, "=")
			count, err := strconv.Atoi(n)
			if err != nil || tables[key] == "" {
				t.Fatalf("it says %q", out)
			}
			sent[key] = count
			records += count
		}
		if len(sent) != len(tables) {
			t.Fatalf("it says %q", out)
		}
		var written, dead int
		eventually(t, limit, func() string {
			err := s.db.QueryRow(t.Context(), "SELECT coalesce(sum(written), 0)::int, coalesce(sum(dead_lettered), 0)::int FROM "+
				s.table("connector_ledger")).Scan(&written, &dead)
			if err != nil || written+dead < records {
				return fmt.Sprintf("%d written, %d dead of %d records, %v", written, dead, records, err)
			}
			return ""
		})
		if written != records || dead != 0 {
			t.Errorf("%d written, %d dead, want %d and 0", written, dead, records)
		}
		for key, table := range tables {
			var rows int
			if err := s.db.QueryRow(t.Context(), "SELECT count(*) FROM "+s.table(table)).Scan(&rows); err != nil || rows != sent[key] {
				t.Errorf("%s: %d rows in %s, want %d; %v", key, rows, table, sent[key], err)
			}
		}
		// What was sent as text keeps each digit, a float its value.
		for exchange, want := range map[string]string{text: "65000.10 0.00000123", floats: "65000.1 0.00000123"} {
			var got string
			err := s.db.QueryRow(t.Context(), "SELECT price || ' ' || size FROM "+s.table("crypto_trades")+" WHERE exchange_id = $1 AND trade_id = '0'",
				strings.ToLower(exchange)).Scan(&got)
			if err != nil || got != want {
				t.Errorf("%s: %s, want %s; %v", exchange, got, want, err)
			}
		}
		r.waitHealth(http.StatusOK)
		r.terminate(limit)
	})
}

package timescalesink

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/qicore/tickconnect/connect"
)

const books = "crypto-book-kraken"

// bookRecord is a book's record whose sides are JSON.
func bookRecord(offset int64, symbol string, snapshot bool, bids, asks string) connect.Record {
	return connect.Record{
		Offset: offset, Timestamp: baseTime + offset, Key: []byte(symbol),
		Value: fmt.Appendf(nil, `{"exchangeId":"kraken","symbol":%q,"time":%d,"snapshot":%t,"bids":%s,"asks":%s}`,
			symbol, baseTime+offset, snapshot, bids, asks),
	}
}

// TestBooks: the sides of a book arrive as arrays with the digits that were sent,
// by COPY and by INSERT; absent and empty are told apart; the view says which
// snapshot a change follows.
func TestBooks(t *testing.T) {
	t.Parallel()
	for name, copyMin := range map[string]int{"COPY": 1, "INSERT": 10_000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, func(c *Config) { c.CopyMin = copyMin })
			c := f.connector()
			p := tp(books, 0)
			s := f.opened(c, p)
			rnd := rand.New(rand.NewPCG(3, 4))
			var side, wantPrices, wantSizes []string
			for range 100 {
				price, size := randomDigits(rnd), randomDigits(rnd)
				side = append(side, fmt.Sprintf("[%q,%q]", price, size))
				wantPrices, wantSizes = append(wantPrices, price), append(wantSizes, size)
			}
			records := []connect.Record{
				bookRecord(0, "BTC", false, `[[1,0]]`, "null"), // before any snapshot
				bookRecord(1, "BTC", true, "["+strings.Join(side, ",")+"]", "[]"),
				bookRecord(2, "ETH", true, `[["5","1.50"]]`, `[["6","0"]]`),
				bookRecord(3, "BTC", false, "null", `[["7.10","1E-3"]]`),
				bookRecord(4, "ETH", false, "[]", "[]"),
				bookRecord(5, "BTC", true, `[["8","1"]]`, `[["7","1"]]`),
				bookRecord(6, "BTC", false, `[["8","0"]]`, "null"),
			}
			f.wantCounts(f.put(s, part(c, p, records...)), connect.Counts{Written: 7, Inserted: 7})

			sum := func(numbers []string) string {
				return value[string](f, "SELECT sum(n)::text FROM unnest($1::numeric[]) n", "{"+strings.Join(numbers, ",")+"}")
			}
			got := value[string](f, f.in("SELECT concat_ws('|', (SELECT sum(n) FROM unnest(bid_prices) n), (SELECT sum(n) FROM unnest(bid_sizes) n), ask_prices, ask_sizes) FROM %s.crypto_book WHERE origin_offset = 1"))
			if want := sum(wantPrices) + "|" + sum(wantSizes) + "|{}|{}"; got != want {
				t.Errorf("the snapshot is %s, want %s", got, want)
			}
			scales := value[string](f, f.in("SELECT array_agg(scale(n) ORDER BY i)::text FROM %s.crypto_book, unnest(bid_prices) WITH ORDINALITY AS u(n, i) WHERE origin_offset = 1"))
			if want := value[string](f, "SELECT array_agg(scale(n) ORDER BY i)::text FROM unnest($1::numeric[]) WITH ORDINALITY AS u(n, i)", "{"+strings.Join(wantPrices, ",")+"}"); scales != want {
				t.Errorf("scales %s, want %s", scales, want)
			}
			rows := value[string](f, f.in(`SELECT string_agg(concat_ws(' ', origin_offset, symbol, snapshot, COALESCE(bid_prices::text, '-'), COALESCE(ask_prices::text, '-'),
				COALESCE(ask_sizes::text, '-'), COALESCE(flags::text, '-'), COALESCE(snapshot_offset::text, '-')), E'\n' ORDER BY origin_offset) FROM %s.crypto_book_epochs WHERE origin_offset <> 1`))
			want := strings.Join([]string{
				"0 BTC f {1} - - - -", "2 ETH t {5} {6} {0} - 2", "3 BTC f - {7.10} {0.001} - 1", "4 ETH f {} {} {} - 2",
				"5 BTC t {8} {7} {1} {crossed} 5", "6 BTC f {8} - - - 5",
			}, "\n")
			if rows != want {
				t.Errorf("rows:\n%s\nwant:\n%s", rows, want)
			}
		})
	}
}

// TestBookTableOfAnotherType: arrays that would round are refused, with what mends
// them.
func TestBookTableOfAnotherType(t *testing.T) {
	t.Parallel()
	for _, columnType := range []string{"numeric(20,8)[]", "double precision[]", "text[]", "numeric"} {
		f := setup(t, nil)
		c := f.connector()
		f.opened(c, tp(books, 0))
		f.exec(f.in("DROP VIEW %s.crypto_book_epochs"))
		f.exec(f.in("ALTER TABLE %s.crypto_book ALTER COLUMN bid_sizes TYPE " + columnType + " USING NULL"))
		positions, err := f.sink(f.connector()).Open(f.ctx(), claims(tp(books, 0)))
		if err != nil {
			t.Fatal(err)
		}
		if positions[0].Err == nil || !strings.Contains(positions[0].Err.Error(), "ALTER COLUMN \"bid_sizes\" TYPE numeric[]") {
			t.Errorf("%s: %v", columnType, positions[0].Err)
		}
	}
}

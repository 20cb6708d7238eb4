package timescalesink

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/marketdata"
)

// TestNewerWins is promise 5 record by record: what each Put does to the row
// that the one before it left.
func TestNewerWins(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	c := f.connector()
	p, q := tp(trades, 0), tp(trades, 1)
	s := f.opened(c, p, q)
	written, stale := connect.Counts{Written: 1}, connect.Counts{Stale: 1}
	next := map[connect.TopicPartition]int64{}
	for _, step := range []struct {
		what  string
		tp    connect.TopicPartition
		at    int64 // the record's time
		price string
		want  connect.Counts
		holds string
	}{
		{"the first", p, 100, "1", connect.Counts{Written: 1, Inserted: 1}, "1"},
		{"a higher offset, though its time is earlier", p, 50, "2", written, "2"},
		{"another partition, earlier", q, 49, "3", stale, "2"},
		{"another partition at the same time: the higher partition", q, 50, "4", written, "4"},
		{"the same time again: the lower partition", p, 50, "5", stale, "4"},
		{"another partition, later", p, 51, "6", written, "6"},
		{"another partition, much later", q, 1000, "7", written, "7"},
	} {
		got := f.put(s, part(c, step.tp, trade(next[step.tp], step.at, "a", step.price)))
		next[step.tp]++
		if got != step.want || f.price("a") != step.holds {
			t.Errorf("%s: counted %+v, want %+v; the table holds %s, want %s", step.what, got, step.want, f.price("a"), step.holds)
		}
	}
}

// TestNewerWinsWithinABatch: the same rule, before the database is asked.
func TestNewerWinsWithinABatch(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	c := f.connector()
	p, q := tp(trades, 0), tp(trades, 1)
	s := f.opened(c, p, q)
	res, err := s.Put(f.ctx(), batch(
		part(c, p, trade(0, 30, "a", "1"), trade(1, 20, "a", "2"), trade(2, 0, "b", "3")),
		part(c, q, trade(0, 25, "a", "4"), trade(1, 0, "b", "5"))))
	if err != nil {
		t.Fatal(err)
	}
	f.wantCounts(res.Counts[0], connect.Counts{Merged: 3})
	f.wantCounts(res.Counts[1], connect.Counts{Written: 2, Inserted: 2})
	if a, b := f.price("a"), f.price("b"); a != "4" || b != "5" {
		t.Errorf("a = %s, b = %s; want 4 and 5", a, b)
	}
}

// TestMendedDecoder is protocol 9: the same record with another content is
// written, with the same content it is unchanged.
func TestMendedDecoder(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	c := f.connector()
	p := tp(trades, 0)
	s := f.opened(c, p)
	f.put(s, part(c, p, trade(0, 0, "a", "1"), trade(1, 1, "b", "2.50")))
	if _, err := c.Admin().Reset(f.ctx(), Reset{Next: map[connect.TopicPartition]int64{p: 0}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Positions(f.ctx(), []connect.TopicPartition{p}); err != nil {
		t.Fatal(err)
	}
	got := f.put(s, part(c, p, trade(0, 0, "a", "1.5"), trade(1, 1, "b", "2.50")))
	f.wantCounts(got, connect.Counts{Written: 1, Unchanged: 1})
	if got := f.price("a"); got != "1.5" {
		t.Errorf("price %s, want 1.5", got)
	}
}

// modelRow is what the model of TestRandomSequences holds for a key.
type modelRow struct {
	row
	price string
}

// TestRandomSequences: whatever the order of Puts, replays and resets, the
// table ends as promise 5 says, and every offset has one fate.
func TestRandomSequences(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			f := setup(t, func(c *Config) { c.CopyMin = 1 + int(seed%3)*3 })
			randomSequence(f, rand.New(rand.NewPCG(seed, 7)))
		})
	}
}

func randomSequence(f *fixture, rnd *rand.Rand) {
	c := f.connector()
	c.statementRows = 4
	tps := []connect.TopicPartition{tp(trades, 0), tp(trades, 1), tp("crypto-trades-other", 0)}
	logs := map[connect.TopicPartition][]connect.Record{}
	next := map[connect.TopicPartition]int64{}
	clock := int64(0)
	s := f.opened(c, tps...)
	for range 60 {
		// The logs grow; time never goes back within a partition (protocol 4).
		for range rnd.IntN(12) {
			p := tps[rnd.IntN(len(tps))]
			clock += int64(rnd.IntN(2))
			o := int64(len(logs[p]))
			logs[p] = append(logs[p], trade(o, clock, fmt.Sprintf("k%d", rnd.IntN(5)), fmt.Sprintf("%d.%02d", 1+rnd.IntN(9), rnd.IntN(100))))
		}
		switch rnd.IntN(10) {
		case 0: // go back somewhere
			p := tps[rnd.IntN(len(tps))]
			next[p] = int64(rnd.IntN(int(next[p]) + 1))
			if _, err := c.Admin().Reset(f.ctx(), Reset{Next: map[connect.TopicPartition]int64{p: next[p]}}); err != nil {
				f.Fatal(err)
			}
			if _, err := s.Positions(f.ctx(), tps); err != nil {
				f.Fatal(err)
			}
		case 1: // another owner
			s = f.opened(c, tps...)
		default:
			var parts []connect.Part
			for _, p := range tps {
				if n := int64(len(logs[p])) - next[p]; n > 0 {
					n = 1 + rnd.Int64N(n)
					parts = append(parts, part(c, p, logs[p][next[p]:next[p]+n]...))
					next[p] += n
				}
			}
			slices.SortFunc(parts, func(a, b connect.Part) int { return a.Compare(b.TopicPartition) })
			f.put(s, parts...)
		}
	}
	for _, p := range tps {
		if n := int64(len(logs[p])); n > next[p] {
			f.put(s, part(c, p, logs[p][next[p]:]...))
		}
	}
	f.wantModel(c, s, tps, logs)
}

// wantModel compares the table with what the logs hold.
func (f *fixture) wantModel(c *Connector, s *Sink, tps []connect.TopicPartition, logs map[connect.TopicPartition][]connect.Record) {
	f.Helper()
	model := map[string]modelRow{}
	var d marketdata.Decoder
	for _, p := range tps {
		for _, r := range prepared(c, p, logs[p]...) {
			_, parsed, _, _ := parseRow(r.Row)
			parsed.topicID, parsed.partition = s.open[p].topicID, p.Partition
			parsed.offset, parsed.millis = r.Offset, r.Timestamp
			var sent marketdata.Trade
			if err := d.Trade(logs[p][r.Offset].Value, time.Now(), &sent); err != nil {
				f.Fatal(err)
			}
			key := strings.Clone(sent.TradeID)
			if old, ok := model[key]; !ok || parsed.newerThan(&old.row) {
				model[key] = modelRow{parsed, strings.Clone(sent.Price.String())}
			}
		}
	}
	if n := value[int](f, f.in("SELECT count(*) FROM %s.crypto_trades")); n != len(model) {
		f.Errorf("%d rows, want %d", n, len(model))
	}
	for key, want := range model {
		if got := f.price(key); got != want.price {
			f.Errorf("%s = %s, want %s from %s@%d", key, got, want.price, fmt.Sprint(want.topicID, "/", want.partition), want.offset)
		}
	}
	ledger, err := c.Admin().Ledger(f.ctx())
	if err != nil {
		f.Fatal(err)
	}
	for _, row := range ledger {
		if row.Counts.Offsets() != row.NextOffset-row.StartOffset {
			f.Errorf("%s: %+v do not add up to [%d, %d)", row.TopicPartition, row.Counts, row.StartOffset, row.NextOffset)
		}
	}
}

// TestDigitsArriveUnchanged is promise 7 on both paths: value and scale of any
// sequence of digits.
func TestDigitsArriveUnchanged(t *testing.T) {
	t.Parallel()
	for name, copyMin := range map[string]int{"COPY": 1, "INSERT": 10_000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, func(c *Config) { c.CopyMin = copyMin })
			c := f.connector()
			p := tp(trades, 0)
			s := f.opened(c, p)
			rnd := rand.New(rand.NewPCG(1, 2))
			var records []connect.Record
			sent := map[string]string{}
			for i := range int64(300) {
				id, digits := fmt.Sprint(i), randomDigits(rnd)
				sent[id] = digits
				records = append(records, trade(i, i, id, digits))
			}
			f.wantCounts(f.put(s, part(c, p, records...)), connect.Counts{Written: 300, Inserted: 300})
			for id, digits := range sent {
				want, err := marketdata.ParseDecimal(digits)
				if err != nil {
					t.Fatalf("%s: %v", digits, err)
				}
				got, err := marketdata.ParseDecimal(f.price(id))
				if err != nil {
					t.Fatal(err)
				}
				_, wantScale := want.Digits()
				_, gotScale := got.Digits()
				if want.Cmp(got) != 0 || wantScale != gotScale {
					t.Errorf("%s arrived as %s", digits, got)
				}
			}
		})
	}
}

// randomDigits writes a number above 0.
func randomDigits(rnd *rand.Rand) string {
	digits := func(n int) string {
		var b strings.Builder
		for range n {
			b.WriteByte(byte('0' + rnd.IntN(10)))
		}
		return b.String()
	}
	s := digits(rnd.IntN(40)) + fmt.Sprint(1+rnd.IntN(9))
	if rnd.IntN(2) == 0 {
		s += "." + digits(1+rnd.IntN(40))
	}
	if rnd.IntN(4) == 0 {
		s += fmt.Sprintf("e%d", rnd.IntN(61)-30)
	}
	return s
}

// TestKindsAndColumns stores one record of each kind and reads its row.
func TestKindsAndColumns(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	c := f.connector()
	when := "2024-05-06T07:08:09.123456789Z"
	for _, k := range []struct{ topic, value, table, row string }{
		{
			prices, `{"coinId":"bitcoin","symbol":"BTC","exchangeId":"Kraken","usdPrice":"65000.10","volume24h":0,"time":"` + when + `","source":"a\tb\\N","attribution":""}`,
			"crypto_prices", `{"flags": null, "source": "a\tb\\N", "symbol": "BTC", "coin_id": "bitcoin", "usd_price": 65000.10, "market_cap": null, "volume_24h": 0, "attribution": "", "exchange_id": "kraken"}`,
		},
		{
			"crypto-ohlcv", `{"exchangeId":"x","symbol":"S","interval":"1m","time":"` + when + `","open":1,"high":2,"low":3,"close":1.5,"volume":0,"trades":7,"closed":false}`,
			"crypto_ohlcv", `{"low": 3, "high": 2, "open": 1, "vwap": null, "close": 1.5, "flags": ["high_below_low"], "closed": false, "source": "", "symbol": "S", "trades": 7, "volume": 0, "interval": "1m", "exchange_id": "x", "quote_volume": null}`,
		},
		{
			"crypto-level1-x", `{"exchangeId":"x","symbol":"S","time":"` + when + `","bidPrice":2,"askPrice":1,"askSize":"0","sequence":18446744073709551616}`,
			"crypto_level1", `{"flags": ["crossed"], "source": null, "symbol": "S", "ask_size": 0, "bid_size": null, "sequence": 18446744073709551616, "ask_price": 1, "bid_price": 2, "exchange_id": "x"}`,
		},
		{
			"crypto-trades-x", `{"exchangeId":"x","symbol":"S","time":"` + when + `","price":1e-8,"size":3}`,
			"crypto_trades", `{"side": null, "size": 3, "flags": null, "price": 0.00000001, "source": null, "symbol": "S", "trade_id": "@crypto-trades-x/0/0", "exchange_id": "x"}`,
		},
		{
			"crypto-analytics-x", `{"time":"` + when + `","totalMarketCap":"1","marketCapChange24h":-2.50,"metrics":{"mine":1.10}}`,
			"crypto_analytics", `{"flags": null, "source": "", "symbol": "", "markets": null, "metrics": {"mine": 1.10}, "attribution": null, "exchange_id": "x", "total_volume": null, "btc_dominance": null, "eth_dominance": null, "total_market_cap": 1, "market_cap_change_24h": -2.50, "active_cryptocurrencies": null}`,
		},
		{
			"crypto-book-x", `{"exchangeId":"x","symbol":"S","time":"` + when + `","snapshot":true,"bids":[["1.50","2"]],"asks":[]}`,
			"crypto_book", `{"epoch": null, "flags": null, "source": null, "symbol": "S", "sequence": null, "snapshot": true, "ask_sizes": [], "bid_sizes": [2], "ask_prices": [], "bid_prices": [1.50], "exchange_id": "x"}`,
		},
	} {
		p := tp(k.topic, 0)
		s := f.opened(c, p)
		one := part(c, p, connect.Record{Offset: 0, Timestamp: baseTime, Value: []byte(k.value)})
		if e := one.Records[0].Err; e != nil {
			t.Fatalf("%s: %v", k.topic, e)
		}
		f.put(s, one)
		got := value[string](f, f.in("SELECT (to_jsonb(t) - 'time' - 'origin_topic' - 'origin_time' - 'origin_offset' - 'origin_partition')::text FROM %s."+k.table+" t"))
		if got != k.row {
			t.Errorf("%s holds\n%s, want\n%s", k.table, got, k.row)
		}
		if at := value[time.Time](f, f.in("SELECT time FROM %s."+k.table)); at.UTC().Format(time.RFC3339Nano) != "2024-05-06T07:08:09.123456Z" {
			t.Errorf("%s: time %s", k.table, at)
		}
		origin := value[string](f, f.in("SELECT o.topic || '/' || origin_partition || '@' || origin_offset || ' ' || (extract(epoch FROM origin_time) * 1000)::int8 FROM %s."+k.table+" t JOIN %s.connector_topics o ON o.id = t.origin_topic"))
		if want := fmt.Sprintf("%s/0@0 %d", k.topic, baseTime); origin != want {
			t.Errorf("%s: origin %s, want %s", k.table, origin, want)
		}

		// What it was prepared to is shown as it is stored.
		stored, err := c.Admin().Rows(f.ctx(), k.table, nil, 2)
		if err != nil || len(stored) != 1 || stored[0].Origin == nil || stored[0].Origin.TopicPartition() != p || stored[0].Origin.Offset != 0 {
			t.Fatalf("%s: the rows are %+v, %v", k.table, stored, err)
		}
		again := part(c, p, connect.Record{Offset: 0, Timestamp: baseTime, Value: []byte(k.value)})
		prepared, err := c.Admin().Prepared(f.ctx(), again.Records[0].Row)
		if err != nil || len(prepared) != 1 || prepared[0].Table != k.table {
			t.Fatalf("%s: prepared are %+v, %v", k.table, prepared, err)
		}
		if differs := stored[0].Differ(&prepared[0]); len(differs) > 0 {
			t.Errorf("%s: prepared and stored differ in %v: %+v and %+v", k.table, differs, prepared[0].Cells, stored[0].Cells)
		}
	}
}

// TestWritersDoNotDeadlock is protocol 10: two lanes write the same keys in
// opposite order, on days that have no chunk yet.
func TestWritersDoNotDeadlock(t *testing.T) {
	t.Parallel()
	// COPY takes keys in the order in which chunks are met, so two of them may
	// deadlock once; the attempt that follows merges in the order of keys, in which
	// there is no deadlock.
	t.Run("COPY", func(t *testing.T) {
		t.Parallel()
		writeInOppositeOrder(t, 20, 12)
	})
	t.Run("INSERT", func(t *testing.T) {
		t.Parallel()
		writeInOppositeOrder(t, 10_000, 0)
	})
}

func writeInOppositeOrder(t *testing.T, copyMin int, retriesMax int64) {
	f := setup(t, func(c *Config) { c.CopyMin = copyMin })
	c := f.connector()
	const rounds, keys = 12, 400
	var wg sync.WaitGroup
	for lane := range int32(2) {
		p := tp(trades, lane)
		s := f.opened(c, p)
		ctx := f.ctx()
		wg.Go(func() {
			offset := int64(0)
			for round := range int64(rounds) {
				var records []connect.Record
				for k := range int64(keys) {
					if lane == 1 {
						k = keys - 1 - k
					}
					r := trade(offset, offset, fmt.Sprint(k), "1")
					r.Value = fmt.Appendf(nil, `{"exchangeId":"kraken","symbol":"S","tradeId":"%d","time":%d,"price":1,"size":1}`,
						k, baseTime+(round*3+k%3)*day.Milliseconds())
					records = append(records, r)
					offset++
				}
				if _, err := s.Put(ctx, batch(part(c, p, records...))); err != nil {
					t.Errorf("lane %d: %v", lane, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if n := c.Counters().PutRetries.Load(); n > retriesMax {
		t.Errorf("%d transactions had to be made again in %d rounds", n, rounds)
	}
	if n := value[int](f, f.in("SELECT count(*) FROM %s.crypto_trades")); n != rounds*keys {
		t.Errorf("%d rows, want %d", n, rounds*keys)
	}
	if n := value[int](f, f.in("SELECT count(*) FROM %s.crypto_trades WHERE origin_offset < 0")); n != 0 {
		t.Errorf("%d probes were left in the table", n)
	}
	if n := c.Counters().ChunksMade.Load(); n != rounds*3 {
		t.Errorf("%d chunks were made ahead, want %d", n, rounds*3)
	}
}

// TestCopyThatDeadlocks: a COPY that deadlocks is made good within its Put. The
// other transaction takes the keys in the opposite order, and is not the victim.
func TestCopyThatDeadlocks(t *testing.T) {
	t.Parallel()
	f := setup(t, func(c *Config) { c.CopyMin = 1 })
	c := f.connector()
	p := tp(trades, 0)
	s := f.opened(c, p)
	f.put(s, part(c, p, trade(0, 0, "a", "1")))
	other := f.connect(f.url)
	insert := func(id string) error {
		_, err := other.Exec(f.ctx(), f.in(`INSERT INTO %s.crypto_trades (exchange_id, symbol, trade_id, "time", price, size)
			SELECT exchange_id, symbol, $1, "time", 5, size FROM %s.crypto_trades WHERE trade_id = 'a'`), id)
		return err
	}
	if _, err := other.Exec(f.ctx(), "SET deadlock_timeout = '1h'; BEGIN"); err != nil {
		t.Fatal(err)
	}
	if err := insert("c"); err != nil {
		t.Fatal(err)
	}
	ctx, done := f.ctx(), make(chan error, 1)
	go func() {
		_, err := s.Put(ctx, batch(part(c, p, trade(1, 1, "b", "2"), trade(2, 2, "c", "3"))))
		done <- err
	}()
	f.untilWaiting(done, applicationName(f.name))
	if err := insert("b"); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Exec(f.ctx(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatalf("Put gave %v", err)
	}
	for id, want := range map[string]string{"a": "1", "b": "2", "c": "3"} {
		if got := f.price(id); got != want {
			t.Errorf("%s has the price %s, want %s", id, got, want)
		}
	}
}

// TestTopicMadeAgainWithoutID is protocol 5: after the reset a lower offset of
// the new topic beats a higher one of the old.
func TestTopicMadeAgainWithoutID(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	c := f.connector()
	p := tp(trades, 0)
	s := f.opened(c, p)
	f.put(s, part(c, p, trade(0, 0, "a", "1"), trade(1, 1, "b", "2"), trade(2, 2, "a", "3")))

	claim := claims(p)
	if _, err := c.Admin().Reset(f.ctx(), Reset{MadeAgain: map[string]connect.TopicID{trades: {}}}); err != nil {
		t.Fatal(err)
	}
	s = f.sink(c)
	if positions, err := s.Open(f.ctx(), claim); err != nil || positions[0].Err != nil || positions[0].Next != 0 {
		t.Fatalf("%+v, %v: want 0", positions, err)
	}
	f.wantCounts(f.put(s, part(c, p, trade(0, 10, "a", "4"))), connect.Counts{Written: 1})
	if got := f.price("a"); got != "4" {
		t.Errorf("price %s, want 4", got)
	}
	if n := value[int](f, f.in("SELECT count(*) FROM %s.connector_topics")); n != 2 {
		t.Errorf("%d rows in connector_topics, want 2", n)
	}
}

// TestTopicIDIsAdopted: an id that the broker gives later is no other topic.
func TestTopicIDIsAdopted(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	c := f.connector()
	p := tp(trades, 0)
	s := f.opened(c, p)
	f.put(s, part(c, p, trade(0, 0, "a", "1")))
	claim := claims(p)
	claim[0].TopicID = connect.TopicID{1, 2, 3}
	positions, err := s.Open(f.ctx(), claim)
	if err != nil || positions[0].Err != nil || positions[0].Next != 1 {
		t.Fatalf("%+v, %v", positions, err)
	}
	f.wantCounts(f.put(s, part(c, p, trade(1, 1, "a", "2"))), connect.Counts{Written: 1})
	want := claim[0].TopicID.String()
	if got := value[string](f, f.in("SELECT string_agg(topic_id, ',') FROM %s.connector_topics")); got != want {
		t.Errorf("connector_topics has %s, want %s", got, want)
	}
	if got := value[string](f, f.in("SELECT topic_id FROM %s.connector_ledger")); got != want {
		t.Errorf("the ledger has %s, want %s", got, want)
	}
	claim[0].TopicID[0]++
	if positions, err = s.Open(f.ctx(), claim); err != nil || positions[0].Err == nil {
		t.Fatalf("%+v, %v: another id must be refused", positions, err)
	}
}

// TestPaceAdapts: a table whose keys repeat stays with the merge, and goes back
// to COPY once they do not.
func TestPaceAdapts(t *testing.T) {
	t.Parallel()
	f := setup(t, func(c *Config) { c.CopyMin = 2 })
	c := f.connector()
	p := tp(trades, 0)
	s := f.opened(c, p)
	paced := &s.paces[int(marketdata.KindTrade)-1]
	offset := int64(0)
	put := func(ids ...string) connect.Counts {
		var records []connect.Record
		for _, id := range ids {
			records = append(records, trade(offset, offset, id, fmt.Sprint(offset+1)))
			offset++
		}
		return f.put(s, part(c, p, records...))
	}
	put("a", "b", "c")
	if paced.merge {
		t.Fatal("fresh rows should go in with COPY")
	}
	f.wantCounts(put("c", "d"), connect.Counts{Written: 2, Inserted: 1})
	if !paced.merge {
		t.Fatal("after a key that was there the merge should be preferred")
	}
	for i := range paced.need {
		put(fmt.Sprint("x", i), fmt.Sprint("y", i))
	}
	if paced.merge {
		t.Fatal("after merges that only inserted COPY should be tried again")
	}
}

// TestTally: a record of several rows has the highest fate of them, in whatever
// order they come, and in each attempt anew.
func TestTally(t *testing.T) {
	t.Parallel()
	for _, order := range [][]fate{
		{fateMerged, fateStale, fateInserted}, {fateInserted, fateStale, fateMerged}, {fateStale, fateInserted, fateMerged},
	} {
		p := &plan{counts: make([]connect.Counts, 2), several: []*several{{part: 1, known: fateMerged}}}
		for range 2 {
			counts := p.beginCounts()
			for _, f := range order {
				tally(counts, &row{part: 1, several: p.several[0]}, f)
			}
			tally(counts, &row{part: 0}, fateUnchanged)
			p.endCounts(counts)
			if want := (connect.Counts{Written: 1, Inserted: 1}); counts[1] != want || counts[0] != (connect.Counts{Unchanged: 1}) {
				t.Errorf("%v: counted %+v, want %+v of the record and 1 unchanged", order, counts, want)
			}
		}
		again := p.beginCounts() // an attempt in which the rows were there already
		tally(again, &row{part: 1, several: p.several[0]}, fateUnchanged)
		p.endCounts(again)
		if want := (connect.Counts{Unchanged: 1}); again[1] != want {
			t.Errorf("%v: the next attempt counted %+v, want %+v", order, again[1], want)
		}
	}
}

// TestRecordOfSeveralRows: a record may give many rows, and has one fate.
func TestRecordOfSeveralRows(t *testing.T) {
	t.Parallel()
	for name, copyMin := range map[string]int{"COPY": 1, "INSERT": 1000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, func(c *Config) { c.CopyMin = copyMin })
			c := f.connector()
			p, q := tp(trades, 0), tp(trades, 1)
			s := f.opened(c, p, q)
			// together makes one record of the rows of several.
			together := func(tp connect.TopicPartition, records ...connect.Record) connect.Part {
				one := records[0]
				for _, r := range prepared(c, tp, records...) {
					one.Row = append(one.Row, r.Row...)
				}
				one.Key, one.Value = nil, nil
				return connect.Part{TopicPartition: tp, Start: one.Offset, Next: one.Offset + 1, Records: []connect.Record{one}}
			}
			inserted, written := connect.Counts{Written: 1, Inserted: 1}, connect.Counts{Written: 1}
			f.wantCounts(f.put(s, together(p, trade(0, 0, "a", "1"), trade(0, 0, "b", "1"))), inserted)
			f.wantCounts(f.put(s, together(p, trade(1, 1, "b", "2"), trade(1, 1, "c", "2"))), inserted)
			f.wantCounts(f.put(s, together(p, trade(2, 2, "a", "3"), trade(2, 2, "b", "3"))), written)
			f.wantCounts(f.put(s, together(p, trade(3, 3, "d", "4"), trade(3, 3, "d", "5"))), inserted)
			f.wantCounts(f.put(s, together(q, trade(0, -9, "a", "6"), trade(0, -9, "b", "6"))), connect.Counts{Stale: 1})
			f.wantCounts(f.put(s, together(q, trade(1, -8, "a", "7"), trade(1, -8, "e", "7"))), inserted)
			for id, want := range map[string]string{"a": "3", "b": "3", "c": "2", "d": "5", "e": "7"} {
				if got := f.price(id); got != want {
					t.Errorf("%s = %s, want %s", id, got, want)
				}
			}
			// All rows of the first lose to those of the second, in one batch.
			both := together(p, trade(4, 4, "x", "1"), trade(4, 4, "y", "1"))
			second := together(p, trade(5, 5, "x", "2"), trade(5, 5, "y", "2"))
			both.Records, both.Next = append(both.Records, second.Records...), 6
			f.wantCounts(f.put(s, both), connect.Counts{Written: 1, Inserted: 1, Merged: 1})

			// A replay of a record of which one row is stale by now and the other unchanged,
			// whichever of them is looked at last.
			f.wantCounts(f.put(s, together(p, trade(6, 6, "m", "1"), trade(6, 6, "n", "1"))), inserted)
			f.wantCounts(f.put(s, together(p, trade(7, 7, "o", "1"), trade(7, 7, "p", "1"))), inserted)
			f.wantCounts(f.put(s, together(q, trade(2, 99, "m", "9"), trade(2, 99, "p", "9"))), written)
			if _, err := c.Admin().Reset(f.ctx(), Reset{Next: map[connect.TopicPartition]int64{p: 3}}); err != nil {
				t.Fatal(err)
			}
			s = f.opened(c, p)
			f.wantCounts(f.put(s, together(p, trade(3, 3, "d", "4"), trade(3, 3, "d", "5"))), connect.Counts{Unchanged: 1})
			f.wantCounts(f.put(s, part(c, p, trade(4, 4, "x", "1"), trade(5, 5, "y", "2"))), connect.Counts{Unchanged: 1, Stale: 1})
			f.wantCounts(f.put(s, together(p, trade(6, 6, "m", "1"), trade(6, 6, "n", "1"))), connect.Counts{Stale: 1})
			f.wantCounts(f.put(s, together(p, trade(7, 7, "o", "1"), trade(7, 7, "p", "1"))), connect.Counts{Stale: 1})
		})
	}
}

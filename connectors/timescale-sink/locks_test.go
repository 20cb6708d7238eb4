package timescalesink

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/qicore/tickconnect/connect"
)

const dayMillis = 24 * 3600 * 1000

// quoteOn is a level1 quote of some days before baseTime.
func quoteOn(offset, days int64) connect.Record {
	return connect.Record{
		Offset: offset, Timestamp: baseTime + offset,
		Value: fmt.Appendf(nil, `{"exchangeId":"kraken","symbol":"S","time":%d,"bidPrice":1}`, baseTime-days*dayMillis),
	}
}

func tradeOn(offset, at, days int64, id string) connect.Record {
	return connect.Record{
		Offset: offset, Timestamp: baseTime + at,
		Value: fmt.Appendf(nil, `{"exchangeId":"kraken","symbol":"S","tradeId":%q,"time":%d,"price":"1","size":"1"}`, id, baseTime-days*dayMillis),
	}
}

// relationLocks counts the relations that a sink's transaction holds.
func (f *fixture) relationLocks(s *Sink) int {
	f.Helper()
	return value[int](f, "SELECT count(*) FROM pg_locks WHERE locktype = 'relation' AND pid = $1", int64(s.conn.PgConn().PID()))
}

// TestFewChunksAreLocked: a batch locks its own chunks, however many the table
// has, where its rows are older than those that are there and where it replaces
// rows of a tape. All locks of a server share one small table.
func TestFewChunksAreLocked(t *testing.T) {
	t.Parallel()
	const chunks, most = 110, 40
	f := setup(t, func(c *Config) { c.TapeReplayIndex = true })
	var logged bytes.Buffer
	c, err := New(f.name, f.cfg, connect.Env{Log: slog.New(slog.NewTextHandler(&logged, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	p, tape, q := tp(trades, 0), tp(level1, 0), tp(trades, 1)
	s := f.opened(c, p, tape, q)
	var rows, quotes []connect.Record
	for i := range int64(chunks) {
		rows, quotes = append(rows, tradeOn(i, 0, i, "a")), append(quotes, quoteOn(i, i))
	}
	f.put(s, part(c, p, rows...), part(c, tape, quotes...))
	if n := strings.Count(logged.String(), "lie far apart"); n != 2 {
		t.Errorf("%d tables are told of, want 2: %s", n, logged.String())
	}

	older := batch(part(c, q, tradeOn(0, -9, 3, "a"), tradeOn(1, -9, 100, "a")))
	plan, err := s.makePlan(older)
	if err != nil {
		t.Fatal(err)
	}
	m := &merge{target: c.schema.target(4), rows: plan.rows[3]}
	counts := make([]connect.Counts, 1)
	if err := s.run(f.ctx(), append(s.beginSteps(older), m.step())); err != nil {
		t.Fatal(err)
	}
	if err := s.countMerges(f.ctx(), []*merge{m}, counts); err != nil || counts[0].Stale != 2 {
		t.Fatalf("%+v, %v", counts, err)
	}
	if n := f.relationLocks(s); n > most {
		t.Errorf("two older rows lock %d relations", n)
	}
	s.abort(f.ctx())

	if _, err := c.Admin().Reset(f.ctx(), Reset{Next: map[connect.TopicPartition]int64{tape: 0}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(f.ctx(), claims(p, tape, q)); err != nil {
		t.Fatal(err)
	}
	again := batch(part(c, tape, quotes[:2]...))
	steps, err := s.replaceSteps(f.ctx(), again)
	if err != nil || len(steps) != 2 {
		t.Fatalf("%d steps, %v", len(steps), err)
	}
	if err := s.run(f.ctx(), append(s.beginSteps(again), steps...)); err != nil {
		t.Fatal(err)
	}
	if n := f.relationLocks(s); n > most {
		t.Errorf("two quotes that are replaced lock %d relations", n)
	}
	s.abort(f.ctx())
	f.put(s, part(c, tape, quotes...))
	if n := value[int](f, f.in("SELECT count(*) FROM %s.crypto_level1")); n != chunks {
		t.Errorf("%d quotes, want %d", n, chunks)
	}
}

// untilGateWaits returns once somebody waits for the connector's gate.
func (f *fixture) untilGateWaits(c *Connector, done <-chan error) {
	f.Helper()
	for {
		if value[bool](f, `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
			AND (classid::int8 << 32) | objid::int8 = $1)`, c.gateKey()) {
			return
		}
		select {
		case err := <-done:
			f.Fatalf("it did not wait: %v", err)
		default:
		}
	}
}

// TestPutsLockNoGeneration: Puts that overlap do not lock their one generation's
// row, of which each pair would make a multixact.
func TestPutsLockNoGeneration(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	c := f.connector()
	p, q := tp(trades, 0), tp(trades, 1)
	s, other := f.opened(c, p), f.opened(c, q)
	locker := func() string { return value[string](f, f.in("SELECT xmax::text FROM %s.connector_generations")) }
	before := locker()
	for sink, tp := range map[*Sink]connect.TopicPartition{s: p, other: q} {
		if err := sink.run(f.ctx(), sink.beginSteps(batch(part(c, tp, trade(0, 0, "a", "1"))))); err != nil {
			t.Fatal(err)
		}
	}
	if after := locker(); after != before {
		t.Errorf("two Puts changed the row's xmax from %s to %s", before, after)
	}

	done := make(chan error, 1)
	go func() {
		_, err := c.Admin().Reset(f.ctx(), Reset{})
		done <- err
	}()
	f.untilGateWaits(c, done) // the reset, for both
	s.abort(f.ctx())
	other.abort(f.ctx())
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	var fenced *connect.FencedError
	if _, err := s.Put(f.ctx(), batch(part(c, p, trade(0, 0, "a", "1")))); !errors.As(err, &fenced) {
		t.Errorf("Put of the old generation gave %v", err)
	}
}

// TestPutWaitsForReset: a Put that comes while a reset is under way sees it.
func TestPutWaitsForReset(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	c := f.connector()
	p := tp(trades, 0)
	s := f.opened(c, p)
	resetting := f.connect(f.url)
	err := pgx.BeginFunc(f.ctx(), resetting, func(tx pgx.Tx) error {
		if _, err := tx.Exec(f.ctx(), takeGate, c.gateKey()); err != nil {
			return err
		}
		if _, err := tx.Exec(f.ctx(), f.in("UPDATE %s.connector_generations SET closed_at = now(), state = 'closed'")); err != nil {
			return err
		}
		done := make(chan error, 1)
		go func() {
			_, err := s.Put(f.ctx(), batch(part(c, p, trade(0, 0, "a", "1"))))
			done <- err
		}()
		f.untilGateWaits(c, done)
		f.Cleanup(func() {
			var fenced *connect.FencedError
			if err := <-done; !errors.As(err, &fenced) {
				f.Errorf("Put gave %v, want a FencedError", err)
			}
			if got := f.price("a"); got != "" {
				f.Errorf("the row is stored, at %s", got)
			}
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

package timescalesink

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/qicore/tickconnect/connect"
)

func fenced(t *testing.T, err error) *connect.FencedError {
	t.Helper()
	var fence *connect.FencedError
	if !errors.As(err, &fence) {
		t.Fatalf("Put gave %v, want a FencedError", err)
	}
	return fence
}

func withApplication(t *testing.T, databaseURL, name string) string {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("application_name", name)
	u.RawQuery = q.Encode()
	return u.String()
}

// TestStoppedZombieIsEnded: a process that was stopped in the middle of a
// transaction holds its ledger row for ever (protocol 3); the other partitions
// go on meanwhile, and after fence.timeout.ms its backend is ended.
func TestStoppedZombieIsEnded(t *testing.T) {
	t.Parallel()
	f := setup(t, func(c *Config) { c.FenceTimeout = 200 * time.Millisecond })
	c := f.connector()
	p, q := tp(trades, 0), tp(trades, 1)
	s := f.opened(c, p, q)
	f.hold(withApplication(t, f.url, applicationName(f.name)), p)
	put := func() error {
		_, err := s.Put(f.ctx(), batch(part(c, p, trade(0, 0, "a", "1"))))
		return err
	}
	if fence := fenced(t, put()); !slices.Equal(fence.Busy, []connect.TopicPartition{p}) || len(fence.Moved) > 0 {
		t.Fatalf("%v, want %v busy", fence, p)
	}
	f.put(s, part(c, q, trade(0, 0, "b", "1")))

	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for err := put(); err != nil; err = put() {
		_ = fenced(t, err)
		select {
		case <-tick.C:
		case <-f.ctx().Done():
			t.Fatal("the zombie's backend was not ended")
		}
	}
	if n := c.Counters().BackendsEnded.Load(); n != 1 {
		t.Errorf("ended %d backends, want 1", n)
	}
	if f.price("a") != "1" {
		t.Error("the row is not there")
	}
}

// TestForeignBackendIsLeftAlone: only backends of the same connector are ended.
func TestForeignBackendIsLeftAlone(t *testing.T) {
	t.Parallel()
	f := setup(t, func(c *Config) { c.FenceTimeout = 100 * time.Millisecond })
	c := f.connector()
	p := tp(trades, 0)
	s := f.opened(c, p)
	free := f.hold(withApplication(t, f.url, "psql"), p)
	for start := time.Now(); time.Since(start) < 500*time.Millisecond; {
		_, err := s.Put(f.ctx(), batch(part(c, p, trade(0, 0, "a", "1"))))
		_ = fenced(t, err)
	}
	if n := c.Counters().BackendsEnded.Load(); n != 0 {
		t.Errorf("ended %d backends of others", n)
	}
	free()
	f.untilPut(s, part(c, p, trade(0, 0, "a", "1")))
}

// untilPut puts until nothing is in the way.
func (f *fixture) untilPut(s *Sink, parts ...connect.Part) {
	f.Helper()
	for ctx := f.ctx(); ; {
		_, err := s.Put(ctx, batch(parts...))
		if err == nil {
			return
		}
		var fence *connect.FencedError
		if ctx.Err() != nil || !errors.As(err, &fence) {
			f.Fatal(err)
		}
	}
}

// TestOpenWaitsForReset is protocol 2: a replica knows generation 0 as live
// while a reset is closing it; its new partition must not begin there.
func TestOpenWaitsForReset(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	c := f.connector()
	p, late := tp(trades, 0), tp(trades, 1)
	f.opened(c, p)

	resetting := f.connect(f.url)
	tx, err := resetting.Begin(f.ctx())
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		"UPDATE %s.connector_generations SET closed_at = now(), state = 'closed'",
		"UPDATE %s.connector_ledger SET closed_at = now()",
		"INSERT INTO %s.connector_generations (connector, generation, kind, state) VALUES ('market', 1, 'live', 'running')",
		`INSERT INTO %s.connector_ledger (connector, generation, topic, partition, start_offset, next_offset)
			VALUES ('market', 1, 'crypto-trades-kraken', 0, 0, 0)`,
	} {
		if _, err := tx.Exec(f.ctx(), f.in(sql)); err != nil {
			t.Fatal(err)
		}
	}
	s := f.sink(c)
	done := make(chan error, 1)
	go func() {
		_, err := s.Open(f.ctx(), claims(late))
		done <- err
	}()
	f.untilWaiting(done, applicationName(f.name))
	if err := tx.Commit(f.ctx()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil && !connect.IsRetriable(err) {
		t.Fatal(err)
	} else if err != nil {
		if _, err := s.Open(f.ctx(), claims(late)); err != nil {
			t.Fatal(err)
		}
	}
	if g := value[int32](f, f.in("SELECT generation FROM %s.connector_ledger WHERE partition = 1")); g != 1 {
		t.Errorf("the new partition began in generation %d, want 1", g)
	}
	f.put(s, part(c, late, trade(0, 0, "a", "1")))
}

// untilWaiting waits until a backend of this name waits for a lock of another.
func (f *fixture) untilWaiting(done <-chan error, application string) {
	f.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	ctx := f.ctx()
	for {
		var waits bool
		err := f.conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = $1 AND wait_event_type = 'Lock'
			AND query LIKE '%' || $2 || '%')`, application, f.cfg.SchemaName).Scan(&waits)
		if err != nil {
			f.Fatal(err)
		}
		if waits {
			return
		}
		select {
		case err := <-done:
			f.Fatalf("it did not wait: %v", err)
		case <-ctx.Done():
			f.Fatal("nothing waits")
		case <-tick.C:
		}
	}
}

// TestResetFencesTheOldGeneration: its zombies store nothing more, the others'
// positions stay, and a sink that reads its positions goes on in the new one.
func TestResetFencesTheOldGeneration(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	c := f.connector()
	p, q := tp(trades, 0), tp(trades, 1)
	s := f.opened(c, p, q)
	f.put(s, part(c, p, trade(0, 0, "a", "1"), trade(1, 1, "b", "2")), part(c, q, trade(0, 0, "c", "3")))
	generation, err := c.Admin().Reset(f.ctx(), Reset{Next: map[connect.TopicPartition]int64{p: 0}, Note: "a test"})
	if err != nil || generation != 1 {
		t.Fatalf("Reset gave %d and %v", generation, err)
	}
	_, err = s.Put(f.ctx(), batch(part(c, q, trade(1, 1, "d", "4"))))
	if fence := fenced(t, err); !slices.Equal(fence.Moved, []connect.TopicPartition{q}) {
		t.Fatalf("%v, want %v moved", fence, q)
	}
	positions, err := s.Positions(f.ctx(), []connect.TopicPartition{q})
	if err != nil || positions[0].Next != 1 {
		t.Fatalf("%+v, %v: the partition that was not reset should stand at 1", positions, err)
	}
	// p was not read again: the sink must not store it in a generation it has not
	// seen it in, even where the offsets agree by chance.
	_, err = s.Put(f.ctx(), batch(part(c, p, trade(0, 0, "a", "1"))))
	_ = fenced(t, err)
	if positions, err = s.Positions(f.ctx(), []connect.TopicPartition{p}); err != nil || positions[0].Next != 0 {
		t.Fatalf("%+v, %v: want 0", positions, err)
	}
	got := f.put(s, part(c, p, trade(0, 0, "a", "1"), trade(1, 1, "b", "2")), part(c, q, trade(1, 1, "d", "4")))
	f.wantCounts(got, connect.Counts{Written: 1, Inserted: 1, Unchanged: 2})
}

// TestLostDatabase: where the ledger is gone with its tables, its partitions
// are fenced, unknown, and begin again.
func TestLostDatabase(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	c := f.connector()
	p := tp(trades, 0)
	s := f.opened(c, p)
	f.put(s, part(c, p, trade(0, 0, "a", "1")))
	f.exec(f.in("DROP TABLE %s.connector_ledger, %s.connector_generations, %s.connector_dead_letters, %s.connector_topics"))
	f.exec(f.in("DROP TABLE %s.crypto_trades"))
	_, err := s.Put(f.ctx(), batch(part(c, p, trade(1, 1, "b", "2"))))
	_ = fenced(t, err)
	positions, err := s.Positions(f.ctx(), []connect.TopicPartition{p})
	if err != nil || positions[0].Next != connect.NoOffset {
		t.Fatalf("%+v, %v: want no offset", positions, err)
	}
	if _, err := s.Open(f.ctx(), claims(p)); err != nil {
		t.Fatal(err)
	}
	f.put(s, part(c, p, trade(0, 0, "a", "1"), trade(1, 1, "b", "2")))
}

// TestCutBeforeCommit: a connection that is lost after the rows went in and
// before COMMIT leaves nothing behind.
func TestCutBeforeCommit(t *testing.T) {
	t.Parallel()
	for name, copyMin := range map[string]int{"after COPY": 1, "after INSERT": 1000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, func(c *Config) { c.CopyMin = copyMin })
			through, url := newProxy(t, f.url)
			cfg := *f.cfg
			cfg.ConnectionURL = url
			c := f.connectorWith(&cfg)
			p := tp(trades, 0)
			s := f.opened(c, p)
			one := part(c, p, trade(0, 0, "a", "1"), trade(1, 1, "b", "2"))
			through.cutBeforeStatement("COMMIT\x00")
			if _, err := s.Put(f.ctx(), batch(one)); !connect.IsRetriable(err) {
				t.Fatalf("Put gave %v, want an outage", err)
			}
			if positions, err := s.Positions(f.ctx(), []connect.TopicPartition{p}); err != nil || positions[0].Next != 0 {
				t.Fatalf("%+v, %v: want 0", positions, err)
			}
			if n := value[int64](f, f.in("SELECT count(*) FROM %s.crypto_trades")); n != 0 {
				t.Fatalf("%d rows are there", n)
			}
			f.untilPut(s, one)
			if n := value[int64](f, f.in("SELECT count(*) FROM %s.crypto_trades")); n != 2 {
				t.Fatalf("%d rows, want 2", n)
			}
		})
	}
}

// TestKilledBackend: an administrator ends the sink's backend between two Puts.
func TestKilledBackend(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	c := f.connector()
	p := tp(trades, 0)
	s := f.opened(c, p)
	f.exec("SELECT pg_terminate_backend($1, 5000)", int32(s.conn.PgConn().PID()))
	one := part(c, p, trade(0, 0, "a", "1"))
	if _, err := s.Put(f.ctx(), batch(one)); err != nil && !connect.IsRetriable(err) {
		t.Fatalf("Put gave %v, want an outage", err)
	}
	positions, err := s.Positions(f.ctx(), []connect.TopicPartition{p})
	if err != nil {
		t.Fatal(err)
	}
	if positions[0].Next == 0 {
		f.put(s, one)
	}
	if f.price("a") != "1" {
		t.Error("the row is not there")
	}
}

// TestCancelledPut: a context that ends during a wait for a lock frees the
// sink, its connection and its ledger rows at once.
func TestCancelledPut(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	c := f.connector()
	p := tp(trades, 0)
	s := f.opened(c, p)
	f.put(s, part(c, p, trade(0, 0, "a", "1")))
	blocker := f.connect(f.url)
	if _, err := blocker.Exec(f.ctx(), f.in("BEGIN; UPDATE %s.crypto_trades SET price = 9")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(f.ctx())
	done := make(chan error, 1)
	go func() {
		_, err := s.Put(ctx, batch(part(c, p, trade(1, 1, "a", "2"))))
		done <- err
	}()
	f.untilWaiting(done, applicationName(f.name))
	cancel()
	if err := <-done; !connect.IsRetriable(err) {
		t.Fatalf("Put gave %v", err)
	}
	if _, err := blocker.Exec(f.ctx(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	f.untilPut(s, part(c, p, trade(1, 1, "a", "2")))
	if got := f.price("a"); got != "2" {
		t.Errorf("price %s, want 2", got)
	}
}

// TestLedgerFailureStoresNothing: rows whose offsets cannot be moved are not
// stored either (promise 1).
func TestLedgerFailureStoresNothing(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	c := f.connector()
	p := tp(trades, 0)
	s := f.opened(c, p)
	f.exec(f.in("ALTER TABLE %s.connector_ledger ADD CONSTRAINT no_further CHECK (next_offset < 2)"))
	if _, err := s.Put(f.ctx(), batch(part(c, p, trade(0, 0, "a", "1"), trade(1, 1, "b", "1")))); err == nil {
		t.Fatal("Put succeeded")
	}
	if n := value[int](f, f.in("SELECT count(*) FROM %s.crypto_trades")); n != 0 {
		t.Fatalf("%d rows are there", n)
	}
	f.put(s, part(c, p, trade(0, 0, "a", "1")))
}

// TestResetGetsThroughTraffic: Puts that follow one another without a pause
// must not keep a reset waiting until its lock times out.
func TestResetGetsThroughTraffic(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	c := f.connector()
	stopped := make(chan error, 8)
	for i := range int32(8) {
		p := tp(trades, i)
		s := f.opened(c, p)
		ctx := f.ctx()
		go func() {
			for o := int64(0); ; o++ {
				if _, err := s.Put(ctx, batch(part(c, p, trade(o, o, "a", "1")))); err != nil {
					stopped <- err
					return
				}
			}
		}()
	}
	start := time.Now()
	if _, err := c.Admin().Reset(f.ctx(), Reset{}); err != nil {
		t.Fatalf("after %s: %v", time.Since(start), err)
	}
	t.Logf("the reset took %s", time.Since(start))
	for range 8 {
		_ = fenced(t, <-stopped)
	}
}

package timescalesink

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/connect/connecttest"
	"github.com/qicore/tickconnect/internal/devstack/testenv"
)

// TestSinkBehindPgBouncer holds the sink to the same promises where PgBouncer
// stands between in transaction mode: the session is not its own, so it must
// keep nothing there.
func TestSinkBehindPgBouncer(t *testing.T) {
	t.Parallel()
	url, _ := testenv.Schema(t)
	connecttest.TestSink(t, suiteTarget(modeUpsert, testenv.PgBouncer(t, url)))
}

// pooled is a fixture whose connector connects through a PgBouncer of the test's.
func pooled(t *testing.T, change func(*Config)) (*fixture, *Connector) {
	t.Helper()
	f := setup(t, change)
	cfg := *f.cfg
	cfg.ConnectionURL = testenv.PgBouncer(t, f.url)
	return f, f.connectorWith(&cfg)
}

// TestPutBehindPgBouncer stores what each way of writing stores: COPY, INSERT, a
// merge after a COPY that met a key, dead letters; and Check says what stands
// between.
func TestPutBehindPgBouncer(t *testing.T) {
	t.Parallel()
	f, c := pooled(t, func(c *Config) { c.CopyMin = 2 })
	p, q := tp(trades, 0), tp(level1, 0)
	s := f.opened(c, p, q)
	f.put(s, part(c, p, trade(0, 0, "a", "1"), trade(1, 0, "b", "2"))) // COPY
	f.put(s, part(c, p, trade(2, 0, "c", "3")))                        // INSERT
	got := f.put(s, part(c, p, trade(3, 1, "c", "4"), trade(4, 1, "d", "5"), badTrade(5)))
	f.wantCounts(got, connect.Counts{Written: 2, Inserted: 1, DeadLettered: 1})
	if got := f.price("c"); got != "4" {
		t.Errorf("price %s, want 4", got)
	}
	letters, err := c.Admin().DeadLetters(f.ctx(), DeadLetterQuery{Limit: 10})
	if err != nil || len(letters) != 1 || letters[0].Offset != 5 {
		t.Errorf("dead letters %+v, %v; want the one of offset 5", letters, err)
	}
	var said bool
	for _, finding := range c.Check(f.ctx(), []string{trades}) {
		said = said || strings.Contains(finding.Message, "pooler")
		if finding.Level == "error" {
			t.Errorf("Check finds %+v", finding)
		}
	}
	if !said {
		t.Error("Check does not say that a pooler stands between")
	}
	// The timeouts are the transaction's own: were they the session's, the next
	// client of this connection would have them.
	direct := f.connect(c.cfg.ConnectionURL)
	for range 20 {
		var timeout string
		if err := direct.QueryRow(f.ctx(), "SELECT current_setting('statement_timeout')").Scan(&timeout); err != nil || timeout != "0" {
			t.Fatalf("another client finds statement_timeout %q, %v; want 0", timeout, err)
		}
	}
}

// TestFenceBehindPgBouncer: a zombie is fenced, a busy row is told from one that
// moved, and the holder is ended, through one connection or another.
func TestFenceBehindPgBouncer(t *testing.T) {
	t.Parallel()
	f, c := pooled(t, func(c *Config) { c.FenceTimeout = 200 * time.Millisecond })
	p := tp(trades, 0)
	zombie, s := f.opened(c, p), f.opened(c, p)
	f.put(s, part(c, p, trade(0, 0, "a", "1")))
	_, err := zombie.Put(f.ctx(), batch(part(c, p, trade(0, 0, "a", "9"))))
	if fence := fenced(t, err); len(fence.Moved) != 1 {
		t.Fatalf("%v, want %v moved", fence, p)
	}
	f.hold(withApplication(t, c.cfg.ConnectionURL, applicationName(f.name)), p)
	f.untilPut(s, part(c, p, trade(1, 1, "a", "2")))
	if n := c.Counters().BackendsEnded.Load(); n != 1 {
		t.Errorf("ended %d backends, want 1", n)
	}
	if got := f.price("a"); got != "2" {
		t.Errorf("price %s, want 2", got)
	}
}

// TestCancelBehindPgBouncer: contexts that end during a Put cancel it through
// PgBouncer, which must neither die of it nor cancel somebody else's statement.
func TestCancelBehindPgBouncer(t *testing.T) {
	t.Parallel()
	f, c := pooled(t, nil)
	p, q := tp(trades, 0), tp(trades, 1)
	s, other := f.opened(c, p), f.opened(c, q)
	f.put(s, part(c, p, trade(0, 0, "a", "1")))
	blocker := f.connect(f.url)
	for i := range int64(10) {
		if _, err := blocker.Exec(f.ctx(), f.in("BEGIN; UPDATE %s.crypto_trades SET price = 9 WHERE trade_id = 'a'")); err != nil {
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
		f.put(other, part(c, q, trade(i, i, "b", "1")))
		if err := <-done; !connect.IsRetriable(err) {
			t.Fatalf("Put gave %v, want an outage", err)
		}
		if _, err := blocker.Exec(f.ctx(), "ROLLBACK"); err != nil {
			t.Fatal(err)
		}
	}
	f.untilPut(s, part(c, p, trade(1, 1, "a", "2")))
	if got := f.price("a"); got != "2" {
		t.Errorf("price %s, want 2", got)
	}
}

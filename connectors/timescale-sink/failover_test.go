package timescalesink

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/internal/devstack"
	"github.com/qicore/tickconnect/internal/devstack/testenv"
)

// hosts is the URL of the first with the hosts of all, and a parameter.
func hosts(t *testing.T, parameter string, urls ...string) string {
	t.Helper()
	first, err := url.Parse(urls[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range urls[1:] {
		u, err := url.Parse(other)
		if err != nil {
			t.Fatal(err)
		}
		first.Host += "," + u.Host
	}
	first.RawQuery = parameter
	return first.String()
}

// until waits for a query to give true.
func (f *fixture) until(what, sql string, args ...any) {
	f.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for ctx := f.ctx(); !value[bool](f, sql, args...); {
		select {
		case <-ctx.Done():
			f.Fatalf("waited in vain: %s", what)
		case <-tick.C:
		}
	}
}

// replica is a standby, and a connector whose URL names it and the primary.
type replica struct {
	*fixture
	connector *Connector
	sink      *Sink
	log       map[connect.TopicPartition][]connect.Record
}

var failoverParts = []connect.TopicPartition{tp(trades, 0), tp(level1, 0)}

func newReplica(t *testing.T, standby *devstack.Database, schema, connectionURL string) *replica {
	t.Helper()
	f := setupAt(t, standby.URL(), schema, nil)
	cfg := *f.cfg
	cfg.ConnectionURL = connectionURL
	c := f.connectorWith(&cfg)
	r := &replica{fixture: f, connector: c, sink: f.opened(c, failoverParts...), log: map[connect.TopicPartition][]connect.Record{}}
	for o := range int64(30) {
		r.log[failoverParts[0]] = append(r.log[failoverParts[0]], trade(o, o, fmt.Sprint(o), "1"))
		r.log[failoverParts[1]] = append(r.log[failoverParts[1]], connect.Record{
			Offset: o, Timestamp: baseTime + o, Key: []byte("BTC-USD"),
			Value: fmt.Appendf(nil, `{"exchangeId":"kraken","symbol":"BTC-USD","time":%d,"bidPrice":1,"askPrice":2}`, baseTime+o),
		})
	}
	return r
}

// parts are the records [from, to) of both partitions: of a table with a natural
// key, and of a tape, which nothing but the ledger keeps free of doubles.
func (r *replica) parts(from, to int64) []connect.Part {
	parts := make([]connect.Part, 0, len(failoverParts))
	for _, tp := range failoverParts {
		parts = append(parts, part(r.connector, tp, r.log[tp][from:to]...))
	}
	slices.SortFunc(parts, func(a, b connect.Part) int { return a.Compare(b.TopicPartition) })
	return parts
}

func (r *replica) outage(from, to int64) {
	r.Helper()
	_, err := r.sink.Put(r.ctx(), batch(r.parts(from, to)...))
	if !connect.IsRetriable(err) {
		r.Fatalf("Put gave %v, want an outage", err)
	}
}

// wantStored checks that each of n records is stored once, and that the ledger
// accounts for it.
func (r *replica) wantStored(n int64) {
	r.Helper()
	for _, table := range []string{"crypto_trades", "crypto_level1"} {
		rows := value[int64](r.fixture, r.in("SELECT count(*) FROM %s."+table))
		offsets := value[int64](r.fixture, r.in("SELECT count(DISTINCT origin_offset) FROM %s."+table))
		if rows != n || offsets != n {
			r.Errorf("%s: %d rows of %d records, want %d of each", table, rows, offsets, n)
		}
	}
	for tp, counts := range r.liveCounts(r.connector) {
		if counts.Written != n || counts.Offsets() != n {
			r.Errorf("the ledger of %s says %+v, want %d written", tp, counts, n)
		}
	}
	if letters := value[int64](r.fixture, r.in("SELECT count(*) FROM %s.connector_dead_letters")); letters != 0 {
		r.Errorf("%d dead letters, want none", letters)
	}
}

// TestFailover kills a primary and promotes its standbys: one that has all that
// was committed, and one that lags behind. There rows and ledger went back
// together, and what is missing is stored again, once.
func TestFailover(t *testing.T) {
	t.Parallel()
	primary := testenv.OwnDatabase(t)
	freshServer := testenv.DatabaseWith(t, devstack.DatabaseOptions{Primary: primary})
	laggingServer := testenv.DatabaseWith(t, devstack.DatabaseOptions{Primary: primary})
	// Where a standby comes first, rows go to the primary all the same, also where
	// the URL does not ask for it.
	fresh := newReplica(t, freshServer, "fresh", hosts(t, "", freshServer.URL(), primary.URL()))
	lagging := newReplica(t, laggingServer, "lagging", hosts(t, "target_session_attrs=primary", primary.URL(), laggingServer.URL()))
	onPrimary := setupAt(t, primary.URL(), "public", nil)
	replayed := func(r *replica) {
		t.Helper()
		lsn := value[string](onPrimary, "SELECT pg_current_wal_lsn()::text")
		r.until("the standby has replayed", "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", lsn)
	}
	for _, r := range []*replica{fresh, lagging} {
		r.put(r.sink, r.parts(0, 10)...)
	}
	replayed(fresh)
	replayed(lagging)
	for _, parameter := range []string{"", "target_session_attrs=read-write", "target_session_attrs=primary"} {
		lagging.wantOutage(hosts(t, parameter, laggingServer.URL()))
	}

	// The link to one standby is lost before the last commits.
	lagging.exec("ALTER SYSTEM SET primary_conninfo = ''")
	lagging.exec("SELECT pg_reload_conf()")
	lagging.until("the standby receives nothing", "SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)")
	for _, r := range []*replica{fresh, lagging} {
		r.put(r.sink, r.parts(10, 20)...)
	}
	replayed(fresh)
	if err := primary.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, r := range []*replica{fresh, lagging} {
		for range 3 { // the lost connection; then nobody but a standby answers
			r.outage(20, 30)
		}
		if !value[bool](r.fixture, "SELECT pg_promote(true, 60)") {
			t.Fatal("the standby was not promoted")
		}
	}

	fresh.put(fresh.sink, fresh.parts(20, 30)...)
	fresh.wantStored(30)

	_, err := lagging.sink.Put(lagging.ctx(), batch(lagging.parts(20, 30)...))
	if fence := fenced(t, err); len(fence.Moved) != len(failoverParts) {
		t.Fatalf("%v, want both partitions moved", fence)
	}
	positions, err := lagging.sink.Positions(lagging.ctx(), failoverParts)
	if err != nil || positions[0].Next != 10 || positions[1].Next != 10 {
		t.Fatalf("%+v, %v: want 10", positions, err)
	}
	lagging.wantStored(10)
	lagging.put(lagging.sink, lagging.parts(10, 30)...)
	lagging.wantStored(30)
}

// wantOutage checks a URL that names only a standby: that is an outage, which says
// so, and no record's fault.
func (r *replica) wantOutage(connectionURL string) {
	r.Helper()
	cfg := *r.cfg
	cfg.ConnectionURL = connectionURL
	s := r.fixture.sink(r.connectorWith(&cfg))
	_, err := s.Open(r.ctx(), claims(failoverParts...))
	wantKind(r, err, "retry")
	if text := fmt.Sprint(err); !strings.Contains(text, "read-only") && !strings.Contains(text, "read only") && !strings.Contains(text, "standby") {
		r.Errorf("%v does not say that the server takes no writes", err)
	}
	s.generation, s.open = r.sink.generation, r.sink.open // as if it had opened before
	_, err = s.Put(r.ctx(), batch(r.parts(10, 20)...))
	wantKind(r, err, "retry")
}

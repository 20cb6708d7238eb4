package worker

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/connect/connecttest"
)

// TestGaugesAreFresh: a scrape shows the status of its own moment, not that of
// the scrape before it, in whatever order a registry collects.
func TestGaugesAreFresh(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	w, err := New("c", DefaultSettings(), &scriptedSource{}, connecttest.NewMemory(connecttest.MemoryConfig{}).Connector("c"),
		Options{Metrics: NewMetrics(registry)})
	if err != nil {
		t.Fatal(err)
	}
	state := func() float64 {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "tickconnect_breaker_state" {
				return f.Metric[0].GetGauge().GetValue()
			}
		}
		t.Fatal("the breaker's state is missing")
		return 0
	}
	for range 20 {
		if got := state(); got != 0 {
			t.Fatalf("the breaker is closed, and shown as %v", got)
		}
	}
	for range 100 {
		_, err = guard(w, false, func() (int, error) { return 0, connect.Retriable(errors.New("away")) })
	}
	if err == nil {
		t.Fatal("no error")
	}
	if got := state(); got != 2 {
		t.Errorf("the breaker is open, and shown as %v", got)
	}
}

// series gives the values of a metric, by the values of its labels in the order of
// their names.
func series(t *testing.T, registry *prometheus.Registry, name string) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetValue())
			}
			out[strings.Join(labels, " ")] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return out
}

// wrongLedger is a connector whose ledger does not add up.
type wrongLedger struct {
	connect.Connector
	by *atomic.Int64
}

func (c wrongLedger) NewSink(task int) (connect.Sink, error) {
	s, err := c.Connector.NewSink(task)
	return wrongSink{s, c.by}, err
}

type wrongSink struct {
	connect.Sink
	by *atomic.Int64
}

func (s wrongSink) Positions(ctx context.Context, tps []connect.TopicPartition) ([]connect.Position, error) {
	pos, err := s.Sink.(connect.OffsetStore).Positions(ctx, tps)
	for i := range pos {
		pos[i].Unaccounted = s.by.Load()
	}
	return pos, err
}

// TestLedgerMetrics: whether the ledger adds up is asked of the ledger itself and
// shown for each partition that the replica owns; what expired is counted there
// too; counters begin at 0 when a partition is claimed.
func TestLedgerMetrics(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	var by atomic.Int64
	var away atomic.Bool
	tp := func(partition int32) connect.TopicPartition {
		return connect.TopicPartition{Topic: "t", Partition: partition}
	}
	store := connecttest.NewMemory(connecttest.MemoryConfig{})
	source := &scriptedSource{
		bounds: func() (map[connect.TopicPartition]connect.Bounds, error) {
			if away.Load() {
				return nil, errors.New("the brokers are away")
			}
			return map[connect.TopicPartition]connect.Bounds{tp(0): {Stable: 9, End: 9}, tp(1): {Start: 7, Stable: 9, End: 9}}, nil
		},
		read: func(from, _ int64) (connect.Span, error) { return connect.Span{From: from, Next: from}, nil }, // shows nothing
	}
	settings := DefaultSettings()
	settings.LagInterval, settings.LedgerCheck = 10*time.Millisecond, 10*time.Millisecond
	w, err := New("c", settings, source, wrongLedger{store.Connector("c"), &by}, Options{Metrics: NewMetrics(registry)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	for _, l := range w.lanes {
		go l.run(ctx)
	}
	go w.watchLogs(ctx)
	shows := func(name string, want map[string]float64) {
		t.Helper()
		deadline := time.Now().Add(20 * time.Second)
		for got := series(t, registry, name); !maps.Equal(got, want); got = series(t, registry, name) {
			if time.Now().After(deadline) {
				t.Fatalf("%s is %v, want %v", name, got, want)
			}
			wait(t, time.Millisecond)
		}
	}
	const unaccounted = "tickconnect_ledger_unaccounted_offsets"

	sess := newTestSession("t")
	claim := func(partition int32, start int64) connect.Claim {
		return connect.Claim{TopicPartition: tp(partition), LogStart: start, LogEnd: 9}
	}
	if _, err := w.Open(ctx, sess, []connect.Claim{claim(0, 0), claim(1, 7)}); err != nil { // retention took [0, 7) of 1
		t.Fatal(err)
	}
	shows(unaccounted, map[string]float64{"c 0 t": 0, "c 1 t": 0})
	shows("tickconnect_expired_offsets_total", map[string]float64{"c 0 t": 0, "c 1 t": 7})
	shows("tickconnect_records_total", map[string]float64{"c written t": 0, "c dead_lettered t": 0, "c expired t": 7})
	at := series(t, registry, "tickconnect_expired_offsets_last_timestamp_seconds")
	if age := float64(time.Now().Unix()) - at["c 1 t"]; len(at) != 1 || age < -1 || age > 30 {
		t.Errorf("offsets expired at %v", at)
	}
	shows("tickconnect_lag_offsets", map[string]float64{"c 0 t": 9, "c 1 t": 2})
	away.Store(true) // a lag that is not known is not shown; the ledger is
	shows("tickconnect_lag_offsets", map[string]float64{})
	by.Store(-3)
	shows(unaccounted, map[string]float64{"c 0 t": -3, "c 1 t": -3})
	by.Store(0)
	shows(unaccounted, map[string]float64{"c 0 t": 0, "c 1 t": 0})

	sess.end()
	w.Release(ctx, sess)
	shows(unaccounted, map[string]float64{})
}

// topicAway takes no records while it is away.
type topicAway struct{ away atomic.Bool }

func (p *topicAway) Publish(context.Context, string, []connect.Record) error {
	if p.away.Load() {
		return errors.New("the topic takes none")
	}
	return nil
}

// TestFailuresOfTheDeadLettersTopic: a topic that takes no dead letters is counted; a
// target that is away, and so has none to give, is not.
func TestFailuresOfTheDeadLettersTopic(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		store := connecttest.NewMemory(connecttest.MemoryConfig{})
		topic := &topicAway{}
		settings := DefaultSettings()
		settings.DLQTopic = "dead"
		w, err := New("c", settings, &scriptedSource{}, store.Connector("c"), Options{Metrics: NewMetrics(registry), Publisher: topic})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		sink, err := store.Connector("c").NewSink(0)
		if err != nil {
			t.Fatal(err)
		}
		tp := connect.TopicPartition{Topic: "t"}
		if _, err := sink.Open(ctx, []connect.Claim{{TopicPartition: tp, LogEnd: 1}}); err != nil {
			t.Fatal(err)
		}
		bad := connect.Record{Value: []byte("x"), Err: &connect.RecordError{Stage: connect.StageTaskPut, Reason: "bad"}}
		if _, err := sink.Put(ctx, &connect.Batch{Parts: []connect.Part{{TopicPartition: tp, Next: 1, Records: []connect.Record{bad}}}}); err != nil {
			t.Fatal(err)
		}
		failures := func() float64 {
			return series(t, registry, "kafka_connect_task_error_deadletterqueue_produce_failures")["c"]
		}
		store.SetOutage(true)
		topic.away.Store(true)
		go w.publishDeadLetters(ctx)
		// These minutes are of synctest's clock, which goes on once all goroutines wait.
		time.Sleep(time.Minute)
		if n := failures(); n != 0 {
			t.Errorf("%v failures of the topic while the target was away", n)
		}
		store.SetOutage(false)
		time.Sleep(time.Minute)
		n := failures()
		if n < 2 {
			t.Errorf("%v failures of a topic that takes nothing", n)
		}
		topic.away.Store(false)
		time.Sleep(time.Minute)
		if last := failures(); last > n+1 {
			t.Errorf("%v failures, and %v since the topic is back", n, last-n)
		}
		stop()
		synctest.Wait()
	})
}

// TestFailuresBeginAtZero: Puts that have not failed yet have a counter, for whoever asks
// for its increase.
func TestFailuresBeginAtZero(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	settings := DefaultSettings()
	_, err := New("c", settings, &scriptedSource{}, connecttest.NewMemory(connecttest.MemoryConfig{}).Connector("c"),
		Options{Metrics: NewMetrics(registry)})
	if err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, f := range families {
		if f.GetName() == "tickconnect_put_failures_total" {
			found = len(f.Metric)
		}
	}
	if want := settings.TasksMax * len(errorKinds); found != want {
		t.Errorf("%d counters, want %d", found, want)
	}
	for _, err := range []error{connect.Retriable(errors.New("x")), &connect.BadDataError{}, &connect.FencedError{}, errors.New("x")} {
		if kind := errorKind(err); !slices.Contains(errorKinds, kind) {
			t.Errorf("%s is no kind that is known", kind)
		}
	}
}

package herder

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/internal/devstack/testenv"
)

// makeConfigs makes the config topic of the deployment p.
func makeConfigs(t *testing.T, c *testenv.FaultyBroker, settings map[string]string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	all := map[string]*string{}
	for key, value := range settings {
		all[key] = &value
	}
	if _, err := kadm.NewClient(client).CreateTopic(t.Context(), 1, 1, all, "p-configs"); err != nil {
		t.Fatal(err)
	}
}

// TestSlowBrokerAtTheStart: a replica that has not read all of the config topic yet takes
// no requests, and starts nothing that was stopped.
func TestSlowBrokerAtTheStart(t *testing.T) {
	t.Parallel()
	b, c := newBench(t), testenv.NewFaultyBroker(t)
	first, stop := b.start(c.Brokers(), "p", "a", &safeBuffer{})
	if err := first.Create(t.Context(), "x", map[string]string{"what": "old"}, Stopped); err != nil {
		t.Fatal(err)
	}
	stop()
	var slow atomic.Bool
	slow.Store(true)
	c.Delay(kmsg.Fetch, func() time.Duration {
		if slow.Load() {
			return topicQuiet + time.Second
		}
		return 0
	})
	time.AfterFunc(topicQuiet+time.Second/2, func() { slow.Store(false) })
	second, _ := b.start(c.Brokers(), "p", "b", &safeBuffer{})
	second.Wait(t.Context())
	if err := second.Create(t.Context(), "x", map[string]string{"what": "new"}, Started); !errors.Is(err, ErrExists) {
		t.Errorf("creating what is there: %v", err)
	}
	config, err := second.Config("x")
	if target, _ := second.TargetOf("x"); err != nil || config["what"] != "old" || target != Stopped || b.what("b", "x") != "" {
		t.Errorf("it is %v, %s, and %q runs: %v", config, target, b.what("b", "x"), err)
	}
}

// TestEndWithoutRecords: a topic whose last offsets hold no record, as after compaction, is
// read all the same.
func TestEndWithoutRecords(t *testing.T) {
	t.Parallel()
	b, c := newBench(t), testenv.NewFaultyBroker(t)
	first, stop := b.start(c.Brokers(), "p", "a", &safeBuffer{})
	if err := first.Create(t.Context(), "x", map[string]string{"what": "1"}, Started); err != nil {
		t.Fatal(err)
	}
	stop()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...), kgo.TransactionalID("t"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "p-configs", Key: []byte("other")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := client.EndTransaction(t.Context(), kgo.TryCommit); err != nil { // leaves a control record
		t.Fatal(err)
	}
	second, _ := b.start(c.Brokers(), "p", "b", &safeBuffer{})
	if err := second.configs.awaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.eventually("it runs what is there", func() bool { return b.what("b", "x") == "1" })
}

// TestConfigTopicIsCompacted: one that forgets with time is refused, until it is mended.
func TestConfigTopicIsCompacted(t *testing.T) {
	t.Parallel()
	b, c, log := newBench(t), testenv.NewFaultyBroker(t), &safeBuffer{}
	makeConfigs(t, c, map[string]string{"cleanup.policy": "delete"})
	h, _ := b.start(c.Brokers(), "p", "a", log)
	b.eventually("it is said", func() bool { return strings.Contains(log.String(), "its cleanup.policy is delete") })
	if err := h.configs.state(); err == nil {
		t.Error("it is used")
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	compact := "compact"
	if _, err := kadm.NewClient(client).AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Name: "cleanup.policy", Value: &compact}}, "p-configs"); err != nil {
		t.Fatal(err)
	}
	if err := h.Create(t.Context(), "x", map[string]string{"what": "1"}, Started); err != nil {
		t.Error(err)
	}
}

// TestAwayLongerThanTombstones: a replica that was cut off while a connector was deleted,
// and until compaction took the record that says so, has it no more.
func TestAwayLongerThanTombstones(t *testing.T) {
	t.Parallel()
	b, c := newBench(t), testenv.NewFaultyBroker(t)
	makeConfigs(t, c, map[string]string{"cleanup.policy": "compact", "delete.retention.ms": "0", "segment.bytes": "200"})
	ctx := t.Context()
	first, _ := b.start(c.Brokers(), "p", "a", &safeBuffer{})
	for _, name := range []string{"deleted", "kept"} {
		if err := first.Create(ctx, name, map[string]string{"what": name}, Started); err != nil {
			t.Fatal(err)
		}
	}
	// It reads, is cut off, and comes back.
	reading, stop := context.WithCancel(ctx)
	second := New(first.opts)
	second.opts.Replica = "b"
	done := make(chan struct{})
	go func() { defer close(done); second.configs.run(reading) }()
	if err := second.configs.awaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	stop()
	<-done
	if err := first.Delete(ctx, "deleted"); err != nil {
		t.Fatal(err)
	}
	toggle := func() {
		for i := range 20 {
			if err := first.SetTarget(ctx, "kept", []Target{Paused, Started}[i%2]); err != nil {
				t.Fatal(err)
			}
		}
	}
	toggle()
	time.Sleep(10 * time.Millisecond) // the tombstones are older than delete.retention.ms then
	for range 3 {
		c.Compact()
	}
	toggle()
	reading, stop = context.WithCancel(ctx)
	defer stop()
	go second.configs.run(reading)
	if err := second.configs.awaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	if names := second.Names(); len(names) != 1 || names[0] != "kept" {
		t.Errorf("it still has %v", names)
	}
}

// TestUnknownOutcome: a request whose record was sent and not answered ends in its time, and
// is not one to send again. Nor is the end of the process held up.
func TestUnknownOutcome(t *testing.T) {
	t.Parallel()
	b, c := newBench(t), testenv.NewFaultyBroker(t)
	h, stop := b.start(c.Brokers(), "p", "a", &safeBuffer{})
	if err := h.Create(t.Context(), "x", map[string]string{"what": "1"}, Started); err != nil {
		t.Fatal(err)
	}
	c.Break(kmsg.Produce)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := h.SetTarget(ctx, "x", Paused); err == nil || connect.IsRetriable(err) {
		t.Errorf("a request without an answer: %v", err)
	}
	begun := time.Now()
	stop()
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("the end took %s", took)
	}
}

package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/connect/connecttest"
)

// memGroup is a consumer group over logs in memory, with eager rebalances.
type memGroup struct {
	topic string
	logs  [][]connect.Record // by partition; a missing offset is compacted

	mu      sync.Mutex
	members map[*memSource]bool
	waiting map[*memSource]chan []int32
	ends    map[*memSource]context.CancelFunc
}

func newMemGroup(topic string, partitions, records int, hole func(o int) bool) *memGroup {
	g := &memGroup{topic: topic, members: map[*memSource]bool{}, waiting: map[*memSource]chan []int32{}, ends: map[*memSource]context.CancelFunc{}}
	for p := range partitions {
		var log []connect.Record
		for o := range records {
			if !hole(o) || o == records-1 {
				log = append(log, connect.Record{
					Offset: int64(o), Timestamp: int64(1000 + o),
					Key: fmt.Appendf(nil, "k%d-%d", p, o), Value: fmt.Appendf(nil, "v%d-%d", p, o),
				})
			}
		}
		g.logs = append(g.logs, log)
	}
	return g
}

func (g *memGroup) end(p int32) int64 { return g.logs[p][len(g.logs[p])-1].Offset + 1 }

// join waits for all members to join and gives the source's partitions.
func (g *memGroup) join(s *memSource, end context.CancelFunc) chan []int32 {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.members[s] = true
	g.ends[s] = end
	ch := make(chan []int32, 1)
	g.waiting[s] = ch
	g.assignIfAll()
	if len(g.waiting) > 0 {
		g.rebalanceLocked()
	}
	return ch
}

func (g *memGroup) assignIfAll() {
	if len(g.waiting) < len(g.members) {
		return
	}
	i := 0
	for _, ch := range g.waiting {
		var ps []int32
		for p := range g.logs {
			if p%len(g.waiting) == i {
				ps = append(ps, int32(p))
			}
		}
		ch <- ps
		i++
	}
	clear(g.waiting)
}

func (g *memGroup) leave(s *memSource) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.members, s)
	delete(g.waiting, s)
	delete(g.ends, s)
	if len(g.members) > 0 {
		g.assignIfAll()
		g.rebalanceLocked()
	}
}

// rebalanceLocked ends the sessions of the members that do not wait yet.
func (g *memGroup) rebalanceLocked() {
	for s, end := range g.ends {
		if g.waiting[s] == nil && len(g.waiting) > 0 {
			end()
		}
	}
}

// rebalance ends all sessions.
func (g *memGroup) rebalance() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, end := range g.ends {
		end()
	}
}

// memSource is one member. It implements connect.Source and connect.Log.
type memSource struct {
	g    *memGroup
	rand *rand.Rand
}

type memSession struct{ testSession }

func (s *memSession) Reopen() { s.end() }

func (m *memSource) Log() connect.Log { return m }
func (m *memSource) Close() error     { return nil }

func (m *memSource) Bounds(_ context.Context, tps []connect.TopicPartition) (map[connect.TopicPartition]connect.Bounds, error) {
	out := map[connect.TopicPartition]connect.Bounds{}
	for _, tp := range tps {
		end := m.g.end(tp.Partition)
		out[tp] = connect.Bounds{End: end, Stable: end}
	}
	return out, nil
}

func (m *memSource) Read(_ context.Context, tp connect.TopicPartition, from, to int64) (connect.Span, error) {
	s := connect.Span{From: from, Next: min(to, from+50)}
	for _, r := range m.g.logs[tp.Partition] {
		if r.Offset >= from && r.Offset < s.Next {
			s.Records = append(s.Records, r)
		}
	}
	return s, nil
}

func (m *memSource) Run(ctx context.Context, h connect.Handler) error {
	defer m.g.leave(m)
	for ctx.Err() == nil {
		s := &memSession{testSession: *newTestSession(m.g.topic)}
		stop := context.AfterFunc(ctx, s.end)
		var partitions []int32
		select {
		case partitions = <-m.g.join(m, s.end):
		case <-ctx.Done():
			return nil
		}
		var claims []connect.Claim
		for _, p := range partitions {
			claims = append(claims, connect.Claim{TopicPartition: connect.TopicPartition{Topic: m.g.topic, Partition: p}, TopicID: connect.TopicID{1}, LogEnd: m.g.end(p)})
		}
		starts, err := h.Open(s.ctx, s, claims)
		if err == nil {
			m.consume(s, h, starts)
		}
		h.Release(context.Background(), s)
		stop()
		s.end()
	}
	return nil
}

func (m *memSource) consume(s *memSession, h connect.Handler, starts map[int32]int64) {
	var wg sync.WaitGroup
	for p, at := range starts {
		wg.Add(1)
		seed := m.rand.Uint64()
		go func() {
			defer wg.Done()
			rnd := rand.New(rand.NewPCG(seed, 1))
			for _, r := range m.g.logs[p] {
				if r.Offset < at {
					continue
				}
				if rnd.IntN(200) == 0 {
					continue // some layer loses it
				}
				if !h.Deliver(s, p, r) {
					return
				}
			}
		}()
	}
	wg.Wait()
	<-s.ctx.Done()
}

// TestWorkersShareATopic runs three workers over a store in memory that fails
// in every way, through rebalances and restarts: in the end each record is
// stored once, and each offset has its fate.
func TestWorkersShareATopic(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	const partitions, records = 6, 3000
	g := newMemGroup("t", partitions, records, func(o int) bool { return o%17 == 3 })
	isPoison := func(o int64) bool { return o%211 == 7 }
	isBad := func(o int64) bool { return o%307 == 11 }
	store := connecttest.NewMemory(connecttest.MemoryConfig{
		Prepare: true,
		Invalid: func(_ string, r *connect.Record) *connect.RecordError {
			if isPoison(r.Offset) {
				return &connect.RecordError{Stage: connect.StageValueConverter, Reason: "poison", Message: "poison"}
			}
			return nil
		},
		Bad: func(r connecttest.MemoryRow) *connect.RecordError {
			if isBad(r.Offset) {
				return &connect.RecordError{Stage: connect.StageTaskPut, Reason: "bad", Message: "bad"}
			}
			return nil
		},
	})
	var faults sync.Mutex
	calm := false
	faultRand := rand.New(rand.NewPCG(seed, 2))
	store.SetFaults(func(c connecttest.Call, _ *connect.Batch) connecttest.Fault {
		faults.Lock()
		defer faults.Unlock()
		if calm || c != connecttest.CallPut {
			return connecttest.Fault{}
		}
		switch faultRand.IntN(12) {
		case 0:
			return connecttest.Fault{Before: connect.Retriable(errors.New("lost before"))}
		case 1:
			return connecttest.Fault{After: connect.Retriable(errors.New("lost after"))}
		}
		return connecttest.Fault{}
	})
	settings := DefaultSettings()
	settings.QueueBytes = 1 << 20
	settings.BatchSize = 300
	settings.CommitInterval = time.Millisecond
	settings.RetryBackoff, settings.RetryBackoffMax = time.Millisecond, 20*time.Millisecond
	settings.LedgerCheck = 100 * time.Millisecond
	settings.FailedRetry = 100 * time.Millisecond
	settings.LagInterval = 100 * time.Millisecond

	type running struct {
		stop context.CancelFunc
		done chan error
	}
	start := func() running {
		src := &memSource{g: g, rand: rand.New(rand.NewPCG(rnd.Uint64(), 3))}
		w, err := New("c", settings, src, store.Connector("c"), Options{InitialClaims: nil})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		return running{stop, done}
	}
	var workers []running
	for range 3 {
		workers = append(workers, start())
	}
	for range 20 {
		wait(t, 20*time.Millisecond)
		if rnd.IntN(2) == 0 {
			g.rebalance()
			continue
		}
		i := rnd.IntN(len(workers))
		workers[i].stop()
		if err := <-workers[i].done; err != nil {
			t.Error(err)
		}
		workers[i] = start()
	}
	faults.Lock()
	calm = true
	faults.Unlock()
	deadline := time.Now().Add(30 * time.Second)
	for !atEnd(g, store) {
		if time.Now().After(deadline) {
			t.Fatalf("not at the logs' ends: %+v", store.Ledger("c"))
		}
		wait(t, 10*time.Millisecond)
	}
	for _, w := range workers {
		w.stop()
		if err := <-w.done; err != nil {
			t.Error(err)
		}
	}
	if m := store.Misuse(); len(m) > 0 {
		t.Errorf("the sink was misused: %v", m)
	}
	seen := map[string]int{}
	for _, r := range store.Rows() {
		seen[fmt.Sprintf("%d/%d", r.Partition, r.Offset)]++
	}
	dead := map[string]int{}
	for _, d := range store.DeadLetters() {
		k := fmt.Sprintf("%d/%d", d.Partition, d.Offset)
		dead[k]++
		if want := fmt.Sprintf("v%d-%d", d.Partition, d.Offset); string(d.Value) != want {
			t.Errorf("dead letter %s has value %q, want %q", k, d.Value, want)
		}
	}
	for p, log := range g.logs {
		for _, r := range log {
			k := fmt.Sprintf("%d/%d", p, r.Offset)
			wantDead := isPoison(r.Offset) || isBad(r.Offset)
			if wantDead != (dead[k] == 1) || wantDead == (seen[k] == 1) || seen[k] > 1 || dead[k] > 1 {
				t.Fatalf("record %s: stored %d times, dead-lettered %d times, bad: %v", k, seen[k], dead[k], wantDead)
			}
		}
	}
}

// wait lets the workers run for a while; it waits for nothing in particular.
func wait(t *testing.T, d time.Duration) {
	t.Helper()
	sleep(context.Background(), d)
}

func atEnd(g *memGroup, store *connecttest.Memory) bool {
	ledger := store.Ledger("c")
	for p := range g.logs {
		row, ok := ledger[connect.TopicPartition{Topic: g.topic, Partition: int32(p)}]
		if !ok || row.Next != g.end(int32(p)) {
			return false
		}
	}
	return true
}

// A Kafka timestamp in another unit is none.
func TestImpossibleTimestampIsNone(t *testing.T) {
	t.Parallel()
	w := testLane(t).w
	for in, want := range map[int64]int64{
		-1: connect.NoTimestamp, -5: connect.NoTimestamp, 0: 0, 1_763_000_000_000: 1_763_000_000_000,
		1_763_000_000_000_000_000: connect.NoTimestamp,
	} {
		r := connect.Record{Timestamp: in}
		if _, err := w.prepare(nil, connect.TopicPartition{}, &r, false); err != nil {
			t.Fatal(err)
		}
		if r.Timestamp != want {
			t.Errorf("%d became %d, want %d", in, r.Timestamp, want)
		}
	}
}

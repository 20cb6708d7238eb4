package redpandasource

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/internal/devstack/testenv"
)

type gokaContext = goka.Context

// record is a goka.Context as the callback sees it.
type record struct {
	gokaContext
	ctx       context.Context
	partition int32
	offset    int64
	key       string
	time      time.Time
}

func (r *record) Context() context.Context { return r.ctx }
func (r *record) Partition() int32         { return r.partition }
func (r *record) Offset() int64            { return r.offset }
func (r *record) Key() string              { return r.key }
func (r *record) Timestamp() time.Time     { return r.time }

// fakeSession is a sarama session that has claims and a context.
type fakeSession struct {
	sarama.ConsumerGroupSession
	ctx context.Context
}

func (f fakeSession) Context() context.Context { return f.ctx }

// counter is a handler that takes everything.
type counter struct {
	connect.Handler
	taken []int64
	n     int
}

func (c *counter) Deliver(_ connect.Session, _ int32, r connect.Record) bool {
	c.n++
	if c.taken != nil {
		c.taken = append(c.taken, r.Offset)
	}
	return true
}

func setupDeliver(t testing.TB, h connect.Handler) (*topic, *session) {
	ctx, cancel := context.WithCancel(t.Context())
	s := newSession("t", fakeSession{ctx: ctx}, nil, cancel)
	s.claims[0] = &claim{next: 100}
	return &topic{source: &Source{handler: h}, name: "t", log: testLog(t)}, s
}

// TestARecordBelowTheSeekEndsTheSession is a log that was cut and written again:
// what lies below the offset asked for is new, and must not pass as stored.
func TestARecordBelowTheSeekEndsTheSession(t *testing.T) {
	t.Parallel()
	for name, offsets := range map[string][]int64{"first": {90, 100, 101}, "later": {100, 99, 101}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &counter{taken: []int64{}}
			topic, s := setupDeliver(t, h)
			var want []int64
			for i, o := range offsets {
				topic.deliver(&record{ctx: s.ctx, offset: o, time: time.Now()}, rawValue("x"))
				if name == "later" && i == 0 {
					want = append(want, o)
				}
			}
			if !slices.Equal(h.taken, want) {
				t.Errorf("taken %v, want %v", h.taken, want)
			}
			if !s.ended() || !s.ownEnd.Load() {
				t.Error("the session goes on")
			}
		})
	}
}

// denier does not take one record.
type denier struct {
	counter
	deny int64
}

func (d *denier) Deliver(s connect.Session, partition int32, r connect.Record) bool {
	return r.Offset != d.deny && d.counter.Deliver(s, partition, r)
}

// TestNothingFollowsARecordThatWasNotTaken has goka hand on what it still held:
// the context of the session may not have been looked at by then.
func TestNothingFollowsARecordThatWasNotTaken(t *testing.T) {
	t.Parallel()
	h := &denier{counter: counter{taken: []int64{}}, deny: 102}
	topic, s := setupDeliver(t, h)
	for o := int64(100); o < 106; o++ {
		topic.deliver(&record{ctx: s.ctx, offset: o, time: time.Now()}, rawValue("x"))
	}
	if want := sequence(100, 102); !slices.Equal(h.taken, want) {
		t.Errorf("taken %v, want %v", h.taken, want)
	}
	// The same when it was another partition that ended the session.
	topic, s = setupDeliver(t, h)
	h.taken = []int64{}
	s.Reopen()
	topic.deliver(&record{ctx: s.ctx, offset: 100, time: time.Now()}, rawValue("x"))
	if len(h.taken) != 0 || !s.claims[0].stopped {
		t.Errorf("taken %v after the session's end", h.taken)
	}
}

// pauses is a sarama group that notes what is paused.
type pauses struct {
	sarama.ConsumerGroup
	asked []string
}

func (p *pauses) Pause(tps map[string][]int32) { p.asked = append(p.asked, fmt.Sprint("pause ", tps)) }

func (p *pauses) Resume(tps map[string][]int32) {
	p.asked = append(p.asked, fmt.Sprint("resume ", tps))
}

// TestSessionPausesItsOwn: a session pauses fetching, of the partition alone, and
// one that is over nothing of the next.
func TestSessionPausesItsOwn(t *testing.T) {
	t.Parallel()
	g := &pauses{}
	s := newSession("t", fakeSession{ctx: t.Context()}, g, func() {})
	s.Pause(3)
	s.Resume(3)
	s.close()
	s.Pause(4)
	s.Resume(4)
	if want := []string{"pause map[t:[3]]", "resume map[t:[3]]"}; !slices.Equal(g.asked, want) {
		t.Errorf("asked %q, want %q", g.asked, want)
	}
}

func TestDeliverDoesNotAllocate(t *testing.T) {
	h := &counter{}
	topic, s := setupDeliver(t, h)
	r := &record{ctx: context.WithValue(s.ctx, struct{ int }{1}, 1), key: "BTCUSDT", time: time.Now()}
	var value any = rawValue("value")
	offset := int64(99)
	if n := testing.AllocsPerRun(1000, func() {
		offset++
		r.offset = offset
		topic.deliver(r, value)
	}); n != 0 {
		t.Errorf("%v allocations for each record, want none", n)
	}
	if h.n != 1001 {
		t.Errorf("%d records taken, want 1001", h.n)
	}
}

func TestSpreadIsEven(t *testing.T) {
	t.Parallel()
	members := map[string]sarama.ConsumerGroupMemberMetadata{}
	for _, m := range []string{"a", "b", "c"} {
		for i := range 30 {
			meta := members[m]
			meta.Topics = append(meta.Topics, fmt.Sprintf("topic-%d", i))
			members[m] = meta
		}
	}
	owned := map[string]int{}
	for i := range 30 {
		topic := fmt.Sprintf("topic-%d", i)
		partitions := []int32{3, 1, 0, 2}
		plan, err := spread{}.Plan(members, map[string][]int32{topic: partitions})
		if err != nil {
			t.Fatal(err)
		}
		var all []int32
		for m, topics := range plan {
			n := len(topics[topic])
			if n < 1 || n > 2 {
				t.Errorf("%s owns %d of 4 partitions of %s", m, n, topic)
			}
			owned[m] += n
			all = append(all, topics[topic]...)
		}
		slices.Sort(all)
		if !slices.Equal(all, []int32{0, 1, 2, 3}) {
			t.Errorf("%s: partitions %v are owned, want each once", topic, all)
		}
	}
	for _, m := range slices.Sorted(maps.Keys(owned)) {
		if owned[m] < 35 || owned[m] > 45 {
			t.Errorf("%s owns %d of 120 partitions, want about 40", m, owned[m])
		}
	}
}

func TestPace(t *testing.T) {
	t.Parallel()
	var p pace
	for i := range 10 { // rebalances as they should be
		if wait := p.next(2*shortSession, true); wait != 0 {
			t.Errorf("rebalance %d waits %v", i, wait)
		}
	}
	if wait := p.next(0, false); wait != 0 {
		t.Errorf("the first reopening waits %v", wait)
	}
	for range 20 {
		p.next(0, false)
	}
	if wait := p.next(0, false); wait != rejoinBackoffMax {
		t.Errorf("the 22nd reopening in a row waits %v, want %v", wait, rejoinBackoffMax)
	}
	if wait := p.next(2*calmSession, false); wait != 0 {
		t.Errorf("after a calm session the wait is %v", wait)
	}
	p = pace{}
	waits := 0
	for range 10 { // sessions that die at once, each time
		if p.next(0, true) > 0 {
			waits++
		}
	}
	if waits != 6 {
		t.Errorf("%d of 10 short sessions were waited for, want 6", waits)
	}
}

// TestSourceRecoversFromAnAnswerBeyondTheLog answers an offset that the log does not have:
// the sessions end without a record, since the log's oldest are not what was asked
// for, but not in a tight loop, and other answers mend it.
func TestSourceRecoversFromAnAnswerBeyondTheLog(t *testing.T) {
	t.Parallel()
	c := newCluster(t, testenv.Broker(t))
	topic := testenv.Topic(t)
	tp := connect.TopicPartition{Topic: topic}
	c.create(topic, 1)
	c.produce(topic, 0, 0, 10)
	st := newStore()
	h := newHandler(st)
	var opens atomic.Int64
	h.answer = func(_ connect.Claim, next int64) int64 {
		if opens.Add(1) <= 6 {
			return 1000
		}
		return next
	}
	h.gate = func(_ connect.Session, _ int32, r connect.Record) bool {
		if opens.Load() <= 6 {
			t.Errorf("offset %d was delivered to a session that asked for 1000", r.Offset)
		}
		return true
	}
	began := time.Now()
	r := run(t, testClient(c.brokers), testConfig(topic), h)
	eventually(t, "the records", func() bool { return st.next(tp) == 10 })
	if took := time.Since(began); took < rejoinBackoff {
		t.Errorf("six failing sessions followed each other within %v", took)
	}
	r.stop()
	h.settled(t)
}

// TestSourceStaticMemberComesBack lets a replica die without a goodbye: the next
// one under its name is back at once, and sees the topic grow even so.
func TestSourceStaticMemberComesBack(t *testing.T) {
	onBoth(t, func(t *testing.T, c *cluster) {
		topic := testenv.Topic(t)
		c.create(topic, 2)
		client := testClient(c.brokers)
		client.GroupInstanceID = "r0"
		client.SessionTimeoutMs = 60_000
		st := newStore()
		h := newHandler(st)
		r := run(t, client, testConfig(topic), h)
		eventually(t, "it owns all", func() bool { return h.owns() == 2 })
		r.source.mu.Lock()
		r.source.topics[topic].group.isFenced.Store(true) // a fenced member says no goodbye
		r.source.mu.Unlock()
		r.stop()

		h = newHandler(st)
		began := time.Now()
		r = run(t, client, testConfig(topic), h)
		eventually(t, "it owns all again", func() bool { return h.owns() == 2 })
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("back after %v", took)
		}
		if _, err := c.admin.UpdatePartitions(t.Context(), 3, topic); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it owns the new partition", func() bool { return h.owns() == 3 })
		newCluster(t, c.brokers).produce(topic, 2, 0, 5)
		eventually(t, "the new partition's records", func() bool {
			return st.next(connect.TopicPartition{Topic: topic, Partition: 2}) == 5
		})
		r.stop()
		h.settled(t)
	})
}

// TestSourceOutlivesAPanic has the handler panic once: that is told, and the
// record comes again.
func TestSourceOutlivesAPanic(t *testing.T) {
	t.Parallel()
	c := newCluster(t, testenv.Broker(t))
	topic := testenv.Topic(t)
	tp := connect.TopicPartition{Topic: topic}
	c.create(topic, 2)
	c.produce(topic, 0, 0, 100)
	c.produce(topic, 1, 0, 100)
	st := newStore()
	h := newHandler(st)
	panicked := false
	h.gate = func(_ connect.Session, partition int32, r connect.Record) bool {
		if partition == 0 && r.Offset == 42 && !panicked {
			panicked = true
			panic("a bug")
		}
		return true
	}
	watch := newLogWatch(t, "the session failed")
	s, err := New("c", testClient(c.brokers), testConfig(topic), slog.New(watch))
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, s, h)
	for p := range int32(2) {
		tp.Partition = p
		eventually(t, "the records", func() bool { return st.next(tp) == 100 })
		if got := st.offsetsOf(tp); !slices.Equal(got, sequence(0, 100)) {
			t.Errorf("%s: stored %v", tp, got)
		}
	}
	watch.wait(t)
	r.stop()
	h.settled(t)
}

func TestProblemsSayWhy(t *testing.T) {
	t.Parallel()
	c := newCluster(t, testenv.Broker(t))
	topic := testenv.Topic(t)
	r := run(t, testClient(c.brokers), testConfig(topic), newHandler(newStore()))
	eventually(t, "the missing topic is a problem", func() bool { return r.source.Problems()[topic] != nil })
	c.create(topic, 1)
	eventually(t, "no problem is left", func() bool { return len(r.source.Problems()) == 0 && len(r.source.Topics()) == 1 })
	if err := r.source.Health(); err != nil {
		t.Error(err)
	}
}

func BenchmarkBounds(b *testing.B) {
	c := newCluster(b, testenv.Broker(b))
	prefix := testenv.Topic(b)
	var tps []connect.TopicPartition
	for i := range 30 {
		topic := fmt.Sprintf("%s-%d", prefix, i)
		c.create(topic, 12)
		for p := range int32(12) {
			tps = append(tps, connect.TopicPartition{Topic: topic, Partition: p})
		}
	}
	l := openLog(b, c)
	for b.Loop() {
		bounds, err := l.Bounds(b.Context(), tps)
		if err != nil || len(bounds) != len(tps) {
			b.Fatal(len(bounds), err)
		}
	}
}

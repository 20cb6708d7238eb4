package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/qicore/tickconnect/connect"
)

// The interleavings by which earlier drafts lost, doubled or hung, one test
// each, step by step. The simulation meets them at random.

// script drives one task by hand, against a simulated store.
type script struct {
	t        *testing.T
	task     *task
	store    *simStore
	logs     map[connect.TopicPartition]*simLog
	now      time.Time
	proofs   []simProof
	reopened []connect.Session
	answers  map[*opening]map[int32]int64
	notes    []string
}

func (s *script) answer(o *opening, starts map[int32]int64, _ error) { s.answers[o] = starts }
func (s *script) reopen(sess connect.Session)                        { s.reopened = append(s.reopened, sess) }

func (s *script) prove(p *part, g span) {
	s.proofs = append(s.proofs, simProof{p.sess, p.TopicPartition, g})
}
func (s *script) stored(*part, connect.Counts, []connect.Record) {}
func (s *script) note(what trouble, tp connect.TopicPartition, err error) {
	s.notes = append(s.notes, fmt.Sprintf("%d %s: %v", what, tp, err))
}

// newScript gives a task with one session that owns partitions of topic t, each
// with a log of n good records, open at offset 0.
func newScript(t *testing.T, partitions int, n int) (*script, *testSession) {
	t.Helper()
	s := &script{t: t, logs: map[connect.TopicPartition]*simLog{}, now: time.Unix(1000, 0), answers: map[*opening]map[int32]int64{}}
	for p := range partitions {
		s.logs[connect.TopicPartition{Topic: "t", Partition: int32(p)}] = &simLog{kinds: make([]simKind, n)}
	}
	s.store = newSimStore(s.logs, nil)
	settings := DefaultSettings()
	s.task = newTask(settings.limits(true, func() int64 { return 1 << 20 }), s, rand.New(rand.NewPCG(1, 2)))
	return s, s.session()
}

// session opens a session over all partitions.
func (s *script) session() *testSession {
	sess := newTestSession("t")
	var claims []connect.Claim
	for p := range len(s.logs) {
		tp := connect.TopicPartition{Topic: "t", Partition: int32(p)}
		claims = append(claims, connect.Claim{TopicPartition: tp, LogStart: s.logs[tp].start, LogEnd: s.logs[tp].end()})
	}
	s.task.assign(sess, claims)
	s.does(callOpen)
	return sess
}

func (s *script) deliver(sess connect.Session, p int32, offsets ...int64) {
	tp := connect.TopicPartition{Topic: "t", Partition: p}
	for _, o := range offsets {
		s.task.arrive(sess, tp, []connect.Record{s.logs[tp].record(o, false)})
	}
}

// does has the task make its next call, which must be of the kind, in the
// store, and gives it the result.
func (s *script) does(kind callKind) { s.t.Helper(); s.begin(kind)() }

// begin makes the next call in the store and returns how its result arrives.
func (s *script) begin(kind callKind) func() {
	s.t.Helper()
	c, wake := s.task.next(s.now)
	for c.kind == callNone && wake.After(s.now) && wake.Sub(s.now) < 2*time.Second {
		s.now = wake
		c, wake = s.task.next(s.now)
	}
	if c.kind != kind {
		s.t.Fatalf("the task's next call is %v, want %v; it would wake in %v", c.kind, kind, wake.Sub(s.now))
	}
	switch kind {
	case callOpen:
		pos, err := s.store.open(c.opening.claims)
		return func() { s.task.opened(c.opening, pos, err, s.now) }
	case callPut:
		res, err := s.store.put(s.store.gen, c.batch)
		return func() { s.task.put(c.batch, res, err, s.now) }
	case callPositions:
		pos, err := s.store.positions(c.tps)
		return func() { s.task.positions(c.tps, pos, err, s.now) }
	default:
		return func() { s.task.releasedParts(c.tps) }
	}
}

func (s *script) ledger(p int32) int64 {
	return s.store.ledger[s.store.gen][connect.TopicPartition{Topic: "t", Partition: p}].next
}

func (s *script) wants(p int32, next int64) {
	s.t.Helper()
	if got := s.ledger(p); got != next {
		s.t.Errorf("the ledger of t/%d stands at %d, want %d", p, got, next)
	}
	if err := s.store.check(); err != nil {
		s.t.Error(err)
	}
}

type testSession struct {
	topic   string
	ctx     context.Context
	end     context.CancelFunc
	paused  atomic.Int64
	pauses  chan struct{} // closed by the first
	resumed atomic.Int64
	marked  atomic.Int64
	reopens atomic.Int64
}

func newTestSession(topic string) *testSession {
	s := &testSession{topic: topic, pauses: make(chan struct{})}
	s.ctx, s.end = context.WithCancel(context.Background())
	return s
}

func (s *testSession) Topic() string            { return s.topic }
func (s *testSession) Context() context.Context { return s.ctx }
func (s *testSession) Mark(_ int32, next int64) { s.marked.Store(next) }
func (s *testSession) Resume(int32)             { s.resumed.Add(1) }
func (s *testSession) Reopen()                  { s.reopens.Add(1) }

func (s *testSession) Pause(int32) {
	if s.paused.Add(1) == 1 {
		close(s.pauses)
	}
}

// An operator resets offsets, or restores the database, while no record comes:
// the ledger is compared all the same (protocol 1).
func TestResetWithoutTrafficIsFound(t *testing.T) {
	s, sess := newScript(t, 1, 10)
	s.deliver(sess, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
	s.does(callPut)
	s.wants(0, 10)
	s.store.reset(connect.TopicPartition{Topic: "t", Partition: 0}, 0)
	s.now = s.now.Add(11 * time.Second)
	s.does(callPositions)
	if len(s.reopened) != 1 {
		t.Fatal("the session goes on although the ledger lies before it")
	}
	sess.end()
	s.task.revoke(sess)
	s.does(callRelease)
	again := s.session()
	s.deliver(again, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
	s.does(callPut)
	s.wants(0, 10)
}

// A record that some layer dropped looks like a compacted offset: only a read
// of the log tells, and what it finds is stored (protocol 12).
func TestDroppedRecordIsFound(t *testing.T) {
	s, sess := newScript(t, 1, 6)
	tp := connect.TopicPartition{Topic: "t", Partition: 0}
	s.logs[tp].kinds[4] = simAbsent
	s.deliver(sess, 0, 0, 1, 3, 5) // 2 was lost on its way, 4 is compacted
	s.does(callPut)
	s.wants(0, 2) // nothing past the gap
	if c, _ := s.task.next(s.now.Add(time.Second)); c.kind != callNone {
		t.Fatalf("%v past an unexplained gap", c.kind)
	}
	for len(s.proofs) > 0 {
		p := s.proofs[0]
		s.proofs = s.proofs[1:]
		out := connect.Span{From: p.span.from, Next: p.span.to}
		for o := p.span.from; o < p.span.to; o++ {
			if s.logs[tp].kinds[o] != simAbsent {
				out.Records = append(out.Records, s.logs[tp].record(o, true))
			}
		}
		s.task.proved(p.sess, p.tp, out)
	}
	s.does(callPut)
	s.wants(0, 6)
	if c := s.store.ledger[0][tp].counts; c.Written != 5 || c.Absent != 1 {
		t.Errorf("counts %+v, want 5 written and 1 absent", c)
	}
}

// A rebalance while the target is away: Release does not wait for a Put to
// succeed (protocol 13), also of a sink that knows no offsets.
func TestReleaseDoesNotWaitForTheTarget(t *testing.T) {
	for _, hasOffsets := range []bool{true, false} {
		s, sess := newScript(t, 1, 3)
		s.task.cfg.hasOffsets = hasOffsets
		s.deliver(sess, 0, 0, 1, 2)
		s.store.down = true
		s.does(callPut)
		sess.end()
		s.task.revoke(sess)
		if c, _ := s.task.next(s.now); c.kind != callRelease {
			t.Fatalf("with offsets %t the next call is %v, want release", hasOffsets, c.kind)
		}
		s.does(callRelease)
		if s.task.owns(sess) {
			t.Errorf("with offsets %t the partition was not given back", hasOffsets)
		}
	}
}

// A session ends with a Put in flight and comes back: what the new one expects
// comes from its own Open, made after that Put (protocol 14).
func TestLateResultOfAnEndedSession(t *testing.T) {
	s, old := newScript(t, 1, 6)
	s.deliver(old, 0, 0, 1, 2)
	result := s.begin(callPut)
	old.end()
	s.task.revoke(old)
	result()
	s.does(callRelease)
	again := s.session()
	s.deliver(old, 0, 4) // a straggler, that would leave a gap
	s.deliver(again, 0, 3, 4, 5)
	s.does(callPut)
	s.wants(0, 6)
}

// TestLateProofOfAnEndedSession: what a read showed to an ended session explains
// nothing to the next one, whose log may be another.
func TestLateProofOfAnEndedSession(t *testing.T) {
	s, old := newScript(t, 1, 2)
	tp := connect.TopicPartition{Topic: "t"}
	s.deliver(old, 0, 1)
	old.end()
	s.task.revoke(old)
	s.does(callRelease)
	again := s.session()
	s.deliver(again, 0, 1)
	if len(s.proofs) != 2 || s.proofs[1].span != (span{0, 1}) {
		t.Fatalf("asked for %v", s.proofs)
	}
	s.task.proved(old, tp, connect.Span{From: 0, Next: 1})
	if c, _ := s.task.next(s.now); c.kind != callNone {
		t.Fatalf("%v past a gap that another session's read explained", c.kind)
	}
	s.task.proved(again, tp, connect.Span{From: 0, Next: 1, Records: []connect.Record{s.logs[tp].record(0, true)}})
	s.does(callPut)
	s.wants(0, 2)
}

// A database that blinks ends no session: memory holds what the ledger lacks
// (protocol 16). The commit's answer was lost for one partition.
func TestBlinkEndsNoSession(t *testing.T) {
	s, sess := newScript(t, 30, 4)
	for p := range int32(30) {
		s.deliver(sess, p, 0, 1, 2, 3)
	}
	s.begin(callPut) // committed; the answer is lost
	var b connect.Batch
	for p := range int32(30) {
		tp := connect.TopicPartition{Topic: "t", Partition: p}
		b.Parts = append(b.Parts, connect.Part{TopicPartition: tp, Start: 0, Next: 4})
	}
	s.task.put(&b, connect.Result{}, errSimLost, s.now)
	s.does(callPositions)
	if len(s.reopened) > 0 {
		t.Errorf("%d sessions were ended", len(s.reopened))
	}
	for p := range int32(30) {
		s.wants(p, 4)
	}
	if c, _ := s.task.next(s.now.Add(time.Second)); c.kind != callNone {
		t.Errorf("%v of what is stored already", c.kind)
	}
}

// One table's missing GRANT stops its partitions alone; they keep their claims
// and their queue, and go on once it is mended (protocol 17).
func TestMissingGrantStopsItsPartitionsAlone(t *testing.T) {
	s, sess := newScript(t, 3, 4)
	tp := connect.TopicPartition{Topic: "t", Partition: 1}
	s.store.broken[tp] = true
	for p := range int32(3) {
		s.deliver(sess, p, 0, 1, 2, 3)
	}
	s.does(callPut) // all three: refused
	for range 3 {
		s.does(callPut) // each alone
	}
	s.wants(0, 4)
	s.wants(1, 0)
	s.wants(2, 4)
	if st := s.task.status(0, func(e error) string { return e.Error() }); st.State != StateFailed || st.Trace == "" {
		t.Errorf("the task is %s with trace %q", st.State, st.Trace)
	}
	s.store.broken[tp] = false
	s.now = s.now.Add(61 * time.Second)
	s.does(callPositions)
	s.does(callPut)
	s.wants(1, 4)
	if len(s.reopened) > 0 {
		t.Error("a session was ended")
	}
}

// A ledger that lies ahead of the log's end is refused, and asked again.
func TestLedgerAheadOfTheLogIsRefused(t *testing.T) {
	s, sess := newScript(t, 1, 10)
	tp := connect.TopicPartition{Topic: "t", Partition: 0}
	s.deliver(sess, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
	s.does(callPut)
	sess.end()
	s.task.revoke(sess)
	s.does(callRelease)
	s.logs[tp].kinds = s.logs[tp].kinds[:5]
	again := newTestSession("t")
	o := s.task.assign(again, []connect.Claim{{TopicPartition: tp, LogEnd: 5}})
	s.does(callOpen)
	if starts, answered := s.answers[o]; !answered || len(starts) != 0 {
		t.Fatalf("the opening was answered: %v, with %v", answered, starts)
	}
	if st := s.task.status(0, func(e error) string { return e.Error() }); st.State != StateFailed {
		t.Errorf("the task is %s", st.State)
	}
	s.store.reset(tp, 0)
	s.now = s.now.Add(61 * time.Second)
	s.does(callOpen)
	if len(s.reopened) != 1 {
		t.Error("the reset was not seen")
	}
}

// Where nothing is tolerated, a bad record fails its partition, after the good
// ones before it.
func TestToleranceNone(t *testing.T) {
	s, sess := newScript(t, 2, 4)
	tp := connect.TopicPartition{Topic: "t", Partition: 0}
	s.task.cfg.tolerate = false
	s.logs[tp].kinds[2] = simPoison
	s.deliver(sess, 0, 0, 1, 2, 3)
	s.deliver(sess, 1, 0, 1, 2, 3)
	s.does(callPut)
	for _, p := range s.proofs {
		s.task.proved(p.sess, p.tp, connect.Span{From: 2, Next: 3, Records: []connect.Record{s.logs[tp].record(2, true)}})
	}
	if c, _ := s.task.next(s.now.Add(time.Second)); c.kind != callNone {
		t.Errorf("the task makes the call %v", c.kind)
	}
	s.wants(0, 2)
	s.wants(1, 4)
	if s.task.parts[tp].failed == nil {
		t.Error("the partition did not fail")
	}
}

// What retention took is counted, or refused.
func TestExpiredOffsets(t *testing.T) {
	for _, skip := range []bool{true, false} {
		s, sess := newScript(t, 1, 10)
		tp := connect.TopicPartition{Topic: "t", Partition: 0}
		s.deliver(sess, 0, 0, 1)
		s.does(callPut)
		sess.end()
		s.task.revoke(sess)
		s.does(callRelease)
		s.logs[tp].start = 6
		s.task.cfg.skipExpired = skip
		again := newTestSession("t")
		o := s.task.assign(again, []connect.Claim{{TopicPartition: tp, LogStart: 6, LogEnd: 10}})
		s.does(callOpen)
		if !skip {
			if len(s.answers[o]) != 0 {
				t.Errorf("opened at %v although offsets expired", s.answers[o])
			}
			continue
		}
		if s.answers[o][0] != 6 {
			t.Errorf("opened at %v, want 6", s.answers[o])
		}
		s.deliver(again, 0, 6, 7, 8, 9)
		s.does(callPut)
		s.wants(0, 10)
		if c := s.store.ledger[0][tp].counts; c.Expired != 4 {
			t.Errorf("counts %+v, want 4 expired", c)
		}
	}
}

func testLane(t *testing.T) *lane {
	t.Helper()
	w := &Worker{name: "test", settings: DefaultSettings(), log: slog.New(slog.DiscardHandler)}
	w.share.Store(1 << 20)
	return &lane{w: w, wake: make(chan struct{}, 1)}
}

// The end of a session is sticky: once a record was not taken, no later one is,
// although there is room again (protocol 18).
func TestEndOfSessionIsSticky(t *testing.T) {
	t.Parallel()
	l := testLane(t)
	full := func() (*testSession, *inbox) {
		sess := newTestSession("t")
		var share atomic.Int64
		share.Store(400)
		b := newInbox(sess, connect.TopicPartition{Topic: "t"}, l, &share)
		for o := range int64(2) {
			if !b.deliver(connect.Record{Offset: o}) {
				t.Fatal("refused with room")
			}
		}
		return sess, b
	}
	for _, waits := range []bool{true, false} { // a record for room, when the session ends
		sess, b := full()
		taken := make(chan bool, 1)
		if waits {
			go func() { taken <- b.deliver(connect.Record{Offset: 2, Value: make([]byte, 200)}) }()
			select {
			case <-sess.pauses:
			case <-time.After(20 * time.Second):
				t.Fatal("the partition was not paused")
			}
		}
		sess.end()
		if waits && <-taken {
			t.Fatal("the record that waited was taken after the session's end")
		}
		b.take()
		b.setHeld(0)
		if b.deliver(connect.Record{Offset: 3}) {
			t.Fatalf("after the session's end a record was taken, behind one that was not: %t", waits)
		}
	}
	for range 200 {
		sess, b := full()
		taken := make(chan bool)
		go func() { taken <- b.deliver(connect.Record{Offset: 2, Value: make([]byte, 200)}) }()
		go sess.end()
		go func() { b.take(); b.setHeld(0) }()
		second := <-taken
		ended := sess.ctx.Err() != nil
		third := b.deliver(connect.Record{Offset: 3})
		if third && !second {
			t.Fatal("offset 3 was taken after offset 2 was not")
		}
		if ended && third {
			t.Fatal("a record was taken after the session's end")
		}
	}
}

// A full share holds its partition back and frees it; one record larger than
// the share may enter an empty queue (protocol 15, promise 8).
func TestFullShareHoldsThePartitionBack(t *testing.T) {
	t.Parallel()
	l := testLane(t)
	sess := newTestSession("t")
	var share atomic.Int64
	share.Store(1000)
	b := newInbox(sess, connect.TopicPartition{Topic: "t"}, l, &share)
	if !b.deliver(connect.Record{Offset: 0, Value: make([]byte, 5000)}) {
		t.Fatal("a large record cannot enter an empty queue")
	}
	done := make(chan bool)
	go func() { done <- b.deliver(connect.Record{Offset: 1}) }()
	select {
	case <-sess.pauses:
	case <-done:
		t.Fatal("a full queue took a record")
	case <-time.After(20 * time.Second):
		t.Fatal("the partition was not paused")
	}
	if got := b.take(); len(got) != 1 {
		t.Fatalf("%d records taken", len(got))
	}
	for _, held := range []string{"what the lane has just taken", "what the task holds"} {
		b.mu.Lock()
		if !b.isFull(1) {
			t.Errorf("%s does not count", held)
		}
		b.mu.Unlock()
		b.setHeld(5000)
	}
	b.setHeld(0)
	if !<-done {
		t.Error("the record was refused")
	}
	if sess.resumed.Load() != 1 {
		t.Error("the partition was not resumed")
	}
}

// awayPreparer is a connector whose records of some partitions cannot be prepared
// while something is away.
type awayPreparer struct {
	away  atomic.Bool
	tried chan int64
}

func (a *awayPreparer) Prepare(dst []byte, _ string, partition int32, r *connect.Record) ([]byte, error) {
	if partition == 0 && a.away.Load() {
		select {
		case a.tried <- r.Offset:
		default:
		}
		return nil, connect.Retriable(errors.New("the registry does not answer"))
	}
	return append(dst, r.Value...), nil
}

// TestRecordsWaitForWhatConvertsThem: an outage of what preparing a record needs
// makes no dead letter; the partition waits, is paused, and is shown; the others go
// on; a session that ends meanwhile takes nothing more (promise 6).
func TestRecordsWaitForWhatConvertsThem(t *testing.T) {
	t.Parallel()
	s, sess := newScript(t, 2, 0)
	l := testLane(t)
	l.task, l.w.settings.RetryBackoff = s.task, time.Millisecond
	p := &awayPreparer{tried: make(chan int64, 1)}
	l.w.preparer = p
	l.w.opts.Redact = func(s string) string { return s }
	p.away.Store(true)
	var share atomic.Int64
	share.Store(1 << 20)
	waits, goes := newInbox(sess, connect.TopicPartition{Topic: "t"}, l, &share), newInbox(sess, connect.TopicPartition{Topic: "t", Partition: 1}, l, &share)
	taken := make(chan bool)
	go func() { taken <- waits.deliver(connect.Record{Offset: 7, Value: []byte("v")}) }()
	<-p.tried
	if !goes.deliver(connect.Record{Offset: 3, Value: []byte("w")}) {
		t.Fatal("another partition waits along")
	}
	runPosted := func() {
		l.mu.Lock()
		posted := l.posted
		l.posted = nil
		l.mu.Unlock()
		for _, f := range posted {
			f()
		}
	}
	select {
	case <-sess.pauses:
	case <-time.After(20 * time.Second):
		t.Fatal("the partition was not paused")
	}
	waits.setHeld(0) // room, which is not what it waits for
	if sess.resumed.Load() != 0 {
		t.Error("the partition was resumed while its record waits")
	}
	runPosted()
	status := Status{Tasks: []TaskStatus{s.task.status(0, error.Error)}}
	if got, want := status.Problem(), "records wait: the registry does not answer"; got != want {
		t.Errorf("the problem is %q, want %q", got, want)
	}
	p.away.Store(false)
	if !<-taken {
		t.Fatal("the record was not taken once it could be prepared")
	}
	got := waits.take()
	if len(got) != 1 || got[0].Err != nil || string(got[0].Row) != "v" || got[0].Value != nil {
		t.Errorf("taken: %+v", got)
	}
	if sess.resumed.Load() != 1 {
		t.Error("the partition was not resumed")
	}
	runPosted()
	status = Status{Tasks: []TaskStatus{s.task.status(0, error.Error)}}
	if got := status.Problem(); got != "" {
		t.Errorf("the problem is %q after it ended", got)
	}

	p.away.Store(true)
	go func() { taken <- waits.deliver(connect.Record{Offset: 8, Value: []byte("v")}) }()
	<-p.tried
	sess.end()
	if <-taken || waits.deliver(connect.Record{Offset: 9}) {
		t.Error("a record was taken after the session's end")
	}
	if len(waits.take()) != 0 {
		t.Error("a record that was not prepared was queued")
	}
}

// TestLateAnswerGivesBackNothingOfTheNextSession: a session ends while the log is
// asked whether it agrees, and the next one has opened the partitions in the sink
// when the answer comes, before its own or after it.
func TestLateAnswerGivesBackNothingOfTheNextSession(t *testing.T) {
	t.Parallel()
	for _, first := range []bool{true, false} {
		s, claims, late := lateAnswer(t)
		third := newTestSession("t")
		o := s.task.assign(third, claims)
		opened := s.begin(callOpen)
		o.checking = true
		if first {
			late()
		}
		if c, _ := s.task.next(s.now); c.kind == callRelease {
			t.Error("what the third session has opened is given back")
		}
		opened()
		if !first {
			late()
		}
		s.deliver(third, 0, 0, 1, 2)
		s.does(callPut)
		if next := s.task.parts[claims[0].TopicPartition].next; next != 3 {
			t.Errorf("the partition stands at %d, want 3", next)
		}
	}
}

// TestLateAnswerIsGivenBack: where no other session follows, the sink keeps nothing
// open.
func TestLateAnswerIsGivenBack(t *testing.T) {
	t.Parallel()
	s, claims, late := lateAnswer(t)
	late()
	if c, _ := s.task.next(s.now); c.kind != callRelease || !slices.Equal(c.tps, []connect.TopicPartition{claims[0].TopicPartition}) {
		t.Errorf("the next call is %v of %v, want the release of %s", c.kind, c.tps, claims[0].TopicPartition)
	}
	if len(s.task.parts) != 0 {
		t.Error("the task has partitions of a session that has ended")
	}
}

// lateAnswer gives a task whose session ended while the log was asked, and how the
// answer arrives.
func lateAnswer(t *testing.T) (s *script, claims []connect.Claim, late func()) {
	t.Helper()
	s, first := newScript(t, 1, 10)
	s.task.revoke(first)
	s.does(callRelease)
	claims = []connect.Claim{{TopicPartition: connect.TopicPartition{Topic: "t"}, LogEnd: 10}}
	second := newTestSession("t")
	o := s.task.assign(second, claims)
	late = s.begin(callOpen)
	o.checking = true
	s.task.revoke(second)
	return s, claims, late
}

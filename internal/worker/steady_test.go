package worker

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/connect/connecttest"
)

// What must go on while something else is in trouble.

func rowAt(offset int64) []connect.Record {
	return []connect.Record{{Offset: offset, Timestamp: 1, Row: []byte("row")}}
}

// answered gives the next call's result as a healthy sink would, except for a
// Put that has a part of sick.
func answered(s *script, sick connect.TopicPartition, err error) callKind {
	c, wake := s.task.next(s.now)
	switch c.kind {
	case callNone:
		s.now = wake
	case callPositions:
		pos := make([]connect.Position, len(c.tps))
		for i, tp := range c.tps {
			pos[i].Next = s.task.parts[tp].next
		}
		s.task.positions(c.tps, pos, nil, s.now)
	case callPut:
		s.now = s.now.Add(3 * time.Millisecond)
		var res connect.Result
		for i := range c.batch.Parts {
			p := &c.batch.Parts[i]
			if p.TopicPartition == sick && err != nil {
				s.task.put(c.batch, connect.Result{}, err, s.now)
				return c.kind
			}
			res.Counts = append(res.Counts, connect.Counts{Written: p.Next - p.Start})
		}
		s.task.put(c.batch, res, nil, s.now)
	case callOpen, callRelease:
		s.t.Fatalf("unexpected call %v", c.kind)
	}
	return c.kind
}

// A partition that goes alone has its turn although its neighbour has a fresh
// record at every Put.
func TestIsolationHasItsTurn(t *testing.T) {
	t.Parallel()
	s, sess := newScript(t, 2, 1)
	busy, sick := connect.TopicPartition{Topic: "t"}, connect.TopicPartition{Topic: "t", Partition: 1}
	s.task.arrive(sess, sick, rowAt(0))
	s.task.arrive(sess, sick, rowAt(1))
	refused := &connect.BadDataError{Record: connect.RecordError{Stage: connect.StageTaskPut}, Offset: -1}
	for o := range int64(200) {
		s.task.arrive(sess, busy, rowAt(o))
		if len(s.proofs) > 0 {
			break // the record is found, and its bytes are asked for
		}
		answered(s, sick, refused)
	}
	if len(s.proofs) == 0 || s.proofs[0].span != (span{0, 1}) {
		t.Errorf("the bad record was not isolated in 200 Puts: %v", s.proofs)
	}

	s, sess = newScript(t, 2, 1)
	s.task.arrive(sess, sick, rowAt(0))
	denied := errors.New("permission denied")
	for o := range int64(2000) {
		s.task.arrive(sess, busy, rowAt(o))
		answered(s, sick, denied)
	}
	if s.task.parts[sick].failed == nil {
		t.Fatal("the partition did not fail")
	}
	before := s.now
	for o := int64(2000); s.task.parts[sick].next == 0 && s.now.Sub(before) < 5*time.Minute; o++ {
		s.task.arrive(sess, busy, rowAt(o))
		answered(s, sick, nil) // the GRANT is mended
	}
	if s.task.parts[sick].next != 1 {
		t.Error("five minutes after the GRANT was mended the partition still fails")
	}
}

// One topic that cannot be opened does not keep the lane from storing others.
func TestOpeningDoesNotHoldTheLane(t *testing.T) {
	t.Parallel()
	s, sess := newScript(t, 1, 1)
	tp := connect.TopicPartition{Topic: "t"}
	other := newTestSession("u")
	s.task.assign(other, []connect.Claim{{TopicPartition: connect.TopicPartition{Topic: "u"}}})
	opens := 0
	for o := range int64(50) {
		s.task.arrive(sess, tp, rowAt(o))
		c, wake := s.task.next(s.now)
		switch c.kind {
		case callOpen:
			opens++
			s.task.opened(c.opening, nil, connect.Retriable(errors.New("lock not available")), s.now)
		case callPut:
			s.task.put(c.batch, connect.Result{Counts: []connect.Counts{{Written: c.batch.Parts[0].Next - c.batch.Parts[0].Start}}}, nil, s.now)
		default:
			s.now = wake
		}
	}
	if next := s.task.parts[tp].next; next < 10 {
		t.Errorf("the healthy topic is at %d after 50 records and %d failed openings", next, opens)
	}
}

// A log whose records are slow to come is not read directly at once, nor as a
// whole, and not at all for another topic of the same name.
func TestLogEndIsAskedWithPatience(t *testing.T) {
	t.Parallel()
	s, _ := newScript(t, 1, 1)
	tp := connect.TopicPartition{Topic: "t"}
	s.task.logEnd(tp, connect.TopicID{}, 1_000_000)
	if len(s.proofs) != 0 {
		t.Fatalf("the first look at the log's end asks for %v", s.proofs)
	}
	s.task.parts[tp].topicID = connect.TopicID{1}
	s.task.logEnd(tp, connect.TopicID{2}, 1_000_000)
	if len(s.proofs) != 0 {
		t.Fatal("the log of another topic was asked for")
	}
	s.task.logEnd(tp, connect.TopicID{1}, 1_000_000)
	if len(s.proofs) != 1 || s.proofs[0].span != (span{0, expectMax}) {
		t.Errorf("the second look asks for %v, want the next %d offsets", s.proofs, expectMax)
	}
	s.task.proved(s.proofs[0].sess, tp, connect.Span{From: 0, Next: 10, TopicID: connect.TopicID{2}})
	if len(s.reopened) != 1 {
		t.Error("what another topic's log holds was believed")
	}
}

// Reads of the log stop while the partition holds its share and can store
// something first (promise 8), and go on after that.
func TestProofsKeepToTheShare(t *testing.T) {
	t.Parallel()
	s, sess := newScript(t, 1, 1)
	tp := connect.TopicPartition{Topic: "t"}
	s.task.cfg.share = func() int64 { return 10_000 }
	s.task.arrive(sess, tp, rowAt(50)) // 0 to 49 are missing
	for len(s.proofs) > 0 {
		p := s.proofs[0]
		s.proofs = s.proofs[1:]
		out := connect.Span{From: p.span.from, Next: p.span.from + 1}
		out.Records = []connect.Record{{Offset: p.span.from, Timestamp: 1, Row: make([]byte, 2000)}}
		s.task.proved(p.sess, tp, out)
	}
	if got := s.task.parts[tp].bytes; got > 15_000 {
		t.Errorf("%d bytes are held, the share is 10000", got)
	}
	answered(s, connect.TopicPartition{}, nil)
	if len(s.proofs) == 0 {
		t.Error("after the Put the log is not read on")
	}
}

// Many small gaps cost one read.
func TestBadRecordsAreReadTogether(t *testing.T) {
	t.Parallel()
	s, sess := newScript(t, 1, 1)
	tp := connect.TopicPartition{Topic: "t"}
	var records []connect.Record
	for o := range int64(1000) {
		r := connect.Record{Offset: o, Timestamp: 1, Row: []byte("row")}
		if o%2 == 0 {
			r.Row, r.Err = nil, &connect.RecordError{Reason: "bad", Message: "bad"}
		}
		records = append(records, r)
	}
	s.task.arrive(sess, tp, records)
	if len(s.proofs) != 1 || s.proofs[0].span != (span{0, 999}) {
		t.Fatalf("asked for %v", s.proofs)
	}
	out := connect.Span{From: 0, Next: 999}
	for o := range int64(999) {
		out.Records = append(out.Records, connect.Record{Offset: o, Timestamp: 1, Value: []byte("exact"), Row: records[o].Row, Err: records[o].Err})
	}
	s.task.proved(sess, tp, out)
	p := s.task.parts[tp]
	if len(p.gaps) != 0 || len(p.queue) != 1000 || len(p.verdicts) != 0 {
		t.Fatalf("gaps %v, %d queued, %d verdicts", p.gaps, len(p.queue), len(p.verdicts))
	}
	var bytes int64
	for i := range p.queue {
		if p.queue[i].Offset != int64(i) || (p.queue[i].Err != nil) != (string(p.queue[i].Value) == "exact") {
			t.Fatalf("at %d: %+v", i, p.queue[i])
		}
		bytes += p.queue[i].SizeBytes()
	}
	if p.bytes != bytes {
		t.Errorf("counted %d bytes, %d are held", p.bytes, bytes)
	}
}

// What cannot be explained is shown.
func TestUnexplainedOffsetsAreShown(t *testing.T) {
	t.Parallel()
	s, sess := newScript(t, 1, 1)
	s.task.notProved(sess, connect.TopicPartition{Topic: "t"}, errors.New("the batch cannot be read"))
	if st := s.task.status(0, func(e error) string { return e.Error() }); st.State != StateFailed || st.Trace == "" {
		t.Errorf("the task is %s with trace %q", st.State, st.Trace)
	}
}

// A claim that was refused is given back to the sink with its session.
func TestRefusedClaimIsGivenBack(t *testing.T) {
	t.Parallel()
	s, sess := newScript(t, 1, 5)
	s.store.ledger[0][connect.TopicPartition{Topic: "t"}] = simRow{start: 0, next: 9}
	sess.end()
	s.task.revoke(sess)
	s.does(callRelease)
	again := newTestSession("t")
	s.task.assign(again, []connect.Claim{{TopicPartition: connect.TopicPartition{Topic: "t"}, LogEnd: 5}})
	s.does(callOpen)
	again.end()
	s.task.revoke(again)
	c, _ := s.task.next(s.now)
	if c.kind != callRelease || len(c.tps) != 1 {
		t.Errorf("the next call is %v of %v, want the release of the refused claim", c.kind, c.tps)
	}
}

// scriptedSource is a source whose log is given, for one lane.
type scriptedSource struct {
	memSource
	bounds func() (map[connect.TopicPartition]connect.Bounds, error)
	read   func(from, to int64) (connect.Span, error)
}

func (f *scriptedSource) Log() connect.Log { return f }
func (f *scriptedSource) Bounds(context.Context, []connect.TopicPartition) (map[connect.TopicPartition]connect.Bounds, error) {
	return f.bounds()
}

func (f *scriptedSource) Read(_ context.Context, _ connect.TopicPartition, from, to int64) (connect.Span, error) {
	return f.read(from, to)
}

// Release's limit may pass before the lane's next call has begun: that call is
// given up all the same.
func TestReleaseGivesUpTheCallThatBegins(t *testing.T) {
	t.Parallel()
	store := connecttest.NewMemory(connecttest.MemoryConfig{})
	settings := DefaultSettings()
	settings.TasksMax, settings.ReleaseTimeout = 1, 100*time.Millisecond
	w, err := New("c", settings, &scriptedSource{}, store.Connector("c"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	l := w.lanes[0]
	go l.run(ctx)
	sess := newTestSession("t")
	tp := connect.TopicPartition{Topic: "t"}
	if _, err := w.Open(ctx, sess, []connect.Claim{{TopicPartition: tp, TopicID: connect.TopicID{1}, LogEnd: 10}}); err != nil {
		t.Fatal(err)
	}
	free := store.Stall()
	defer free()
	released := make(chan struct{})
	l.post(func() { // the lane takes its events while the limit passes
		l.task.arrive(sess, tp, []connect.Record{{Offset: 0, Timestamp: 1, Value: []byte("v")}})
		go func() { sess.end(); w.Release(context.Background(), sess); close(released) }()
		for {
			l.mu.Lock()
			gone := l.cancelled
			l.mu.Unlock()
			if gone {
				return
			}
			sleep(ctx, time.Millisecond)
		}
	})
	select {
	case <-released:
	case <-time.After(20 * time.Second):
		t.Error("Release waits for a call that nobody can end")
	}
}

// slowConnector's sinks take their time for a Put and do not hear that it is given
// up.
type slowConnector struct{ connect.Connector }

func (c slowConnector) NewSink(task int) (connect.Sink, error) {
	s, err := c.Connector.NewSink(task)
	return slowSink{s}, err
}

type slowSink struct{ connect.Sink }

func (s slowSink) Put(ctx context.Context, b *connect.Batch) (connect.Result, error) {
	<-time.After(20 * time.Millisecond) // of a synctest bubble's time
	return s.Sink.Put(context.WithoutCancel(ctx), b)
}

// Once Release's limit has passed what is queued is dropped, however well it could
// be stored.
func TestReleaseDropsWhatTakesTooLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := connecttest.NewMemory(connecttest.MemoryConfig{})
		settings := DefaultSettings()
		settings.TasksMax, settings.BatchSize, settings.ReleaseTimeout = 1, 1, 100*time.Millisecond
		w, err := New("c", settings, &scriptedSource{}, slowConnector{store.Connector("c")}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		go w.lanes[0].run(ctx)
		sess := newTestSession("t")
		tp := connect.TopicPartition{Topic: "t"}
		if _, err := w.Open(ctx, sess, []connect.Claim{{TopicPartition: tp, TopicID: connect.TopicID{1}, LogEnd: 1000}}); err != nil {
			t.Fatal(err)
		}
		for o := range int64(1000) { // twenty seconds' work
			if !w.Deliver(sess, 0, connect.Record{Offset: o, Timestamp: 1, Value: []byte("v")}) {
				t.Fatalf("offset %d was not taken", o)
			}
		}
		sess.end()
		began := time.Now()
		w.Release(context.Background(), sess)
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("Release took %v", took)
		}
	})
}

// A ledger ahead of its log is not believed again when the log has grown past
// it: the last stored record is another one.
func TestLogThatGrewAgainIsRefused(t *testing.T) {
	t.Parallel()
	store := connecttest.NewMemory(connecttest.MemoryConfig{})
	tp := connect.TopicPartition{Topic: "t"}
	timestamp := int64(1000)
	src := &scriptedSource{
		bounds: func() (map[connect.TopicPartition]connect.Bounds, error) {
			return map[connect.TopicPartition]connect.Bounds{tp: {End: 20, Stable: 20}}, nil
		},
		read: func(from, to int64) (connect.Span, error) {
			return connect.Span{From: from, Next: to, Records: []connect.Record{{Offset: from, Timestamp: timestamp}}}, nil
		},
	}
	settings := DefaultSettings()
	settings.TasksMax = 1
	w, err := New("c", settings, src, store.Connector("c"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go w.lanes[0].run(ctx)
	claim := connect.Claim{TopicPartition: tp, TopicID: connect.TopicID{1}, LogEnd: 20}
	sess := newTestSession("t")
	if _, err := w.Open(ctx, sess, []connect.Claim{claim}); err != nil {
		t.Fatal(err)
	}
	for o := range int64(10) {
		w.Deliver(sess, 0, connect.Record{Offset: o, Timestamp: 1000, Key: fmt.Append(nil, o), Value: []byte("v")})
	}
	deadline := time.Now().Add(20 * time.Second)
	for store.Ledger("c")[tp].Next < 10 {
		if time.Now().After(deadline) {
			t.Fatal("not stored")
		}
		wait(t, time.Millisecond)
	}
	sess.end()
	w.Release(ctx, sess)

	again := newTestSession("t")
	starts, err := w.Open(ctx, again, []connect.Claim{claim})
	if err != nil || starts[0] != 10 {
		t.Fatalf("the same log is opened at %v, %v", starts, err)
	}
	again.end()
	w.Release(ctx, again)

	timestamp = 2000 // the log was cut, and other records came
	third := newTestSession("t")
	starts, err = w.Open(ctx, third, []connect.Claim{claim})
	if err != nil || len(starts) != 0 {
		t.Errorf("another log is opened at %v, %v", starts, err)
	}
}

// A partition that cannot be read does not hide the others from the look at
// the logs' ends.
func TestPartialBoundsCount(t *testing.T) {
	t.Parallel()
	store := connecttest.NewMemory(connecttest.MemoryConfig{})
	tp := connect.TopicPartition{Topic: "t"}
	src := &scriptedSource{
		bounds: func() (map[connect.TopicPartition]connect.Bounds, error) {
			return map[connect.TopicPartition]connect.Bounds{tp: {End: 10, Stable: 10}}, errors.New("another partition has no leader")
		},
		read: func(from, to int64) (connect.Span, error) { return connect.Span{From: from, Next: to}, nil },
	}
	settings := DefaultSettings()
	settings.TasksMax, settings.LagInterval = 1, 10*time.Millisecond
	w, err := New("c", settings, src, store.Connector("c"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go w.lanes[0].run(ctx)
	go w.watchLogs(ctx)
	sess := newTestSession("t")
	if _, err := w.Open(ctx, sess, []connect.Claim{{TopicPartition: tp, TopicID: connect.TopicID{1}, LogEnd: 10}}); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for store.Ledger("c")[tp].Next < 10 {
		if time.Now().After(deadline) {
			t.Fatalf("the control records at the log's end are not accounted for: %+v", store.Ledger("c")[tp])
		}
		wait(t, time.Millisecond)
	}
}

// A target that can be read and not written is away: the pauses grow, and the
// status says why.
func TestReadOnlyTargetIsAnOutage(t *testing.T) {
	t.Parallel()
	s, sess := newScript(t, 1, 1)
	tp := connect.TopicPartition{Topic: "t"}
	s.task.arrive(sess, tp, rowAt(0))
	readOnly := connect.Retriable(errors.New("cannot execute INSERT in a read-only transaction"))
	began := s.now
	puts := 0
	for s.now.Sub(began) < 10*time.Minute {
		if answered(s, tp, readOnly) == callPut {
			puts++
		}
	}
	if puts > 100 {
		t.Errorf("%d Puts in ten minutes: the pauses do not grow", puts)
	}
	if st := s.task.status(0, func(e error) string { return e.Error() }); st.Trace == "" {
		t.Error("the status does not say why nothing is stored")
	}
	for s.task.parts[tp].next == 0 {
		answered(s, tp, nil)
	}
	if st := s.task.status(0, func(e error) string { return e.Error() }); st.Trace != "" {
		t.Errorf("the trouble is over, the status still says %q", st.Trace)
	}
}

// The breaker opens for a target that can be read and not written.
func TestBreakerSeesAReadOnlyTarget(t *testing.T) {
	t.Parallel()
	w, err := New("c", DefaultSettings(), &scriptedSource{}, connecttest.NewMemory(connecttest.MemoryConfig{}).Connector("c"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		_, _ = guard(w, false, func() (int, error) { return 0, connect.Retriable(errors.New("read-only")) })
		_, _ = guard(w, true, func() (int, error) { return 0, nil })
	}
	if st := w.Status(); st.Breaker != "open" {
		t.Errorf("the breaker is %s", st.Breaker)
	}
}

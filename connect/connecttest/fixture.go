package connecttest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/qicore/tickconnect/connect"
)

const (
	// callTimeout bounds a call that is expected to end by itself.
	callTimeout = 30 * time.Second
	// promptTimeout bounds a call whose context has ended.
	promptTimeout = 5 * time.Second
	// baseTimestamp is the Kafka timestamp of offset 0, in ms.
	baseTimestamp int64 = 1_700_000_000_000
)

// fixture is one store under test and what the suite knows about it.
type fixture struct {
	testing.TB
	target  Target
	store   *Store
	ready   bool     // the connector's Init was called
	closers []func() // of the sinks and connectors on the store
}

func newFixture(t testing.TB, target Target) *fixture {
	t.Helper()
	if target.New == nil || target.Record == nil {
		t.Fatal("connecttest: Target.New and Target.Record must be set")
	}
	if len(target.Topics) == 0 {
		target.Topics = []string{"connecttest-a", "connecttest-b"}
	}
	if len(target.Topics) < 2 {
		t.Fatal("connecttest: Target.Topics must name two topics or more")
	}
	if target.Schedules == 0 {
		target.Schedules = 8
	}
	f := &fixture{TB: t, target: target}
	f.fresh()
	return f
}

// fresh closes what is open and gives the fixture another, empty store.
func (f *fixture) fresh() {
	f.Helper()
	f.closeAll()
	f.store = f.target.New(f.TB)
	f.Cleanup(f.closeAll) // before the store's own
	f.ready = false
	if f.store == nil || f.store.Connector == nil || f.store.Rows == nil {
		f.Fatal("connecttest: Store.Connector and Store.Rows must be set")
	}
}

func (f *fixture) closeAll() {
	for i := len(f.closers) - 1; i >= 0; i-- {
		f.closers[i]()
	}
	f.closers = nil
}

// onClose has what is closed at the end; the function it gives does it earlier.
func (f *fixture) onClose(what string, shut func() error) (now func()) {
	now = sync.OnceFunc(func() {
		if err := shut(); err != nil {
			f.Errorf("closing the %s: %v", what, err)
		}
	})
	f.closers = append(f.closers, now)
	return now
}

// undo has what a hook did undone at the end; the function it gives does it earlier.
func (f *fixture) undo(hook func()) (now func()) {
	now = sync.OnceFunc(hook)
	f.closers = append(f.closers, now)
	return now
}

// need skips the case where a hook is nil.
func (f *fixture) need(set bool, hook string) {
	f.Helper()
	if !set {
		f.Skipf("connecttest: %s is missing: this promise is NOT tested", hook)
	}
}

// tp names the suite's i-th partition; the topics take turns.
func (f *fixture) tp(i int) connect.TopicPartition {
	n := len(f.target.Topics)
	return connect.TopicPartition{Topic: f.target.Topics[i%n], Partition: int32(i / n)}
}

// tps names the suite's first n partitions in the order of a batch.
func (f *fixture) tps(n int) []connect.TopicPartition {
	var tps []connect.TopicPartition
	for i := range n {
		tps = append(tps, f.tp(i))
	}
	slices.SortFunc(tps, connect.TopicPartition.Compare)
	return tps
}

// row is what the suite's record at an offset is stored as.
func (f *fixture) row(tp connect.TopicPartition, offset int64) Row {
	topic := int64(slices.Index(f.target.Topics, tp.Topic))
	n := offset % 100_000
	return Row{Key: (topic*100+int64(tp.Partition))*100_000 + n + 1, Content: n + 1}
}

// rows are those of the offsets [start, next).
func (f *fixture) rows(tp connect.TopicPartition, start, next int64) []Row {
	var rows []Row
	for o := start; o < next; o++ {
		rows = append(rows, f.row(tp, o))
	}
	return rows
}

// raw is a record as the log holds it.
func raw(r connect.Record, offset int64) connect.Record {
	r.Offset = offset
	r.Timestamp = baseTimestamp + offset%100_000
	return r
}

// good is a record that is stored as row.
func (f *fixture) good(tp connect.TopicPartition, offset int64, row Row) connect.Record {
	return raw(f.target.Record(tp.Topic, row), offset)
}

// bad is a record that the target refuses.
func (f *fixture) bad(tp connect.TopicPartition, offset int64) connect.Record {
	return raw(f.target.Bad(tp.Topic, f.row(tp, offset)), offset)
}

// deadLetter is a record with its exact bytes and the reason.
func (f *fixture) deadLetter(tp connect.TopicPartition, offset int64) connect.Record {
	r := raw(f.target.Record(tp.Topic, f.row(tp, offset)), offset)
	r.Headers = []connect.Header{{Key: "h", Value: []byte{0, 1}}, {Key: "h", Value: []byte("two")}}
	r.Err = &connect.RecordError{Stage: connect.StageValueConverter, Reason: "connecttest", Message: "made bad by the suite"}
	return r
}

// filtered is a tombstone.
func filtered(offset int64) connect.Record {
	return raw(connect.Record{Key: []byte("k"), Filtered: true}, offset)
}

// part holds a good record at each offset of [start, next).
func (f *fixture) part(tp connect.TopicPartition, start, next int64) connect.Part {
	p := connect.Part{TopicPartition: tp, Start: start, Next: next}
	for o := start; o < next; o++ {
		p.Records = append(p.Records, f.good(tp, o, f.row(tp, o)))
	}
	return p
}

// partOf holds the given records, which fill its offsets.
func partOf(tp connect.TopicPartition, start int64, records ...connect.Record) connect.Part {
	return connect.Part{TopicPartition: tp, Start: start, Next: start + int64(len(records)), Records: records}
}

// claim is a claim of a partition that begins at begin.
func (f *fixture) claim(tp connect.TopicPartition, begin int64) connect.Claim {
	c := connect.Claim{TopicPartition: tp, Begin: begin, LogEnd: 1 << 50}
	copy(c.TopicID[:], "connecttest")
	c.TopicID[15] = byte(slices.Index(f.target.Topics, tp.Topic) + 1)
	return c
}

func (f *fixture) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	f.Cleanup(cancel)
	return ctx
}

// connector makes a connector as another replica does.
func (f *fixture) connector() connect.Connector {
	f.Helper()
	c, _ := f.replica()
	return c
}

// replica is connector, and a function that closes it before the case ends.
func (f *fixture) replica() (c connect.Connector, leave func()) {
	f.Helper()
	if c = f.store.Connector(f.TB); c == nil {
		f.Fatal("connecttest: Store.Connector gave nil")
	}
	return c, f.onClose("connector", c.Close)
}

// sink makes a task's sink in a replica of its own, as the worker does.
func (f *fixture) sink() *owner {
	f.Helper()
	c, leave := f.replica()
	if i, ok := c.(connect.Initializer); ok && !f.ready {
		if _, err := i.Init(f.ctx(), nil); err != nil {
			f.Fatalf("Init: %v", err)
		}
	}
	f.ready = true
	o := f.task(c, 0)
	shut := o.leave
	o.leave = func() {
		shut()
		leave()
	}
	return o
}

// task makes the sink of one task of a connector.
func (f *fixture) task(c connect.Connector, n int) *owner {
	f.Helper()
	s, err := c.NewSink(n)
	if err != nil {
		f.Fatalf("NewSink: %v", err)
	}
	preparer, _ := c.(connect.Preparer)
	return &owner{f: f, Sink: s, preparer: preparer, leave: f.onClose("sink", s.Close)}
}

// wantRows compares the store with what it should hold: each row once, or at
// least once where the sinks store no offsets.
func (f *fixture) wantRows(want ...[]Row) {
	f.Helper()
	missing := map[Row]int{}
	for _, row := range slices.Concat(want...) {
		missing[row]++
	}
	wanted := maps.Clone(missing)
	for _, row := range f.store.Rows(f.TB) {
		missing[row]--
	}
	var wrong []string
	for row, n := range missing {
		switch {
		case n > 0:
			wrong = append(wrong, fmt.Sprintf("%+v is missing", row))
		case n < 0 && wanted[row] == 0:
			wrong = append(wrong, fmt.Sprintf("%+v should not be there", row))
		case n < 0 && !f.target.NoOffsets:
			wrong = append(wrong, fmt.Sprintf("%+v is there %d times too often", row, -n))
		}
	}
	if len(wrong) > 0 {
		slices.Sort(wrong)
		f.Fatalf("the store differs in %d rows, first: %s", len(wrong), wrong[0])
	}
}

// wantNext compares where partitions stand for a sink that opens them now.
func (f *fixture) wantNext(next int64, tps ...connect.TopicPartition) {
	f.Helper()
	if f.target.NoOffsets {
		return
	}
	o := f.sink()
	defer o.leave()
	for i, p := range o.open(12345, tps...) {
		if p.Next != next {
			f.Fatalf("%s stands at %d, want %d", tps[i], p.Next, next)
		}
	}
}

// prompt runs a call whose context has ended, and fails where it does not return.
func (f *fixture) prompt(what string, call func() error) error {
	f.Helper()
	done := make(chan error, 1)
	go func() { done <- call() }()
	select {
	case err := <-done:
		return err
	case <-time.After(promptTimeout):
		f.Fatalf("%s did not return within %s of the end of its context", what, promptTimeout)
		return nil
	}
}

// owner is a sink with the checks that hold for each of its calls.
type owner struct {
	connect.Sink
	f        *fixture
	preparer connect.Preparer // of its connector; nil where that is none
	// leave closes the sink before the case ends, and its connector where the sink
	// has it to itself.
	leave func()
}

// claims makes claims that begin at begin.
func (o *owner) claims(begin int64, tps []connect.TopicPartition) []connect.Claim {
	claims := make([]connect.Claim, len(tps))
	for i, tp := range tps {
		claims[i] = o.f.claim(tp, begin)
	}
	return claims
}

// open must succeed; it answers where the partitions stand.
func (o *owner) open(begin int64, tps ...connect.TopicPartition) []connect.Position {
	o.f.Helper()
	at, err := o.Open(o.f.ctx(), o.claims(begin, tps))
	if err != nil {
		o.f.Fatalf("Open: %v", err)
	}
	if len(at) != len(tps) {
		o.f.Fatalf("Open gave %d positions for %d claims", len(at), len(tps))
	}
	for i, p := range at {
		if p.Err != nil {
			o.f.Fatalf("Open refused %s: %v", tps[i], p.Err)
		}
		if (p.Next == connect.NoOffset) != o.f.target.NoOffsets {
			o.f.Fatalf("Open says that %s stands at %d, Target.NoOffsets is %t", tps[i], p.Next, o.f.target.NoOffsets)
		}
	}
	return at
}

// positions must succeed.
func (o *owner) positions(tps ...connect.TopicPartition) []connect.Position {
	o.f.Helper()
	s, ok := o.Sink.(connect.OffsetStore)
	if !ok {
		o.f.Fatal("the sink is no connect.OffsetStore")
	}
	at, err := s.Positions(o.f.ctx(), tps)
	if err != nil {
		o.f.Fatalf("Positions: %v", err)
	}
	if len(at) != len(tps) {
		o.f.Fatalf("Positions gave %d positions for %d partitions", len(at), len(tps))
	}
	return at
}

// steady waits until a sink that stores offsets reaches its target again, whose
// connections may have been broken.
func (o *owner) steady(tp connect.TopicPartition) {
	o.f.Helper()
	ctx := o.f.ctx()
	for {
		_, err := o.Sink.(connect.OffsetStore).Positions(ctx, []connect.TopicPartition{tp})
		if !connect.IsRetriable(err) {
			return
		}
		if pause(ctx) != nil {
			o.f.Fatalf("Positions is not answered within %s: %v", callTimeout, err)
		}
	}
}

// put must succeed.
func (o *owner) put(parts ...connect.Part) connect.Result {
	o.f.Helper()
	res, err := o.try(o.f.ctx(), parts...)
	if err != nil {
		o.f.Fatalf("Put: %v", err)
	}
	return res
}

// fenced must be fenced, and name just the partitions that moved.
func (o *owner) fenced(moved []connect.TopicPartition, parts ...connect.Part) {
	o.f.Helper()
	_, err := o.try(o.f.ctx(), parts...)
	o.f.wantFenced(err, moved, nil)
}

// bad must be refused for the record at an offset.
func (o *owner) bad(tp connect.TopicPartition, offset int64, parts ...connect.Part) {
	o.f.Helper()
	_, err := o.try(o.f.ctx(), parts...)
	o.f.wantBad(err, tp, offset)
}

// prepare does to a batch's good records what the worker does before it queues
// them.
func (o *owner) prepare(b *connect.Batch) {
	o.f.Helper()
	if o.preparer == nil {
		return
	}
	for i := range b.Parts {
		p := &b.Parts[i]
		for j := range p.Records {
			r := &p.Records[j]
			if r.Err != nil || r.Filtered {
				continue
			}
			row, err := o.preparer.Prepare(nil, p.Topic, p.Partition, r)
			if err != nil {
				o.f.Errorf("preparing %s@%d: %v", p.TopicPartition, r.Offset, err)
			}
			r.Row, r.Key, r.Value, r.Headers = row, nil, nil, nil
		}
	}
}

// try puts a batch, and holds the outcome to what is true for every Put: the
// batch is left as it was, and each offset has one fate (promise 3). It may be
// called from any goroutine.
func (o *owner) try(ctx context.Context, parts ...connect.Part) (connect.Result, error) {
	o.f.Helper()
	b := cloneBatch(&connect.Batch{Parts: parts})
	slices.SortFunc(b.Parts, func(a, b connect.Part) int { return a.Compare(b.TopicPartition) })
	o.prepare(b)
	before := cloneBatch(b)
	res, err := o.Put(ctx, b)
	if !reflect.DeepEqual(before, b) {
		o.f.Errorf("Put changed its batch, which the worker may have to put again")
	}
	if err != nil {
		return res, err
	}
	if len(res.Counts) != len(before.Parts) {
		o.f.Errorf("Put counted %d parts of %d", len(res.Counts), len(before.Parts))
		return res, nil
	}
	for i := range before.Parts {
		checkCounts(o.f, &before.Parts[i], res.Counts[i])
	}
	return res, nil
}

// checkCounts holds the fates of a part against its records.
func checkCounts(t testing.TB, p *connect.Part, c connect.Counts) {
	t.Helper()
	want := connect.Counts{Absent: p.Absent, Expired: p.Expired}
	for i := range p.Records {
		switch r := &p.Records[i]; {
		case r.Err != nil:
			want.DeadLettered++
		case r.Filtered:
			want.Filtered++
		}
	}
	if c.Offsets() != p.Next-p.Start {
		t.Errorf("%s: the fates of [%d, %d) add up to %d: %+v", p.TopicPartition, p.Start, p.Next, c.Offsets(), c)
	}
	if c.Absent != want.Absent || c.Expired != want.Expired || c.DeadLettered != want.DeadLettered || c.Filtered != want.Filtered {
		t.Errorf("%s: of [%d, %d) counted %+v, want %+v and the rest stored", p.TopicPartition, p.Start, p.Next, c, want)
	}
	if c.Inserted > c.Written || min(c.Written, c.Inserted, c.Unchanged, c.Merged, c.Stale) < 0 {
		t.Errorf("%s: impossible counts %+v", p.TopicPartition, c)
	}
}

func cloneBatch(b *connect.Batch) *connect.Batch {
	c := &connect.Batch{Parts: slices.Clone(b.Parts)}
	for i := range c.Parts {
		c.Parts[i].Records = slices.Clone(c.Parts[i].Records)
		for j := range c.Parts[i].Records {
			r := &c.Parts[i].Records[j]
			r.Key, r.Value, r.Row = slices.Clone(r.Key), slices.Clone(r.Value), slices.Clone(r.Row)
			r.Headers = slices.Clone(r.Headers)
		}
	}
	return c
}

// wantFenced checks that an error names just these partitions.
func (f *fixture) wantFenced(err error, moved, busy []connect.TopicPartition) {
	f.Helper()
	var fence *connect.FencedError
	if !errors.As(err, &fence) {
		f.Fatalf("Put gave %v, want a FencedError", err)
	}
	if connect.IsRetriable(err) {
		f.Fatalf("a FencedError is marked Retriable too: %v", err)
	}
	if !sameSet(fence.Moved, moved) || !sameSet(fence.Busy, busy) {
		f.Fatalf("%v; want moved %v, busy %v", fence, moved, busy)
	}
}

// wantBad checks that an error blames a record, and the right one where it says which.
func (f *fixture) wantBad(err error, tp connect.TopicPartition, offset int64) {
	f.Helper()
	var bad *connect.BadDataError
	if !errors.As(err, &bad) {
		f.Fatalf("Put gave %v, want a BadDataError", err)
	}
	if connect.IsRetriable(err) {
		f.Fatalf("a BadDataError is marked Retriable too: %v", err)
	}
	if bad.Offset >= 0 && (bad.Offset != offset || bad.At != tp) {
		f.Fatalf("BadDataError blames %s@%d, want %s@%d, or -1", bad.At, bad.Offset, tp, offset)
	}
	if r := bad.Record; r.Stage != connect.StageTaskPut || r.Reason == "" || r.Message == "" {
		f.Fatalf("BadDataError lacks the stage %s, a reason or a message: %+v", connect.StageTaskPut, r)
	}
}

func sameSet(a, b []connect.TopicPartition) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.SortFunc(a, connect.TopicPartition.Compare)
	slices.SortFunc(b, connect.TopicPartition.Compare)
	return slices.Equal(a, b)
}

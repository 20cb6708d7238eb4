package connecttest

import (
	"context"
	"errors"
	"time"

	"github.com/qicore/tickconnect/connect"
)

// retry does what the worker does after an error that may have been an outage:
// where the sink stores offsets it asks where the partition stands, drops what is
// stored, and puts the rest, until it has succeeded.
func (o *owner) retry(start, next int64, tp connect.TopicPartition) {
	o.f.Helper()
	ctx := o.f.ctx()
	for ctx.Err() == nil {
		err := o.attempt(ctx, &start, next, tp)
		if err == nil {
			return
		}
		var fence *connect.FencedError
		if !connect.IsRetriable(err) && !errors.As(err, &fence) {
			o.f.Fatalf("after the outage: %v", err)
		}
		_ = pause(ctx)
	}
	o.f.Fatalf("%s@%d could not be stored within %s after the outage", tp, start, callTimeout)
}

// pause waits a little before the next try; it says whether ctx has ended.
func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(20 * time.Millisecond):
		return nil
	}
}

// attempt is one try of retry; it moves start to where the partition stands.
func (o *owner) attempt(ctx context.Context, start *int64, next int64, tp connect.TopicPartition) error {
	o.f.Helper()
	if s, ok := o.Sink.(connect.OffsetStore); ok {
		at, err := s.Positions(ctx, []connect.TopicPartition{tp})
		if err != nil {
			return err
		}
		if at[0].Next < *start || at[0].Next > next {
			o.f.Fatalf("%s stands at %d, outside [%d, %d]", tp, at[0].Next, *start, next)
		}
		if *start = at[0].Next; *start == next {
			return nil
		}
	}
	_, err := o.try(ctx, o.f.part(tp, *start, next))
	return err
}

// testOutage: an outage is Retriable, blames no record, and loses and doubles
// nothing (promise 6).
func testOutage(f *fixture) {
	f.need(f.store.Break != nil, "Store.Break")
	a, idle, p := f.sink(), f.sink(), f.tp(0)
	a.open(0, p)
	a.put(f.part(p, 0, 2))
	mend := f.undo(f.store.Break(f.TB))
	for range 2 {
		wantRetriable(f, "Put", func(ctx context.Context) error {
			_, err := a.try(ctx, f.part(p, 2, 4))
			return err
		})
	}
	if s, ok := a.Sink.(connect.OffsetStore); ok {
		wantRetriable(f, "Open", func(ctx context.Context) error {
			_, err := idle.Open(ctx, idle.claims(0, f.tps(2)))
			return err
		})
		wantRetriable(f, "Positions", func(ctx context.Context) error {
			_, err := s.Positions(ctx, []connect.TopicPartition{p})
			return err
		})
	}
	mend()
	a.retry(2, 4, p)
	a.put(f.part(p, 4, 5))
	f.wantRows(f.rows(p, 0, 5))
	f.wantNext(5, p)
}

func wantRetriable(f *fixture, what string, call func(ctx context.Context) error) {
	f.Helper()
	if err := call(f.ctx()); !connect.IsRetriable(err) {
		f.Fatalf("%s during an outage gave %v, want a Retriable error", what, err)
	}
}

// testLostAnswer: the commit happened, and nobody was told. Positions tells.
func testLostAnswer(f *fixture) {
	f.need(f.store.LoseAnswer != nil, "Store.LoseAnswer")
	a, p, q := f.sink(), f.tp(0), f.tp(1)
	a.open(0, p, q)
	f.store.LoseAnswer(f.TB)
	_, err := a.try(f.ctx(), f.part(p, 0, 3), f.part(q, 0, 2))
	if !connect.IsRetriable(err) {
		f.Fatalf("a Put whose answer was lost gave %v, want a Retriable error", err)
	}
	// The worker may ask first, or try again and be fenced.
	a.fenced([]connect.TopicPartition{p, q}, f.part(p, 0, 3), f.part(q, 0, 2))
	if at := a.positions(p, q); at[0].Next != 3 || at[1].Next != 2 {
		f.Fatalf("after a lost answer Positions says %d and %d, want 3 and 2", at[0].Next, at[1].Next)
	}
	a.put(f.part(p, 3, 4))
	f.wantRows(f.rows(p, 0, 4), f.rows(q, 0, 2))
}

// testCancelled: a call whose context has ended returns at once, with an error
// that blames no record, and has done all or nothing.
func testCancelled(f *fixture) {
	a, p, q := f.sink(), f.tp(0), f.tp(1)
	a.open(0, p)
	a.put(f.part(p, 0, 1))
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	refuses := func(what string, call func() error) {
		f.Helper()
		err := f.prompt(what, call)
		if err == nil {
			f.Fatalf("%s succeeded with a context that had ended", what)
		}
		wantNoBlame(f, what, err)
	}
	refuses("Open", func() error {
		_, err := a.Open(ended, a.claims(9, []connect.TopicPartition{q}))
		return err
	})
	refuses("Put", func() error {
		_, err := a.try(ended, f.part(p, 1, 3))
		return err
	})
	if s, ok := a.Sink.(connect.OffsetStore); ok {
		refuses("Positions", func() error {
			_, err := s.Positions(ended, []connect.TopicPartition{p})
			return err
		})
	}
	b := f.sink()
	b.open(0, p)
	_ = f.prompt("Release", func() error { return b.Release(ended, []connect.TopicPartition{p}) })

	// The sink is as good as before.
	a.retry(1, 3, p)
	a.open(4, q)
	f.wantNext(4, q)
	a.put(f.part(q, 4, 5), f.part(p, 3, 4))
	f.wantRows(f.rows(p, 0, 4), f.rows(q, 4, 5))
	f.wantNext(4, p)
}

// wantNoBlame: the end of a context is nobody's fault.
func wantNoBlame(f *fixture, what string, err error) {
	f.Helper()
	var bad *connect.BadDataError
	var fence *connect.FencedError
	var refused *connect.RefusedError
	if errors.As(err, &bad) || errors.As(err, &fence) || errors.As(err, &refused) {
		f.Fatalf("%s, stopped by its context, gave %v", what, err)
	}
}

// testStalled: a target that does not answer holds a Put no longer than its
// context, and what then became of the batch is all or nothing.
func testStalled(f *fixture) {
	f.need(f.store.Stall != nil, "Store.Stall")
	a, p, q := f.sink(), f.tp(0), f.tp(1)
	a.open(0, p, q)
	free := f.undo(f.store.Stall(f.TB))
	stopped := func(what string, call func(ctx context.Context) error) error {
		f.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		err := f.prompt(what, func() error { return call(ctx) })
		wantNoBlame(f, what, err)
		return err
	}
	parts := []connect.Part{f.part(p, 0, 2), f.part(q, 0, 2)}
	if err := stopped("Put", func(ctx context.Context) error {
		_, err := a.try(ctx, parts...)
		return err
	}); err == nil {
		f.Fatal("Put succeeded on a target that did not answer")
	}
	// A target may go on answering these; they must not outlive their context.
	_ = stopped("Open", func(ctx context.Context) error {
		_, err := a.Open(ctx, a.claims(0, []connect.TopicPartition{p, q}))
		return err
	})
	if s, ok := a.Sink.(connect.OffsetStore); ok {
		_ = stopped("Positions", func(ctx context.Context) error {
			_, err := s.Positions(ctx, []connect.TopicPartition{p, q})
			return err
		})
	}
	b := f.sink()
	_ = stopped("Release", func(ctx context.Context) error { return b.Release(ctx, []connect.TopicPartition{p}) })
	free()
	if !f.target.NoOffsets {
		if at := f.sink().open(0, p, q); at[0].Next != at[1].Next {
			f.Fatalf("half of the batch was stored: %s stands at %d, %s at %d", p, at[0].Next, q, at[1].Next)
		}
	}
	a.retry(0, 2, p)
	a.retry(0, 2, q)
	f.wantRows(f.rows(p, 0, 2), f.rows(q, 0, 2))
}

// testBusy: a ledger row that another transaction holds keeps only its own
// partition waiting.
func testBusy(f *fixture) {
	f.need(f.store.Hold != nil, "Store.Hold")
	a, tps := f.sink(), f.tps(3)
	a.open(0, tps...)
	free := f.undo(f.store.Hold(f.TB, tps[1]))
	parts := []connect.Part{f.part(tps[0], 0, 2), f.part(tps[1], 0, 2), f.part(tps[2], 0, 2)}
	_, err := a.try(f.ctx(), parts...)
	f.wantFenced(err, nil, tps[1:2])
	f.wantRows()
	a.put(parts[0], parts[2])
	f.wantRows(f.rows(tps[0], 0, 2), f.rows(tps[2], 0, 2))
	free()
	a.retry(0, 2, tps[1])
	f.wantRows(f.rows(tps[0], 0, 2), f.rows(tps[1], 0, 2), f.rows(tps[2], 0, 2))
}

// testReset: a reset closes the generation, so that what began before it is
// fenced, and Positions leads the same sink into the next one.
func testReset(f *fixture) {
	f.need(f.store.Reset != nil, "Store.Reset")
	a, b, p := f.sink(), f.sink(), f.tp(0)
	a.open(0, p)
	b.open(0, p)
	a.put(f.part(p, 0, 5))
	// To where the partition stands already: only the generation tells the zombie.
	f.store.Reset(f.TB, p, 5)
	a.fenced([]connect.TopicPartition{p}, f.part(p, 5, 6))
	if at := a.positions(p)[0]; at.Next != 5 {
		f.Fatalf("after the reset Positions says %d, want 5", at.Next)
	}
	a.put(f.part(p, 5, 7))
	b.fenced([]connect.TopicPartition{p}, f.part(p, 7, 8))
	f.wantRows(f.rows(p, 0, 7))

	f.store.Reset(f.TB, p, 9)
	a.fenced([]connect.TopicPartition{p}, f.part(p, 7, 8))
	if at := a.open(0, p)[0]; at.Next != 9 {
		f.Fatalf("after the reset Open says %d, want 9", at.Next)
	}
	a.put(f.part(p, 9, 11))
	f.wantRows(f.rows(p, 0, 7), f.rows(p, 9, 11))
	f.wantNext(11, p)
}

// testRestoredStore: a backup brings back rows and ledger together, and the sink
// refills what was lost with it.
func testRestoredStore(f *fixture) {
	f.need(f.store.Snapshot != nil, "Store.Snapshot")
	a, p := f.sink(), f.tp(0)
	a.open(0, p)
	a.put(f.part(p, 0, 3))
	restore := f.store.Snapshot(f.TB)
	a.put(f.part(p, 3, 9))
	restore()
	f.wantRows(f.rows(p, 0, 3))
	a.steady(p)
	if at := a.positions(p)[0]; at.Next != 3 {
		f.Fatalf("after the restore Positions says %d, want 3", at.Next)
	}
	a.fenced([]connect.TopicPartition{p}, f.part(p, 9, 10))
	a.put(f.part(p, 3, 9))
	a.put(f.part(p, 9, 10))
	f.wantRows(f.rows(p, 0, 10))
	f.wantNext(10, p)
}

// testRelease: what one sink gives back another goes on with.
func testRelease(f *fixture) {
	a, b, p, q := f.sink(), f.sink(), f.tp(0), f.tp(1)
	a.open(0, p, q)
	a.put(f.part(p, 0, 3), f.part(q, 0, 1))
	release := func(o *owner, tps ...connect.TopicPartition) {
		f.Helper()
		if err := o.Release(f.ctx(), tps); err != nil {
			f.Fatalf("Release: %v", err)
		}
	}
	release(a, p)
	if at := b.open(0, p)[0]; !f.target.NoOffsets && at.Next != 3 {
		f.Fatalf("after Release the next sink opens at %d, want 3", at.Next)
	}
	b.put(f.part(p, 3, 5))
	a.put(f.part(q, 1, 2)) // the partition that was kept
	release(b, p)
	if at := a.open(0, p)[0]; !f.target.NoOffsets && at.Next != 5 {
		f.Fatalf("opened again at %d, want 5", at.Next)
	}
	a.put(f.part(p, 5, 6), f.part(q, 2, 3))
	release(a, q, p)
	release(a, p) // after a failed session it may come once more
	f.wantRows(f.rows(p, 0, 6), f.rows(q, 0, 3))
}

// testClose: a second Close does nothing, and neither takes anything from others.
func testClose(f *fixture) {
	c := f.connector()
	first := f.sink() // the connector's Init
	a, b, p, q := f.task(c, 0), f.task(c, 1), f.tp(0), f.tp(1)
	a.open(0, p)
	b.open(0, q)
	a.put(f.part(p, 0, 1))
	for _, o := range []*owner{a, a, first, first} {
		if err := o.Close(); err != nil {
			f.Fatalf("Close: %v", err)
		}
	}
	b.put(f.part(q, 0, 1))
	b.open(0, p)
	b.put(f.part(p, 1, 2))
	f.wantRows(f.rows(p, 0, 2), f.rows(q, 0, 1))
}

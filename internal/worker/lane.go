package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/qicore/tickconnect/connect"
)

// lane drives one task: it feeds the task events, makes the calls on the
// task's own sink that the task decides on, one at a time, and gives the
// results back. Everything of the task happens on the goroutine of run.
type lane struct {
	w    *Worker
	id   int
	sink connect.Sink
	task *task

	boxes   map[connect.TopicPartition]*inbox // of the task's partitions; run's goroutine only
	waiters []waiter                          // likewise

	mu     sync.Mutex
	posted []func()
	dirty  []*inbox
	cancel context.CancelFunc // of the call in flight
	// cancelled says that the call in flight is given up; also one that is about to
	// begin, since what decided on it came before.
	cancelled bool
	wake      chan struct{}

	view laneView
}

// waiter is closed once a session has nothing on the lane any more.
type waiter struct {
	sess connect.Session
	done chan struct{}
}

func newLane(w *Worker, id int, sink connect.Sink) *lane {
	l := &lane{w: w, id: id, sink: sink, boxes: map[connect.TopicPartition]*inbox{}, wake: make(chan struct{}, 1)}
	_, hasOffsets := sink.(connect.OffsetStore)
	l.task = newTask(w.settings.limits(hasOffsets, w.share.Load), l, rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())))
	return l
}

// run serves the task until ctx ends and all that it owned was given back.
func (l *lane) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		l.takeEvents()
		now := time.Now()
		c, at := l.task.next(now)
		if c.kind != callNone {
			l.do(ctx, c)
			l.settle()
			continue
		}
		l.settle()
		if at.IsZero() {
			at = now.Add(time.Hour)
		}
		if l.view.stale {
			at = earlier(at, now.Add(viewEvery))
		}
		timer.Reset(time.Until(at))
		select {
		case <-l.wake:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

// post has f run on the lane's goroutine, between two calls.
func (l *lane) post(f func()) {
	l.mu.Lock()
	l.posted = append(l.posted, f)
	l.mu.Unlock()
	l.ring()
}

// arrived says that an inbox has records.
func (l *lane) arrived(b *inbox) {
	l.mu.Lock()
	l.dirty = append(l.dirty, b)
	l.mu.Unlock()
	l.ring()
}

func (l *lane) ring() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *lane) takeEvents() {
	l.mu.Lock()
	posted, dirty := l.posted, l.dirty
	l.posted, l.dirty = nil, nil
	l.cancelled = false
	l.mu.Unlock()
	// Inboxes first: what a session delivered before its end is stored if it can be.
	for _, b := range dirty {
		records := b.take()
		l.task.arrive(b.sess, b.TopicPartition, records)
		clear(records)
	}
	for _, f := range posted {
		f()
	}
}

// settle brings the inboxes, the waiters and the status up to date with the task.
func (l *lane) settle() {
	for tp, b := range l.boxes {
		p := l.task.parts[tp]
		if p == nil || p.sess != b.sess {
			b.close()
			delete(l.boxes, tp)
			l.w.boxClosed()
			continue
		}
		if p.lost {
			b.close()
		}
		b.setHeld(p.bytes)
	}
	rest := l.waiters[:0]
	for _, wt := range l.waiters {
		if l.task.owns(wt.sess) {
			rest = append(rest, wt)
		} else {
			close(wt.done)
		}
	}
	l.waiters = rest
	l.show()
}

// releaseCallTimeout bounds a sink's own Release, after the last Put.
const releaseCallTimeout = time.Second

// do makes one call on the sink and feeds its result to the task.
func (l *lane) do(ctx context.Context, c call) {
	limit := l.w.settings.PutTimeout
	if c.kind == callRelease {
		limit = releaseCallTimeout // a rebalance waits for it
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	l.mu.Lock()
	l.cancel = cancel
	if l.cancelled {
		cancel()
	}
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		l.cancel = nil
		l.mu.Unlock()
	}()
	switch c.kind {
	case callOpen:
		l.open(ctx, c.opening)
	case callPut:
		start := time.Now()
		res, err := l.traced(ctx, c.batch, func(ctx context.Context) (connect.Result, error) { return l.put(ctx, c.batch) })
		l.w.metrics.put(l.id, c.batch, time.Since(start), err)
		l.task.put(c.batch, res, err, time.Now())
	case callPositions:
		pos, err := guard(l.w, true, func() ([]connect.Position, error) {
			return l.sink.(connect.OffsetStore).Positions(ctx, c.tps)
		})
		l.task.positions(c.tps, pos, err, time.Now())
	case callRelease:
		if err := safely(func() error { return l.sink.Release(ctx, c.tps) }); err != nil {
			l.w.log.Debug("releasing partitions", "task", l.id, "err", err)
		}
		l.task.releasedParts(c.tps)
	case callNone:
	}
}

func (l *lane) put(ctx context.Context, b *connect.Batch) (connect.Result, error) {
	for i := range b.Parts {
		if err := b.Parts[i].Check(); err != nil {
			return connect.Result{}, fmt.Errorf("batch not put: %w", err)
		}
	}
	if !l.task.cfg.hasOffsets {
		if err := l.w.publishBad(ctx, b); err != nil {
			return connect.Result{}, err
		}
	}
	res, err := guard(l.w, false, func() (connect.Result, error) { return l.sink.Put(ctx, b) })
	if err == nil && len(res.Counts) != len(b.Parts) {
		// It did happen; the ledger says so when it is read.
		err = connect.Retriable(fmt.Errorf("the sink counted %d of %d partitions", len(res.Counts), len(b.Parts)))
	}
	return res, err
}

// guard makes a call on the target through the connector's circuit breaker. An
// opening goes round it: what fails for one topic must not stop the others. A
// read of the ledger that works is no success to it: of a database that became
// read-only, reads work and writes fail.
func guard[T any](w *Worker, reads bool, f func() (T, error)) (T, error) {
	var out T
	done, err := w.breaker.Allow()
	if err != nil {
		return out, connect.Retriable(fmt.Errorf("not tried: %w; last error: %s", err, w.lastTrouble()))
	}
	err = safely(func() (err error) { out, err = f(); return err })
	switch {
	case connect.IsRetriable(err):
		w.trouble(err)
		done(err)
	case reads:
		done(errOnlyRead)
	default:
		done(nil)
	}
	return out, err
}

// errOnlyRead is a result that says nothing about the target's health.
var errOnlyRead = errors.New("only read")

// safely makes a panic an error that the operator sees, and the end of a
// call's context an outage: whether the call happened is not known.
func safely(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	err = f()
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return connect.Retriable(err)
	}
	return err
}

// cancelCall ends the call in flight: whether it happened is then not known.
func (l *lane) cancelCall() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cancelled = true
	if l.cancel != nil {
		l.cancel()
	}
}

// The task's effects.

func (l *lane) answer(o *opening, starts map[int32]int64, err error) {
	l.w.openings.answer(o, l, starts, err)
}

func (l *lane) reopen(s connect.Session) { s.Reopen() }

func (l *lane) prove(p *part, s span) { l.w.prover.ask(l, p.sess, p.TopicPartition, s) }

func (l *lane) stored(p *part, c connect.Counts, bad []connect.Record) {
	p.sess.Mark(p.Partition, p.next)
	l.w.metrics.stored(p.TopicPartition, c, bad)
	if len(bad) > 0 {
		l.w.hasDeadLetters(p.TopicPartition, bad)
	}
}

func (l *lane) note(what trouble, tp connect.TopicPartition, err error) {
	args := []any{"task", l.id, "topic", tp.Topic, "partition", tp.Partition, "err", l.w.redact(err)}
	switch what {
	case troubleFailed:
		l.w.log.Error("partition failed", args...)
	case troubleRefused:
		l.w.log.Error("partition refused", args...)
	case troubleOpen:
		l.w.log.Error("partitions cannot be opened", args...)
	case troubleLedger:
		l.w.log.Error("the ledger cannot be read", args...)
	}
}

// owns says whether anything of a session is left.
func (t *task) owns(sess connect.Session) bool {
	for _, o := range t.openings {
		if o.sess == sess {
			return true
		}
	}
	for _, p := range t.order {
		if p.sess == sess {
			return true
		}
	}
	return false
}

var errSessionEnded = errors.New("the session has ended")

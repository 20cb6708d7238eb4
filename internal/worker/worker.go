// Package worker moves records from a source to a sink: it decides when to
// store, what to do about errors, and never lets an offset pass whose record is
// neither stored, dead-lettered nor shown to be absent. It knows neither the
// kind of source nor the kind of target.
package worker

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
	"go.opentelemetry.io/otel/trace"

	"github.com/qicore/tickconnect/connect"
)

// Options are what a worker needs beside its source and its connector.
type Options struct {
	Log *slog.Logger
	// Metrics may be shared by the workers of a process; nil measures nothing.
	Metrics *Metrics
	// Publisher publishes dead letters where a topic is configured for them.
	Publisher connect.Publisher
	// InitialClaims lists the partitions that exist when the connector is made, with
	// the offsets at which they begin; nil lets each begin at its log's start.
	InitialClaims func(context.Context) ([]connect.Claim, error)
	// Redact removes secrets from a text before anyone sees it.
	Redact func(string) string
	// Tracer makes spans of Puts; nil traces nothing.
	Tracer trace.Tracer
}

// Worker runs one connector in this process: its tasks and its source.
type Worker struct {
	name      string
	settings  Settings
	source    connect.Source
	connector connect.Connector
	preparer  connect.Preparer // nil where the connector takes raw records
	opts      Options
	log       *slog.Logger
	metrics   *connectorMetrics

	lanes      []*lane
	openings   *openingBook
	prover     *prover
	breaker    *gobreaker.TwoStepCircuitBreaker[struct{}]
	share      atomic.Int64 // bytes that each open partition may hold
	open       atomic.Int64 // partitions open
	sessions   sync.Map     // connect.Session -> *sessionBoxes
	last       atomic.Pointer[string]
	failure    atomic.Pointer[string] // why the connector as a whole does not run
	outbox     chan struct{}
	unprepared unprepared
}

// sessionBoxes are the inboxes of one session, by partition.
type sessionBoxes struct {
	mu     sync.RWMutex
	boxes  map[int32]*inbox
	claims []connect.Claim
	lanes  []*lane
}

// New makes a worker. It starts nothing and waits for nothing.
func New(name string, s Settings, src connect.Source, c connect.Connector, opts Options) (*Worker, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Metrics == nil {
		opts.Metrics = NewMetrics(nil)
	}
	if opts.Redact == nil {
		opts.Redact = func(s string) string { return s }
	}
	w := &Worker{
		name: name, settings: s, source: src, connector: c, opts: opts,
		log: opts.Log.With("connector", name), outbox: make(chan struct{}, 1),
	}
	w.preparer, _ = c.(connect.Preparer)
	w.metrics = opts.Metrics.connector(w)
	w.openings = newOpeningBook(w)
	w.prover = newProver(w)
	w.breaker = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name:        name,
		MaxRequests: 1,
		Timeout:     min(s.RetryBackoffMax, 5*time.Second),
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= 5 },
		IsExcluded:  func(err error) bool { return errors.Is(err, errOnlyRead) },
		OnStateChange: func(_ string, from, to gobreaker.State) {
			w.log.Warn("circuit breaker changed", "from", from.String(), "to", to.String(), "last_err", w.lastTrouble())
		},
	})
	w.share.Store(s.QueueBytes)
	for i := range s.TasksMax {
		sink, err := c.NewSink(i)
		if err != nil {
			return nil, fmt.Errorf("making the sink of task %d: %w", i, err)
		}
		w.lanes = append(w.lanes, newLane(w, i, sink))
	}
	return w, nil
}

// Run moves records until ctx ends; then it stores what was accepted, within
// release.timeout.ms, leaves the groups, closes the sinks and returns nil. It
// outlives every outage of the broker or the target.
func (w *Worker) Run(ctx context.Context) error {
	// The lanes outlive the source: its last Releases need them.
	laneCtx, stopLanes := context.WithCancel(context.WithoutCancel(ctx))
	var lanes, helpers sync.WaitGroup
	for _, l := range w.lanes {
		lanes.Add(1)
		go func() { defer lanes.Done(); l.run(laneCtx) }()
	}
	helperCtx, stopHelpers := context.WithCancel(ctx)
	for _, f := range []func(context.Context){w.watchLogs, w.publishDeadLetters} {
		helpers.Add(1)
		go func() { defer helpers.Done(); f(helperCtx) }()
	}
	err := w.initialise(ctx)
	if err == nil {
		err = w.source.Run(ctx, w)
	}
	if err != nil && ctx.Err() == nil {
		text := w.opts.Redact(err.Error())
		w.failure.Store(&text)
	}
	stopHelpers()
	helpers.Wait()
	w.prover.wait()
	stopLanes()
	lanes.Wait()
	errs := []error{err}
	for _, l := range w.lanes {
		errs = append(errs, l.sink.Close())
	}
	errs = append(errs, w.connector.Close())
	if ctx.Err() != nil {
		errs[0] = nil
	}
	return errors.Join(errs...)
}

// initialise records where the connector's partitions begin, once in its life.
// It waits for the broker and the target.
func (w *Worker) initialise(ctx context.Context) error {
	in, ok := w.connector.(connect.Initializer)
	if !ok || w.opts.InitialClaims == nil {
		return nil
	}
	for attempt := 0; ; attempt++ {
		claims, err := w.opts.InitialClaims(ctx)
		if err == nil {
			_, err = in.Init(ctx, claims)
		}
		if err == nil {
			w.failure.Store(nil)
			return nil
		}
		pause := w.lanes[0].task.cfg.backoffMin << min(attempt, 8)
		if isOperators(err) && attempt > 3 {
			pause = w.settings.FailedRetry
		}
		text := w.opts.Redact(err.Error())
		w.failure.Store(&text)
		w.log.Warn("waiting to begin", "err", text, "retry_in", min(pause, w.settings.RetryBackoffMax))
		if !sleep(ctx, min(pause, w.settings.RetryBackoffMax)) {
			return ctx.Err()
		}
	}
}

// backoff is the pause after a failed attempt of what is tried for each partition:
// it doubles, with full jitter.
func (w *Worker) backoff(attempt int) time.Duration {
	return 1 + rand.N(min(w.settings.RetryBackoff<<min(attempt, 10), 5*time.Second))
}

// sleep waits, and says whether ctx is still good.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// laneOf gives the lane of a partition: a fixed hash, so that the next session
// of a partition queues behind the last Put of the one before.
func (w *Worker) laneOf(tp connect.TopicPartition) *lane {
	h := fnv.New32a()
	h.Write([]byte(tp.Topic))
	// Partitions of a topic go round the lanes; the hash only chooses where they begin.
	return w.lanes[(uint64(h.Sum32())+uint64(tp.Partition))%uint64(len(w.lanes))]
}

// Open implements connect.Handler.
func (w *Worker) Open(ctx context.Context, s connect.Session, claims []connect.Claim) (map[int32]int64, error) {
	w.metrics.claimed(claims)
	sb := &sessionBoxes{boxes: map[int32]*inbox{}, claims: claims}
	w.sessions.Store(s, sb)
	byLane := map[*lane][]connect.Claim{}
	for _, c := range claims {
		l := w.laneOf(c.TopicPartition)
		if byLane[l] == nil {
			sb.lanes = append(sb.lanes, l)
		}
		byLane[l] = append(byLane[l], c)
	}
	answers := make(chan openAnswer, len(byLane))
	for l, cs := range byLane {
		l.post(func() { w.openings.add(l.task.assign(s, cs), answers) })
	}
	starts := map[int32]int64{}
	for range byLane {
		select {
		case a := <-answers:
			if a.err != nil {
				return nil, a.err
			}
			for p, o := range a.starts {
				starts[p] = o
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return starts, nil
}

// Deliver implements connect.Handler.
func (w *Worker) Deliver(s connect.Session, partition int32, r connect.Record) bool {
	v, ok := w.sessions.Load(s)
	if !ok {
		return false
	}
	sb := v.(*sessionBoxes)
	sb.mu.RLock()
	b := sb.boxes[partition]
	sb.mu.RUnlock()
	return b != nil && b.deliver(r)
}

// Release implements connect.Handler.
func (w *Worker) Release(ctx context.Context, s connect.Session) {
	v, ok := w.sessions.LoadAndDelete(s)
	if !ok {
		return
	}
	sb := v.(*sessionBoxes)
	ctx, cancel := context.WithTimeout(ctx, w.settings.ReleaseTimeout)
	defer cancel()
	var done []chan struct{}
	for _, l := range sb.lanes {
		ch := make(chan struct{})
		done = append(done, ch)
		l.post(func() {
			l.task.revoke(s)
			l.waiters = append(l.waiters, waiter{s, ch})
		})
	}
	for _, ch := range done {
		select {
		case <-ch:
			continue
		case <-ctx.Done():
		}
		// The limit is over: whatever runs is cancelled and what is queued is dropped;
		// the partition's next owner reads it again.
		for _, l := range sb.lanes {
			l.post(func() { l.task.abandon(s) })
			l.cancelCall()
		}
		break
	}
	for _, ch := range done {
		<-ch
	}
}

// boxOpened and boxClosed share the memory out anew.
func (w *Worker) boxOpened() { w.shareOut(w.open.Add(1)) }
func (w *Worker) boxClosed() { w.shareOut(w.open.Add(-1)) }

func (w *Worker) shareOut(open int64) {
	w.share.Store(max(w.settings.QueueBytes/max(open, 1), 16<<10))
}

func (w *Worker) redact(err error) string {
	if err == nil {
		return ""
	}
	return w.opts.Redact(err.Error())
}

func (w *Worker) trouble(err error) {
	text := w.opts.Redact(err.Error())
	w.last.Store(&text)
}

func (w *Worker) lastTrouble() string {
	if s := w.last.Load(); s != nil {
		return *s
	}
	return "none"
}

func taskLabel(id int) string { return strconv.Itoa(id) }

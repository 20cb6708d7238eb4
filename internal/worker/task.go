package worker

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/qicore/tickconnect/connect"
)

// task decides what one lane does: what to put, isolate, retry, hold, reopen
// and release. It is a plain state machine: it is fed events, answers with the
// one call to make next on its sink, and asks for the rest through effects. It
// has no clock, no goroutine and does no I/O, so a simulation can drive it
// through any interleaving from a seed. A lane drives it in service.
type task struct {
	cfg  limits
	fx   effects
	rand *rand.Rand

	parts    map[connect.TopicPartition]*part
	order    []*part                  // by TopicPartition
	orphans  []connect.TopicPartition // opened in the sink and refused here: to be given back
	from     int                      // where the next batch begins, so that each partition has its turn
	openings []*opening
	refused  []*opening // of one claim each

	rows      int       // most records of the next batch: fewer after an outage, in case they were too many
	heldUntil time.Time // no call before: the target is away
	attempt   int       // failures in a row
	trouble   error     // the last failure of the target itself
	troubleIn callKind  // the call that failed: another kind that works does not end the trouble
	lastPut   time.Time
	checkAt   time.Time // when to compare the ledger without traffic
}

// rowsMin is how small a batch becomes at most after outages.
const rowsMin = 500

// limits are a task's numbers.
type limits struct {
	rows        int   // most records of a batch
	bytes       int64 // about the most bytes of a batch
	interval    time.Duration
	backoffMin  time.Duration
	backoffMax  time.Duration
	failedRetry time.Duration // how soon what FAILED is tried again
	checkEvery  time.Duration // how often the ledger is compared without traffic
	busyRetry   time.Duration // how soon a partition whose ledger row is locked is tried again
	tolerate    bool          // dead-letter bad records; else they fail their partition
	skipExpired bool          // count what retention took and go on; else refuse
	hasOffsets  bool          // the sink is an OffsetStore
	// share is how many bytes each partition may hold.
	share func() int64
}

// effects is what a task asks for beside the calls on its sink. None blocks.
type effects interface {
	// answer ends an opening: where each of its partitions starts, or an error.
	answer(o *opening, starts map[int32]int64, err error)
	// reopen asks for the end of a session.
	reopen(s connect.Session)
	// prove asks for a direct read of the log; the answer comes as an event.
	prove(p *part, s span)
	// stored says that a partition's ledger moved.
	stored(p *part, c connect.Counts, bad []connect.Record)
	// note tells the operator what he must mend.
	note(what trouble, p connect.TopicPartition, err error)
}

// trouble is what an operator must mend.
type trouble uint8

const (
	troubleFailed  trouble = iota // a partition's records cannot be stored
	troubleRefused                // a partition must not be read
	troubleOpen                   // a session's partitions cannot be opened
	troubleLedger                 // the ledger cannot be read
)

// opening is a session's claims on one lane, until the sink has answered.
type opening struct {
	sess     connect.Session
	claims   []connect.Claim
	notUntil time.Time
	attempt  int
	failed   error
	retry    bool // of a claim that was refused: its session goes on
	checking bool // the sink has answered; the log is being asked whether it agrees
}

// call is the one thing to do next on the sink.
type call struct {
	kind    callKind
	opening *opening
	batch   *connect.Batch
	tps     []connect.TopicPartition
}

type callKind uint8

const (
	callNone callKind = iota
	callOpen
	callPut
	callPositions
	callRelease
)

func (k callKind) String() string {
	return [...]string{"none", "open", "put", "positions", "release"}[k]
}

func newTask(cfg limits, fx effects, rnd *rand.Rand) *task {
	return &task{cfg: cfg, fx: fx, rand: rnd, rows: cfg.rows, parts: map[connect.TopicPartition]*part{}}
}

// next answers with the call to make now, or with callNone and when to ask
// again; an event may come first.
func (t *task) next(now time.Time) (call, time.Time) {
	if tps := t.toRelease(now); len(tps) > 0 {
		return call{kind: callRelease, tps: tps}, now
	}
	if now.Before(t.heldUntil) {
		return call{}, t.heldUntil
	}
	if tps := t.toCheck(now); len(tps) > 0 {
		return call{kind: callPositions, tps: tps}, now
	}
	wake := t.checkAt
	for _, o := range t.openings {
		if o.checking {
			continue
		}
		if !now.Before(o.notUntil) {
			return call{kind: callOpen, opening: o}, now
		}
		wake = earlier(wake, o.notUntil)
	}
	for _, o := range t.refused {
		if o.checking {
			continue
		}
		if !now.Before(o.notUntil) {
			return call{kind: callOpen, opening: o}, now
		}
		wake = earlier(wake, o.notUntil)
	}
	if at := t.lastPut.Add(t.cfg.interval); now.Before(at) && !t.isDraining() {
		return call{}, earlier(wake, at)
	}
	if b := t.nextBatch(now); b != nil {
		t.lastPut = now
		return call{kind: callPut, batch: b}, now
	}
	for _, p := range t.order {
		if p.notUntil.After(now) {
			wake = earlier(wake, p.notUntil)
		}
	}
	return call{}, wake
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// toRelease are the partitions of ended sessions that have nothing left which
// could be stored now: Release never waits for a target that is away.
func (t *task) toRelease(now time.Time) []connect.TopicPartition {
	tps := slices.Clone(t.orphans)
	for _, p := range t.order {
		if p.draining && (now.Before(t.heldUntil) || !p.ready(now)) {
			tps = append(tps, p.TopicPartition)
		}
	}
	return tps
}

func (t *task) isDraining() bool {
	return slices.ContainsFunc(t.order, func(p *part) bool { return p.draining })
}

// toCheck are the partitions whose ledger must be read: those that a failed Put
// left in doubt, and from time to time all.
func (t *task) toCheck(now time.Time) []connect.TopicPartition {
	if !t.cfg.hasOffsets {
		return nil
	}
	all := !t.checkAt.IsZero() && !now.Before(t.checkAt)
	var tps []connect.TopicPartition
	for _, p := range t.order {
		if !p.lost && (p.unsure || all) {
			tps = append(tps, p.TopicPartition)
		}
	}
	if len(tps) == 0 && all {
		t.checkAt = now.Add(t.cfg.checkEvery)
	}
	return tps
}

// nextBatch takes what is ready: a partition that is being isolated alone, else
// all, as far as the limits allow. Partitions take turns in being first.
func (t *task) nextBatch(now time.Time) *connect.Batch {
	b := &connect.Batch{}
	rows, bytes := t.rows, t.cfg.bytes
	from := t.from
	passed := false // one that goes alone was passed over
	for i := range t.order {
		p := t.order[(from+i)%len(t.order)]
		if !p.ready(now) {
			continue
		}
		if p.alone && len(b.Parts) > 0 {
			if !passed { // it is first in the next batch, or it would wait as long as others have traffic
				passed, t.from = true, (from+i)%len(t.order)
			}
			continue
		}
		part := p.take(rows, bytes, !t.cfg.tolerate)
		if part.Next == part.Start {
			t.failAtBad(p, now)
			continue
		}
		b.Parts = append(b.Parts, part)
		if p.alone {
			t.from = (from + i + 1) % len(t.order)
			return b
		}
		rows -= len(part.Records)
		for j := range part.Records {
			bytes -= part.Records[j].SizeBytes()
		}
		if rows <= 0 || bytes <= 0 {
			if !passed {
				t.from = (from + i + 1) % len(t.order)
			}
			break
		}
	}
	if len(b.Parts) == 0 {
		return nil
	}
	slices.SortFunc(b.Parts, func(a, b connect.Part) int { return a.Compare(b.TopicPartition) })
	return b
}

// failAtBad fails a partition whose next record is bad, where none is tolerated.
func (t *task) failAtBad(p *part, now time.Time) {
	r := &p.queue[0]
	t.fail(p, fmt.Errorf("errors.tolerance is none and %s@%d cannot be stored: %w", p.TopicPartition, r.Offset, r.Err), now)
}

func (t *task) fail(p *part, err error, now time.Time) {
	p.failed = err
	p.notUntil = now.Add(t.cfg.failedRetry)
	t.fx.note(troubleFailed, p.TopicPartition, err)
}

func (t *task) add(p *part) {
	t.parts[p.TopicPartition] = p
	i, found := slices.BinarySearchFunc(t.order, p.TopicPartition, func(q *part, tp connect.TopicPartition) int { return q.Compare(tp) })
	if found {
		t.order[i] = p
	} else {
		t.order = slices.Insert(t.order, i, p)
	}
}

func (t *task) remove(p *part) {
	if t.parts[p.TopicPartition] != p {
		return
	}
	delete(t.parts, p.TopicPartition)
	t.order = slices.DeleteFunc(t.order, func(q *part) bool { return q == p })
	if t.from >= len(t.order) {
		t.from = 0
	}
}

// hold backs off from a target that is away: exponential, with full jitter
// (AWS Architecture Blog, "Exponential Backoff And Jitter").
func (t *task) hold(in callKind, err error, now time.Time) {
	t.trouble, t.troubleIn = err, in
	t.heldUntil = now.Add(t.jitter(t.attempt))
	t.attempt++
}

func (t *task) jitter(attempt int) time.Duration {
	limit := t.cfg.backoffMax
	if attempt < 30 {
		limit = min(limit, t.cfg.backoffMin<<attempt)
	}
	return t.cfg.backoffMin/2 + time.Duration(t.rand.Int64N(int64(limit)+1))
}

func (t *task) succeeded() {
	t.attempt, t.trouble, t.heldUntil = 0, nil, time.Time{}
}

// hasWork says whether anything waits that could be stored but for the trouble.
func (t *task) hasWork() bool {
	return slices.ContainsFunc(t.order, func(p *part) bool { return p.end() > p.next })
}

// isOperators says that an error is neither an outage nor the records' fault.
func isOperators(err error) bool {
	var bad *connect.BadDataError
	var fenced *connect.FencedError
	return !connect.IsRetriable(err) && !errors.As(err, &bad) && !errors.As(err, &fenced)
}

package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/qicore/tickconnect/connect"
)

// The events that a task is fed. Results of calls come before anything else
// that happened meanwhile is looked at: one call at a time is in flight.

// assign claims a session's partitions of this lane.
func (t *task) assign(sess connect.Session, claims []connect.Claim) *opening {
	o := &opening{sess: sess, claims: claims}
	t.openings = append(t.openings, o)
	return o
}

// revoke ends a session: what it has queued is stored if that can be done now,
// then its partitions are given back.
func (t *task) revoke(sess connect.Session) {
	for i := 0; i < len(t.openings); i++ {
		if o := t.openings[i]; o.sess == sess {
			t.close(o, nil, context.Canceled)
			i--
		}
	}
	t.refused = slices.DeleteFunc(t.refused, func(o *opening) bool {
		if o.sess == sess {
			t.orphans = append(t.orphans, o.claims[0].TopicPartition)
		}
		return o.sess == sess
	})
	for _, p := range t.order {
		if p.sess == sess {
			p.draining = true
		}
	}
}

// abandon gives back at once what a revoked session still has.
func (t *task) abandon(sess connect.Session) {
	t.revoke(sess)
	for _, p := range t.order {
		if p.sess == sess {
			p.drop()
			p.lost = true
		}
	}
}

// arrive takes a record that the source delivered in a session.
func (t *task) arrive(sess connect.Session, tp connect.TopicPartition, records []connect.Record) {
	p := t.parts[tp]
	if p == nil || p.sess != sess {
		return // of a session that has ended: the next one reads it again
	}
	for i := range records {
		p.accept(records[i])
	}
	t.askProof(p)
}

// proved takes what a direct read of the log showed.
func (t *task) proved(sess connect.Session, tp connect.TopicPartition, s connect.Span) {
	p := t.parts[tp]
	if p == nil || p.sess != sess {
		return
	}
	p.proving, p.unexplained = false, nil
	if p.lost {
		return
	}
	if p.isAnother(s.TopicID) {
		t.lose(p) // the topic was made again: the next session sees it, and is refused
		return
	}
	p.prove(s)
	t.askProof(p)
}

// notProved says that reads of a partition's gap show nothing, and why.
func (t *task) notProved(sess connect.Session, tp connect.TopicPartition, err error) {
	if p := t.parts[tp]; p != nil && p.sess == sess {
		p.unexplained = err
	}
}

// notPrepared says why the next record of a partition waits before it is queued,
// or with nil that it does no more.
func (t *task) notPrepared(sess connect.Session, tp connect.TopicPartition, err error) {
	if p := t.parts[tp]; p != nil && p.sess == sess {
		p.unprepared = err
	}
}

// askProof asks for a read of the partition's gaps, unless it holds its share
// already and can store something first (promise 8).
func (t *task) askProof(p *part) {
	if len(p.gaps) == 0 || p.proving || p.lost {
		return
	}
	if p.end() > p.next && p.bytes >= t.cfg.share() {
		return
	}
	p.proving = true
	t.fx.prove(p, p.wanted())
}

// logEnd takes the log's last stable offset. Where nothing arrived since the
// last time although the log goes on, the rest is read directly: it may hold
// control records only (promise 3).
func (t *task) logEnd(tp connect.TopicPartition, id connect.TopicID, stable int64) {
	p := t.parts[tp]
	if p == nil || p.lost || p.draining || p.isAnother(id) {
		return
	}
	if p.polled == p.arrived && len(p.queue) == 0 && len(p.gaps) == 0 {
		p.expectUpTo(stable)
		t.askProof(p)
	}
	p.polled = p.arrived
}

// opened is the result of callOpen.
func (t *task) opened(o *opening, pos []connect.Position, err error, now time.Time) {
	o.checking = false
	if !slices.Contains(t.openings, o) && !slices.Contains(t.refused, o) {
		for _, c := range o.claims { // its session ended while the log was asked
			if t.parts[c.TopicPartition] == nil && !t.claimed(c.TopicPartition) {
				t.orphans = append(t.orphans, c.TopicPartition)
			}
		}
		return
	}
	if err != nil {
		o.failed = err
		if o.retry {
			o.notUntil = now.Add(t.cfg.failedRetry)
			return
		}
		if o.sess.Context().Err() != nil {
			t.close(o, nil, err)
			return
		}
		if isOperators(err) {
			o.notUntil = now.Add(t.cfg.failedRetry)
			t.fx.note(troubleOpen, o.claims[0].TopicPartition, err)
			return
		}
		// Only this opening waits: what can be stored of other topics is stored.
		o.notUntil = now.Add(t.jitter(o.attempt))
		o.attempt++
		return
	}
	if o.retry {
		t.openedAgain(o, pos[0], now)
		return
	}
	starts := map[int32]int64{}
	for i, c := range o.claims {
		start, err := t.start(c, pos[i])
		if err != nil {
			t.fx.note(troubleRefused, c.TopicPartition, err)
			t.refuse(o.sess, c, err, now)
			continue
		}
		p := newPart(o.sess, c, pos[i].Next)
		p.unaccounted = pos[i].Unaccounted
		if start > p.next && !p.noLedger {
			p.expired = append(p.expired, span{p.next, start})
			p.arrived = start
		}
		t.add(p)
		starts[c.Partition] = start
	}
	if t.cfg.hasOffsets && t.checkAt.IsZero() {
		t.checkAt = now.Add(t.cfg.checkEvery)
	}
	t.close(o, starts, nil)
}

// claimed says whether a later session asks for the partition: the sink may have
// opened it for that one by now, and must keep it.
func (t *task) claimed(tp connect.TopicPartition) bool {
	for _, o := range slices.Concat(t.openings, t.refused) {
		if slices.ContainsFunc(o.claims, func(c connect.Claim) bool { return c.TopicPartition == tp }) {
			return true
		}
	}
	return false
}

// refuse keeps a claim from being read, and asks again now and then: once the
// operator has mended what was wrong, the session is opened anew.
func (t *task) refuse(sess connect.Session, c connect.Claim, err error, now time.Time) {
	t.refused = append(t.refused, &opening{
		sess: sess, claims: []connect.Claim{c}, failed: err, retry: true, notUntil: now.Add(t.cfg.failedRetry),
	})
}

func (t *task) openedAgain(o *opening, pos connect.Position, now time.Time) {
	if _, err := t.start(o.claims[0], pos); err != nil {
		o.failed, o.notUntil = err, now.Add(t.cfg.failedRetry)
		return
	}
	t.refused = slices.DeleteFunc(t.refused, func(q *opening) bool { return q == o })
	t.fx.reopen(o.sess)
}

// start says where a claim is read from, or why it must not be read.
func (t *task) start(c connect.Claim, pos connect.Position) (int64, error) {
	switch {
	case pos.Err != nil:
		return 0, pos.Err
	case pos.Next == connect.NoOffset:
		return connect.NoOffset, nil
	case pos.Next > c.LogEnd:
		return 0, &connect.RefusedError{
			At:     c.TopicPartition,
			Reason: fmt.Sprintf("the ledger stands at %d but the log ends at %d", pos.Next, c.LogEnd),
			Advice: "the topic was made again or lost records; if so, run connector offsets reset for it",
		}
	case pos.Next < c.LogStart && !t.cfg.skipExpired:
		return 0, &connect.RefusedError{
			At:     c.TopicPartition,
			Reason: fmt.Sprintf("retention has deleted offsets %d to %d before they were read", pos.Next, c.LogStart-1),
			Advice: "set offsets.expired to continue, to count them as expired and go on",
		}
	}
	return max(pos.Next, c.LogStart), nil
}

func (t *task) close(o *opening, starts map[int32]int64, err error) {
	if i := slices.Index(t.openings, o); i >= 0 {
		t.openings = slices.Delete(t.openings, i, i+1)
		t.fx.answer(o, starts, err)
	}
}

// put is the result of callPut.
func (t *task) put(b *connect.Batch, res connect.Result, err error, now time.Time) {
	var bad *connect.BadDataError
	var fenced *connect.FencedError
	switch {
	case err == nil:
		t.succeeded()
		t.rows = min(t.rows*2, t.cfg.rows)
		for i := range b.Parts {
			t.storedPart(&b.Parts[i], res.Counts[i])
		}
	case errors.As(err, &fenced):
		t.fenced(fenced, now)
	case errors.As(err, &bad):
		t.isolate(b, bad, now)
	case connect.IsRetriable(err) || errors.Is(err, context.Canceled):
		// Whether it was committed is not known: for all of the lane's partitions the
		// ledger is read before anything else is stored.
		for _, p := range t.order {
			p.unsure = t.cfg.hasOffsets
		}
		t.rows = min(t.cfg.rows, max(t.rows/2, rowsMin)) // a statement may have run out of time
		t.hold(callPut, err, now)
	default:
		t.blame(b, err, now)
	}
}

func (t *task) storedPart(part *connect.Part, c connect.Counts) {
	p := t.parts[part.TopicPartition]
	if p == nil {
		return
	}
	var dead []connect.Record
	if c.DeadLettered > 0 {
		for i := range part.Records {
			if part.Records[i].Err != nil {
				dead = append(dead, part.Records[i])
			}
		}
	}
	p.trim(part.Next)
	p.failed, p.fences, p.notUntil = nil, 0, time.Time{}
	p.limit *= 2
	t.fx.stored(p, c, dead)
	t.askProof(p)
}

func (t *task) fenced(e *connect.FencedError, now time.Time) {
	if len(e.Moved)+len(e.Busy) == 0 {
		t.hold(callPut, e, now)
		return
	}
	for _, tp := range e.Moved {
		if p := t.parts[tp]; p != nil {
			p.unsure = t.cfg.hasOffsets
			if p.fences++; p.fences > 1 {
				p.notUntil = now.Add(t.jitter(p.fences))
			}
		}
	}
	for _, tp := range e.Busy {
		if p := t.parts[tp]; p != nil {
			p.notUntil = now.Add(t.cfg.busyRetry)
		}
	}
}

// isolate narrows a batch that holds a record which the target refuses: by
// partition, then by halves, until one record is left. Where the target named
// the record, it is rejected at once.
func (t *task) isolate(b *connect.Batch, bad *connect.BadDataError, now time.Time) {
	if bad.Offset >= 0 {
		if p := t.parts[bad.At]; p != nil && p.reject(bad.Offset, bad.Record) {
			t.askProof(p)
			return
		}
	}
	if len(b.Parts) > 1 {
		for i := range b.Parts {
			if p := t.parts[b.Parts[i].TopicPartition]; p != nil {
				p.alone, p.isolateEnd = true, b.Parts[i].Next
			}
		}
		return
	}
	part := &b.Parts[0]
	p := t.parts[part.TopicPartition]
	if p == nil {
		return
	}
	var good []int64
	for i := range part.Records {
		if r := &part.Records[i]; r.Err == nil && !r.Filtered {
			good = append(good, r.Offset)
		}
	}
	switch len(good) {
	case 0: // no record of ours is to blame
		t.fail(p, bad, now)
	case 1:
		if p.reject(good[0], bad.Record) {
			t.askProof(p)
		}
	default:
		if !p.alone {
			p.isolateEnd = part.Next
		}
		p.alone, p.limit = true, len(good)/2
	}
}

// blame takes an error that only the operator can mend. Where the batch had
// several partitions, each is tried alone, so that those not concerned go on.
func (t *task) blame(b *connect.Batch, err error, now time.Time) {
	if len(b.Parts) == 1 {
		if p := t.parts[b.Parts[0].TopicPartition]; p != nil {
			p.alone, p.isolateEnd = true, b.Parts[0].Next
			t.fail(p, err, now)
		}
		return
	}
	for i := range b.Parts {
		if p := t.parts[b.Parts[i].TopicPartition]; p != nil {
			p.alone, p.isolateEnd = true, b.Parts[i].Next
		}
	}
}

// positions is the result of callPositions.
func (t *task) positions(tps []connect.TopicPartition, pos []connect.Position, err error, now time.Time) {
	if err == nil && len(pos) != len(tps) {
		err = fmt.Errorf("the sink answered %d of %d positions", len(pos), len(tps))
	}
	if err != nil {
		t.hold(callPositions, err, now)
		if isOperators(err) {
			t.heldUntil = now.Add(t.cfg.failedRetry)
			t.fx.note(troubleLedger, tps[0], err)
		}
		return
	}
	if !now.Before(t.checkAt) {
		t.checkAt = now.Add(t.cfg.checkEvery)
	}
	for i, tp := range tps {
		p := t.parts[tp]
		if p == nil || p.lost {
			continue
		}
		p.unsure, p.unaccounted = false, pos[i].Unaccounted
		switch next := pos[i].Next; {
		case pos[i].Err != nil:
			t.fx.note(troubleRefused, tp, pos[i].Err)
			t.lose(p)
		case next == p.next:
		case next == connect.NoOffset || next < p.next:
			// The ledger lies before what memory holds: a restored database, or a reset.
			t.lose(p)
		default:
			p.trim(next)
			t.askProof(p)
		}
	}
	if t.troubleIn == callPositions || !t.hasWork() {
		t.succeeded()
	}
}

// lose gives up what memory holds of a partition and asks for its session to
// end, so that the next one starts where the ledger stands.
func (t *task) lose(p *part) {
	p.drop()
	p.lost = true
	t.fx.reopen(p.sess)
}

// releasedParts is the result of callRelease; an error of it changes nothing.
func (t *task) releasedParts(tps []connect.TopicPartition) {
	t.orphans = nil
	for _, tp := range tps {
		if p := t.parts[tp]; p != nil && p.draining {
			t.remove(p)
		}
	}
}

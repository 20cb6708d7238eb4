package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/qicore/tickconnect/connect"
)

// logCheckTimeout bounds one look at the log before a session's partitions are
// read; it is tried again.
const logCheckTimeout = 5 * time.Second

// open asks the sink where claims stand. Whether the log agrees is asked beside
// the lane, which must not wait for brokers: the answer comes as an event.
func (l *lane) open(ctx context.Context, o *opening) {
	var pos []connect.Position
	err := safely(func() (err error) { pos, err = l.sink.Open(ctx, o.claims); return err })
	if err == nil && len(pos) != len(o.claims) {
		err = fmt.Errorf("the sink answered %d of %d claims", len(pos), len(o.claims))
	}
	if err != nil {
		l.task.opened(o, nil, err, time.Now())
		return
	}
	o.checking = true
	l.w.prover.wg.Add(1)
	go func() {
		defer l.w.prover.wg.Done()
		claims, pos, err := l.w.checkLog(o.sess.Context(), o.claims, pos)
		l.post(func() {
			if err == nil {
				o.claims = claims
			}
			l.task.opened(o, pos, err, time.Now())
		})
	}()
}

// checkLog asks the log whether it is the one that the ledger speaks of.
//
// Of a claim whose ledger lies outside the log as it was claimed, the ends are
// read again: its last owner may have stored more since. And the last stored
// record must still be there, with its time: a topic made again, where brokers
// give no ids, or a log that lost records and grew again, has another one.
func (w *Worker) checkLog(ctx context.Context, claims []connect.Claim, pos []connect.Position) ([]connect.Claim, []connect.Position, error) {
	claims = append([]connect.Claim{}, claims...)
	var outside []connect.TopicPartition
	for i, c := range claims {
		if next := pos[i].Next; next != connect.NoOffset && (next > c.LogEnd || next < c.LogStart) {
			outside = append(outside, c.TopicPartition)
		}
	}
	if len(outside) > 0 {
		ctx, cancel := context.WithTimeout(ctx, logCheckTimeout)
		bounds, err := w.source.Log().Bounds(ctx, outside)
		cancel()
		if err != nil {
			return nil, nil, connect.Retriable(fmt.Errorf("reading the ends of the logs: %w", err))
		}
		for i := range claims {
			if b, ok := bounds[claims[i].TopicPartition]; ok {
				claims[i].LogStart, claims[i].LogEnd = b.Start, b.End
			}
		}
	}
	for i, c := range claims {
		p := &pos[i]
		if p.Err != nil || p.LastTimestamp < 0 || p.LastOffset < c.LogStart || p.LastOffset >= c.LogEnd {
			continue
		}
		if err := w.checkLast(ctx, c.TopicPartition, p); err != nil {
			return nil, nil, err
		}
	}
	return claims, pos, nil
}

func (w *Worker) checkLast(ctx context.Context, tp connect.TopicPartition, p *connect.Position) error {
	ctx, cancel := context.WithTimeout(ctx, logCheckTimeout)
	defer cancel()
	s, err := w.source.Log().Read(ctx, tp, p.LastOffset, p.LastOffset+1)
	if err != nil {
		return connect.Retriable(fmt.Errorf("reading the last stored record of %s: %w", tp, err))
	}
	for i := range s.Records {
		if r := &s.Records[i]; r.Offset == p.LastOffset && r.Timestamp != p.LastTimestamp {
			p.Err = &connect.RefusedError{
				At:     tp,
				Reason: fmt.Sprintf("the record at offset %d is another than the one that was stored: the topic was made again, or lost records", p.LastOffset),
				Advice: "run connector offsets reset for this topic",
			}
		}
	}
	return nil
}

package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/qicore/tickconnect/connect"
)

// prover reads logs directly, to explain offsets for which no record came and
// to bring back the exact bytes of bad records. A read that fails is tried
// again until its session ends.
type prover struct {
	w     *Worker
	slots chan struct{} // bounds the reads at one time, and so their memory
	wg    sync.WaitGroup
}

const (
	proverReadsMax = 8
	// proverTimeout bounds one read, so that a broker that is away does not keep the
	// others' partitions from being read.
	proverTimeout = 3 * time.Second
	// unexplainedAfter is after how many reads that showed nothing the operator is told.
	unexplainedAfter = 5
)

var errShowsNothing = errors.New("the broker answers with nothing")

func newProver(w *Worker) *prover {
	return &prover{w: w, slots: make(chan struct{}, proverReadsMax)}
}

func (v *prover) wait() { v.wg.Wait() }

func (v *prover) ask(l *lane, sess connect.Session, tp connect.TopicPartition, s span) {
	v.wg.Add(1)
	go func() {
		defer v.wg.Done()
		if out, ok := v.read(sess.Context(), l, sess, tp, s); ok {
			l.post(func() { l.task.proved(sess, tp, out) })
		}
	}()
}

func (v *prover) read(ctx context.Context, l *lane, sess connect.Session, tp connect.TopicPartition, s span) (connect.Span, bool) {
	for attempt := 0; ; attempt++ {
		select {
		case v.slots <- struct{}{}:
		case <-ctx.Done():
			return connect.Span{}, false
		}
		readCtx, cancel := context.WithTimeout(ctx, proverTimeout)
		out, err := v.w.source.Log().Read(readCtx, tp, s.from, s.to)
		cancel()
		<-v.slots
		if err == nil && out.Next > s.from {
			v.w.metrics.proved(tp.Topic, out)
			return out, l.prepareAll(sess, tp, out.Records)
		}
		if attempt == unexplainedAfter {
			why := fmt.Errorf("offsets %d to %d of the log cannot be explained yet, so nothing after them is stored: %w", s.from, s.to-1, cmp.Or(err, errShowsNothing))
			l.post(func() { l.task.notProved(sess, tp, why) })
			v.w.log.Warn("offsets cannot be explained yet", "topic", tp.Topic, "partition", tp.Partition,
				"from", s.from, "to", s.to, "err", v.w.redact(err))
		}
		if !sleep(ctx, v.w.backoff(attempt)) {
			return connect.Span{}, false
		}
	}
}

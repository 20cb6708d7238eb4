package worker

import (
	"errors"
	"fmt"
	"sync"

	"github.com/qicore/tickconnect/connect"
)

const (
	slabMinBytes = 4 << 10
	slabMaxBytes = 64 << 10
	// timestampMax is the last millisecond of the year 9999.
	timestampMax = 253402300799999
)

// prepare makes a record's row in the slab, or notes that it is filtered or
// bad. It returns the rest of the slab. Of a good record the raw bytes are
// dropped unless keepRaw says otherwise. An error is an outage of what the
// connector needs for it: the record is as it was, and is prepared again later
// (promise 6).
func (w *Worker) prepare(slab []byte, tp connect.TopicPartition, r *connect.Record, keepRaw bool) ([]byte, error) {
	if r.Timestamp < 0 || r.Timestamp > timestampMax {
		// A producer that sends another unit: no target can hold such a time, and the
		// two ways of reading a log do not agree on it.
		r.Timestamp = connect.NoTimestamp
	}
	if w.preparer == nil {
		return slab, nil
	}
	if cap(slab)-len(slab) < len(r.Value)+128 {
		slab = make([]byte, 0, w.slabBytes(len(r.Value)+128))
	}
	row, err := w.prepareSafely(slab[len(slab):len(slab):cap(slab)], tp, r)
	if err != nil {
		return slab, notPrepared(r, err)
	}
	r.Row = row[:len(row):len(row)]
	if len(row) <= cap(slab)-len(slab) {
		slab = slab[:len(slab)+len(row)]
	}
	if !keepRaw {
		r.Key, r.Value, r.Headers = nil, nil, nil
	}
	return slab, nil
}

// notPrepared notes what is wrong with a record, and returns an outage as it is.
// It is apart from prepare, where its variable would cost each good record an
// allocation.
func notPrepared(r *connect.Record, err error) error {
	var bad *connect.RecordError
	switch {
	case connect.IsRetriable(err):
		return err
	case errors.Is(err, connect.ErrFiltered):
		r.Filtered = true
		r.Key, r.Value, r.Headers = nil, nil, nil
	case errors.As(err, &bad):
		r.Err = bad
	default:
		r.Err = &connect.RecordError{Stage: connect.StageValueConverter, Reason: "unknown", Message: err.Error()}
	}
	return nil
}

// waitPrepared tries again to prepare a record whose first attempt found away. It
// returns false where the session ended before.
func (l *lane) waitPrepared(sess connect.Session, slab []byte, tp connect.TopicPartition, r *connect.Record, keepRaw bool, away error) ([]byte, bool) {
	show := func(err error) {
		l.w.logUnprepared(tp, err)
		l.post(func() { l.task.notPrepared(sess, tp, err) })
	}
	defer show(nil)
	for attempt := 0; away != nil; attempt++ {
		show(away)
		if !sleep(sess.Context(), l.w.backoff(attempt)) {
			return slab, false
		}
		slab, away = l.w.prepare(slab, tp, r, keepRaw)
	}
	return slab, true
}

// prepareAll prepares records that were read again, and keeps their raw bytes. It
// returns false where the session ended before.
func (l *lane) prepareAll(sess connect.Session, tp connect.TopicPartition, records []connect.Record) (ok bool) {
	var slab []byte
	for i := range records {
		var away error
		if slab, away = l.w.prepare(slab, tp, &records[i], true); away == nil {
			continue
		}
		if slab, ok = l.waitPrepared(sess, slab, tp, &records[i], true, away); !ok {
			return false
		}
	}
	return true
}

// unprepared are the partitions whose next record cannot be prepared now.
type unprepared struct {
	mu  sync.Mutex
	tps map[connect.TopicPartition]struct{}
}

// logUnprepared tells the operator once when records begin to wait, and once when
// none waits any more.
func (w *Worker) logUnprepared(tp connect.TopicPartition, err error) {
	u := &w.unprepared
	u.mu.Lock()
	defer u.mu.Unlock()
	before := len(u.tps)
	if err == nil {
		delete(u.tps, tp)
	} else {
		if u.tps == nil {
			u.tps = map[connect.TopicPartition]struct{}{}
		}
		u.tps[tp] = struct{}{}
	}
	switch {
	case before == 0 && err != nil:
		w.log.Warn("records wait since they cannot be converted now", "topic", tp.Topic, "partition", tp.Partition, "err", w.redact(err))
	case before > 0 && len(u.tps) == 0:
		w.log.Info("records are converted again")
	}
}

func (w *Worker) slabBytes(atLeast int) int {
	n := int(w.share.Load() / 8)
	return max(min(max(n, slabMinBytes), slabMaxBytes), atLeast)
}

// prepareSafely makes a panic of the connector on one record that record's
// fault: no record can end the stream.
func (w *Worker) prepareSafely(dst []byte, tp connect.TopicPartition, r *connect.Record) (row []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			row = nil
			err = &connect.RecordError{Stage: connect.StageValueConverter, Reason: "panic", Message: fmt.Sprintf("preparing the record panicked: %v", p)}
		}
	}()
	return w.preparer.Prepare(dst, tp.Topic, tp.Partition, r)
}

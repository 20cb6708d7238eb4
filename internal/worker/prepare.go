package worker

import (
	"errors"
	"fmt"

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
// dropped unless keepRaw says otherwise.
func (w *Worker) prepare(slab []byte, tp connect.TopicPartition, r *connect.Record, keepRaw bool) []byte {
	if r.Timestamp < 0 || r.Timestamp > timestampMax {
		// A producer that sends another unit: no target can hold such a time, and the
		// two ways of reading a log do not agree on it.
		r.Timestamp = connect.NoTimestamp
	}
	if w.preparer == nil {
		return slab
	}
	if cap(slab)-len(slab) < len(r.Value)+128 {
		slab = make([]byte, 0, w.slabBytes(len(r.Value)+128))
	}
	row, err := w.prepareSafely(slab[len(slab):len(slab):cap(slab)], tp, r)
	if err != nil {
		notPrepared(r, err)
		return slab
	}
	r.Row = row[:len(row):len(row)]
	if len(row) <= cap(slab)-len(slab) {
		slab = slab[:len(slab)+len(row)]
	}
	if !keepRaw {
		r.Key, r.Value, r.Headers = nil, nil, nil
	}
	return slab
}

// notPrepared is apart from prepare, where its variable would cost each good
// record an allocation.
func notPrepared(r *connect.Record, err error) {
	var bad *connect.RecordError
	switch {
	case errors.Is(err, connect.ErrFiltered):
		r.Filtered = true
		r.Key, r.Value, r.Headers = nil, nil, nil
	case errors.As(err, &bad):
		r.Err = bad
	default:
		r.Err = &connect.RecordError{Stage: connect.StageValueConverter, Reason: "unknown", Message: err.Error()}
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

package connect

import (
	"cmp"
	"encoding/hex"
	"strconv"
	"time"
)

// TopicPartition names one partition of one topic.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// String gives topic/partition, as in every log line and error.
func (tp TopicPartition) String() string {
	return tp.Topic + "/" + strconv.Itoa(int(tp.Partition))
}

// Compare orders by topic, then by partition: the order of a Batch's parts and
// of every lock that a sink takes.
func (tp TopicPartition) Compare(o TopicPartition) int {
	if c := cmp.Compare(tp.Topic, o.Topic); c != 0 {
		return c
	}
	return cmp.Compare(tp.Partition, o.Partition)
}

// TopicID is the broker's identity of a topic (KIP-516). The zero value means
// that the broker gives none, as old Redpanda does.
type TopicID [16]byte

// String gives 32 hexadecimal digits, or "" for the zero value.
func (id TopicID) String() string {
	if id == (TopicID{}) {
		return ""
	}
	return hex.EncodeToString(id[:])
}

// Header is one header of a record. Keys may repeat; their order counts.
type Header struct {
	Key   string
	Value []byte
}

// Record is one record of a partition, as it waits to be stored. Its topic and
// partition are those of the [Part] that holds it.
//
// Value is nil for a tombstone. Where the connector prepares its records, Key,
// Value and Headers of a good record are dropped once Row is made; those of a
// dead letter are the exact bytes of the log.
type Record struct {
	Offset    int64
	Timestamp int64 // the record's Kafka timestamp in ms since the epoch; NoTimestamp where it has none
	Key       []byte
	Value     []byte
	Headers   []Header

	// Row is what Prepare made of the record. Only the connector knows its form.
	Row []byte
	// Filtered says that the record is not to be stored, as intended: a tombstone
	// or a kind that the configuration ignores.
	Filtered bool
	// Err says why the record is a dead letter; nil for a good one.
	Err *RecordError
}

// NoTimestamp is the Timestamp of a record without one.
const NoTimestamp int64 = -1

// Time gives the record's Kafka timestamp; the zero time where it has none.
func (r *Record) Time() time.Time {
	if r.Timestamp < 0 {
		return time.Time{}
	}
	return time.UnixMilli(r.Timestamp).UTC()
}

// recordOverheadBytes is what a Record costs beside the bytes that it refers to.
const recordOverheadBytes = 144

// SizeBytes is what the record takes of a queue's budget.
func (r *Record) SizeBytes() int64 {
	n := recordOverheadBytes + len(r.Key) + len(r.Value) + len(r.Row)
	for i := range r.Headers {
		n += 40 + len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return int64(n)
}

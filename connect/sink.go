package connect

import "context"

// NoOffset is the Next of a partition for which the sink stores no offset: the
// group's committed offset decides where to start.
const NoOffset int64 = -1

// Claim is a partition that a task is about to own.
type Claim struct {
	TopicPartition
	TopicID TopicID
	// Begin is where the partition begins if the sink has never seen it.
	Begin int64
	// LogStart is the log's first offset, LogEnd its high watermark, both as they
	// were when the claim was made: the partition's last owner may have stored more
	// since, so a ledger beyond LogEnd proves nothing to a sink. The worker asks again.
	LogStart, LogEnd int64
}

// Position is where a partition stands in the sink.
type Position struct {
	// Next is the next offset to store, or NoOffset: where Open answers it, the sink
	// stores no offsets; where Positions answers it, the partition has no ledger row.
	Next int64
	// LastOffset and LastTimestamp (ms) are those of the last record that was
	// accounted for, -1 where there is none: a log that holds another time there
	// was made again.
	LastOffset, LastTimestamp int64
	// Unaccounted is by how much the ledger does not add up: the offsets before Next to
	// which it gives no fate, or below 0 those to which it gives one too many. It is
	// read from the ledger itself, so that a ledger which was altered shows (promise 3).
	// A sink that keeps no counts leaves it 0.
	Unaccounted int64
	// Err, where set, says why this partition must not be read: a *RefusedError,
	// for a topic that was made again, or a kind whose table does not fit.
	Err error
}

// Sink writes to one external system. Each task owns its own Sink; the methods
// of one Sink are never called concurrently.
//
// Errors of all methods are classed as this package's error kinds say; ctx ends
// each call promptly.
type Sink interface {
	// Open claims partitions and returns where each stands, in the order of the
	// claims. A partition never seen is recorded as beginning at its Begin. After
	// an error nothing is claimed.
	Open(ctx context.Context, claims []Claim) ([]Position, error)
	// Put stores the batch and moves every offset in it, in one atomic step: after
	// an error either all of it happened or none of it did. A batch may hold
	// offsets and no record. A FencedError names the partitions to read again.
	Put(ctx context.Context, b *Batch) (Result, error)
	// Release gives partitions back after their last Put, on a rebalance.
	Release(ctx context.Context, tps []TopicPartition) error
	// Close frees what the sink holds. A second Close does nothing.
	Close() error
}

// OffsetStore is what a Sink that stores offsets also is. A Sink without it is
// served at least once, by the group's committed offsets.
type OffsetStore interface {
	// Positions reads where open partitions stand, in their order, and changes
	// nothing. After a reset it answers for the generation that is live now, and
	// the Puts that follow are made in that one.
	Positions(ctx context.Context, tps []TopicPartition) ([]Position, error)
}

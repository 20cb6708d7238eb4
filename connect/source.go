package connect

import "context"

// Source reads topics as a member of consumer groups and hands their records
// to a Handler.
type Source interface {
	// Run consumes until ctx ends, then ends its sessions, leaves its groups and
	// returns nil. It waits for a broker that is away, for as long as it takes;
	// an error is one that no waiting mends.
	Run(ctx context.Context, h Handler) error
	// Log reads the same topics beside the groups.
	Log() Log
	// Close frees the clients, after Run has returned.
	Close() error
}

// Session is the time from the assignment of a topic's partitions to their
// revocation. Each has its own identity: what belongs to an ended one is void.
type Session interface {
	Topic() string
	// Context ends when the session does.
	Context() context.Context
	// Mark tells the broker which offset comes next, after it was stored: for lag
	// tools, and for sinks without an offset store. It never moves back.
	Mark(partition int32, next int64)
	// Pause and Resume hold back the fetching of one partition.
	Pause(partition int32)
	Resume(partition int32)
	// Reopen asks for the end of the session, so that the next one starts where
	// the sink then stands. It is a request and returns at once.
	Reopen()
}

// Handler is the worker's side of a Source. Methods of different topics are
// called concurrently; those of one session in the order Open, Deliver
// (concurrent over partitions, in order within one), Release.
type Handler interface {
	// Open answers where each claim is to be read from. It blocks while the target
	// is away, until ctx ends. A claim that is left out stays claimed and unread.
	// NoOffset means that the committed offset decides, or Begin where there is none.
	Open(ctx context.Context, s Session, claims []Claim) (map[int32]int64, error)
	// Deliver takes one record; it blocks while the partition's queue is full. It
	// returns false once the session has ended, and then for every later record
	// of the session: nothing may be delivered after a record that was not taken.
	Deliver(s Session, partition int32, r Record) bool
	// Release ends the session's claims: when it returns, no Put of theirs is
	// running. It is called once for each Open, also for one that failed, with a
	// context of its own that bounds it.
	Release(ctx context.Context, s Session)
}

// Bounds are the ends of a partition's log.
type Bounds struct {
	TopicID TopicID
	Start   int64 // first offset
	Stable  int64 // last stable offset: where read_committed ends
	End     int64 // high watermark
}

// Span is what a direct read of a log showed about the offsets [From, Next).
type Span struct {
	From, Next int64
	// TopicID is that of the topic which was read; zero where the broker gives none.
	TopicID TopicID
	// Start is the log's first offset: the offsets below it have expired.
	Start int64
	// Records are the committed data records in the span, with exact keys, values
	// and headers. An offset at or above Start that is not among them holds none.
	Records []Record
}

// Log reads partitions directly, beside the consumer groups.
type Log interface {
	// Bounds reads the ends of partitions. One that does not exist is left out; with
	// an error come those that could be read all the same.
	Bounds(ctx context.Context, tps []TopicPartition) (map[TopicPartition]Bounds, error)
	// Read shows what the log holds in [from, to), under read_committed. It may
	// stop early, at a Next of its choice above from, to bound its memory; a Next
	// equal to from means that nothing was shown: the log cannot be read there yet,
	// or the broker answered with nothing, which proves nothing.
	Read(ctx context.Context, tp TopicPartition, from, to int64) (Span, error)
}

// Publisher writes records to topics: dead letters on their way to a topic.
type Publisher interface {
	// Publish returns nil once the broker has acknowledged every record.
	Publish(ctx context.Context, topic string, records []Record) error
}

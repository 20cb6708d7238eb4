package connect

import (
	"context"
	"log/slog"
)

// Config is a connector's configuration: a pointer to a struct whose json tags
// name the keys and whose jsonschema tags document them. The value that
// Plugin.Config returns holds the defaults.
type Config interface {
	// Validate says what is wrong, each message beginning with the key; nil when
	// nothing is. errors.Join carries several.
	Validate() error
}

// Plugin is a kind of sink connector: one line in the binary's list of them.
type Plugin struct {
	Class   string // connector.class: "timescale-sink"
	Aliases []string
	// Config gives a configuration that holds the defaults.
	Config func() Config
	// New makes a connector from a configuration that Config made and that was
	// then filled and validated. It must not wait for the target.
	New func(name string, cfg Config, env Env) (Connector, error)
}

// Env is what the binary gives to a connector.
type Env struct {
	Log *slog.Logger
}

// Delivery is what a connector really gives, and why.
type Delivery struct {
	ExactlyOnce bool
	Why         string
}

// Connector is one configured target, shared by its tasks.
type Connector interface {
	// NewSink makes the Sink of one task. It must not wait for the target.
	NewSink(task int) (Sink, error)
	// Delivery says what the configuration gives.
	Delivery() Delivery
	// Close frees what the connector shares among its sinks, after theirs.
	Close() error
}

// Preparer is what a Connector also is that turns records into rows before
// they are queued: off the lane, concurrently, and dropping the raw bytes.
type Preparer interface {
	// Prepare appends the record's row to dst and returns it. It returns ErrFiltered
	// or a *RecordError for a record that is not to be stored, and a Retriable error
	// where something that it needs is away: it is called again with the record, and
	// its partition waits. It may take seconds, keeps nothing of r, and is safe for
	// concurrent use.
	Prepare(dst []byte, topic string, partition int32, r *Record) ([]byte, error)
}

// Initializer is what a Connector also is whose sinks store offsets and that
// can record where the partitions begin which exist when it is made.
type Initializer interface {
	// Init makes the connector's tables and its first generation, with a ledger row
	// for each claim, unless the generation is there already.
	Init(ctx context.Context, claims []Claim) (created bool, err error)
}

// DeadLetterOutbox is what a Connector also is that stores its dead letters
// and can have them published to a topic after they are committed.
type DeadLetterOutbox interface {
	// PublishDeadLetters hands up to limit dead letters that were not yet published
	// to publish, and marks them once it returns nil: at least once.
	PublishDeadLetters(ctx context.Context, limit int, publish func([]DeadLetter) error) (int, error)
}

// DeadLetter is a record that could not be stored, with its exact bytes.
type DeadLetter struct {
	TopicPartition
	Record
}

// Checker is what a Connector also is that can try its target before it runs.
type Checker interface {
	// Check tries the live target and says what it found. It changes nothing.
	Check(ctx context.Context, topics []string) []Finding
}

// Finding is one thing that a check found.
type Finding struct {
	// Level is "error", "warning" or "info".
	Level string
	// Key is the configuration key concerned, or "".
	Key     string
	Message string
	// Fix is what mends it, ready to be used: SQL, a command, a setting.
	Fix string
}

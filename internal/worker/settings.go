package worker

import (
	"errors"
	"fmt"
	"time"
)

// Settings are the keys of a connector that the worker itself obeys, whatever
// its target is.
type Settings struct {
	Class          string        `json:"connector.class" jsonschema:"required,description=The kind of connector: timescale-sink."`
	TasksMax       int           `json:"tasks.max" jsonschema:"description=Tasks in each replica: ordered lanes among which the partitions of all topics are spread. Each has one connection to the target."`
	BatchSize      int           `json:"batch.size" jsonschema:"description=Most records that one Put stores."`
	BatchBytes     int64         `json:"batch.max.bytes" jsonschema:"description=About the most bytes that one Put stores."`
	QueueBytes     int64         `json:"queue.max.bytes" jsonschema:"description=Memory for records that wait to be stored; shared evenly by the partitions of the replica. A full share holds its partition back."`
	CommitInterval time.Duration `json:"commit.interval.ms" jsonschema:"description=An idle task stores at once what arrives but starts no transaction sooner than this after it started the last."`

	Tolerance     string `json:"errors.tolerance" jsonschema:"enum=all,enum=none,description=all: a record that cannot be stored becomes a dead letter and the stream goes on. none: it fails its partition."`
	DLQTopic      string `json:"errors.deadletterqueue.topic.name" jsonschema:"description=Topic to which dead letters are also published. Without it they are kept in the target alone where it can keep them."`
	DLQHeaders    bool   `json:"errors.deadletterqueue.context.headers.enable" jsonschema:"description=Add Kafka Connect's __connect.errors headers to published dead letters."`
	LogBadRecords bool   `json:"errors.log.enable" jsonschema:"description=Log each dead letter with its topic, partition, offset and reason."`

	OffsetsExpired string `json:"offsets.expired" jsonschema:"enum=continue,enum=stop,description=What to do where retention deleted records before they were read: count them as expired and go on, or refuse the partition."`

	RetryBackoff    time.Duration `json:"retry.backoff.ms" jsonschema:"description=First pause after the target failed; it doubles with full jitter."`
	RetryBackoffMax time.Duration `json:"retry.backoff.max.ms" jsonschema:"description=Longest pause while the target is away."`
	FailedRetry     time.Duration `json:"failed.retry.ms" jsonschema:"description=How soon what FAILED is tried again, so that a mended GRANT is enough."`
	LedgerCheck     time.Duration `json:"ledger.check.ms" jsonschema:"description=How often the ledger is compared without traffic: finds a reset or a restored database."`
	PutTimeout      time.Duration `json:"put.timeout.ms" jsonschema:"description=Longest wait for one call on the target before its connection is given up."`
	ReleaseTimeout  time.Duration `json:"release.timeout.ms" jsonschema:"description=Longest wait at a rebalance or a stop for what is queued to be stored. Keep it below the rebalance timeout of the groups (8 s)."`
	LagInterval     time.Duration `json:"lag.interval.ms" jsonschema:"description=How often the ends of the logs are read: for the lag, and to account for control records at the log's end."`
}

// DefaultSettings returns the defaults.
func DefaultSettings() Settings {
	return Settings{
		TasksMax:        2,
		BatchSize:       20_000,
		BatchBytes:      8 << 20,
		QueueBytes:      16 << 20,
		CommitInterval:  5 * time.Millisecond,
		Tolerance:       "all",
		DLQHeaders:      true,
		LogBadRecords:   true,
		OffsetsExpired:  "continue",
		RetryBackoff:    100 * time.Millisecond,
		RetryBackoffMax: 30 * time.Second,
		FailedRetry:     time.Minute,
		LedgerCheck:     10 * time.Second,
		PutTimeout:      time.Minute,
		ReleaseTimeout:  5 * time.Second,
		LagInterval:     3 * time.Second,
	}
}

// Validate says what is wrong, key by key.
func (s *Settings) Validate() error {
	var errs []error
	between := func(key string, n, lo, hi int64) {
		if n < lo || n > hi {
			errs = append(errs, fmt.Errorf("%s: %d is outside %d..%d", key, n, lo, hi))
		}
	}
	lasts := func(key string, d, lo, hi time.Duration) {
		between(key, d.Milliseconds(), lo.Milliseconds(), hi.Milliseconds())
	}
	oneOf := func(key, got string, want ...string) {
		for _, w := range want {
			if got == w {
				return
			}
		}
		errs = append(errs, fmt.Errorf("%s: %q is none of %q", key, got, want))
	}
	between("tasks.max", int64(s.TasksMax), 1, 64)
	between("batch.size", int64(s.BatchSize), 1, 100_000)
	between("batch.max.bytes", s.BatchBytes, 1<<10, 256<<20)
	between("queue.max.bytes", s.QueueBytes, 1<<20, 16<<30)
	lasts("commit.interval.ms", s.CommitInterval, 0, time.Minute)
	oneOf("errors.tolerance", s.Tolerance, "all", "none")
	oneOf("offsets.expired", s.OffsetsExpired, "continue", "stop")
	lasts("retry.backoff.ms", s.RetryBackoff, time.Millisecond, time.Minute)
	lasts("retry.backoff.max.ms", s.RetryBackoffMax, s.RetryBackoff, time.Hour)
	lasts("failed.retry.ms", s.FailedRetry, 100*time.Millisecond, time.Hour)
	lasts("ledger.check.ms", s.LedgerCheck, 100*time.Millisecond, time.Hour)
	lasts("put.timeout.ms", s.PutTimeout, time.Second, time.Hour)
	lasts("release.timeout.ms", s.ReleaseTimeout, 100*time.Millisecond, 7*time.Second)
	lasts("lag.interval.ms", s.LagInterval, 100*time.Millisecond, time.Hour)
	return errors.Join(errs...)
}

func (s *Settings) limits(hasOffsets bool, share func() int64) limits {
	return limits{
		share: share,
		rows:  s.BatchSize, bytes: s.BatchBytes, interval: s.CommitInterval,
		backoffMin: s.RetryBackoff, backoffMax: s.RetryBackoffMax,
		failedRetry: s.FailedRetry, checkEvery: s.LedgerCheck, busyRetry: 50 * time.Millisecond,
		tolerate: s.Tolerance == "all", skipExpired: s.OffsetsExpired == "continue", hasOffsets: hasOffsets,
	}
}

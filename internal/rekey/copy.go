package rekey

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/converters"
	"github.com/qicore/tickconnect/marketdata"
)

// Options say what is copied.
type Options struct {
	// Kafka reach the brokers: addresses, TLS, SASL.
	Kafka []kgo.Opt
	From  []string
	To    string // it is there
	// Group keeps how far the copy is. Copies of one group divide the partitions.
	Group string
	// Layout says how the new keys look.
	Layout marketdata.Layout
	// Converter tells what a record is of.
	Converter converters.Converter
	// MaxRecordBytes is the largest batch that To takes.
	MaxRecordBytes int32
	// Follow goes on at the end of what there was, until ctx ends.
	Follow bool
}

// Progress is how far a copy is, since it was started.
type Progress struct {
	Copied int64 `json:"copied"` // with a new key
	Kept   int64 `json:"kept"`   // with the old key: what they are of could not be told
	Done   int64 `json:"done"`   // offsets that the group has behind it, of those that there were at the start
	Of     int64 `json:"of"`
	// Expired are offsets that retention took before they were copied.
	Expired int64 `json:"expired"`
	// Unreadable are the first of those that were kept.
	Unreadable []Unreadable `json:"unreadable"`
}

// Unreadable is a record whose key stayed what it was, and why.
type Unreadable struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Why       string `json:"why"`
}

// unreadableMax is how many of them are kept for the answer.
const unreadableMax = 10

const (
	// pollRecords is the most records of one transaction.
	pollRecords = 10_000
	// sessionTimeout is how soon another copy takes over from one that was killed, and
	// transactionTimeout how soon its open transaction is given up: until then nobody
	// reads past it.
	sessionTimeout     = 10 * time.Second
	transactionTimeout = 15 * time.Second
	lookInterval       = 500 * time.Millisecond
	endTimeout         = 30 * time.Second
)

// Copy copies until all that the topics held when it began is in the new one, or
// without end where it follows. It calls told with what is done, from its own
// goroutine. After an error or the end of ctx the same call goes on.
func Copy(ctx context.Context, o Options, told func(Progress)) (Progress, error) {
	session, err := kgo.NewGroupTransactSession(append(o.Kafka,
		kgo.ConsumerGroup(o.Group),
		kgo.ConsumeTopics(o.From...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), // so that the offsets reach the logs' ends
		kgo.SessionTimeout(sessionTimeout),
		kgo.TransactionalID(o.Group+"-"+rand.Text()),
		kgo.TransactionTimeout(transactionTimeout),
		kgo.ProducerBatchCompression(kgo.Lz4Compression()),
		kgo.ProducerBatchMaxBytes(o.MaxRecordBytes),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)),
	)...)
	if err != nil {
		return Progress{}, fmt.Errorf("making the Kafka client: %w", err)
	}
	defer session.Close()
	c := &copier{Options: o, session: session, admin: kadm.NewClient(session.Client()), told: told}
	err = c.run(ctx)
	return c.progress, explain(err)
}

type copier struct {
	Options
	session  *kgo.GroupTransactSession
	admin    *kadm.Client
	told     func(Progress)
	progress Progress
	starts   kadm.ListedOffsets
	ends     kadm.ListedOffsets
	looked   time.Time
}

func (c *copier) run(ctx context.Context) (err error) {
	if c.starts, err = listed(ctx, c.admin.ListStartOffsets, c.From); err != nil {
		return fmt.Errorf("reading where the topics begin: %w", err)
	}
	if c.ends, err = listed(ctx, c.admin.ListCommittedOffsets, c.From); err != nil {
		return fmt.Errorf("reading where the topics end: %w", err)
	}
	before, err := groupOffsets(ctx, c.admin, c.Group)
	if err != nil {
		return err
	}
	before.Each(func(o kadm.OffsetResponse) {
		if start, ok := c.starts.Lookup(o.Topic, o.Partition); ok && o.At >= 0 {
			c.progress.Expired += max(0, start.Offset-o.At)
		}
	})
	for {
		done, err := c.look(ctx)
		if err != nil || done && !c.Follow {
			return err
		}
		polled, cancel := context.WithTimeout(ctx, lookInterval)
		fetches := c.session.PollRecords(polled, pollRecords)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		for _, f := range fetches.Errors() {
			if !errors.Is(f.Err, context.DeadlineExceeded) {
				return fmt.Errorf("reading %s/%d: %w", f.Topic, f.Partition, f.Err)
			}
		}
		if fetches.NumRecords() == 0 {
			continue
		}
		if err := c.transact(ctx, fetches); err != nil {
			return err
		}
	}
}

// transact copies what was read and commits its offsets, both or neither. The keys
// are made first: that may take long, and a transaction may not.
func (c *copier) transact(ctx context.Context, fetches kgo.Fetches) error {
	keys, err := c.keysOf(ctx, fetches)
	if err != nil {
		return err
	}
	if err := c.session.Begin(); err != nil {
		return fmt.Errorf("beginning a transaction: %w", err)
	}
	var mu sync.Mutex
	var failed error
	moved := Progress{}
	for _, r := range keys {
		if r.why == nil {
			moved.Copied++
		} else {
			r.key = r.Key
			moved.Kept++
			moved.Unreadable = append(moved.Unreadable, Unreadable{r.Topic, r.Partition, r.Offset, r.why.Error()})
		}
		c.session.Produce(ctx, &kgo.Record{Topic: c.To, Key: r.key, Value: r.Value, Headers: r.Headers, Timestamp: r.Timestamp},
			func(_ *kgo.Record, err error) {
				mu.Lock()
				defer mu.Unlock()
				if err != nil && failed == nil {
					failed = err
				}
			})
	}
	if err := c.session.Client().Flush(ctx); err != nil && failed == nil {
		failed = err
	}
	// The end of ctx must not leave the transaction open.
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	committed, err := c.session.End(end, kgo.TransactionEndTry(failed == nil))
	switch {
	case failed != nil:
		return fmt.Errorf("writing to %s: %w", c.To, failed)
	case err != nil:
		return fmt.Errorf("ending a transaction: %w", err)
	case !committed: // the partitions were divided anew: what was read is read again
		return nil
	}
	c.progress.Copied += moved.Copied
	c.progress.Kept += moved.Kept
	if room := unreadableMax - len(c.progress.Unreadable); room > 0 {
		c.progress.Unreadable = append(c.progress.Unreadable, moved.Unreadable[:min(room, len(moved.Unreadable))]...)
	}
	return nil
}

// look asks how far the group is, now and then, and says whether it is at the end.
func (c *copier) look(ctx context.Context) (done bool, err error) {
	if time.Since(c.looked) < lookInterval {
		return false, nil
	}
	c.looked = time.Now()
	committed, err := groupOffsets(ctx, c.admin, c.Group)
	if err != nil {
		return false, err
	}
	c.progress.Done, c.progress.Of = 0, 0
	c.ends.Each(func(end kadm.ListedOffset) {
		start, _ := c.starts.Lookup(end.Topic, end.Partition)
		at := start.Offset
		if o, ok := committed.Lookup(end.Topic, end.Partition); ok && o.At >= 0 {
			at = max(at, o.At)
		}
		c.progress.Of += end.Offset - start.Offset
		c.progress.Done += min(at, end.Offset) - start.Offset
	})
	c.told(c.progress)
	return c.progress.Done >= c.progress.Of, nil
}

// explain says what to do about what the brokers answered.
func explain(err error) error {
	switch {
	case errors.Is(err, kerr.TransactionalIDAuthorizationFailed):
		return fmt.Errorf("not authorized: allow WRITE and DESCRIBE on the transactional ids that begin with the group's name: %w", err)
	case errors.Is(err, kerr.GroupAuthorizationFailed):
		return fmt.Errorf("not authorized: allow READ on the group: %w", err)
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		return fmt.Errorf("not authorized: allow READ on the topics that are copied and WRITE on the new one: %w", err)
	case errors.Is(err, kerr.MessageTooLarge):
		return fmt.Errorf("a record is larger than the new topic takes: raise its max.message.bytes to that of the topic that is copied: %w", err)
	case errors.Is(err, kerr.UnsupportedVersion):
		return fmt.Errorf("the brokers know no transactions, so nothing can be copied exactly once: %w", err)
	}
	return err
}

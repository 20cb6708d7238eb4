package herder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/connect"
)

// topic is a compacted topic of one partition that this replica reads from its start
// and keeps reading. While it is away, what was read holds.
type topic struct {
	name        string
	replication int16 // -1: as the brokers have it
	open        func(...kgo.Opt) (*kgo.Client, error)
	// apply takes each record once, in its order; caughtUp says that it was written
	// after this process began to read.
	apply func(r *kgo.Record, caughtUp bool)
	// left is called after an outage, with the keys that have a value: what another one
	// said was taken away, maybe so long ago that the topic does not say that any more.
	// nil: nothing is.
	left func(keys map[string]bool)
	// known is called once all is applied that was there at the start; nil: by nobody.
	known func()
	log   *slog.Logger
	begun bool // known was called

	mu     sync.Mutex
	client *kgo.Client   // nil while the topic is away
	next   int64         // offset after the last that was applied; read changes it alone
	ready  bool          // all that was there at the start is applied
	away   error         // why it cannot be read
	moved  chan struct{} // closed, and made anew, with each change of these
}

const (
	topicRetry   = time.Second
	topicTimeout = 10 * time.Second
	topicQuiet   = 3 * time.Second
)

func newTopic(name string, replication int16, open func(...kgo.Opt) (*kgo.Client, error), log *slog.Logger, apply func(*kgo.Record, bool)) *topic {
	return &topic{
		name: name, replication: replication, open: open, apply: apply, log: log.With("topic", name),
		away: errors.New("it was not read yet"), moved: make(chan struct{}),
	}
}

// run reads the topic until ctx ends. It outlives every outage.
func (t *topic) run(ctx context.Context) {
	said := ""
	for ctx.Err() == nil {
		err := t.read(ctx)
		if ctx.Err() != nil {
			return
		}
		if err.Error() != said {
			said = err.Error()
			t.log.Warn("a topic of this worker cannot be read; what is known goes on", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(topicRetry):
		}
	}
}

// read makes the topic where it is not there, and reads it until something fails.
func (t *topic) read(ctx context.Context) (err error) {
	defer func() { t.change(func() { t.client, t.ready, t.away = nil, false, err }) }()
	start, end, err := t.prepare(ctx)
	if err != nil {
		return err
	}
	// After an outage it goes on where it was: what lies before would bring back what
	// has been changed since, and only says what is left. A log that ends before that
	// place was made again.
	next, keys := start, map[string]bool(nil)
	if t.next > 0 && t.next <= end {
		next = max(start, t.next)
		if t.left == nil {
			start = next
		} else if start < end {
			keys = map[string]bool{}
		}
	}
	// A record that was sent must not be waited for beyond its request's time: without
	// brokers that is for ever.
	client, err := t.open(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.AllowIdempotentProduceCancellation(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{t.name: {0: kgo.NewOffset().At(start)}}))
	if err != nil {
		return err
	}
	defer client.Close()
	t.change(func() { t.client, t.next, t.ready, t.away = client, next, start >= end, nil })
	marked := false
	for {
		if t.ready && !t.begun {
			t.begun = true
			if t.known != nil {
				t.known()
			}
		}
		fetches, quiet := t.poll(ctx, client)
		if err := ctx.Err(); err != nil {
			return err
		}
		if quiet {
			// Either compaction took what lay before the end, or the brokers are slow.
			// Once a record behind that end is read, all before it was.
			if !marked {
				if err := t.mark(ctx, client); err != nil {
					return err
				}
				marked = true
			}
			continue
		}
		if errs := fetches.Errors(); len(errs) > 0 {
			return errs[0].Err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset >= t.next {
				t.apply(r, t.begun)
			}
			ready := t.ready || r.Offset+1 >= end
			if keys != nil {
				keys[string(r.Key)] = r.Value != nil
				if ready {
					t.left(keys)
					keys = nil
				}
			}
			t.change(func() { t.next, t.ready = max(t.next, r.Offset+1), ready })
		})
	}
}

// poll waits for records; until the topic is caught up with no longer than topicQuiet.
func (t *topic) poll(ctx context.Context, client *kgo.Client) (_ kgo.Fetches, quiet bool) {
	t.mu.Lock()
	ready := t.ready
	t.mu.Unlock()
	if ready {
		return client.PollFetches(ctx), false
	}
	limited, cancel := context.WithTimeout(ctx, topicQuiet)
	defer cancel()
	fetches := client.PollFetches(limited)
	return fetches, limited.Err() != nil && fetches.NumRecords() == 0
}

// checkCompacted refuses a topic whose records go by their age, and what they say with
// them. Who may not ask for its settings is trusted.
func (t *topic) checkCompacted(ctx context.Context, admin *kadm.Client) error {
	described, err := admin.DescribeTopicConfigs(ctx, t.name)
	var settings kadm.ResourceConfig
	if err == nil {
		settings, err = described.On(t.name, nil)
	}
	for _, s := range settings.Configs {
		if err == nil && s.Key == "cleanup.policy" && s.Value != nil && strings.Contains(*s.Value, "delete") {
			return fmt.Errorf("its cleanup.policy is %s, so that what it says would be lost with time; set it to compact", *s.Value)
		}
	}
	return nil
}

// markKey is of records that say nothing.
const markKey = "mark"

// mark writes a record that says nothing.
func (t *topic) mark(ctx context.Context, client *kgo.Client) error {
	ctx, cancel := context.WithTimeout(ctx, topicTimeout)
	defer cancel()
	if err := client.ProduceSync(ctx, &kgo.Record{Topic: t.name, Key: []byte(markKey)}).FirstErr(); err != nil {
		return fmt.Errorf("writing to it, to know its end: %w", err)
	}
	return nil
}

// prepare makes the topic where it is not there and gives its first offset, and its
// end: the offset after the last record.
func (t *topic) prepare(ctx context.Context) (start, end int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, topicTimeout)
	defer cancel()
	client, err := t.open()
	if err != nil {
		return 0, 0, err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	compact := "compact"
	_, err = admin.CreateTopic(ctx, 1, t.replication, map[string]*string{"cleanup.policy": &compact}, t.name)
	switch {
	case err == nil:
		t.log.Info("made a topic of this worker")
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed):
		// Somebody who may has made it, or the next step says that it is not there.
	case !errors.Is(err, kerr.TopicAlreadyExists):
		return 0, 0, fmt.Errorf("making it: %w", err)
	}
	if err != nil { // somebody else made it
		if err := t.checkCompacted(ctx, admin); err != nil {
			return 0, 0, err
		}
	}
	for {
		ends, err := admin.ListEndOffsets(ctx, t.name)
		if err == nil {
			err = ends.Error()
		}
		if err == nil {
			if n := len(ends[t.name]); n != 1 {
				return 0, 0, fmt.Errorf("it has %d partitions, and must have 1: its records are read in one order", n)
			}
			starts, err := admin.ListStartOffsets(ctx, t.name)
			if err == nil {
				err = starts.Error()
			}
			return starts[t.name][0].Offset, ends[t.name][0].Offset, err
		}
		if !errors.Is(err, kerr.UnknownTopicOrPartition) && !kerr.IsRetriable(err) {
			return 0, 0, err
		}
		select { // made a moment ago
		case <-ctx.Done():
			return 0, 0, err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (t *topic) change(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f()
	close(t.moved)
	t.moved = make(chan struct{})
}

// state says whether all is applied that was there at the start, and else why not.
func (t *topic) state() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.away != nil:
		return fmt.Errorf("topic %s cannot be read: %w", t.name, t.away)
	case !t.ready:
		return fmt.Errorf("topic %s is still being read", t.name)
	}
	return nil
}

// await waits until done, which is called under the lock, says so.
func (t *topic) await(ctx context.Context, done func() bool) error {
	for {
		t.mu.Lock()
		ok, moved := done(), t.moved
		t.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-moved:
		}
	}
}

// awaitReady waits a while until all is applied that was there at the start. Its error
// is connect.Retriable.
func (t *topic) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, topicTimeout)
	defer cancel()
	if t.await(ctx, func() bool { return t.away == nil && t.ready }) != nil {
		return connect.Retriable(t.state())
	}
	return nil
}

// catchUp waits until all is applied that is in the topic now, whoever wrote it. Its
// error is connect.Retriable.
func (t *topic) catchUp(ctx context.Context) error {
	if err := t.awaitReady(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, topicTimeout)
	defer cancel()
	t.mu.Lock()
	client := t.client
	t.mu.Unlock()
	if client == nil {
		return connect.Retriable(fmt.Errorf("topic %s is away", t.name))
	}
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, t.name)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return connect.Retriable(fmt.Errorf("asking for the end of topic %s: %w", t.name, err))
	}
	end := ends[t.name][0].Offset
	if err := t.await(ctx, func() bool { return t.next >= end }); err != nil {
		return connect.Retriable(fmt.Errorf("topic %s was not read up to its end: %w", t.name, err))
	}
	return nil
}

// append writes records and waits until this replica has applied them. Its error is
// connect.Retriable where nothing was written; otherwise they may have been, or may yet
// be, and whoever asked must look before asking again.
func (t *topic) append(ctx context.Context, records ...*kgo.Record) error {
	ctx, cancel := context.WithTimeout(ctx, topicTimeout)
	defer cancel()
	t.mu.Lock()
	client, away := t.client, t.away
	t.mu.Unlock()
	if client == nil {
		return connect.Retriable(fmt.Errorf("topic %s cannot be written: %w", t.name, away))
	}
	for _, r := range records {
		r.Topic, r.Partition = t.name, 0
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.RecordListTooLarge) {
		return fmt.Errorf("topic %s: %w", t.name, ErrTooLarge)
	} else if err != nil {
		return fmt.Errorf("writing to topic %s; it may have the request all the same: %w", t.name, err)
	}
	next := records[len(records)-1].Offset + 1
	if err := t.await(ctx, func() bool { return t.next >= next }); err != nil {
		return fmt.Errorf("topic %s has the request, but was not read up to it: %w", t.name, err)
	}
	return nil
}

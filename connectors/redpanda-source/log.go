package redpandasource

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qicore/tickconnect/connect"
)

// Log reads partitions directly, without a group, and writes dead letters. It
// is safe for concurrent use.
type Log struct {
	client *kgo.Client
	admin  *kadm.Client
	log    *slog.Logger
	topics knownTopics
	// compactions is what the topics' configurations say.
	compactions compactions
	// publishing is held by the one Publish that runs.
	publishing chan struct{}
}

// OpenLog makes a Log. It does not wait for the brokers.
func OpenLog(client ClientConfig, log *slog.Logger) (*Log, error) {
	return openLogWith(client, log)
}

func openLogWith(client ClientConfig, log *slog.Logger, further ...kgo.Opt) (*Log, error) {
	if err := client.Validate(); err != nil {
		return nil, err
	}
	opts, err := client.KafkaOptions()
	if err != nil {
		return nil, err
	}
	cl, err := kgo.NewClient(slices.Concat(opts, producerOptions(), further)...)
	if err != nil {
		return nil, fmt.Errorf("making the Kafka client: %w", err)
	}
	return &Log{client: cl, admin: kadm.NewClient(cl), log: log, publishing: make(chan struct{}, 1)}, nil
}

// Close frees the client. A second Close does nothing.
func (l *Log) Close() { l.client.Close() }

// Admin gives an admin client over the same connections; it is closed with the
// Log.
func (l *Log) Admin() *kadm.Client { return l.admin }

const (
	// retryLimit bounds how long one call waits for a leader or a broker; the
	// caller decides whether to go on.
	retryLimit   = 15 * time.Second
	retryBackoff = 50 * time.Millisecond
	retryMax     = time.Second
	// unknownTries is how often a topic must be reported missing before it is
	// believed: a broker may not have heard of a new one yet.
	unknownTries = 3
)

// topicInfo is what the brokers say about a topic.
type topicInfo struct {
	id         connect.TopicID
	partitions map[int32]partitionInfo
	err        error
}

type partitionInfo struct {
	leader int32
	err    error
}

// describe asks for topics, or for all of them where names is nil. A topic that
// does not exist is left out.
func (l *Log) describe(ctx context.Context, names []string) (map[string]topicInfo, error) {
	req := kmsg.NewPtrMetadataRequest() // it does not create topics
	if names != nil {
		req.Topics = make([]kmsg.MetadataRequestTopic, 0, len(names))
		for _, name := range names {
			t := kmsg.NewMetadataRequestTopic()
			t.Topic = kmsg.StringPtr(name)
			req.Topics = append(req.Topics, t)
		}
	}
	resp, err := req.RequestWith(ctx, l.client)
	if err != nil {
		return nil, fmt.Errorf("reading topics: %w", err)
	}
	topics := make(map[string]topicInfo, len(resp.Topics))
	for i := range resp.Topics {
		t := &resp.Topics[i]
		if t.Topic == nil || t.ErrorCode == kerr.UnknownTopicOrPartition.Code {
			continue
		}
		if names == nil && t.IsInternal {
			continue
		}
		info := topicInfo{id: t.TopicID, err: kerr.ErrorForCode(t.ErrorCode), partitions: make(map[int32]partitionInfo, len(t.Partitions))}
		for j := range t.Partitions {
			p := &t.Partitions[j]
			// REPLICA_NOT_AVAILABLE speaks of followers; the leader can be read.
			perr := kerr.ErrorForCode(p.ErrorCode)
			if errors.Is(perr, kerr.ReplicaNotAvailable) {
				perr = nil
			}
			if perr == nil && p.Leader < 0 {
				perr = kerr.LeaderNotAvailable
			}
			info.partitions[p.Partition] = partitionInfo{leader: p.Leader, err: perr}
		}
		topics[*t.Topic] = info
	}
	return topics, nil
}

// errNoPartition says that a partition does not exist.
var errNoPartition = errors.New("the partition does not exist")

// leader finds who can be asked about a partition. Its errors are errNoPartition
// or worth another try.
func (l *Log) leader(ctx context.Context, tp connect.TopicPartition) (connect.TopicID, int32, error) {
	topics, err := l.describe(ctx, []string{tp.Topic})
	if err != nil {
		return connect.TopicID{}, 0, err
	}
	t, ok := topics[tp.Topic]
	if !ok {
		return connect.TopicID{}, 0, errNoPartition
	}
	if t.err != nil {
		return t.id, 0, t.err
	}
	p, ok := t.partitions[tp.Partition]
	if !ok {
		return t.id, 0, errNoPartition
	}
	return t.id, p.leader, p.err
}

// retry calls try until it succeeds, ctx ends, retryLimit has passed or the
// error is one that no waiting mends.
func retry(ctx context.Context, try func() error) error {
	deadline := time.Now().Add(retryLimit)
	backoff := retryBackoff
	unknown := 0
	for {
		err := try()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return interrupted(ctx, err)
		}
		if errors.Is(err, errNoPartition) {
			if unknown++; unknown >= unknownTries {
				return err
			}
		} else if !transient(err) {
			return err
		}
		if time.Now().After(deadline) {
			return connect.Retriable(err)
		}
		if !sleep(ctx, backoff) {
			return interrupted(ctx, err)
		}
		backoff = min(2*backoff, retryMax)
	}
}

// interrupted is the error of a call whose context ended, with what kept it
// until then.
func interrupted(ctx context.Context, err error) error {
	if errors.Is(err, ctx.Err()) {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %w", ctx.Err(), err)
}

// transient says whether waiting may mend an error: a broker that is away, a
// leader that moves.
func transient(err error) bool {
	var ke *kerr.Error
	if errors.As(err, &ke) {
		return ke.Retriable || errors.Is(ke, kerr.UnknownTopicID) || errors.Is(ke, kerr.InconsistentTopicID)
	}
	return !errors.Is(err, kgo.ErrClientClosed) && !errors.Is(err, errCorrupt)
}

// sleep waits and says whether it did so to the end.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

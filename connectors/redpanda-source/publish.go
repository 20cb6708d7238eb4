package redpandasource

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/connect"
)

// replicationWanted is the replication of a topic that is made here, where the
// cluster has as many brokers.
const replicationWanted = 3

// producerOptions make the client produce as dead letters need it: all in-sync
// replicas acknowledge, and a retry of the client doubles nothing.
func producerOptions() []kgo.Opt {
	return []kgo.Opt{
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchCompression(kgo.Lz4Compression(), kgo.NoCompression()),
		kgo.ProducerBatchMaxBytes(publishBatchMaxBytes),
		kgo.UnknownTopicRetries(5),
	}
}

// publishTimeout bounds one Publish. It is no option of the client's: that
// counts from a record's timestamp, and a dead letter's is old.
const publishTimeout = 30 * time.Second

// publishBatchMaxBytes lets pass whatever the broker's own limit does.
const publishBatchMaxBytes = 64 << 20

// knownTopics remembers the topics that were seen to exist, so that each is
// looked up once.
type knownTopics struct {
	mu    sync.Mutex
	names map[string]bool
}

// Publish implements connect.Publisher. A topic that does not exist is made on
// first use, with one partition as Kafka Connect makes its dead letter topic;
// where the cluster does not allow that, the error says so. Records keep their
// timestamps.
func (l *Log) Publish(ctx context.Context, topic string, records []connect.Record) error {
	if len(records) == 0 {
		return nil
	}
	if err := l.ensureTopic(ctx, topic); err != nil {
		return err
	}
	batch := make([]*kgo.Record, len(records))
	for i := range records {
		r := &records[i]
		batch[i] = &kgo.Record{Topic: topic, Key: r.Key, Value: r.Value, Timestamp: r.Time()}
		for _, h := range r.Headers {
			batch[i].Headers = append(batch[i].Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
		}
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	if err := l.client.ProduceSync(ctx, batch...).FirstErr(); err != nil {
		if errors.Is(err, kerr.UnknownTopicOrPartition) {
			l.topics.forget(topic) // deleted since
		}
		err = fmt.Errorf("publishing to %s: %w", topic, err)
		if transient(err) {
			return connect.Retriable(err)
		}
		return err
	}
	return nil
}

// ensureTopic makes the topic unless it exists. An outage is connect.Retriable,
// after retryLimit.
func (l *Log) ensureTopic(ctx context.Context, topic string) error {
	if l.topics.has(topic) {
		return nil
	}
	if err := retry(ctx, func() error { return l.makeTopic(ctx, topic) }); err != nil {
		return err
	}
	l.topics.add(topic)
	return nil
}

func (l *Log) makeTopic(ctx context.Context, topic string) error {
	existing, err := l.describe(ctx, []string{topic})
	if err != nil {
		return fmt.Errorf("publishing to %s: %w", topic, err)
	}
	if _, ok := existing[topic]; ok {
		return nil
	}
	brokers, err := l.admin.ListBrokers(ctx)
	if err != nil {
		return fmt.Errorf("making topic %s: %w", topic, err)
	}
	replication := int16(max(1, min(replicationWanted, len(brokers))))
	_, err = l.admin.CreateTopic(ctx, 1, replication, nil, topic)
	switch {
	case err == nil:
		l.log.Info("topic made", "topic", topic, "partitions", 1, "replication", replication)
		return nil
	case errors.Is(err, kerr.TopicAlreadyExists):
		return nil
	default:
		return fmt.Errorf("making topic %s: %w; make it by hand or allow this client to", topic, err)
	}
}

func (k *knownTopics) has(topic string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.names[topic]
}

func (k *knownTopics) add(topic string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.names == nil {
		k.names = make(map[string]bool)
	}
	k.names[topic] = true
}

func (k *knownTopics) forget(topic string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.names, topic)
}

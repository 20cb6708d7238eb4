package redpandasource

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
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
// replicas acknowledge, and a retry of the client doubles nothing. A Publish that
// gives up doubles what the broker may have taken: dead letters are published at
// least once.
func producerOptions() []kgo.Opt {
	return []kgo.Opt{
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.AllowIdempotentProduceCancellation(),
		kgo.ProducerBatchCompression(kgo.Lz4Compression(), kgo.NoCompression()),
		kgo.ProducerBatchMaxBytes(publishRecordMaxBytes),
		kgo.UnknownTopicRetries(5),
	}
}

const (
	// publishTimeout bounds the publishing of one batch. It is no option of the
	// client's: that counts from a record's timestamp, and a dead letter's is old.
	publishTimeout = 30 * time.Second
	// publishBatchBytes is below the 1 MiB that a topic takes unless it is
	// configured otherwise (max.message.bytes).
	publishBatchBytes = 900_000
	// publishRecordMaxBytes lets a large record pass on its own: whether it is too
	// large is for the topic to say.
	publishRecordMaxBytes = 64 << 20
	// recordFrameBytes and headerFrameBytes are at most what the format adds.
	recordFrameBytes = 32
	headerFrameBytes = 10
)

// knownTopics remembers the topics that were seen to exist, so that each is
// looked up once.
type knownTopics struct {
	mu    sync.Mutex
	names map[string]bool
}

// Publish implements connect.Publisher. A topic that does not exist is made on
// first use, with one partition as Kafka Connect makes its dead letter topic;
// where the cluster does not allow that, the error says so. Records keep their
// timestamps and their order. One that is too large for the topic is published
// without its value: see lighter.
//
// An outage is connect.Retriable; what no waiting mends, such as a missing
// permission, is not.
func (l *Log) Publish(ctx context.Context, topic string, records []connect.Record) error {
	if len(records) == 0 {
		return nil
	}
	if err := l.ensureTopic(ctx, topic); err != nil {
		return err
	}
	// The client joins what is published at the same time into one batch, and then
	// a record that fits could fail for another's size.
	select {
	case l.publishing <- struct{}{}:
		defer func() { <-l.publishing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for len(records) > 0 {
		n := batchLength(records)
		if err := l.publishBatch(ctx, topic, records[:n]); err != nil {
			if errors.Is(err, kerr.UnknownTopicOrPartition) {
				l.topics.forget(topic) // deleted since
			}
			err = fmt.Errorf("publishing to %s: %w", topic, err)
			if transient(err) {
				return connect.Retriable(err)
			}
			return err
		}
		records = records[n:]
	}
	return nil
}

// batchLength is how many of the records are published together: at least one,
// and more while they stay below publishBatchBytes.
func batchLength(records []connect.Record) int {
	size := 0
	for i := range records {
		r := &records[i]
		size += recordFrameBytes + len(r.Key) + len(r.Value)
		for _, h := range r.Headers {
			size += headerFrameBytes + len(h.Key) + len(h.Value)
		}
		if size > publishBatchBytes && i > 0 {
			return i
		}
	}
	return len(records)
}

// publishBatch publishes the records, by halves where they are too large for the
// topic together.
func (l *Log) publishBatch(ctx context.Context, topic string, records []connect.Record) error {
	tooLarge, err := l.produce(ctx, topic, records)
	switch {
	case err != nil || len(tooLarge) == 0:
		return err
	case len(records) > 1:
		half := (len(tooLarge) + 1) / 2
		if err := l.publishBatch(ctx, topic, tooLarge[:half]); err != nil {
			return err
		}
		if half == len(tooLarge) {
			return nil
		}
		return l.publishBatch(ctx, topic, tooLarge[half:])
	}
	for _, r := range lighter(&records[0]) {
		if tooLarge, err = l.produce(ctx, topic, []connect.Record{r}); err != nil || len(tooLarge) == 0 {
			return err
		}
	}
	return fmt.Errorf("a dead letter without key, value and headers: %w", kerr.MessageTooLarge)
}

// produce waits until the broker has acknowledged the records, and returns those
// that it found too large.
func (l *Log) produce(ctx context.Context, topic string, records []connect.Record) (tooLarge []connect.Record, err error) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	batch := make([]*kgo.Record, len(records))
	for i := range records {
		r := &records[i]
		batch[i] = &kgo.Record{Topic: topic, Key: r.Key, Value: r.Value, Timestamp: r.Time()}
		for _, h := range r.Headers {
			batch[i].Headers = append(batch[i].Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
		}
	}
	refused := make(map[*kgo.Record]bool)
	for _, result := range l.client.ProduceSync(ctx, batch...) {
		switch {
		case result.Err == nil:
		case errors.Is(result.Err, kerr.MessageTooLarge), errors.Is(result.Err, kerr.RecordListTooLarge):
			refused[result.Record] = true
		case err == nil:
			err = result.Err
		}
	}
	for i := range batch {
		if refused[batch[i]] {
			tooLarge = append(tooLarge, records[i])
		}
	}
	return tooLarge, err
}

// The headers that say what a published dead letter lacks.
const (
	errorsPrefix         = "__connect.errors."
	valueOmittedHeader   = errorsPrefix + "value.omitted"   // the value's size in bytes
	keyOmittedHeader     = errorsPrefix + "key.omitted"     // the key's size in bytes
	headersOmittedHeader = errorsPrefix + "headers.omitted" // how many
	// smallHeaderBytes is the size up to which a header that says where a dead
	// letter is from stays with it.
	smallHeaderBytes = 256
)

// lighter gives what is published of a record that is too large, so that it does
// not keep the others waiting for ever: first all but the value, then only the
// short headers of Kafka Connect, which name the record's topic, partition and
// offset. The whole record is where the sink or the topic keeps it.
func lighter(r *connect.Record) []connect.Record {
	omitted := func(key string, n int) connect.Header {
		return connect.Header{Key: key, Value: strconv.AppendInt(nil, int64(n), 10)}
	}
	noValue := *r
	noValue.Value = nil
	noValue.Headers = append(slices.Clone(r.Headers), omitted(valueOmittedHeader, len(r.Value)))

	bare := connect.Record{Offset: r.Offset, Timestamp: r.Timestamp}
	dropped := 0
	for _, h := range r.Headers {
		if strings.HasPrefix(h.Key, errorsPrefix) && len(h.Key)+len(h.Value) <= smallHeaderBytes {
			bare.Headers = append(bare.Headers, h)
		} else {
			dropped++
		}
	}
	bare.Headers = append(bare.Headers, omitted(valueOmittedHeader, len(r.Value)), omitted(keyOmittedHeader, len(r.Key)), omitted(headersOmittedHeader, dropped))
	return []connect.Record{noValue, bare}
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

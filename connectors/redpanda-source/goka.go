package redpandasource

import (
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"math"
	"time"
	"unsafe"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"

	"github.com/qicore/tickconnect/connect"
)

// rawValue is a record's value as goka hands it to the callback.
type rawValue []byte

// rawCodec leaves values as they are.
type rawCodec struct{}

func (rawCodec) Decode(data []byte) (any, error) { return rawValue(data), nil }

func (rawCodec) Encode(value any) ([]byte, error) {
	return nil, fmt.Errorf("a source writes nothing: %T", value)
}

// keyBytes gives the bytes of goka's copy of a key without another copy. They
// must not be changed. goka makes a missing key an empty one; both are nil here,
// and Log.Read tells them apart.
func keyBytes(key string) []byte {
	if key == "" {
		return nil
	}
	return unsafe.Slice(unsafe.StringData(key), len(key))
}

// timestampMs gives a record's time as the log holds it.
func timestampMs(t time.Time) int64 {
	if t.IsZero() {
		return connect.NoTimestamp
	}
	return max(t.UnixMilli(), connect.NoTimestamp)
}

// saramaTimestampMs gives what timestampMs gives for the same record read from
// the log. A record's time is stored as a distance from its batch's first, and
// where the batch says that its first record has none (-1), sarama counts from
// the year 1 instead.
func saramaTimestampMs(t time.Time) int64 {
	if since := t.Sub(time.Time{}); since < math.MaxInt64 { // within 292 years: Sub saturates
		return max(since.Milliseconds()+connect.NoTimestamp, connect.NoTimestamp)
	}
	return timestampMs(t)
}

// A goka processor makes clients for tables, views and outputs as well. A source
// has none of these, so what follows stands in for them and opens no connection.

var errNoOutput = errors.New("a source writes nothing")

type noProducer struct{}

func noProducerBuilder([]string, string, func() hash.Hash32) (goka.Producer, error) {
	return noProducer{}, nil
}

func (noProducer) Emit(topic, key string, value []byte) *goka.Promise {
	return noProducer{}.EmitWithHeaders(topic, key, value, nil)
}

func (noProducer) EmitWithHeaders(string, string, []byte, goka.Headers) *goka.Promise {
	_, finish := goka.NewPromiseWithFinisher()
	return finish(nil, errNoOutput)
}

func (noProducer) Close() error { return nil }

type noConsumer struct{}

func (noConsumer) Topics() ([]string, error)          { return nil, nil }
func (noConsumer) Partitions(string) ([]int32, error) { return nil, nil }
func (noConsumer) ConsumePartition(topic string, partition int32, _ int64) (sarama.PartitionConsumer, error) {
	return nil, fmt.Errorf("a source has no table: %s/%d", topic, partition)
}
func (noConsumer) HighWaterMarks() map[string]map[int32]int64 { return nil }
func (noConsumer) Close() error                               { return nil }
func (noConsumer) Pause(map[string][]int32)                   {}
func (noConsumer) Resume(map[string][]int32)                  {}
func (noConsumer) PauseAll()                                  {}
func (noConsumer) ResumeAll()                                 {}

// topicManager answers goka's one question, how many partitions the topic has,
// from what discovery saw.
type topicManager struct{ topic *topic }

func (m topicManager) Partitions(string) ([]int32, error) {
	partitions := make([]int32, m.topic.partitionCount())
	for i := range partitions {
		partitions[i] = int32(i)
	}
	return partitions, nil
}

func (topicManager) EnsureTableExists(string, int) error { return errNoOutput }

func (topicManager) EnsureStreamExists(string, int) error { return errNoOutput }

func (topicManager) EnsureTopicExists(string, int, int, map[string]string) error { return errNoOutput }

func (topicManager) GetOffset(string, int32, int64) (int64, error) { return 0, errNoOutput }
func (topicManager) Close() error                                  { return nil }

// gokaLogger sends goka's chatter to the debug level: what an operator must know
// is logged here.
type gokaLogger struct{ log *slog.Logger }

func (l gokaLogger) Print(args ...any) { l.log.Debug("goka", "says", fmt.Sprint(args...)) }

func (l gokaLogger) Println(args ...any) { l.log.Debug("goka", "says", fmt.Sprint(args...)) }

func (l gokaLogger) Printf(format string, args ...any) {
	l.log.Debug("goka", "says", fmt.Sprintf(format, args...))
}

package main

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// producerBatchBytes is the default batch.size of Kafka's own producers.
const producerBatchBytes = 16 << 10

// newProducer makes a producer as the topics' users have one: lz4, idempotent,
// all replicas acknowledge. Records carry their partition.
func newProducer(brokers string, opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(strings.Split(brokers, ",")...),
		kgo.ProducerBatchCompression(kgo.Lz4Compression()),
		kgo.ProducerBatchMaxBytes(producerBatchBytes),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.MaxBufferedRecords(50_000),
	}, opts...)...)
}

func createTopics(ctx context.Context, brokers string, partitions int32, topics ...string) error {
	client, err := newProducer(brokers)
	if err != nil {
		return err
	}
	defer client.Close()
	made, err := kadm.NewClient(client).CreateTopics(ctx, partitions, 1, nil, topics...)
	if err != nil {
		return err
	}
	return made.Error()
}

// partitioner chooses partitions as Kafka's Java producers do: murmur2 of the
// key, which is the symbol.
type partitioner struct {
	kafka      kgo.TopicPartitioner
	partitions int
}

func newPartitioner(topic string, partitions int32) partitioner {
	return partitioner{kgo.StickyKeyPartitioner(nil).ForTopic(topic), int(partitions)}
}

func (p partitioner) of(key string) int32 {
	return int32(p.kafka.Partition(&kgo.Record{Key: []byte(key)}, p.partitions))
}

// fill produces n records of a feed to a topic and calls each, where it is set,
// with the partition and the offset that each of them gets.
func fill(ctx context.Context, client *kgo.Client, topic string, partitions int32, f *feed, n int, each func(partition int32, offset int64)) error {
	var failed firstError
	p := newPartitioner(topic, partitions)
	offsets := make([]int64, partitions)
	for range n {
		f.next()
		key := f.current.ticker
		at := p.of(key)
		if each != nil {
			each(at, offsets[at])
		}
		want := offsets[at]
		offsets[at]++
		record := &kgo.Record{Topic: topic, Partition: at, Key: []byte(key), Value: f.appendJSON(make([]byte, 0, 256))}
		client.Produce(ctx, record, func(r *kgo.Record, err error) {
			if err == nil && r.Offset != want {
				err = fmt.Errorf("%s/%d: a record got offset %d, not %d", topic, r.Partition, r.Offset, want)
			}
			failed.set(err)
		})
	}
	if err := client.Flush(ctx); err != nil {
		return err
	}
	return failed.get()
}

// firstError keeps the first error of several goroutines.
type firstError struct {
	mu  sync.Mutex
	err error
}

func (f *firstError) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}

func (f *firstError) get() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

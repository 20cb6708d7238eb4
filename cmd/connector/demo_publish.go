package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/internal/recording"
	"github.com/qicore/tickconnect/marketdata"
)

// The recording is published exactly once over any number of runs, and its
// place is kept nowhere but in the log itself. The order of the recording and
// the partition of a key never change, so the n-th record of a partition is
// always the same one, and the partition's end says how many are there. A run
// that was interrupted anywhere, even between the broker's write and its
// answer, is therefore continued at the right record. Nobody else may write to
// the topics: checkPublished refuses them where somebody did.

// publisher writes the recording to its topics.
type publisher struct {
	client *kgo.Client
	ends   logEnds // where the logs ended before this run
	// published counts the records that the log holds, those of earlier runs too.
	published atomic.Int64
}

// newPublisherClient is idempotent and asks for all replicas' acknowledgement;
// its partitioner is the Java client's, and marketdata.Partition's.
func newPublisherClient(brokers []string) (*kgo.Client, error) {
	return kgo.NewClient(
		kgo.SeedBrokers(brokers...),
		kgo.ClientID("tickconnect-demo"),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchCompression(kgo.Lz4Compression()),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)),
		kgo.ProducerLinger(20*time.Millisecond),
	)
}

// checkPublished makes sure that the logs hold the beginning of the recording
// and nothing else. It reads the last record of each partition.
func (p *publisher) checkPublished(ctx context.Context, admin *kadm.Client) error {
	last, err := lastRecords(ctx, p.client, admin, p.ends)
	if err != nil {
		return err
	}
	reader, err := recording.Open()
	if err != nil {
		return err
	}
	defer reader.Close()
	seen := make(map[string][]int64)
	for topic, partitions := range p.ends {
		seen[topic] = make([]int64, len(partitions))
	}
	for {
		r, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		partition := marketdata.Partition(r.Key, int32(len(seen[r.Topic])))
		offset := seen[r.Topic][partition]
		seen[r.Topic][partition]++
		if offset != p.ends[r.Topic][partition]-1 {
			continue
		}
		if l := last[connect.TopicPartition{Topic: r.Topic, Partition: partition}]; l != nil && !(bytes.Equal(l.Key, r.Key) && bytes.Equal(l.Value, r.Value)) {
			return foreignError(r.Topic, partition, offset)
		}
	}
	for topic, partitions := range p.ends {
		for partition, end := range partitions {
			if end > seen[topic][partition] {
				return foreignError(topic, int32(partition), end-1)
			}
		}
	}
	p.published.Store(p.ends.records())
	return nil
}

func foreignError(topic string, partition int32, offset int64) error {
	return fmt.Errorf("%s/%d holds at offset %d a record that is not of this recording: the demo writes only to topics of its own; "+
		"delete the topic, or name other brokers or another --data-dir", topic, partition, offset)
}

// lastRecords reads the record before each end. One that has expired is left out.
func lastRecords(ctx context.Context, client *kgo.Client, admin *kadm.Client, ends logEnds) (map[connect.TopicPartition]*kgo.Record, error) {
	starts, err := admin.ListStartOffsets(ctx, ends.topics()...)
	if err != nil {
		return nil, fmt.Errorf("reading the starts of the topics: %w", err)
	}
	if err := starts.Error(); err != nil {
		return nil, fmt.Errorf("reading the starts of the topics: %w", err)
	}
	from := make(map[string]map[int32]kgo.Offset)
	missing := make(map[connect.TopicPartition]int64)
	for topic, partitions := range ends {
		for partition, end := range partitions {
			start, _ := starts.Lookup(topic, int32(partition))
			if end == 0 || start.Offset >= end {
				continue
			}
			if from[topic] == nil {
				from[topic] = make(map[int32]kgo.Offset)
			}
			from[topic][int32(partition)] = kgo.NewOffset().At(end - 1)
			missing[connect.TopicPartition{Topic: topic, Partition: int32(partition)}] = end - 1
		}
	}
	client.AddConsumePartitions(from)
	defer client.PurgeTopicsFromConsuming(ends.topics()...)
	last := make(map[connect.TopicPartition]*kgo.Record)
	for len(missing) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return nil, fmt.Errorf("reading what is published: %w", err)
		}
		for _, e := range fetches.Errors() {
			return nil, fmt.Errorf("reading what is published in %s/%d: %w", e.Topic, e.Partition, e.Err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			tp := connect.TopicPartition{Topic: r.Topic, Partition: r.Partition}
			if offset, ok := missing[tp]; ok && r.Offset == offset {
				last[tp] = r
				delete(missing, tp)
			}
		})
	}
	return last, nil
}

// publish writes what the logs do not hold yet, at most rate records a second
// where rate is above 0, and returns once the broker has acknowledged all.
func (p *publisher) publish(ctx context.Context, rate int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	reader, err := recording.Open()
	if err != nil {
		return err
	}
	defer reader.Close()
	seen := make(map[string][]int64)
	for topic, partitions := range p.ends {
		seen[topic] = make([]int64, len(partitions))
	}
	acknowledged := func(r *kgo.Record, err error) {
		if err != nil {
			cancel(fmt.Errorf("publishing to %s: %w", r.Topic, err))
			return
		}
		p.published.Add(1)
	}
	pace := newPace(rate)
	for {
		r, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		partition := marketdata.Partition(r.Key, int32(len(seen[r.Topic])))
		seen[r.Topic][partition]++
		if seen[r.Topic][partition] <= p.ends[r.Topic][partition] {
			continue
		}
		if err := pace.wait(ctx); err != nil {
			return context.Cause(ctx)
		}
		p.client.Produce(ctx, &kgo.Record{Topic: r.Topic, Key: r.Key, Value: r.Value}, acknowledged)
	}
	if err := p.client.Flush(ctx); err != nil {
		return context.Cause(ctx)
	}
	return context.Cause(ctx)
}

// pace lets a number of records through each second.
type pace struct {
	rate  int // 0: any
	begun time.Time
	n     int
}

func newPace(rate int) *pace { return &pace{rate: rate, begun: time.Now()} }

// wait returns when the next record is due.
func (p *pace) wait(ctx context.Context) error {
	p.n++
	if p.rate <= 0 || p.n%max(1, p.rate/100) != 0 {
		return ctx.Err()
	}
	due := p.begun.Add(time.Duration(float64(p.n) / float64(p.rate) * float64(time.Second)))
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qicore/tickconnect/publish"
)

const (
	readFetchBytes = 1 << 20
	// readTries is how often in a row an answer may hold nothing, or fail for a
	// reason that passes.
	readTries    = 5
	readBackoff  = 200 * time.Millisecond
	readMaxBytes = 1<<31 - 1
)

// logReader reads ranges of a topic's logs under read_committed, without a group
// and without any trace at the brokers. It fetches itself where a consuming
// client would do: that shows no position, and would wait for ever for the
// records of a range that ends in a transaction's marker, in an aborted
// transaction, or in what compaction removed.
type logReader struct {
	client *kgo.Client
	topic  string
	record func(*kgo.Record)
	batch  func(kgo.FetchBatchMetrics) // may be nil

	id      [16]byte
	leaders map[int32]int32 // nil: not known
}

// read shows the records in [from, to) of a partition that are there. It ends
// early, without an error, where the broker has nothing any more before to.
func (r *logReader) read(ctx context.Context, partition int32, from, to int64) error {
	next, tries := from, 0
	for next < to {
		p, err := r.fetch(ctx, partition, next)
		switch {
		case errors.Is(err, kerr.OffsetOutOfRange):
			start, err := r.start(ctx, partition)
			if err != nil || start <= next {
				return err
			}
			next = start // retention has deleted what was to be read
			continue
		case err != nil && (ctx.Err() != nil || !passes(err) || tries >= readTries):
			return err
		case err != nil:
			tries, r.leaders = tries+1, nil
			if err := pause(ctx, readBackoff); err != nil {
				return err
			}
			continue
		}
		decoded, after := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
			Offset: next, IsolationLevel: kgo.ReadCommitted(), Topic: r.topic, Partition: partition,
		}, p, kgo.DefaultDecompressor(), r.batch)
		for _, record := range decoded.Records {
			if record.Offset >= next && record.Offset < to {
				r.record(record)
			}
		}
		switch {
		case after > next:
			next, tries = after, 0
		case decoded.Err != nil:
			return fmt.Errorf("a batch at offset %d cannot be read: %w", next, decoded.Err)
		case tries >= readTries:
			return nil // nothing is left before the end: compacted away
		default:
			tries++
		}
	}
	return nil
}

// passes says whether waiting may mend an error: a broker that is away, a leader
// that moves.
func passes(err error) bool {
	var answered *kerr.Error
	return !errors.As(err, &answered) || answered.Retriable
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fetch asks a partition's leader once. The broker may take a moment where it
// has nothing.
func (r *logReader) fetch(ctx context.Context, partition int32, offset int64) (*kmsg.FetchResponseTopicPartition, error) {
	if r.leaders == nil {
		if err := r.findLeaders(ctx); err != nil {
			return nil, err
		}
	}
	leader, ok := r.leaders[partition]
	if !ok || leader < 0 {
		return nil, kerr.LeaderNotAvailable
	}
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.CurrentLeaderEpoch, p.PartitionMaxBytes = partition, offset, -1, readFetchBytes
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID = r.topic, r.id
	t.Partitions = append(t.Partitions, p)
	req := kmsg.NewPtrFetchRequest()
	req.MaxBytes, req.MinBytes, req.MaxWaitMillis = readMaxBytes, 1, int32(readBackoff.Milliseconds())
	req.IsolationLevel = 1 // read_committed, as connectors read
	req.SessionEpoch = -1  // no fetch session
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, r.client.Broker(int(leader)))
	if err != nil {
		return nil, err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return nil, kerr.RequestTimedOut // throttled: the answer leaves the partition out
	}
	rp := &resp.Topics[0].Partitions[0]
	return rp, kerr.ErrorForCode(rp.ErrorCode)
}

// start is where the partition's log begins now.
func (r *logReader) start(ctx context.Context, partition int32) (int64, error) {
	listed, err := kadm.NewClient(r.client).ListStartOffsets(ctx, r.topic)
	if err != nil {
		return 0, err
	}
	o, ok := listed.Lookup(r.topic, partition)
	if !ok {
		return 0, kerr.UnknownTopicOrPartition
	}
	return o.Offset, o.Err
}

func (r *logReader) findLeaders(ctx context.Context) error {
	req := kmsg.NewPtrMetadataRequest()
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = &r.topic
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, r.client)
	if err != nil {
		return err
	}
	if len(resp.Topics) != 1 {
		return kerr.UnknownTopicOrPartition
	}
	if err := kerr.ErrorForCode(resp.Topics[0].ErrorCode); err != nil {
		return err
	}
	r.id, r.leaders = resp.Topics[0].TopicID, map[int32]int32{}
	for i := range resp.Topics[0].Partitions {
		p := &resp.Topics[0].Partitions[i]
		r.leaders[p.Partition] = p.Leader
	}
	return nil
}

// logRange is a part of a partition's log.
type logRange struct {
	partition int32
	from, to  int64
}

// lastOf are the last n offsets of a topic, spread over the partitions as its
// records are: as many from each would hide that one holds most of them. Each
// that holds any gives one at least.
func lastOf(t publish.Topic, spans topicSpans, n int64) []logRange {
	var all int64
	for _, s := range spans {
		all += s.stable - s.start
	}
	var ranges []logRange
	for _, p := range t.Layout {
		s := spans[p.ID]
		has := s.stable - s.start
		if s.err != nil || has <= 0 {
			continue
		}
		take := has
		if all > n {
			take = max(1, int64(float64(n)*float64(has)/float64(all)))
		}
		ranges = append(ranges, logRange{p.ID, s.stable - take, s.stable})
	}
	return ranges
}

package redpandasource

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qicore/tickconnect/connect"
)

// Timestamps with a meaning of their own in ListOffsets.
const (
	timestampLatest   int64 = -1
	timestampEarliest int64 = -2
)

const (
	readUncommitted int8 = 0
	readCommitted   int8 = 1
)

// Bounds implements connect.Log: one metadata request and three requests to
// each leader, however many partitions are asked for. Where some cannot be read
// it returns the others with the error, which is connect.Retriable if waiting
// may mend it.
func (l *Log) Bounds(ctx context.Context, tps []connect.TopicPartition) (map[connect.TopicPartition]connect.Bounds, error) {
	found := make(map[connect.TopicPartition]connect.Bounds, len(tps))
	open := make(map[connect.TopicPartition]bool, len(tps))
	for _, tp := range tps {
		open[tp] = true
	}
	err := retry(ctx, func() error { return l.bounds(ctx, open, found) })
	if errors.Is(err, errNoPartition) {
		err = nil // those still open do not exist
	}
	return found, err
}

// bounds tries the open partitions once and moves those that it could read to
// found.
func (l *Log) bounds(ctx context.Context, open map[connect.TopicPartition]bool, found map[connect.TopicPartition]connect.Bounds) error {
	if len(open) == 0 {
		return nil
	}
	var names []string
	seen := make(map[string]bool)
	for tp := range open {
		if !seen[tp.Topic] {
			seen[tp.Topic] = true
			names = append(names, tp.Topic)
		}
	}
	topics, err := l.describe(ctx, names)
	if err != nil {
		return err
	}
	var missing, failed error
	byLeader := make(map[int32][]connect.TopicPartition)
	for tp := range open {
		t, ok := topics[tp.Topic]
		p, has := t.partitions[tp.Partition]
		switch {
		case ok && t.err != nil:
			failed = fmt.Errorf("%s: %w", tp, t.err)
		case !has:
			missing = fmt.Errorf("%s: %w", tp, errNoPartition)
		case p.err != nil:
			failed = fmt.Errorf("%s: %w", tp, p.err)
		default:
			byLeader[p.leader] = append(byLeader[p.leader], tp)
		}
	}
	ends, err := l.ends(ctx, byLeader)
	if err != nil {
		failed = err
	}
	for tp, b := range ends {
		b.TopicID = topics[tp.Topic].id
		found[tp] = b
		delete(open, tp)
	}
	if failed != nil {
		return failed
	}
	return missing
}

// ends asks each leader for the starts, stable ends and ends of its partitions.
// It answers for the partitions for which all three could be read.
func (l *Log) ends(ctx context.Context, byLeader map[int32][]connect.TopicPartition) (map[connect.TopicPartition]connect.Bounds, error) {
	type answer struct {
		offsets [3]map[connect.TopicPartition]int64
		err     error
	}
	asked := [3]struct {
		timestamp int64
		isolation int8
	}{
		{timestampEarliest, readUncommitted},
		{timestampLatest, readCommitted},
		{timestampLatest, readUncommitted},
	}
	var (
		wg      sync.WaitGroup
		mu      sync.Mutex
		answers = make(map[int32]*answer, len(byLeader))
	)
	for leader, tps := range byLeader {
		a := &answer{}
		answers[leader] = a
		for i, ask := range asked {
			wg.Go(func() {
				offsets, err := l.listOffsets(ctx, leader, tps, ask.timestamp, ask.isolation)
				mu.Lock()
				defer mu.Unlock()
				a.offsets[i] = offsets
				if err != nil {
					a.err = err
				}
			})
		}
	}
	wg.Wait()

	out := make(map[connect.TopicPartition]connect.Bounds)
	var err error
	for leader, tps := range byLeader {
		a := answers[leader]
		if a.err != nil {
			err = a.err
		}
		for _, tp := range tps {
			start, ok0 := a.offsets[0][tp]
			stable, ok1 := a.offsets[1][tp]
			end, ok2 := a.offsets[2][tp]
			if ok0 && ok1 && ok2 {
				// The three were read one after the other while the log grew.
				stable = max(stable, start)
				out[tp] = connect.Bounds{Start: start, Stable: stable, End: max(end, stable)}
			}
		}
	}
	return out, err
}

// listOffsets asks one broker. The partitions that it answers with an error are
// left out, and the last such error is returned with the others' offsets.
func (l *Log) listOffsets(ctx context.Context, broker int32, tps []connect.TopicPartition, timestamp int64, isolation int8) (map[connect.TopicPartition]int64, error) {
	byTopic := make(map[string][]int32)
	for _, tp := range tps {
		byTopic[tp.Topic] = append(byTopic[tp.Topic], tp.Partition)
	}
	req := kmsg.NewListOffsetsRequest()
	req.IsolationLevel = isolation
	for topic, partitions := range byTopic {
		t := kmsg.NewListOffsetsRequestTopic()
		t.Topic = topic
		for _, partition := range partitions {
			p := kmsg.NewListOffsetsRequestTopicPartition()
			p.Partition = partition
			p.CurrentLeaderEpoch = -1
			p.Timestamp = timestamp
			t.Partitions = append(t.Partitions, p)
		}
		req.Topics = append(req.Topics, t)
	}
	kresp, err := l.client.Broker(int(broker)).Request(ctx, &req)
	if err != nil {
		return nil, fmt.Errorf("listing offsets: %w", err)
	}
	resp, ok := kresp.(*kmsg.ListOffsetsResponse)
	if !ok {
		return nil, fmt.Errorf("listing offsets: unexpected answer %T", kresp)
	}
	offsets := make(map[connect.TopicPartition]int64, len(tps))
	for i := range resp.Topics {
		t := &resp.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			tp := connect.TopicPartition{Topic: t.Topic, Partition: p.Partition}
			if perr := kerr.ErrorForCode(p.ErrorCode); perr != nil {
				err = fmt.Errorf("listing offsets of %s: %w", tp, perr)
				continue
			}
			offsets[tp] = p.Offset
		}
	}
	return offsets, err
}

// offsetsAt finds the first offset whose record's time is at or after a time.
// Partitions without one are left out.
func (l *Log) offsetsAt(ctx context.Context, tps []connect.TopicPartition, at time.Time) (map[connect.TopicPartition]int64, error) {
	offsets := make(map[connect.TopicPartition]int64, len(tps))
	open := tps
	err := retry(ctx, func() error {
		byLeader := make(map[int32][]connect.TopicPartition)
		for _, tp := range open {
			_, leader, err := l.leader(ctx, tp)
			if err != nil {
				return fmt.Errorf("%s: %w", tp, err)
			}
			byLeader[leader] = append(byLeader[leader], tp)
		}
		open = nil
		var failed error
		for leader, tps := range byLeader {
			found, err := l.listOffsets(ctx, leader, tps, at.UnixMilli(), readCommitted)
			if err != nil {
				failed = err
			}
			for _, tp := range tps {
				offset, ok := found[tp]
				switch {
				case !ok:
					open = append(open, tp)
				case offset >= 0:
					offsets[tp] = offset
				}
			}
		}
		return failed
	})
	return offsets, err
}

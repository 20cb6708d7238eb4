package rekey

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Begun says whether a copy was begun under a group, and whether it has copied
// anything since.
func Begun(ctx context.Context, client *kgo.Client, group string, from []string) (begun, moved bool, err error) {
	admin := kadm.NewClient(client)
	committed, err := groupOffsets(ctx, admin, group)
	if err != nil {
		return false, false, explain(err)
	}
	starts, err := listed(ctx, admin.ListStartOffsets, from)
	if err != nil {
		return false, false, fmt.Errorf("reading where the topics begin: %w", explain(err))
	}
	committed.Each(func(o kadm.OffsetResponse) {
		begun = begun || o.At >= 0
		start, ok := starts.Lookup(o.Topic, o.Partition)
		moved = moved || ok && o.At > start.Offset
	})
	return begun, moved, nil
}

// Begin notes that a copy is begun, before its first transaction: one that is
// killed in there leaves a topic that is not empty, and nothing else.
func Begin(ctx context.Context, client *kgo.Client, group string, from []string) error {
	admin := kadm.NewClient(client)
	starts, err := listed(ctx, admin.ListStartOffsets, from)
	if err != nil {
		return fmt.Errorf("reading where the topics begin: %w", explain(err))
	}
	err = patiently(ctx, func() error { return admin.CommitAllOffsets(ctx, group, starts.Offsets()) })
	if err != nil {
		return fmt.Errorf("beginning group %s: %w", group, explain(err))
	}
	return nil
}

// groupOffsets are none of a group that is not there.
func groupOffsets(ctx context.Context, admin *kadm.Client, group string) (offsets kadm.OffsetResponses, err error) {
	err = patiently(ctx, func() (err error) {
		offsets, err = admin.FetchOffsets(ctx, group)
		return err
	})
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return nil, fmt.Errorf("reading the offsets of group %s: %w", group, err)
	}
	return offsets, nil
}

// listed are offsets of all partitions of topics that are there.
func listed(ctx context.Context, list func(context.Context, ...string) (kadm.ListedOffsets, error), topics []string) (offsets kadm.ListedOffsets, err error) {
	err = patiently(ctx, func() (err error) {
		if offsets, err = list(ctx, topics...); err != nil {
			return err
		}
		for _, topic := range topics {
			if len(offsets[topic]) == 0 {
				return kerr.UnknownTopicOrPartition // which may be so for a moment
			}
		}
		return offsets.Error()
	})
	return offsets, err
}

// patiently tries again what brokers answer for a moment, as when the first group
// of a cluster makes the topic that keeps offsets.
func patiently(ctx context.Context, f func() error) error {
	for {
		err := f()
		if err == nil || !kerr.IsRetriable(err) {
			return err
		}
		select {
		case <-time.After(lookInterval):
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/marketdata"
	"github.com/qicore/tickconnect/publish"
)

// createTopics makes the topics that are missing, with the settings of their
// kinds, and returns how many it made.
func createTopics(ctx context.Context, client *kgo.Client, topics []string) (int, error) {
	admin := publish.NewAdmin(client)
	found, err := admin.Describe(ctx, topics...)
	if err != nil {
		return 0, fmt.Errorf("asking the brokers (--brokers) for the topics: %w", err)
	}
	made := 0
	for _, t := range found {
		if t.Err == nil {
			continue
		}
		kind, _, _ := marketdata.KindOfTopic(t.Name)
		switch err := admin.Create(ctx, t.Name, publish.DefaultTopicSettings(kind)); {
		case err == nil:
			made++
		case !errors.Is(err, kerr.TopicAlreadyExists):
			return made, err
		}
		if _, err := admin.Await(ctx, t.Name); err != nil {
			return made, err
		}
	}
	return made, nil
}

// logEnds are the ends of partitions' logs by topic and partition.
type logEnds map[string][]int64

// endOffsets reads the end of every partition of the topics.
func endOffsets(ctx context.Context, admin *kadm.Client, topics []string) (logEnds, error) {
	listed, err := admin.ListEndOffsets(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("reading the ends of the topics: %w", err)
	}
	if err := listed.Error(); err != nil {
		return nil, fmt.Errorf("reading the ends of the topics: %w", err)
	}
	ends := make(logEnds)
	for topic, partitions := range listed {
		ends[topic] = make([]int64, len(partitions))
		for partition, end := range partitions {
			if int(partition) >= len(partitions) {
				return nil, fmt.Errorf("%s: partition %d of %d is listed", topic, partition, len(partitions))
			}
			ends[topic][partition] = end.Offset
		}
	}
	for _, topic := range topics {
		if len(ends[topic]) == 0 {
			return nil, fmt.Errorf("topic %s has no partition", topic)
		}
	}
	return ends, nil
}

// records is how many offsets there are below all ends.
func (e logEnds) records() int64 {
	var n int64
	for _, partitions := range e {
		for _, end := range partitions {
			n += end
		}
	}
	return n
}

// behind is how far the other ends lie behind these.
func (e logEnds) behind(stored logEnds) int64 {
	var n int64
	for topic, partitions := range e {
		for partition, end := range partitions {
			next := int64(0)
			if partition < len(stored[topic]) {
				next = stored[topic][partition]
			}
			n += max(0, end-next)
		}
	}
	return n
}

func (e logEnds) topics() []string {
	var topics []string
	for topic := range e {
		topics = append(topics, topic)
	}
	slices.Sort(topics)
	return topics
}

func (e logEnds) partitions() []connect.TopicPartition {
	var tps []connect.TopicPartition
	for topic, partitions := range e {
		for partition := range partitions {
			tps = append(tps, connect.TopicPartition{Topic: topic, Partition: int32(partition)})
		}
	}
	return tps
}

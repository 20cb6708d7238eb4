package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/qicore/tickconnect/connect"
)

// demoPartitions is how many partitions a topic of the recording gets.
const demoPartitions = 12

// demoTopicConfigs are the settings of topics of market data.
var demoTopicConfigs = map[string]*string{
	"retention.ms":     kadm.StringPtr("604800000"),
	"compression.type": kadm.StringPtr("lz4"),
	"cleanup.policy":   kadm.StringPtr("delete"),
}

// createTopics makes the topics that are missing, with as many replicas as the
// brokers allow up to three, and returns how many it made.
func createTopics(ctx context.Context, admin *kadm.Client, topics []string) (int, error) {
	brokers, err := admin.ListBrokers(ctx)
	if err != nil {
		return 0, fmt.Errorf("asking the brokers (--brokers) who they are: %w", err)
	}
	replicas := int16(min(3, len(brokers)))
	responses, err := admin.CreateTopics(ctx, demoPartitions, replicas, demoTopicConfigs, topics...)
	if err != nil {
		return 0, fmt.Errorf("creating topics: %w", err)
	}
	made := 0
	for _, r := range responses.Sorted() {
		switch {
		case r.Err == nil:
			made++
		case !errors.Is(r.Err, kerr.TopicAlreadyExists):
			return made, fmt.Errorf("creating topic %s: %w", r.Topic, r.Err)
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

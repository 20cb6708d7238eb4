package redpandasource

import (
	"hash/fnv"
	"maps"
	"slices"

	"github.com/IBM/sarama"
)

// spread divides a topic's partitions among the members in ranges as equal as
// can be, and begins with another member for each topic. goka's own strategy
// always begins with the same: of thirty topics with one partition each, one
// replica would read them all.
type spread struct{}

// Name implements sarama.BalanceStrategy. All members of a group must know it.
func (spread) Name() string { return "tickconnect-spread" }

// Plan implements sarama.BalanceStrategy.
func (spread) Plan(members map[string]sarama.ConsumerGroupMemberMetadata, topics map[string][]int32) (sarama.BalanceStrategyPlan, error) {
	plan := make(sarama.BalanceStrategyPlan, len(members))
	for topic, partitions := range topics {
		var readers []string
		for _, member := range slices.Sorted(maps.Keys(members)) {
			if slices.Contains(members[member].Topics, topic) {
				readers = append(readers, member)
			}
		}
		if len(readers) == 0 {
			continue
		}
		hash := fnv.New32a()
		_, _ = hash.Write([]byte(topic)) // it never fails
		first := int(hash.Sum32() % uint32(len(readers)))
		partitions = slices.Sorted(slices.Values(partitions))
		for i := range readers {
			from, to := i*len(partitions)/len(readers), (i+1)*len(partitions)/len(readers)
			if from < to {
				plan.Add(readers[(first+i)%len(readers)], topic, partitions[from:to]...)
			}
		}
	}
	return plan, nil
}

// AssignmentData implements sarama.BalanceStrategy.
func (spread) AssignmentData(string, map[string][]int32, int32) ([]byte, error) { return nil, nil }

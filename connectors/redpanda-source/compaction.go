package redpandasource

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/qicore/tickconnect/connect"
)

// compactionTTL is how long a topic's configuration is believed.
const compactionTTL = time.Minute

// compactions remembers of each topic whether its log is compacted.
type compactions struct {
	mu     sync.Mutex
	topics map[string]compaction
}

type compaction struct {
	id        connect.TopicID
	compacted bool
	until     time.Time
}

// compacted says whether a topic's log is compacted and lies on its brokers
// alone. Where the brokers do not tell, it is not.
func (l *Log) compacted(ctx context.Context, topic string, id connect.TopicID) bool {
	if c, ok := l.compactions.get(topic); ok && c.id == id && time.Now().Before(c.until) {
		return c.compacted
	}
	configs, err := l.admin.DescribeTopicConfigs(ctx, topic)
	if err != nil && transient(err) {
		return false // asked again at the next occasion
	}
	c := compaction{id: id, until: time.Now().Add(compactionTTL)}
	config, err := configs.On(topic, nil)
	c.compacted = err == nil && config.Err == nil && onlyCompacted(config.Configs)
	l.compactions.set(topic, c)
	return c.compacted
}

// onlyCompacted reads a topic's configuration. Kafka compacts no topic that has
// a remote tier, Redpanda may.
func onlyCompacted(configs []kadm.Config) bool {
	compacted := false
	for i := range configs {
		value := configs[i].MaybeValue()
		switch configs[i].Key {
		case "cleanup.policy":
			compacted = slices.ContainsFunc(strings.Split(value, ","), func(policy string) bool {
				return strings.TrimSpace(policy) == "compact"
			})
		case "remote.storage.enable", "redpanda.remote.read":
			if value == "true" {
				return false
			}
		case "redpanda.storage.mode":
			if value != "" && value != "unset" && value != "local" {
				return false
			}
		}
	}
	return compacted
}

func (c *compactions) get(topic string) (compaction, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known, ok := c.topics[topic]
	return known, ok
}

func (c *compactions) set(topic string, known compaction) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.topics == nil {
		c.topics = make(map[string]compaction)
	}
	c.topics[topic] = known
}

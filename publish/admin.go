package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qicore/tickconnect/marketdata"
)

// TopicSettings are what a topic is made with.
type TopicSettings struct {
	Partitions  int32
	Replication int16         // at most; a cluster of fewer brokers has one replica on each
	Retention   time.Duration // how long records are kept; below 0: for ever
	Compression string        // Kafka's compression.type
	Cleanup     string        // Kafka's cleanup.policy
}

// DefaultTopicSettings are those of a kind: 12 partitions, three replicas, a
// week, lz4, records deleted by age and never compacted: a tape has no key under
// which an older record is of no more use.
func DefaultTopicSettings(marketdata.Kind) TopicSettings {
	return TopicSettings{Partitions: 12, Replication: 3, Retention: 7 * 24 * time.Hour, Compression: "lz4", Cleanup: "delete"}
}

// String shows the settings in one line.
func (s TopicSettings) String() string {
	return fmt.Sprintf("partitions=%d replication=%d retention.ms=%s compression.type=%s cleanup.policy=%s",
		s.Partitions, s.Replication, s.retention(), s.Compression, s.Cleanup)
}

func (s TopicSettings) retention() string {
	if s.Retention < 0 {
		return "-1"
	}
	return strconv.FormatInt(s.Retention.Milliseconds(), 10)
}

// Configs are the settings under Kafka's names.
func (s TopicSettings) Configs() map[string]string {
	return map[string]string{"retention.ms": s.retention(), "compression.type": s.Compression, "cleanup.policy": s.Cleanup}
}

// Topic is a topic as the cluster has it.
type Topic struct {
	Name        string
	Partitions  int32
	Replication int16             // that of the partition which has the fewest replicas
	Configs     map[string]string // under Kafka's names; nil where they cannot be read
	Layout      []Partition       // where the partitions lie, in their order
	Err         error             // why the topic cannot be described: kerr.UnknownTopicOrPartition where it is not there
}

// Partition is where a partition lies.
type Partition struct {
	ID       int32
	Leader   int32 // below 0: none, so that it can be neither written nor read
	Replicas int
	InSync   int // of the replicas
}

// Difference is a setting of a topic that is not as it should be.
type Difference struct {
	Setting, Is, Want string
	// Why says what comes of it.
	Why string
}

// Differences compares a topic with what is wanted. More partitions, more
// replicas, a longer retention, and another compression that the producer
// chooses, are no differences that matter.
func (s TopicSettings) Differences(t Topic) []Difference {
	var out []Difference
	add := func(setting, is, want, why string) { out = append(out, Difference{setting, is, want, why}) }
	if t.Partitions < s.Partitions {
		add("partitions", strconv.Itoa(int(t.Partitions)), strconv.Itoa(int(s.Partitions)), "at most so many replicas of a connector share the work")
	}
	if t.Configs == nil {
		return out
	}
	if is := t.Configs["cleanup.policy"]; is != s.Cleanup {
		add("cleanup.policy", is, s.Cleanup, "compaction deletes all but the last record of a symbol, also before it is stored")
	}
	if is := t.Configs["retention.ms"]; is != "-1" {
		if ms, err := strconv.ParseInt(is, 10, 64); err == nil && (s.Retention < 0 || ms < s.Retention.Milliseconds()) {
			add("retention.ms", is, s.retention(), "records may be deleted before they are stored, and a replay reaches back no further")
		}
	}
	if is := t.Configs["compression.type"]; is != s.Compression && is != "producer" {
		add("compression.type", is, s.Compression, "the brokers compress each batch again")
	}
	return out
}

// Admin looks at topics and makes them.
type Admin struct {
	client *kgo.Client
	admin  *kadm.Client
}

// NewAdmin uses a client's connections; closing the client is the caller's.
func NewAdmin(client *kgo.Client) *Admin { return &Admin{client, kadm.NewClient(client)} }

// List describes the topics of market data, in the order of their names.
func (a *Admin) List(ctx context.Context) ([]Topic, error) {
	return a.list(ctx, func(t *kmsg.MetadataResponseTopic) bool {
		_, _, ok := marketdata.KindOfTopic(*t.Topic)
		return ok
	})
}

// ListAll describes all topics but those that are the brokers' own, in the order
// of their names.
func (a *Admin) ListAll(ctx context.Context) ([]Topic, error) {
	return a.list(ctx, func(t *kmsg.MetadataResponseTopic) bool { return !t.IsInternal })
}

func (a *Admin) list(ctx context.Context, wanted func(*kmsg.MetadataResponseTopic) bool) ([]Topic, error) {
	all, err := a.metadata(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("listing topics: %w", err)
	}
	var names []string
	for name, t := range all {
		if wanted(t) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	slices.Sort(names)
	return a.describe(ctx, all, names)
}

// Describe describes topics, in the order of the names. One that is not there
// has an Err.
func (a *Admin) Describe(ctx context.Context, names ...string) ([]Topic, error) {
	found, err := a.metadata(ctx, names)
	if err != nil {
		return nil, fmt.Errorf("describing topics: %w", err)
	}
	return a.describe(ctx, found, names)
}

// metadata asks a broker, where kadm may answer from memory: a topic may have
// been made a moment ago. It makes no topic. nil names are all.
func (a *Admin) metadata(ctx context.Context, names []string) (map[string]*kmsg.MetadataResponseTopic, error) {
	req := kmsg.NewPtrMetadataRequest()
	if names != nil {
		req.Topics = make([]kmsg.MetadataRequestTopic, 0, len(names))
		for _, name := range names {
			t := kmsg.NewMetadataRequestTopic()
			t.Topic = &name
			req.Topics = append(req.Topics, t)
		}
	}
	resp, err := req.RequestWith(ctx, a.client)
	if err != nil {
		return nil, err
	}
	topics := make(map[string]*kmsg.MetadataResponseTopic, len(resp.Topics))
	for i := range resp.Topics {
		if t := &resp.Topics[i]; t.Topic != nil {
			topics[*t.Topic] = t
		}
	}
	return topics, nil
}

func (a *Admin) describe(ctx context.Context, found map[string]*kmsg.MetadataResponseTopic, names []string) ([]Topic, error) {
	topics := make([]Topic, len(names))
	var there []string
	for i, name := range names {
		topics[i] = Topic{Name: name, Err: kerr.UnknownTopicOrPartition}
		t, ok := found[name]
		if !ok {
			continue
		}
		topics[i].Err, topics[i].Partitions = kerr.ErrorForCode(t.ErrorCode), int32(len(t.Partitions))
		for j := range t.Partitions {
			p := &t.Partitions[j]
			if n := int16(len(p.Replicas)); j == 0 || n < topics[i].Replication {
				topics[i].Replication = n
			}
			topics[i].Layout = append(topics[i].Layout, Partition{ID: p.Partition, Leader: p.Leader, Replicas: len(p.Replicas), InSync: len(p.ISR)})
		}
		slices.SortFunc(topics[i].Layout, func(a, b Partition) int { return cmp.Compare(a.ID, b.ID) })
		if topics[i].Err == nil {
			there = append(there, name)
		}
	}
	if len(there) == 0 {
		return topics, nil
	}
	configs, err := a.admin.DescribeTopicConfigs(ctx, there...)
	if err != nil {
		return topics, nil //nolint:nilerr // a user may write to a topic whose settings he may not read
	}
	for _, c := range configs {
		if c.Err != nil {
			continue
		}
		i := slices.Index(names, c.Name)
		topics[i].Configs = make(map[string]string, len(c.Configs))
		for _, entry := range c.Configs {
			topics[i].Configs[entry.Key] = entry.MaybeValue()
		}
	}
	return topics, nil
}

// Create makes a topic, with as many replicas as the cluster has brokers where
// those are fewer than the settings want. Where it is there already, the error
// is kerr.TopicAlreadyExists, and nothing is changed.
func (a *Admin) Create(ctx context.Context, name string, s TopicSettings) error {
	return a.create(ctx, name, s, a.admin.CreateTopics)
}

// Await gives a topic that was made a moment ago, once the brokers know it: one
// of them makes it, and another may be asked.
func (a *Admin) Await(ctx context.Context, name string) (Topic, error) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		found, err := a.Describe(ctx, name)
		if err != nil {
			return Topic{}, err
		}
		if !errors.Is(found[0].Err, kerr.UnknownTopicOrPartition) {
			return found[0], nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return Topic{}, fmt.Errorf("waiting until the brokers know topic %s: %w", name, context.Cause(ctx))
		}
	}
}

// CanCreate asks the brokers whether Create would make the topic, and makes none.
func (a *Admin) CanCreate(ctx context.Context, name string, s TopicSettings) error {
	return a.create(ctx, name, s, a.admin.ValidateCreateTopics)
}

type createTopics func(ctx context.Context, partitions int32, replicas int16, configs map[string]*string, topics ...string) (kadm.CreateTopicResponses, error)

func (a *Admin) create(ctx context.Context, name string, s TopicSettings, ask createTopics) error {
	brokers, err := a.admin.ListBrokers(ctx)
	if err != nil {
		return fmt.Errorf("counting the brokers: %w", err)
	}
	configs := map[string]*string{}
	for k, v := range s.Configs() {
		configs[k] = &v
	}
	replicas := min(s.Replication, int16(min(len(brokers), 1<<15-1)))
	answers, err := ask(ctx, s.Partitions, replicas, configs, name)
	created, answered := answers[name]
	if err == nil {
		err = created.Err
	}
	if err == nil && !answered {
		err = errors.New("the broker does not answer for it")
	}
	if err != nil && created.ErrMessage != "" && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("making topic %s: %w: %s", name, err, created.ErrMessage)
	}
	if err != nil {
		return fmt.Errorf("making topic %s: %w", name, err)
	}
	return nil
}

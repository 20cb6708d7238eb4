// Package redpandasource reads Redpanda and Kafka topics with goka processors
// and hands raw records to a connect.Handler, starting where the handler says.
// It also reads partitions directly ([Log]), to prove what a log holds.
//
// One processor and one consumer group serve one topic, so that a topic that
// appears, grows or vanishes touches no other. goka and sarama are kept from
// everything that decides where reading starts: see group and sessionRun.
//
// A delivered record has no headers, and a nil key also where the key is empty:
// goka keeps neither exactly. Log.Read gives both as the log has them.
package redpandasource

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"

	"github.com/qicore/tickconnect/connect"
)

var (
	_ connect.Source    = (*Source)(nil)
	_ connect.Log       = (*Log)(nil)
	_ connect.Publisher = (*Log)(nil)
)

// Source implements connect.Source for one connector in one replica.
type Source struct {
	connector string
	client    ClientConfig
	config    Config
	matches   func(topic string) bool
	kafka     *Log
	groups    *Groups
	log       *slog.Logger
	handler   connect.Handler

	// partitions is how many partitions the connector's topics have together.
	partitions atomic.Int64

	mu     sync.Mutex
	topics map[string]*topic
	unread map[string]error // topics that were named or found and cannot be read
}

// New makes the source of a connector. It does not wait for the brokers.
func New(connector string, client ClientConfig, cfg Config, log *slog.Logger) (*Source, error) {
	if err := errors.Join(client.Validate(), cfg.Validate()); err != nil {
		return nil, err
	}
	matches, err := cfg.matcher()
	if err != nil {
		return nil, err
	}
	if _, err := client.saramaConfig(cfg.metadataMaxAge()); err != nil {
		return nil, err
	}
	log = log.With("connector", connector)
	kafka, err := OpenLog(client, log)
	if err != nil {
		return nil, err
	}
	return &Source{
		connector: connector, client: client, config: cfg, matches: matches, kafka: kafka, groups: new(Groups), log: log,
		topics: make(map[string]*topic), unread: make(map[string]error),
	}, nil
}

// Share has the source join no group of another that shares the same groups: those of
// the other connectors of a process. Call it before Run.
func (s *Source) Share(groups *Groups) { s.groups = groups }

// Log implements connect.Source.
func (s *Source) Log() connect.Log { return s.kafka }

// Publisher writes over the source's connections.
func (s *Source) Publisher() connect.Publisher { return s.kafka }

// Close implements connect.Source.
func (s *Source) Close() error {
	s.kafka.Close()
	return nil
}

// Health says what an operator must mend, or nil: another replica that uses this
// one's group.instance.id, another connector that has a topic's group. Brokers that are away are no such thing.
func (s *Source) Health() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(s.unread)) {
		if taken := (*groupTakenError)(nil); errors.As(s.unread[name], &taken) {
			errs = append(errs, fmt.Errorf("topic %s: %w", name, taken))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.topics)) {
		if fence, _ := s.topics[name].state(); fence != nil {
			errs = append(errs, fence)
		}
	}
	return errors.Join(errs...)
}

// Problems says of each topic that is not read now why: the brokers are away or
// refuse the client, it does not exist, it may not be read, the replica is fenced.
// Where no topic is known yet, topics.regex stands for them.
func (s *Source) Problems() map[string]error {
	s.mu.Lock()
	defer s.mu.Unlock()
	problems := maps.Clone(s.unread)
	for name, t := range s.topics {
		if _, problem := t.state(); problem != nil {
			problems[name] = problem
		}
	}
	return problems
}

// Topics gives the names of the topics that are read, sorted.
func (s *Source) Topics() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.topics))
}

// Run implements connect.Source. It is called once.
func (s *Source) Run(ctx context.Context, h connect.Handler) error {
	s.handler = h
	defer s.stopTopics()
	vanished := make(map[string]int)
	failing := false
	backoff := retryBackoff
	for {
		found, err := s.discover(ctx)
		if ctx.Err() != nil {
			return nil
		}
		wait := s.config.metadataMaxAge()
		if err != nil {
			if !failing {
				s.log.Warn("the brokers cannot be asked for topics, trying on", "err", err)
			}
			failing = true
			s.noteAway(err)
			wait = min(backoff, wait)
			backoff = min(2*backoff, rejoinBackoffMax)
		} else {
			if failing {
				s.log.Info("the brokers answer")
			}
			failing, backoff = false, retryBackoff
			s.apply(ctx, found, vanished)
			s.reportUnread(found)
		}
		if !sleep(ctx, wait) {
			return nil
		}
	}
}

// discoverTimeout bounds one look at the brokers.
const discoverTimeout = 10 * time.Second

// discover gives the connector's topics that exist and have partitions.
func (s *Source) discover(ctx context.Context) (map[string]topicInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, discoverTimeout)
	defer cancel()
	var names []string // nil asks for all
	if s.config.TopicsRegex == "" {
		names = s.config.TopicNames()
	}
	found, err := s.kafka.describe(ctx, names)
	if err != nil {
		return nil, s.client.advise(err)
	}
	maps.DeleteFunc(found, func(name string, info topicInfo) bool {
		return !s.matches(name) || info.err == nil && len(info.partitions) == 0
	})
	return found, nil
}

// apply starts topics that appeared, ends those that vanished and tells the
// others what is new. A topic counts as vanished when it is missing twice: a
// broker that starts may not know all of them.
func (s *Source) apply(ctx context.Context, found map[string]topicInfo, vanished map[string]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	total := 0
	for _, info := range found {
		total += len(info.partitions)
	}
	s.partitions.Store(int64(total))

	for name, t := range s.topics {
		select {
		case <-t.done:
			delete(s.topics, name) // vanished earlier; it may start anew below
			s.groups.release(t.groupName)
			continue
		default:
		}
		info, ok := found[name]
		switch {
		case ok && info.err == nil:
			delete(vanished, name)
			t.update(info)
		case !ok:
			if vanished[name]++; vanished[name] == 2 {
				s.log.Info("the topic is gone", "topic", name)
				t.cancel()
			}
		}
	}
	for name, info := range found {
		if _, running := s.topics[name]; !running && info.err == nil {
			if info.err = s.groups.take(s.config.group(s.connector, name), groupUse{s.connector, name}); info.err != nil {
				found[name] = info
				continue
			}
			delete(vanished, name)
			s.topics[name] = s.startTopic(ctx, name, info)
			s.log.Info("reading topic", "topic", name, "partitions", len(info.partitions))
		}
	}
}

var errNoTopic = errors.New("the topic does not exist yet")

// reportUnread notes which topics cannot be read, and logs each once.
func (s *Source) reportUnread(found map[string]topicInfo) {
	unread := make(map[string]error)
	for name, info := range found {
		if info.err != nil {
			unread[name] = info.err
		}
	}
	for _, name := range s.config.TopicNames() {
		if _, ok := found[name]; !ok {
			unread[name] = errNoTopic
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, err := range unread {
		if s.unread[name] == nil {
			s.log.Warn("a topic cannot be read, waiting for it", "topic", name, "err", err)
		}
	}
	s.unread = unread
}

// noteAway notes why the topics that are named and not yet read are not. Those
// that are read say so themselves.
func (s *Source) noteAway(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range s.config.TopicNames() {
		if s.topics[name] == nil {
			s.unread[name] = err
		}
	}
	if s.config.TopicsRegex != "" && len(s.topics) == 0 {
		s.unread[s.config.TopicsRegex] = err
	}
}

// stopTopics ends all processors and waits for them: their handlers are
// released and their groups left.
func (s *Source) stopTopics() {
	s.mu.Lock()
	topics := slices.Collect(maps.Values(s.topics))
	s.mu.Unlock()
	for _, t := range topics {
		t.cancel()
	}
	for _, t := range topics {
		<-t.done
		s.groups.release(t.groupName)
	}
}

const (
	// prefetchFactor is what sarama and goka hold for a partition in fetch sizes,
	// decompressed and as Go values; measured over 12 to 360 partitions.
	prefetchFactor = 5
	fetchMinBytes  = 8 << 10
	fetchMaxBytes  = 1 << 20
	// channelBytes is how many bytes of the fetch size make one place in the
	// channel of a partition.
	channelBytes = 4 << 10
)

// fetchBytes derives sarama's fetch size from the budget and the partitions of
// all topics (promise 8): this replica may come to own every one. A record that
// is larger still comes, since sarama asks again for more.
func (s *Source) fetchBytes() int64 {
	partitions := max(s.partitions.Load(), 1)
	size := s.config.FetchBudgetBytes / (partitions * prefetchFactor)
	return min(max(size, fetchMinBytes), fetchMaxBytes)
}

// sizeFetches sets a client's fetch size and returns it.
func (s *Source) sizeFetches(conf *sarama.Config) int64 {
	size := s.fetchBytes()
	conf.Consumer.Fetch.Default = int32(size)
	conf.ChannelBufferSize = int(size / channelBytes)
	return size
}

// InitialClaims lists all partitions of the connector's topics that exist now,
// with the offsets at which offsets.initial makes them begin. It is for the
// moment in which the connector is made (connect.Initializer): a partition that
// comes later begins at its log's start. It returns an error where the brokers
// cannot be asked.
func (s *Source) InitialClaims(ctx context.Context) ([]connect.Claim, error) {
	found, err := s.discover(ctx)
	if err != nil {
		return nil, err
	}
	var tps []connect.TopicPartition
	for name, info := range found {
		if info.err != nil {
			return nil, fmt.Errorf("topic %s: %w", name, info.err)
		}
		for p := range info.partitions {
			tps = append(tps, connect.TopicPartition{Topic: name, Partition: p})
		}
	}
	slices.SortFunc(tps, connect.TopicPartition.Compare)
	bounds, err := s.kafka.Bounds(ctx, tps)
	if err != nil {
		return nil, err
	}
	tps = slices.DeleteFunc(tps, func(tp connect.TopicPartition) bool { _, ok := bounds[tp]; return !ok })
	claims := claimsOf(tps, bounds)
	start, err := s.config.initial()
	if err != nil {
		return nil, err
	}
	switch {
	case start.latest:
		for i := range claims {
			claims[i].Begin = bounds[claims[i].TopicPartition].Stable
		}
	case !start.at.IsZero():
		if err := s.beginAt(ctx, claims, bounds, start.at); err != nil {
			return nil, err
		}
	}
	return claims, nil
}

// beginAt sets Begin to the first record at or after a time, or to the stable
// end where there is none.
func (s *Source) beginAt(ctx context.Context, claims []connect.Claim, bounds map[connect.TopicPartition]connect.Bounds, at time.Time) error {
	tps := make([]connect.TopicPartition, len(claims))
	for i := range claims {
		tps[i] = claims[i].TopicPartition
	}
	offsets, err := s.kafka.offsetsAt(ctx, tps, at)
	if err != nil {
		return fmt.Errorf("offsets.initial: %w", err)
	}
	for i := range claims {
		offset, ok := offsets[claims[i].TopicPartition]
		if !ok {
			offset = bounds[claims[i].TopicPartition].Stable
		}
		claims[i].Begin = max(offset, claims[i].LogStart)
	}
	return nil
}

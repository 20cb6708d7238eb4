package redpandasource

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"

	"github.com/qicore/tickconnect/connect"
)

// topic runs the processor of one topic.
type topic struct {
	source    *Source
	name      string
	groupName string
	log       *slog.Logger
	cancel    context.CancelFunc
	done      chan struct{}

	mu         sync.Mutex
	group      *group // nil between processors
	id         connect.TopicID
	partitions int
	version    int // counts the changes that end a session
	fence      error
	problem    error // why the topic is not read now
}

// startTopic starts the goroutine of a topic; stop ends it and done tells when.
func (s *Source) startTopic(ctx context.Context, name string, info topicInfo) *topic {
	ctx, cancel := context.WithCancel(ctx)
	t := &topic{
		source: s, name: name, groupName: s.config.group(s.connector, name),
		log: s.log.With("topic", name), cancel: cancel, done: make(chan struct{}),
		id: info.id, partitions: len(info.partitions),
	}
	go func() {
		defer close(t.done)
		defer cancel()
		t.run(ctx)
	}()
	return t
}

// run keeps a processor running until ctx ends.
func (t *topic) run(ctx context.Context) {
	backoff := rejoinBackoff
	for {
		began := time.Now()
		err := t.process(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > calmSession {
			backoff = rejoinBackoff
		}
		if errors.Is(err, errResize) {
			continue
		}
		err = t.source.client.advise(err)
		if t.setProblem(fmt.Errorf("the topic's processor ended: %w", err)) {
			t.log.Warn("the topic's processor ended, starting it again", "err", err)
		}
		if !sleep(ctx, backoff) {
			return
		}
		backoff = min(2*backoff, rejoinBackoffMax)
	}
}

// process runs one processor to its end.
func (t *topic) process(ctx context.Context) error {
	conf, err := t.source.client.saramaConfig(t.source.config.metadataMaxAge())
	if err != nil {
		return err
	}
	graph := goka.DefineGroup(goka.Group(t.groupName), goka.Input(goka.Stream(t.name), rawCodec{}, t.deliver))
	processor, err := goka.NewProcessor(t.source.client.Brokers(), graph,
		goka.WithClientID(conf.ClientID),
		goka.WithLogger(gokaLogger{t.log}),
		goka.WithNilHandling(goka.NilProcess),
		goka.WithPartitionChannelSize(partitionChannelSize),
		goka.WithTopicManagerBuilder(func([]string) (goka.TopicManager, error) { return topicManager{t}, nil }),
		goka.WithConsumerSaramaBuilder(func([]string, string) (sarama.Consumer, error) { return noConsumer{}, nil }),
		goka.WithProducerBuilder(noProducerBuilder),
		goka.WithConsumerGroupBuilder(func(brokers []string, name, _ string) (sarama.ConsumerGroup, error) {
			g, err := newGroup(t, conf, brokers, name)
			if err != nil {
				return nil, err
			}
			t.setGroup(g)
			return g, nil
		}),
	)
	if err != nil {
		return err
	}
	defer t.setGroup(nil)
	return processor.Run(ctx)
}

// partitionChannelSize is how many records wait between sarama and the callback
// of one partition, beside those in sarama's own channel.
const partitionChannelSize = 16

// deliver is goka's callback: one record of one partition, in order.
func (t *topic) deliver(ctx goka.Context, value any) {
	s, ok := ctx.Context().Value(sessionKey{}).(*session)
	if !ok {
		return // unreachable: each callback runs under its session's context
	}
	partition, offset := ctx.Partition(), ctx.Offset()
	c := s.claims[partition]
	// The end of a session is sticky. Once the context has ended, taking a record
	// and dropping it may both be chosen: were one dropped and the next one taken,
	// the sink would step over the first.
	if c.stopped || s.ended() {
		c.stopped = true
		return
	}
	if offset < c.next {
		// The log was cut, or sarama started elsewhere than it was told. What comes
		// now may be new records under old offsets, so it is not "already stored".
		c.stopped = true
		t.log.Warn("a record lies before the offset asked for, joining again", "partition", partition, "offset", offset, "next", c.next)
		s.Reopen()
		return
	}
	record := connect.Record{
		Offset:    offset,
		Timestamp: saramaTimestampMs(ctx.Timestamp()),
		Key:       keyBytes(ctx.Key()),
	}
	if value != nil {
		record.Value = value.(rawValue)
	}
	if !t.source.handler.Deliver(s, partition, record) {
		c.stopped = true
		s.Reopen()
		return
	}
	c.next = offset + 1
}

// claims reads what the handler needs to know about partitions, for as long as
// it takes.
func (t *topic) claims(ctx context.Context, partitions []int32) ([]connect.Claim, error) {
	tps := make([]connect.TopicPartition, len(partitions))
	for i, p := range partitions {
		tps[i] = connect.TopicPartition{Topic: t.name, Partition: p}
	}
	backoff := retryBackoff
	for {
		bounds, err := t.source.kafka.Bounds(ctx, tps)
		if err == nil && len(bounds) == len(tps) {
			return claimsOf(tps, bounds), nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err == nil {
			err = fmt.Errorf("%d of %d partitions are known", len(bounds), len(tps))
		}
		err = t.source.client.advise(err)
		if t.setProblem(err) {
			t.log.Warn("reading the ends of the claims failed, trying on", "err", err)
		}
		if !sleep(ctx, backoff) {
			return nil, ctx.Err()
		}
		backoff = min(2*backoff, rejoinBackoffMax)
	}
}

func claimsOf(tps []connect.TopicPartition, bounds map[connect.TopicPartition]connect.Bounds) []connect.Claim {
	claims := make([]connect.Claim, len(tps))
	for i, tp := range tps {
		b := bounds[tp]
		claims[i] = connect.Claim{TopicPartition: tp, TopicID: b.TopicID, Begin: b.Start, LogStart: b.Start, LogEnd: b.End}
	}
	return claims
}

// update ends the session if the topic is another than it was, or has grown:
// every replica sees that for itself, and the group's leader divides again. It
// also does so where the session's fetches are far too large by now.
func (t *topic) update(info topicInfo) {
	none := connect.TopicID{}
	t.mu.Lock()
	was, count, g := t.id, t.partitions, t.group
	again := info.id != was && was != none && info.id != none
	// Kafka takes no partition away, so fewer are what a broker says that has not
	// heard of the growth yet.
	grown := len(info.partitions) > count
	if info.id != none {
		t.id = info.id
	}
	if again || grown {
		t.partitions = len(info.partitions)
		t.version++
	}
	t.mu.Unlock()

	if again {
		t.log.Warn("the topic was made again", "was", was.String(), "is", info.id.String())
	} else if grown {
		t.log.Info("the topic has grown", "partitions", len(info.partitions), "were", count)
	}
	if g == nil {
		return
	}
	if again || grown || g.fetchesTooMuch() {
		g.reopen()
	}
}

func (t *topic) setGroup(g *group) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.group = g
}

func (t *topic) currentVersion() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.version
}

func (t *topic) partitionCount() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.partitions
}

func (t *topic) setFenced(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fence, t.problem = err, err
}

// setProblem says why the topic is not read now, or with nil that it is. It
// tells whether all was well before.
func (t *topic) setProblem(err error) (first bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	first = t.problem == nil
	t.problem = err
	return first
}

func (t *topic) state() (fence, problem error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.fence, t.problem
}

package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/qicore/tickconnect/marketdata"
)

// topicTimeout bounds how long the first record of a topic waits for what the
// brokers say of it.
const topicTimeout = 30 * time.Second

// topic is one that records go to.
type topic struct {
	name  string
	kind  marketdata.Kind
	found atomic.Bool // it is there
	told  atomic.Bool // its differences were told of
	asked *ask        // that is under way; under topicCache.mu
}

// ask is a look at one topic, for which many records may wait.
type ask struct {
	done chan struct{}
	err  error
}

// topicCache knows the topics that were used.
type topicCache struct {
	admin *Admin
	opts  *options

	// names finds a topic by kind and exchange as it is written; a record costs one
	// look at it. It is copied when it changes.
	names [marketdata.KindCount + 1]atomic.Pointer[map[string]*topic]
	mu    sync.Mutex
	all   map[string]*topic // by name
	limit sync.Map          // of a topic's batches, an int by name, where it is below WithMaxRecordBytes
}

// batchBytes bounds a topic's batches. The brokers refuse one above the topic's
// own limit as a whole, with records that are small themselves.
func (c *topicCache) batchBytes(topic string) int32 {
	if n, ok := c.limit.Load(topic); ok {
		return int32(n.(int))
	}
	return int32(c.opts.maxRecordBytes)
}

// learn keeps the limit of a topic's batches. franz-go takes none below 512.
func (c *topicCache) learn(t Topic) {
	if n, err := strconv.Atoi(t.Configs["max.message.bytes"]); err == nil && n < c.opts.maxRecordBytes {
		c.limit.Store(t.Name, max(n, 512))
		return
	}
	c.limit.Delete(t.Name)
}

// namesMax bounds names: what comes over HTTP may hold any exchange.
const namesMax = 10_000

// of gives the topic of a kind and exchange.
func (c *topicCache) of(layout marketdata.Layout, kind marketdata.Kind, exchange string) (*topic, error) {
	if layout == marketdata.TopicPerKind {
		exchange = ""
	}
	names := c.names[kind].Load()
	if names != nil {
		if t, ok := (*names)[exchange]; ok {
			return t, nil
		}
	}
	lower := strings.ToLower(exchange)
	if !fitsTopic(lower) {
		return nil, badExchange(lower)
	}
	name := strings.Clone(layout.Topic(kind, lower))
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.all[name]
	if t == nil {
		t = &topic{name: name, kind: kind}
	}
	grown := map[string]*topic{}
	if names = c.names[kind].Load(); names != nil {
		if len(*names) < namesMax { // else it begins anew: what is in use comes back at once
			maps.Copy(grown, *names)
		}
	}
	if c.all == nil || len(c.all) > namesMax {
		c.all = map[string]*topic{}
	}
	// The exchange may refer to a record's value.
	grown[strings.Clone(exchange)], c.all[name] = t, t
	c.names[kind].Store(&grown)
	return t, nil
}

// ensure makes sure that a topic is there.
func (c *topicCache) ensure(ctx context.Context, t *topic) error {
	if t.found.Load() {
		return nil
	}
	c.mu.Lock()
	a := t.asked
	if a == nil {
		a = &ask{done: make(chan struct{})}
		t.asked = a
		// It goes on for the others where the first one gives up.
		go c.look(t, a)
	}
	c.mu.Unlock()
	select {
	case <-a.done:
		return a.err
	case <-ctx.Done():
		return fmt.Errorf("%w: waiting for what the brokers say of topic %s: %w", ErrUnavailable, t.name, context.Cause(ctx))
	}
}

func (c *topicCache) look(t *topic, a *ask) {
	ctx, cancel := context.WithTimeout(context.Background(), topicTimeout)
	defer cancel()
	a.err = c.lookNow(ctx, t)
	c.mu.Lock()
	t.asked = nil
	c.mu.Unlock()
	t.found.Store(a.err == nil)
	close(a.done)
}

func (c *topicCache) lookNow(ctx context.Context, t *topic) error {
	topic, want := t.name, c.opts.settings(t.kind)
	described, err := c.admin.Describe(ctx, topic)
	if err != nil {
		return adminError(topic, err)
	}
	if found := described[0]; found.Err == nil {
		c.learn(found)
		c.tell(t, want.Differences(found))
		return nil
	} else if !errors.Is(found.Err, kerr.UnknownTopicOrPartition) {
		return adminError(topic, found.Err)
	}
	if !c.opts.createTopics {
		return fmt.Errorf("%w: %s; make it with: connector topics create %s", ErrNoTopic, topic, topic)
	}
	switch err := c.admin.Create(ctx, topic, want); {
	case errors.Is(err, kerr.TopicAlreadyExists): // the broker that was asked had not heard of it yet
		found, err := c.admin.Await(ctx, topic)
		if err != nil {
			return adminError(topic, err)
		}
		c.learn(found)
		c.tell(t, want.Differences(found))
	case err != nil:
		return adminError(topic, err)
	default:
		c.opts.log.Info("made topic", "topic", topic, "settings", want.String())
	}
	return nil
}

// tell reports the differences of a topic once.
func (c *topicCache) tell(t *topic, differences []Difference) {
	if len(differences) == 0 || t.told.Swap(true) {
		return
	}
	for _, d := range differences {
		c.opts.log.Warn("topic has other settings than its kind's", "topic", t.name, "setting", d.Setting, "is", d.Is, "want", d.Want)
	}
	if c.opts.hooks.TopicDiffers != nil {
		c.opts.hooks.TopicDiffers(t.name, differences)
	}
}

// adminError puts what the brokers say of a topic into the words of this package.
func adminError(topic string, err error) error {
	switch {
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed):
		return fmt.Errorf("%w: allow DESCRIBE, and CREATE if it is to be made, on topic %s: %w", ErrNotAuthorized, topic, err)
	case errors.Is(err, kerr.SaslAuthenticationFailed):
		return fmt.Errorf("%w: user or password is wrong: %w", ErrNotAuthorized, err)
	case errors.Is(err, kerr.PolicyViolation), errors.Is(err, kerr.InvalidConfig), errors.Is(err, kerr.InvalidReplicationFactor), errors.Is(err, kerr.InvalidPartitions):
		return fmt.Errorf("%w: the brokers refuse to make %s with the settings of its kind; make it yourself, or set others with WithTopicSettings: %w", ErrNoTopic, topic, err)
	}
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: topic %s: the brokers closed the connection: they may want TLS, or not take this user and password: %w", ErrUnavailable, topic, err)
	}
	var answered *kerr.Error
	if errors.As(err, &answered) && !answered.Retriable {
		return fmt.Errorf("topic %s: %w", topic, err)
	}
	return fmt.Errorf("%w: topic %s: %w", ErrUnavailable, topic, err)
}

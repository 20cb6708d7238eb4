package redpandasource

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/internal/devstack"
	"github.com/qicore/tickconnect/internal/devstack/testenv"
)

// logWatch tells when a message is logged.
type logWatch struct {
	slog.Handler
	message string
	once    *sync.Once
	seen    chan struct{}
}

func newLogWatch(t testing.TB, message string) *logWatch {
	return &logWatch{Handler: testLog(t).Handler(), message: message, once: &sync.Once{}, seen: make(chan struct{})}
}

func (w *logWatch) Handle(ctx context.Context, r slog.Record) error {
	if strings.Contains(r.Message, w.message) {
		w.once.Do(func() { close(w.seen) })
	}
	return w.Handler.Handle(ctx, r)
}

func (w *logWatch) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *w
	c.Handler = w.Handler.WithAttrs(attrs)
	return &c
}

func (w *logWatch) wait(t testing.TB) {
	t.Helper()
	select {
	case <-w.seen:
	case <-time.After(waitLimit):
		t.Fatalf("not logged: %s", w.message)
	}
}

func TestSourceWaitsForTheBroker(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	topic := testenv.Topic(t)
	watch := newLogWatch(t, "the brokers cannot be asked")
	s, err := New("c", testClient([]string{fmt.Sprintf("127.0.0.1:%d", port)}), testConfig(topic), slog.New(watch))
	if err != nil {
		t.Fatal(err)
	}
	st := newStore()
	h := newHandler(st)
	r := start(t, s, h)
	watch.wait(t)

	b, err := devstack.StartBroker(t.Context(), devstack.BrokerOptions{Port: port})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	c := newCluster(t, b.Brokers())
	c.create(topic, 1)
	c.produce(topic, 0, 0, 3)
	eventually(t, "the records", func() bool { return st.next(connect.TopicPartition{Topic: topic}) == 3 })
	r.stop()
	h.settled(t)
}

// TestSourceEndsWhileTheBrokerIsAway must not wait for a goodbye.
func TestSourceEndsWhileTheBrokerIsAway(t *testing.T) {
	t.Parallel()
	b, err := devstack.StartBroker(t.Context(), devstack.BrokerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	c := newCluster(t, b.Brokers())
	topic := testenv.Topic(t)
	c.create(topic, 2)
	c.produce(topic, 0, 0, 3)
	st := newStore()
	h := newHandler(st)
	client := testClient(c.brokers)
	client.GroupInstanceID = "r0"
	r := run(t, client, testConfig(topic), h)
	eventually(t, "the records", func() bool { return st.next(connect.TopicPartition{Topic: topic}) == 3 })
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	r.stop()
	h.settled(t)
}

// TestSourceReplicasShareATopic has one replica come, and another one go, while
// records flow and sessions are reopened.
func TestSourceReplicasShareATopic(t *testing.T) {
	onBoth(t, func(t *testing.T, c *cluster) {
		const partitions, records = 6, 3000
		topic := testenv.Topic(t)
		c.create(topic, partitions)
		st := newStore()
		first, second := newHandler(st), newHandler(st)
		var seen atomic.Int64
		second.gate = func(s connect.Session, _ int32, _ connect.Record) bool {
			if seen.Add(1)%1999 == 0 {
				s.Reopen()
			}
			return true
		}
		r1 := run(t, testClient(c.brokers), testConfig(topic), first)
		eventually(t, "the first replica owns all", func() bool { return first.owns() == partitions })

		produced := make(chan struct{})
		reached := make(chan struct{})
		go func() {
			defer close(produced)
			for i := 0; i < records; i += 50 {
				if i == records/3 {
					close(reached)
				}
				for p := range int32(partitions) {
					c.produce(topic, p, i, i+50)
				}
			}
		}()
		r2 := run(t, testClient(c.brokers), testConfig(topic), second)
		eventually(t, "both own some", func() bool { return first.owns() == partitions/2 && second.owns() == partitions/2 })
		<-reached
		r1.stop()
		eventually(t, "the second replica owns all", func() bool { return second.owns() == partitions })
		<-produced
		for p := range int32(partitions) {
			tp := connect.TopicPartition{Topic: topic, Partition: p}
			eventually(t, tp.String()+" is read to its end", func() bool { return st.next(tp) == records })
			if got := st.offsetsOf(tp); !slices.Equal(got, sequence(0, records)) {
				t.Errorf("%s: %d records stored, not each of %d once and in order", tp, len(got), records)
			}
		}
		r2.stop()
		first.settled(t)
		second.settled(t)
	})
}

// TestSourceLeavesPromptly gives members half a minute to live: who goes must say
// so, also one with a name of its own.
func TestSourceLeavesPromptly(t *testing.T) {
	onBoth(t, func(t *testing.T, c *cluster) {
		for _, static := range []bool{false, true} {
			t.Run(fmt.Sprintf("static=%t", static), func(t *testing.T) {
				c := newCluster(t, c.brokers)
				topic := testenv.Topic(t)
				c.create(topic, 4)
				client := func(id string) ClientConfig {
					cl := testClient(c.brokers)
					cl.SessionTimeoutMs = 30_000
					if static {
						cl.GroupInstanceID = id
					}
					return cl
				}
				st := newStore()
				first, second := newHandler(st), newHandler(st)
				r1 := run(t, client("r1"), testConfig(topic), first)
				eventually(t, "the first replica owns all", func() bool { return first.owns() == 4 })
				run(t, client("r2"), testConfig(topic), second)
				eventually(t, "both own some", func() bool { return first.owns() == 2 && second.owns() == 2 })
				began := time.Now()
				r1.stop()
				eventually(t, "the second replica owns all", func() bool { return second.owns() == 4 })
				took := time.Since(began)
				t.Logf("taken over after %v", took)
				if took > 10*time.Second {
					t.Errorf("the partitions were taken over after %v, as if the member had died", took)
				}
			})
		}
	})
}

// TestSourceFencedStaysUp starts two replicas with the same name.
func TestSourceFencedStaysUp(t *testing.T) {
	onBoth(t, func(t *testing.T, c *cluster) {
		topic := testenv.Topic(t)
		c.create(topic, 4)
		client := testClient(c.brokers)
		client.GroupInstanceID = "connector-0"
		st := newStore()
		first, second := newHandler(st), newHandler(st)
		r1 := run(t, client, testConfig(topic), first)
		eventually(t, "the first replica owns all", func() bool { return first.owns() == 4 })
		if err := r1.source.Health(); err != nil {
			t.Fatalf("unhealthy alone: %v", err)
		}
		r2 := run(t, client, testConfig(topic), second)
		eventually(t, "the first replica knows that it is fenced", func() bool { return r1.source.Health() != nil })
		if msg := r1.source.Health().Error(); !strings.HasPrefix(msg, "group.instance.id: ") || !strings.Contains(msg, "give each replica a name of its own") {
			t.Errorf("health says %q, without the key or the advice", msg)
		}
		eventually(t, "the second replica owns all", func() bool { return second.owns() == 4 })
		sessions := second.sessionCount()
		for i := range 20 { // the work of the other is not disturbed
			c.produce(topic, 0, i, i+1)
			eventually(t, "the record", func() bool { return st.next(connect.TopicPartition{Topic: topic}) == int64(i+1) })
		}
		select {
		case err := <-r1.done:
			t.Fatalf("the fenced replica ended: %v", err)
		default:
		}
		r1.stop() // and it throws nobody out when it goes
		c.produce(topic, 0, 20, 21)
		eventually(t, "the record after that", func() bool { return st.next(connect.TopicPartition{Topic: topic}) == 21 })
		if n := second.sessionCount(); n != sessions {
			t.Errorf("the second replica's session ended %d times", n-sessions)
		}
		if err := r2.source.Health(); err != nil {
			t.Errorf("the second replica is unhealthy: %v", err)
		}
		r2.stop()
		first.settled(t)
		second.settled(t)
	})
}

// TestSourceNoticesATopicMadeAgain never polls: only the look at the topic's id
// before sarama goes on can tell.
func TestSourceNoticesATopicMadeAgain(t *testing.T) {
	onBoth(t, func(t *testing.T, c *cluster) {
		topic := testenv.Topic(t)
		tp := connect.TopicPartition{Topic: topic}
		c.create(topic, 1)
		c.produce(topic, 0, 0, 500)
		cfg := testConfig(topic)
		cfg.MetadataMaxAgeMs = 3_600_000
		st := newStore()
		h := newHandler(st)
		var ids []connect.TopicID // by Open, which is not called concurrently for one topic
		h.refuse = func(cl connect.Claim) bool {
			if !slices.Contains(ids, cl.TopicID) {
				ids = append(ids, cl.TopicID)
			}
			return cl.TopicID != ids[0]
		}
		r := run(t, testClient(c.brokers), cfg, h)
		eventually(t, "the old records", func() bool { return st.next(tp) == 500 })
		c.delete(topic)
		c.create(topic, 1)
		newCluster(t, c.brokers).produce(topic, 0, 0, 600)
		eventually(t, "Open with the new identity", func() bool {
			o := h.last()
			h.mu.Lock()
			defer h.mu.Unlock()
			return len(ids) == 2 && o.claims[0].TopicID == ids[1]
		})
		if n := st.next(tp); n != 500 {
			t.Errorf("records of the new log were taken as the old one's: next is %d, want 500", n)
		}
		r.stop()
		h.settled(t)
	})
}

// TestRedispatchLooksAtTheTopicsID calls what sarama calls before it reads on.
func TestRedispatchLooksAtTheTopicsID(t *testing.T) {
	t.Parallel()
	c := newCluster(t, testenv.Broker(t))
	name := testenv.Topic(t)
	c.create(name, 1)
	s, err := New("c", testClient(c.brokers), testConfig(name), testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	before := c.boundsOf(s.kafka, connect.TopicPartition{Topic: name}).TopicID

	ask := func() (ended bool) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		sess := newSession(name, fakeSession{ctx: ctx}, nil, cancel)
		sess.id = before
		g := &group{topic: &topic{source: s, name: name, log: s.log, id: before, partitions: 1}, log: s.log}
		g.current.Store(sess)
		g.redispatchBackoff(1)
		return sess.ended()
	}
	if ask() {
		t.Error("the session ended though the topic is the same")
	}
	c.delete(name)
	if !ask() {
		t.Error("the session goes on though the topic is gone")
	}
	c.create(name, 1)
	if !ask() {
		t.Error("the session goes on though the topic is another one")
	}
}

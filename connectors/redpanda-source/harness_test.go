package redpandasource

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/internal/devstack/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// waitLimit is how long a test waits for an event that should come.
const waitLimit = 60 * time.Second

// eventually waits until cond holds, looking at it again and again.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.NewTimer(waitLimit)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline.C:
			t.Fatalf("waited %s in vain: %s", waitLimit, what)
		case <-tick.C:
		}
	}
}

// testLog sends the log to the test's output.
func testLog(t testing.TB) *slog.Logger {
	w := &testWriter{t: t}
	t.Cleanup(w.stop)
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

type testWriter struct {
	mu      sync.Mutex
	t       testing.TB
	stopped bool
}

func (w *testWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stopped {
		w.t.Log(strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

func (w *testWriter) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
}

func testClient(brokers []string) ClientConfig {
	c := DefaultClientConfig()
	c.BootstrapServers = strings.Join(brokers, ",")
	c.HeartbeatIntervalMs = 100
	return c
}

func testConfig(topics ...string) Config {
	c := DefaultConfig()
	c.Topics = strings.Join(topics, ",")
	c.MetadataMaxAgeMs = 100
	return c
}

// cluster is a test's own client.
type cluster struct {
	t       testing.TB
	brokers []string
	client  *kgo.Client
	admin   *kadm.Client
}

// untilKnown is for producers: Kafka says that a topic is made before every broker
// knows it, and until then answers UNKNOWN_TOPIC_OR_PARTITION.
var untilKnown = kgo.UnknownTopicRetries(-1)

func newCluster(t testing.TB, brokers []string) *cluster {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchMaxBytes(32<<20), kgo.MetadataMinAge(10*time.Millisecond), untilKnown)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return &cluster{t: t, brokers: brokers, client: cl, admin: kadm.NewClient(cl)}
}

func (c *cluster) create(topic string, partitions int32, config ...string) {
	c.t.Helper()
	settings := map[string]*string{}
	for i := 0; i < len(config); i += 2 {
		settings[config[i]] = &config[i+1]
	}
	var err error
	eventually(c.t, "the topic can be made", func() bool {
		_, err = c.admin.CreateTopic(c.t.Context(), partitions, 1, settings, topic)
		return err == nil || !transient(err)
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) delete(topic string) {
	c.t.Helper()
	if _, err := c.admin.DeleteTopic(c.t.Context(), topic); err != nil {
		c.t.Fatal(err)
	}
}

// produce appends records with the values v<from> to v<to-1>, key k.
func (c *cluster) produce(topic string, partition int32, from, to int) {
	c.t.Helper()
	var records []*kgo.Record
	for i := from; i < to; i++ {
		records = append(records, &kgo.Record{Topic: topic, Partition: partition, Key: []byte("k"), Value: fmt.Appendf(nil, "v%d", i)})
	}
	c.produceRecords(records...)
}

func (c *cluster) produceRecords(records ...*kgo.Record) {
	c.t.Helper()
	if err := c.client.ProduceSync(c.t.Context(), records...).FirstErr(); err != nil {
		c.t.Fatal(err)
	}
}

// store is the target: it holds records and the next offset of each partition,
// and moves both in one step. Several replicas share it.
type store struct {
	mu      sync.Mutex
	parts   map[connect.TopicPartition]*stored
	changed chan struct{}
}

type stored struct {
	next    int64
	records []connect.Record
}

func newStore() *store {
	return &store{parts: make(map[connect.TopicPartition]*stored), changed: make(chan struct{})}
}

func (s *store) part(tp connect.TopicPartition) *stored {
	p := s.parts[tp]
	if p == nil {
		p = &stored{next: -1}
		s.parts[tp] = p
	}
	return p
}

func (s *store) next(tp connect.TopicPartition) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.part(tp).next
}

func (s *store) setNext(tp connect.TopicPartition, next int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.part(tp).next = next
}

func (s *store) recordsOf(tp connect.TopicPartition) []connect.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]connect.Record(nil), s.part(tp).records...)
}

func (s *store) offsetsOf(tp connect.TopicPartition) []int64 {
	var offsets []int64
	for _, r := range s.recordsOf(tp) {
		offsets = append(offsets, r.Offset)
	}
	return offsets
}

func (s *store) forget(tp connect.TopicPartition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.part(tp).records = nil
}

// memHandler is a small worker: each record is stored when it is delivered, in
// one step with the next offset, unless the partition moved meanwhile.
type memHandler struct {
	store *store

	mu       sync.Mutex
	sessions []*opened
	expected map[connect.TopicPartition]int64
	late     int // records delivered after one of the session was not taken
	hasty    int // Releases whose context had ended

	// Hooks, set before Run.
	refuse func(connect.Claim) bool
	answer func(c connect.Claim, next int64) int64
	gate   func(s connect.Session, partition int32, r connect.Record) bool
	fail   func() error
	noMark bool // what is stored is not marked
}

type opened struct {
	connect.Session
	claims   []connect.Claim
	released int
	denied   map[int32]bool
}

func newHandler(s *store) *memHandler {
	return &memHandler{store: s, expected: make(map[connect.TopicPartition]int64)}
}

func (h *memHandler) Open(_ context.Context, s connect.Session, claims []connect.Claim) (map[int32]int64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sessions = append(h.sessions, &opened{Session: s, claims: claims, denied: make(map[int32]bool)})
	if h.fail != nil {
		if err := h.fail(); err != nil {
			return nil, err
		}
	}
	answer := make(map[int32]int64)
	for _, c := range claims {
		if h.refuse != nil && h.refuse(c) {
			continue
		}
		next := h.store.next(c.TopicPartition)
		if next < 0 {
			next = c.Begin
			h.store.setNext(c.TopicPartition, next)
		}
		h.expected[c.TopicPartition] = next
		answer[c.Partition] = next
		if h.answer != nil {
			answer[c.Partition] = h.answer(c, next)
		}
	}
	return answer, nil
}

func (h *memHandler) session(s connect.Session) *opened {
	for _, o := range h.sessions {
		if o.Session == s {
			return o
		}
	}
	return nil
}

func (h *memHandler) Deliver(s connect.Session, partition int32, r connect.Record) bool {
	h.mu.Lock()
	o := h.session(s)
	if o.denied[partition] || o.released > 0 {
		h.late++
	}
	gate := h.gate
	h.mu.Unlock()
	if gate != nil && !gate(s, partition, r) || s.Context().Err() != nil {
		h.mu.Lock()
		o.denied[partition] = true
		h.mu.Unlock()
		return false
	}
	tp := connect.TopicPartition{Topic: s.Topic(), Partition: partition}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.store.mu.Lock()
	defer h.store.mu.Unlock()
	p := h.store.part(tp)
	if p.next != h.expected[tp] {
		o.denied[partition] = true // fenced: another replica, or the test, moved it
		return false
	}
	p.next = r.Offset + 1
	p.records = append(p.records, r)
	h.expected[tp] = p.next
	if !h.noMark {
		s.Mark(partition, p.next)
	}
	return true
}

func (h *memHandler) Release(ctx context.Context, s connect.Session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if ctx.Err() != nil {
		h.hasty++
	}
	h.session(s).released++
}

func (h *memHandler) last() *opened {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.sessions) == 0 {
		return nil
	}
	return h.sessions[len(h.sessions)-1]
}

func (h *memHandler) sessionCount() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.sessions)
}

// owns counts the partitions of the topic's session that runs.
func (h *memHandler) owns() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, o := range h.sessions {
		if o.released == 0 && o.Context().Err() == nil {
			n += len(o.claims)
		}
	}
	return n
}

// running is a source that a test runs.
type running struct {
	t      testing.TB
	source *Source
	stopFn context.CancelFunc
	done   chan error
	once   sync.Once
}

func run(t testing.TB, client ClientConfig, cfg Config, h connect.Handler) *running {
	t.Helper()
	s, err := New("c", client, cfg, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	return start(t, s, h)
}

func start(t testing.TB, s *Source, h connect.Handler) *running {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{t: t, source: s, stopFn: cancel, done: make(chan error, 1)}
	go func() { r.done <- s.Run(ctx, h) }()
	t.Cleanup(r.stop)
	return r
}

// stop ends the source and checks that Run returns nil.
func (r *running) stop() {
	r.once.Do(func() {
		r.stopFn()
		select {
		case err := <-r.done:
			if err != nil {
				r.t.Errorf("Run: %v", err)
			}
		case <-time.After(waitLimit):
			r.t.Errorf("Run did not end")
		}
		if err := r.source.Close(); err != nil {
			r.t.Errorf("Close: %v", err)
		}
	})
}

// settled checks what holds for every handler once its source has stopped.
func (h *memHandler) settled(t testing.TB) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, o := range h.sessions {
		if o.released != 1 {
			t.Errorf("session %d of %s was released %d times, want once", i, o.Topic(), o.released)
		}
	}
	if h.hasty != 0 {
		t.Errorf("%d sessions were released with a context that had ended", h.hasty)
	}
	if h.late != 0 {
		t.Errorf("%d records were delivered after one that was not taken, or after Release", h.late)
	}
}

var errTarget = errors.New("the target is away")

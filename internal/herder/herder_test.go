package herder

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/internal/devstack/testenv"
	"github.com/qicore/tickconnect/internal/worker"
)

// bench is where connectors of a test run; it sees that each runs once at a time.
type bench struct {
	testing.TB
	mu      sync.Mutex
	running map[string]string // the key "what" of the configuration, by replica and name
	made    int
	fail    atomic.Bool // connectors end by themselves
	held    chan struct{}
}

// held, where it is set, holds up connectors that stop.
func (b *bench) hold() (release func()) {
	held := make(chan struct{})
	b.mu.Lock()
	b.held = held
	b.mu.Unlock()
	return func() { close(held) }
}

type fakeRunner struct {
	b          *bench
	name, what string
}

func (r *fakeRunner) Run(ctx context.Context) error {
	r.b.mu.Lock()
	if other, twice := r.b.running[r.name]; twice {
		r.b.Errorf("%s runs twice: %s and %s", r.name, other, r.what)
	}
	r.b.running[r.name] = r.what
	r.b.mu.Unlock()
	if r.b.fail.Load() {
		r.stop()
		return errors.New("it cannot go on")
	}
	<-ctx.Done()
	r.b.mu.Lock()
	held := r.b.held
	r.b.mu.Unlock()
	if held != nil {
		<-held
	}
	r.stop()
	return nil
}

func (r *fakeRunner) stop() {
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	delete(r.b.running, r.name)
}

func (r *fakeRunner) Status() worker.Status {
	return worker.Status{Name: r.name, State: worker.StateRunning, Tasks: []worker.TaskStatus{{ID: 0, State: worker.StateUnassigned}}}
}
func (r *fakeRunner) Problem() string  { return "" }
func (r *fakeRunner) Topics() []string { return []string{r.what} }
func (r *fakeRunner) Close() error     { return nil }

// what gives what a replica runs of a connector; "" for nothing.
func (b *bench) what(replica, name string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.running[replica+"/"+name]
}

// safeBuffer is a log that is read while it is written.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// start runs a replica until the test ends, or stop is called.
func (b *bench) start(brokers []string, prefix, replica string, log *safeBuffer, file ...Connector) (h *Herder, stop func()) {
	b.Helper()
	h = New(Options{
		Replica: replica, WorkerID: func() string { return replica + ":1" },
		ConfigTopic: prefix + "-configs", StatusTopic: prefix + "-status", Replication: -1,
		Heartbeat: 100 * time.Millisecond, Session: time.Second,
		Kafka: func(opts ...kgo.Opt) (*kgo.Client, error) {
			return kgo.NewClient(append(opts, kgo.SeedBrokers(brokers...), kgo.MetadataMinAge(20*time.Millisecond))...)
		},
		File: file,
		Make: func(name string, config map[string]string) (Runner, error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.made++
			return &fakeRunner{b, replica + "/" + name, config["what"]}, nil
		},
		Redact: func(s string) string { return s }, Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); h.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	b.Cleanup(stop)
	return h, stop
}

func newBench(t testing.TB) *bench { return &bench{TB: t, running: map[string]string{}} }

// eventually waits for what happens on other goroutines.
func (b *bench) eventually(what string, good func() bool) {
	b.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !good() {
		select {
		case <-deadline:
			b.Fatalf("in vain: %s", what)
		case <-tick.C:
		}
	}
}

// TestRunsAsWanted: whatever is asked for, and how fast, over whichever replica, a
// connector runs at most once in each replica, and in the end as was asked for last.
func TestRunsAsWanted(t *testing.T) {
	t.Parallel()
	for name, brokers := range map[string][]string{"kfake": testenv.Broker(t), "kafka": testenv.Kafka(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			prefix := testenv.Topic(t)
			first, _ := b.start(brokers, prefix, "a", &safeBuffer{})
			second, _ := b.start(brokers, prefix, "b", &safeBuffer{})
			ctx := t.Context()
			random := rand.New(rand.NewPCG(1, 2))
			for i := range 150 {
				h := []*Herder{first, second}[random.IntN(2)]
				name := fmt.Sprint("c", random.IntN(3))
				var err error
				switch random.IntN(7) {
				case 0:
					err = h.Create(ctx, name, map[string]string{"what": fmt.Sprint(i)}, []Target{Started, Paused, Stopped}[random.IntN(3)])
				case 1, 2:
					_, err = h.Put(ctx, name, map[string]string{"what": fmt.Sprint(i)})
				case 3:
					err = h.Delete(ctx, name)
				case 4:
					err = h.SetTarget(ctx, name, []Target{Started, Paused, Stopped}[random.IntN(3)])
				case 5:
					err = h.SetTarget(ctx, name, Started)
				case 6:
					err = h.Restart(ctx, name, true, random.IntN(2) == 0)
				}
				if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrExists) && !errors.Is(err, ErrConflict) {
					t.Fatal(err)
				}
			}
			third, _ := b.start(brokers, prefix, "c", &safeBuffer{})
			third.Wait(ctx)
			for i := range 3 {
				name := fmt.Sprint("c", i)
				want := ""
				config, err := first.Config(name)
				if target, _ := first.TargetOf(name); err == nil && target == Started {
					want = config["what"]
				}
				for _, replica := range []string{"a", "b", "c"} {
					b.eventually(fmt.Sprintf("%s runs %s as %q", replica, name, want), func() bool { return b.what(replica, name) == want })
				}
			}
			if b.made < 20 {
				t.Errorf("only %d connectors were made", b.made)
			}
		})
	}
}

// TestMadeAgainWhileItStops: a connector that is deleted and made again begins once
// the old one has stopped.
func TestMadeAgainWhileItStops(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	h, _ := b.start(testenv.Broker(t), testenv.Topic(t), "a", &safeBuffer{})
	ctx := t.Context()
	if err := h.Create(ctx, "x", map[string]string{"what": "old"}, Started); err != nil {
		t.Fatal(err)
	}
	b.eventually("it runs", func() bool { return b.what("a", "x") == "old" })
	release := b.hold()
	if err := h.Delete(ctx, "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Status("x"); !errors.Is(err, ErrNotFound) || len(h.Names()) != 0 || len(h.own().Connectors) != 0 {
		t.Errorf("it is still there: %v", err)
	}
	if err := h.Create(ctx, "x", map[string]string{"what": "new"}, Started); err != nil {
		t.Fatal(err)
	}
	if got := b.what("a", "x"); got != "old" { // and Run says so if both run
		t.Errorf("while the old one stops %q runs", got)
	}
	b.mu.Lock()
	b.held = nil
	b.mu.Unlock()
	release()
	b.eventually("the new one runs", func() bool { return b.what("a", "x") == "new" })
	if err := h.Delete(ctx, "x"); err != nil {
		t.Fatal(err)
	}
	b.eventually("nothing of it is left", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.managed) == 0
	})
}

// TestOutageOfTheConfigTopic: after an outage a replica goes on where it was. What it
// had done before is not done again, and what was asked for meanwhile is.
func TestOutageOfTheConfigTopic(t *testing.T) {
	t.Parallel()
	b, brokers, prefix := newBench(t), testenv.Broker(t), testenv.Topic(t)
	first, _ := b.start(brokers, prefix, "a", &safeBuffer{})
	second, _ := b.start(brokers, prefix, "b", &safeBuffer{})
	ctx := t.Context()
	for i := range 20 {
		if _, err := second.Put(ctx, "x", map[string]string{"what": fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	b.eventually("both run the last one", func() bool { return b.what("a", "x") == "19" && b.what("b", "x") == "19" })
	outage := func() {
		first.configs.mu.Lock()
		defer first.configs.mu.Unlock()
		first.configs.client.Close() // its reads fail
	}
	made := func() int { b.mu.Lock(); defer b.mu.Unlock(); return b.made }
	before := made()
	outage()
	if err := second.Create(ctx, "y", map[string]string{"what": "y"}, Started); err != nil {
		t.Fatal(err)
	}
	b.eventually("both run the new one", func() bool { return b.what("a", "y") == "y" && b.what("b", "y") == "y" })
	if n := made() - before; n != 2 {
		t.Errorf("%d connectors were made, want 2", n)
	}
	outage()
	if err := second.Restart(ctx, "x", true, false); err != nil {
		t.Fatal(err)
	}
	b.eventually("both were restarted", func() bool { return made() == before+4 && b.what("a", "x") == "19" && b.what("b", "x") == "19" })
}

// TestConflict: who writes while another replica does learns of it.
func TestConflict(t *testing.T) {
	t.Parallel()
	b, brokers, prefix := newBench(t), testenv.Broker(t), testenv.Topic(t)
	first, _ := b.start(brokers, prefix, "a", &safeBuffer{})
	second, _ := b.start(brokers, prefix, "b", &safeBuffer{})
	between := func(name string) error {
		return first.write(t.Context(), "x", func(*wanted) ([]*kgo.Record, error) {
			if _, err := second.Put(t.Context(), name, map[string]string{"what": "b"}); err != nil {
				t.Fatal(err)
			}
			return []*kgo.Record{connectorRecord("x", map[string]string{"what": "a"})}, nil
		})
	}
	if err := first.configs.awaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := between("other"); err != nil {
		t.Errorf("another connector's change: %v", err)
	}
	if err := between("x"); !errors.Is(err, ErrConflict) {
		t.Errorf("a change of the same connector: %v", err)
	}
	// Another replica's next change may be read before the sender learns of the one between.
	record := func(replica string, offset int64) *kgo.Record {
		r := connectorRecord("y", map[string]string{"what": replica})
		r.Offset, r.Headers = offset, []kgo.RecordHeader{{Key: replicaHeader, Value: []byte(replica)}}
		return r
	}
	for i, replica := range []string{"b", "a", "b"} {
		first.applyConfig(record(replica, int64(100+i)), true)
	}
	first.mu.Lock()
	defer first.mu.Unlock()
	if before := first.wanted["y"].before; before != 100 {
		t.Errorf("before the change there was one at %d, want 100", before)
	}
}

// TestPutMakesItRun: a connector that PUT makes runs, whatever one of its name was before.
func TestPutMakesItRun(t *testing.T) {
	t.Parallel()
	b, c := newBench(t), testenv.NewFaultyBroker(t)
	h, stop := b.start(c.Brokers(), "p", "a", &safeBuffer{}, Connector{"x", map[string]string{"what": "file"}})
	if err := h.SetTarget(t.Context(), "x", Stopped); err != nil {
		t.Fatal(err)
	}
	stop()
	h, _ = b.start(c.Brokers(), "p", "a", &safeBuffer{}) // the file has it no more
	if created, err := h.Put(t.Context(), "x", map[string]string{"what": "new"}); err != nil || !created {
		t.Fatalf("created: %v, %v", created, err)
	}
	b.eventually("it runs", func() bool { return b.what("a", "x") == "new" })
	if err := h.SetTarget(t.Context(), "x", Stopped); err != nil {
		t.Fatal(err)
	}
	if created, err := h.Put(t.Context(), "x", map[string]string{"what": "newer"}); err != nil || created {
		t.Fatalf("created: %v, %v", created, err)
	}
	if target, err := h.TargetOf("x"); err != nil || target != Stopped {
		t.Errorf("a change of what is stopped: %s, %v", target, err)
	}
}

// TestPatchesAtOnce: keys that are changed at the same moment are all changed.
func TestPatchesAtOnce(t *testing.T) {
	t.Parallel()
	b, c := newBench(t), testenv.NewFaultyBroker(t)
	h, _ := b.start(c.Brokers(), "p", "a", &safeBuffer{})
	ctx := t.Context()
	if err := h.Create(ctx, "x", map[string]string{"what": "1"}, Stopped); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			err := h.Patch(ctx, "x", func(config map[string]string) (map[string]string, error) {
				config[fmt.Sprint(i)] = "set"
				return config, nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if config, err := h.Config("x"); err != nil || len(config) != 9 {
		t.Errorf("the configuration is %v, %v", config, err)
	}
	refused := errors.New("it is wrong")
	if err := h.Patch(ctx, "x", func(map[string]string) (map[string]string, error) { return nil, refused }); !errors.Is(err, refused) {
		t.Errorf("a wrong change: %v", err)
	}
	if err := h.Patch(ctx, "y", nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("a change of nothing: %v", err)
	}
}

// TestConfigTopicAway: the connectors of the file run without the config topic;
// changes are refused as an outage.
func TestConfigTopicAway(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	log := &safeBuffer{}
	h, _ := b.start([]string{"127.0.0.1:1"}, "x", "a", log, Connector{"market", map[string]string{"what": "file", "name": "market"}})
	b.eventually("the connector of the file runs", func() bool { return b.what("a", "market") == "file" })
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := h.SetTarget(ctx, "market", Paused); !connect.IsRetriable(err) {
		t.Errorf("a change: %v", err)
	}
	s, err := h.Status("market")
	if err != nil || s.Connector.State != "RUNNING" || s.Connector.WorkerID != "a:1" || len(s.Tasks) != 1 || s.Tasks[0].State != "RUNNING" {
		t.Errorf("the status is %+v, %v", s, err)
	}
	if !strings.Contains(log.String(), "a topic of this worker cannot be read") {
		t.Errorf("the log does not say so: %s", log)
	}
}

// TestDifferentFiles: a replica with another configuration of the same connector is
// said, once.
func TestDifferentFiles(t *testing.T) {
	t.Parallel()
	b, brokers, prefix := newBench(t), testenv.Broker(t), testenv.Topic(t)
	log := &safeBuffer{}
	b.start(brokers, prefix, "a", log, Connector{"same", map[string]string{"what": "1"}}, Connector{"other", map[string]string{"what": "1"}})
	b.start(brokers, prefix, "b", &safeBuffer{}, Connector{"same", map[string]string{"what": "1"}}, Connector{"other", map[string]string{"what": "2"}})
	b.eventually("it is said", func() bool { return strings.Contains(log.String(), "with another configuration") })
	var beats atomic.Int32
	reader := newTopic(prefix+"-status", -1, func(opts ...kgo.Opt) (*kgo.Client, error) {
		return kgo.NewClient(append(opts, kgo.SeedBrokers(brokers...))...)
	}, slog.New(slog.DiscardHandler), func(r *kgo.Record, caughtUp bool) {
		if string(r.Key) == "b" && caughtUp {
			beats.Add(1)
		}
	})
	go reader.run(t.Context())
	b.eventually("several heartbeats", func() bool { return beats.Load() > 5 })
	if said := log.String(); strings.Count(said, "with another configuration") != 1 || !strings.Contains(said, "connector=other replica=b") {
		t.Errorf("the log is %s", said)
	}
}

// TestFileOfOneReplica: a connector of one replica's file alone is told of, and is made by
// nobody else while that replica is there.
func TestFileOfOneReplica(t *testing.T) {
	t.Parallel()
	b, brokers, prefix := newBench(t), testenv.Broker(t), testenv.Topic(t)
	log := &safeBuffer{}
	_, stop := b.start(brokers, prefix, "a", &safeBuffer{}, Connector{"x", map[string]string{"what": "file"}})
	other, _ := b.start(brokers, prefix, "b", log)
	const said = "another replica has a connector in its configuration file that is not in this one's"
	b.eventually("it is said", func() bool { return strings.Contains(log.String(), said) })
	config := map[string]string{"what": "rest"}
	if err := other.Create(t.Context(), "x", config, Started); !errors.Is(err, ErrFile) {
		t.Errorf("Create gives %v, want ErrFile", err)
	}
	if _, err := other.Put(t.Context(), "x", config); !errors.Is(err, ErrFile) {
		t.Errorf("Put gives %v, want ErrFile", err)
	}
	if !other.InFile("x") || other.InFile("y") {
		t.Error("InFile does not know of the other's file")
	}
	stop()
	b.eventually("it can be made once that replica has gone", func() bool { return other.Create(t.Context(), "x", config, Started) == nil })
	b.eventually("it runs", func() bool { return b.what("b", "x") == "rest" })
	if n := strings.Count(log.String(), said); n != 1 {
		t.Errorf("it is said %d times", n)
	}
}

// TestIdleIsAProblem: a replica that does not know what to run is not healthy; one whose
// file has connectors runs them.
func TestIdleIsAProblem(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	away := []string{"127.0.0.1:1"}
	rest, _ := b.start(away, "p", "a", &safeBuffer{})
	file, _ := b.start(away, "p", "b", &safeBuffer{}, Connector{"x", map[string]string{"what": "file"}})
	if p := rest.Problems(); len(p) != 1 || !strings.Contains(p[0], "p-configs") {
		t.Errorf("the problems are %v", p)
	}
	b.eventually("the file's connector runs", func() bool { return b.what("b", "x") == "file" })
	if p := file.Problems(); len(p) != 0 {
		t.Errorf("the problems are %v", p)
	}
	b.eventually("it says why", func() bool {
		p := rest.Problems()
		return len(p) == 1 && strings.Contains(p[0], "topic p-configs cannot be read: ")
	})
	h, _ := b.start(testenv.Broker(t), testenv.Topic(t), "c", &safeBuffer{})
	b.eventually("all is well", func() bool { return len(h.Problems()) == 0 })
}

// TestTopicsAreResetEverywhere: a topic that is read no more goes from what all replicas
// say.
func TestTopicsAreResetEverywhere(t *testing.T) {
	t.Parallel()
	b, brokers, prefix := newBench(t), testenv.Broker(t), testenv.Topic(t)
	all := map[string]*Herder{}
	for _, id := range []string{"a", "b"} {
		all[id], _ = b.start(brokers, prefix, id, &safeBuffer{})
	}
	if err := all["a"].Create(t.Context(), "x", map[string]string{"what": "old"}, Started); err != nil {
		t.Fatal(err)
	}
	topics := func(want ...string) func() bool {
		return func() bool {
			return slices.Equal(all["a"].Topics("x"), want) && slices.Equal(all["b"].Topics("x"), want)
		}
	}
	b.eventually("both say what they read", topics("old"))
	if _, err := all["a"].Put(t.Context(), "x", map[string]string{"what": "new"}); err != nil {
		t.Fatal(err)
	}
	b.eventually("the old topic is still there", topics("new", "old"))
	if err := all["a"].ResetTopics(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	b.eventually("it has gone", topics("new"))
}

// TestFailed: a connector that ends by itself is FAILED with the reason until it is
// restarted; a restart of what has failed leaves the others alone.
func TestFailed(t *testing.T) {
	t.Parallel()
	b, brokers := newBench(t), testenv.Broker(t)
	h, stop := b.start(brokers, testenv.Topic(t), "a", &safeBuffer{})
	b.fail.Store(true)
	if err := h.Create(t.Context(), "bad", map[string]string{"what": "x"}, Started); err != nil {
		t.Fatal(err)
	}
	failed := func() bool {
		s, err := h.Status("bad")
		return err == nil && s.Connector.State == worker.StateFailed && s.Connector.Trace == "it cannot go on"
	}
	b.eventually("it has failed", failed)
	if p := h.Problems(); len(p) != 1 || p[0] != "bad: ended: it cannot go on" {
		t.Errorf("the problems are %v", p)
	}
	b.fail.Store(false)
	if err := h.Create(t.Context(), "good", map[string]string{"what": "y"}, Started); err != nil {
		t.Fatal(err)
	}
	b.eventually("the other runs", func() bool { return b.what("a", "good") == "y" })
	made := b.made
	for _, name := range []string{"good", "bad"} {
		if err := h.Restart(t.Context(), name, true, true); err != nil {
			t.Fatal(err)
		}
	}
	b.eventually("it runs again", func() bool { return b.what("a", "bad") == "x" })
	b.mu.Lock()
	if b.made != made+1 {
		t.Errorf("%d connectors were made, want 1", b.made-made)
	}
	b.mu.Unlock()
	stop()
	if b.what("a", "bad")+b.what("a", "good") != "" {
		t.Error("connectors run after the end")
	}
}

// TestLevelsEndWithTheProcess: as in Kafka Connect, a level that was set for all replicas
// is not set again by one that starts later.
func TestLevelsEndWithTheProcess(t *testing.T) {
	t.Parallel()
	b, c := newBench(t), testenv.NewFaultyBroker(t)
	h, _ := b.start(c.Brokers(), "p", "a", &safeBuffer{})
	var set atomic.Int32
	h.opts.SetLevel = func(string, string) { set.Add(1) }
	level := configRecord(loggerKey+"root", loggerValue{"DEBUG"})
	h.applyConfig(level, false)
	if set.Load() != 0 {
		t.Error("an old level is set")
	}
	h.applyConfig(level, true)
	if set.Load() != 1 {
		t.Error("a new level is not set")
	}
}

// TestDeadReplicaAfterAStart: a replica that died long ago does not come back to life in
// what one says that starts.
func TestDeadReplicaAfterAStart(t *testing.T) {
	t.Parallel()
	b, c := newBench(t), testenv.NewFaultyBroker(t)
	h, stop := b.start(c.Brokers(), "p", "a", &safeBuffer{})
	if err := h.Create(t.Context(), "x", map[string]string{"what": "1"}, Started); err != nil {
		t.Fatal(err)
	}
	if err := h.statuses.awaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	log := &safeBuffer{}
	dead := &kgo.Record{
		Topic: "p-status", Key: []byte("dead"), Timestamp: time.Now().Add(-time.Hour),
		Value: []byte(`{"worker_id":"dead:1","connectors":{"x":{"state":"FAILED","trace":"an hour ago","tasks":[{"lane":0,"state":"RUNNING"}],"topics":["old"]},"y":{"state":"RUNNING","config":"0123"}}}`),
	}
	if err := client.ProduceSync(t.Context(), dead).FirstErr(); err != nil {
		t.Fatal(err)
	}
	h, _ = b.start(c.Brokers(), "p", "a", log, Connector{"y", map[string]string{"what": "y"}})
	if err := h.statuses.awaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.eventually("it runs", func() bool { return b.what("a", "x") == "1" })
	if topics := h.Topics("x"); slices.Contains(topics, "old") || strings.Contains(log.String(), "another replica") {
		t.Errorf("the topics are %v; the log is %s", topics, log)
	}
	if s, err := h.Status("x"); err != nil || s.Connector.State != worker.StateRunning || len(s.Tasks) != 1 {
		t.Errorf("the status is %+v, %v", s, err)
	}
}

// TestTaskIDs: no two tasks have one id, though tasks.max is a variable, which only the
// replicas resolve.
func TestTaskIDs(t *testing.T) {
	t.Parallel()
	b, c := newBench(t), testenv.NewFaultyBroker(t)
	h, _ := b.start(c.Brokers(), "p", "a", &safeBuffer{})
	if err := h.Create(t.Context(), "x", map[string]string{"what": "1", "tasks.max": "${env:TASKS}"}, Started); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"b", "c"} {
		h.applyStatus(&kgo.Record{Key: []byte(id), Value: []byte(`{"worker_id":"` + id + `:1","connectors":{"x":{"state":"RUNNING","tasks":[{"lane":0,"state":"RUNNING"},{"lane":3,"state":"RUNNING"}]}}}`)}, true)
	}
	b.eventually("each has its own", func() bool {
		s, err := h.Status("x")
		var ids []int
		for _, task := range s.Tasks {
			ids = append(ids, task.ID)
		}
		return err == nil && fmt.Sprint(ids) == "[0 4 7 8 11]"
	})
}

// TestTooLargeForTheTopic: a configuration that no record holds is refused for good, and
// leaves nothing.
func TestTooLargeForTheTopic(t *testing.T) {
	t.Parallel()
	b, c := newBench(t), testenv.NewFaultyBroker(t)
	h, _ := b.start(c.Brokers(), "p", "a", &safeBuffer{})
	err := h.Create(t.Context(), "x", map[string]string{"what": strings.Repeat("x", 1_020_000)}, Stopped)
	if !errors.Is(err, ErrTooLarge) || connect.IsRetriable(err) {
		t.Errorf("it is refused with %v", err)
	}
	if _, err := h.Put(t.Context(), "x", map[string]string{"what": "small"}); err != nil {
		t.Fatal(err)
	}
	b.eventually("the next one of its name runs", func() bool { return b.what("a", "x") == "small" })
}

// TestReportFitsARecord: a replica in which much has failed can still say so.
func TestReportFitsARecord(t *testing.T) {
	t.Parallel()
	h := New(Options{Replica: "a", WorkerID: func() string { return "a:1" }, Log: slog.New(slog.DiscardHandler)})
	for i := range 300 {
		name := fmt.Sprint("connector-", i)
		m := newManaged(h, name)
		m.want, m.ended = &spec{config: map[string]string{"name": name}, target: Started}, strings.Repeat("it cannot go on ", 1000)
		h.managed[name] = m
		h.want(name).config = m.want.config
	}
	var report replicaReport
	text := h.text()
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatal(err)
	}
	if len(text) > reportMax || len(report.Connectors) != 300 || !strings.HasPrefix(report.Connectors["connector-7"].Trace, "it cannot go on it") {
		t.Errorf("the report has %d bytes and %d connectors", len(text), len(report.Connectors))
	}
}

// TestClocksDiffer: a replica whose clock is a minute off, either way, is there for as long
// as it says so, and gone a session after that.
func TestClocksDiffer(t *testing.T) {
	t.Parallel()
	for name, off := range map[string]time.Duration{"behind": -time.Minute, "ahead": time.Minute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, brokers, prefix := newBench(t), testenv.Broker(t), testenv.Topic(t)
			h, _ := b.start(brokers, prefix, "a", &safeBuffer{})
			if err := h.Create(t.Context(), "x", map[string]string{"what": "1"}, Started); err != nil {
				t.Fatal(err)
			}
			client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			beat := func() {
				r := &kgo.Record{
					Topic: prefix + "-status", Key: []byte("other"), Timestamp: time.Now().Add(off),
					Value: []byte(`{"worker_id":"other:1","connectors":{"x":{"state":"RUNNING","tasks":[{"lane":0,"state":"RUNNING"}]}}}`),
				}
				if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
			states := func() (states []string) {
				s, err := h.Status("x")
				if err != nil {
					t.Fatal(err)
				}
				for _, task := range s.Tasks {
					if task.WorkerID == "other:1" {
						states = append(states, task.State)
					}
				}
				return states
			}
			there := func() bool { return slices.Contains(states(), worker.StateRunning) }
			beats := 0
			b.eventually("it is there, and stays so over its session", func() bool {
				beat()
				if there() {
					beats++
				} else if beats > 0 {
					t.Fatalf("it has gone: %v", states())
				}
				return beats > 300 // more than a session of 1 s
			})
			b.eventually("it has gone", func() bool { return slices.Contains(states(), worker.StateUnassigned) && !there() })
		})
	}
}

package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/internal/devstack/testenv"
	"github.com/qicore/tickconnect/marketdata"
	"github.com/qicore/tickconnect/publish/files"
)

// publishLimit bounds what a test of connector publish waits for.
const publishLimit = 90 * time.Second

// publishing is a cluster, an exchange of the test's own in it, and a folder.
type publishing struct {
	testing.TB
	brokers  []string
	exchange string
	dir      string
	client   *kgo.Client
	// connect are flags that name the brokers.
	connect []string
}

// publishOnBoth runs a test on the in-process broker and on Apache Kafka.
func publishOnBoth(t *testing.T, test func(*publishing)) {
	t.Helper()
	t.Parallel()
	t.Run("kfake", func(t *testing.T) { t.Parallel(); test(newPublishing(t, testenv.Broker(t))) })
	t.Run("kafka", func(t *testing.T) { t.Parallel(); test(newPublishing(t, testenv.Kafka(t))) })
}

func newPublishing(t testing.TB, brokers []string, opts ...kgo.Opt) *publishing {
	t.Helper()
	client, err := kgo.NewClient(append(opts, kgo.SeedBrokers(brokers...), kgo.MetadataMinAge(20*time.Millisecond),
		kgo.UnknownTopicRetries(-1))...) // a topic was made a moment ago
	if err != nil {
		t.Fatal(err)
	}
	f := &publishing{
		TB: t, brokers: brokers, exchange: testenv.Topic(t), dir: t.TempDir(), client: client,
		connect: []string{"--brokers", strings.Join(brokers, ",")},
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, _ = kadm.NewClient(client).DeleteTopics(ctx, f.topic()) // it may not be there
		client.Close()
	})
	return f
}

func (f *publishing) topic() string { return marketdata.TopicName(marketdata.KindTrade, f.exchange) }

func (f *publishing) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), publishLimit)
	f.Cleanup(cancel)
	return ctx
}

func (f *publishing) path(name string) string { return filepath.Join(f.dir, name) }

func (f *publishing) write(name string, content []byte) string {
	f.Helper()
	if err := os.WriteFile(f.path(name), content, 0o644); err != nil {
		f.Fatal(err)
	}
	return f.path(name)
}

func (f *publishing) add(name string, content string) {
	f.Helper()
	file, err := os.OpenFile(f.path(name), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		f.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteString(content); err != nil {
		f.Fatal(err)
	}
}

// args is the command line for these flags and files.
func (f *publishing) args(args ...string) []string {
	all := append([]string{"publish", "--state", f.path("state"), "--kind", "trade", "--exchange", f.exchange}, f.connect...)
	return append(all, args...)
}

// publish runs the command; rejected lines go to the file "rejected".
func (f *publishing) publish(args ...string) (code int, out, errOut string) {
	f.Helper()
	return f.publishFor(f.ctx(), append([]string{"--reject", f.path("rejected")}, args...)...)
}

func (f *publishing) publishFor(ctx context.Context, args ...string) (code int, out, errOut string) {
	var o, e syncedBuffer
	code = execute(ctx, f.args(args...), &o, &e)
	return code, o.String(), e.String()
}

// summary runs the command with -o json.
func (f *publishing) summary(args ...string) (code int, s files.Summary, errOut string) {
	f.Helper()
	code, out, errOut := f.publish(append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		f.Fatalf("%v in %s%s", err, out, errOut)
	}
	return code, s, errOut
}

// good is the n-th record of a file; 50 symbols take turns.
func good(n int) string {
	return fmt.Sprintf(`{"symbol":"S%d","tradeId":"%d","time":%d,"price":65000.10,"size":"0.5000","mine":[1.10]}`, n%50, n, 1_700_000_000_000+n)
}

func goodLines(from, to int) string {
	var b strings.Builder
	for n := from; n < to; n++ {
		b.WriteString(good(n) + "\n")
	}
	return b.String()
}

// end is how many offsets the topic has.
func (f *publishing) end() (n int64) {
	f.Helper()
	ends, err := kadm.NewClient(f.client).ListEndOffsets(f.ctx(), f.topic())
	if err != nil {
		return 0
	}
	ends.Each(func(o kadm.ListedOffset) { n += max(0, o.Offset) })
	return n
}

// read gives all records of the topic, those of a partition in their order.
func (f *publishing) read() []*kgo.Record {
	f.Helper()
	n := f.end()
	f.client.AddConsumeTopics(f.topic())
	defer f.client.PurgeTopicsFromConsuming(f.topic())
	var records []*kgo.Record
	for ctx := f.ctx(); int64(len(records)) < n; {
		fetches := f.client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			f.Fatalf("%d of %d records read: %v", len(records), n, err)
		}
		records = append(records, fetches.Records()...)
	}
	return records
}

// account says how often each trade is in the topic, and checks that those of a
// key are in the order in which they came first.
func (f *publishing) account() map[int]int {
	f.Helper()
	seen, last := map[int]int{}, map[string]int{}
	for _, r := range f.read() {
		id := tradeID(f, r.Value)
		seen[id]++
		if before, ok := last[string(r.Key)]; ok && id < before && seen[id] == 1 {
			f.Errorf("key %s: %d comes after %d", r.Key, id, before)
		}
		last[string(r.Key)] = id
	}
	return seen
}

func tradeID(t testing.TB, value []byte) int {
	t.Helper()
	var v struct {
		TradeID string `json:"tradeId"`
	}
	if err := json.Unmarshal(value, &v); err != nil {
		t.Fatalf("%v in %s", err, value)
	}
	id, err := strconv.Atoi(v.TradeID)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// wantOnce says which of the first n trades are not there exactly once.
func (f *publishing) wantOnce(n int) {
	f.Helper()
	seen := f.account()
	lost, again := 0, 0
	for id := range n {
		switch seen[id] {
		case 0:
			lost++
		case 1:
		default:
			again++
		}
	}
	if lost > 0 || again > 0 || len(seen) != n {
		f.Errorf("of %d records %d are lost and %d are there more than once; there are %d", n, lost, again, len(seen))
	}
}

func gzipped(t testing.TB, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zstandard(t testing.TB, content string) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll([]byte(content), nil)
}

// syncedBuffer is a bytes.Buffer for several goroutines. wait, where set, gets
// what is written.
type syncedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
	at func(all string)
}

func (b *syncedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	n, err := b.b.Write(p)
	all, at := b.b.String(), b.at
	b.mu.Unlock()
	if at != nil {
		at(all)
	}
	return n, err
}

func (b *syncedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// process starts the command as a process of its own, in the test's folder.
func (f *publishing) process(args ...string) (*exec.Cmd, *syncedBuffer) {
	f.Helper()
	said := &syncedBuffer{}
	cmd := exec.Command(os.Args[0], f.args(args...)...)
	cmd.Env = append(os.Environ(), runAsConnector+"=1")
	cmd.Dir, cmd.Stdout, cmd.Stderr = f.dir, said, said
	if err := cmd.Start(); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill() // it may have ended by itself
			_ = cmd.Wait()
		}
		if f.Failed() {
			f.Logf("connector publish said:\n%s", said)
		}
	})
	return cmd, said
}

// waitEnd waits until the topic holds that many records.
func (f *publishing) waitEnd(n int64) {
	f.Helper()
	f.waitFor(fmt.Sprintf("%d records in the topic", n), func() bool { return f.end() >= n })
}

func (f *publishing) waitFor(what string, so func() bool) {
	f.Helper()
	deadline := time.After(publishLimit)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-deadline:
			f.Fatalf("there never were %s", what)
		case <-tick.C:
		}
	}
}

func (f *publishing) wantText(text string, wants ...string) {
	f.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			f.Errorf("it says\n%s\nwithout %q", text, want)
		}
	}
}

func brokerOf(t testing.TB) []string {
	t.Helper()
	return testenv.Broker(t)
}

package redpandasource

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"net"
	"reflect"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/internal/devstack"
	"github.com/qicore/tickconnect/internal/devstack/testenv"
)

// answers stands in for a broker that holds the log [2, stable) of a topic and
// answers with the given batches, then with none.
type answers struct {
	stable    int64
	start     int64
	batches   [][]byte
	ids       []connect.TopicID // of each answer; the last goes on
	compacted bool

	asked, policies int
}

func (a *answers) prove(t *testing.T, from, to int64) (connect.Span, error) {
	t.Helper()
	return proveSpan(connect.TopicPartition{Topic: "t"}, from, to, func(wait bool) (fetched, error) {
		if wait != (a.asked > 0) {
			t.Errorf("request %d: wait is %t", a.asked, wait)
		}
		p := kmsg.NewFetchResponseTopicPartition()
		p.LastStableOffset, p.LogStartOffset = a.stable, max(a.start, 2)
		if a.asked < len(a.batches) {
			p.RecordBatches = a.batches[a.asked]
		}
		var id connect.TopicID
		if n := len(a.ids); n > 0 {
			id = a.ids[min(a.asked, n-1)]
		}
		a.asked++
		return fetched{&p, id}, nil
	}, func(connect.TopicID) bool {
		a.policies++
		return a.compacted
	})
}

// emptyBatch is a whole batch of the offsets 6 and 7 that holds no record.
func emptyBatch() []byte {
	batch := kmsg.NewRecordBatch()
	batch.FirstOffset, batch.LastOffsetDelta, batch.Magic = 6, 1, 2
	batch.Length = int32(len(batch.AppendTo(nil)) - 12)
	raw := batch.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

// TestEmptyAnswersProveNothing has a broker answer with nothing below its last
// stable offset, as one does that fetches the records from a remote tier.
func TestEmptyAnswersProveNothing(t *testing.T) {
	t.Parallel()
	a := &answers{stable: 9}
	span, err := a.prove(t, 5, 20)
	if want := (connect.Span{From: 5, Next: 5, Start: 2}); err != nil || !reflect.DeepEqual(span, want) {
		t.Errorf("got %+v, %v after %d requests; want %+v", span, err, a.asked, want)
	}
	// An answer that says where the log begins does prove, also without a batch.
	a = &answers{stable: 9, start: 7}
	if span, err = a.prove(t, 5, 20); err != nil || span.Next != 7 || span.Start != 7 || a.policies != 0 {
		t.Errorf("a log that begins at 7: %+v, %v, want it proved up to 7", span, err)
	}
	a = &answers{stable: 5}
	if span, err = a.prove(t, 5, 20); err != nil || span.Next != 5 || a.asked != 1 || a.policies != 0 {
		t.Errorf("nothing readable: %+v, %v after %d requests", span, err, a.asked)
	}
	raw := emptyBatch()
	a = &answers{stable: 9, batches: [][]byte{raw}}
	if span, err = a.prove(t, 5, 20); err != nil || span.Next != 8 || len(span.Records) != 0 {
		t.Errorf("a batch without records up to 7: %+v, %v", span, err)
	}
	a = &answers{stable: 9, batches: [][]byte{append(slices.Clone(raw), raw[:30]...)}}
	if span, err = a.prove(t, 5, 20); err != nil || span.Next != 8 {
		t.Errorf("a torn batch after a whole one: %+v, %v; want next 8", span, err)
	}
	raw[len(raw)-1] ^= 1
	a = &answers{stable: 9, batches: [][]byte{raw}}
	if _, err = a.prove(t, 5, 20); !errors.Is(err, errCorrupt) {
		t.Errorf("a batch whose checksum is wrong: %v, want an error", err)
	}
}

// TestCompactedTailIsProved is about a log whose last batches were all removed.
func TestCompactedTailIsProved(t *testing.T) {
	t.Parallel()
	a := &answers{stable: 9, compacted: true}
	if span, err := a.prove(t, 5, 20); err != nil || span.Next != 9 || span.Start != 2 || a.asked != emptyProofs {
		t.Errorf("an empty tail: %+v, %v after %d requests, want it proved up to 9 after %d", span, err, a.asked, emptyProofs)
	}
	a = &answers{stable: 9, compacted: true}
	if span, err := a.prove(t, 5, 7); err != nil || span.Next != 7 {
		t.Errorf("an empty tail up to 7: %+v, %v", span, err)
	}
	a = &answers{stable: 9, compacted: true, batches: [][]byte{nil, emptyBatch()}}
	if span, err := a.prove(t, 5, 20); err != nil || span.Next != 8 || a.asked != 2 {
		t.Errorf("nothing once, then a batch up to 7: %+v, %v after %d requests", span, err, a.asked)
	}
	// Answers about another topic say nothing about this one.
	a = &answers{stable: 9, compacted: true, ids: []connect.TopicID{{1}, {1}, {2}}}
	if span, err := a.prove(t, 5, 20); err != nil || span.TopicID != (connect.TopicID{2}) || a.asked != 2+emptyProofs || a.policies != 2 {
		t.Errorf("a topic made again: %+v, %v after %d requests and %d looks at the policy", span, err, a.asked, a.policies)
	}
}

func TestCompactionIsReadFromTheConfiguration(t *testing.T) {
	onBoth(t, func(t *testing.T, c *cluster) {
		prefix := testenv.Topic(t)
		l := openLog(t, c)
		for policy, want := range map[string]bool{"delete": false, "compact": true, "compact,delete": true} {
			topic := prefix + "-" + map[string]string{"delete": "d", "compact": "c", "compact,delete": "cd"}[policy]
			c.create(topic, 1, "cleanup.policy", policy)
			id := c.boundsOf(l, connect.TopicPartition{Topic: topic}).TopicID
			if got := l.compacted(t.Context(), topic, id); got != want {
				t.Errorf("%s: compacted is %t", policy, got)
			}
			if known, ok := l.compactions.get(topic); !ok || known.compacted != want || known.id != id {
				t.Errorf("%s: remembered is %+v", policy, known)
			}
		}
		if l.compacted(t.Context(), prefix+"-no", connect.TopicID{}) {
			t.Error("a topic that does not exist is compacted")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if l.compacted(ctx, prefix+"-c", connect.TopicID{9}) {
			t.Error("what could not be asked is compacted")
		}
	})
}

func TestTieredTopicsCountAsNotCompacted(t *testing.T) {
	t.Parallel()
	config := func(pairs ...string) (configs []kadm.Config) {
		for i := 0; i < len(pairs); i += 2 {
			configs = append(configs, kadm.Config{Key: pairs[i], Value: &pairs[i+1]})
		}
		return configs
	}
	for _, tc := range []struct {
		configs []kadm.Config
		want    bool
	}{
		{nil, false},
		{config("cleanup.policy", "compact", "remote.storage.enable", "false", "redpanda.remote.read", "false", "redpanda.storage.mode", "local"), true},
		{config("cleanup.policy", "delete, compact", "redpanda.storage.mode", "unset"), true},
		{config("cleanup.policy", "compactor"), false},
		{config("cleanup.policy", "compact", "remote.storage.enable", "true"), false},
		{config("redpanda.remote.read", "true", "cleanup.policy", "compact"), false},
		{config("cleanup.policy", "compact", "redpanda.storage.mode", "tiered"), false},
	} {
		if got := onlyCompacted(tc.configs); got != tc.want {
			t.Errorf("%+v: %t, want %t", tc.configs, got, tc.want)
		}
	}
}

// TestReadRecordsKeepNothingElse: a record that waits must not hold the whole
// answer of a broker in memory.
func TestReadRecordsKeepNothingElse(t *testing.T) {
	t.Parallel()
	answer := []byte("keyvalueheader")
	r := &kgo.Record{
		Key: answer[:3], Value: answer[3:8],
		Headers: []kgo.RecordHeader{{Key: "h", Value: answer[8:]}, {Key: "nil"}, {Key: "empty", Value: answer[:0]}},
	}
	rec := exactRecord(r)
	clear(answer)
	want := []connect.Header{{Key: "h", Value: []byte("header")}, {Key: "nil"}, {Key: "empty", Value: []byte{}}}
	if string(rec.Key) != "key" || string(rec.Value) != "value" || !reflect.DeepEqual(rec.Headers, want) {
		t.Errorf("the record changed with the answer: %q=%q %q", rec.Key, rec.Value, rec.Headers)
	}
	if rec = exactRecord(&kgo.Record{Key: []byte{}}); rec.Key == nil || rec.Value != nil {
		t.Errorf("key %#v, value %#v; want an empty and a missing one", rec.Key, rec.Value)
	}
}

func TestFetchedBytesFollowTheRange(t *testing.T) {
	t.Parallel()
	for offsets, want := range map[int64]int32{1: 64 << 10, 16: 64 << 10, 17: 68 << 10, 255: 1020 << 10, 256: 1 << 20, math.MaxInt64: 1 << 20} {
		if got := fetchBytesFor(offsets); got != want {
			t.Errorf("%d offsets: %d bytes, want %d", offsets, got, want)
		}
	}
}

// TestSpanNamesTheTopicThatWasRead deletes the topic and makes it again.
func TestSpanNamesTheTopicThatWasRead(t *testing.T) {
	onBoth(t, func(t *testing.T, c *cluster) {
		topic := testenv.Topic(t)
		tp := connect.TopicPartition{Topic: topic}
		l := openLog(t, c)
		var ids []connect.TopicID
		for range 2 {
			c.create(topic, 1)
			newCluster(t, c.brokers).produce(topic, 0, 0, 3)
			id := c.boundsOf(l, tp).TopicID
			for _, from := range []int64{0, 3, 10} { // a record, the end, and out of range
				span, err := l.Read(t.Context(), tp, from, from+1)
				if err != nil || span.TopicID != id || id == (connect.TopicID{}) || slices.Contains(ids, id) {
					t.Errorf("from %d: %+v, %v; want topic id %s, another than before", from, span, err, id)
				}
			}
			ids = append(ids, id)
			c.delete(topic)
		}
	})
}

// brokerLink is the way to one broker, which can be cut: then connections to it
// are refused, or silent.
type brokerLink struct {
	address string
	refused atomic.Bool
	silent  atomic.Bool
	lookups atomic.Int64 // requests for metadata, to any broker
}

func (b *brokerLink) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if address == b.address && b.refused.Load() {
		return nil, errors.New("connection refused")
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil || address != b.address {
		return conn, err
	}
	return &silenced{Conn: conn, link: b}, nil
}

// OnBrokerWrite implements kgo.HookBrokerWrite.
func (b *brokerLink) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, _ error) {
	if key == int16(kmsg.Metadata) {
		b.lookups.Add(1)
	}
}

type silenced struct {
	net.Conn
	link *brokerLink
}

// Write swallows what would be answered.
func (s *silenced) Write(p []byte) (int, error) {
	if s.link.silent.Load() {
		return len(p), nil
	}
	return s.Conn.Write(p)
}

// cutOff gives a Log whose way to the leader of tp can be cut. The metadata comes
// from the other broker.
func cutOff(t *testing.T) (*Log, *brokerLink, connect.TopicPartition) {
	t.Helper()
	b, err := devstack.StartBroker(t.Context(), devstack.BrokerOptions{Brokers: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	c := newCluster(t, b.Brokers())
	tp := connect.TopicPartition{Topic: testenv.Topic(t)}
	c.create(tp.Topic, 1)
	c.produce(tp.Topic, 0, 0, 3)
	metadata, err := c.admin.Metadata(t.Context(), tp.Topic)
	if err != nil {
		t.Fatal(err)
	}
	leader := metadata.Topics[tp.Topic].Partitions[0].Leader
	link := &brokerLink{}
	var other string
	for _, d := range metadata.Brokers {
		address := net.JoinHostPort(d.Host, strconv.Itoa(int(d.Port)))
		if d.NodeID == leader {
			link.address = address
		} else {
			other = address
		}
	}
	l, err := openLogWith(testClient([]string{other}), testLog(t), kgo.Dialer(link.dial), kgo.WithHooks(link))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l, link, tp
}

// TestReadLeavesADeadLeader: a broker that is gone is no leader for long, so who
// leads is asked again and again.
func TestReadLeavesADeadLeader(t *testing.T) {
	t.Parallel()
	l, link, tp := cutOff(t)
	link.refused.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		span, err := l.Read(ctx, tp, 0, 3)
		if err == nil && len(span.Records) != 3 {
			err = errors.New("not all records were read")
		}
		done <- err
	}()
	eventually(t, "the leader is looked up again", func() bool { return ctx.Err() != nil || link.lookups.Load() >= 4 })
	link.refused.Store(false)
	if err := <-done; err != nil {
		t.Errorf("after the broker came back: %v", err)
	}
}

// TestLogReturnsWhenItsContextEnds has the leader take requests and answer none.
func TestLogReturnsWhenItsContextEnds(t *testing.T) {
	t.Parallel()
	l, link, tp := cutOff(t)
	record := []connect.Record{{Value: []byte("x"), Timestamp: connect.NoTimestamp}}
	calls := map[string]func(context.Context) error{
		"Read":    func(ctx context.Context) error { _, err := l.Read(ctx, tp, 0, 3); return err },
		"Bounds":  func(ctx context.Context) error { _, err := l.Bounds(ctx, []connect.TopicPartition{tp}); return err },
		"Publish": func(ctx context.Context) error { return l.Publish(ctx, tp.Topic, record) },
	}
	for name, call := range calls {
		if err := call(t.Context()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	link.silent.Store(true)
	for name, call := range calls {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		began := time.Now()
		err := call(ctx)
		cancel()
		if took := time.Since(began); took > 2*time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v after %v, want that its context ended", name, err, took)
		}
	}
}

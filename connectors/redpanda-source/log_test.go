package redpandasource

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/internal/devstack"
	"github.com/qicore/tickconnect/internal/devstack/testenv"
)

func openLog(t testing.TB, c *cluster) *Log {
	t.Helper()
	l, err := OpenLog(testClient(c.brokers), testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func (c *cluster) boundsOf(l *Log, tp connect.TopicPartition) connect.Bounds {
	c.t.Helper()
	bounds, err := l.Bounds(c.t.Context(), []connect.TopicPartition{tp})
	if err != nil {
		c.t.Fatal(err)
	}
	b, ok := bounds[tp]
	if !ok {
		c.t.Fatalf("%s is left out", tp)
	}
	return b
}

// readAll reads [from, to) in steps, each of which must move.
func readAll(t testing.TB, l *Log, tp connect.TopicPartition, from, to int64) []connect.Record {
	t.Helper()
	var records []connect.Record
	for from < to {
		span, err := l.Read(t.Context(), tp, from, to)
		if err != nil {
			t.Fatal(err)
		}
		if span.From != from || span.Next <= from || span.Next > to {
			t.Fatalf("Read(%d, %d) gave the span [%d, %d)", from, to, span.From, span.Next)
		}
		for _, r := range span.Records {
			if r.Offset < from || r.Offset >= span.Next {
				t.Fatalf("record %d lies outside [%d, %d)", r.Offset, from, span.Next)
			}
		}
		records = append(records, span.Records...)
		from = span.Next
	}
	return records
}

// consumed reads the partition as an ordinary consumer does, until it has seen
// the record at the offset last.
func (c *cluster) consumed(tp connect.TopicPartition, last int64) []int64 {
	c.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.brokers...), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{tp.Topic: {tp.Partition: kgo.NewOffset().AtStart()}}))
	if err != nil {
		c.t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(c.t.Context(), waitLimit)
	defer cancel()
	var offsets []int64
	for len(offsets) == 0 || offsets[len(offsets)-1] < last {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			c.t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) { offsets = append(offsets, r.Offset) })
	}
	return offsets
}

func offsets(records []connect.Record) []int64 {
	var o []int64
	for _, r := range records {
		o = append(o, r.Offset)
	}
	return o
}

// transact runs one transaction of n records of one partition.
func (c *cluster) transact(id, topic string, n int, end kgo.TransactionEndTry) {
	c.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.brokers...), kgo.TransactionalID(id), kgo.RecordPartitioner(kgo.ManualPartitioner()), untilKnown)
	if err != nil {
		c.t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.BeginTransaction(); err != nil {
		c.t.Fatal(err)
	}
	for i := range n {
		if err := cl.ProduceSync(c.t.Context(), &kgo.Record{Topic: topic, Value: fmt.Appendf(nil, "%s-%d", id, i)}).FirstErr(); err != nil {
			c.t.Fatal(err)
		}
	}
	if err := cl.EndTransaction(c.t.Context(), end); err != nil {
		c.t.Fatal(err)
	}
	// Kafka answers before the log has the marker.
	eventually(c.t, "the transaction's marker", func() bool {
		stable, err := c.admin.ListCommittedOffsets(c.t.Context(), topic)
		if err != nil {
			return false
		}
		ends, err := c.admin.ListEndOffsets(c.t.Context(), topic)
		s, _ := stable.Lookup(topic, 0)
		e, _ := ends.Lookup(topic, 0)
		return err == nil && s.Err == nil && e.Err == nil && s.Offset == e.Offset
	})
}

func TestReadShowsWhatTransactionsLeft(t *testing.T) {
	onBoth(t, func(t *testing.T, c *cluster) {
		topic := testenv.Topic(t)
		tp := connect.TopicPartition{Topic: topic}
		c.create(topic, 1)
		l := openLog(t, c)
		c.transact(topic+"-1", topic, 3, kgo.TryCommit) // 0-2, marker 3
		c.transact(topic+"-2", topic, 4, kgo.TryAbort)  // 4-7, marker 8
		c.produce(topic, 0, 0, 2)                       // 9-10
		c.transact(topic+"-3", topic, 2, kgo.TryAbort)  // 11-12, marker 13
		b := c.boundsOf(l, tp)
		if want := (connect.Bounds{TopicID: b.TopicID, Start: 0, Stable: 14, End: 14}); b != want || b.TopicID == (connect.TopicID{}) {
			t.Fatalf("bounds %+v, want %+v with a topic id", b, want)
		}
		want := []int64{0, 1, 2, 9, 10}
		if got := offsets(readAll(t, l, tp, 0, 14)); !slices.Equal(got, want) {
			t.Errorf("records at %v, want %v", got, want)
		}
		if got := c.consumed(tp, 10); !slices.Equal(got, want) {
			t.Errorf("a consumer sees %v, want %v", got, want)
		}
		// From within an aborted batch, from a marker, up to a marker.
		for _, r := range [][2]int64{{5, 14}, {8, 14}, {11, 14}, {13, 14}, {2, 3}, {2, 4}, {1, 10}} {
			var want []int64
			for _, o := range []int64{0, 1, 2, 9, 10} {
				if o >= r[0] && o < r[1] {
					want = append(want, o)
				}
			}
			if got := offsets(readAll(t, l, tp, r[0], r[1])); !slices.Equal(got, want) {
				t.Errorf("[%d, %d): records at %v, want %v", r[0], r[1], got, want)
			}
		}
		// Nothing is proved beyond the end.
		span, err := l.Read(t.Context(), tp, 14, 20)
		if err != nil || span.Next != 14 || len(span.Records) != 0 {
			t.Errorf("at the end: %+v, %v; want nothing", span, err)
		}
		if span, err = l.Read(t.Context(), tp, 13, 20); err != nil || span.Next != 14 {
			t.Errorf("over the end: next %d, %v; want 14", span.Next, err)
		}

		// The source itself gives the same, and no more.
		st := newStore()
		run(t, testClient(c.brokers), testConfig(topic), newHandler(st))
		eventually(t, "the last committed record", func() bool { return st.next(tp) == 11 })
		if got := st.offsetsOf(tp); !slices.Equal(got, want) {
			t.Errorf("the source delivers %v, want %v", got, want)
		}
	})
}

func TestReadStopsAtAnOpenTransaction(t *testing.T) {
	onBoth(t, func(t *testing.T, c *cluster) {
		topic := testenv.Topic(t)
		tp := connect.TopicPartition{Topic: topic}
		c.create(topic, 1)
		l := openLog(t, c)
		c.produce(topic, 0, 0, 2)
		cl, err := kgo.NewClient(kgo.SeedBrokers(c.brokers...), kgo.TransactionalID(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()), untilKnown)
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte("open")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		c.produce(topic, 0, 0, 2)
		if b := c.boundsOf(l, tp); b.Stable != 2 || b.End != 5 {
			t.Fatalf("bounds %+v, want stable 2, end 5", b)
		}
		for _, from := range []int64{2, 3, 4} {
			span, err := l.Read(t.Context(), tp, from, 5)
			if err != nil || span.Next != from || len(span.Records) != 0 {
				t.Errorf("from %d: %+v, %v; want nothing before the transaction ends", from, span, err)
			}
		}
		if span, err := l.Read(t.Context(), tp, 0, 5); err != nil || span.Next != 2 || len(span.Records) != 2 {
			t.Errorf("from 0: next %d, %d records, %v; want 2, 2", span.Next, len(span.Records), err)
		}
		if err := cl.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the transaction's marker", func() bool { return c.boundsOf(l, tp).Stable == 6 })
		if got, want := offsets(readAll(t, l, tp, 0, 6)), sequence(0, 5); !slices.Equal(got, want) {
			t.Errorf("records at %v, want %v", got, want)
		}
	})
}

// TestReadProvesWhatCompactionRemoved needs a log cleaner, which the in-process
// broker runs once an hour.
func TestReadProvesWhatCompactionRemoved(t *testing.T) {
	t.Parallel()
	c := newCluster(t, testenv.Kafka(t))
	topic := testenv.Topic(t)
	tp := connect.TopicPartition{Topic: topic}
	c.create(topic, 1, "cleanup.policy", "compact", "min.cleanable.dirty.ratio", "0.001", "segment.ms", "50",
		"min.compaction.lag.ms", "0", "max.compaction.lag.ms", "100", "delete.retention.ms", "0", "file.delete.delay.ms", "0")
	l := openLog(t, c)
	const n = 200
	for i := range n { // one batch each; the last of the key stays
		c.produce(topic, 0, i, i+1)
	}
	// A batch that is removed wholly but for its producer's sequence.
	c.produceRecords(&kgo.Record{Topic: topic, Key: []byte("gone"), Value: []byte("x")})
	c.produceRecords(&kgo.Record{Topic: topic, Key: []byte("gone"), Value: nil})
	end := int64(n + 2)
	eventually(t, "compaction", func() bool {
		// A segment is rolled when a record comes that is later than segment.ms.
		c.produceRecords(&kgo.Record{Topic: topic, Key: []byte("roll"), Value: []byte("x")})
		end++
		return len(readAll(t, l, tp, 0, n)) < n/2
	})
	// The cleaner goes on, so what a consumer saw before may be gone, and what it
	// sees afterwards must have been there.
	before := c.consumed(tp, end-1)
	got := offsets(readAll(t, l, tp, 0, end))
	after := c.consumed(tp, end-1)
	for _, o := range got {
		if !slices.Contains(before, o) {
			t.Errorf("Read gave a record at %d that a consumer did not see", o)
		}
	}
	for _, o := range after {
		if !slices.Contains(got, o) {
			t.Errorf("Read took %d for absent, a consumer sees a record there", o)
		}
	}
	t.Logf("%d of %d offsets hold a record", len(got), end)
	// Also a range that lies in a hole.
	for _, r := range readAll(t, l, tp, 3, 50) {
		if !slices.Contains(before, r.Offset) {
			t.Errorf("[3, 50) gave a record at %d that a consumer did not see", r.Offset)
		}
	}
}

func TestReadTellsWhatExpired(t *testing.T) {
	onBoth(t, func(t *testing.T, c *cluster) {
		topic := testenv.Topic(t)
		tp := connect.TopicPartition{Topic: topic}
		c.create(topic, 1)
		l := openLog(t, c)
		c.produce(topic, 0, 0, 10)
		at := kadm.Offsets{}
		at.AddOffset(topic, 0, 6, -1)
		if _, err := c.admin.DeleteRecords(t.Context(), at); err != nil {
			t.Fatal(err)
		}
		if b := c.boundsOf(l, tp); b.Start != 6 || b.End != 10 {
			t.Fatalf("bounds %+v, want start 6, end 10", b)
		}
		for _, want := range []connect.Span{{From: 2, Next: 6, Start: 6}, {From: 2, Next: 4, Start: 6}} {
			to := int64(9)
			if want.Next == 4 {
				to = 4
			}
			want.TopicID = c.boundsOf(l, tp).TopicID
			span, err := l.Read(t.Context(), tp, 2, to)
			if err != nil || !reflect.DeepEqual(span, want) {
				t.Errorf("Read(2, %d) = %+v, %v; want %+v", to, span, err, want)
			}
		}
		span, err := l.Read(t.Context(), tp, 6, 9)
		if err != nil || span.Next != 9 || len(span.Records) != 3 || span.Start != 6 {
			t.Errorf("Read(6, 9) = %+v, %v", span, err)
		}
		if span, err = l.Read(t.Context(), tp, 30, 40); err != nil || span.Next != 30 {
			t.Errorf("beyond the log's end: next %d, %v; want 30", span.Next, err)
		}
	})
}

func TestLogKeepsExactBytes(t *testing.T) {
	t.Parallel()
	c := newCluster(t, testenv.Broker(t))
	topic := testenv.Topic(t)
	tp := connect.TopicPartition{Topic: topic}
	c.create(topic, 1)
	l := openLog(t, c)
	want := []connect.Record{
		{Offset: 0, Timestamp: 1_700_000_000_001, Key: nil, Value: []byte{}},
		{Offset: 1, Timestamp: 1_700_000_000_002, Key: []byte{}, Value: nil},
		{
			Offset: 2, Timestamp: 1_700_000_000_003, Key: []byte{0, 0xff}, Value: bytes.Repeat([]byte{0xfe}, 100),
			Headers: []connect.Header{{Key: "a", Value: []byte("1")}, {Key: "b", Value: nil}, {Key: "a", Value: []byte("2")}},
		},
	}
	dlq := topic + "-dlq"
	if err := l.Publish(t.Context(), dlq, want); err != nil {
		t.Fatal(err)
	}
	topics, err := c.admin.ListTopics(t.Context(), dlq)
	if err != nil || len(topics[dlq].Partitions) != 1 {
		t.Fatalf("the dead letter topic: %v, %v; want one partition", topics, err)
	}
	got := readAll(t, l, connect.TopicPartition{Topic: dlq}, 0, 3)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %#v\nwant %#v", got, want)
	}
	if err := l.Publish(t.Context(), topic, want[:1]); err != nil { // a topic that exists
		t.Fatal(err)
	}
	if b := c.boundsOf(l, tp); b.End != 1 {
		t.Errorf("the topic's end is %d, want 1", b.End)
	}
}

func TestReadIsBoundedInMemory(t *testing.T) {
	t.Parallel()
	c := newCluster(t, testenv.Broker(t))
	topic := testenv.Topic(t)
	tp := connect.TopicPartition{Topic: topic}
	c.create(topic, 1)
	l := openLog(t, c)
	value := make([]byte, 256<<10)
	for range 48 { // 12 MiB, a batch each
		c.produceRecords(&kgo.Record{Topic: topic, Value: value})
	}
	span, err := l.Read(t.Context(), tp, 0, 48)
	if err != nil {
		t.Fatal(err)
	}
	if n := int64(len(span.Records) * len(value)); n == 0 || n > readStepBytes+int64(len(value)) {
		t.Errorf("one Read held %d bytes, want at most %d and a batch", n, readStepBytes)
	}
	if got := offsets(readAll(t, l, tp, 0, 48)); !slices.Equal(got, sequence(0, 48)) {
		t.Errorf("records at %v", got)
	}
}

// TestLogWaitsOutABrokersRestart reads and publishes while the broker is away.
func TestLogWaitsOutABrokersRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b, err := devstack.StartBroker(t.Context(), devstack.BrokerOptions{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	c := newCluster(t, b.Brokers())
	topic := testenv.Topic(t)
	tp := connect.TopicPartition{Topic: topic}
	c.create(topic, 1)
	c.produce(topic, 0, 0, 5)
	l := openLog(t, c)
	if got := offsets(readAll(t, l, tp, 0, 5)); len(got) != 5 {
		t.Fatalf("records at %v", got)
	}
	_, port, err := net.SplitHostPort(b.Brokers()[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 3)
	go func() {
		span, err := l.Read(t.Context(), tp, 0, 5)
		if err == nil && len(span.Records) != 5 {
			err = fmt.Errorf("Read gave %d records", len(span.Records))
		}
		done <- err
	}()
	go func() {
		bounds, err := l.Bounds(t.Context(), []connect.TopicPartition{tp})
		if err == nil && bounds[tp].Start != 0 {
			err = fmt.Errorf("bounds %+v", bounds)
		}
		done <- err
	}()
	go func() {
		done <- l.Publish(t.Context(), topic, []connect.Record{{Value: []byte("v5"), Timestamp: connect.NoTimestamp}})
	}()
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	if b, err = devstack.StartBroker(t.Context(), devstack.BrokerOptions{Dir: dir, Port: n}); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for range 3 {
		if err := <-done; err != nil && !connect.IsRetriable(err) {
			t.Error(err)
		} else if err != nil {
			t.Errorf("gave up: %v", err)
		}
	}
}

func TestLogOfWhatDoesNotExist(t *testing.T) {
	onBoth(t, func(t *testing.T, c *cluster) {
		topic := testenv.Topic(t)
		c.create(topic, 1)
		l := openLog(t, c)
		missing := []connect.TopicPartition{{Topic: topic + "-no"}, {Topic: topic, Partition: 1}}
		for _, tp := range missing {
			if _, err := l.Read(t.Context(), tp, 0, 10); !errors.Is(err, errNoPartition) || connect.IsRetriable(err) {
				t.Errorf("reading %s: %v; want that it does not exist", tp, err)
			}
		}
		there := connect.TopicPartition{Topic: topic}
		bounds, err := l.Bounds(t.Context(), append(missing, there))
		if err != nil || len(bounds) != 1 {
			t.Fatalf("bounds %v, %v; want those of %s alone", bounds, err, there)
		}
		if _, ok := bounds[there]; !ok {
			t.Errorf("%s is left out", there)
		}
	})
}

func TestInitialClaims(t *testing.T) {
	onBoth(t, func(t *testing.T, c *cluster) {
		topic := testenv.Topic(t)
		c.create(topic, 2)
		at := time.UnixMilli(1_700_000_000_000)
		for i := range 10 {
			c.produceRecords(&kgo.Record{Topic: topic, Value: []byte("x"), Timestamp: at.Add(time.Duration(i) * time.Minute)})
		}
		for initial, want := range map[string][2]int64{
			"earliest": {0, 0},
			"latest":   {10, 0},
			at.Add(5 * time.Minute).UTC().Format(time.RFC3339): {5, 0},
			at.Add(time.Hour).UTC().Format(time.RFC3339):       {10, 0},
		} {
			cfg := testConfig(topic)
			cfg.OffsetsInitial = initial
			s, err := New("c", testClient(c.brokers), cfg, testLog(t))
			if err != nil {
				t.Fatal(err)
			}
			claims, err := s.InitialClaims(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if len(claims) != 2 {
				t.Fatalf("%s: %d claims, want 2", initial, len(claims))
			}
			for p, cl := range claims {
				if cl.Partition != int32(p) || cl.Begin != want[p] || cl.LogStart != 0 || cl.TopicID == (connect.TopicID{}) {
					t.Errorf("%s: claim %+v, want partition %d to begin at %d", initial, cl, p, want[p])
				}
			}
		}
	})
}

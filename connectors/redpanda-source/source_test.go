package redpandasource

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/internal/devstack/testenv"
)

// onBoth runs a test on the in-process broker and on a real Kafka.
func onBoth(t *testing.T, test func(t *testing.T, c *cluster)) {
	t.Parallel()
	t.Run("broker", func(t *testing.T) {
		t.Parallel()
		test(t, newCluster(t, testenv.Broker(t)))
	})
	t.Run("kafka", func(t *testing.T) {
		t.Parallel()
		test(t, newCluster(t, testenv.Kafka(t)))
	})
}

func sequence(from, to int64) []int64 {
	var s []int64
	for ; from < to; from++ {
		s = append(s, from)
	}
	return s
}

func TestSourceStartsWhereTheHandlerSays(t *testing.T) {
	onBoth(t, func(t *testing.T, c *cluster) {
		topic := testenv.Topic(t)
		c.create(topic, 1)
		c.produce(topic, 0, 0, 10)
		tp := connect.TopicPartition{Topic: topic}
		st := newStore()
		st.setNext(tp, 4)
		h := newHandler(st)
		r := run(t, testClient(c.brokers), testConfig(topic), h)
		eventually(t, "the records from 4 on", func() bool { return st.next(tp) == 10 })
		if got, want := st.offsetsOf(tp), sequence(4, 10); !slices.Equal(got, want) {
			t.Fatalf("got offsets %v, want %v", got, want)
		}

		// Back: the target was restored from a backup.
		st.forget(tp)
		st.setNext(tp, 2)
		h.last().Reopen()
		eventually(t, "the records from 2 on", func() bool { return st.next(tp) == 10 })
		if got, want := st.offsetsOf(tp), sequence(2, 10); !slices.Equal(got, want) {
			t.Fatalf("after going back: got offsets %v, want %v", got, want)
		}

		// Forward, past what was read and committed.
		c.produce(topic, 0, 10, 12)
		eventually(t, "12 stored", func() bool { return st.next(tp) == 12 })
		st.forget(tp)
		st.setNext(tp, 14)
		h.last().Reopen()
		sessions := h.sessionCount()
		eventually(t, "another session", func() bool { return h.sessionCount() > sessions || h.last().Context().Err() == nil })
		c.produce(topic, 0, 12, 20)
		eventually(t, "the records from 14 on", func() bool { return st.next(tp) == 20 })
		if got, want := st.offsetsOf(tp), sequence(14, 20); !slices.Equal(got, want) {
			t.Fatalf("after going forward: got offsets %v, want %v", got, want)
		}
		r.stop()
		h.settled(t)

		// Kafka's offset followed what was marked.
		offsets, err := c.admin.FetchOffsets(t.Context(), "connect-c-"+topic)
		if err != nil {
			t.Fatal(err)
		}
		if o, _ := offsets.Lookup(topic, 0); o.At != 20 {
			t.Errorf("committed offset %d, want 20", o.At)
		}
	})
}

func TestSourceDeliversWhatWasProduced(t *testing.T) {
	onBoth(t, func(t *testing.T, c *cluster) {
		topic := testenv.Topic(t)
		c.create(topic, 1)
		at := time.UnixMilli(1_700_000_000_123)
		c.produceRecords(
			&kgo.Record{Topic: topic, Key: []byte("BTC"), Value: []byte("x"), Timestamp: at},
			&kgo.Record{Topic: topic, Key: []byte("BTC"), Value: nil, Timestamp: at.Add(time.Second)},
			&kgo.Record{Topic: topic, Key: nil, Value: []byte{}, Timestamp: at.Add(2 * time.Second)},
		)
		tp := connect.TopicPartition{Topic: topic}
		st := newStore()
		run(t, testClient(c.brokers), testConfig(topic), newHandler(st))
		eventually(t, "three records", func() bool { return st.next(tp) == 3 })
		got := st.recordsOf(tp)
		for i, r := range got {
			if want := at.UnixMilli() + int64(i)*1000; r.Timestamp != want {
				t.Errorf("record %d: timestamp %d, want %d", i, r.Timestamp, want)
			}
		}
		if string(got[0].Key) != "BTC" || string(got[0].Value) != "x" {
			t.Errorf("record 0 is %q=%q", got[0].Key, got[0].Value)
		}
		if got[1].Value != nil {
			t.Errorf("a tombstone's value is %#v, want nil", got[1].Value)
		}
		if got[2].Value == nil || len(got[2].Value) != 0 {
			t.Errorf("an empty value is %#v, want empty and not nil", got[2].Value)
		}
		if got[2].Key != nil {
			t.Errorf("a missing key is %#v, want nil", got[2].Key)
		}
	})
}

func TestSourceReadsEveryCodec(t *testing.T) {
	onBoth(t, func(t *testing.T, c *cluster) {
		topic := testenv.Topic(t)
		c.create(topic, 1)
		codecs := []kgo.CompressionCodec{
			kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression(),
		}
		value := func(i int) []byte { return bytes.Repeat([]byte{byte('a' + i)}, 2000) }
		for i, codec := range codecs {
			cl, err := kgo.NewClient(kgo.SeedBrokers(c.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(codec), untilKnown)
			if err != nil {
				t.Fatal(err)
			}
			err = cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: value(i)}).FirstErr()
			cl.Close()
			if err != nil {
				t.Fatal(err)
			}
		}
		tp := connect.TopicPartition{Topic: topic}
		st := newStore()
		r := run(t, testClient(c.brokers), testConfig(topic), newHandler(st))
		eventually(t, "a record of each codec", func() bool { return st.next(tp) == int64(len(codecs)) })
		for i, rec := range st.recordsOf(tp) {
			if !bytes.Equal(rec.Value, value(i)) {
				t.Errorf("codec %d: the source gives another value", i)
			}
		}
		span, err := r.source.Log().Read(t.Context(), tp, 0, int64(len(codecs)))
		if err != nil || span.Next != int64(len(codecs)) || len(span.Records) != len(codecs) {
			t.Fatalf("Read: next %d, %d records, err %v", span.Next, len(span.Records), err)
		}
		for i, rec := range span.Records {
			if !bytes.Equal(rec.Value, value(i)) {
				t.Errorf("codec %d: the log gives another value", i)
			}
		}
	})
}

// TestSourceReadsRecordsLargerThanAFetch has a fetch size of 16 KiB.
func TestSourceReadsRecordsLargerThanAFetch(t *testing.T) {
	t.Parallel()
	c := newCluster(t, testenv.Broker(t))
	topic := testenv.Topic(t)
	c.create(topic, 32, "max.message.bytes", "8388608")
	big := bytes.Repeat([]byte("0123456789abcdef"), 3<<20/16)
	c.produceRecords(
		&kgo.Record{Topic: topic, Value: []byte("before")},
		&kgo.Record{Topic: topic, Value: big},
		&kgo.Record{Topic: topic, Value: []byte("after")},
	)
	cfg := testConfig(topic)
	cfg.FetchBudgetBytes = 1 << 20
	tp := connect.TopicPartition{Topic: topic}
	st := newStore()
	r := run(t, testClient(c.brokers), cfg, newHandler(st))
	eventually(t, "three records", func() bool { return st.next(tp) == 3 })
	got := st.recordsOf(tp)
	if !bytes.Equal(got[1].Value, big) || string(got[2].Value) != "after" {
		t.Errorf("the large record, or the one after it, is another")
	}
	conf, err := r.source.client.saramaConfig(time.Second)
	if err != nil {
		t.Fatal(err)
	}
	r.source.sizeFetches(conf)
	if conf.Consumer.Fetch.Default != fetchMinBytes || conf.Consumer.Fetch.Max != 0 {
		t.Errorf("fetch size %d (max %d), want %d (0)", conf.Consumer.Fetch.Default, conf.Consumer.Fetch.Max, fetchMinBytes)
	}
}

func TestSourceHoldsOnePartitionBackAlone(t *testing.T) {
	t.Parallel()
	c := newCluster(t, testenv.Broker(t))
	topic := testenv.Topic(t)
	c.create(topic, 2)
	c.produce(topic, 0, 0, 2000)
	c.produce(topic, 1, 0, 2000)
	open := make(chan struct{})
	st := newStore()
	h := newHandler(st)
	h.gate = func(s connect.Session, partition int32, r connect.Record) bool {
		if partition != 0 || r.Offset < 10 {
			return true
		}
		s.Pause(0) // the queue is full
		defer s.Resume(0)
		select {
		case <-open:
			return true
		case <-s.Context().Done():
			return false
		}
	}
	r := run(t, testClient(c.brokers), testConfig(topic), h)
	held, free := connect.TopicPartition{Topic: topic}, connect.TopicPartition{Topic: topic, Partition: 1}
	eventually(t, "the free partition's records", func() bool { return st.next(free) == 2000 })
	eventually(t, "the held partition's first records", func() bool { return st.next(held) == 10 })
	for i := 2000; i < 2020; i++ { // each by its own fetch, beside the held one
		c.produce(topic, 1, i, i+1)
		eventually(t, "the free partition's next record", func() bool { return st.next(free) == int64(i+1) })
	}
	if n := st.next(held); n != 10 {
		t.Fatalf("the held partition is at %d, want 10", n)
	}
	if n := h.sessionCount(); n != 1 {
		t.Fatalf("%d sessions, want the one", n)
	}
	c.produce(topic, 0, 2000, 2010) // which are fetched once it is free again
	close(open)
	eventually(t, "the held partition's records", func() bool { return st.next(held) == 2010 })
	if got := st.offsetsOf(held); !slices.Equal(got, sequence(0, 2010)) {
		t.Errorf("the held partition's records are out of order or incomplete")
	}
	r.stop()
	h.settled(t)
}

// TestSourceEndIsSticky denies one record: nothing after it may come in that
// session, and the next session begins with it.
func TestSourceEndIsSticky(t *testing.T) {
	t.Parallel()
	c := newCluster(t, testenv.Broker(t))
	topic := testenv.Topic(t)
	c.create(topic, 1)
	c.produce(topic, 0, 0, 3000)
	st := newStore()
	h := newHandler(st)
	denials := map[int64]bool{50: true, 51: true, 700: true, 2999: true}
	h.gate = func(_ connect.Session, _ int32, r connect.Record) bool {
		if denials[r.Offset] {
			delete(denials, r.Offset) // one partition: never called concurrently
			return false
		}
		return true
	}
	tp := connect.TopicPartition{Topic: topic}
	r := run(t, testClient(c.brokers), testConfig(topic), h)
	eventually(t, "all records", func() bool { return st.next(tp) == 3000 })
	if got := st.offsetsOf(tp); !slices.Equal(got, sequence(0, 3000)) {
		t.Errorf("records were lost or doubled: %d stored", len(got))
	}
	if n := h.sessionCount(); n != 5 {
		t.Errorf("%d sessions, want 5", n)
	}
	r.stop()
	h.settled(t)
}

func TestSourceKeepsARefusedClaimUnread(t *testing.T) {
	t.Parallel()
	c := newCluster(t, testenv.Broker(t))
	topic := testenv.Topic(t)
	c.create(topic, 3)
	for p := range int32(3) {
		c.produce(topic, p, 0, 100)
	}
	st := newStore()
	h := newHandler(st)
	h.refuse = func(cl connect.Claim) bool { return cl.Partition == 1 }
	r := run(t, testClient(c.brokers), testConfig(topic), h)
	for _, p := range []int32{0, 2} {
		eventually(t, "the other partitions' records", func() bool {
			return st.next(connect.TopicPartition{Topic: topic, Partition: p}) == 100
		})
	}
	c.produce(topic, 2, 100, 200)
	eventually(t, "further records", func() bool { return st.next(connect.TopicPartition{Topic: topic, Partition: 2}) == 200 })
	if got := st.recordsOf(connect.TopicPartition{Topic: topic, Partition: 1}); len(got) != 0 {
		t.Errorf("the refused partition gave %d records", len(got))
	}
	if n := h.sessionCount(); n != 1 {
		t.Errorf("%d sessions, want one that lasts", n)
	}
	r.stop()
	h.settled(t)
}

func TestSourceUsesTheCommittedOffset(t *testing.T) {
	t.Parallel()
	c := newCluster(t, testenv.Broker(t))
	topic := testenv.Topic(t)
	c.create(topic, 1)
	c.produce(topic, 0, 0, 10)
	tp := connect.TopicPartition{Topic: topic}
	noOffset := func(connect.Claim, int64) int64 { return connect.NoOffset }

	st := newStore()
	var h *memHandler
	var r *running
	for _, noMark := range []bool{true, false} { // what was read is not committed unless it is marked
		st.forget(tp)
		st.setNext(tp, 0)
		h = newHandler(st)
		h.answer, h.noMark = noOffset, noMark
		r = run(t, testClient(c.brokers), testConfig(topic), h)
		eventually(t, "all from the start, where nothing is committed", func() bool { return st.next(tp) == 10 })
		r.stop()
	}

	c.produce(topic, 0, 10, 15)
	st.forget(tp)
	h = newHandler(st)
	h.answer = noOffset
	r = run(t, testClient(c.brokers), testConfig(topic), h)
	eventually(t, "the rest", func() bool { return st.next(tp) == 15 })
	if got, want := st.offsetsOf(tp), sequence(10, 15); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	r.stop()
	h.settled(t)
}

// TestSourceReleasesAFailedOpen lets Open fail twice.
func TestSourceReleasesAFailedOpen(t *testing.T) {
	t.Parallel()
	c := newCluster(t, testenv.Broker(t))
	topic := testenv.Topic(t)
	c.create(topic, 2)
	c.produce(topic, 0, 0, 10)
	st := newStore()
	h := newHandler(st)
	failures := 2
	h.fail = func() error {
		if failures--; failures >= 0 {
			return errTarget
		}
		return nil
	}
	r := run(t, testClient(c.brokers), testConfig(topic), h)
	eventually(t, "the records", func() bool { return st.next(connect.TopicPartition{Topic: topic}) == 10 })
	r.stop()
	if n := h.sessionCount(); n != 3 {
		t.Errorf("%d sessions, want 3", n)
	}
	h.settled(t)
}

func TestSourceFollowsTopics(t *testing.T) {
	onBoth(t, func(t *testing.T, c *cluster) {
		prefix := testenv.Topic(t)
		name := func(s string) string { return fmt.Sprintf("%s-%s", prefix, s) }
		at := func(s string, p int32) connect.TopicPartition {
			return connect.TopicPartition{Topic: name(s), Partition: p}
		}
		c.create(name("a"), 1)
		c.create("x"+prefix, 1)
		t.Cleanup(func() { _, _ = c.admin.DeleteTopic(t.Context(), "x"+prefix) })
		c.produce(name("a"), 0, 0, 10)
		cfg := testConfig()
		cfg.TopicsRegex = prefix + "-.*"
		cfg.OffsetsInitial = "latest" // which is for InitialClaims alone
		st := newStore()
		h := newHandler(st)
		h.refuse = func(cl connect.Claim) bool { return st.next(cl.TopicPartition) > cl.LogEnd }
		r := run(t, testClient(c.brokers), cfg, h)
		eventually(t, "the first topic", func() bool { return st.next(at("a", 0)) == 10 })
		if got, want := st.offsetsOf(at("a", 0)), sequence(0, 10); !slices.Equal(got, want) {
			t.Fatalf("of the first topic %v are stored, want %v", got, want)
		}

		// One appears.
		c.create(name("b"), 2)
		c.produce(name("b"), 1, 0, 5)
		eventually(t, "the topic that appeared", func() bool { return st.next(at("b", 1)) == 5 })
		if got, want := r.source.Topics(), []string{name("a"), name("b")}; !slices.Equal(got, want) {
			t.Fatalf("topics %v, want %v", got, want)
		}
		aSessions := func() int {
			h.mu.Lock()
			defer h.mu.Unlock()
			n := 0
			for _, o := range h.sessions {
				if o.Topic() == name("a") {
					n++
				}
			}
			return n
		}

		// It grows.
		if _, err := c.admin.UpdatePartitions(t.Context(), 4, name("b")); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the topic has grown", func() bool {
			topics, err := c.admin.ListTopics(t.Context(), name("b"))
			return err == nil && len(topics[name("b")].Partitions) == 4
		})
		var grown *cluster
		eventually(t, "the new partition's record", func() bool {
			if grown == nil {
				grown = newCluster(t, c.brokers)
				grown.produce(name("b"), 3, 0, 7)
			}
			return st.next(at("b", 3)) == 7
		})

		// It is deleted and made again: a new identity, told to Open.
		var before connect.TopicID
		h.mu.Lock()
		for _, o := range h.sessions {
			if o.Topic() == name("b") {
				before = o.claims[0].TopicID
			}
		}
		h.mu.Unlock()
		if before == (connect.TopicID{}) {
			t.Fatal("no topic id was told")
		}
		c.delete(name("b"))
		c.create(name("b"), 2)
		eventually(t, "Open with the new identity", func() bool {
			h.mu.Lock()
			defer h.mu.Unlock()
			for _, o := range h.sessions {
				if o.Topic() == name("b") && o.claims[0].TopicID != before {
					return true
				}
			}
			return false
		})

		// It goes, and the other one never noticed.
		c.delete(name("b"))
		eventually(t, "the topic is not read any more", func() bool { return slices.Equal(r.source.Topics(), []string{name("a")}) })
		c.produce(name("a"), 0, 10, 20)
		eventually(t, "the first topic goes on", func() bool { return st.next(at("a", 0)) == 20 })
		if n := aSessions(); n != 1 {
			t.Errorf("the first topic had %d sessions, want 1", n)
		}
		r.stop()
		h.settled(t)
	})
}

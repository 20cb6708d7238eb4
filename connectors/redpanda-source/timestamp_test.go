package redpandasource

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/internal/devstack/testenv"
)

// TestDeliveredTimestampsAreTheLogs compares what comes through sarama and goka
// with a direct read. The ledger holds the last record's time, and a partition
// whose log has another time there is refused as one made again.
func TestDeliveredTimestampsAreTheLogs(t *testing.T) {
	onBoth(t, func(t *testing.T, c *cluster) {
		produced, logged := timestampsBothWays(t, c, "CreateTime")
		for i, ms := range produced {
			if logged[i] != ms {
				t.Errorf("record %d: timestamp %d, want %d", i, logged[i], ms)
			}
		}
	})
}

// TestDeliveredTimestampsAreTheLogsAppendTimes needs a broker that sets them; the
// in-process one keeps the producer's.
func TestDeliveredTimestampsAreTheLogsAppendTimes(t *testing.T) {
	t.Parallel()
	began := time.Now().Add(-time.Minute).UnixMilli()
	_, logged := timestampsBothWays(t, newCluster(t, testenv.Kafka(t)), "LogAppendTime")
	for i, ms := range logged {
		if ms < began {
			t.Errorf("record %d: timestamp %d is not the broker's", i, ms)
		}
	}
}

// timestampsBothWays produces batches of each codec, checks that delivered and
// read records have the same times, and returns those produced and read.
func timestampsBothWays(t *testing.T, c *cluster, kind string) (produced, logged []int64) {
	t.Helper()
	const base = 1_700_000_000_123
	batches := [][]int64{
		{base, base + 1, base + 999, base - 86_400_000}, // also one before its batch's first
		{0, 1}, // the epoch
		{connect.NoTimestamp, connect.NoTimestamp},
		{base, connect.NoTimestamp, base + 1},
		{connect.NoTimestamp, base, base + 1, 0}, // the first of a batch has none
	}
	topic := testenv.Topic(t)
	tp := connect.TopicPartition{Topic: topic}
	c.create(topic, 1, "message.timestamp.type", kind)
	for _, codec := range []kgo.CompressionCodec{
		kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression(),
	} {
		cl, err := kgo.NewClient(kgo.SeedBrokers(c.brokers...), kgo.ProducerBatchCompression(codec), kgo.ProducerLinger(10*time.Millisecond), untilKnown)
		if err != nil {
			t.Fatal(err)
		}
		for _, batch := range batches {
			var records []*kgo.Record
			for _, ms := range batch {
				produced = append(produced, ms)
				records = append(records, &kgo.Record{Topic: topic, Value: fmt.Appendf(nil, "%0300d", ms), Timestamp: time.UnixMilli(ms)})
			}
			if err := cl.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		cl.Close()
	}
	st := newStore()
	r := run(t, testClient(c.brokers), testConfig(topic), newHandler(st))
	eventually(t, "all records", func() bool { return st.next(tp) == int64(len(produced)) })
	r.stop()
	delivered, read := st.recordsOf(tp), readAll(t, openLog(t, c), tp, 0, int64(len(produced)))
	if len(delivered) != len(produced) || len(read) != len(produced) {
		t.Fatalf("%d delivered, %d read, %d produced", len(delivered), len(read), len(produced))
	}
	for i := range read {
		if delivered[i].Timestamp != read[i].Timestamp {
			t.Errorf("record %d (%d): delivered with %d, the log has %d", i, produced[i], delivered[i].Timestamp, read[i].Timestamp)
		}
		logged = append(logged, read[i].Timestamp)
	}
	return produced, logged
}

func TestTimestampOfABatchWithout(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		sarama time.Time
		want   int64
	}{
		{time.Time{}, connect.NoTimestamp},
		{time.Time{}.Add(time.Millisecond), 0},
		{time.Time{}.Add(1_700_000_000_124 * time.Millisecond), 1_700_000_000_123},
		{time.Time{}.Add(-time.Hour), connect.NoTimestamp},
		{time.UnixMilli(0), 0},
		{time.UnixMilli(-1), connect.NoTimestamp},
		{time.UnixMilli(-5000), connect.NoTimestamp},
		{time.UnixMilli(1_700_000_000_123), 1_700_000_000_123},
	} {
		if got := saramaTimestampMs(tc.sarama); got != tc.want {
			t.Errorf("%v: %d, want %d", tc.sarama, got, tc.want)
		}
	}
}

package redpandasource

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/internal/devstack/testenv"
)

// noise is what no codec makes smaller.
func noise(n int) []byte {
	value := make([]byte, n)
	random := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range value {
		value[i] = byte(random.Uint32())
	}
	return value
}

// published reads back what a topic holds.
func published(t *testing.T, l *Log, topic string, n int) []connect.Record {
	t.Helper()
	tp := connect.TopicPartition{Topic: topic}
	bounds, err := l.Bounds(t.Context(), []connect.TopicPartition{tp})
	if err != nil || bounds[tp].Stable != int64(n) {
		t.Fatalf("the topic ends at %d, %v; want %d", bounds[tp].Stable, err, n)
	}
	return readAll(t, l, tp, 0, int64(n))
}

// TestPublishFitsTheTopic publishes records of which each fits, but not all
// together.
func TestPublishFitsTheTopic(t *testing.T) {
	onBoth(t, func(t *testing.T, c *cluster) {
		prefix := testenv.Topic(t)
		l := openLog(t, c)
		for _, tc := range []struct {
			name            string
			max             string
			records, length int
		}{
			{"small", "2000", 9, 500},
			{"usual", "1048588", 7, 400_000},
			{"large", "8388608", 2, 3 << 20},
		} {
			topic := prefix + "-" + tc.name
			c.create(topic, 1, "max.message.bytes", tc.max)
			want := make([]connect.Record, tc.records)
			for i := range want {
				want[i] = connect.Record{Offset: int64(i), Timestamp: 1000 + int64(i), Key: fmt.Append(nil, i), Value: noise(tc.length)}
			}
			if err := l.Publish(t.Context(), topic, want); err != nil {
				t.Errorf("%s: %v", tc.name, err)
				continue
			}
			if got := published(t, l, topic, tc.records); !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %d records came back, not as they were or in another order", tc.name, len(got))
			}
		}
	})
}

// TestPublishLeavesOutWhatIsTooLarge: a record that the topic does not take must
// not keep those after it waiting for ever.
func TestPublishLeavesOutWhatIsTooLarge(t *testing.T) {
	onBoth(t, func(t *testing.T, c *cluster) {
		topic := testenv.Topic(t)
		c.create(topic, 1, "max.message.bytes", "2000")
		l := openLog(t, c)
		from := []connect.Header{{Key: "mine", Value: []byte("m")}, {Key: "__connect.errors.offset", Value: []byte("42")}}
		records := []connect.Record{
			{Timestamp: 1, Key: []byte("a"), Value: noise(500), Headers: from},
			{Timestamp: 2, Key: []byte("b"), Value: noise(5000), Headers: from},
			{Timestamp: 3, Key: noise(4000), Value: noise(10), Headers: from},
			{Timestamp: 4, Key: []byte("d"), Value: noise(501), Headers: from},
		}
		if err := l.Publish(t.Context(), topic, records); err != nil {
			t.Fatal(err)
		}
		want := bytes.Clone(records[1].Value)
		got := published(t, l, topic, len(records))
		for _, i := range []int{0, 3} {
			records[i].Offset = int64(i)
			if !reflect.DeepEqual(got[i], records[i]) {
				t.Errorf("record %d, which fits, is another: %+v", i, got[i])
			}
		}
		noValue := connect.Record{Offset: 1, Timestamp: 2, Key: []byte("b"), Headers: []connect.Header{
			from[0], from[1], {Key: "__connect.errors.value.omitted", Value: []byte("5000")},
		}}
		if !reflect.DeepEqual(got[1], noValue) {
			t.Errorf("a value too large: %+v, want %+v", got[1], noValue)
		}
		bare := connect.Record{Offset: 2, Timestamp: 3, Headers: []connect.Header{
			from[1],
			{Key: "__connect.errors.value.omitted", Value: []byte("10")},
			{Key: "__connect.errors.key.omitted", Value: []byte("4000")},
			{Key: "__connect.errors.headers.omitted", Value: []byte("1")},
		}}
		if !reflect.DeepEqual(got[2], bare) {
			t.Errorf("a key too large: %+v, want %+v", got[2], bare)
		}
		if !bytes.Equal(records[1].Value, want) || len(records[1].Headers) != 2 {
			t.Error("the caller's records were changed")
		}
	})
}

func TestWaitingMendsOutagesAlone(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		kerr.NotLeaderForPartition, kerr.LeaderNotAvailable, kerr.NotEnoughReplicas, kerr.RequestTimedOut,
		kerr.UnknownTopicID, kerr.UnknownTopicOrPartition, context.DeadlineExceeded, errors.New("connection refused"),
	} {
		if !transient(fmt.Errorf("publishing: %w", err)) {
			t.Errorf("not worth another try: %v", err)
		}
	}
	for _, err := range []error{
		kerr.TopicAuthorizationFailed, kerr.ClusterAuthorizationFailed, kerr.SaslAuthenticationFailed,
		kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidTopicException, kerr.PolicyViolation,
	} {
		if transient(fmt.Errorf("publishing: %w", err)) {
			t.Errorf("tried again for ever: %v", err)
		}
	}
}

package devstack

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func newClient(t *testing.T, brokers []string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(brokers...), kgo.UnknownTopicRetries(-1)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func makeTopic(t *testing.T, brokers []string, topic string) {
	t.Helper()
	answer, err := kadm.NewClient(newClient(t, brokers)).CreateTopic(t.Context(), 1, 1, nil, topic)
	if err != nil || answer.Err != nil {
		t.Fatal(err, answer.Err)
	}
}

func produce(t *testing.T, brokers []string, topic string, values ...string) {
	t.Helper()
	client := newClient(t, brokers)
	for _, value := range values {
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte(value)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// consume reads the topic's partition 0 from its start to its end and returns
// "offset:value" of each record.
func consume(t *testing.T, brokers []string, topic string) []string {
	t.Helper()
	client := newClient(t, brokers, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	ends, err := kadm.NewClient(client).ListEndOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	end, ok := ends.Lookup(topic, 0)
	if !ok || end.Err != nil {
		t.Fatalf("no end of %s: %v", topic, end.Err)
	}
	var got []string
	for next := int64(0); next < end.Offset; {
		fetches := client.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		for r := range fetches.RecordsAll() {
			got = append(got, fmt.Sprintf("%d:%s", r.Offset, r.Value))
			next = r.Offset + 1
		}
	}
	return got
}

func TestKafkaKeepsWhatItAcknowledged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start := func() *Kafka {
		k, err := StartKafka(t.Context(), KafkaOptions{Dir: dir, HeapBytes: 256 << 20})
		need(t, err)
		t.Cleanup(func() {
			if err := k.Close(); err != nil {
				t.Error(err)
			}
		})
		return k
	}
	k := start()
	brokers, id := k.Brokers(), k.ClusterID()
	makeTopic(t, brokers, "kept")
	produce(t, brokers, "kept", "a", "b")

	if err := k.Kill(); err != nil {
		t.Fatal(err)
	}
	if left := processesIn(dir); len(left) != 0 {
		t.Fatalf("after Kill processes are left: %v", left)
	}
	if err := k.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := k.Brokers(); !slices.Equal(got, brokers) {
		t.Errorf("Restart moved the broker from %v to %v", brokers, got)
	}
	produce(t, brokers, "kept", "c")

	if _, err := StartKafka(t.Context(), KafkaOptions{Dir: dir}); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("a second owner gets %v, want that the folder is in use", err)
	}
	if err := k.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := processesIn(dir); len(left) != 0 {
		t.Fatalf("after Stop processes are left: %v", left)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	k = start()
	if k.ClusterID() != id || id == "" {
		t.Errorf("the cluster id was %q and is %q", id, k.ClusterID())
	}
	if got, want := consume(t, k.Brokers(), "kept"), []string{"0:a", "1:b", "2:c"}; !slices.Equal(got, want) {
		t.Errorf("the topic holds %v, want %v", got, want)
	}
}

func TestKafkaRemovesItsTemporaryFolder(t *testing.T) {
	t.Parallel()
	k, err := StartKafka(t.Context(), KafkaOptions{HeapBytes: 256 << 20, Settings: map[string]string{"num.partitions": "7"}})
	need(t, err)
	defer k.Close() //nolint:errcheck // closed below
	configs, err := kadm.NewClient(newClient(t, k.Brokers())).DescribeBrokerConfigs(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, config := range configs[0].Configs {
		if config.Key == "num.partitions" && config.MaybeValue() != "7" {
			t.Errorf("num.partitions is %s, want the setting's 7", config.MaybeValue())
		}
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	if fileExists(k.dir) || len(processesIn(k.dir)) != 0 {
		t.Error("Close leaves the folder or the broker")
	}
}

func TestClusterIDsAreKafkas(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for range 1000 {
		id := newClusterID()
		if len(id) != 22 || id[0] == '-' || seen[id] {
			t.Fatalf("%q is not a new id", id)
		}
		seen[id] = true
	}
}

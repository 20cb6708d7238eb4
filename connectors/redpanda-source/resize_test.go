package redpandasource

import (
	"context"
	"testing"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/internal/devstack/testenv"
)

// TestFetchSizeFollowsTopicsThatAppear: what the first topics may take in memory
// was decided when they were alone (promise 8).
func TestFetchSizeFollowsTopicsThatAppear(t *testing.T) {
	t.Parallel()
	c := newCluster(t, testenv.Broker(t))
	prefix := testenv.Topic(t)
	first, second, third := prefix+"-1", prefix+"-2", prefix+"-3"
	c.create(first, 4)
	c.produce(first, 0, 0, 10)
	cfg := testConfig()
	cfg.TopicsRegex = prefix + "-.*"
	cfg.FetchBudgetBytes = 4 << 20
	st := newStore()
	h := newHandler(st)
	r := run(t, testClient(c.brokers), cfg, h)
	tp := connect.TopicPartition{Topic: first}
	eventually(t, "the first topic", func() bool { return st.next(tp) == 10 })
	share := func(partitions int64) int64 { return cfg.FetchBudgetBytes / prefetchFactor / partitions }
	fetchBytes := func(topic string) int64 {
		r.source.mu.Lock()
		tt := r.source.topics[topic]
		r.source.mu.Unlock()
		if tt == nil {
			return 0
		}
		tt.mu.Lock()
		defer tt.mu.Unlock()
		if tt.group == nil {
			return 0
		}
		return tt.group.fetchBytes
	}
	if got := fetchBytes(first); got != share(4) {
		t.Fatalf("alone, the topic fetches %d bytes, want %d", got, share(4))
	}

	// A third less is no reason to end a session.
	c.create(second, 2)
	eventually(t, "the second topic", func() bool { return fetchBytes(second) == share(6) && h.owns() == 6 })
	if got := fetchBytes(first); got != share(4) {
		t.Errorf("beside one more topic, the first fetches %d bytes, want %d as before", got, share(4))
	}
	// Less than half is, for the first topic.
	c.create(third, 4)
	eventually(t, "the third topic, and the first one's new session", func() bool {
		return fetchBytes(third) == share(10) && fetchBytes(first) == share(10) && h.owns() == 10
	})
	if got := fetchBytes(second); got != share(6) {
		t.Errorf("beside two more topics, the second fetches %d bytes, want %d as before", got, share(6))
	}
	c.produce(first, 0, 10, 20)
	eventually(t, "the first topic goes on", func() bool { return st.next(tp) == 20 })
	sessions := map[string]int{}
	h.mu.Lock()
	for _, o := range h.sessions {
		sessions[o.Topic()]++
	}
	h.mu.Unlock()
	if sessions[first] != 2 || sessions[second] != 1 || sessions[third] != 1 {
		t.Errorf("sessions %v, want 2 of the first topic and 1 of the others", sessions)
	}
	r.stop()
	h.settled(t)
}

// TestStaleMetadataEndsNoSession tells of fewer partitions after a growth, as a
// broker does that has not heard of it.
func TestStaleMetadataEndsNoSession(t *testing.T) {
	t.Parallel()
	s, err := New("c", testClient([]string{"127.0.0.1:1"}), testConfig("t"), testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	info := func(id byte, partitions int32) topicInfo {
		i := topicInfo{id: connect.TopicID{id}, partitions: map[int32]partitionInfo{}}
		for p := range partitions {
			i.partitions[p] = partitionInfo{}
		}
		return i
	}
	tt := &topic{source: s, name: "t", log: s.log, id: connect.TopicID{1}, partitions: 2}
	tt.group = &group{topic: tt, log: s.log}
	for _, step := range []struct {
		what  string
		info  topicInfo
		ends  bool
		count int
	}{
		{"the same", info(1, 2), false, 2},
		{"it has grown", info(1, 4), true, 4},
		{"a stale answer", info(1, 2), false, 4},
		{"a good one again", info(1, 4), false, 4},
		{"it was made again with fewer", info(2, 1), true, 1},
		{"an answer without an id", info(0, 1), false, 1},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		current := newSession("t", fakeSession{ctx: ctx}, nil, cancel)
		tt.group.current.Store(current)
		version := tt.currentVersion()
		tt.update(step.info)
		if current.ended() != step.ends || (tt.currentVersion() != version) != step.ends || tt.partitionCount() != step.count {
			t.Errorf("%s: the session ended: %t, want %t; %d partitions, want %d", step.what, current.ended(), step.ends, tt.partitionCount(), step.count)
		}
		cancel()
	}
}

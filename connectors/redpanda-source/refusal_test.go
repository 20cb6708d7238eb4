package redpandasource

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/internal/devstack/testenv"
)

// TestRefusalKeepsTheCommittedOffset refuses claims whose committed offset lies in
// the log, before it, after it, and nowhere: promise 6 says that a refusal
// touches nothing.
func TestRefusalKeepsTheCommittedOffset(t *testing.T) {
	onBoth(t, func(t *testing.T, c *cluster) {
		const taken = 4
		topic := testenv.Topic(t)
		c.create(topic, taken+1)
		for p := range int32(taken + 1) {
			c.produce(topic, p, 0, 10)
		}
		group := "connect-c-" + topic
		var before, expired kadm.Offsets
		before.AddOffset(topic, 0, 7, -1)
		before.AddOffset(topic, 1, 2, -1)
		before.AddOffset(topic, 2, 1000, -1)
		if err := c.admin.CommitAllOffsets(t.Context(), group, before); err != nil {
			t.Fatal(err)
		}
		expired.AddOffset(topic, 1, 5, -1)
		if _, err := c.admin.DeleteRecords(t.Context(), expired); err != nil {
			t.Fatal(err)
		}

		st := newStore()
		h := newHandler(st)
		h.refuse = func(cl connect.Claim) bool { return cl.Partition != taken }
		r := run(t, testClient(c.brokers), testConfig(topic), h)
		for to := 10; to <= 30; to += 10 { // the session lasts
			tp := connect.TopicPartition{Topic: topic, Partition: taken}
			eventually(t, "the records of the claim that was taken", func() bool { return st.next(tp) == int64(to) })
			c.produce(topic, taken, to, to+10)
		}
		if n := h.sessionCount(); n != 1 {
			t.Errorf("%d sessions, want one that lasts", n)
		}
		r.stop() // what was marked is committed
		h.settled(t)

		after, err := c.admin.FetchOffsets(t.Context(), group)
		if err != nil {
			t.Fatal(err)
		}
		for p, want := range []int64{7, 2, 1000} {
			if o, ok := after.Lookup(topic, int32(p)); !ok || o.At != want {
				t.Errorf("partition %d: committed %d, want %d as before", p, o.At, want)
			}
		}
		if o, ok := after.Lookup(topic, 3); ok && o.At >= 0 {
			t.Errorf("partition 3: committed %d, want none as before", o.At)
		}
		if o, ok := after.Lookup(topic, taken); !ok || o.At < 30 {
			t.Errorf("the claim that was taken: committed %d, want at least 30", o.At)
		}
		for p := range int32(taken) {
			if n := len(st.recordsOf(connect.TopicPartition{Topic: topic, Partition: p})); n > 0 {
				t.Errorf("partition %d was refused, and %d records came", p, n)
			}
		}
	})
}

package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/qicore/tickconnect/internal/devstack"
	"github.com/qicore/tickconnect/internal/devstack/testenv"
)

// TestClusterLosesABroker: of three brokers one after the other is killed and comes back,
// while records come: leaders and coordinators move, partitions go on without it, and
// nothing is lost or doubled.
func TestClusterLosesABroker(t *testing.T) {
	t.Parallel()
	k, err := devstack.StartKafka(t.Context(), devstack.KafkaOptions{HeapBytes: 256 << 20, Settings: map[string]string{
		"offsets.topic.replication.factor": "3", "default.replication.factor": "3", "min.insync.replicas": "2",
	}})
	testenv.Need(t, err)
	closing := func(k *devstack.Kafka) {
		t.Cleanup(func() {
			if err := k.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	closing(k)
	brokers := k.Brokers()
	var others []*devstack.Kafka
	for node := 2; node <= 3; node++ {
		b, err := k.AddBroker(t.Context(), node)
		testenv.Need(t, err)
		closing(b)
		others, brokers = append(others, b), append(brokers, b.Brokers()...)
	}
	s := newStack(t, brokers)
	s.replication = 3
	p := s.newStream(6)
	s.start("replica-0")
	s.start("replica-1")
	p.run()
	p.waitMembers(2)
	for i, b := range others {
		s.waitMoving()
		if err := b.Kill(); err != nil {
			t.Fatal(err)
		}
		killed := time.Now()
		s.waitEachUntil(time.Now())
		t.Logf("broker %d was killed; every partition went on within %v", i+2, time.Since(killed))
		if err := b.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.waitInSync(brokers)
	}
	p.stop()
	s.checkAccount()
}

// waitEachUntil waits until of each partition records are visible that were sent at a
// moment or later.
func (s *stack) waitEachUntil(at time.Time) {
	s.t.Helper()
	eventually(s.t, limit, func() string {
		var late int
		err := s.db.QueryRow(s.t.Context(), "SELECT count(*) FROM "+s.table("connector_ledger")+
			" WHERE closed_at IS NULL AND last_offset IS NOT NULL AND last_time < $1", at).Scan(&late)
		if err != nil || late > 0 {
			return fmt.Sprintf("of %d partitions nothing is visible that was sent at %v or later (%v)", late, at, err)
		}
		return ""
	})
}

// waitInSync waits until all replicas of the stack's topics are in sync.
func (s *stack) waitInSync(brokers []string) {
	s.t.Helper()
	eventually(s.t, limit, func() string {
		all, err := s.admin.ListTopics(s.t.Context(), s.topics...)
		if err != nil {
			return err.Error()
		}
		for _, topic := range all {
			for _, p := range topic.Partitions {
				if len(p.ISR) < len(brokers) {
					return fmt.Sprintf("%s/%d is in sync on brokers %v alone", p.Topic, p.Partition, p.ISR)
				}
			}
		}
		return ""
	})
}

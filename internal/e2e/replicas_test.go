package e2e

import (
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/qicore/tickconnect/marketdata"
)

// group is the name of a topic's consumer group.
func (s *stack) group(topic string) string { return "connect-" + s.connector + "-" + topic }

// members gives how many members the group of a topic has, and its state, or why the
// brokers do not say.
func (s *stack) members(topic string) (int, string) {
	s.t.Helper()
	group := s.group(topic)
	described, err := s.admin.DescribeGroups(s.t.Context(), group)
	if err != nil {
		return 0, err.Error() // the first group of a broker has its coordinator made
	}
	return len(described[group].Members), described[group].State
}

// TestTermination: after SIGTERM what was accepted is stored, the replica has
// left its groups when it ends, and the other one goes on at once: a session's
// timeout, here a minute, is not waited for.
func TestTermination(t *testing.T) {
	t.Parallel()
	eachBroker(t, func(t *testing.T, brokers []string) {
		s := newStack(t, brokers)
		p := s.newStream(4)
		s.process["session.timeout.ms"] = "60000"
		first, second := s.start("replica-0"), s.start("replica-1")
		p.run()
		p.waitMembers(2)
		s.waitMoving()
		took := first.terminate(20 * time.Second)
		for _, kind := range streamKinds {
			if n, _ := s.members(p.topics[kind]); n != 1 {
				t.Errorf("the group of %s has %d members after a replica has ended, want 1", kind, n)
			}
		}
		s.waitMoving()
		p.stop()
		s.waitStoredWithin(30 * time.Second)
		s.checkAccount()
		t.Logf("SIGTERM to end: %v", took)

		// Back under its name, and then both at once.
		first = s.start("replica-0")
		p.run()
		p.waitMembers(2)
		p.stop()
		first.signal(syscall.SIGTERM)
		second.terminate(20 * time.Second)
		first.waitEnded(20 * time.Second)
		if t.Failed() {
			return
		}
		p.send(50)
		s.start("replica-2")
		s.checkAccount()
	})
}

// TestTwoReplicasWithOneName: the one whose place was taken stays up, unhealthy
// and with advice, and takes no part; nothing is stored twice.
func TestTwoReplicasWithOneName(t *testing.T) {
	t.Parallel()
	eachBroker(t, func(t *testing.T, brokers []string) {
		s := newStack(t, brokers)
		topic := s.createTopic(marketdata.KindLevel1, "okx", 3)
		send := func(from, to int) {
			for seq := from; seq < to; seq++ {
				s.produce(topic, newSample(marketdata.KindLevel1, s.exchange("okx"), seq, 0))
			}
		}
		send(0, 50)
		first := s.start("replica-0")
		s.checkAccount()
		second := s.start("replica-0")
		first.waitHealth(http.StatusServiceUnavailable, "group.instance.id", "replica-0")
		send(50, 100)
		s.checkAccount()
		second.waitHealth(http.StatusOK)
		if !first.running() {
			t.Error("the fenced replica has ended")
		}
		// The end of the fenced one does not disturb the other.
		first.terminate(limit)
		send(100, 150)
		s.checkAccount()
		second.waitHealth(http.StatusOK)
	})
}

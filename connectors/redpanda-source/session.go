package redpandasource

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/IBM/sarama"

	"github.com/qicore/tickconnect/connect"
)

// session implements connect.Session for one sarama session. It is made in
// Setup, and its claims are fixed before the first record is delivered.
type session struct {
	topic  string
	id     connect.TopicID // as read in Setup
	ctx    context.Context // sarama's, carrying this session
	sarama sarama.ConsumerGroupSession
	group  sarama.ConsumerGroup
	cancel context.CancelFunc
	// claims are the partitions that are read; one that was refused is missing.
	claims map[int32]*claim
	// ownEnd says that the session was ended from here, not by a rebalance.
	ownEnd atomic.Bool

	// sarama knows no session when it pauses: were one to end between the look at
	// its context and the call, a partition of the next would stay paused.
	mu     sync.Mutex
	closed bool
}

// claim is where one partition stands. Only the partition's own goroutine uses
// it once records come.
type claim struct {
	next    int64 // the lowest offset that may come, -1 until the claim is made
	stopped bool  // nothing more is delivered
}

type sessionKey struct{}

func newSession(topic string, ss sarama.ConsumerGroupSession, group sarama.ConsumerGroup, cancel context.CancelFunc) *session {
	s := &session{topic: topic, sarama: ss, group: group, cancel: cancel, claims: make(map[int32]*claim)}
	s.ctx = context.WithValue(ss.Context(), sessionKey{}, s)
	return s
}

// Topic implements connect.Session.
func (s *session) Topic() string { return s.topic }

// Context implements connect.Session.
func (s *session) Context() context.Context { return s.ctx }

// Mark implements connect.Session. After the session it does nothing.
func (s *session) Mark(partition int32, next int64) {
	s.sarama.MarkOffset(s.topic, partition, next, "")
}

// Pause implements connect.Session.
func (s *session) Pause(partition int32) { s.pausing(s.group.Pause, partition) }

// Resume implements connect.Session.
func (s *session) Resume(partition int32) { s.pausing(s.group.Resume, partition) }

func (s *session) pausing(do func(map[string][]int32), partition int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		do(map[string][]int32{s.topic: {partition}})
	}
}

// close is called before the next session can begin.
func (s *session) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

// Reopen implements connect.Session. The context ends at once, and with it the
// taking of records; claims and handler follow.
func (s *session) Reopen() {
	s.ownEnd.Store(true)
	s.cancel()
}

func (s *session) ended() bool { return s.ctx.Err() != nil }

// seek makes the claim begin at offset, whichever way that is.
func (s *session) seek(partition int32, offset int64) {
	s.sarama.ResetOffset(s.topic, partition, offset, "")
	s.sarama.MarkOffset(s.topic, partition, offset, "")
}

// markless is the session that goka sees: its marks go nowhere, since Kafka's
// offset follows what the sink has stored (promise 1), not what was called back.
type markless struct {
	sarama.ConsumerGroupSession
	ctx context.Context
}

func (m markless) Context() context.Context                    { return m.ctx }
func (m markless) MarkOffset(string, int32, int64, string)     {}
func (m markless) ResetOffset(string, int32, int64, string)    {}
func (m markless) MarkMessage(*sarama.ConsumerMessage, string) {}
func (m markless) Commit()                                     {}

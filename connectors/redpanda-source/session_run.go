package redpandasource

import (
	"context"
	"fmt"

	"github.com/IBM/sarama"

	"github.com/qicore/tickconnect/connect"
)

// sessionRun is the sarama.ConsumerGroupHandler of one session, in front of
// goka's.
type sessionRun struct {
	group     *group
	processor sarama.ConsumerGroupHandler
	cancel    context.CancelFunc
	version   int // of the topic, before the group was joined

	session *session
	opened  bool // Handler.Open was called, so Release must be
	started bool // goka's Setup was called, so its Cleanup must be
}

// Setup implements sarama.ConsumerGroupHandler. It blocks while the brokers or
// the target are away; the session's heartbeats go on.
func (r *sessionRun) Setup(ss sarama.ConsumerGroupSession) error {
	g := r.group
	member := ss.MemberID()
	g.memberID.Store(&member)
	r.session = newSession(g.topic.name, ss, g.inner, r.cancel)
	g.current.Store(r.session)
	if g.topic.currentVersion() != r.version {
		// The topic grew while this member was joining, and what saw it found no
		// session to end.
		r.session.Reopen()
	}

	if partitions := ss.Claims()[g.topic.name]; len(partitions) > 0 {
		claims, err := g.topic.claims(ss.Context(), partitions)
		if err != nil {
			return err
		}
		r.session.id = claims[0].TopicID
		r.opened = true
		answer, err := g.topic.source.handler.Open(r.session.ctx, r.session, claims)
		if err != nil {
			return fmt.Errorf("opening: %w", err)
		}
		for i := range claims {
			r.position(&claims[i], answer)
		}
	}
	r.started = true
	g.topic.setProblem(nil)
	return r.processor.Setup(markless{ss, r.session.ctx})
}

// position makes a claim start where the handler answered.
func (r *sessionRun) position(c *connect.Claim, answer map[int32]int64) {
	next, ok := answer[c.Partition]
	switch {
	case !ok:
		// Refused: claimed, so that no other replica takes it up, and never read. Its
		// committed offset stays what it is (promise 6). Where the log cannot serve
		// that, sarama is at the log's start: see saramaConfig.
	case next == connect.NoOffset:
		// The committed offset, unless it lies before the log or is missing.
		r.session.sarama.MarkOffset(c.Topic, c.Partition, c.Begin, "")
		r.session.claims[c.Partition] = &claim{next: -1}
	default:
		r.session.seek(c.Partition, next)
		r.session.claims[c.Partition] = &claim{next: next}
	}
}

// ConsumeClaim implements sarama.ConsumerGroupHandler. When it returns, the
// session ends.
func (r *sessionRun) ConsumeClaim(ss sarama.ConsumerGroupSession, sc sarama.ConsumerGroupClaim) error {
	c, ok := r.session.claims[sc.Partition()]
	if !ok {
		r.session.Pause(sc.Partition())
		<-ss.Context().Done()
		return nil
	}
	if c.next < 0 {
		c.next = sc.InitialOffset()
	}
	if sc.InitialOffset() < 0 || sc.InitialOffset() != c.next {
		r.group.log.Warn("the log does not have the offset asked for, joining again", "partition", sc.Partition(), "next", c.next)
		r.session.Reopen()
		return nil
	}
	err := r.processor.ConsumeClaim(markless{ss, r.session.ctx}, sc)
	if !r.session.ended() {
		r.group.log.Warn("a partition's records ended, joining again", "partition", sc.Partition(), "err", err)
		r.session.Reopen()
	}
	return err
}

// Cleanup implements sarama.ConsumerGroupHandler. First goka's goroutines end,
// so that nothing is delivered any more, then the handler stores what it has.
// Its context is its own: the session's has ended.
func (r *sessionRun) Cleanup(ss sarama.ConsumerGroupSession) error {
	defer r.session.close()
	var err error
	if r.started {
		err = r.processor.Cleanup(markless{ss, r.session.ctx})
	}
	if r.opened {
		ctx, cancel := context.WithTimeout(context.Background(), r.group.topic.source.client.releaseTimeout())
		r.group.topic.source.handler.Release(ctx, r.session)
		cancel()
	}
	return err
}

// endedHere says that the session was ended from here, not by a rebalance.
func (r *sessionRun) endedHere() bool {
	return r.session != nil && r.session.ownEnd.Load()
}

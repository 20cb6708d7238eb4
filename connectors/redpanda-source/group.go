package redpandasource

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qicore/tickconnect/connect"
)

// group is the sarama.ConsumerGroup that goka is given for one topic. Between
// the two it
//
//   - stays in Consume over rebalances and transient errors: goka waits five
//     seconds after each session and ends at the first error;
//   - starts each session where the handler says;
//   - hides the marks and the refused claims from goka;
//   - leaves the group at the end, also as a static member.
type group struct {
	topic   *topic
	inner   sarama.ConsumerGroup
	conf    *sarama.Config
	log     *slog.Logger
	errors  chan error    // goka's view: nothing, then closed
	watched chan struct{} // closed when the reader of inner's errors is done
	once    sync.Once

	current    atomic.Pointer[session]
	memberID   atomic.Pointer[string]
	isFenced   atomic.Bool
	fetchBytes int64 // the fetch size
}

func newGroup(t *topic, conf *sarama.Config, brokers []string, name string) (*group, error) {
	g := &group{
		topic: t, conf: conf, log: t.log,
		errors: make(chan error), watched: make(chan struct{}),
	}
	g.fetchBytes = t.source.sizeFetches(conf)
	conf.Consumer.Retry.BackoffFunc = g.redispatchBackoff
	inner, err := sarama.NewConsumerGroup(brokers, name, conf)
	if err != nil {
		return nil, err
	}
	g.inner = inner
	go g.watchErrors()
	return g, nil
}

const (
	rejoinBackoff    = 50 * time.Millisecond
	rejoinBackoffMax = 5 * time.Second
	// calmSession is how long a session lasts after which the backoff is forgotten.
	calmSession = 10 * time.Second
	// shortSessionsMax is how many sessions in a row a rebalance may end within
	// shortSession before the next one waits.
	shortSession     = time.Second
	shortSessionsMax = 3
	// warnEvery is the least time between two warnings of what happens often.
	warnEvery = 10 * time.Second
	// leaveTimeout bounds the goodbye of a static member.
	leaveTimeout = 5 * time.Second
)

// Consume implements sarama.ConsumerGroup: it returns when ctx ends or the
// group is closed.
func (g *group) Consume(ctx context.Context, topics []string, processor sarama.ConsumerGroupHandler) error {
	var pace pace
	for ctx.Err() == nil {
		if g.fetchesTooMuch() {
			// sarama's connections read their configuration at any time: another fetch size
			// takes another client, and so another processor.
			return errResize
		}
		sessionCtx, cancel := context.WithCancel(ctx)
		run := &sessionRun{group: g, processor: processor, cancel: cancel, version: g.topic.currentVersion()}
		began := time.Now()
		err := g.inner.Consume(sessionCtx, topics, run)
		cancel()
		g.current.Store(nil)

		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // it was asked to end
		case errors.Is(err, sarama.ErrClosedConsumerGroup):
			return err
		case errors.Is(err, sarama.ErrFencedInstancedId):
			g.fenced(ctx)
			return nil
		case err != nil && !errors.Is(err, context.Canceled):
			g.failed(err)
		}
		if !sleep(ctx, pace.next(time.Since(began), err == nil && !run.endedHere())) {
			return nil
		}
	}
	return nil
}

var errResize = errors.New("the fetch size is another now")

// fetchesTooMuch says whether topics that appeared leave this one less than half
// of what it fetches.
func (g *group) fetchesTooMuch() bool { return g.fetchBytes/2 > g.topic.source.fetchBytes() }

// pace keeps sessions that end soon from following each other without a pause.
type pace struct {
	backoff time.Duration
	short   int
}

// next says how long to wait after a session that took so long. After a
// rebalance the others wait for this member, so it waits only where it looks as
// if something else ended the session again and again.
func (p *pace) next(took time.Duration, rebalanced bool) time.Duration {
	if took > calmSession {
		*p = pace{}
	}
	if rebalanced {
		if took > shortSession {
			*p = pace{}
			return 0
		}
		if p.short++; p.short <= shortSessionsMax {
			return 0
		}
	}
	wait := p.backoff
	p.backoff = min(max(2*p.backoff, rejoinBackoff), rejoinBackoffMax)
	return wait
}

// failed logs the first of a row of failures: while the brokers are away there
// is one after the other.
func (g *group) failed(err error) {
	err = g.topic.source.client.advise(err)
	if g.topic.setProblem(err) {
		g.log.Warn("the session failed, joining again", "err", err)
		return
	}
	g.log.Debug("the session failed, joining again", "err", err)
}

// fenced keeps a replica up whose name another one uses: were it to end and be
// started again, it would throw the other out, and so on.
func (g *group) fenced(ctx context.Context) {
	g.isFenced.Store(true)
	err := fmt.Errorf("group.instance.id: another replica uses %q and has taken the place of this one in the group of topic %s; give each replica a name of its own and restart this one",
		g.conf.Consumer.Group.InstanceId, g.topic.name)
	g.topic.setFenced(err)
	g.log.Error("fenced by another replica with the same name", "err", err)
	<-ctx.Done()
}

// reopen ends the session that runs now, if any.
func (g *group) reopen() {
	if s := g.current.Load(); s != nil {
		s.Reopen()
	}
}

// watchErrors reads what sarama reports on the side, until it is closed. A
// broker that is away is reported for each partition and try, so only now and
// then one is worth a warning.
func (g *group) watchErrors() {
	defer close(g.watched)
	var warned time.Time
	for err := range g.inner.Errors() {
		s := g.current.Load()
		if s == nil || s.ended() || time.Since(warned) < warnEvery {
			g.log.Debug("reading", "err", err)
			continue
		}
		warned = time.Now()
		g.log.Warn("reading", "err", err)
	}
}

// Errors implements sarama.ConsumerGroup for goka, which only logs them.
func (g *group) Errors() <-chan error { return g.errors }

// Close implements sarama.ConsumerGroup. A member with a name of its own stays
// in the group when sarama closes, so that a restart goes unnoticed; here it is
// going, and the others should not wait for its session to time out.
func (g *group) Close() error {
	var err error
	g.once.Do(func() {
		err = g.inner.Close()
		<-g.watched
		close(g.errors)
		if e := g.leave(); e != nil {
			g.log.Warn("leaving the group", "err", e)
		}
	})
	return err
}

// leave names the member as well as the instance: by the instance alone, a
// process that is slow to end would throw out its successor.
func (g *group) leave() error {
	instance := g.conf.Consumer.Group.InstanceId
	member := g.memberID.Load()
	if instance == "" || member == nil || g.isFenced.Load() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	m := kmsg.NewLeaveGroupRequestMember()
	m.MemberID = *member
	m.InstanceID = &instance
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group = g.topic.groupName
	req.MemberID = *member // for brokers that know only the first form
	req.Members = append(req.Members, m)
	resp, err := req.RequestWith(ctx, g.topic.source.kafka.client)
	if err != nil {
		return err
	}
	code := resp.ErrorCode
	if code == 0 && len(resp.Members) > 0 {
		code = resp.Members[0].ErrorCode
	}
	err = kerr.ErrorForCode(code)
	if errors.Is(err, kerr.UnknownMemberID) || errors.Is(err, kerr.FencedInstanceID) {
		return nil // gone already, or another has the name
	}
	return err
}

// redispatchBackoff is called by sarama before it looks for a partition's
// leader again, and only then. In that moment the topic may be another one: it
// was deleted and made again, and sarama would go on reading the new log at the
// old offset. So the topic's id is looked at first, for as long as it takes.
func (g *group) redispatchBackoff(tries int) time.Duration {
	backoff := min(retryBackoff<<min(tries, 5), 2*time.Second)
	s := g.current.Load()
	if s == nil {
		return backoff
	}
	for !s.ended() {
		ctx, cancel := context.WithTimeout(s.ctx, discoverTimeout)
		topics, err := g.topic.source.kafka.describe(ctx, []string{g.topic.name})
		cancel()
		info, exists := topics[g.topic.name]
		switch {
		case err != nil || info.err != nil:
			sleep(s.ctx, backoff)
			continue
		case !exists:
			s.Reopen()
		case s.id != info.id && info.id != (connect.TopicID{}):
			g.topic.update(info)
			s.Reopen()
		}
		return backoff
	}
	return backoff
}

// Pause implements sarama.ConsumerGroup.
func (g *group) Pause(partitions map[string][]int32) { g.inner.Pause(partitions) }

// Resume implements sarama.ConsumerGroup.
func (g *group) Resume(partitions map[string][]int32) { g.inner.Resume(partitions) }

// PauseAll implements sarama.ConsumerGroup.
func (g *group) PauseAll() { g.inner.PauseAll() }

// ResumeAll implements sarama.ConsumerGroup.
func (g *group) ResumeAll() { g.inner.ResumeAll() }

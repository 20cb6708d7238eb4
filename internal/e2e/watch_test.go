package e2e

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/connect"
)

// watch sees when records become visible, and who has which partition, while a test
// does things to replicas.
type watch struct {
	s     *stack
	began time.Time
	stop  func()

	mu     sync.Mutex
	sent   map[connect.TopicPartition][]sentRecord
	steps  map[connect.TopicPartition][]step
	owners []owners
	events []event
}

type sentRecord struct {
	offset int64
	at     time.Time
}

// step is the moment when the ledger was seen to stand at next.
type step struct {
	at   time.Time
	next int64
}

type owners struct {
	at  time.Time
	who map[connect.TopicPartition]string
}

// event is something that the test did.
type event struct {
	at   time.Time
	what string
}

// watch begins to look at the ledger and the groups; finish ends it. Records that are
// produced from now on are seen.
func (s *stack) watch() *watch {
	ctx, cancel := context.WithCancel(s.t.Context())
	w := &watch{s: s, began: time.Now(), sent: map[connect.TopicPartition][]sentRecord{}, steps: map[connect.TopicPartition][]step{}}
	var looking sync.WaitGroup
	looking.Go(func() { w.every(ctx, 10*time.Millisecond, w.look) })
	looking.Go(func() { w.every(ctx, 100*time.Millisecond, w.ask) })
	w.stop = func() {
		cancel()
		looking.Wait()
		s.watching.Store(nil)
	}
	s.watching.Store(w)
	s.t.Cleanup(w.stop)
	return w
}

func (w *watch) every(ctx context.Context, pause time.Duration, look func(context.Context)) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look notes what has become visible. The moment is that before the question: a pause is
// never made shorter by an answer that took long.
func (w *watch) look(ctx context.Context) {
	ledger, err := w.s.ledger(ctx)
	if err != nil {
		return // not there yet
	}
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	for tp, row := range ledger {
		steps := w.steps[tp]
		if len(steps) == 0 || steps[len(steps)-1].next < row.next {
			w.steps[tp] = append(steps, step{now, row.next})
		}
	}
}

// ask notes which members have the partitions.
func (w *watch) ask(ctx context.Context) {
	var groups []string
	for _, topic := range w.s.topics {
		groups = append(groups, w.s.group(topic))
	}
	described, err := w.s.admin.DescribeGroups(ctx, groups...)
	if err != nil {
		return
	}
	o := owners{time.Now(), map[connect.TopicPartition]string{}}
	for _, group := range described {
		for _, member := range group.Members {
			assigned, _ := member.Assigned.AsConsumer()
			if assigned == nil || member.InstanceID == nil {
				continue
			}
			for _, t := range assigned.Topics {
				for _, p := range t.Partitions {
					o.who[connect.TopicPartition{Topic: t.Topic, Partition: p}] = *member.InstanceID
				}
			}
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.owners = append(w.owners, o)
}

// produced notes a record that the broker has acknowledged; its timestamp is when the
// producer got it.
func (w *watch) produced(r *kgo.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	tp := connect.TopicPartition{Topic: r.Topic, Partition: r.Partition}
	w.sent[tp] = append(w.sent[tp], sentRecord{r.Offset, r.Timestamp})
}

// note marks a moment, and gives the owners before it.
func (w *watch) note(what string) event {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := event{time.Now(), what}
	w.events = append(w.events, e)
	return e
}

// ownerAt is the replica that had the partition when it was last asked, or "".
func (w *watch) ownerAt(tp connect.TopicPartition, at time.Time) string {
	i, _ := slices.BinarySearchFunc(w.owners, at, func(o owners, at time.Time) int { return o.at.Compare(at) })
	if i == 0 {
		return ""
	}
	return w.owners[i-1].who[tp]
}

// partitions are those that were stored to, in order.
func (w *watch) partitions() []connect.TopicPartition {
	return slices.SortedFunc(maps.Keys(w.steps), connect.TopicPartition.Compare)
}

// pause is the longest time within a span in which nothing of a partition became
// visible.
func (w *watch) pause(tp connect.TopicPartition, from, to time.Time) time.Duration {
	longest, last := time.Duration(0), from
	for _, s := range w.steps[tp] {
		if s.at.Before(from) {
			continue
		}
		if s.at.After(to) {
			break
		}
		longest, last = max(longest, s.at.Sub(last)), s.at
	}
	return max(longest, to.Sub(last))
}

// wait is how long one record took from its producer until it was visible.
type wait struct {
	sent time.Time
	took time.Duration
}

// waits are those of all records that became visible, in the order of sending.
func (w *watch) waits() []wait {
	var all []wait
	for tp, sent := range w.sent {
		steps := w.steps[tp]
		slices.SortFunc(sent, func(a, b sentRecord) int { return cmp.Compare(a.offset, b.offset) })
		for _, r := range sent {
			for len(steps) > 0 && steps[0].next <= r.offset {
				steps = steps[1:]
			}
			if len(steps) > 0 {
				all = append(all, wait{r.at, steps[0].at.Sub(r.at)})
			}
		}
	}
	slices.SortFunc(all, func(a, b wait) int { return a.sent.Compare(b.sent) })
	return all
}

// window is a second of sending.
type window struct {
	at       time.Time
	p50, p99 time.Duration
}

// windows gives the percentiles of the waits of each second.
func (w *watch) windows() []window {
	var all []window
	waits := w.waits()
	for len(waits) > 0 {
		end := waits[0].sent.Add(time.Second)
		n, _ := slices.BinarySearchFunc(waits, end, func(a wait, at time.Time) int { return a.sent.Compare(at) })
		took := make([]time.Duration, 0, n)
		for _, one := range waits[:n] {
			took = append(took, one.took)
		}
		slices.Sort(took)
		all = append(all, window{waits[0].sent, took[(n-1)/2], took[(n-1)*99/100]})
		waits = waits[n:]
	}
	return all
}

package worker

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/qicore/tickconnect/connect"
)

var simSeed = flag.Uint64("sim.seed", 0, "run the simulation with this seed alone, and tell its story")

// simWorld runs a consumer group of replicas over logs and a store, in an
// interleaving that its seed alone decides. The tasks are the real ones; what
// is around them is simulated, with everything that can go wrong.
type simWorld struct {
	seed  uint64
	rand  *rand.Rand
	now   time.Time
	tps   []connect.TopicPartition
	logs  map[connect.TopicPartition]*simLog
	store *simStore

	backup    *simState
	replicas  []*simReplica
	topics    []string
	rebalance map[string]bool // a topic's sessions are ending
	teeth     simTeeth
	story     []string
	tell      bool
	calm      bool // no more faults
}

// simShare is small enough to hold reads of the log back.
const simShare = 2000

// simTeeth are the ways to break the protocol which the simulation must see.
type simTeeth struct {
	noFence, noSeek, noDrop, noProof, staleEnd bool
}

type simReplica struct {
	w        *simWorld
	id       int
	lanes    []*simLane
	sessions map[string]*simSession
	frozen   bool // a zombie: it does not learn what the group does
}

type simLane struct {
	r      *simReplica
	task   *task
	gen    int
	call   call
	state  int // 0 idle, 1 called, 2 done in the store
	after  func()
	proofs []simProof
	// held are the partitions that the lane's sink has open: as a real one, it
	// stores nothing of the others.
	held map[connect.TopicPartition]bool
	late []func() // what the log answers to openings, while the lane goes on
}

type simProof struct {
	sess connect.Session
	tp   connect.TopicPartition
	span span
}

type simSession struct {
	r       *simReplica
	topic   string
	ctx     context.Context
	end     context.CancelFunc
	ended   bool // in the eyes of the group
	reopen  bool
	asked   int
	starts  map[int32]int64
	cursors map[int32]int64
}

func (s *simSession) Topic() string            { return s.topic }
func (s *simSession) Context() context.Context { return s.ctx }
func (s *simSession) Mark(int32, int64)        {}
func (s *simSession) Pause(int32)              {}
func (s *simSession) Resume(int32)             {}
func (s *simSession) Reopen()                  { s.reopen = true }

// The effects of a lane's task.

func (l *simLane) answer(o *opening, starts map[int32]int64, err error) {
	s := o.sess.(*simSession)
	s.asked--
	if err != nil {
		return
	}
	for p, at := range starts {
		s.starts[p] = at
		s.cursors[p] = at
		if l.r.w.teeth.noSeek { // where the broker's commit, which leads, would put it
			s.cursors[p] = min(at+2, l.r.w.logs[connect.TopicPartition{Topic: s.topic, Partition: p}].end())
		}
	}
}

func (l *simLane) reopen(s connect.Session) { s.Reopen() }

func (l *simLane) prove(p *part, s span) {
	l.proofs = append(l.proofs, simProof{p.sess, p.TopicPartition, s})
}

func (l *simLane) stored(p *part, c connect.Counts, _ []connect.Record) {
	l.r.w.say("%s stores up to %s@%d: %+v", l.r, p.TopicPartition, p.next, c)
}
func (l *simLane) note(trouble, connect.TopicPartition, error) {}
func (r *simReplica) String() string                           { return "replica " + strconv.Itoa(r.id) }

func (w *simWorld) say(format string, args ...any) {
	if w.tell {
		w.story = append(w.story, fmt.Sprintf(format, args...))
	}
}

func newSimWorld(seed uint64, teeth simTeeth) *simWorld {
	rnd := rand.New(rand.NewPCG(seed, 0x7469636b))
	w := &simWorld{seed: seed, rand: rnd, now: time.Unix(0, 0), logs: map[connect.TopicPartition]*simLog{}, rebalance: map[string]bool{}, teeth: teeth}
	for t := range 1 + rnd.IntN(2) {
		topic := "t" + strconv.Itoa(t)
		w.topics = append(w.topics, topic)
		for p := range 1 + rnd.IntN(3) {
			tp := connect.TopicPartition{Topic: topic, Partition: int32(p)}
			w.tps = append(w.tps, tp)
			w.logs[tp] = &simLog{}
		}
	}
	w.store = newSimStore(w.logs, rnd)
	w.store.noFence = teeth.noFence
	for i := range 1 + rnd.IntN(3) {
		w.replicas = append(w.replicas, w.newReplica(i))
	}
	for _, t := range w.topics {
		w.rebalance[t] = true
	}
	return w
}

func (w *simWorld) newReplica(id int) *simReplica {
	r := &simReplica{w: w, id: id, sessions: map[string]*simSession{}}
	for range 1 + w.rand.IntN(2) {
		l := &simLane{r: r, held: map[connect.TopicPartition]bool{}}
		l.task = newTask(limits{
			rows: 1 + w.rand.IntN(12), bytes: 1 << 20, interval: time.Duration(w.rand.IntN(3)) * time.Millisecond,
			backoffMin: time.Millisecond, backoffMax: 50 * time.Millisecond, failedRetry: 60 * time.Millisecond,
			checkEvery: 40 * time.Millisecond, busyRetry: 2 * time.Millisecond,
			tolerate: true, skipExpired: true, hasOffsets: true,
			share: func() int64 { return simShare },
		}, l, w.rand)
		r.lanes = append(r.lanes, l)
	}
	return r
}

func (r *simReplica) laneOf(tp connect.TopicPartition) *simLane {
	return r.lanes[int(tp.Partition)%len(r.lanes)]
}

// run lets the world go wrong for a while, then calms it and checks that all
// is stored.
func (w *simWorld) run() error {
	for range 60 + w.rand.IntN(500) {
		w.step()
		if err := w.store.check(); err != nil {
			return err
		}
	}
	w.calm = true
	w.store.down = false
	clear(w.store.broken)
	for _, r := range w.replicas {
		r.frozen = false
	}
	for range 200_000 {
		if w.finished() {
			return w.store.check()
		}
		w.step()
	}
	return fmt.Errorf("not finished: %s", w.standing())
}

func (w *simWorld) finished() bool {
	for _, tp := range w.tps {
		if row, ok := w.store.ledger[w.store.gen][tp]; !ok || row.next != w.logs[tp].end() {
			return false
		}
	}
	return true
}

func (w *simWorld) standing() string {
	var b strings.Builder
	for _, tp := range w.tps {
		row, ok := w.store.ledger[w.store.gen][tp]
		fmt.Fprintf(&b, "%s: ledger %d (%v) of %d; ", tp, row.next, ok, w.logs[tp].end())
	}
	for _, r := range w.replicas {
		for i, l := range r.lanes {
			for _, p := range l.task.order {
				fmt.Fprintf(&b, "\n%s lane %d %s next %d arrived %d queue %d gaps %v proving %v unsure %v lost %v draining %v alone %v failed %v", r, i, p.TopicPartition, p.next, p.arrived, len(p.queue), p.gaps, p.proving, p.unsure, p.lost, p.draining, p.alone, p.failed)
			}
		}
	}
	return b.String()
}

func (w *simWorld) step() {
	r := w.replicas[w.rand.IntN(len(w.replicas))]
	l := r.lanes[w.rand.IntN(len(r.lanes))]
	switch n := w.rand.IntN(100); {
	case n < 25:
		w.deliver(r)
	case n < 60:
		l.step()
	case n < 68:
		l.prover()
	case n < 74:
		w.group()
	case n < 80:
		w.now = w.now.Add(time.Duration(w.rand.IntN(8)) * time.Millisecond)
	case n < 84:
		tp := w.tps[w.rand.IntN(len(w.tps))]
		r.laneOf(tp).task.logEnd(tp, connect.TopicID{}, w.logs[tp].end())
	case w.calm:
	case n < 92:
		w.produce()
	default:
		w.fault(r)
	}
}

func (w *simWorld) produce() {
	l := w.logs[w.tps[w.rand.IntN(len(w.tps))]]
	for range 1 + w.rand.IntN(6) {
		k := simGood
		switch w.rand.IntN(14) {
		case 0:
			k = simPoison
		case 1:
			k = simRefused
		case 2:
			k = simTombstone
		case 3:
			k = simAbsent
		}
		l.kinds = append(l.kinds, k)
	}
}

func (w *simWorld) fault(r *simReplica) {
	tp := w.tps[w.rand.IntN(len(w.tps))]
	switch w.rand.IntN(9) {
	case 0, 1:
		w.rebalance[tp.Topic] = true
		w.say("%s rebalances", tp.Topic)
	case 2:
		w.say("%s is killed", r)
		r.kill()
	case 3:
		r.frozen = !r.frozen
		w.say("%s frozen: %v", r, r.frozen)
		for t := range r.sessions {
			w.rebalance[t] = true
		}
	case 4:
		w.store.down = !w.store.down
		w.say("database away: %v", w.store.down)
	case 5:
		if w.backup == nil || w.rand.IntN(2) == 0 {
			c := w.store.clone()
			w.backup = &c
			return
		}
		w.say("database restored")
		w.store.simState = w.backup.clone()
	case 6:
		l := w.logs[tp]
		if row, ok := w.store.ledger[w.store.gen][tp]; ok {
			at := l.start + w.rand.Int64N(row.next-min(l.start, row.next)+1)
			w.say("%s is reset to %d", tp, at)
			w.store.reset(tp, at)
		}
	case 7:
		l := w.logs[tp]
		if l.end() > l.start && w.rand.IntN(3) == 0 {
			l.start += w.rand.Int64N(l.end() - l.start)
			w.say("%s now starts at %d", tp, l.start)
		}
	case 8:
		w.store.broken[tp] = !w.store.broken[tp]
	}
}

// kill loses all that the replica has in memory; its transaction in flight may
// have been committed, or not.
func (r *simReplica) kill() {
	for _, s := range r.sessions {
		s.end()
		r.w.rebalance[s.topic] = true
	}
	i := slices.Index(r.w.replicas, r)
	r.w.replicas[i] = r.w.newReplica(r.id)
}

// deliver moves one session of the replica on by some records. A replica that
// is frozen, or whose session has ended without its knowing, may still do so.
func (w *simWorld) deliver(r *simReplica) {
	for _, t := range w.topics {
		s := r.sessions[t]
		if s == nil || s.ctx.Err() != nil || s.asked > 0 || w.rand.IntN(2) == 0 {
			continue
		}
		for _, tp := range w.tps {
			cur, ok := s.cursors[tp.Partition]
			if tp.Topic != t || !ok || w.rand.IntN(2) == 0 {
				continue
			}
			l := w.logs[tp]
			var records []connect.Record
			for cur = max(cur, l.start); cur < l.end() && len(records) < 5; cur++ {
				if l.kinds[cur] == simAbsent || !w.calm && w.rand.IntN(60) == 0 { // some layer drops it
					continue
				}
				records = append(records, l.record(cur, false))
			}
			s.cursors[tp.Partition] = cur
			lane := r.laneOf(tp)
			if w.teeth.noProof && len(records) > 0 {
				if p := lane.task.parts[tp]; p != nil && p.sess == connect.Session(s) && !p.lost && records[0].Offset > p.arrived {
					p.arrived = records[0].Offset
				}
			}
			lane.task.arrive(s, tp, records)
		}
	}
}

// step moves a lane's call on: made, done in the store, answered. Anything may
// happen between two of them.
func (l *simLane) step() {
	w := l.r.w
	switch l.state {
	case 0:
		c, at := l.task.next(w.now)
		if c.kind == callNone {
			if w.calm && at.After(w.now) && w.rand.IntN(3) == 0 {
				w.now = at
			}
			return
		}
		l.call, l.state = c, 1
	case 1:
		l.after = l.inStore()
		l.state = 2
	case 2:
		l.state = 0
		l.after()
	}
}

// inStore does the call in the store and returns how its result reaches the task.
func (l *simLane) inStore() func() {
	w, t, c := l.r.w, l.task, l.call
	lostBefore := !w.calm && w.rand.IntN(25) == 0
	lostAfter := !w.calm && w.rand.IntN(25) == 0
	switch c.kind {
	case callOpen:
		claims := c.opening.claims
		pos, err := w.store.open(claims)
		if err == nil {
			l.gen = w.store.gen
			for i := range claims {
				if log := w.logs[claims[i].TopicPartition]; pos[i].Next > claims[i].LogEnd && !w.teeth.staleEnd {
					claims[i].LogStart, claims[i].LogEnd = log.start, log.end()
				}
			}
		}
		if err != nil {
			return func() { t.opened(c.opening, nil, err, w.now) }
		}
		for i := range claims {
			l.held[claims[i].TopicPartition] = true
		}
		return func() {
			c.opening.checking = true
			l.late = append(l.late, func() { t.opened(c.opening, pos, nil, w.now) })
		}
	case callPositions:
		pos, err := w.store.positions(c.tps)
		if err == nil {
			l.gen = w.store.gen
		}
		return func() {
			if w.teeth.noDrop && err == nil {
				for i, tp := range c.tps {
					if p := t.parts[tp]; p != nil && pos[i].Next > p.next {
						p.arrived += pos[i].Next - p.next
						p.next = pos[i].Next
						for j := range p.queue {
							p.queue[j].Offset = p.next + int64(j)
						}
						p.gaps, p.expired = nil, nil
						p.arrived = p.next + int64(len(p.queue))
					}
				}
			}
			t.positions(c.tps, pos, err, w.now)
		}
	case callPut:
		if lostBefore {
			return func() { t.put(c.batch, connect.Result{}, errSimLost, w.now) }
		}
		if err := l.fence(c.batch); err != nil {
			return func() { t.put(c.batch, connect.Result{}, err, w.now) }
		}
		res, err := w.store.put(l.gen, c.batch)
		if lostAfter && err == nil {
			res, err = connect.Result{}, errSimLost
		}
		return func() { t.put(c.batch, res, err, w.now) }
	default:
		for _, tp := range c.tps {
			delete(l.held, tp)
		}
		return func() { t.releasedParts(c.tps) }
	}
}

// fence refuses a batch with partitions that the sink does not have open.
func (l *simLane) fence(b *connect.Batch) error {
	var fenced connect.FencedError
	for i := range b.Parts {
		if !l.held[b.Parts[i].TopicPartition] {
			fenced.Moved = append(fenced.Moved, b.Parts[i].TopicPartition)
		}
	}
	if fenced.Moved == nil {
		return nil
	}
	return &fenced
}

// prover gives an answer of the log: to an opening, or of a gap.
func (l *simLane) prover() {
	if len(l.late) > 0 {
		i := l.r.w.rand.IntN(len(l.late))
		answer := l.late[i]
		l.late = slices.Delete(l.late, i, i+1)
		answer()
		return
	}
	if len(l.proofs) == 0 {
		return
	}
	w := l.r.w
	p := l.proofs[0]
	l.proofs = l.proofs[1:]
	log := w.logs[p.tp]
	next := p.span.from + 1 + w.rand.Int64N(p.span.to-p.span.from)
	out := connect.Span{From: p.span.from, Next: next, Start: log.start}
	for o := max(p.span.from, log.start); o < next; o++ {
		if log.kinds[o] != simAbsent {
			out.Records = append(out.Records, log.record(o, true))
		}
	}
	l.task.proved(p.sess, p.tp, out)
}

// group moves the consumer groups on: sessions end, and begin again once no
// member that is awake has anything left of the old ones.
func (w *simWorld) group() {
	for _, t := range w.topics {
		for _, r := range w.replicas {
			s := r.sessions[t]
			if s == nil {
				continue
			}
			if s.reopen && !r.frozen {
				w.rebalance[t] = true
			}
			if !r.frozen && s.ended && s.ctx.Err() == nil { // a zombie learns of it
				w.endSession(r, s)
			}
		}
		if !w.rebalance[t] {
			continue
		}
		ready := true
		for _, r := range w.replicas {
			s := r.sessions[t]
			if s == nil {
				continue
			}
			s.ended = true
			if r.frozen {
				continue
			}
			if s.ctx.Err() == nil {
				w.endSession(r, s)
			}
			for _, l := range r.lanes {
				if l.task.owns(s) {
					ready = false
					if w.rand.IntN(8) == 0 && l.state == 0 {
						l.task.abandon(s)
					}
				}
			}
		}
		if ready {
			w.beginSessions(t)
		}
	}
}

func (w *simWorld) endSession(r *simReplica, s *simSession) {
	w.say("%s: the session on %s ends", r, s.topic)
	s.end()
	for _, l := range r.lanes {
		l.task.revoke(s)
	}
}

func (w *simWorld) beginSessions(topic string) {
	var awake []*simReplica
	for _, r := range w.replicas {
		if !r.frozen {
			awake = append(awake, r)
		}
	}
	if len(awake) == 0 {
		return
	}
	w.rebalance[topic] = false
	claims := map[*simReplica][]connect.Claim{}
	for _, tp := range w.tps {
		if tp.Topic == topic {
			r := awake[w.rand.IntN(len(awake))]
			l := w.logs[tp]
			claims[r] = append(claims[r], connect.Claim{TopicPartition: tp, Begin: l.start, LogStart: l.start, LogEnd: l.end()})
		}
	}
	for _, r := range awake {
		delete(r.sessions, topic)
		if len(claims[r]) == 0 {
			continue
		}
		s := &simSession{r: r, topic: topic, starts: map[int32]int64{}, cursors: map[int32]int64{}}
		s.ctx, s.end = context.WithCancel(context.Background())
		r.sessions[topic] = s
		w.say("%s: a session on %s begins with %v", r, topic, claims[r])
		byLane := map[*simLane][]connect.Claim{}
		for _, c := range claims[r] {
			byLane[r.laneOf(c.TopicPartition)] = append(byLane[r.laneOf(c.TopicPartition)], c)
		}
		for _, l := range r.lanes {
			if len(byLane[l]) > 0 {
				s.asked++
				l.task.assign(s, byLane[l])
			}
		}
	}
}

func simulate(seed uint64, teeth simTeeth, tell bool) (w *simWorld, err error) {
	defer func() {
		if p := recover(); p != nil {
			buf := make([]byte, 4096)
			err = fmt.Errorf("panic: %v\n%s", p, buf[:runtime.Stack(buf, false)])
		}
	}()
	w = newSimWorld(seed, teeth)
	w.tell = tell
	return w, w.run()
}

// TestSimulation runs the tasks through random interleavings of everything
// that can go wrong: TICKCONNECT_SIM_SEEDS of them. A failing seed replays
// exactly: go test -run TestSimulation -args -sim.seed=N.
func TestSimulation(t *testing.T) {
	if *simSeed != 0 {
		w, err := simulate(*simSeed, simTeeth{}, true)
		t.Log(strings.Join(w.story, "\n"))
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	seeds := uint64(3000)
	if n, err := strconv.ParseUint(os.Getenv("TICKCONNECT_SIM_SEEDS"), 10, 64); err == nil {
		seeds = n
	}
	if n := failingSeeds(t, seeds, simTeeth{}, 3); n > 0 {
		t.Errorf("failing seeds: at least %d of %d", n, seeds)
	}
}

// failingSeeds runs seeds on all cores until some have failed.
func failingSeeds(t *testing.T, seeds uint64, teeth simTeeth, enough int64) int64 {
	var failed, next atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for failed.Load() < enough {
				seed := uint64(next.Add(1))
				if seed > seeds {
					return
				}
				if _, err := simulate(seed, teeth, false); err != nil {
					failed.Add(1)
					t.Logf("seed %d: %v", seed, err)
				}
			}
		}()
	}
	wg.Wait()
	return failed.Load()
}

// TestSimulationHasTeeth breaks the protocol in each way that once lost or
// doubled data and sees the simulation fail.
func TestSimulationHasTeeth(t *testing.T) {
	for name, teeth := range map[string]simTeeth{
		"without the fence":                       {noFence: true},
		"without the seek and without the proofs": {noSeek: true, noProof: true},
		"without the drop of stored records":      {noDrop: true},
		"without the proof of gaps":               {noProof: true},
		"with the log's end as it was claimed":    {staleEnd: true},
	} {
		t.Run(name, func(t *testing.T) {
			if failingSeeds(t, 20_000, teeth, 1) == 0 {
				t.Error("20000 seeds passed although the protocol was broken")
			}
		})
	}
}

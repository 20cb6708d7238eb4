package connecttest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/qicore/tickconnect/connect"
)

const (
	scheduleSteps      = 120
	schedulePartitions = 5
	scheduleSinks      = 3
	scheduleOffsets    = 40 // in each partition's log
)

// fate is what a log holds at an offset.
type fate int

const (
	isGood fate = iota
	isAbsent
	isFiltered
	isBad  // refused by the target, until it was found and made a dead letter
	isDead // a dead letter
	isExpired
)

// logModel is one partition's log, and where the ledger must stand.
type logModel struct {
	tp    connect.TopicPartition
	begin int64
	fates []fate // from begin on
	next  int64
}

func (l *logModel) end() int64 { return l.begin + int64(len(l.fates)) }

// schedule is one run of random steps against a model. All calls are made one
// after the other, so that the model knows each outcome; sinks that run at the
// same time are [testTwoOwnersRace]'s and [testConcurrent]'s.
type schedule struct {
	*fixture
	rng   *rand.Rand
	logs  []*logModel
	sinks []*player
	trace []string
	done  bool
}

// player is a sink and what its task believes.
type player struct {
	*owner
	at map[*logModel]int64
	// shaken says that a fault of the target may have broken its connections.
	shaken bool
}

// calm waits until a shaken player reaches the target again.
func (p *player) calm(s *schedule) {
	s.Helper()
	if p.shaken {
		p.steady(s.logs[0].tp)
		p.shaken = false
	}
}

// shake has every player's next call find out whether its connections are good.
func (s *schedule) shake() {
	for _, p := range s.sinks {
		p.shaken = true
	}
}

// testSchedule: whatever happens to several sinks, in the end the store holds
// each record once and its ledger accounts for each offset (promises 1 to 3).
func testSchedule(f *fixture) {
	for seed := range uint64(f.target.Schedules) {
		if seed > 0 {
			f.fresh()
		}
		s := newSchedule(f, seed+1)
		for range scheduleSteps {
			s.step()
			if f.Failed() {
				s.fail("a check failed")
			}
		}
		s.drain()
	}
}

func newSchedule(f *fixture, seed uint64) *schedule {
	s := &schedule{fixture: f, rng: rand.New(rand.NewPCG(seed, 0))}
	s.note("seed %d", seed)
	f.Cleanup(s.explain)
	for _, tp := range f.tps(schedulePartitions) {
		l := &logModel{tp: tp, begin: s.rng.Int64N(20)}
		l.next = l.begin
		for i := range scheduleOffsets {
			l.fates = append(l.fates, s.fateAt(i))
		}
		s.logs = append(s.logs, l)
	}
	for range scheduleSinks {
		s.sinks = append(s.sinks, s.player())
	}
	return s
}

func (s *schedule) fateAt(i int) fate {
	switch n := s.rng.IntN(20); {
	case i < 3 && n < 10:
		return isExpired
	case n < 2:
		return isAbsent
	case n < 4:
		return isFiltered
	case n < 5:
		return isDead
	case n < 6 && s.target.Bad != nil:
		return isBad
	}
	return isGood
}

func (s *schedule) player() *player {
	return &player{owner: s.sink(), at: map[*logModel]int64{}}
}

// row is what the record at an offset is stored as. Where newer wins, a third of
// the records share four keys in each topic.
func (s *schedule) row(tp connect.TopicPartition, offset int64) Row {
	if !s.target.NewerWins || offset%3 != 0 {
		return s.fixture.row(tp, offset)
	}
	topic := int64(slices.Index(s.target.Topics, tp.Topic))
	return Row{Key: 90_000_000 + topic*10 + offset%4, Content: int64(tp.Partition+1)*1000 + offset}
}

// want are the rows that the store must hold once everything is stored. Records
// of one key have times that grow with their offsets, so that the newest is the
// one with the highest offset, on a tie with the higher partition (promise 5).
func (s *schedule) want() []Row {
	var rows []Row
	type origin struct {
		partition int32
		offset    int64
	}
	newest := map[int64]int{} // index in rows by key
	origins := map[int64]origin{}
	for _, l := range s.logs {
		for i, is := range l.fates {
			if is != isGood {
				continue
			}
			o := l.begin + int64(i)
			row := s.row(l.tp, o)
			n, known := newest[row.Key]
			was := origins[row.Key]
			switch {
			case !known:
				newest[row.Key] = len(rows)
				rows = append(rows, row)
			case o > was.offset || o == was.offset && l.tp.Partition > was.partition:
				rows[n] = row
			default:
				continue
			}
			origins[row.Key] = origin{l.tp.Partition, o}
		}
	}
	return rows
}

// note keeps the trace of the schedule, which a failure prints.
func (s *schedule) note(format string, args ...any) {
	s.trace = append(s.trace, fmt.Sprintf(format, args...))
}

func (s *schedule) fail(format string, args ...any) {
	s.Helper()
	s.Fatalf("schedule with %s: %s", s.trace[0], fmt.Sprintf(format, args...))
}

// explain prints the end of the trace of the schedule that failed.
func (s *schedule) explain() {
	if s.done || !s.Failed() {
		return
	}
	s.Logf("the schedule with %s ended so:", s.trace[0])
	for _, line := range s.trace[max(1, len(s.trace)-25):] {
		s.Log(line)
	}
}

// step does one thing that a task or its surroundings may do.
func (s *schedule) step() {
	s.Helper()
	i := s.rng.IntN(len(s.sinks))
	p := s.sinks[i]
	p.calm(s)
	switch n := s.rng.IntN(100); {
	case n < 12 || len(p.at) == 0:
		s.reopen(i, p)
	case n < 62:
		s.put(i, p, s.ctx(), nil)
	case n < 70: // a zombie, or a log that is read again
		for l, at := range p.at {
			p.at[l] = l.begin + (at-l.begin)/2
		}
		s.note("sink %d goes back to the middle", i)
		s.put(i, p, s.ctx(), nil)
	case n < 76:
		s.release(i, p)
	case n < 80:
		s.note("sink %d is closed and another takes its place", i)
		p.leave()
		s.sinks[i] = s.player()
	case n < 86:
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		s.note("the next Put's context has ended")
		s.put(i, p, ended, context.Canceled)
	case n < 93 && s.store.LoseAnswer != nil:
		s.loseAnswer(i, p)
	case n < 97 && s.store.Break != nil:
		s.outage(i, p)
	default:
		s.positions(i, p, s.all(p))
	}
}

// all are the partitions that a player has open, in order.
func (s *schedule) all(p *player) []*logModel {
	var logs []*logModel
	for _, l := range s.logs {
		if _, open := p.at[l]; open {
			logs = append(logs, l)
		}
	}
	return logs
}

func names(logs []*logModel) []connect.TopicPartition {
	var tps []connect.TopicPartition
	for _, l := range logs {
		tps = append(tps, l.tp)
	}
	return tps
}

// some picks one or more of logs, in their order.
func (s *schedule) some(logs []*logModel) []*logModel {
	var picked []*logModel
	for _, l := range logs {
		if s.rng.IntN(2) == 0 {
			picked = append(picked, l)
		}
	}
	if len(picked) == 0 {
		picked = append(picked, logs[s.rng.IntN(len(logs))])
	}
	return picked
}

func (s *schedule) reopen(i int, p *player) {
	s.Helper()
	logs := s.some(s.logs)
	var claims []connect.Claim
	for _, l := range logs {
		claims = append(claims, s.claim(l.tp, l.begin))
	}
	s.note("sink %d opens %v", i, names(logs))
	at, err := p.Open(s.ctx(), claims)
	if err != nil || len(at) != len(claims) {
		s.fail("Open gave %d positions and %v", len(at), err)
	}
	s.believe(p, logs, at)
}

func (s *schedule) positions(i int, p *player, logs []*logModel) {
	s.Helper()
	s.note("sink %d reads the positions of %v", i, names(logs))
	s.believe(p, logs, p.positions(names(logs)...))
}

func (s *schedule) believe(p *player, logs []*logModel, at []connect.Position) {
	s.Helper()
	for n, l := range logs {
		if at[n].Err != nil || at[n].Next != l.next {
			s.fail("%s stands at %d (%v), want %d", l.tp, at[n].Next, at[n].Err, l.next)
		}
		p.at[l] = l.next
	}
}

func (s *schedule) release(i int, p *player) {
	s.Helper()
	logs := s.some(s.all(p))
	s.note("sink %d releases %v", i, names(logs))
	if err := p.Release(s.ctx(), names(logs)); err != nil {
		s.fail("Release: %v", err)
	}
	for _, l := range logs {
		delete(p.at, l)
	}
}

// part is the log's range as the worker would send it.
func (s *schedule) part(l *logModel, start, next int64) connect.Part {
	s.Helper()
	p := connect.Part{TopicPartition: l.tp, Start: start, Next: next}
	for o := start; o < next; o++ {
		switch l.fates[o-l.begin] {
		case isAbsent:
			p.Absent++
		case isExpired:
			p.Expired++
		case isFiltered:
			p.Records = append(p.Records, filtered(o))
		case isDead:
			p.Records = append(p.Records, s.deadLetter(l.tp, o))
		case isBad:
			p.Records = append(p.Records, s.bad(l.tp, o))
		default:
			p.Records = append(p.Records, s.good(l.tp, o, s.row(l.tp, o)))
		}
	}
	return p
}

// batch takes a share of what a player has open, as far as it believes to be.
func (s *schedule) batch(i int, p *player) (logs []*logModel, parts []connect.Part) {
	s.Helper()
	for _, l := range s.some(s.all(p)) {
		start := p.at[l]
		if start == l.end() {
			continue
		}
		next := start + 1 + s.rng.Int64N(min(6, l.end()-start))
		logs, parts = append(logs, l), append(parts, s.part(l, start, next))
		s.note("sink %d puts %s [%d, %d), the ledger is at %d", i, l.tp, start, next, l.next)
	}
	return logs, parts
}

// put makes one Put and holds it to what the model expects. With an ended
// context it must fail, and all or nothing has happened.
func (s *schedule) put(i int, p *player, ctx context.Context, ended error) {
	s.Helper()
	logs, parts := s.batch(i, p)
	if len(parts) == 0 {
		return
	}
	_, err := p.try(ctx, parts...)
	if ended != nil {
		if err == nil {
			s.fail("Put succeeded with a context that had ended")
		}
		s.settle(p, logs, parts)
		return
	}
	s.outcome(i, p, logs, parts, err)
}

// outcome compares a Put's outcome with the model's.
func (s *schedule) outcome(i int, p *player, logs []*logModel, parts []connect.Part, err error) {
	s.Helper()
	var moved []*logModel
	var bad *logModel
	var badAt int64
	for n, l := range logs {
		if parts[n].Start != l.next {
			moved = append(moved, l)
		}
		for o := parts[n].Start; o < parts[n].Next && bad == nil; o++ {
			if l.fates[o-l.begin] == isBad {
				bad, badAt = l, o
			}
		}
	}
	var fence *connect.FencedError
	switch {
	case len(moved) > 0 && errors.As(err, &fence):
		if !sameSet(fence.Moved, names(moved)) || len(fence.Busy) > 0 {
			s.fail("%v; want moved %v", fence, names(moved))
		}
		s.positions(i, p, moved)
	case bad != nil && err != nil && len(moved) == 0:
		var e *connect.BadDataError
		if !errors.As(err, &e) || connect.IsRetriable(err) {
			s.fail("Put gave %v, want a BadDataError that is not Retriable", err)
		}
		s.note("%s@%d becomes a dead letter", bad.tp, badAt)
		bad.fates[badAt-bad.begin] = isDead
	case bad != nil && err != nil && errors.As(err, new(*connect.BadDataError)):
		// Seen before the fence: the partition is fenced when the rest comes.
	case len(moved) > 0 || bad != nil || err != nil:
		s.fail("Put gave %v; moved are %v, bad data: %t", err, names(moved), bad != nil)
	default:
		for n, l := range logs {
			l.next = parts[n].Next
			p.at[l] = l.next
		}
	}
}

// settle finds out what became of a Put that failed without an answer: all of
// it happened or none.
func (s *schedule) settle(p *player, logs []*logModel, parts []connect.Part) {
	s.Helper()
	at := p.positions(names(logs)...)
	if slices.ContainsFunc(logs, func(l *logModel) bool { return p.at[l] != l.next }) {
		s.believe(p, logs, at) // it was fenced anyway
		return
	}
	stored := at[0].Next == parts[0].Next
	for n, l := range logs {
		want := parts[n].Start
		if stored {
			want = parts[n].Next
		}
		if at[n].Next != want {
			s.fail("half of a Put happened: %s stands at %d, %s at %d", logs[0].tp, at[0].Next, l.tp, at[n].Next)
		}
		l.next, p.at[l] = want, want
	}
}

// loseAnswer has a Put's commit happen and its answer lost.
func (s *schedule) loseAnswer(i int, p *player) {
	s.Helper()
	s.positions(i, p, s.all(p))
	logs, parts := s.batch(i, p)
	for n, l := range logs {
		if slices.Contains(l.fates[parts[n].Start-l.begin:parts[n].Next-l.begin], isBad) {
			return
		}
	}
	if len(parts) == 0 {
		return
	}
	s.note("and its answer is lost")
	s.store.LoseAnswer(s.TB)
	if _, err := p.try(s.ctx(), parts...); !connect.IsRetriable(err) {
		s.fail("a Put whose answer was lost gave %v, want a Retriable error", err)
	}
	for n, l := range logs {
		l.next = parts[n].Next
	}
	s.shake()
	// The player goes on believing what it did: it must be fenced.
}

// outage makes a Put during an outage.
func (s *schedule) outage(i int, p *player) {
	s.Helper()
	logs, parts := s.batch(i, p)
	if len(parts) == 0 {
		return
	}
	s.note("during an outage")
	mend := s.undo(s.store.Break(s.TB))
	_, err := p.try(s.ctx(), parts...)
	mend()
	if !connect.IsRetriable(err) {
		s.fail("Put during an outage gave %v, want a Retriable error", err)
	}
	s.shake()
	p.calm(s)
	s.settle(p, logs, parts)
}

// drain lets one more sink store the rest, and reads the account.
func (s *schedule) drain() {
	s.Helper()
	s.note("the rest is stored")
	p := s.player()
	for _, l := range s.logs {
		for {
			at := p.open(l.begin, l.tp)
			s.believe(p, []*logModel{l}, at)
			if l.next == l.end() {
				break
			}
			next := min(l.next+7, l.end())
			parts := []connect.Part{s.part(l, l.next, next)}
			_, err := p.try(s.ctx(), parts...)
			s.outcome(-1, p, []*logModel{l}, parts, err)
		}
	}
	ledger := map[connect.TopicPartition]connect.Counts{}
	for _, l := range s.logs {
		var c connect.Counts
		for _, is := range l.fates {
			switch is {
			case isAbsent:
				c.Absent++
			case isExpired:
				c.Expired++
			case isFiltered:
				c.Filtered++
			case isDead:
				c.DeadLettered++
			default:
				c.Written++
			}
		}
		ledger[l.tp] = c
	}
	s.wantRows(s.want())
	s.wantLedger(ledger)
	if s.Failed() {
		s.fail("the account is wrong")
	}
	s.done = true
}

// testScheduleAtLeastOnce: sinks that fail, come again and repeat themselves
// lose nothing, where the offsets are the group's.
func testScheduleAtLeastOnce(f *fixture) {
	if !f.target.NoOffsets {
		f.Skip("the sinks store offsets: RandomSchedule asks more of them")
	}
	for seed := range uint64(f.target.Schedules) {
		if seed > 0 {
			f.fresh()
		}
		s := newSchedule(f, seed+1)
		for range scheduleSteps {
			s.stepAtLeastOnce()
		}
		s.drainAtLeastOnce()
	}
}

func (s *schedule) stepAtLeastOnce() {
	s.Helper()
	i := s.rng.IntN(len(s.sinks))
	p := s.sinks[i]
	switch n := s.rng.IntN(20); {
	case n < 2 || len(p.at) == 0:
		logs := s.some(s.logs)
		p.open(0, names(logs)...)
		for _, l := range logs {
			p.at[l] = l.next // the group's committed offset
		}
	case n < 3:
		s.release(i, p)
	case n < 5 && s.store.Break != nil:
		_, parts := s.batch(i, p)
		mend := s.undo(s.store.Break(s.TB))
		_, err := p.try(s.ctx(), parts...)
		mend()
		// A batch without a row need not reach a target that stores no offsets.
		if !connect.IsRetriable(err) && (err != nil || holdsRows(parts)) {
			s.fail("Put during an outage gave %v, want a Retriable error", err)
		}
	default:
		s.putAtLeastOnce(i, p)
	}
}

func holdsRows(parts []connect.Part) bool {
	for i := range parts {
		for j := range parts[i].Records {
			if r := &parts[i].Records[j]; r.Err == nil && !r.Filtered {
				return true
			}
		}
	}
	return false
}

func (s *schedule) putAtLeastOnce(i int, p *player) {
	s.Helper()
	logs, parts := s.batch(i, p)
	if len(parts) == 0 {
		return
	}
	_, err := p.try(s.ctx(), parts...)
	var bad *connect.BadDataError
	switch {
	case err == nil:
		for n, l := range logs {
			p.at[l] = parts[n].Next
			l.next = max(l.next, p.at[l])
		}
	case errors.As(err, &bad):
		if !s.bury(logs, parts) {
			s.fail("no record was bad, and Put gave %v", err)
		}
	case !connect.IsRetriable(err):
		s.fail("Put gave %v", err)
	}
}

// bury makes dead letters of the bad records of a batch.
func (s *schedule) bury(logs []*logModel, parts []connect.Part) bool {
	found := false
	for n, l := range logs {
		for o := parts[n].Start; o < parts[n].Next; o++ {
			if l.fates[o-l.begin] == isBad {
				l.fates[o-l.begin] = isDead
				found = true
			}
		}
	}
	return found
}

func (s *schedule) drainAtLeastOnce() {
	s.Helper()
	p, ctx := s.player(), s.ctx()
	for _, l := range s.logs {
		p.open(0, l.tp)
		for p.at[l] = l.next; p.at[l] < l.end(); {
			next := min(p.at[l]+7, l.end())
			parts := []connect.Part{s.part(l, p.at[l], next)}
			_, err := p.try(ctx, parts...)
			switch {
			case err == nil:
				p.at[l] = next
			case connect.IsRetriable(err) && pause(ctx) == nil:
			case !s.bury([]*logModel{l}, parts):
				s.fail("Put gave %v", err)
			}
		}
	}
	s.wantRows(s.want())
	s.done = true
}

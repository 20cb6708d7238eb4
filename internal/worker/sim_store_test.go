package worker

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"

	"github.com/qicore/tickconnect/connect"
)

// simKind is what the simulated log holds at an offset.
type simKind byte

const (
	simGood      simKind = iota
	simPoison            // cannot be prepared
	simRefused           // the target refuses it
	simTombstone         // filtered
	simAbsent            // no record: compacted, aborted, control
)

// simLog is one partition: what it holds at each offset, and its ends.
type simLog struct {
	start int64
	kinds []simKind // by offset, from 0
}

func (l *simLog) end() int64 { return int64(len(l.kinds)) }

func (l *simLog) record(o int64, exact bool) connect.Record {
	r := connect.Record{Offset: o, Timestamp: o}
	if exact {
		r.Value = []byte("exact")
	}
	switch l.kinds[o] {
	case simPoison:
		r.Err = &connect.RecordError{Stage: connect.StageValueConverter, Reason: "poison", Message: "poison"}
	case simTombstone:
		r.Filtered = true
	case simGood, simRefused:
		r.Row = []byte("row")
	case simAbsent:
		panic("no record there")
	}
	return r
}

// simRow is a partition's row in the simulated ledger.
type simRow struct {
	start, next int64
	counts      connect.Counts
}

type simKey struct {
	gen int
	tp  connect.TopicPartition
	off int64
}

// simState is what a backup of the database would hold.
type simState struct {
	gen    int
	ledger map[int]map[connect.TopicPartition]simRow
	tape   map[simKey]int // how often each record was stored: 1, if all is well
	dead   map[simKey]connect.Record
}

func (s simState) clone() simState {
	c := simState{gen: s.gen, ledger: map[int]map[connect.TopicPartition]simRow{}, tape: maps.Clone(s.tape), dead: maps.Clone(s.dead)}
	for g, rows := range s.ledger {
		c.ledger[g] = maps.Clone(rows)
	}
	return c
}

// simStore is a transactional store: rows and ledger in one step.
type simStore struct {
	simState
	logs    map[connect.TopicPartition]*simLog
	rand    *rand.Rand // nil: no ledger row is ever busy
	down    bool
	broken  map[connect.TopicPartition]bool // the operator must act
	noFence bool                            // a tooth: store whatever comes
}

func newSimStore(logs map[connect.TopicPartition]*simLog, rnd *rand.Rand) *simStore {
	return &simStore{
		simState: simState{
			ledger: map[int]map[connect.TopicPartition]simRow{0: {}},
			tape:   map[simKey]int{}, dead: map[simKey]connect.Record{},
		},
		logs: logs, rand: rnd, broken: map[connect.TopicPartition]bool{},
	}
}

var (
	errSimDown   = connect.Retriable(errors.New("the database is away"))
	errSimLost   = connect.Retriable(errors.New("the commit's answer is lost"))
	errSimBroken = errors.New("permission denied")
)

func (s *simStore) open(claims []connect.Claim) ([]connect.Position, error) {
	if s.down {
		return nil, errSimDown
	}
	out := make([]connect.Position, len(claims))
	for i, c := range claims {
		row, ok := s.ledger[s.gen][c.TopicPartition]
		if !ok {
			row = simRow{start: c.Begin, next: c.Begin}
			s.ledger[s.gen][c.TopicPartition] = row
		}
		out[i] = connect.Position{Next: row.next, LastOffset: -1, LastTimestamp: -1}
	}
	return out, nil
}

func (s *simStore) positions(tps []connect.TopicPartition) ([]connect.Position, error) {
	if s.down {
		return nil, errSimDown
	}
	out := make([]connect.Position, len(tps))
	for i, tp := range tps {
		out[i] = connect.Position{Next: connect.NoOffset}
		if row, ok := s.ledger[s.gen][tp]; ok {
			out[i].Next = row.next
		}
	}
	return out, nil
}

func (s *simStore) put(gen int, b *connect.Batch) (connect.Result, error) {
	if s.down {
		return connect.Result{}, errSimDown
	}
	var fence connect.FencedError
	for i := range b.Parts {
		p := &b.Parts[i]
		if err := p.Check(); err != nil {
			return connect.Result{}, err
		}
		row, ok := s.ledger[s.gen][p.TopicPartition]
		if !s.noFence && (gen != s.gen || !ok || row.next != p.Start) {
			fence.Moved = append(fence.Moved, p.TopicPartition)
		} else if s.rand != nil && s.rand.IntN(40) == 0 {
			fence.Busy = append(fence.Busy, p.TopicPartition)
		}
	}
	if len(fence.Moved)+len(fence.Busy) > 0 {
		return connect.Result{}, &fence
	}
	for i := range b.Parts {
		p := &b.Parts[i]
		if s.broken[p.TopicPartition] {
			return connect.Result{}, errSimBroken
		}
		for _, r := range p.Records {
			if r.Err == nil && s.logs[p.TopicPartition].kinds[r.Offset] == simRefused {
				e := &connect.BadDataError{Record: connect.RecordError{Stage: connect.StageTaskPut, Reason: "refused", Message: "refused"}, Offset: -1}
				if s.rand == nil || s.rand.IntN(2) == 0 {
					e.At, e.Offset = p.TopicPartition, r.Offset
				}
				return connect.Result{}, e
			}
		}
	}
	var res connect.Result
	for i := range b.Parts {
		p := &b.Parts[i]
		c := connect.Counts{Absent: p.Absent, Expired: p.Expired}
		for _, r := range p.Records {
			k := simKey{s.gen, p.TopicPartition, r.Offset}
			switch {
			case r.Err != nil:
				c.DeadLettered++
				s.dead[k] = r
			case r.Filtered:
				c.Filtered++
			default:
				c.Written++
				s.tape[k]++
			}
		}
		row := s.ledger[s.gen][p.TopicPartition]
		row.next = p.Next
		row.counts = row.counts.Plus(c)
		s.ledger[s.gen][p.TopicPartition] = row
		res.Counts = append(res.Counts, c)
	}
	return res, nil
}

// reset closes the live generation and opens the next, in one step.
func (s *simStore) reset(tp connect.TopicPartition, next int64) {
	rows := map[connect.TopicPartition]simRow{}
	for p, r := range s.ledger[s.gen] {
		rows[p] = simRow{start: r.next, next: r.next}
	}
	rows[tp] = simRow{start: next, next: next}
	s.gen++
	s.ledger[s.gen] = rows
}

// check says which promise the store's content breaks.
func (s *simStore) check() error {
	for gen, rows := range s.ledger {
		for tp, row := range rows {
			if got := row.counts.Offsets(); got != row.next-row.start {
				return fmt.Errorf("generation %d of %s accounts for %d offsets of [%d, %d)", gen, tp, got, row.start, row.next)
			}
			l := s.logs[tp]
			var want connect.Counts
			for o := row.start; o < row.next; o++ {
				k := simKey{gen, tp, o}
				n := s.tape[k]
				dead, isDead := s.dead[k]
				switch l.kinds[o] {
				case simGood:
					if n == 0 && !isDead && o < l.start {
						want.Expired++
						continue
					}
					if n != 1 || isDead {
						return fmt.Errorf("%s@%d of generation %d: stored %d times, dead-lettered: %v", tp, o, gen, n, isDead)
					}
					want.Written++
				case simPoison, simRefused:
					if n == 0 && !isDead && o < l.start {
						want.Expired++
						continue
					}
					if n != 0 || !isDead {
						return fmt.Errorf("%s@%d of generation %d is bad: stored %d times, dead-lettered: %v", tp, o, gen, n, isDead)
					}
					if string(dead.Value) != "exact" && o >= l.start {
						return fmt.Errorf("%s@%d: the dead letter does not have the log's bytes", tp, o)
					}
					want.DeadLettered++
				case simTombstone, simAbsent:
					if n != 0 || isDead {
						return fmt.Errorf("%s@%d was stored", tp, o)
					}
				}
			}
			if row.counts.Written != want.Written || row.counts.DeadLettered != want.DeadLettered {
				return fmt.Errorf("%s of generation %d counts %+v, the tables hold %+v", tp, gen, row.counts, want)
			}
		}
	}
	return nil
}

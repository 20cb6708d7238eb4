package connecttest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/qicore/tickconnect/connect"
)

// Memory is a transactional store in memory with an offset ledger: what a
// database is to a sink. It keeps promises 1, 2, 3 and 5, and fails on demand.
// It is safe for concurrent use; connectors of one name share a ledger.
type Memory struct {
	cfg MemoryConfig

	mu     sync.Mutex
	state  memoryState
	held   map[connect.TopicPartition]bool
	faults func(call Call, b *connect.Batch) Fault
	down   bool
	stall  chan struct{} // nil where the store answers
	misuse []string
}

// MemoryConfig says what kind of store a Memory is. The zero value is a tape:
// each record is a row of its own, so that a double shows.
type MemoryConfig struct {
	// Upsert keeps one row for each record key, the newest's (promise 5).
	Upsert bool
	// NoOffsets makes sinks without an offset store.
	NoOffsets bool
	// Prepare makes the connectors Preparers.
	Prepare bool
	// Invalid says why Prepare refuses a record; nil refuses none.
	Invalid func(topic string, r *connect.Record) *connect.RecordError
	// Bad says why Put refuses a row; nil refuses none.
	Bad func(row MemoryRow) *connect.RecordError
}

// MemoryRow is a stored record with its origin.
type MemoryRow struct {
	connect.TopicPartition
	Offset, Timestamp int64
	Key, Value        string
}

// newer says whether r wins over o, a row of the same key (promise 5).
func (r MemoryRow) newer(o MemoryRow) bool {
	if r.TopicPartition == o.TopicPartition {
		return r.Offset > o.Offset
	}
	return cmp.Or(cmp.Compare(r.Timestamp, o.Timestamp), r.Compare(o.TopicPartition)) > 0
}

// MemoryLedger is a partition's row in the ledger of the live generation.
type MemoryLedger struct {
	TopicID                   connect.TopicID // zero until a claim tells it
	Start, Next               int64
	LastOffset, LastTimestamp int64
	Counts                    connect.Counts
}

// Call is a method of a sink.
type Call string

// The calls that a Fault can befall.
const (
	CallOpen      Call = "Open"
	CallPut       Call = "Put"
	CallPositions Call = "Positions"
	CallRelease   Call = "Release"
)

// Fault is what befalls one call. The zero value is none.
type Fault struct {
	// Wait, where set, holds the call until it is closed or the context ends; in
	// the latter case nothing happens.
	Wait <-chan struct{}
	// Before, where set, fails the call before anything happened.
	Before error
	// After, where set, fails the call after it has done its work: the caller
	// cannot know.
	After error
}

type memoryLetter struct {
	connect.DeadLetter
	connector string
	published bool
}

// memoryState is all that a backup holds.
type memoryState struct {
	tape    []MemoryRow
	rows    map[string]MemoryRow // by key, where Upsert is set
	ledgers map[string]*memoryGeneration
	letters []memoryLetter
}

// memoryGeneration is a connector's live generation. A reset makes the next
// number, so that what was claimed before it is fenced.
type memoryGeneration struct {
	number int
	ledger map[connect.TopicPartition]MemoryLedger
}

func (s *memoryState) clone() memoryState {
	c := memoryState{
		tape: slices.Clone(s.tape), rows: maps.Clone(s.rows),
		ledgers: map[string]*memoryGeneration{}, letters: slices.Clone(s.letters),
	}
	for name, g := range s.ledgers {
		c.ledgers[name] = &memoryGeneration{number: g.number, ledger: maps.Clone(g.ledger)}
	}
	return c
}

// NewMemory makes an empty store.
func NewMemory(cfg MemoryConfig) *Memory {
	return &Memory{
		cfg:   cfg,
		state: memoryState{rows: map[string]MemoryRow{}, ledgers: map[string]*memoryGeneration{}},
		held:  map[connect.TopicPartition]bool{},
	}
}

// generation gives a connector's live generation, made where there is none.
// The caller holds the lock.
func (m *Memory) generation(connector string) *memoryGeneration {
	g := m.state.ledgers[connector]
	if g == nil {
		g = &memoryGeneration{ledger: map[connect.TopicPartition]MemoryLedger{}}
		m.state.ledgers[connector] = g
	}
	return g
}

// Rows gives every stored row, ordered by origin.
func (m *Memory) Rows() []MemoryRow {
	m.mu.Lock()
	defer m.mu.Unlock()
	rows := slices.AppendSeq(slices.Clone(m.state.tape), maps.Values(m.state.rows))
	slices.SortStableFunc(rows, func(a, b MemoryRow) int {
		return cmp.Or(a.Compare(b.TopicPartition), cmp.Compare(a.Offset, b.Offset))
	})
	return rows
}

// Ledger gives the rows of a connector's live generation.
func (m *Memory) Ledger(connector string) map[connect.TopicPartition]MemoryLedger {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.generation(connector).ledger)
}

// DeadLetters gives the dead letters of all connectors as they were stored.
func (m *Memory) DeadLetters() []connect.DeadLetter {
	m.mu.Lock()
	defer m.mu.Unlock()
	var letters []connect.DeadLetter
	for _, l := range m.state.letters {
		letters = append(letters, l.DeadLetter)
	}
	return letters
}

// Misuse gives what callers did that the words of [connect.Sink] forbid: two
// calls of one sink at once, a call after Close, a batch whose parts do not add
// up or are out of order.
func (m *Memory) Misuse() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.misuse)
}

func (m *Memory) misused(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.misuse = append(m.misuse, err.Error())
	return err
}

// SetFaults has f asked before each call of each sink what befalls it; b is nil
// for any but Put. f is called concurrently. nil ends all faults.
func (m *Memory) SetFaults(f func(call Call, b *connect.Batch) Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = f
}

// SetOutage starts or ends an outage: each call fails, Retriable.
func (m *Memory) SetOutage(down bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = down
}

// Stall holds each call until free is called or the call's context ends.
func (m *Memory) Stall() (free func()) {
	stall := make(chan struct{})
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stall = stall
	return sync.OnceFunc(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.stall == stall {
			m.stall = nil
		}
		close(stall)
	})
}

// Hold has another transaction hold a partition's ledger row until free is called.
func (m *Memory) Hold(tp connect.TopicPartition) (free func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held[tp] = true
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.held, tp)
	}
}

// Reset closes a connector's live generation and opens the next one, with the
// given offsets and no others. The rows stay.
func (m *Memory) Reset(connector string, next map[connect.TopicPartition]int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g := &memoryGeneration{
		number: m.generation(connector).number + 1,
		ledger: map[connect.TopicPartition]MemoryLedger{},
	}
	for tp, n := range next {
		g.ledger[tp] = newLedger(n)
	}
	m.state.ledgers[connector] = g
}

func newLedger(begin int64) MemoryLedger {
	return MemoryLedger{Start: begin, Next: begin, LastOffset: -1, LastTimestamp: -1}
}

// Snapshot takes a backup of rows, ledgers and dead letters; restore brings it
// back, as often as it is called.
func (m *Memory) Snapshot() (restore func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	backup := m.state.clone()
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.state = backup.clone()
	}
}

// commit is one transaction: the fence, then everything or nothing.
func (m *Memory) commit(connector string, claimed map[connect.TopicPartition]int, b *connect.Batch) (connect.Result, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.cfg.NoOffsets {
		if err := m.fence(connector, claimed, b); err != nil {
			return connect.Result{}, err
		}
	}
	parts := make([][]MemoryRow, len(b.Parts))
	for i := range b.Parts {
		rows, err := m.decode(&b.Parts[i])
		if err != nil {
			return connect.Result{}, err
		}
		parts[i] = rows
	}
	// From here nothing fails.
	res := connect.Result{Counts: m.count(b)}
	m.store(parts, res.Counts)
	g := m.generation(connector)
	for i := range b.Parts {
		p := &b.Parts[i]
		for j := range p.Records {
			if r := p.Records[j]; r.Err != nil {
				letter := connect.DeadLetter{TopicPartition: p.TopicPartition, Record: r}
				m.state.letters = append(m.state.letters, memoryLetter{DeadLetter: letter, connector: connector})
			}
		}
		if m.cfg.NoOffsets {
			continue
		}
		l := g.ledger[p.TopicPartition]
		l.Next, l.Counts = p.Next, l.Counts.Plus(res.Counts[i])
		if n := len(p.Records); n > 0 {
			l.LastOffset, l.LastTimestamp = p.Records[n-1].Offset, p.Records[n-1].Timestamp
		}
		g.ledger[p.TopicPartition] = l
	}
	return res, nil
}

// fence compares the ledger with what the task expects (promise 2).
func (m *Memory) fence(connector string, claimed map[connect.TopicPartition]int, b *connect.Batch) error {
	g := m.generation(connector)
	var fence connect.FencedError
	for i := range b.Parts {
		tp := b.Parts[i].TopicPartition
		l, known := g.ledger[tp]
		number, open := claimed[tp]
		switch {
		case m.held[tp]:
			fence.Busy = append(fence.Busy, tp)
		case !known || !open || number != g.number || l.Next != b.Parts[i].Start:
			fence.Moved = append(fence.Moved, tp)
		}
	}
	if len(fence.Moved)+len(fence.Busy) > 0 {
		return &fence
	}
	return nil
}

// decode makes the rows of a part's good records.
func (m *Memory) decode(p *connect.Part) ([]MemoryRow, error) {
	var rows []MemoryRow
	for i := range p.Records {
		r := &p.Records[i]
		if r.Err != nil || r.Filtered {
			continue
		}
		row := MemoryRow{
			TopicPartition: p.TopicPartition, Offset: r.Offset, Timestamp: r.Timestamp,
			Key: string(r.Key), Value: string(r.Value),
		}
		if m.cfg.Prepare {
			var err error
			if row.Key, row.Value, err = decodeRow(r.Row); err != nil {
				return nil, fmt.Errorf("%s@%d: %w", p.TopicPartition, r.Offset, err)
			}
		}
		if m.cfg.Bad != nil {
			if bad := m.cfg.Bad(row); bad != nil {
				return nil, &connect.BadDataError{Record: *bad, At: p.TopicPartition, Offset: r.Offset}
			}
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// count gives the fates that do not depend on what the store holds.
func (m *Memory) count(b *connect.Batch) []connect.Counts {
	counts := make([]connect.Counts, len(b.Parts))
	for i := range b.Parts {
		p, c := &b.Parts[i], &counts[i]
		c.Absent, c.Expired = p.Absent, p.Expired
		for j := range p.Records {
			switch {
			case p.Records[j].Err != nil:
				c.DeadLettered++
			case p.Records[j].Filtered:
				c.Filtered++
			}
		}
	}
	return counts
}

// store writes the rows and counts what became of each.
func (m *Memory) store(parts [][]MemoryRow, counts []connect.Counts) {
	if !m.cfg.Upsert {
		for i, rows := range parts {
			counts[i].Written += int64(len(rows))
			counts[i].Inserted += int64(len(rows))
			m.state.tape = append(m.state.tape, rows...)
		}
		return
	}
	newest := map[string]MemoryRow{} // of the batch
	for _, rows := range parts {
		for _, r := range rows {
			if o, ok := newest[r.Key]; !ok || r.newer(o) {
				newest[r.Key] = r
			}
		}
	}
	for i, rows := range parts {
		for _, r := range rows {
			old, exists := m.state.rows[r.Key]
			same := exists && old.TopicPartition == r.TopicPartition && old.Offset == r.Offset
			switch {
			case newest[r.Key] != r:
				counts[i].Merged++
				continue
			case exists && old == r:
				counts[i].Unchanged++
				continue
			case exists && !same && !r.newer(old):
				counts[i].Stale++
				continue
			case !exists:
				counts[i].Inserted++
			}
			counts[i].Written++
			m.state.rows[r.Key] = r
		}
	}
}

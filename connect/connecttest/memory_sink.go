package connecttest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/qicore/tickconnect/connect"
)

// Connector makes a connector on the store, as a replica does. It is also a
// connect.Preparer where MemoryConfig.Prepare is set, and a connect.Initializer
// and connect.DeadLetterOutbox unless NoOffsets is.
func (m *Memory) Connector(name string) connect.Connector {
	base := memoryConnector{m: m, name: name}
	ledger := memoryLedgerConnector{base}
	prepare := memoryPreparer{m}
	switch {
	case m.cfg.NoOffsets && m.cfg.Prepare:
		return struct {
			memoryConnector
			memoryPreparer
		}{base, prepare}
	case m.cfg.NoOffsets:
		return base
	case m.cfg.Prepare:
		return struct {
			memoryLedgerConnector
			memoryPreparer
		}{ledger, prepare}
	}
	return ledger
}

type memoryConnector struct {
	m    *Memory
	name string
}

func (c memoryConnector) NewSink(int) (connect.Sink, error) {
	s := &memorySink{m: c.m, connector: c.name, claimed: map[connect.TopicPartition]int{}}
	if c.m.cfg.NoOffsets {
		return s, nil
	}
	return &memoryLedgerSink{s}, nil
}

func (c memoryConnector) Delivery() connect.Delivery {
	if c.m.cfg.NoOffsets {
		return connect.Delivery{Why: "the store keeps no offsets"}
	}
	return connect.Delivery{ExactlyOnce: true, Why: "rows and offsets change under one lock"}
}

func (c memoryConnector) Close() error { return nil }

type memoryLedgerConnector struct{ memoryConnector }

// Init makes the first generation; created says that it was not there.
func (c memoryLedgerConnector) Init(ctx context.Context, claims []connect.Claim) (bool, error) {
	if err := c.m.reach(ctx, "Init"); err != nil {
		return false, err
	}
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	if c.m.state.ledgers[c.name] != nil {
		return false, nil
	}
	g := c.m.generation(c.name)
	for _, claim := range claims {
		l := newLedger(claim.Begin)
		l.TopicID = claim.TopicID
		g.ledger[claim.TopicPartition] = l
	}
	return true, nil
}

func (c memoryLedgerConnector) PublishDeadLetters(ctx context.Context, limit int, publish func([]connect.DeadLetter) error) (int, error) {
	if err := c.m.reach(ctx, "PublishDeadLetters"); err != nil {
		return 0, err
	}
	type place struct {
		connect.TopicPartition
		offset int64
	}
	var letters []connect.DeadLetter
	handed := map[place]bool{}
	c.m.mu.Lock()
	for _, l := range c.m.state.letters {
		if l.connector == c.name && !l.published && len(letters) < limit {
			letters = append(letters, l.DeadLetter)
			handed[place{l.TopicPartition, l.Offset}] = true
		}
	}
	c.m.mu.Unlock()
	if len(letters) == 0 {
		return 0, nil
	}
	if err := publish(letters); err != nil {
		return 0, err
	}
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	for i := range c.m.state.letters {
		if l := &c.m.state.letters[i]; l.connector == c.name && handed[place{l.TopicPartition, l.Offset}] {
			l.published = true
		}
	}
	return len(letters), nil
}

type memoryPreparer struct{ m *Memory }

// Prepare appends the key's length, the key and the value. A nil value is filtered.
func (p memoryPreparer) Prepare(dst []byte, topic string, _ int32, r *connect.Record) ([]byte, error) {
	if r.Value == nil {
		return dst, connect.ErrFiltered
	}
	if p.m.cfg.Invalid != nil {
		if err := p.m.cfg.Invalid(topic, r); err != nil {
			return dst, err
		}
	}
	dst = binary.AppendUvarint(dst, uint64(len(r.Key)))
	dst = append(dst, r.Key...)
	return append(dst, r.Value...), nil
}

func decodeRow(row []byte) (key, value string, err error) {
	n, size := binary.Uvarint(row)
	if size <= 0 || uint64(len(row)-size) < n {
		return "", "", errors.New("not a row that Prepare made")
	}
	row = row[size:]
	return string(row[:n]), string(row[n:]), nil
}

// reach is the way to the store: it takes as long as a stall, and fails in an
// outage and when ctx has ended.
func (m *Memory) reach(ctx context.Context, what string) error {
	m.mu.Lock()
	stall := m.stall
	m.mu.Unlock()
	if stall != nil {
		select {
		case <-stall:
		case <-ctx.Done():
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return connect.Retriable(fmt.Errorf("%s: the store is away", what))
	}
	if err := ctx.Err(); err != nil {
		return connect.Retriable(fmt.Errorf("%s: %w", what, err))
	}
	return nil
}

// memorySink is a task's sink. claimed holds the generation in which it owns
// each partition.
type memorySink struct {
	m         *Memory
	connector string
	claimed   map[connect.TopicPartition]int
	busy      atomic.Bool
	closed    bool
}

// call does the work of one method, with the faults that befall it.
func (s *memorySink) call(ctx context.Context, c Call, b *connect.Batch, work func() error) error {
	if !s.busy.CompareAndSwap(false, true) {
		return s.m.misused("%s while another call of the same sink runs", c)
	}
	defer s.busy.Store(false)
	if s.closed {
		return s.m.misused("%s after Close", c)
	}
	s.m.mu.Lock()
	faults := s.m.faults
	s.m.mu.Unlock()
	var fault Fault
	if faults != nil {
		fault = faults(c, b)
	}
	if fault.Wait != nil {
		select {
		case <-fault.Wait:
		case <-ctx.Done():
		}
	}
	if err := s.m.reach(ctx, string(c)); err != nil {
		return err
	}
	if fault.Before != nil {
		return fault.Before
	}
	if err := work(); err != nil {
		return err
	}
	return fault.After
}

func (s *memorySink) Open(ctx context.Context, claims []connect.Claim) ([]connect.Position, error) {
	at := make([]connect.Position, len(claims))
	err := s.call(ctx, CallOpen, nil, func() error {
		s.m.mu.Lock()
		defer s.m.mu.Unlock()
		g := s.m.generation(s.connector)
		for i, c := range claims {
			if s.m.cfg.NoOffsets {
				at[i] = nowhere()
				continue
			}
			l, known := g.ledger[c.TopicPartition]
			if !known {
				l = newLedger(c.Begin)
			}
			if l.TopicID == (connect.TopicID{}) {
				l.TopicID = c.TopicID
			}
			g.ledger[c.TopicPartition] = l
			at[i] = l.position()
			if at[i].Err = l.refusal(c); at[i].Err == nil {
				s.claimed[c.TopicPartition] = g.number
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return at, nil
}

// refusal says why the log of a claim is not the one that the ledger knows.
func (l MemoryLedger) refusal(c connect.Claim) error {
	if c.TopicID == (connect.TopicID{}) || c.TopicID == l.TopicID {
		return nil
	}
	return &connect.RefusedError{
		At:     c.TopicPartition,
		Reason: fmt.Sprintf("the topic was made again: its ID is %s, the ledger's %s", c.TopicID, l.TopicID),
		Advice: "reset the connector's offsets",
	}
}

func (s *memorySink) Put(ctx context.Context, b *connect.Batch) (connect.Result, error) {
	var res connect.Result
	err := s.call(ctx, CallPut, b, func() (err error) {
		if err := s.m.check(b); err != nil {
			return err
		}
		res, err = s.m.commit(s.connector, s.claimed, b)
		return err
	})
	if err != nil {
		return connect.Result{}, err
	}
	return res, nil
}

// check refuses a batch that the words of [connect.Batch] do not allow.
func (m *Memory) check(b *connect.Batch) error {
	for i := range b.Parts {
		if err := b.Parts[i].Check(); err != nil {
			return m.misused("%w", err)
		}
		if i > 0 && b.Parts[i-1].Compare(b.Parts[i].TopicPartition) >= 0 {
			return m.misused("%s comes after %s in a batch", b.Parts[i].TopicPartition, b.Parts[i-1].TopicPartition)
		}
	}
	return nil
}

func (s *memorySink) Release(ctx context.Context, tps []connect.TopicPartition) error {
	return s.call(ctx, CallRelease, nil, func() error {
		for _, tp := range tps {
			delete(s.claimed, tp)
		}
		return nil
	})
}

func (s *memorySink) Close() error {
	if !s.busy.CompareAndSwap(false, true) {
		return s.m.misused("Close while another call of the same sink runs")
	}
	defer s.busy.Store(false)
	s.closed = true
	return nil
}

// memoryLedgerSink is a sink that stores offsets.
type memoryLedgerSink struct{ *memorySink }

// Positions follows a reset: a partition that is in the generation which is
// live now is owned in that one.
func (s *memoryLedgerSink) Positions(ctx context.Context, tps []connect.TopicPartition) ([]connect.Position, error) {
	at := make([]connect.Position, len(tps))
	err := s.call(ctx, CallPositions, nil, func() error {
		s.m.mu.Lock()
		defer s.m.mu.Unlock()
		g := s.m.generation(s.connector)
		for i, tp := range tps {
			l, known := g.ledger[tp]
			if !known {
				at[i] = nowhere()
				continue
			}
			if _, open := s.claimed[tp]; open {
				s.claimed[tp] = g.number
			}
			at[i] = l.position()
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return at, nil
}

func (l MemoryLedger) position() connect.Position {
	return connect.Position{
		Next: l.Next, LastOffset: l.LastOffset, LastTimestamp: l.LastTimestamp,
		Unaccounted: l.Next - l.Start - l.Counts.Offsets(),
	}
}

func nowhere() connect.Position {
	return connect.Position{Next: connect.NoOffset, LastOffset: -1, LastTimestamp: -1}
}

// FailPuts makes faults that befall the next n Puts and no other call.
func FailPuts(n int, fault Fault) func(Call, *connect.Batch) Fault {
	var left atomic.Int64
	left.Store(int64(n))
	return func(c Call, _ *connect.Batch) Fault {
		if c != CallPut || left.Add(-1) < 0 {
			return Fault{}
		}
		return fault
	}
}

var (
	_ connect.OffsetStore      = (*memoryLedgerSink)(nil)
	_ connect.Initializer      = memoryLedgerConnector{}
	_ connect.DeadLetterOutbox = memoryLedgerConnector{}
	_ connect.Preparer         = memoryPreparer{}
)

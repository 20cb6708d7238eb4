package timescalesink

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/marketdata"
)

// plan is a batch as one transaction will store it.
type plan struct {
	batch *connect.Batch
	// counts are the fates, by part, that are known before the database is asked.
	counts []connect.Counts
	// several are the records that gave more rows than one.
	several []*several
	// rows are by table, in the fixed order of tables: one row for each key, in the
	// order of keys; a tape's in the order of the batch.
	rows [marketdata.KindCount][]*row
	dead []deadRecord
}

// deadRecord is a dead letter of the batch.
type deadRecord struct {
	part   int
	record *connect.Record
}

// makePlan sorts a batch's records by what is to be done with them. Where two
// have one key the newer one stays (promise 5) and the other counts as merged in
// its own partition.
func (s *Sink) makePlan(b *connect.Batch) (*plan, error) {
	p := &plan{batch: b, counts: make([]connect.Counts, len(b.Parts))}
	var moved []connect.TopicPartition
	for i := range b.Parts {
		if open, ok := s.open[b.Parts[i].TopicPartition]; !ok || open.stale {
			moved = append(moved, b.Parts[i].TopicPartition)
		}
	}
	if len(moved) > 0 {
		return nil, &connect.FencedError{Moved: moved}
	}
	s.arena = slices.Grow(s.arena, b.Records())
	for i := range b.Parts {
		part := &b.Parts[i]
		if err := part.Check(); err != nil {
			return nil, err
		}
		topicID := s.open[part.TopicPartition].topicID
		p.counts[i].Absent, p.counts[i].Expired = part.Absent, part.Expired
		for j := range part.Records {
			r := &part.Records[j]
			switch {
			case r.Err != nil:
				p.counts[i].DeadLettered++
				p.dead = append(p.dead, deadRecord{i, r})
			case r.Filtered:
				p.counts[i].Filtered++
			default:
				if err := s.planRecord(p, i, topicID, r); err != nil {
					return nil, fmt.Errorf("%s@%d: %w", part.TopicPartition, r.Offset, err)
				}
			}
		}
	}
	for t := range p.rows {
		if !s.connector.cfg.isTape(tables[t]) {
			p.rows[t] = p.reduce(p.rows[t])
		}
	}
	return p, nil
}

var errForeignRow = errors.New("the record's row is none of this sink, or it was not prepared")

// planRecord takes in the rows of a good record.
func (s *Sink) planRecord(p *plan, part int, topicID int32, r *connect.Record) error {
	tp := p.batch.Parts[part].TopicPartition
	var together *several
	for rest, index := r.Row, int32(0); ; index++ {
		kind, parsed, behind, ok := parseRow(rest)
		if !ok || kind < marketdata.KindPrice || int(kind) > len(tables) {
			return errForeignRow
		}
		if len(behind) > 0 && together == nil {
			together = &several{part: part}
			p.several = append(p.several, together)
		}
		parsed.several, parsed.part = together, part
		parsed.topicID, parsed.partition, parsed.index = topicID, tp.Partition, index
		parsed.offset, parsed.millis = r.Offset, storedMillis(r.Timestamp)
		if len(s.arena) == cap(s.arena) { // rows that are in the old one stay where they are
			s.arena = make([]row, 0, 2*cap(s.arena)+16)
		}
		s.arena = append(s.arena, parsed)
		t := int(kind) - 1
		if p.rows[t] == nil {
			p.rows[t] = make([]*row, 0, p.batch.Records())
		}
		p.rows[t] = append(p.rows[t], &s.arena[len(s.arena)-1])
		if rest = behind; len(rest) == 0 {
			return nil
		}
	}
}

// reduce sorts rows by their key and keeps the newest of each.
func (p *plan) reduce(rows []*row) []*row {
	slices.SortFunc(rows, func(a, b *row) int {
		if c := bytes.Compare(a.key(), b.key()); c != 0 {
			return c
		}
		return int(a.index - b.index)
	})
	kept := rows[:0]
	for _, r := range rows {
		last := len(kept) - 1
		if last < 0 || !bytes.Equal(kept[last].key(), r.key()) {
			kept = append(kept, r)
			continue
		}
		loser := r
		// Of one record's rows the last one counts.
		if r.newerThan(kept[last]) || r.sameRecord(kept[last]) {
			loser, kept[last] = kept[last], r
		}
		p.lose(loser)
	}
	return kept
}

// lose counts a row that another of its key displaced.
func (p *plan) lose(r *row) {
	if r.several != nil {
		r.several.known = max(r.several.known, fateMerged)
		return
	}
	p.counts[r.part].Merged++
}

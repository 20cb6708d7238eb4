package timescalesink

import (
	"bytes"
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
	// rows are by table, in the fixed order of tables: one row for each key, in the
	// order of keys; a tape's in the order of the batch.
	rows [5][]*row
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
		open := s.open[part.TopicPartition]
		if err := part.Check(); err != nil {
			return nil, err
		}
		p.counts[i].Absent, p.counts[i].Expired = part.Absent, part.Expired
		for j := range part.Records {
			r := &part.Records[j]
			switch {
			case r.Err != nil:
				p.counts[i].DeadLettered++
				p.dead = append(p.dead, deadRecord{i, r})
			case r.Filtered:
				p.counts[i].Filtered++
			case len(r.Row) < rowHeaderBytes:
				return nil, fmt.Errorf("%s@%d: the record has no row; it was not prepared", part.TopicPartition, r.Offset)
			default:
				kind, parsed := parseRow(r.Row)
				if kind < marketdata.KindPrice || kind > marketdata.KindAnalytics {
					return nil, fmt.Errorf("%s@%d: the record's row is none of this sink", part.TopicPartition, r.Offset)
				}
				parsed.part, parsed.topicID, parsed.partition = i, open.topicID, part.Partition
				parsed.offset, parsed.millis = r.Offset, storedMillis(r.Timestamp)
				s.arena = append(s.arena, parsed)
				t := int(kind) - 1
				if p.rows[t] == nil {
					p.rows[t] = make([]*row, 0, b.Records())
				}
				p.rows[t] = append(p.rows[t], &s.arena[len(s.arena)-1])
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

// reduce sorts rows by their key and keeps the newest of each.
func (p *plan) reduce(rows []*row) []*row {
	slices.SortFunc(rows, func(a, b *row) int { return bytes.Compare(a.key(), b.key()) })
	kept := rows[:0]
	for _, r := range rows {
		last := len(kept) - 1
		if last < 0 || !bytes.Equal(kept[last].key(), r.key()) {
			kept = append(kept, r)
			continue
		}
		loser := r
		if r.newerThan(kept[last]) {
			loser, kept[last] = kept[last], r
		}
		p.counts[loser.part].Merged++
	}
	return kept
}

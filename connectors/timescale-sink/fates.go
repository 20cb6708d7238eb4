package timescalesink

import "github.com/qicore/tickconnect/connect"

// fate is what becomes of a row. A record that gave several rows has the highest
// fate of them: it is written if any of its rows was.
type fate uint8

const (
	fateNone fate = iota
	fateMerged
	fateUnchanged
	fateStale
	fateWritten
	fateInserted // and written
)

// several is a record that gave more rows than one.
type several struct {
	part    int  // index of the batch's part
	known   fate // before the database is asked
	highest fate // in the attempt that runs
}

// tally notes a row's fate: in the counts of its part, or in its record.
func tally(counts []connect.Counts, r *row, f fate) {
	if r.several != nil {
		r.several.highest = max(r.several.highest, f)
		return
	}
	count(&counts[r.part], f)
}

func count(c *connect.Counts, f fate) {
	switch f {
	case fateMerged:
		c.Merged++
	case fateUnchanged:
		c.Unchanged++
	case fateStale:
		c.Stale++
	case fateInserted:
		c.Inserted++
		c.Written++
	case fateWritten:
		c.Written++
	case fateNone:
	}
}

// beginCounts gives the counts of an attempt, with what is known before it.
func (p *plan) beginCounts() []connect.Counts {
	for _, s := range p.several {
		s.highest = s.known
	}
	return append([]connect.Counts(nil), p.counts...)
}

// endCounts counts the records that gave several rows, each once.
func (p *plan) endCounts(counts []connect.Counts) {
	for _, s := range p.several {
		count(&counts[s.part], s.highest)
	}
}

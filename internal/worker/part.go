package worker

import (
	"cmp"
	"slices"
	"sort"
	"time"

	"github.com/qicore/tickconnect/connect"
)

// span is the range of offsets [from, to).
type span struct{ from, to int64 }

// part is what a task knows of one partition that it owns, for one session.
//
// Memory holds each offset in [next, arrived): as a record of the queue, as part
// of a gap that a read of the log must still explain, or as one of which such a
// read has shown that no record is there.
type part struct {
	connect.TopicPartition
	sess    connect.Session
	topicID connect.TopicID

	// next is the next offset to store, as the sink's ledger is believed to say.
	next int64
	// arrived is the offset after the last one that memory holds.
	arrived int64
	queue   []connect.Record
	bytes   int64 // of queue and verdicts

	// gaps are ranges that nothing is known of: no record may be stored past the
	// first (promise 3). Ascending, apart from each other.
	gaps    []span
	proving bool
	// verdicts are records that cannot be stored, ascending, each in a gap: the read
	// that closes the gap brings their exact bytes.
	verdicts    []connect.Record
	unexplained error // why reads of the gaps show nothing
	unprepared  error // what the next record waits for
	// expired are ranges that retention took before they were read.
	expired []span

	unsure   bool      // a Put's outcome is not known: read the ledger first
	lost     bool      // the ledger lies before what memory holds; the session is asked to end
	draining bool      // the session has ended: store what is queued, then give back
	fences   int       // how often it was fenced since its last success
	notUntil time.Time // held until then: another transaction has its ledger row, or it failed
	failed   error     // the operator must act; tried again at notUntil
	noLedger bool      // the sink stores no offsets
	polled   int64     // arrived, when the log's end was last looked at
	// unaccounted is by how much the ledger did not add up when it was last read.
	unaccounted int64

	// isolation of a record that the target refuses
	alone      bool  // put with no other partition
	limit      int   // at most so many good records; 0: no limit
	isolateEnd int64 // alone and limit end once next is here
}

// newPart starts a partition where the sink stands.
func newPart(sess connect.Session, c connect.Claim, next int64) *part {
	return &part{
		TopicPartition: c.TopicPartition, sess: sess, topicID: c.TopicID, next: next, arrived: next,
		noLedger: next == connect.NoOffset, polled: neverPolled,
	}
}

// isAnother says whether a topic of that id is surely not the partition's.
func (p *part) isAnother(id connect.TopicID) bool {
	none := connect.TopicID{}
	return id != none && p.topicID != none && id != p.topicID
}

// neverPolled is the polled of a partition whose log's end was never looked at.
const neverPolled = -2

// accept takes a record that the source delivered.
func (p *part) accept(r connect.Record) {
	if p.noLedger && p.arrived == connect.NoOffset {
		p.next, p.arrived = r.Offset, r.Offset
	}
	if p.lost || r.Offset < p.arrived {
		return // stored, or in memory, or in a gap that a read will close
	}
	if r.Offset > p.arrived && !p.noLedger {
		p.addGap(span{p.arrived, r.Offset})
	}
	p.arrived = r.Offset + 1
	p.bytes += r.SizeBytes()
	if r.Err != nil {
		p.condemn(r)
		return
	}
	p.queue = append(p.queue, r)
}

// condemn makes a gap of the offset of a record that cannot be stored.
func (p *part) condemn(r connect.Record) {
	i, _ := slices.BinarySearchFunc(p.verdicts, r.Offset, compareOffset)
	p.verdicts = slices.Insert(p.verdicts, i, r)
	p.addGap(span{r.Offset, r.Offset + 1})
}

func (p *part) addGap(s span) {
	i := sort.Search(len(p.gaps), func(i int) bool { return p.gaps[i].to >= s.from })
	j := i
	for j < len(p.gaps) && p.gaps[j].from <= s.to {
		s.from, s.to = min(s.from, p.gaps[j].from), max(s.to, p.gaps[j].to)
		j++
	}
	p.gaps = slices.Replace(p.gaps, i, j, s)
}

// expectUpTo makes a gap of what lies between memory and the log's end: offsets
// for which no record came, such as the markers of transactions.
func (p *part) expectUpTo(end int64) {
	if p.arrived == connect.NoOffset || end <= p.arrived || p.noLedger {
		return
	}
	// A backlog that is slow to come is left to come.
	end = min(end, p.arrived+expectMax)
	p.addGap(span{p.arrived, end})
	p.arrived = end
}

// expectMax is how many offsets at a time are read directly at the log's end.
const expectMax = 1000

// wanted is the range that a read should explain: from the first gap to the
// last, since many small gaps, as bad records make them, cost less in one read.
func (p *part) wanted() span {
	return span{p.gaps[0].from, p.gaps[len(p.gaps)-1].to}
}

// prove closes what a direct read of the log explains of the gaps. Records that
// it found and memory lacks are queued: whatever lost them on their way.
func (p *part) prove(s connect.Span) {
	var found []connect.Record
	records := s.Records
	done := 0
	for ; done < len(p.gaps) && p.gaps[done].from < s.Next; done++ {
		g := &p.gaps[done]
		if g.from < s.From {
			return // of an older read
		}
		to := min(g.to, s.Next)
		i, _ := slices.BinarySearchFunc(records, g.from, compareOffset)
		j, _ := slices.BinarySearchFunc(records, to, compareOffset)
		found = append(found, p.judge(g.from, to, records[i:j])...)
		records = records[j:]
		if gone := min(s.Start, to); gone > g.from {
			p.expired = append(p.expired, span{g.from, gone})
		}
		if to < g.to {
			g.from = to
			break
		}
	}
	p.gaps = slices.Delete(p.gaps, 0, done)
	for i := range found {
		p.bytes += found[i].SizeBytes()
	}
	p.queue = merge(p.queue, found)
}

// judge gives the records that a read found in a gap, those with a verdict as
// dead letters. One that was deleted between its arrival and the read is a dead
// letter with the bytes that are left of it.
func (p *part) judge(from, to int64, read []connect.Record) []connect.Record {
	i, _ := slices.BinarySearchFunc(p.verdicts, from, compareOffset)
	j, _ := slices.BinarySearchFunc(p.verdicts, to, compareOffset)
	verdicts := p.verdicts[i:j]
	found := make([]connect.Record, 0, len(read))
	for _, r := range read {
		for len(verdicts) > 0 && verdicts[0].Offset < r.Offset {
			found, verdicts = append(found, verdicts[0]), verdicts[1:]
		}
		if len(verdicts) > 0 && verdicts[0].Offset == r.Offset {
			if r.Err == nil { // it was the target that refused it
				r.Err, r.Row, r.Filtered = verdicts[0].Err, nil, false
			}
			verdicts = verdicts[1:]
		}
		if r.Row != nil {
			r.Key, r.Value, r.Headers = nil, nil, nil
		}
		found = append(found, r)
	}
	found = append(found, verdicts...)
	for k := range p.verdicts[i:j] {
		p.bytes -= p.verdicts[i+k].SizeBytes()
	}
	p.verdicts = slices.Delete(p.verdicts, i, j)
	return found
}

// merge joins two ascending queues that have no offset in common.
func merge(a, b []connect.Record) []connect.Record {
	switch {
	case len(b) == 0:
		return a
	case len(a) == 0 || a[len(a)-1].Offset < b[0].Offset:
		return append(a, b...)
	}
	out := make([]connect.Record, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if a[0].Offset < b[0].Offset {
			out, a = append(out, a[0]), a[1:]
		} else {
			out, b = append(out, b[0]), b[1:]
		}
	}
	return append(append(out, a...), b...)
}

func compareOffset(r connect.Record, offset int64) int { return cmp.Compare(r.Offset, offset) }

// ready says whether there is something to store: how far, and how many records.
func (p *part) ready(now time.Time) bool {
	return !p.lost && !p.unsure && p.next != connect.NoOffset && p.end() > p.next && !now.Before(p.notUntil)
}

// end is the offset up to which memory knows everything.
func (p *part) end() int64 {
	if len(p.gaps) > 0 {
		return p.gaps[0].from
	}
	return p.arrived
}

// take makes the partition's share of a batch, of at most rows records and about
// bytes bytes; with stopAtBad it ends before the first bad record. The queue keeps
// what it takes until the Put has succeeded.
func (p *part) take(rows int, bytes int64, stopAtBad bool) connect.Part {
	out := connect.Part{TopicPartition: p.TopicPartition, Start: p.next, Next: p.end()}
	good, n := 0, 0
	var size int64
	for n < len(p.queue) && p.queue[n].Offset < out.Next {
		r := &p.queue[n]
		isGood := r.Err == nil && !r.Filtered
		if n > 0 && (n >= rows || size >= bytes) ||
			isGood && p.limit > 0 && good >= p.limit || stopAtBad && r.Err != nil {
			out.Next = r.Offset
			break
		}
		if isGood {
			good++
		}
		size += r.SizeBytes()
		n++
	}
	out.Records = p.queue[:n:n]
	for _, e := range p.expired {
		out.Expired += max(0, min(e.to, out.Next)-max(e.from, out.Start))
	}
	for i := range out.Records { // a record that was read after all has not expired
		o := out.Records[i].Offset
		for _, e := range p.expired {
			if o >= e.from && o < e.to {
				out.Expired--
			}
		}
	}
	out.Absent = out.Next - out.Start - int64(n) - out.Expired
	return out
}

// trim forgets what lies below the offset: the ledger has it.
func (p *part) trim(next int64) {
	n := 0
	for n < len(p.queue) && p.queue[n].Offset < next {
		p.bytes -= p.queue[n].SizeBytes()
		p.queue[n] = connect.Record{}
		n++
	}
	if n == len(p.queue) {
		p.queue = p.queue[:0]
	} else {
		p.queue = p.queue[n:]
	}
	for len(p.gaps) > 0 && p.gaps[0].from < next {
		if p.gaps[0].to > next {
			p.gaps[0].from = next
			break
		}
		p.gaps = p.gaps[1:]
	}
	n, _ = slices.BinarySearchFunc(p.verdicts, next, compareOffset)
	for i := range p.verdicts[:n] {
		p.bytes -= p.verdicts[i].SizeBytes()
	}
	p.verdicts = slices.Delete(p.verdicts, 0, n)
	p.expired = slices.DeleteFunc(p.expired, func(e span) bool { return e.to <= next })
	p.next = next
	p.arrived = max(p.arrived, next)
	if p.alone && p.next >= p.isolateEnd {
		p.alone, p.limit = false, 0
	}
}

// drop forgets all that memory holds.
func (p *part) drop() {
	p.queue, p.gaps, p.expired, p.verdicts, p.bytes = nil, nil, nil, nil, 0
}

// reject makes a dead letter of a queued record that the target refused; the
// read of its gap brings back the bytes that were dropped when it was prepared.
func (p *part) reject(offset int64, e connect.RecordError) bool {
	i, found := slices.BinarySearchFunc(p.queue, offset, compareOffset)
	if !found || p.queue[i].Err != nil || p.queue[i].Filtered {
		return false
	}
	r := p.queue[i]
	p.bytes -= r.SizeBytes()
	p.queue = slices.Delete(p.queue, i, i+1)
	r.Err, r.Row = &e, nil
	p.bytes += r.SizeBytes()
	p.condemn(r)
	return true
}

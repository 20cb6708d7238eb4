package connect

import "fmt"

// Batch is what one Put stores: for each of its partitions the records and the
// offset that comes after them. Parts are in ascending order of TopicPartition,
// one for each partition.
type Batch struct {
	Parts []Part
}

// Part is a partition's share of a Batch. It accounts for each offset in
// [Start, Next): Next - Start = len(Records) + Absent + Expired.
type Part struct {
	TopicPartition
	// Start is the next offset to store, as the task knows it: the sink compares
	// it with its ledger and fences the partition where they differ.
	Start int64
	// Next is the next offset to store once the batch is stored.
	Next int64
	// Records are in ascending order of their offsets, all in [Start, Next). A
	// record with Err set goes to the dead letters, a Filtered one is only counted.
	Records []Record
	// Absent counts offsets at which the log was seen to hold no record;
	// Expired those that were deleted by retention before they were read.
	Absent, Expired int64
}

// Check says what is wrong with the part's arithmetic, or nil.
func (p *Part) Check() error {
	if got := int64(len(p.Records)) + p.Absent + p.Expired; got != p.Next-p.Start {
		return fmt.Errorf("%s: %d records, %d absent and %d expired do not make the %d offsets of [%d, %d)",
			p.TopicPartition, len(p.Records), p.Absent, p.Expired, p.Next-p.Start, p.Start, p.Next)
	}
	last := p.Start - 1
	for i := range p.Records {
		if o := p.Records[i].Offset; o <= last || o >= p.Next {
			return fmt.Errorf("%s: offset %d is out of order in [%d, %d)", p.TopicPartition, o, p.Start, p.Next)
		}
		last = p.Records[i].Offset
	}
	return nil
}

// Records counts the batch's records.
func (b *Batch) Records() int {
	n := 0
	for i := range b.Parts {
		n += len(b.Parts[i].Records)
	}
	return n
}

// SizeBytes is the sum of the records' sizes.
func (b *Batch) SizeBytes() int64 {
	var n int64
	for i := range b.Parts {
		for j := range b.Parts[i].Records {
			n += b.Parts[i].Records[j].SizeBytes()
		}
	}
	return n
}

// Counts are the fates of a range of offsets. Each offset has exactly one
// (promise 3); Inserted alone is no fate but the part of Written that made a
// new row.
type Counts struct {
	Written      int64 // after the transaction the target holds this record's row
	Inserted     int64 // the part of Written that made a new row
	Unchanged    int64 // the same record was there already, equal
	Merged       int64 // lost to a later record of its key in the same Put
	Stale        int64 // lost to a newer row in the target
	DeadLettered int64
	Filtered     int64 // tombstone, ignored kind
	Absent       int64 // the log holds no record there: compacted, aborted, control
	Expired      int64 // deleted by retention before it was read
}

// Offsets is the number of offsets that the counts account for.
func (c Counts) Offsets() int64 {
	return c.Written + c.Unchanged + c.Merged + c.Stale + c.DeadLettered + c.Filtered + c.Absent + c.Expired
}

// Plus adds the counts of two ranges.
func (c Counts) Plus(o Counts) Counts {
	return Counts{
		Written: c.Written + o.Written, Inserted: c.Inserted + o.Inserted, Unchanged: c.Unchanged + o.Unchanged,
		Merged: c.Merged + o.Merged, Stale: c.Stale + o.Stale, DeadLettered: c.DeadLettered + o.DeadLettered,
		Filtered: c.Filtered + o.Filtered, Absent: c.Absent + o.Absent, Expired: c.Expired + o.Expired,
	}
}

// Result is the outcome of a Put that succeeded.
type Result struct {
	// Counts are the fates of each part of the batch, in the order of its parts.
	Counts []Counts
}

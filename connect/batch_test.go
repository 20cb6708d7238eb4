package connect

import "testing"

// TestPartCheck: a part accounts for each of its offsets, in order (promise 3).
func TestPartCheck(t *testing.T) {
	t.Parallel()
	records := func(offsets ...int64) []Record {
		var r []Record
		for _, o := range offsets {
			r = append(r, Record{Offset: o})
		}
		return r
	}
	for name, test := range map[string]struct {
		part Part
		ok   bool
	}{
		"nothing":                 {Part{Start: 5, Next: 5}, true},
		"records":                 {Part{Start: 5, Next: 7, Records: records(5, 6)}, true},
		"absent and expired":      {Part{Start: 5, Next: 9, Absent: 1, Expired: 3}, true},
		"a gap between records":   {Part{Start: 5, Next: 9, Absent: 2, Records: records(5, 8)}, true},
		"a gap at both ends":      {Part{Start: 5, Next: 9, Absent: 3, Records: records(6)}, true},
		"an offset of no account": {Part{Start: 5, Next: 8, Records: records(5, 6)}, false},
		"an offset too many":      {Part{Start: 5, Next: 6, Records: records(5, 6)}, false},
		"next before start":       {Part{Start: 5, Next: 4}, false},
		"before start":            {Part{Start: 5, Next: 7, Records: records(4, 5)}, false},
		"at next":                 {Part{Start: 5, Next: 7, Records: records(5, 7)}, false},
		"twice":                   {Part{Start: 5, Next: 7, Records: records(5, 5)}, false},
		"backwards":               {Part{Start: 5, Next: 7, Records: records(6, 5)}, false},
		"absent and a record":     {Part{Start: 5, Next: 7, Absent: 1, Records: records(5, 6)}, false},
	} {
		if err := test.part.Check(); (err == nil) != test.ok {
			t.Errorf("%s: Check gives %v, want nil: %t", name, err, test.ok)
		}
	}
}

func TestBatchSizes(t *testing.T) {
	t.Parallel()
	r := Record{Key: make([]byte, 3), Value: make([]byte, 10), Row: make([]byte, 5)}
	h := Record{Headers: []Header{{Key: "ab", Value: make([]byte, 4)}}}
	b := Batch{Parts: []Part{{Records: []Record{r, h}}, {}, {Records: []Record{r}}}}
	if n := b.Records(); n != 3 {
		t.Errorf("%d records, want 3", n)
	}
	if got, want := b.SizeBytes(), r.SizeBytes()*2+h.SizeBytes(); got != want {
		t.Errorf("%d bytes, want %d", got, want)
	}
	if got := r.SizeBytes() - (&Record{}).SizeBytes(); got != 18 {
		t.Errorf("key, value and row take %d bytes, want 18", got)
	}
	if h.SizeBytes() < (&Record{}).SizeBytes()+6 {
		t.Error("headers are not counted")
	}
}

// TestCounts: every fate is an offset, and Inserted is none.
func TestCounts(t *testing.T) {
	t.Parallel()
	a := Counts{Written: 1, Inserted: 1 << 20, Unchanged: 2, Merged: 4, Stale: 8, DeadLettered: 16, Filtered: 32, Absent: 64, Expired: 128}
	if n := a.Offsets(); n != 255 {
		t.Errorf("Offsets gives %d, want 255", n)
	}
	b := Counts{
		Written: 1 << 8, Inserted: 1 << 21, Unchanged: 2 << 8, Merged: 4 << 8, Stale: 8 << 8,
		DeadLettered: 16 << 8, Filtered: 32 << 8, Absent: 64 << 8, Expired: 128 << 8,
	}
	sum := a.Plus(b)
	want := Counts{
		Written: 1 + 1<<8, Inserted: 1<<20 + 1<<21, Unchanged: 2 + 2<<8, Merged: 4 + 4<<8, Stale: 8 + 8<<8,
		DeadLettered: 16 + 16<<8, Filtered: 32 + 32<<8, Absent: 64 + 64<<8, Expired: 128 + 128<<8,
	}
	if sum != want || b.Plus(a) != want || sum.Offsets() != a.Offsets()+b.Offsets() {
		t.Errorf("Plus gives %+v, want %+v", sum, want)
	}
}

package files

import (
	"errors"
	"testing"

	"github.com/qicore/tickconnect/publish"
)

// TestPlaceStaysBeforeARejectThatIsNotKept: the disk was full when a rejected
// line was to be kept, and lines behind it got their results afterwards. The
// place went behind them all, and the line was nowhere.
func TestPlaceStaysBeforeARejectThatIsNotKept(t *testing.T) {
	t.Parallel()
	r := &run{
		Publishing: &Publishing{opts: Options{Tell: func(string) {}}}, in: &input{name: "f"}, window: newWindow(),
		rejects: &rejects{path: t.TempDir()}, // a folder: it cannot be written to
		summary: &FileSummary{Topics: map[string]int64{}},
		kept:    &kept{path: t.TempDir() + "/place.json"},
	}
	bad := &entry{offset: 0, end: 2, number: 1, raw: []byte("x\n"), done: true, err: errors.New("bad")}
	behind := &entry{offset: 2, end: 4, number: 2, raw: []byte("y\n")}
	r.window.add(bad)
	r.window.add(behind)
	if r.settle(false) == nil {
		t.Fatal("a reject file that is a folder was written")
	}
	r.window.set(behind, publish.Result{Topic: "t"})
	_ = r.settle(false) // as at the end of a run that failed
	if r.kept.Offset != 0 || r.window.first() != bad {
		t.Errorf("the place is %d and the window begins with %v, want 0 and the rejected line", r.kept.Offset, r.window.first())
	}
}

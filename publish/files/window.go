package files

import (
	"sync"
	"time"

	"github.com/qicore/tickconnect/publish"
)

// WindowMax is how many lines may be ahead of the saved place, and so how many
// may be published again after a kill where the topics cannot be looked at.
const WindowMax = 20_000

// entry is a line on its way: its fate, and what follows from that.
type entry struct {
	offset, end int64 // of the line, and where the next one begins
	number      int64
	raw         []byte // nil where the line was kept or checked while it was read
	sum         string // its hash, where raw is nil
	at          time.Time
	found       bool // it was published by a run before
	again       bool // it is to be read again: the file ended in it

	done   bool
	result publish.Result
	err    error // why it is rejected
}

// window holds the lines that were read and have no fate yet, in their order,
// and those after them.
type window struct {
	mu      sync.Mutex
	entries []*entry
	failed  error         // the first result that is no fate
	changed chan struct{} // of one
}

func newWindow() *window { return &window{changed: make(chan struct{}, 1)} }

func (w *window) add(e *entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.entries = append(w.entries, e)
}

// set takes the result of a record. It is called by the client and does not
// block.
func (w *window) set(e *entry, r publish.Result) {
	w.mu.Lock()
	switch {
	case r.Err == nil:
		e.done, e.result = true, r
	case publish.IsBadRecord(r.Err):
		e.done, e.err = true, r.Err
	case w.failed == nil:
		w.failed = r.Err
	}
	w.mu.Unlock()
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// take removes and gives the lines at the front whose fate is known.
func (w *window) take(into []*entry) []*entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for n < len(w.entries) && w.entries[n].done {
		n++
	}
	into = append(into, w.entries[:n]...)
	clear(w.entries[:n])
	w.entries = w.entries[n:]
	return into
}

// putBack puts lines that were taken in front again.
func (w *window) putBack(taken []*entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.entries = append(append([]*entry(nil), taken...), w.entries...)
}

// first gives the oldest line without a fate, nil where there is none.
func (w *window) first() *entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.entries) == 0 {
		return nil
	}
	return w.entries[0]
}

func (w *window) len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.entries)
}

func (w *window) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failed
}

// remove takes back the line that was added last.
func (w *window) remove(e *entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.entries); n > 0 && w.entries[n-1] == e {
		w.entries = w.entries[:n-1]
	}
}

package worker

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/qicore/tickconnect/connect"
)

// States of connectors and tasks, in Kafka Connect's words.
const (
	StateRunning    = "RUNNING"
	StateFailed     = "FAILED"
	StateUnassigned = "UNASSIGNED"
)

// Status is how a connector stands in this replica.
type Status struct {
	Name     string       `json:"name"`
	State    string       `json:"state"`
	Trace    string       `json:"trace,omitempty"`
	Breaker  string       `json:"breaker"`
	Delivery string       `json:"delivery"`
	Tasks    []TaskStatus `json:"tasks"`
}

// TaskStatus is how one task stands. Trace is its last error that still holds.
type TaskStatus struct {
	ID         int               `json:"id"`
	State      string            `json:"state"`
	Trace      string            `json:"trace,omitempty"`
	Partitions []PartitionStatus `json:"partitions"`
	// Oldest is the least Kafka timestamp, in ms, of a record that waits; 0: none.
	Oldest int64 `json:"oldest,omitempty"`
}

// PartitionStatus is where one partition stands in its task.
type PartitionStatus struct {
	Topic       string `json:"topic"`
	Partition   int32  `json:"partition"`
	Next        int64  `json:"next"`    // next offset to store
	Arrived     int64  `json:"arrived"` // offset after the last in memory
	QueuedBytes int64  `json:"queued_bytes"`
	// Unaccounted is by how much the ledger does not add up, as it was last read.
	Unaccounted int64  `json:"unaccounted,omitempty"`
	Error       string `json:"error,omitempty"`
	// Waits: the next record needs something that is away, as Error says.
	Waits bool `json:"waits,omitempty"`
	// Attempts counts how often the partition could not be opened in a row. Next and
	// Arrived are -1 then.
	Attempts int `json:"attempts,omitempty"`
}

// laneView is a lane's status, renewed at most every viewEvery.
type laneView struct {
	mu     sync.Mutex
	at     time.Time
	status TaskStatus
	stale  bool // used on the lane's goroutine alone
}

const viewEvery = 200 * time.Millisecond

// show renews the lane's view; called on its goroutine.
func (l *lane) show() {
	l.view.mu.Lock()
	defer l.view.mu.Unlock()
	now := time.Now()
	if l.view.stale = now.Sub(l.view.at) < viewEvery; l.view.stale {
		return
	}
	l.view.at = now
	l.view.status = l.task.status(l.id, l.w.redact)
}

func (t *task) status(id int, redact func(error) string) TaskStatus {
	s := TaskStatus{ID: id, State: StateRunning}
	var traces []string
	failed := t.trouble != nil && isOperators(t.trouble)
	if t.trouble != nil {
		traces = append(traces, redact(t.trouble))
	}
	for _, p := range t.order {
		ps := PartitionStatus{Topic: p.Topic, Partition: p.Partition, Next: p.next, Arrived: p.arrived, QueuedBytes: p.bytes, Unaccounted: p.unaccounted}
		if p.failed != nil {
			failed = true
			ps.Error = redact(p.failed)
			traces = append(traces, p.String()+": "+ps.Error)
		}
		if p.unexplained != nil {
			failed = true
			ps.Error = redact(p.unexplained)
			traces = append(traces, p.String()+": "+ps.Error)
		}
		if p.unprepared != nil { // an outage, as of the target
			ps.Error = redact(p.unprepared)
			traces = append(traces, p.String()+": "+ps.Error)
			ps.Waits = true
		}
		if len(p.queue) > 0 && p.queue[0].Timestamp > 0 && (s.Oldest == 0 || p.queue[0].Timestamp < s.Oldest) {
			s.Oldest = p.queue[0].Timestamp
		}
		s.Partitions = append(s.Partitions, ps)
	}
	for _, o := range append(append([]*opening{}, t.openings...), t.refused...) {
		if o.failed == nil {
			continue
		}
		if !connect.IsRetriable(o.failed) {
			failed = true
		}
		ps := PartitionStatus{Topic: o.claims[0].Topic, Partition: o.claims[0].Partition, Next: -1, Arrived: -1, Error: redact(o.failed), Attempts: o.attempt}
		traces = append(traces, ps.Error)
		s.Partitions = append(s.Partitions, ps)
	}
	if failed {
		s.State = StateFailed
	} else if len(s.Partitions) == 0 {
		s.State = StateUnassigned
	}
	const most = 10
	if len(traces) > most {
		traces = append(traces[:most], fmt.Sprintf("and %d more", len(traces)-most))
	}
	s.Trace = strings.Join(traces, "\n")
	return s
}

// Status says how the connector stands in this replica.
func (w *Worker) Status() Status {
	s := Status{Name: w.name, State: StateRunning, Breaker: w.breaker.State().String()}
	if d := w.connector.Delivery(); d.ExactlyOnce {
		s.Delivery = "exactly once: " + d.Why
	} else {
		s.Delivery = "at least once: " + d.Why
	}
	if f := w.failure.Load(); f != nil {
		s.State, s.Trace = StateFailed, *f
	}
	s.Tasks = w.tasks()
	return s
}

// stuckAttempts is how many openings in a row fail before that is trouble: one
// may fail for a moment's reason.
const stuckAttempts = 3

// Problem says in one line what keeps the connector from working, or is "".
func (s *Status) Problem() string {
	if s.State == StateFailed {
		return "FAILED: " + firstLine(s.Trace)
	}
	trouble := ""
	for _, t := range s.Tasks {
		if t.State == StateFailed {
			return fmt.Sprintf("task %d FAILED: %s", t.ID, firstLine(t.Trace))
		}
		for _, p := range t.Partitions {
			if p.Attempts >= stuckAttempts {
				return "the target is away: " + firstLine(p.Error)
			}
			if p.Waits {
				return "records wait: " + firstLine(p.Error)
			}
		}
		if t.Trace != "" {
			trouble = firstLine(t.Trace)
		}
	}
	switch {
	case s.Breaker == "open":
		return "the target is away"
	case s.Breaker == "half-open" && trouble != "": // half open by time alone; nobody has tried
		return "the target is away: " + trouble
	}
	return ""
}

func firstLine(s string) string {
	first, _, _ := strings.Cut(s, "\n")
	return first
}

func (w *Worker) tasks() []TaskStatus {
	var out []TaskStatus
	for _, l := range w.lanes {
		l.view.mu.Lock()
		ts := l.view.status
		l.view.mu.Unlock()
		ts.ID = l.id
		if ts.State == "" {
			ts.State = StateUnassigned
		}
		out = append(out, ts)
	}
	return out
}

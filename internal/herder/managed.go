package herder

import (
	"context"
	"maps"
	"strings"
	"sync"

	"github.com/qicore/tickconnect/internal/worker"
)

// spec is how one connector is wanted.
type spec struct {
	config   map[string]string
	file     bool // it is the configuration file's
	target   Target
	restarts int
}

func (s *spec) equal(o *spec) bool {
	return s == o || s != nil && o != nil && s.target == o.target && s.restarts == o.restarts && maps.Equal(s.config, o.config)
}

// managed is a connector in this replica: at most one Runner of it at a time.
type managed struct {
	h    *Herder
	name string

	mu      sync.Mutex
	want    *spec // nil: it was deleted
	changed chan struct{}
	runner  Runner // that runs, or that ended last
	ended   string // why it does not run though it is wanted; "": it does
}

func newManaged(h *Herder, name string) *managed {
	return &managed{h: h, name: name, want: &spec{target: Stopped}, changed: make(chan struct{})}
}

func (m *managed) set(s *spec) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.want.equal(s) {
		return
	}
	m.want = s
	close(m.changed)
	m.changed = make(chan struct{})
}

// current gives what is wanted, and what is closed when that changes.
func (m *managed) current() (*spec, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.want, m.changed
}

// run keeps the connector as it is wanted, until ctx ends.
func (m *managed) run(ctx context.Context) {
	defer m.h.statusChanged()
	for ctx.Err() == nil {
		want, changed := m.current()
		if want == nil && m.h.drop(m) {
			return
		}
		var done chan struct{}
		stop := func() {}
		if want != nil && want.target == Started && want.config != nil {
			var running context.Context
			running, stop = context.WithCancel(ctx)
			done = make(chan struct{})
			go func() { defer close(done); m.once(running, want.config) }()
		}
		m.h.statusChanged()
		select {
		case <-ctx.Done():
		case <-changed:
		}
		stop()
		if done != nil {
			<-done
		}
		m.close()
	}
}

// once makes the connector and runs it until ctx ends, or until it ends by itself.
func (m *managed) once(ctx context.Context, config map[string]string) {
	log := m.h.log.With("connector", m.name)
	r, err := m.h.opts.Make(m.name, config)
	if err == nil {
		m.mu.Lock()
		m.runner = r
		m.mu.Unlock()
		err = r.Run(ctx)
	}
	if ctx.Err() != nil {
		if err != nil {
			log.Warn("the connector did not stop cleanly", "err", m.h.opts.Redact(err.Error()))
		}
		return
	}
	reason := "it ended by itself"
	if err != nil {
		reason = m.h.opts.Redact(err.Error())
	}
	m.mu.Lock()
	m.ended = reason
	m.mu.Unlock()
	log.Error("the connector has ended; restart it once this is mended", "err", reason)
	m.h.statusChanged()
}

func (m *managed) close() {
	m.mu.Lock()
	r := m.runner
	m.runner, m.ended = nil, ""
	m.mu.Unlock()
	if r == nil {
		return
	}
	if err := r.Close(); err != nil {
		m.h.log.Warn("closing a connector", "connector", m.name, "err", m.h.opts.Redact(err.Error()))
	}
}

// problem says in one line what is wrong, or is "".
func (m *managed) problem() string {
	m.mu.Lock()
	r, ended := m.runner, m.ended
	m.mu.Unlock()
	switch {
	case ended != "":
		first, _, _ := strings.Cut(ended, "\n")
		return "ended: " + first
	case r != nil:
		return r.Problem()
	}
	return ""
}

func (m *managed) partitions() int {
	m.mu.Lock()
	r := m.runner
	m.mu.Unlock()
	if r == nil {
		return 0
	}
	n := 0
	for _, t := range r.Status().Tasks {
		n += len(t.Partitions)
	}
	return n
}

func (m *managed) failed() bool {
	r := m.report()
	if r.State == worker.StateFailed {
		return true
	}
	for _, t := range r.Tasks {
		if t.State == worker.StateFailed {
			return true
		}
	}
	return false
}

// report says how the connector stands in this replica.
func (m *managed) report() connectorReport {
	m.mu.Lock()
	want, r, ended := m.want, m.runner, m.ended
	m.mu.Unlock()
	report := connectorReport{State: worker.StateRunning}
	if want != nil {
		report.Config, report.File = hashOf(want.config), want.file
	}
	var status worker.Status
	if r != nil {
		status = r.Status()
		report.Topics, report.Delivery = r.Topics(), status.Delivery
		if status.State == worker.StateFailed {
			report.State, report.Trace = status.State, status.Trace
		}
	}
	switch {
	case want == nil:
		report.State = worker.StateUnassigned
		return report
	case want.target == Stopped:
		report.State = StateStopped
		return report
	case want.target == Paused:
		report.State = StatePaused
		for i := range tasksMax(want.config) {
			report.Tasks = append(report.Tasks, taskReport{Lane: i, State: StatePaused})
		}
		return report
	case ended != "":
		report.State, report.Trace = worker.StateFailed, ended
	}
	for _, t := range status.Tasks {
		state := t.State
		if state == worker.StateUnassigned { // it runs, with no partition
			state = worker.StateRunning
		}
		trace := ""
		if state == worker.StateFailed {
			trace = t.Trace
		}
		if ended != "" {
			state, trace = worker.StateUnassigned, ""
		}
		report.Tasks = append(report.Tasks, taskReport{Lane: t.ID, State: state, Trace: trace})
	}
	return report
}

package herder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/internal/worker"
)

// States beside those of package worker, in Kafka Connect's words.
const (
	StatePaused     = "PAUSED"
	StateStopped    = "STOPPED"
	StateRestarting = "RESTARTING"
)

// replicaReport is what a replica says of itself, a record of the status topic under
// its name.
type replicaReport struct {
	Worker     string                     `json:"worker_id"`
	Connectors map[string]connectorReport `json:"connectors"`
}

type connectorReport struct {
	State    string       `json:"state"`
	Trace    string       `json:"trace,omitempty"`
	Tasks    []taskReport `json:"tasks,omitempty"`
	Topics   []string     `json:"topics,omitempty"`
	Config   string       `json:"config"`         // a hash of it
	File     bool         `json:"file,omitempty"` // it is in this replica's configuration file
	Delivery string       `json:"delivery,omitempty"`
}

type taskReport struct {
	Lane  int    `json:"lane"`
	State string `json:"state"`
	Trace string `json:"trace,omitempty"`
}

// replica is another replica, or this one.
type replica struct {
	replicaReport
	heard time.Time // by this process' clock: replicas' clocks may differ
}

// forgetAfter is how long a replica that died stays in the status.
const forgetAfter = 5 * time.Minute

// traceMax bounds a trace in a report, in bytes; shortTraceMax where there are many.
const (
	traceMax      = 4096
	shortTraceMax = 128
)

// Status is how a connector stands, over all replicas.
type Status struct {
	Name      string
	Connector Part
	Tasks     []Task
	// Delivery is what the connector really gives, and why; "" while it does not run.
	Delivery string
}

// Part is a state with where it is and, where it is FAILED, why.
type Part struct{ State, WorkerID, Trace string }

// Task is one task: a lane of one replica. Its ID is the replica's rank times
// tasks.max, plus the lane.
type Task struct {
	ID int
	Part
	replica string
}

// Status gives a connector's status. It is there before a replica has reported.
func (h *Herder) Status(name string) (Status, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := h.wanted[name]
	if w == nil || w.config == nil {
		return Status{}, ErrNotFound
	}
	return h.statusOf(name, w, h.recent()), nil
}

// Statuses gives those of all connectors, by name.
func (h *Herder) Statuses() map[string]Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	known, all := h.recent(), map[string]Status{}
	for name, w := range h.wanted {
		if w.config != nil {
			all[name] = h.statusOf(name, w, known)
		}
	}
	return all
}

func (h *Herder) statusOf(name string, w *wanted, known map[string]*replica) Status {
	s := Status{Name: name, Tasks: []Task{}, Connector: Part{State: worker.StateUnassigned, WorkerID: h.opts.WorkerID()}}
	found := false
	most := tasksMax(w.config)
	for _, r := range known { // it may be a variable, or have been another until now
		for _, t := range r.Connectors[name].Tasks {
			most = max(most, t.Lane+1)
		}
	}
	for rank, id := range slices.Sorted(maps.Keys(known)) {
		r := known[id]
		report, reports := r.Connectors[name]
		if !reports {
			continue
		}
		alive := time.Since(r.heard) < h.opts.Session
		part := Part{report.State, r.Worker, report.Trace}
		if alive && (!found || part.State == worker.StateFailed && s.Connector.State != worker.StateFailed) {
			s.Connector, s.Delivery, found = part, report.Delivery, true
		}
		if w.state() == Stopped {
			continue
		}
		for _, t := range report.Tasks {
			task := Task{ID: rank*most + t.Lane, Part: Part{t.State, r.Worker, t.Trace}, replica: id}
			if !alive {
				task.State, task.Trace = worker.StateUnassigned, ""
			}
			s.Tasks = append(s.Tasks, task)
		}
	}
	slices.SortFunc(s.Tasks, func(a, b Task) int { return a.ID - b.ID })
	return s
}

// recent are the replicas that are or were there a short time ago; this one as it is
// now. The lock is held.
func (h *Herder) recent() map[string]*replica {
	known := map[string]*replica{h.opts.Replica: {h.own(), time.Now()}}
	for id, r := range h.replicas {
		if id != h.opts.Replica && time.Since(r.heard) < forgetAfter {
			known[id] = r
		}
	}
	return known
}

// own is this replica's report. The lock is held.
func (h *Herder) own() replicaReport {
	r := replicaReport{Worker: h.opts.WorkerID(), Connectors: map[string]connectorReport{}}
	for name, m := range h.managed {
		if w := h.wanted[name]; w == nil || w.config == nil {
			continue
		}
		c := m.report()
		c.Trace = clip(c.Trace, traceMax)
		for i := range c.Tasks {
			c.Tasks[i].Trace = clip(c.Tasks[i].Trace, traceMax)
		}
		r.Connectors[name] = c
		h.see(name, c.Topics)
	}
	return r
}

func clip(s string, most int) string {
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}

// applyStatus takes a replica's report.
func (h *Herder) applyStatus(r *kgo.Record, caughtUp bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	id := string(r.Key)
	if r.Value == nil {
		delete(h.replicas, id)
		return
	}
	var report replicaReport
	if err := json.Unmarshal(r.Value, &report); err != nil {
		h.log.Warn("a report of another replica cannot be read", "replica", id, "err", err)
		return
	}
	// What was said before this process began to read is as old as its writer's clock has
	// it: a replica that is there says it again soon, and one that died long ago never.
	heard := time.Now()
	if !caughtUp && r.Timestamp.Before(heard) {
		heard = r.Timestamp
	}
	h.replicas[id] = &replica{report, heard}
	if id == h.opts.Replica || !caughtUp {
		return
	}
	for name, c := range report.Connectors {
		h.see(name, c.Topics)
		h.compare(id, name, c)
	}
}

// compare says once when another replica runs a connector of the configuration file
// with another configuration.
func (h *Herder) compare(id, name string, other connectorReport) {
	w, ours := h.wanted[name], h.managed[name]
	if other.File && (w == nil || !w.file) {
		if !h.differ[id+"/"+name] {
			h.log.Warn("another replica has a connector in its configuration file that is not in this one's; give all replicas the same file",
				"connector", name, "replica", id)
		}
		h.differ[id+"/"+name] = true
		return
	}
	if w == nil || !w.file || ours == nil || other.Config == "" {
		return
	}
	differs := other.Config != hashOf(w.config)
	if differs && !h.differ[id+"/"+name] {
		h.log.Warn("another replica runs this connector with another configuration; give all replicas the same file",
			"connector", name, "replica", id, "config", hashOf(w.config), "other_config", other.Config)
	}
	h.differ[id+"/"+name] = differs
}

// see notes topics that a connector reads. The lock is held.
func (h *Herder) see(name string, topics []string) {
	if len(topics) == 0 {
		return
	}
	seen := h.topics[name]
	if seen == nil {
		seen = map[string]bool{}
		h.topics[name] = seen
	}
	for _, t := range topics {
		seen[t] = true
	}
}

// Topics are those that replicas have read for a connector since it was made or its
// topics were reset.
func (h *Herder) Topics(name string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.recent()
	return append([]string{}, slices.Sorted(maps.Keys(h.topics[name]))...)
}

// report writes what this replica says of itself: when it changes, and as heartbeats.
func (h *Herder) report(ctx context.Context) {
	beat := time.NewTicker(h.opts.Heartbeat)
	defer beat.Stop()
	look := time.NewTicker(min(h.opts.Heartbeat, time.Second))
	defer look.Stop()
	said := ""
	for {
		text := h.text()
		if string(text) != said {
			if h.say(ctx, text) {
				said = string(text)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
			said = ""
		case <-look.C:
		case <-h.wake:
		}
	}
}

// reportMax is what a report may take, of the 1 MB that brokers take by default.
const reportMax = 900_000

// text is this replica's report. Where it would be too large for a record, traces are cut.
func (h *Herder) text() []byte {
	h.mu.Lock()
	own := h.own()
	h.mu.Unlock()
	text, _ := json.Marshal(own) // of strings and numbers
	if len(text) <= reportMax {
		return text
	}
	for name, c := range own.Connectors {
		c.Trace = clip(c.Trace, shortTraceMax)
		for i := range c.Tasks {
			c.Tasks[i].Trace = clip(c.Tasks[i].Trace, shortTraceMax)
		}
		own.Connectors[name] = c
	}
	text, _ = json.Marshal(own)
	return text
}

func (h *Herder) say(ctx context.Context, text []byte) bool {
	h.statuses.mu.Lock()
	client := h.statuses.client
	h.statuses.mu.Unlock()
	if client == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, h.opts.Heartbeat)
	defer cancel()
	return h.statuses.append(ctx, &kgo.Record{Key: []byte(h.opts.Replica), Value: text}) == nil
}

// leave says that this replica is gone.
func (h *Herder) leave(ctx context.Context) {
	if h.statuses.state() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_ = h.statuses.append(ctx, &kgo.Record{Key: []byte(h.opts.Replica)})
}

// tasksMax reads tasks.max; 2 where it is not there, as the worker has it.
func tasksMax(config map[string]string) int {
	if n, err := strconv.Atoi(config["tasks.max"]); err == nil && n > 0 {
		return n
	}
	return worker.DefaultSettings().TasksMax
}

// hashOf tells configurations apart.
func hashOf(config map[string]string) string {
	text, _ := json.Marshal(config) // its keys in order
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:6])
}

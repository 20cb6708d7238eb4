package herder

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/internal/worker"
)

// Runner is a connector that was made and runs once.
type Runner interface {
	// Run moves records until ctx ends.
	Run(ctx context.Context) error
	// Status says how the connector stands in this replica.
	Status() worker.Status
	// Problem says in one line what keeps it from working, or is "".
	Problem() string
	// Topics are those that it reads.
	Topics() []string
	// Close frees what it holds, after Run or without it.
	Close() error
}

// Connector is one of the configuration file.
type Connector struct {
	Name   string
	Config map[string]string
}

// Options say who this replica is, and how it makes connectors.
type Options struct {
	// Replica names this process among the others, and again after a restart.
	Replica string
	// WorkerID is what people see of it: host:port. It is asked for once Run has begun.
	WorkerID func() string
	// ConfigTopic and StatusTopic have one partition each and are compacted.
	ConfigTopic, StatusTopic string
	Replication              int16 // of them, where they are made; -1: the brokers' default
	// Heartbeat is how often a replica says that it is there, and Session how long it
	// may say nothing before its tasks are unassigned.
	Heartbeat, Session time.Duration
	// Kafka makes a client of the brokers.
	Kafka func(...kgo.Opt) (*kgo.Client, error)
	// File has the connectors of the configuration file.
	File []Connector
	// Make makes a connector. It waits for neither the brokers nor the target.
	Make func(name string, config map[string]string) (Runner, error)
	// SetLevel sets a logger's level; nil: there are none.
	SetLevel func(logger, level string)
	// Redact removes secrets from a text.
	Redact func(string) string
	Log    *slog.Logger
}

// Herder keeps connectors as they are wanted. It is safe for concurrent use.
type Herder struct {
	opts     Options
	log      *slog.Logger
	configs  *topic
	statuses *topic
	wake     chan struct{}  // a status may have changed
	began    chan struct{}  // closed once the config topic was read, or tried in vain
	running  sync.WaitGroup // of managed connectors

	writing chan struct{} // holds one while a request writes: they follow one another

	mu       sync.Mutex
	ctx      context.Context // of the connectors; nil where they may not run
	known    bool            // the config topic was read
	wanted   map[string]*wanted
	managed  map[string]*managed
	replicas map[string]*replica
	topics   map[string]map[string]bool // by connector: seen since it was made or reset
	differ   map[string]bool            // connectors that were said to differ among replicas
}

// New makes a Herder. It starts nothing.
func New(o Options) *Herder {
	h := &Herder{
		opts: o, log: o.Log, wake: make(chan struct{}, 1), writing: make(chan struct{}, 1), began: make(chan struct{}),
		wanted: map[string]*wanted{}, managed: map[string]*managed{}, replicas: map[string]*replica{},
		topics: map[string]map[string]bool{}, differ: map[string]bool{},
	}
	h.configs = newTopic(o.ConfigTopic, o.Replication, o.Kafka, o.Log, h.applyConfig)
	h.configs.known, h.configs.left = h.settleAll, h.keep
	h.statuses = newTopic(o.StatusTopic, o.Replication, o.Kafka, o.Log, h.applyStatus)
	for _, c := range o.File {
		w := h.want(c.Name)
		w.file, w.config = true, c.Config
	}
	return h
}

// Run runs the connectors that are wanted until ctx ends, and returns when all have
// stopped.
func (h *Herder) Run(ctx context.Context) {
	reading, stopReading := context.WithCancel(context.WithoutCancel(ctx))
	var readers sync.WaitGroup
	readers.Go(func() { h.configs.run(reading) })
	readers.Go(func() { h.statuses.run(reading) })
	reporting, stopReporting := context.WithCancel(reading)
	reported := make(chan struct{})
	go func() { defer close(reported); h.report(reporting) }()

	// The config topic may say that connectors are paused. It is tried once.
	first := true // the state before the first attempt to read
	_ = h.configs.await(ctx, func() bool {
		tried := h.configs.away == nil && h.configs.ready || h.configs.away != nil && !first
		first = false
		return tried
	})
	close(h.began)
	h.mu.Lock()
	h.ctx = ctx
	for name, w := range h.wanted {
		if w.file || h.known {
			h.run(name, w)
		}
	}
	h.mu.Unlock()

	<-ctx.Done()
	h.mu.Lock()
	h.ctx = nil
	h.mu.Unlock()
	h.running.Wait()
	stopReporting()
	<-reported
	h.leave(reading)
	stopReading()
	readers.Wait()
}

// settleAll has connectors run as the config topic says, once it was read: what it held
// before is not what is wanted.
func (h *Herder) settleAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.known = true
	for name := range h.wanted {
		h.settle(name)
	}
}

// settle has a connector run as it is wanted now. The lock is held.
func (h *Herder) settle(name string) {
	if h.ctx != nil && h.known {
		h.run(name, h.want(name))
	}
}

func (h *Herder) run(name string, w *wanted) {
	m := h.managed[name]
	if w.config == nil {
		if m != nil { // it stays: another of its name waits until this one has stopped
			m.set(nil)
		}
		delete(h.topics, name)
		return
	}
	if m == nil {
		m = newManaged(h, name)
		h.managed[name] = m
		ctx := h.ctx
		h.running.Go(func() { m.run(ctx) })
	}
	m.set(&spec{config: w.config, file: w.file, target: w.state(), restarts: w.restarts})
}

// drop forgets a connector that was deleted and has stopped, unless it is wanted again.
func (h *Herder) drop(m *managed) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if want, _ := m.current(); want != nil {
		return false
	}
	delete(h.managed, m.name)
	return true
}

// Names are the connectors, in order.
func (h *Herder) Names() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	names := []string{}
	for name, w := range h.wanted {
		if w.config != nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Wait waits until it is known what is wanted, or that the config topic cannot be read:
// then what the configuration file says is all.
func (h *Herder) Wait(ctx context.Context) {
	select {
	case <-h.began:
	case <-ctx.Done():
	}
}

// Problems are the connectors that do not work in this replica, each with why.
func (h *Herder) Problems() []string {
	h.mu.Lock()
	var all []*managed
	for _, m := range h.managed {
		all = append(all, m)
	}
	h.mu.Unlock()
	slices.SortFunc(all, func(a, b *managed) int { return strings.Compare(a.name, b.name) })
	var problems []string
	if why := h.idle(); why != "" {
		problems = append(problems, why)
	}
	for _, m := range all {
		if problem := m.problem(); problem != "" {
			problems = append(problems, fmt.Sprintf("%s: %s", m.name, problem))
		}
	}
	return problems
}

// idle says why this replica does not know what to run: all of its connectors are in the
// config topic, and that was not read yet.
func (h *Herder) idle() string {
	h.mu.Lock()
	known := h.known || len(h.opts.File) > 0
	h.mu.Unlock()
	if known {
		return ""
	}
	h.configs.mu.Lock()
	defer h.configs.mu.Unlock()
	if h.configs.away == nil {
		return fmt.Sprintf("starting: topic %s is being read", h.opts.ConfigTopic)
	}
	return fmt.Sprintf("which connectors there are is not known: topic %s cannot be read: %s", h.opts.ConfigTopic, h.opts.Redact(h.configs.away.Error()))
}

// Partitions counts those that this replica reads now.
func (h *Herder) Partitions() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, m := range h.managed {
		n += m.partitions()
	}
	return n
}

// statusChanged has this replica report soon.
func (h *Herder) statusChanged() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

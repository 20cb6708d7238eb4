package herder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/connect"
)

// Target is what is wanted of a connector, in Kafka Connect's words.
type Target string

// The targets. A paused connector keeps its place in the status; a stopped one has no
// tasks. Neither reads: both leave their groups, and go on where the ledger stands.
const (
	Started Target = "STARTED"
	Paused  Target = "PAUSED"
	Stopped Target = "STOPPED"
)

// wanted is what is wanted of one connector.
type wanted struct {
	config   map[string]string // nil: it was deleted, or was never made
	file     bool              // the configuration file has it
	target   Target            // "": started
	restarts int               // that this process was asked for since it began to read
	foreign  int64             // offset of the last record that another replica wrote of it
	before   int64             // foreign, as it was when this replica's last one was read
}

func (w *wanted) state() Target {
	if w.target == "" {
		return Started
	}
	return w.target
}

// The keys of the config topic are those of Kafka Connect, as are the values.
const (
	connectorKey = "connector-"
	targetKey    = "target-state-"
	restartKey   = "restart-connector-"
	restartTask  = "restart-task-" // ours: Kafka Connect forwards it to the task's worker
	topicsKey    = "topics-reset-" // ours: Kafka Connect deletes records of its status topic
	loggerKey    = "logger-cluster-"
)

type propertiesValue struct {
	Properties map[string]string `json:"properties"`
}

// targetValue has STOPPED beside what workers before Kafka 3.5 know.
type targetValue struct {
	State   Target `json:"state"`
	StateV2 Target `json:"state.v2"`
}

type restartValue struct {
	IncludeTasks bool `json:"include-tasks"`
	OnlyFailed   bool `json:"only-failed"`
}

type restartTaskValue struct {
	Worker string `json:"worker"`
}

type loggerValue struct {
	Level string `json:"level"`
}

func configRecord(key string, value any) *kgo.Record {
	r := &kgo.Record{Key: []byte(key)}
	if value != nil {
		r.Value, _ = json.Marshal(value) // of strings and booleans
	}
	return r
}

func connectorRecord(name string, config map[string]string) *kgo.Record {
	return configRecord(connectorKey+name, propertiesValue{config})
}

func targetRecord(name string, t Target) *kgo.Record {
	old := t
	if t == Stopped {
		old = Paused
	}
	return configRecord(targetKey+name, targetValue{old, t})
}

// applyConfig takes a record of the config topic. One that cannot be read is what a
// newer version wrote, or nobody of us.
func (h *Herder) applyConfig(r *kgo.Record, caughtUp bool) {
	key := string(r.Key)
	read := func(prefix string, value any) (name string, ok bool) {
		name, ok = strings.CutPrefix(key, prefix)
		if ok && r.Value != nil {
			if err := json.Unmarshal(r.Value, value); err != nil {
				h.log.Warn("a record of the config topic cannot be read", "key", key, "offset", r.Offset, "err", err)
				return "", false
			}
		}
		return name, ok
	}
	var properties propertiesValue
	var target targetValue
	var restart restartValue
	var task restartTaskValue
	var level loggerValue
	foreign := func(name string) {
		w := h.want(name)
		if replicaOf(r) == h.opts.Replica {
			w.before = w.foreign
		} else {
			w.foreign = r.Offset
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if name, ok := read(connectorKey, &properties); ok {
		foreign(name)
		h.applyConnector(name, properties.Properties)
	} else if name, ok := read(targetKey, &target); ok {
		foreign(name)
		w := h.want(name)
		w.target = target.State
		if target.StateV2 != "" {
			w.target = target.StateV2
		}
		h.settle(name)
	} else if name, ok := read(restartKey, &restart); ok && caughtUp && r.Value != nil {
		if m := h.managed[name]; m != nil && (!restart.OnlyFailed || m.failed()) {
			h.want(name).restarts++
			h.settle(name)
		}
	} else if name, ok := read(restartTask, &task); ok && caughtUp && task.Worker == h.opts.Replica && h.managed[name] != nil {
		h.want(name).restarts++
		h.settle(name)
	} else if name, ok := read(topicsKey, &struct{}{}); ok && caughtUp {
		delete(h.topics, name)
	} else if name, ok := read(loggerKey, &level); ok && caughtUp && level.Level != "" && h.opts.SetLevel != nil {
		h.opts.SetLevel(name, level.Level)
	}
}

// applyConnector takes a connector's configuration; nil deletes it.
func (h *Herder) applyConnector(name string, config map[string]string) {
	w := h.want(name)
	if w.file {
		if config != nil {
			h.log.Warn("a connector that was made over REST has the name of one in the configuration file, which counts here", "connector", name)
		}
		return
	}
	w.config = config
	if config == nil {
		w.target = ""
	}
	h.settle(name)
}

// keep deletes the connectors that are not among the keys of the config topic.
func (h *Herder) keep(keys map[string]bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, w := range h.wanted {
		if w.config != nil && !w.file && !keys[connectorKey+name] {
			h.applyConnector(name, nil)
		}
	}
}

// want gives what is wanted of a connector, made where it is not there. The lock is
// held.
func (h *Herder) want(name string) *wanted {
	w := h.wanted[name]
	if w == nil {
		w = &wanted{foreign: -1, before: -1}
		h.wanted[name] = w
	}
	return w
}

// Errors of requests.
var (
	// ErrNotFound: there is no such connector.
	ErrNotFound = errors.New("not found")
	// ErrExists: there is such a connector already.
	ErrExists = errors.New("already exists")
	// ErrConflict: somebody else changed the connector at the same time.
	ErrConflict = errors.New("conflicting operation")
	// ErrChanged: the connector is not as the request says that it is.
	ErrChanged = errors.New("the connector has been changed since")
	// ErrTooLarge: the brokers take no record of that size.
	ErrTooLarge = errors.New("the configuration is larger than what the brokers take as one record")
	// ErrFile: the connector is the configuration file's.
	ErrFile = errors.New("is defined in the configuration file of a worker; change it there")
)

// Config gives a connector's configuration as it was sent, with its name.
func (h *Herder) Config(name string) (map[string]string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := h.wanted[name]
	if w == nil || w.config == nil {
		return nil, ErrNotFound
	}
	return maps.Clone(w.config), nil
}

// InFile says whether a connector is the configuration file's, here or in a replica that
// is there.
func (h *Herder) InFile(name string) bool {
	h.mu.Lock()
	w := h.wanted[name]
	here := w != nil && w.file
	h.mu.Unlock()
	return here || h.inOthersFile(name)
}

func (h *Herder) inOthersFile(name string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, r := range h.replicas {
		if id != h.opts.Replica && r.Connectors[name].File && time.Since(r.heard) < h.opts.Session {
			return true
		}
	}
	return false
}

// TargetOf gives what is wanted of a connector.
func (h *Herder) TargetOf(name string) (Target, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := h.wanted[name]
	if w == nil || w.config == nil {
		return "", ErrNotFound
	}
	return w.state(), nil
}

// Create makes a connector. The configuration must be checked.
func (h *Herder) Create(ctx context.Context, name string, config map[string]string, target Target) error {
	return h.write(ctx, name, func(w *wanted) ([]*kgo.Record, error) {
		switch {
		case w.config != nil:
			return nil, ErrExists
		case w.file: // of another replica
			return nil, ErrFile
		}
		return []*kgo.Record{targetRecord(name, target), connectorRecord(name, config)}, nil
	})
}

// Put makes a connector or replaces its configuration, which must be checked.
func (h *Herder) Put(ctx context.Context, name string, config map[string]string) (created bool, err error) {
	return h.PutIf(ctx, name, config, func(map[string]string) bool { return true })
}

// PutIf is Put where good says so of the configuration as it is; nil: there is none.
func (h *Herder) PutIf(ctx context.Context, name string, config map[string]string, good func(now map[string]string) bool) (created bool, err error) {
	err = h.write(ctx, name, func(w *wanted) ([]*kgo.Record, error) {
		switch {
		case w.file:
			return nil, ErrFile
		case !good(w.config):
			return nil, ErrChanged
		}
		records := []*kgo.Record{connectorRecord(name, config)}
		if created = w.config == nil; created { // what an earlier one of the name was is over
			records = append([]*kgo.Record{targetRecord(name, Started)}, records...)
		}
		return records, nil
	})
	return created, err
}

// Patch replaces a connector's configuration with what change makes of it, which checks
// it. No other request of this replica gets between.
func (h *Herder) Patch(ctx context.Context, name string, change func(map[string]string) (map[string]string, error)) error {
	return h.write(ctx, name, func(w *wanted) ([]*kgo.Record, error) {
		switch {
		case w.config == nil:
			return nil, ErrNotFound
		case w.file:
			return nil, ErrFile
		}
		config, err := change(maps.Clone(w.config))
		if err != nil {
			return nil, err
		}
		return []*kgo.Record{connectorRecord(name, config)}, nil
	})
}

// Delete takes a connector away. Its ledger, and its groups, stay.
func (h *Herder) Delete(ctx context.Context, name string) error {
	return h.write(ctx, name, func(w *wanted) ([]*kgo.Record, error) {
		switch {
		case w.config == nil:
			return nil, ErrNotFound
		case w.file:
			return nil, ErrFile
		}
		return []*kgo.Record{configRecord(connectorKey+name, nil), configRecord(targetKey+name, nil)}, nil
	})
}

// SetTarget starts, pauses or stops a connector in all replicas.
func (h *Herder) SetTarget(ctx context.Context, name string, target Target) error {
	return h.write(ctx, name, func(w *wanted) ([]*kgo.Record, error) {
		if w.config == nil {
			return nil, ErrNotFound
		}
		return []*kgo.Record{targetRecord(name, target)}, nil
	})
}

// Restart restarts a connector in all replicas, or with onlyFailed in those in which
// it or a task of it has failed.
func (h *Herder) Restart(ctx context.Context, name string, includeTasks, onlyFailed bool) error {
	return h.write(ctx, name, func(w *wanted) ([]*kgo.Record, error) {
		if w.config == nil {
			return nil, ErrNotFound
		}
		return []*kgo.Record{configRecord(restartKey+name, restartValue{includeTasks, onlyFailed})}, nil
	})
}

// RestartTask restarts the connector in the replica that runs a task: tasks of one
// replica share what reads for them.
func (h *Herder) RestartTask(ctx context.Context, name string, task int) error {
	s, err := h.Status(name)
	if err != nil {
		return err
	}
	for _, t := range s.Tasks {
		if t.ID == task {
			return h.write(ctx, name, func(*wanted) ([]*kgo.Record, error) {
				return []*kgo.Record{configRecord(restartTask+name, restartTaskValue{t.replica})}, nil
			})
		}
	}
	return fmt.Errorf("task %s-%d: %w", name, task, ErrNotFound)
}

// ResetTopics has all replicas forget the topics of a connector that it no longer reads.
func (h *Herder) ResetTopics(ctx context.Context, name string) error {
	return h.write(ctx, name, func(w *wanted) ([]*kgo.Record, error) {
		if w.config == nil {
			return nil, ErrNotFound
		}
		return []*kgo.Record{configRecord(topicsKey+name, struct{}{})}, nil
	})
}

// SetClusterLevel sets a logger's level in all replicas.
func (h *Herder) SetClusterLevel(ctx context.Context, logger, level string) error {
	return h.configs.append(ctx, configRecord(loggerKey+logger, loggerValue{level}))
}

// write checks a request against what is wanted now, and writes what makes gives.
// Requests of this replica follow one another; where another replica's got between,
// the later one counts, and its sender is told.
func (h *Herder) write(ctx context.Context, name string, makes func(*wanted) ([]*kgo.Record, error)) error {
	select {
	case h.writing <- struct{}{}:
		defer func() { <-h.writing }()
	case <-ctx.Done():
		return connect.Retriable(errors.New("other requests are not done yet"))
	}
	if err := h.configs.catchUp(ctx); err != nil {
		return err
	}
	h.configs.mu.Lock()
	next := h.configs.next
	h.configs.mu.Unlock()
	h.mu.Lock()
	w := wanted{}
	if known := h.wanted[name]; known != nil {
		w = *known
	}
	h.mu.Unlock()
	w.file = w.file || h.inOthersFile(name)
	records, err := makes(&w)
	if err != nil {
		return err
	}
	for _, r := range records {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: replicaHeader, Value: []byte(h.opts.Replica)})
	}
	if err := h.configs.append(ctx, records...); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.want(name).before >= next {
		return ErrConflict
	}
	return nil
}

// replicaHeader names the replica that wrote a record.
const replicaHeader = "tickconnect.replica"

func replicaOf(r *kgo.Record) string {
	for _, header := range r.Headers {
		if header.Key == replicaHeader {
			return string(header.Value)
		}
	}
	return ""
}

package main

import (
	"os"
	"runtime/debug"
	"sync"
)

// baseMemoryBytes is what the process takes beside its budgets: clients, stacks,
// goka's and sarama's own.
const baseMemoryBytes = 72 << 20

// memoryBudget has Go's collector keep to what the connectors that run may take
// (promise 8), unless GOMEMLIMIT in the environment says otherwise. The limit is
// soft: what records need beyond it they get, at the price of CPU.
type memoryBudget struct {
	limit func(bytes int64)
	mu    sync.Mutex
	bytes int64
}

// limitMemory is the limit of this process.
func limitMemory(bytes int64) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(bytes)
	}
}

// base begins the budget of a process without connectors: what it takes anyway, and
// what comes over HTTP.
func (m *memoryBudget) base(l *loaded) {
	n := int64(baseMemoryBytes)
	if l.ingest.on() {
		n += l.ingest.BufferBytes + int64(l.ingest.RequestsMax)*l.ingest.BodyBytes
	}
	m.change(n)
}

func (m *memoryBudget) add(c *connectorConfig)    { m.change(connectorBytes(c)) }
func (m *memoryBudget) remove(c *connectorConfig) { m.change(-connectorBytes(c)) }

// connectorBytes is each budget of a connector twice, since what is freed is collected
// later, and a batch on its way for each task.
func connectorBytes(c *connectorConfig) int64 {
	return 2*(c.settings.QueueBytes+c.source.FetchBudgetBytes) + int64(c.settings.TasksMax)*c.settings.BatchBytes
}

func (m *memoryBudget) change(by int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bytes += by
	m.limit(m.bytes)
}

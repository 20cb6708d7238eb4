package main

import (
	"os"
	"runtime/debug"
)

// baseMemoryBytes is what the process takes beside its budgets: clients, stacks,
// goka's and sarama's own.
const baseMemoryBytes = 72 << 20

// limitMemory has Go's collector keep to what the configuration allows
// (promise 8), unless GOMEMLIMIT in the environment says otherwise. The limit is
// soft: what records need beyond it they get, at the price of CPU.
func limitMemory(l *loaded) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit(l))
	}
}

// memoryLimit is the base, each budget twice, since what is freed is collected
// later, a batch on its way for each task, and what comes over HTTP.
func memoryLimit(l *loaded) int64 {
	n := int64(baseMemoryBytes)
	for _, c := range l.connectors {
		n += 2*(c.settings.QueueBytes+c.source.FetchBudgetBytes) + int64(c.settings.TasksMax)*c.settings.BatchBytes
	}
	if l.ingest.on() {
		n += l.ingest.BufferBytes + int64(l.ingest.RequestsMax)*l.ingest.BodyBytes
	}
	return n
}

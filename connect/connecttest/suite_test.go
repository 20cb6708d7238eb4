package connecttest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/qicore/tickconnect/connect"
)

const testConnector = "orders"

// memoryTarget is a Memory as a target of the suite.
func memoryTarget(cfg MemoryConfig) Target {
	cfg.Bad = refuseBad
	return Target{
		New: func(t testing.TB) *Store {
			m := NewMemory(cfg)
			t.Cleanup(func() {
				if misuse := m.Misuse(); len(misuse) > 0 {
					t.Errorf("the suite misused its sinks: %v", misuse)
				}
			})
			return memoryStore(m)
		},
		Record:    memoryRecord,
		NoOffsets: cfg.NoOffsets,
		NewerWins: cfg.Upsert,
		ChecksLog: !cfg.NoOffsets,
		Bad: func(topic string, row Row) connect.Record {
			r := memoryRecord(topic, row)
			r.Value = append([]byte("bad "), r.Value...)
			return r
		},
	}
}

func memoryRecord(_ string, row Row) connect.Record {
	return connect.Record{Key: fmt.Append(nil, row.Key), Value: fmt.Append(nil, row.Content)}
}

func refuseBad(row MemoryRow) *connect.RecordError {
	if !strings.HasPrefix(row.Value, "bad ") {
		return nil
	}
	return &connect.RecordError{Stage: connect.StageTaskPut, Reason: "check_violation", Message: "the value is bad"}
}

func memoryStore(m *Memory) *Store {
	s := &Store{
		Connector: func(testing.TB) connect.Connector { return m.Connector(testConnector) },
		Rows:      func(t testing.TB) []Row { return memoryRows(t, m) },
		Break: func(testing.TB) func() {
			m.SetOutage(true)
			return func() { m.SetOutage(false) }
		},
		Stall: func(testing.TB) func() { return m.Stall() },
	}
	if m.cfg.NoOffsets {
		return s
	}
	s.Ledger = func(testing.TB) map[connect.TopicPartition]connect.Counts {
		counts := map[connect.TopicPartition]connect.Counts{}
		for tp, l := range m.Ledger(testConnector) {
			counts[tp] = l.Counts
		}
		return counts
	}
	s.LoseAnswer = func(testing.TB) {
		m.SetFaults(FailPuts(1, Fault{After: connect.Retriable(errors.New("the connection is gone"))}))
	}
	s.Hold = func(_ testing.TB, tp connect.TopicPartition) func() { return m.Hold(tp) }
	s.Reset = func(_ testing.TB, tp connect.TopicPartition, next int64) {
		m.Reset(testConnector, map[connect.TopicPartition]int64{tp: next})
	}
	s.Snapshot = func(testing.TB) func() { return m.Snapshot() }
	return s
}

func memoryRows(t testing.TB, m *Memory) []Row {
	t.Helper()
	var rows []Row
	for _, r := range m.Rows() {
		key, err := strconv.ParseInt(r.Key, 10, 64)
		content, err2 := strconv.ParseInt(r.Value, 10, 64)
		if err := errors.Join(err, err2); err != nil {
			t.Errorf("reading the rows: %v", err)
		}
		rows = append(rows, Row{Key: key, Content: content})
	}
	return rows
}

// TestMemory runs the suite against stores that keep the promises.
func TestMemory(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]MemoryConfig{
		"tape":            {},
		"tape prepared":   {Prepare: true},
		"upsert":          {Upsert: true},
		"upsert prepared": {Upsert: true, Prepare: true},
		"no offsets":      {NoOffsets: true, Prepare: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target := memoryTarget(cfg)
			target.Schedules = 20
			TestSink(t, target)
		})
	}
}

package connecttest

import (
	"context"
	"errors"
	"testing"

	"github.com/qicore/tickconnect/connect"
)

var orders = connect.TopicPartition{Topic: "orders"}

// setup opens orders/0 at offset 0.
func setup(t *testing.T, cfg MemoryConfig) (*Memory, connect.Sink) {
	t.Helper()
	m := NewMemory(cfg)
	s, err := m.Connector(testConnector).NewSink(0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(t.Context(), []connect.Claim{{TopicPartition: orders}}); err != nil {
		t.Fatal(err)
	}
	return m, s
}

func oneRecord(offset int64) *connect.Batch {
	r := connect.Record{Offset: offset, Value: []byte("v")}
	return &connect.Batch{Parts: []connect.Part{partOf(orders, offset, r)}}
}

func wantStored(t *testing.T, m *Memory, rows int, next int64) {
	t.Helper()
	if n := len(m.Rows()); n != rows {
		t.Errorf("%d rows, want %d", n, rows)
	}
	if l := m.Ledger(testConnector)[orders]; l.Next != next || l.Counts.Offsets() != next-l.Start {
		t.Errorf("the ledger says %+v, want %d", l, next)
	}
}

// TestFaults: each fault leaves behind what it says.
func TestFaults(t *testing.T) {
	t.Parallel()
	down := connect.Retriable(errors.New("down"))
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for name, test := range map[string]struct {
		fault Fault
		ctx   context.Context
		want  error
		rows  int
	}{
		"none":                    {Fault{}, context.Background(), nil, 1},
		"before the commit":       {Fault{Before: down}, context.Background(), down, 0},
		"after the commit":        {Fault{After: down}, context.Background(), down, 1},
		"held until the ctx ends": {Fault{Wait: make(chan struct{})}, ended, context.Canceled, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, s := setup(t, MemoryConfig{})
			m.SetFaults(FailPuts(1, test.fault))
			if _, err := s.Put(test.ctx, oneRecord(0)); !errors.Is(err, test.want) {
				t.Fatalf("Put gave %v, want %v", err, test.want)
			}
			wantStored(t, m, test.rows, int64(test.rows))
			next := int64(test.rows)
			if _, err := s.Put(t.Context(), oneRecord(next)); err != nil {
				t.Fatalf("the Put after the fault: %v", err)
			}
			wantStored(t, m, test.rows+1, next+1)
		})
	}
}

// TestHeldPutGoesOn: a call that waits goes on when it may.
func TestHeldPutGoesOn(t *testing.T) {
	t.Parallel()
	m, s := setup(t, MemoryConfig{})
	started, gate := make(chan struct{}), make(chan struct{})
	m.SetFaults(func(c Call, b *connect.Batch) Fault {
		if c == CallPut && b != nil {
			close(started)
		}
		return Fault{Wait: gate}
	})
	done := make(chan error)
	go func() {
		_, err := s.Put(t.Context(), oneRecord(0))
		done <- err
	}()
	<-started
	wantStored(t, m, 0, 0)
	close(gate)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	wantStored(t, m, 1, 1)
}

// TestMisuse: what a worker must not do is refused and remembered.
func TestMisuse(t *testing.T) {
	t.Parallel()
	two := connect.TopicPartition{Topic: "orders", Partition: 1}
	for name, misuse := range map[string]func(m *Memory, s connect.Sink) error{
		"a part that does not add up": func(_ *Memory, s connect.Sink) error {
			b := oneRecord(0)
			b.Parts[0].Next = 2
			_, err := s.Put(t.Context(), b)
			return err
		},
		"parts out of order": func(_ *Memory, s connect.Sink) error {
			b := &connect.Batch{Parts: []connect.Part{partOf(two, 0), partOf(orders, 0)}}
			_, err := s.Put(t.Context(), b)
			return err
		},
		"a partition twice": func(_ *Memory, s connect.Sink) error {
			b := &connect.Batch{Parts: []connect.Part{partOf(orders, 0), partOf(orders, 0)}}
			_, err := s.Put(t.Context(), b)
			return err
		},
		"a call after Close": func(_ *Memory, s connect.Sink) error {
			_ = s.Close()
			return s.Release(t.Context(), nil)
		},
		"two calls at once": func(m *Memory, s connect.Sink) error {
			var inner error
			m.SetFaults(func(c Call, _ *connect.Batch) Fault {
				if c == CallPut {
					inner = s.Release(context.Background(), nil)
				}
				return Fault{}
			})
			_, err := s.Put(context.Background(), oneRecord(0))
			if err == nil {
				err = inner
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, s := setup(t, MemoryConfig{})
			if err := misuse(m, s); err == nil {
				t.Error("it was allowed")
			}
			if n := len(m.Misuse()); n != 1 {
				t.Errorf("%d misuses are remembered, want 1: %v", n, m.Misuse())
			}
		})
	}
}

// TestUpsertCountsTheSameRecord: after a reset the same record is unchanged where
// it is equal, and written where its content is another (promise 3).
func TestUpsertCountsTheSameRecord(t *testing.T) {
	t.Parallel()
	m, s := setup(t, MemoryConfig{Upsert: true})
	for i, want := range []connect.Counts{{Written: 1, Inserted: 1}, {Unchanged: 1}, {Written: 1}} {
		if i > 0 {
			m.Reset(testConnector, map[connect.TopicPartition]int64{orders: 0})
			if _, err := s.(connect.OffsetStore).Positions(t.Context(), []connect.TopicPartition{orders}); err != nil {
				t.Fatal(err)
			}
		}
		b := oneRecord(0)
		if i == 2 {
			b.Parts[0].Records[0].Value = []byte("mended")
		}
		res, err := s.Put(t.Context(), b)
		if err != nil || res.Counts[0] != want {
			t.Errorf("Put number %d gave %+v and %v, want %+v", i+1, res.Counts, err, want)
		}
	}
	if rows := m.Rows(); len(rows) != 1 || rows[0].Value != "mended" {
		t.Errorf("the store holds %+v", rows)
	}
}

// TestPrepare: tombstones are filtered, and Invalid decides what is refused.
func TestPrepare(t *testing.T) {
	t.Parallel()
	invalid := &connect.RecordError{Stage: connect.StageValueConverter, Reason: "not_json"}
	m := NewMemory(MemoryConfig{Prepare: true, Invalid: func(_ string, r *connect.Record) *connect.RecordError {
		if string(r.Value) == "x" {
			return invalid
		}
		return nil
	}})
	p := m.Connector(testConnector).(connect.Preparer)
	if _, err := p.Prepare(nil, "orders", 0, &connect.Record{}); !errors.Is(err, connect.ErrFiltered) {
		t.Errorf("a tombstone gave %v", err)
	}
	if _, err := p.Prepare(nil, "orders", 0, &connect.Record{Value: []byte("x")}); !errors.Is(err, invalid) {
		t.Errorf("an invalid record gave %v", err)
	}
	row, err := p.Prepare(nil, "orders", 0, &connect.Record{Key: []byte("k"), Value: []byte("v")})
	if err != nil {
		t.Fatal(err)
	}
	if k, v, err := decodeRow(row); k != "k" || v != "v" || err != nil {
		t.Errorf("the row reads %q, %q, %v", k, v, err)
	}
	for _, bad := range []string{"", "\x05k", "\xff"} {
		if _, _, err := decodeRow([]byte(bad)); err == nil {
			t.Errorf("%q is taken for a row", bad)
		}
	}
}

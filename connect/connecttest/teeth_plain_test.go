package connecttest

import (
	"context"
	"strings"
	"testing"

	"github.com/qicore/tickconnect/connect"
)

// plainBroken is a sink without an offset store that breaks a promise.
type plainBroken struct {
	*memorySink
	open func(at []connect.Position)
	put  func(s *memorySink, ctx context.Context, b *connect.Batch) (connect.Result, error)
}

func (b *plainBroken) Open(ctx context.Context, claims []connect.Claim) ([]connect.Position, error) {
	at, err := b.memorySink.Open(ctx, claims)
	if b.open != nil {
		b.open(at)
	}
	return at, err
}

func (b *plainBroken) Put(ctx context.Context, batch *connect.Batch) (connect.Result, error) {
	if b.put != nil {
		return b.put(b.memorySink, ctx, batch)
	}
	return b.memorySink.Put(ctx, batch)
}

// plainConnector is a connector that breaks a promise of its own or of its sinks.
type plainConnector struct {
	memoryConnector
	kind     plainBroken
	delivery connect.Delivery
	prepare  func(dst []byte, r *connect.Record) []byte
}

func (c plainConnector) Delivery() connect.Delivery { return c.delivery }

func (c plainConnector) NewSink(task int) (connect.Sink, error) {
	s, err := c.memoryConnector.NewSink(task)
	if err != nil {
		return nil, err
	}
	b := c.kind
	b.memorySink = s.(*memorySink)
	return &b, nil
}

// plainPreparer prepares in its own way.
type plainPreparer struct{ plainConnector }

func (c plainPreparer) Prepare(dst []byte, _ string, _ int32, r *connect.Record) ([]byte, error) {
	return c.prepare(dst, r), nil
}

var honest = connect.Delivery{Why: "no offsets"}

// plainBreakages are like breakages, for connectors whose sinks store no offsets.
var plainBreakages = []struct {
	name  string
	fails []string
	c     plainConnector
}{
	{"claims exactly once", []string{"Interfaces"}, plainConnector{delivery: connect.Delivery{ExactlyOnce: true, Why: "hope"}}},
	{"does not say why", []string{"Interfaces"}, plainConnector{}},
	{"answers an offset", []string{"RowsAndOffsetsMoveTogether"}, plainConnector{
		delivery: honest,
		kind: plainBroken{open: func(at []connect.Position) {
			for i := range at {
				at[i].Next = 0
			}
		}},
	}},
	{"loses the last record", []string{"RowsAndOffsetsMoveTogether", "ConcurrentSinks", "RandomScheduleAtLeastOnce"}, plainConnector{
		delivery: honest,
		kind: plainBroken{put: func(s *memorySink, ctx context.Context, b *connect.Batch) (connect.Result, error) {
			res, err := s.Put(ctx, b)
			s.m.mu.Lock()
			defer s.m.mu.Unlock()
			if n := len(s.m.state.tape); n > 0 {
				s.m.state.tape = s.m.state.tape[:n-1]
			}
			return res, err
		}},
	}},
	{"an outage is taken for success", []string{"Outage", "RandomScheduleAtLeastOnce"}, plainConnector{
		delivery: honest,
		kind: plainBroken{put: func(s *memorySink, ctx context.Context, b *connect.Batch) (connect.Result, error) {
			res, err := s.Put(ctx, b)
			if !connect.IsRetriable(err) || ctx.Err() != nil {
				return res, err
			}
			return connect.Result{Counts: s.m.count(b)}, nil
		}},
	}},
	{"Prepare overwrites what is there", []string{"Prepare"}, plainConnector{
		prepare: func(_ []byte, r *connect.Record) []byte { return append([]byte{}, r.Value...) },
	}},
	{"Prepare changes the record", []string{"Prepare"}, plainConnector{
		prepare: func(dst []byte, r *connect.Record) []byte {
			dst = append(dst, r.Value...)
			r.Value = nil
			return dst
		},
	}},
}

// TestTeethWithoutOffsets: the suite notices what is broken in a connector whose
// sinks store no offsets, and in its Prepare.
func TestTeethWithoutOffsets(t *testing.T) {
	t.Parallel()
	for _, b := range plainBreakages {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			target := memoryTarget(MemoryConfig{NoOffsets: true})
			fresh := target.New
			target.New = func(t testing.TB) *Store {
				m := NewMemory(MemoryConfig{NoOffsets: true, Bad: refuseBad})
				s := memoryStore(m)
				c := b.c
				c.memoryConnector = memoryConnector{m: m, name: testConnector}
				s.Connector = func(testing.TB) connect.Connector {
					if c.prepare != nil {
						return plainPreparer{c}
					}
					return c
				}
				return s
			}
			for _, name := range b.fails {
				if r := record(t, caseNamed(t, name), target); !r.Failed() {
					t.Errorf("the case %s passed; it said %q", name, r.messages)
				}
			}
			// The same cases pass where nothing is broken.
			target.New = fresh
			for _, name := range b.fails {
				if r := record(t, caseNamed(t, name), target); r.Failed() {
					t.Errorf("the case %s failed a sound sink: %q", name, r.messages)
				}
			}
		})
	}
}

// TestMissingHooksAreLoud: a case that cannot be run is skipped and says so.
func TestMissingHooksAreLoud(t *testing.T) {
	t.Parallel()
	target := memoryTarget(MemoryConfig{})
	target.Bad, target.ChecksLog = nil, false
	target.New = func(testing.TB) *Store {
		full := memoryStore(NewMemory(MemoryConfig{}))
		return &Store{Connector: full.Connector, Rows: full.Rows}
	}
	skipped := 0
	for _, c := range cases {
		r := record(t, c, target)
		if r.Failed() {
			t.Errorf("%s failed without its hooks: %q", c.name, r.messages)
		}
		if !r.Skipped() {
			continue
		}
		skipped++
		if len(r.messages) != 1 || !strings.Contains(r.messages[0], "NOT tested") && c.name != "RandomScheduleAtLeastOnce" {
			t.Errorf("%s was skipped with %q", c.name, r.messages)
		}
	}
	// Prepare, both cases of Bad, Outage, LostAnswer, StalledTarget, BusyPartition,
	// Reset, RestoredStore, LogMadeAgain, the two of NewerWins, and
	// RandomScheduleAtLeastOnce.
	if skipped != 13 {
		t.Errorf("%d cases were skipped, want 13", skipped)
	}
}

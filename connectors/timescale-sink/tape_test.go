package timescalesink

import (
	"testing"

	"github.com/qicore/tickconnect/connect"
)

// TestTapeGoesBackOnlyWithAnIndex is promise 4: a tape is not reset to offsets
// that it stored, unless an index lets it replace them. A topic made again has
// stored none.
func TestTapeGoesBackOnlyWithAnIndex(t *testing.T) {
	t.Parallel()
	f := setup(t, func(cfg *Config) { cfg.InsertMode = "tape" })
	c := f.connector()
	p := tp(trades, 0)
	s := f.opened(c, p)
	f.put(s, part(c, p, trade(0, 0, "a", "1"), trade(1, 0, "b", "2")))

	back := map[connect.TopicPartition]int64{p: 0}
	if _, err := c.Admin().Reset(f.ctx(), Reset{Next: back}); err == nil {
		t.Error("a tape went back over what it stored")
	}
	if _, err := c.Admin().Reset(f.ctx(), Reset{Next: back, MadeAgain: map[string]connect.TopicID{trades: {7}}}); err != nil {
		t.Fatalf("the topic was made again: %v", err)
	}
	claim := claims(p)
	claim[0].TopicID = connect.TopicID{7}
	s = f.sink(c)
	if at, err := s.Open(f.ctx(), claim); err != nil || at[0].Err != nil || at[0].Next != 0 {
		t.Fatalf("%+v, %v: want 0", at, err)
	}
	f.put(s, part(c, p, trade(0, 5, "c", "3"), trade(1, 5, "d", "4")))
	if n := value[int](f, f.in("SELECT count(*)::int FROM %s.crypto_trades")); n != 4 {
		t.Errorf("%d rows, want the two of each topic", n)
	}

	cfg := *f.cfg
	cfg.TapeReplayIndex = true
	f.exec(f.in("CREATE INDEX ON %s.crypto_trades (origin_topic, origin_partition, origin_offset)"))
	c = f.connectorWith(&cfg)
	if _, err := c.Admin().Reset(f.ctx(), Reset{Next: back}); err != nil {
		t.Fatalf("with the index: %v", err)
	}
	s = f.sink(c)
	if at, err := s.Open(f.ctx(), claim); err != nil || at[0].Err != nil || at[0].Next != 0 {
		t.Fatalf("%+v, %v: want 0", at, err)
	}
	f.put(s, part(c, p, trade(0, 5, "c", "3"), trade(1, 5, "d", "4")))
	if n := value[int](f, f.in("SELECT count(*)::int FROM %s.crypto_trades")); n != 4 {
		t.Errorf("%d rows after the reset, want 4", n)
	}
}

package timescalesink

import (
	"testing"
	"time"

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

// TestTapeReplacesCompressedRows: a chunk that was compressed since is deleted
// from by its name all the same.
func TestTapeReplacesCompressedRows(t *testing.T) {
	t.Parallel()
	f := setup(t, func(c *Config) { c.TapeReplayIndex, c.CompressAfter = true, 24*time.Hour })
	c := f.connector()
	p := tp(level1, 0)
	s := f.opened(c, p)
	quotes := part(c, p, quoteOn(0, 0), quoteOn(1, 0), quoteOn(2, 3), quoteOn(3, 9))
	f.put(s, quotes)
	if !c.schema.edition.community {
		t.Skip("the Apache edition compresses nothing")
	}
	f.exec("SELECT compress_chunk(c) FROM show_chunks($1::regclass) AS c", quote(f.cfg.SchemaName, "crypto_level1"))
	if _, err := c.Admin().Reset(f.ctx(), Reset{Next: map[connect.TopicPartition]int64{p: 1}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(f.ctx(), claims(p)); err != nil {
		t.Fatal(err)
	}
	f.put(s, part(c, p, quoteOn(1, 0), quoteOn(2, 3), quoteOn(3, 9)))
	if n := value[int](f, f.in("SELECT count(*) FROM %s.crypto_level1")); n != 4 {
		t.Errorf("%d rows, want 4", n)
	}
}

// TestChunkThatKeepsRows: where a DELETE from a chunk passes by some of its rows,
// as it may where they are compressed, they are replaced all the same.
func TestChunkThatKeepsRows(t *testing.T) {
	t.Parallel()
	f := setup(t, func(c *Config) { c.TapeReplayIndex = true })
	c := f.connector()
	p := tp(level1, 0)
	s := f.opened(c, p)
	f.put(s, part(c, p, quoteOn(0, 0), quoteOn(1, 3)))
	if _, err := c.Admin().Reset(f.ctx(), Reset{Next: map[connect.TopicPartition]int64{p: 0}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(f.ctx(), claims(p)); err != nil {
		t.Fatal(err)
	}
	f.exec(f.in(`CREATE FUNCTION %s.once() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN RETURN CASE WHEN current_query() LIKE '%%_timescaledb_internal%%' THEN NULL ELSE OLD END; END $$`))
	f.exec(f.in(`CREATE TRIGGER once BEFORE DELETE ON %s.crypto_level1 FOR EACH ROW EXECUTE FUNCTION %s.once()`))
	f.put(s, part(c, p, quoteOn(0, 0), quoteOn(1, 3)))
	if n := value[int](f, f.in("SELECT count(*) FROM %s.crypto_level1")); n != 2 {
		t.Errorf("%d rows, want 2", n)
	}
	if !s.wholeTapes {
		t.Error("the chunks kept no row")
	}
}

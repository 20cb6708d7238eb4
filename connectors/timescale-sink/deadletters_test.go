package timescalesink

import (
	"errors"
	"reflect"
	"testing"

	"github.com/qicore/tickconnect/connect"
)

// badTrade is a record that cannot be decoded, with bytes of every sort.
func badTrade(offset int64) connect.Record {
	return connect.Record{
		Offset: offset, Timestamp: baseTime + offset, Key: []byte{0, 0xff, 'k'}, Value: []byte("{\x00\xfe"),
		Headers: []connect.Header{
			{Key: "twice", Value: []byte{0}},
			{Key: "twice", Value: nil},
			{Key: "\xff\x00", Value: []byte{}},
		},
	}
}

// TestDeadLettersAreExact: key, value and headers come back byte for byte, in
// the outbox and in the list, and are published once.
func TestDeadLettersAreExact(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	c := f.connector()
	p := tp(trades, 0)
	s := f.opened(c, p)
	one := part(c, p, badTrade(0), trade(1, 1, "a", "1"), connect.Record{Offset: 2, Timestamp: -1, Value: []byte{}})
	f.wantCounts(f.put(s, one), connect.Counts{Written: 1, Inserted: 1, DeadLettered: 2})

	want := one.Records[0]
	refused := errors.New("the topic is away")
	if _, err := c.PublishDeadLetters(f.ctx(), 10, func([]connect.DeadLetter) error { return refused }); !errors.Is(err, refused) {
		t.Fatalf("PublishDeadLetters gave %v", err)
	}
	var published []connect.DeadLetter
	keep := func(letters []connect.DeadLetter) error {
		published = append(published, letters...)
		return nil
	}
	for _, n := range []int{1, 1, 0} {
		if got, err := c.PublishDeadLetters(f.ctx(), 1, keep); err != nil || got != n {
			t.Fatalf("published %d (%v), want %d", got, err, n)
		}
	}
	if got := published[0]; got.TopicPartition != p || !reflect.DeepEqual(got.Record, want) {
		t.Errorf("published\n%+v, want\n%+v", got.Record, want)
	}
	if got := published[1]; got.Timestamp != -1 || got.Key != nil || got.Value == nil || len(got.Value) != 0 {
		t.Errorf("published %+v, want no key, an empty value and no time", got.Record)
	}

	list, err := c.Admin().DeadLetters(f.ctx(), DeadLetterQuery{Limit: 1})
	if err != nil || len(list) != 1 || !reflect.DeepEqual(list[0].Record, want) || list[0].PublishedAt == nil {
		t.Fatalf("the list gives %+v, %v", list, err)
	}
	list, err = c.Admin().DeadLetters(f.ctx(), DeadLetterQuery{Topic: trades, Limit: 5, After: &list[0]})
	if err != nil || len(list) != 1 || list[0].Offset != 2 {
		t.Fatalf("its second page gives %+v, %v", list, err)
	}
	shown, err := c.Admin().DeadLetter(f.ctx(), p, 0)
	if err != nil || len(shown) != 1 || !reflect.DeepEqual(shown[0].Record, want) {
		t.Fatalf("show gives %+v, %v", shown, err)
	}
}

// TestDeadLetterIsSuperseded: once a later generation passed its offset a dead
// letter of a former one needs nobody's care.
func TestDeadLetterIsSuperseded(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	c := f.connector()
	p := tp(trades, 0)
	s := f.opened(c, p)
	f.put(s, part(c, p, badTrade(0), badTrade(1), badTrade(2)))
	if _, err := c.Admin().Reset(f.ctx(), Reset{Next: map[connect.TopicPartition]int64{p: 1}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Positions(f.ctx(), []connect.TopicPartition{p}); err != nil {
		t.Fatal(err)
	}
	f.put(s, part(c, p, trade(1, 1, "mended", "1"), badTrade(2)))
	list, err := c.Admin().DeadLetters(f.ctx(), DeadLetterQuery{Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	type place struct {
		generation int32
		offset     int64
	}
	var got []place
	for _, l := range list {
		got = append(got, place{l.Generation, l.Offset})
	}
	if want := []place{{0, 0}, {1, 2}}; !reflect.DeepEqual(got, want) {
		t.Errorf("open dead letters %v, want %v", got, want)
	}
}

// TestBadRecordIsNamed: where the database could not read a value it is told
// which record has it; where a constraint refused a row nobody is.
func TestBadRecordIsNamed(t *testing.T) {
	t.Parallel()
	f := setup(t, func(c *Config) { c.CopyMin = 1 })
	f.existingTrades("numeric", tradesKey)
	f.exec(f.in("ALTER TABLE %s.crypto_trades ALTER COLUMN exchange_id TYPE varchar(6), ADD CHECK (size < 5)"))
	c := f.connector()
	p := tp(trades, 0)
	s := f.opened(c, p)
	long := trade(1, 1, "b", "1")
	long.Value = []byte(`{"exchangeId":"krakenfutures","symbol":"S","tradeId":"b","time":1700000000000,"price":1,"size":1}`)
	_, err := s.Put(f.ctx(), batch(part(c, p, trade(0, 0, "a", "1"), long, trade(2, 2, "c", "1"))))
	var bad *connect.BadDataError
	if !errors.As(err, &bad) || bad.Offset != 1 || bad.At != p || bad.Record.SQLState != "22001" || bad.Record.Column != "exchange_id" {
		t.Fatalf("Put gave %+v, want offset 1, 22001, exchange_id", err)
	}
	big := trade(1, 1, "b", "1")
	big.Value = []byte(`{"exchangeId":"kraken","symbol":"S","tradeId":"b","time":1700000000000,"price":1,"size":5}`)
	_, err = s.Put(f.ctx(), batch(part(c, p, trade(0, 0, "a", "1"), big, trade(2, 2, "c", "1"))))
	if !errors.As(err, &bad) || bad.Offset != -1 || bad.Record.SQLState != "23514" {
		t.Fatalf("Put gave %+v, want 23514 without an offset", err)
	}
	if n := value[int](f, f.in("SELECT count(*) FROM %s.crypto_trades")); n != 0 {
		t.Errorf("%d rows were stored", n)
	}
}

// TestTapeRefusesToGoBack without an index on the origin (promise 4); level1 is
// a tape in upsert mode too.
func TestTapeRefusesToGoBack(t *testing.T) {
	t.Parallel()
	for _, indexed := range []bool{false, true} {
		f := setup(t, func(c *Config) { c.TapeReplayIndex = indexed })
		c := f.connector()
		p := tp(level1, 0)
		s := f.opened(c, p)
		quote := func(o int64) connect.Record {
			return connect.Record{Offset: o, Timestamp: baseTime, Value: []byte(`{"exchangeId":"x","symbol":"S","time":1700000000000,"bidPrice":1}`)}
		}
		three := part(c, p, quote(0), quote(1), quote(2))
		f.put(s, three)
		_, err := c.Admin().Reset(f.ctx(), Reset{Next: map[connect.TopicPartition]int64{p: 0}})
		if (err == nil) != indexed {
			t.Fatalf("with the index %t Reset gave %v", indexed, err)
		}
		if !indexed {
			if positions, err := s.Positions(f.ctx(), []connect.TopicPartition{p}); err != nil || positions[0].Next != 3 {
				t.Fatalf("%+v, %v: a refused reset must change nothing", positions, err)
			}
			continue
		}
		if _, err := s.Positions(f.ctx(), []connect.TopicPartition{p}); err != nil {
			t.Fatal(err)
		}
		f.put(s, three)
		if n := value[int](f, f.in("SELECT count(*) FROM %s.crypto_level1")); n != 3 {
			t.Errorf("%d rows, want 3", n)
		}
	}
}

package timescalesink

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/qicore/tickconnect/connect"
)

var errNotTaken = errors.New("the letter is not taken")

// TestOutboxGoesPastALetter that the topic does not take: the others are
// published once or, where they were with it, twice.
func TestOutboxGoesPastALetter(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	c := f.connector()
	p := tp(trades, 0)
	s := f.opened(c, p)
	f.put(s, part(c, p, badTrade(0), badTrade(1), badTrade(2), badTrade(3), badTrade(4)))
	copies, refuses := map[int64]int{}, map[int64]bool{0: true, 1: true, 3: true}
	publish := func(letters []connect.DeadLetter) (err error) {
		for _, l := range letters { // as a producer does: each for itself, and the first error is told
			if refuses[l.Offset] {
				err = errNotTaken
			} else {
				copies[l.Offset]++
			}
		}
		return err
	}
	total := 0
	for range 4 {
		n, err := c.PublishDeadLetters(f.ctx(), 500, publish)
		if err != nil {
			t.Fatal(err)
		}
		total += n
	}
	if total != 2 || copies[2] != 2 || copies[4] != 2 {
		t.Errorf("published %d, copies %v", total, copies)
	}
	f.put(s, part(c, p, badTrade(5)))
	if n, err := c.PublishDeadLetters(f.ctx(), 500, publish); n != 1 || err != nil || copies[5] != 1 {
		t.Errorf("a later letter: %d %v, copies %v", n, err, copies)
	}
	refuses = nil
	for k, failed := range c.outbox.failing { // as after outboxRetryAfter
		failed.after = time.Now()
		c.outbox.failing[k] = failed
	}
	if n, err := c.PublishDeadLetters(f.ctx(), 500, publish); n != 3 || err != nil || len(c.outbox.failing) != 0 {
		t.Errorf("once they are taken: %d %v", n, err)
	}
}

// TestOutboxWaitsForTheTopic: where it takes nothing no letter is singled out,
// and few are tried.
func TestOutboxWaitsForTheTopic(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	c := f.connector()
	p := tp(trades, 0)
	s := f.opened(c, p)
	var records []connect.Record
	for o := range int64(20) {
		records = append(records, badTrade(o))
	}
	f.put(s, part(c, p, records...))
	calls := 0
	for range 12 {
		_, err := c.PublishDeadLetters(f.ctx(), 500, func([]connect.DeadLetter) error { calls++; return errNotTaken })
		if !errors.Is(err, errNotTaken) {
			t.Fatalf("PublishDeadLetters gave %v", err)
		}
	}
	if limit := 12 * (1 + outboxFailuresMax); calls > limit {
		t.Errorf("%d calls, want at most %d", calls, limit)
	}
	got := 0
	for range 2 { // first those that were not tried one by one
		n, err := c.PublishDeadLetters(f.ctx(), 500, func([]connect.DeadLetter) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		got += n
	}
	if got != 20 {
		t.Errorf("once the topic is back %d are published, want 20", got)
	}
}

// TestOutboxIsBoundedInBytes, and a letter above the bound is handed on alone.
func TestOutboxIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	c := f.connector()
	p := tp(trades, 0)
	s := f.opened(c, p)
	var records []connect.Record
	for o, size := range []int{1 << 20, 1 << 20, 5 << 20, 1 << 20, 3 << 20, 2 << 20} {
		r := badTrade(int64(o))
		r.Value, r.Headers = bytes.Repeat([]byte{0xff}, size), nil
		records = append(records, r)
	}
	f.put(s, part(c, p, records...))
	var pages []int
	n, err := c.PublishDeadLetters(f.ctx(), 500, func(letters []connect.DeadLetter) error {
		size := 0
		for _, l := range letters {
			size += len(l.Value)
		}
		if len(letters) > 1 && size > outboxPageBytes {
			t.Errorf("%d letters with %d bytes", len(letters), size)
		}
		pages = append(pages, len(letters))
		return nil
	})
	if n != 6 || err != nil || len(pages) < 3 {
		t.Errorf("published %d in pages of %v, %v", n, pages, err)
	}
}

// TestSlowOutboxHoldsNoPut: while the broker is slow, Puts pass the letters that
// are being published, and another replica finds nothing to do.
func TestSlowOutboxHoldsNoPut(t *testing.T) {
	t.Parallel()
	f := setup(t, func(c *Config) { c.LockTimeout = 300 * time.Millisecond })
	c, other := f.connector(), f.connector()
	p := tp(trades, 0)
	s := f.opened(c, p)
	f.put(s, part(c, p, badTrade(0)))
	if _, err := c.Admin().Reset(f.ctx(), Reset{Next: map[connect.TopicPartition]int64{p: 0}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(f.ctx(), claims(p)); err != nil {
		t.Fatal(err)
	}
	n, err := c.PublishDeadLetters(f.ctx(), 500, func([]connect.DeadLetter) error {
		f.put(s, part(c, p, trade(0, 0, "a", "1"))) // supersedes the letter
		n, err := other.PublishDeadLetters(f.ctx(), 500, func([]connect.DeadLetter) error { return nil })
		if n != 0 || err != nil {
			t.Errorf("another replica published %d, %v", n, err)
		}
		return nil
	})
	if n != 1 || err != nil {
		t.Errorf("published %d, %v", n, err)
	}
	if n := value[int](f, f.in("SELECT count(*) FROM %s.connector_dead_letters WHERE published_at IS NOT NULL AND redriven_at IS NOT NULL")); n != 1 {
		t.Errorf("%d letters are published and done", n)
	}
}

package timescalesink

import (
	"slices"
	"testing"
	"time"

	"github.com/qicore/tickconnect/connect"
)

// TestPurgeDeadLetters: what was asked for goes, page by page, and nothing else; what is
// to be published first stays.
func TestPurgeDeadLetters(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	c := f.connector()
	other := f.connectorWith(f.cfg) // of the same name
	p := tp(trades, 0)
	s := f.opened(c, p)
	f.put(s, part(c, p, badTrade(0), badTrade(1), badTrade(2)))
	if n, err := c.PublishDeadLetters(f.ctx(), 1, func([]connect.DeadLetter) error { return nil }); n != 1 || err != nil {
		t.Fatalf("published %d, %v", n, err)
	}
	// A crowd of another topic, more than a page, that is older.
	f.exec(f.in(`INSERT INTO %s.connector_dead_letters (connector, generation, topic, partition, "offset", stage, reason, message, created_at)
		SELECT '` + c.name + `', 0, 'old', 0, n, 's', 'old_reason', 'm', now() - interval '40 days' FROM generate_series(1, 10500) n`))
	f.exec(f.in(`INSERT INTO %s.connector_dead_letters (connector, generation, topic, partition, "offset", stage, reason, message, created_at)
		VALUES ('another', 0, 'old', 0, 1, 's', 'old_reason', 'm', now() - interval '40 days')`))
	left := func() int64 {
		return value[int64](f, f.in(`SELECT count(*) FROM %s.connector_dead_letters`))
	}
	admin := other.Admin()
	monthAgo := DeadLetterPurge{Before: time.Now().AddDate(0, -1, 0)}
	goes, kept, err := admin.PlanDeadLetterPurge(f.ctx(), monthAgo)
	if err != nil || kept != 0 || len(goes) != 1 || goes[0].Reason != "old_reason" || goes[0].Count != 10500 || goes[0].Newest.After(monthAgo.Before) {
		t.Fatalf("the plan is %+v, %d kept, %v", goes, kept, err)
	}
	if left() != 10504 {
		t.Fatal("a plan deleted something")
	}
	for _, narrow := range []DeadLetterPurge{
		{Before: monthAgo.Before, Topic: trades},
		{Before: monthAgo.Before, Reason: "none"},
		{Before: monthAgo.Before, KeepUnpublished: true},
	} {
		if n, err := admin.PurgeDeadLetters(f.ctx(), narrow, func(int64) {}); n != 0 || err != nil {
			t.Errorf("%+v deleted %d, %v", narrow, n, err)
		}
	}
	var told []int64
	n, err := admin.PurgeDeadLetters(f.ctx(), monthAgo, func(gone int64) { told = append(told, gone) })
	if err != nil || n != 10500 || !slices.Equal(told, []int64{10000, 10500}) || left() != 4 {
		t.Fatalf("deleted %d, told %v, left %d, %v", n, told, left(), err)
	}
	now := DeadLetterPurge{Before: time.Now().Add(time.Hour), KeepUnpublished: true}
	if goes, kept, err = admin.PlanDeadLetterPurge(f.ctx(), now); err != nil || kept != 2 || len(goes) != 1 || goes[0].Count != 1 {
		t.Errorf("the plan is %+v, %d kept, %v", goes, kept, err)
	}
	if n, err = admin.PurgeDeadLetters(f.ctx(), now, func(int64) {}); n != 1 || err != nil {
		t.Errorf("deleted %d, %v: want the published one", n, err)
	}
	if n, err := c.PublishDeadLetters(f.ctx(), 10, func([]connect.DeadLetter) error { return nil }); n != 2 || err != nil {
		t.Errorf("%d are still published, %v: want 2", n, err)
	}
	// The account stays as it is.
	if n := value[int64](f, f.in(`SELECT dead_lettered FROM %s.connector_ledger`)); n != 3 {
		t.Errorf("the ledger counts %d dead letters, want 3", n)
	}
}

// TestPurgeGenerations: a closed generation goes once nothing needs it, what still works
// for it stays fenced, and its number is not used again.
func TestPurgeGenerations(t *testing.T) {
	t.Parallel()
	f := setup(t, func(c *Config) { c.TapeReplayIndex = true })
	c := f.connector()
	p := tp(trades, 0)
	zombie := f.opened(c, p)
	f.put(zombie, part(c, p, trade(0, 0, "a", "1"), trade(1, 1, "b", "2")))
	admin := c.Admin()
	reset := func(to int64, want int32) {
		t.Helper()
		if g, err := admin.Reset(f.ctx(), Reset{Next: map[connect.TopicPartition]int64{p: to}, Note: "a test"}); err != nil || g != want {
			t.Fatalf("generation %d, %v; want %d", g, err, want)
		}
	}
	check := func(before time.Time, want ...string) {
		t.Helper()
		all, err := admin.ClosedGenerations(f.ctx(), before)
		var got []string
		for _, g := range all {
			got = append(got, g.Needed)
			if g.Kind != "live" || g.Partitions != 1 || g.ClosedAt.IsZero() {
				t.Errorf("%+v", g)
			}
		}
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("closed are %q, %v; want %q", got, err, want)
		}
	}
	soon := time.Now().Add(time.Hour)
	const behind = "the live generation went back behind it"
	check(soon)
	reset(0, 1)
	reset(1, 2) // the first went to 2, the second stays at 0
	check(soon, behind, "")
	check(time.Now().Add(-time.Hour))

	gone, err := admin.PurgeGenerations(f.ctx(), soon)
	if err != nil || len(gone) != 1 || gone[0].Generation != 1 {
		t.Fatalf("gone are %+v, %v", gone, err)
	}
	check(soon, behind)
	s := f.opened(c, p)
	f.put(s, part(c, p, trade(1, 1, "b", "2"), trade(2, 2, "c", "3")))
	check(soon, "")
	if gone, err = admin.PurgeGenerations(f.ctx(), soon); err != nil || len(gone) != 1 || gone[0].Generation != 0 {
		t.Fatalf("gone are %+v, %v", gone, err)
	}
	_, err = zombie.Put(f.ctx(), batch(part(c, p, trade(2, 2, "zombie", "9"))))
	_ = fenced(t, err)
	rows, err := admin.Ledger(f.ctx())
	if err != nil || len(rows) != 1 || rows[0].Generation != 2 || rows[0].NextOffset != 3 {
		t.Errorf("the ledger is %+v, %v", rows, err)
	}
	reset(3, 3)

	// A replay that is over and has the highest number keeps it taken.
	f.exec(f.in(`INSERT INTO %s.connector_generations (connector, generation, kind, state, closed_at) VALUES ('` + c.name + `', 7, 'replay', 'closed', now())`))
	all, err := admin.ClosedGenerations(f.ctx(), soon)
	if err != nil || len(all) != 2 || all[0].Needed != "" || all[1].Needed != "it is the latest" {
		t.Errorf("closed are %+v, %v", all, err)
	}
}

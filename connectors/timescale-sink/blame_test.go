package timescalesink

import (
	"errors"
	"testing"

	"github.com/qicore/tickconnect/connect"
)

// TestBlame: an error of a row blames a record, the same error of the ledger or
// of the dead letters never does (promise 6).
func TestBlame(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	c := f.connector()
	p := tp(trades, 0)
	s := f.opened(c, p)
	f.put(s, part(c, p, trade(0, 0, "a", "1")))

	f.exec(f.in("ALTER TABLE %s.crypto_trades ADD inverse numeric GENERATED ALWAYS AS (1 / (price - 7)) STORED"))
	var bad *connect.BadDataError
	if _, err := s.Put(f.ctx(), batch(part(c, p, trade(1, 1, "b", "7")))); !errors.As(err, &bad) {
		t.Errorf("a division by zero in a generated column gives %v, want a BadDataError", err)
	}
	f.exec(f.in("ALTER TABLE %s.crypto_trades DROP inverse"))

	for table, column := range map[string]string{"connector_ledger": "written < 2", "connector_dead_letters": "reason <> 'bad'"} {
		f.exec(f.in("ALTER TABLE %s." + table + " ADD CONSTRAINT probe CHECK (" + column + ")"))
		dead := connect.Record{Offset: 2, Timestamp: baseTime, Value: []byte("x"), Err: &connect.RecordError{Stage: connect.StageTaskPut, Reason: "bad", Message: "bad"}}
		b := batch(part(c, p, trade(1, 1, "b", "2"), dead))
		b.Parts[0].Records[1] = dead
		_, err := s.Put(f.ctx(), b)
		if err == nil || errors.As(err, &bad) || connect.IsRetriable(err) {
			t.Errorf("a CHECK of %s gives %v, want an error for the operator", table, err)
		}
		f.exec(f.in("ALTER TABLE %s." + table + " DROP CONSTRAINT probe"))
	}
	f.put(s, part(c, p, trade(1, 1, "b", "2")))
}

// TestNoFateIsNegative: fates of which one is negative do not balance others
// that are too many (promise 3).
func TestNoFateIsNegative(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	c := f.connector()
	f.opened(c, tp(trades, 0))
	_, err := f.conn.Exec(f.ctx(), f.in("UPDATE %s.connector_ledger SET written = 12, absent = -12"))
	if sqlState(err) != "23514" {
		t.Errorf("12 rows too many, balanced by -12 absent: %v, want a violated CHECK", err)
	}
}

// TestUnaccountedOffsetsAreRead: a ledger that was altered behind the CHECK's back
// says so to whoever opens the partition or looks where it stands (promise 3).
func TestUnaccountedOffsetsAreRead(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	c := f.connector()
	p := tp(trades, 0)
	s := f.opened(c, p)
	f.put(s, part(c, p, trade(0, 0, "a", "1"), trade(1, 1, "b", "1")))
	read := func() (unaccounted [2]int64) {
		t.Helper()
		opened, err := f.sink(c).Open(f.ctx(), claims(p))
		if err != nil {
			t.Fatal(err)
		}
		standing, err := s.Positions(f.ctx(), []connect.TopicPartition{p})
		if err != nil {
			t.Fatal(err)
		}
		return [2]int64{opened[0].Unaccounted, standing[0].Unaccounted}
	}
	if got := read(); got != [2]int64{} {
		t.Errorf("a good ledger leaves %d offsets without a fate", got)
	}
	f.exec(f.in("ALTER TABLE %s.connector_ledger DROP CONSTRAINT connector_ledger_accounts, DROP CONSTRAINT connector_ledger_inserted"))
	for sql, want := range map[string]int64{
		"next_offset = 2, written = 1":              1, // a row was taken off the account
		"next_offset = 2, written = 2, expired = 3": -3,
		"next_offset = 7, written = 0":              7,
		"next_offset = 7, written = 5, absent = 2":  0,
	} {
		f.exec(f.in("UPDATE %s.connector_ledger SET absent = 0, expired = 0"))
		f.exec(f.in("UPDATE %s.connector_ledger SET " + sql))
		if got := read(); got != [2]int64{want, want} {
			t.Errorf("after %q %d offsets have no fate, want %d", sql, got, want)
		}
	}
}

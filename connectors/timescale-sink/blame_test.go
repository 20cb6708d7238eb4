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

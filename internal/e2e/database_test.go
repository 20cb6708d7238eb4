package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/qicore/tickconnect/internal/devstack/testenv"
	"github.com/qicore/tickconnect/marketdata"
)

// waitMoving waits until some rows more are stored than now.
func (s *stack) waitMoving() {
	s.t.Helper()
	total := func() int64 {
		ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
		defer cancel()
		ledger, err := s.ledger(ctx)
		if err != nil {
			return -1
		}
		var sum int64
		for _, r := range ledger {
			sum += r.next
		}
		return sum
	}
	before := total()
	eventually(s.t, limit, func() string {
		if now := total(); now > before && now > 0 {
			return ""
		}
		return fmt.Sprintf("the ledger stands still at %d offsets in all", before)
	})
}

// TestDatabaseFaults: whatever the database does is waited out; nothing is lost
// or doubled, and no good record becomes a dead letter.
func TestDatabaseFaults(t *testing.T) {
	t.Parallel()
	eachBroker(t, func(t *testing.T, brokers []string) {
		db := testenv.OwnDatabase(t)
		ctx, cancel := context.WithTimeout(t.Context(), 4*limit)
		defer cancel()
		s := newStackAt(t, brokers, db.URL(), "market")
		// Batches that are large enough for COPY, and few enough rows at once that
		// there are many.
		s.settings["copy.min.rows"] = "20"
		s.settings["batch.size"] = "500"
		p := s.newStream(3)

		if err := db.Kill(); err != nil {
			t.Fatal(err)
		}
		r := s.start("replica-0")
		p.send(200)
		r.waitHealth(http.StatusServiceUnavailable)
		if !r.running() {
			t.Fatal("the connector ended since the database was not there")
		}
		restart := func() {
			t.Helper()
			if err := db.Restart(ctx); err != nil {
				t.Fatal(err)
			}
		}
		restart()
		s.checkAccount()
		r.waitHealth(http.StatusOK)

		p.run()
		s.waitMoving()
		restart() // in good order
		s.waitMoving()
		if err := db.Kill(); err != nil {
			t.Fatal(err)
		}
		restart()
		s.waitMoving()

		// Connections end wherever they are, in the middle of COPY too.
		ended := 0
		eventually(t, limit, func() string {
			var n int
			err := s.db.QueryRow(ctx, `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
				WHERE application_name = 'tickconnect/' || $1 AND state <> 'idle'`, s.connector).Scan(&n)
			if err != nil {
				return err.Error()
			}
			if ended += n; ended >= 20 {
				return ""
			}
			return fmt.Sprintf("%d backends were ended at work", ended)
		})
		s.waitMoving()

		s.exec("ALTER SYSTEM SET default_transaction_read_only = on")
		s.exec("SELECT pg_reload_conf()")
		r.waitHealth(http.StatusServiceUnavailable)
		s.exec("ALTER SYSTEM RESET default_transaction_read_only")
		s.exec("SELECT pg_reload_conf()")
		s.waitMoving()

		// A full disk, as the server tells of it.
		s.exec(`CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS
			$$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$`)
		s.exec("CREATE TRIGGER full_disk BEFORE UPDATE ON " + s.table("connector_ledger") + " EXECUTE FUNCTION disk_full()")
		r.waitHealth(http.StatusServiceUnavailable)
		s.exec("DROP TRIGGER full_disk ON " + s.table("connector_ledger"))
		s.waitMoving()

		p.stop()
		s.checkAccount()
		r.waitHealth(http.StatusOK)
		r.terminate(limit)
	})
}

// TestDeadTarget: of two connectors in one process the one whose database is not
// there does not hold the other.
func TestDeadTarget(t *testing.T) {
	t.Parallel()
	eachBroker(t, func(t *testing.T, brokers []string) {
		s := newStack(t, brokers)
		p := s.newStream(2)
		p.send(100)
		extra := fmt.Sprintf("  dead-%s:\n    connector.class: timescale-sink\n    topics.regex: %q\n    connection.url: postgres://u:hunter2@127.0.0.1:1/db\n",
			s.id, "crypto-[a-z0-9]+-"+s.id+"-.+")
		r := startReplica(t, "replica-0", s.config("replica-0", nil, extra))
		s.checkAccount()
		p.send(100)
		s.checkAccount()
		r.waitHealth(http.StatusServiceUnavailable, "dead-"+s.id)
		r.terminate(limit)
		if strings.Contains(r.log.String(), "hunter2") {
			t.Error("the log shows the password")
		}
	})
}

// TestRestoredDatabase: a database that is put back to an earlier state, rows and
// ledger together, is refilled from the log without a restart and without new
// records.
func TestRestoredDatabase(t *testing.T) {
	t.Parallel()
	eachBroker(t, func(t *testing.T, brokers []string) {
		s := newStack(t, brokers)
		level1 := s.createTopic(marketdata.KindLevel1, "okx", 1)
		trades := s.createTopic(marketdata.KindTrade, "okx", 1)
		for seq := range 200 {
			s.produce(level1, newSample(marketdata.KindLevel1, s.exchange("okx"), seq, 0))
		}
		s.trades(trades, "okx", 0, 200)
		r := s.start("replica-0")
		s.checkAccount()
		backup := fmt.Sprintf(`DO $$ BEGIN
			DELETE FROM %[1]s WHERE origin_offset >= 50;
			DELETE FROM %[2]s WHERE origin_offset >= 50;
			UPDATE %[3]s SET next_offset = 50, written = 50, inserted = 50, unchanged = 0, merged = 0, stale = 0,
				last_offset = NULL, last_time = NULL;
		END $$`, s.table(tableNames[marketdata.KindLevel1]), s.table(tableNames[marketdata.KindTrade]), s.table("connector_ledger"))
		s.exec(backup)
		s.checkAccount()
		r.waitHealth(http.StatusOK)
	})
}

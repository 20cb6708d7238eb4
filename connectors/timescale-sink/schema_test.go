package timescalesink

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/qicore/tickconnect/connect"
)

// existingTrades makes a table as a user may have it.
func (f *fixture) existingTrades(price, constraint string) {
	f.Helper()
	f.exec(f.in(fmt.Sprintf(`CREATE TABLE %%s.crypto_trades (
		id bigint GENERATED ALWAYS AS IDENTITY, exchange_id varchar(50) NOT NULL, symbol text NOT NULL, trade_id text NOT NULL,
		time timestamptz NOT NULL, price %s NOT NULL, size numeric NOT NULL, side text, source text, flags text[],
		origin_topic int, origin_partition int, origin_offset bigint, origin_time timestamptz%s)`, price, constraint)))
	f.exec("SELECT create_hypertable($1::regclass, by_range('time'))", quote(f.cfg.SchemaName, "crypto_trades"))
}

const tradesKey = ", UNIQUE (symbol, exchange_id, trade_id, time)"

// TestExistingTable is used as it is, with its own types and order of columns;
// values that numeric(20,8) would round are bad records (promise 7).
func TestExistingTable(t *testing.T) {
	t.Parallel()
	for name, copyMin := range map[string]int{"COPY": 1, "INSERT": 1000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, func(c *Config) { c.CopyMin = copyMin })
			f.existingTrades("numeric(20,8)", tradesKey)
			f.exec(f.in("INSERT INTO %s.crypto_trades (exchange_id, symbol, trade_id, time, price, size) VALUES ('kraken', 'BTC-USD', 'old', to_timestamp($1 / 1000.0), 1, 1)"), float64(baseTime))
			c := f.connector()
			p := tp(trades, 0)
			s := f.opened(c, p)
			one := part(c, p, trade(0, 0, "a", "1.12345678"), trade(1, 1, "b", "1.123456789"), trade(2, 2, "c", "1.1200000000"),
				trade(3, 3, "d", "1234567890123.5"), trade(4, 4, "e", "1e-9"), trade(5, 5, "f", "123456789012.5"), trade(6, 6, "old", "7"))
			for i, wantBad := range []bool{false, true, false, true, true, false, false} {
				e := one.Records[i].Err
				if (e != nil) != wantBad {
					t.Errorf("record %d: %v, want bad: %t", i, e, wantBad)
				}
				if e != nil && (e.Column != "price" || e.Reason != "numeric_does_not_fit") {
					t.Errorf("record %d: %+v", i, e)
				}
			}
			f.wantCounts(f.put(s, one), connect.Counts{Written: 4, Inserted: 3, DeadLettered: 3})
			for id, want := range map[string]string{"a": "1.12345678", "c": "1.12000000", "f": "123456789012.50000000", "old": "7.00000000"} {
				if got := f.price(id); got != want {
					t.Errorf("%s = %s, want %s", id, got, want)
				}
			}
		})
	}
}

// TestUnfitTableIsRefused: the refusal stops the partitions of that kind alone,
// and running its advice mends it.
func TestUnfitTableIsRefused(t *testing.T) {
	t.Parallel()
	for name, k := range map[string]struct{ price, constraint, also string }{
		"float":           {"double precision", tradesKey, ""},
		"no key":          {"numeric", "", ""},
		"no column":       {"numeric", tradesKey, "ALTER TABLE %s.crypto_trades DROP COLUMN flags"},
		"needs more":      {"numeric", ", mine text NOT NULL" + tradesKey, ""},
		"optional needed": {"numeric", tradesKey, "ALTER TABLE %s.crypto_trades ALTER COLUMN side SET NOT NULL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, nil)
			f.existingTrades(k.price, k.constraint)
			if k.also != "" {
				f.exec(f.in(k.also))
			}
			c := f.connector()
			p, q := tp(trades, 0), tp(prices, 0)
			s := f.sink(c)
			positions, err := s.Open(f.ctx(), claims(p, q))
			if err != nil {
				t.Fatal(err)
			}
			var refused *connect.RefusedError
			if !errors.As(positions[0].Err, &refused) || positions[1].Err != nil {
				t.Fatalf("%v and %v: want %s refused alone", positions[0].Err, positions[1].Err, p)
			}
			fix, found := strings.CutPrefix(refused.Advice, "run: ")
			if !found {
				t.Fatalf("the advice is no SQL: %s", refused.Advice)
			}
			var checked bool
			for _, finding := range c.Check(f.ctx(), []string{trades}) {
				checked = checked || finding.Level == "error" && strings.Contains(fix, finding.Fix)
			}
			if !checked {
				t.Error("Check does not find it")
			}
			f.exec(fix)
			if positions, err = s.Open(f.ctx(), claims(p)); err != nil || positions[0].Err != nil {
				t.Fatalf("after %s: %v %v", fix, positions, err)
			}
			f.put(s, part(c, p, trade(0, 0, "a", "1.5")))
		})
	}
}

// TestDroppedColumn: the operator is shown the error; nothing is dead-lettered,
// nothing is an outage, and the mended table goes on.
func TestDroppedColumn(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	c := f.connector()
	p := tp(trades, 0)
	s := f.opened(c, p)
	f.put(s, part(c, p, trade(0, 0, "a", "1")))
	f.exec(f.in("ALTER TABLE %s.crypto_trades DROP COLUMN side"))
	_, err := s.Put(f.ctx(), batch(part(c, p, trade(1, 1, "b", "1"))))
	var bad *connect.BadDataError
	if err == nil || connect.IsRetriable(err) || errors.As(err, &bad) || sqlState(err) != "42703" {
		t.Fatalf("Put gave %v, want the plain error 42703", err)
	}
	f.exec(f.in("ALTER TABLE %s.crypto_trades ADD COLUMN side text"))
	f.put(s, part(c, p, trade(1, 1, "b", "1")))
}

// TestLeastPrivilege: a role that may make nothing works on tables that are
// there; a missing GRANT is the operator's, and giving it is enough.
func TestLeastPrivilege(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	maker := f.connector()
	p := tp(trades, 0)
	f.opened(maker, p)
	role, password := "tickconnect_"+f.cfg.SchemaName, "p#ss/w:rd"
	role = role[:min(63, len(role))]
	f.exec("CREATE ROLE " + quote(role) + " LOGIN PASSWORD '" + password + "'")
	t.Cleanup(func() {
		f.exec("DROP OWNED BY " + quote(role))
		f.exec("DROP ROLE " + quote(role))
	})
	f.exec("GRANT USAGE ON SCHEMA " + quote(f.cfg.SchemaName) + " TO " + quote(role))
	for _, own := range []string{ledgerTable, generationsTable, deadLettersTable, topicsTable} {
		f.exec(f.in("GRANT SELECT, INSERT, UPDATE ON %s." + own + " TO " + quote(role)))
	}
	f.exec(f.in("GRANT SELECT ON %s.crypto_trades TO " + quote(role)))

	cfg := *f.cfg
	cfg.ConnectionUser, cfg.ConnectionPassword = role, password
	c := f.connectorWith(&cfg)
	s := f.opened(c, p)
	one := part(c, p, trade(0, 0, "a", "1"))
	_, err := s.Put(f.ctx(), batch(one))
	if err == nil || connect.IsRetriable(err) || sqlState(err) != codeInsufficientPrivilege {
		t.Fatalf("Put gave %v, want the plain error 42501", err)
	}
	for _, finding := range c.Check(f.ctx(), []string{trades}) {
		if finding.Level == "error" {
			if !strings.HasPrefix(finding.Fix, "GRANT") {
				t.Errorf("finding %+v has no GRANT", finding)
			}
			f.exec(finding.Fix)
		}
	}
	f.put(s, one)

	wrong := cfg
	wrong.ConnectionPassword = "s3cret-" + password
	bad := f.sink(f.connectorWith(&wrong))
	_, err = bad.Open(f.ctx(), claims(p))
	if err == nil || connect.IsRetriable(err) || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("a wrong password gave %v, want a plain error without it", err)
	}
}

// TestReadOnlyDatabase is what a failover to a standby looks like: an outage.
func TestReadOnlyDatabase(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	c := f.connector()
	p := tp(trades, 0)
	f.opened(c, p)
	u, err := url.Parse(f.url)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("default_transaction_read_only", "on")
	u.RawQuery = q.Encode()
	cfg := *f.cfg
	cfg.ConnectionURL = u.String()
	standby := f.connectorWith(&cfg)
	s := f.sink(standby)
	if _, err := s.Open(f.ctx(), claims(p)); !connect.IsRetriable(err) {
		t.Fatalf("Open gave %v, want an outage", err)
	}
	s.open[p] = openPartition{topicID: 1} // as if it had opened before the failover
	if _, err := s.Put(f.ctx(), batch(part(c, p, trade(0, 0, "a", "1")))); !connect.IsRetriable(err) {
		t.Fatalf("Put gave %v, want an outage", err)
	}
	var found bool
	for _, finding := range standby.Check(f.ctx(), nil) {
		found = found || finding.Level == "error" && strings.Contains(finding.Message, "takes no writes")
	}
	if !found {
		t.Error("Check does not say that the server takes no writes")
	}
}

// TestOwnTablesAreMigrated: a column that an older version did not have is
// added, and its rows stay.
func TestOwnTablesAreMigrated(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	c := f.connector()
	p := tp(trades, 0)
	f.put(f.opened(c, p), part(c, p, trade(0, 0, "a", "1")))
	f.exec(f.in("ALTER TABLE %s.connector_generations DROP COLUMN note"))
	f.exec(f.in("ALTER TABLE %s.connector_dead_letters DROP COLUMN redriven_at"))
	newer := f.connector()
	positions, err := f.sink(newer).Open(f.ctx(), claims(p))
	if err != nil || positions[0].Next != 1 {
		t.Fatalf("%+v, %v", positions, err)
	}
	if _, err := newer.Admin().Reset(f.ctx(), Reset{Note: "kept"}); err != nil {
		t.Fatal(err)
	}
	if note := value[string](f, f.in("SELECT note FROM %s.connector_generations WHERE generation = 1")); note != "kept" {
		t.Errorf("note %q", note)
	}
}

// TestNothingIsMadeWithoutAutoCreate: the error carries the DDL.
func TestNothingIsMadeWithoutAutoCreate(t *testing.T) {
	t.Parallel()
	f := setup(t, func(c *Config) { c.AutoCreate = false })
	_, err := f.sink(f.connector()).Open(f.ctx(), claims(tp(trades, 0)))
	if err == nil || connect.IsRetriable(err) || !strings.Contains(err.Error(), "CREATE TABLE") {
		t.Fatalf("Open gave %v, want the DDL", err)
	}
	if n := value[int](f, "SELECT count(*) FROM pg_tables WHERE schemaname = $1", f.cfg.SchemaName); n != 0 {
		t.Errorf("%d tables were made", n)
	}
}

// TestSeveralProcessesMakeTheTables at once.
func TestSeveralProcessesMakeTheTables(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	results := make(chan error, 4)
	for i := range int32(4) {
		s := f.sink(f.connector())
		ctx := f.ctx()
		go func() {
			_, err := s.Open(ctx, claims(tp(trades, i), tp(prices, i), tp(level1, i)))
			results <- err
		}()
	}
	for range 4 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

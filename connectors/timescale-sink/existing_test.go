package timescalesink

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/marketdata"
)

// tradesOf makes a table of trades with one type of symbol, time and size.
func (f *fixture) tradesOf(symbol, at, size, constraint string) {
	f.Helper()
	f.exec(f.in(fmt.Sprintf(`CREATE TABLE %%s.crypto_trades (exchange_id text NOT NULL, symbol %s NOT NULL, trade_id text NOT NULL,
		"time" %s NOT NULL, price numeric NOT NULL, size %s NOT NULL, side text, source text, flags text[],
		origin_topic int, origin_partition int, origin_offset bigint, origin_time timestamptz%s)`, symbol, at, size, constraint)))
}

// symbolTrade is a trade of a symbol.
func symbolTrade(offset int64, symbol, size string) connect.Record {
	return connect.Record{
		Offset: offset, Timestamp: baseTime + offset,
		Value: fmt.Appendf(nil, `{"exchangeId":"kraken","symbol":%q,"tradeId":"1","time":%d,"price":"1","size":%q}`, symbol, baseTime, size),
	}
}

// TestLongTextIsRefused: a text that its column would cut is a bad record, on
// each way into the table; cut keys would make one row of two.
func TestLongTextIsRefused(t *testing.T) {
	t.Parallel()
	for name, copyMin := range map[string]int{"COPY": 1, "INSERT": 1000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, func(c *Config) { c.CopyMin = copyMin })
			f.tradesOf("varchar(5)", "timestamptz", "numeric", tradesKey)
			c := f.connector()
			p := tp(trades, 0)
			s := f.opened(c, p)
			f.put(s, part(c, p, symbolTrade(0, "SHORT", "1")))
			var bad *connect.BadDataError
			_, err := s.Put(f.ctx(), batch(part(c, p, symbolTrade(1, "SHORTER", "1"))))
			if !errors.As(err, &bad) || bad.Record.SQLState != "22001" {
				t.Errorf("Put gave %v, want 22001 of a record", err)
			}
			_, err = s.Put(f.ctx(), batch(part(c, p, symbolTrade(1, "A", "1"), symbolTrade(2, "Z-IS-LONG", "1"), symbolTrade(3, "B", "1"))))
			if errors.As(err, &bad); copyMin == 1 && (bad.At != p || bad.Offset != 2 || bad.Record.Column != "symbol") {
				t.Errorf("COPY blames %s@%d, column %q, want offset 2 and symbol", bad.At, bad.Offset, bad.Record.Column)
			}
			if got := value[string](f, f.in("SELECT string_agg(symbol, ',') FROM %s.crypto_trades")); got != "SHORT" {
				t.Errorf("stored %s", got)
			}
			older := symbolTrade(0, "SHORT", "2")
			older.Timestamp = baseTime - 5
			q := tp(trades, 1)
			f.wantCounts(f.put(f.opened(c, q), part(c, q, older)), connect.Counts{Stale: 1})
		})
	}
}

// TestTypesOfAnotherBinaryForm: a table whose columns take every value, but not
// as COPY's binary format has it, is written as well as any other.
func TestTypesOfAnotherBinaryForm(t *testing.T) {
	t.Parallel()
	for name, copyMin := range map[string]int{"many rows": 1, "few rows": 1000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, func(c *Config) { c.CopyMin = copyMin })
			f.exec(f.in(`CREATE DOMAIN %s.ticker AS text`))
			f.exec(strings.ReplaceAll(`CREATE TABLE SCHEMA.crypto_ohlcv (exchange_id text NOT NULL, symbol SCHEMA.ticker NOT NULL, "interval" varchar NOT NULL,
				source text NOT NULL, "time" timestamptz NOT NULL, open numeric, high numeric, low numeric, close numeric, volume numeric,
				quote_volume numeric(20,8), trades numeric, vwap numeric, closed boolean, flags varchar(40)[],
				origin_topic bigint, origin_partition bigint, origin_offset numeric, origin_time timestamptz,
				PRIMARY KEY (exchange_id, symbol, "interval", source, "time"))`, "SCHEMA", quote(f.cfg.SchemaName)))
			c := f.connector()
			p := tp("crypto-ohlcv-x", 0)
			s := f.opened(c, p)
			bar := func(offset int64, closed string) connect.Record {
				return connect.Record{Offset: offset, Timestamp: baseTime + offset, Value: fmt.Appendf(nil,
					`{"exchangeId":"x","symbol":"S","interval":"1m","time":%d,"open":1,"high":2,"low":3,"close":1.50,"volume":0,"trades":7,"quoteVolume":2.5,"closed":%s}`,
					baseTime, closed)}
			}
			f.wantCounts(f.put(s, part(c, p, bar(0, "false"))), connect.Counts{Written: 1, Inserted: 1})
			f.wantCounts(f.put(s, part(c, p, bar(1, "true"))), connect.Counts{Written: 1})
			const want = `{"low": 3, "high": 2, "open": 1, "vwap": null, "close": 1.50, "flags": ["high_below_low"], "closed": true, "trades": 7, "quote_volume": 2.50000000, "origin_offset": 1}`
			if got := value[string](f, f.in(`SELECT (to_jsonb(t) - 'time' - 'origin_topic' - 'origin_time' - 'origin_partition' - 'source' - 'symbol' - 'interval' - 'exchange_id' - 'volume')::text
				FROM %s.crypto_ohlcv t`)); got != want {
				t.Errorf("the table holds\n%s, want\n%s", got, want)
			}
		})
	}
}

// TestTypesThatChangeUnderCopy: a column whose type is changed while rows are
// copied gets the right values all the same, or none, and no record is blamed.
func TestTypesThatChangeUnderCopy(t *testing.T) {
	t.Parallel()
	for _, one := range []struct {
		column, sqlType string
		stored          bool
	}{
		{"trades", "numeric", true},           // 8 bytes are a numeric, too
		{"trades", "double precision", false}, // 8 bytes are such a number, too
		{"close", "double precision", false},
		{"trades", "integer", false},
		{"flags", "varchar(40)[]", true},
		{"quote_volume", "numeric(30,2)", true},
		{"closed", "text", false},
	} {
		t.Run(one.column+" "+one.sqlType, func(t *testing.T) {
			t.Parallel()
			f := setup(t, func(c *Config) { c.CopyMin = 1 })
			c := f.connector()
			p := tp("crypto-ohlcv-x", 0)
			s := f.opened(c, p)
			bar := func(offset int64) connect.Record {
				return connect.Record{Offset: offset, Timestamp: baseTime, Value: fmt.Appendf(nil,
					`{"exchangeId":"x","symbol":"S","interval":"1m","time":%d,"open":1,"high":2,"low":3,"close":2,"volume":0,"trades":7,"quoteVolume":2.5,"closed":true}`,
					baseTime+offset*1000)}
			}
			f.put(s, part(c, p, bar(0)))
			f.exec(f.in("ALTER TABLE %s.crypto_ohlcv ALTER COLUMN " + quote(one.column) + " TYPE " + one.sqlType))
			_, err := s.Put(f.ctx(), batch(part(c, p, bar(1))))
			var bad *connect.BadDataError
			if (err == nil) != one.stored || errors.As(err, &bad) || connect.IsRetriable(err) {
				t.Fatalf("Put gave %v, want it stored: %v, or an error for the operator", err, one.stored)
			}
			if err != nil && !strings.Contains(err.Error(), "ALTER COLUMN") {
				t.Errorf("no advice in: %v", err)
			}
			column := quote(one.column) + "::text"
			first := value[string](f, f.in("SELECT "+column+" FROM %s.crypto_ohlcv WHERE origin_offset = 0"))
			if one.stored {
				if got := value[string](f, f.in("SELECT "+column+" FROM %s.crypto_ohlcv WHERE origin_offset = 1")); got != first {
					t.Errorf("%s of the second row is %s, want %s", one.column, got, first)
				}
			}
			if got, want := value[int](f, f.in("SELECT count(*) FROM %s.crypto_ohlcv")), map[bool]int{true: 2, false: 1}[one.stored]; got != want {
				t.Errorf("%d rows, want %d", got, want)
			}
		})
	}
}

// TestColumnNarrowedUnderCopy: a number that was prepared for a wider column is
// not rounded: it is a bad record by now.
func TestColumnNarrowedUnderCopy(t *testing.T) {
	t.Parallel()
	f := setup(t, func(c *Config) { c.CopyMin = 1 })
	c := f.connector()
	p := tp(trades, 0)
	s := f.opened(c, p)
	f.put(s, part(c, p, trade(0, 0, "a", "1")))
	prepared := part(c, p, trade(1, 1, "b", "1.5"), trade(2, 2, "c", "1.239"))
	f.exec(f.in("ALTER TABLE %s.crypto_trades ALTER COLUMN price TYPE numeric(20,2)"))
	var bad *connect.BadDataError
	if _, err := s.Put(f.ctx(), batch(prepared)); !errors.As(err, &bad) || bad.Offset != 2 || bad.Record.Column != "price" || bad.Record.Reason != "numeric_does_not_fit" {
		t.Fatalf("Put gave %v, want the record at offset 2 blamed for its price", err)
	}
	if n := value[int](f, f.in("SELECT count(*) FROM %s.crypto_trades")); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
	prepared.Records, prepared.Next = prepared.Records[:1], 2
	f.wantCounts(f.put(s, prepared), connect.Counts{Written: 1, Inserted: 1})
}

// TestTypesThatChangeValues are refused, and their advice mends the table.
func TestTypesThatChangeValues(t *testing.T) {
	t.Parallel()
	for name, one := range map[string]struct{ symbol, at, key string }{
		"name":            {"name", "timestamptz", tradesKey},
		"char(n)":         {"char(12)", "timestamptz", tradesKey},
		"milliseconds":    {"text", "timestamptz(3)", tradesKey},
		"deferrable key":  {"text", "timestamptz", tradesKey + " DEFERRABLE"},
		"deferred key":    {"text", "timestamptz", tradesKey + " DEFERRABLE INITIALLY DEFERRED"},
		"everything good": {"text", "timestamptz", tradesKey},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, nil)
			f.tradesOf(one.symbol, one.at, "numeric", one.key)
			c := f.connector()
			p := tp(trades, 0)
			s := f.sink(c)
			positions, err := s.Open(f.ctx(), claims(p))
			if err != nil {
				t.Fatal(err)
			}
			if name != "everything good" {
				var refused *connect.RefusedError
				if !errors.As(positions[0].Err, &refused) {
					t.Fatalf("Open gave %v, want a refusal", positions[0].Err)
				}
				f.exec(strings.TrimPrefix(refused.Advice, "run: "))
				if positions, err = s.Open(f.ctx(), claims(p)); err != nil {
					t.Fatal(err)
				}
			}
			if positions[0].Err != nil {
				t.Fatalf("after its advice Open gave %v", positions[0].Err)
			}
			f.put(s, part(c, p, symbolTrade(0, "S", "1")))
		})
	}
}

// TestFits agrees with what PostgreSQL makes of the value.
func TestFits(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	for _, l := range []numericLimit{{20, 2}, {3, 5}, {3, 3}, {5, 0}} {
		for _, v := range []string{
			"1.500e0", "1000e-3", "1.5000", "15000e-4", "1e-3", "0e-9", "0.000", "1.0E-2", "-1.505", "-1.500", "+2.5e1", "100000", "10000e1",
			"99999.0", "0.00123", "0.001", "0.01", "0.00999", "0.009990", "0.5", "1", "12e3", "1.20e2", "00012.50", ".5", "5.", "123e17", "123e15",
		} {
			d := decimalOf(t, v)
			want := value[bool](f, fmt.Sprintf(`SELECT $1::text::numeric = round($1::text::numeric, %d)
				AND abs($1::text::numeric) < power(10::numeric, %d)`, l.scale, l.precision-l.scale), v)
			if got := l.fits(d); got != want {
				t.Errorf("%s fits numeric(%d,%d): %t, want %t", v, l.precision, l.scale, got, want)
			}
		}
	}
}

// TestMissingPartitionBlamesNoRecord: a table without a partition for the row is
// the operator's to mend (promise 6).
func TestMissingPartitionBlamesNoRecord(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	f.tradesOf("text", "timestamptz", "numeric", tradesKey+`) PARTITION BY RANGE ("time"`)
	c := f.connector()
	p := tp(trades, 0)
	s := f.opened(c, p)
	_, err := s.Put(f.ctx(), batch(part(c, p, trade(0, 0, "a", "1"))))
	var bad *connect.BadDataError
	if sqlState(err) != codeCheckViolation || errors.As(err, &bad) {
		t.Errorf("Put gave %v, want a plain 23514", err)
	}
}

// TestDroppedRowsAreNoticed: rows that a trigger drops do not count as stored
// (promise 3), whichever way they go.
func TestDroppedRowsAreNoticed(t *testing.T) {
	t.Parallel()
	for name, one := range map[string]struct {
		copyMin int
		tape    bool
	}{"COPY": {1, false}, "merge": {1000, false}, "tape by COPY": {1, true}, "tape by INSERT": {1000, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, func(c *Config) {
				c.CopyMin = one.copyMin
				if one.tape {
					c.InsertMode = modeTape
				}
			})
			c := f.connector()
			p := tp(trades, 0)
			s := f.opened(c, p)
			f.exec(f.in(`CREATE FUNCTION %s.skip() RETURNS trigger LANGUAGE plpgsql AS
				$$ BEGIN RETURN CASE WHEN NEW.trade_id = 'b' THEN NULL ELSE NEW END; END $$`))
			f.exec(f.in(`CREATE TRIGGER skip BEFORE INSERT ON %s.crypto_trades FOR EACH ROW EXECUTE FUNCTION %s.skip()`))
			f.put(s, part(c, p, trade(0, 0, "a", "1")))
			_, err := s.Put(f.ctx(), batch(part(c, p, trade(1, 1, "b", "1"), trade(2, 2, "c", "1"))))
			if err == nil || !strings.Contains(err.Error(), "trigger") || connect.IsRetriable(err) {
				t.Errorf("Put gave %v, want an error that names triggers", err)
			}
			if got := f.price("c"); got != "" {
				t.Errorf("c is stored, at %s", got)
			}
		})
	}
}

// TestDroppedTableComesBack without anybody opening its partitions again.
func TestDroppedTableComesBack(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	c := f.connector()
	p := tp(trades, 0)
	s := f.opened(c, p)
	f.put(s, part(c, p, trade(0, 0, "a", "1")))
	f.exec(f.in("DROP TABLE %s.crypto_trades"))
	if _, err := s.Put(f.ctx(), batch(part(c, p, trade(1, 1, "b", "1")))); err == nil {
		t.Fatal("Put found a table that was dropped")
	}
	f.wantCounts(f.put(s, part(c, p, trade(1, 1, "b", "1"))), connect.Counts{Written: 1, Inserted: 1})
}

// TestUnfitTableStopsItsKindAlone: a table that was dropped and cannot be made
// keeps no other kind back.
func TestUnfitTableStopsItsKindAlone(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	c := f.connector()
	p, q := tp(trades, 0), tp(level1, 0)
	s := f.opened(c, p, q)
	f.exec(f.in("DROP TABLE %s.crypto_level1"))
	f.exec(f.in("CREATE DOMAIN %s.crypto_level1 AS text")) // no table can have its name
	for offset := range int64(3) {
		if _, err := s.Put(f.ctx(), batch(part(c, q, quoteOn(0, 0)))); err == nil || connect.IsRetriable(err) {
			t.Errorf("Put without its table gave %v", err)
		}
		f.put(s, part(c, p, trade(offset, offset, fmt.Sprint(offset), "1")))
	}
	f.exec(f.in("DROP DOMAIN %s.crypto_level1"))
	c.cfg.AutoCreate = false
	c.schema.forget()
	if _, err := s.Put(f.ctx(), batch(part(c, q, quoteOn(0, 0)))); err == nil || !strings.Contains(err.Error(), "CREATE TABLE") {
		t.Errorf("Put gave %v, want the SQL that makes the table", err)
	}
	f.put(s, part(c, p, trade(3, 3, "3", "1")))
}

// TestLookThatFailedIsRepeated: after the database was made anew an outage in
// the middle of looking at it leaves that to be done.
func TestLookThatFailedIsRepeated(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	c := f.connector()
	p := tp(trades, 0)
	s := f.opened(c, p)
	f.put(s, part(c, p, trade(0, 0, "a", "1")))
	for _, name := range []string{"crypto_trades", ledgerTable, generationsTable, topicsTable, deadLettersTable} {
		f.exec("DROP TABLE " + quote(f.cfg.SchemaName, name))
	}
	if pos, err := s.Positions(f.ctx(), []connect.TopicPartition{p}); err != nil || pos[0].Next != connect.NoOffset {
		t.Fatal(pos, err)
	}
	ending := f.connect(f.url)
	blocker, err := f.conn.Begin(f.ctx())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := blocker.Exec(f.ctx(), "SELECT pg_advisory_xact_lock($1)", lockKey("schema", f.cfg.SchemaName)); err != nil {
		t.Fatal(err)
	}
	if err := s.connect(f.ctx()); err != nil {
		t.Fatal(err)
	}
	pid, ended := int64(s.conn.PgConn().PID()), make(chan error, 1)
	go func() { // the connection is lost while Open waits to make the tables
		ctx := f.ctx()
		for done := false; !done; {
			err := ending.QueryRow(ctx, `SELECT COALESCE(bool_or(pg_terminate_backend(pid)), false) FROM pg_locks
				WHERE locktype = 'advisory' AND NOT granted AND pid = $1`, pid).Scan(&done)
			if err != nil {
				ended <- err
				return
			}
		}
		ended <- nil
	}()
	if _, err := s.Open(f.ctx(), claims(p)); !connect.IsRetriable(err) {
		t.Fatalf("Open gave %v, want an outage", err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err := blocker.Rollback(f.ctx()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(f.ctx(), claims(p)); err != nil {
		t.Fatal(err)
	}
	f.put(s, part(c, p, trade(0, 0, "a", "1")))
}

// TestAlteredColumnIsNoticed: the limits of a column that was altered while rows
// are stored hold from the next look at the ledger on (promise 7).
func TestAlteredColumnIsNoticed(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	c := f.connector()
	p := tp(trades, 0)
	s := f.opened(c, p)
	f.put(s, part(c, p, trade(0, 0, "a", "1")))
	f.exec(f.in("ALTER TABLE %s.crypto_trades ALTER price TYPE numeric(20,2)"))
	if _, err := s.Positions(f.ctx(), []connect.TopicPartition{p}); err != nil {
		t.Fatal(err)
	}
	f.put(s, part(c, p, trade(1, 1, "b", "1")))
	one := part(c, p, trade(2, 2, "c", "1.239"))
	if e := one.Records[0].Err; e == nil || e.Reason != "numeric_does_not_fit" {
		t.Errorf("1.239 into numeric(20,2): %v, want a bad record", e)
	}
	if !c.schema.ready(nil) {
		t.Error("the tables are looked at again and again")
	}
}

// TestTimestampsThatAreNoTimes are stored as none, whatever is stored of the record.
func TestTimestampsThatAreNoTimes(t *testing.T) {
	t.Parallel()
	for name, copyMin := range map[string]int{"COPY": 1, "INSERT": 1000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, func(c *Config) { c.CopyMin = copyMin })
			c := f.connector()
			p := tp(trades, 0)
			s := f.opened(c, p)
			var offset int64
			for _, ts := range []int64{-5, millisMax + 1, 1_763_000_000_000_000, 1_763_000_000_000_000_000, 1<<63 - 1} {
				good, bad := trade(offset, 0, fmt.Sprint(offset), "1"), badTrade(offset+1)
				good.Timestamp, bad.Timestamp = ts, ts
				f.wantCounts(f.put(s, part(c, p, good, bad)), connect.Counts{Written: 1, Inserted: 1, DeadLettered: 1})
				offset += 2
			}
			for _, sql := range []string{
				"SELECT count(origin_time) FROM %s.crypto_trades", "SELECT count(time) FROM %s.connector_dead_letters",
				"SELECT count(last_time) FROM %s.connector_ledger",
			} {
				if n := value[int](f, f.in(sql)); n != 0 {
					t.Errorf("%s gives %d", sql, n)
				}
			}
			last := trade(offset, 0, "last", "1")
			last.Timestamp = millisMax
			f.put(s, part(c, p, last))
			if at := value[time.Time](f, f.in("SELECT last_time FROM %s.connector_ledger")); at.UnixMilli() != millisMax {
				t.Errorf("the last millisecond came back as %v", at)
			}
		})
	}
}

func decimalOf(t *testing.T, text string) marketdata.Decimal {
	t.Helper()
	d, err := marketdata.ParseDecimal(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

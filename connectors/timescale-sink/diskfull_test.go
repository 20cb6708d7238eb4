package timescalesink

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/qicore/tickconnect/connect"
)

// faults puts a trigger on the table of trades, which fails COPY and INSERT alike
// with the SQLSTATE that it is told, or sleeps, or lets rows pass ("").
func (f *fixture) faults() (set func(fault string)) {
	f.Helper()
	f.exec(f.in("CREATE TABLE %s.fault (what text)"))
	f.exec(f.in(`CREATE FUNCTION %s.fail() RETURNS trigger LANGUAGE plpgsql AS $$
		DECLARE todo text := (SELECT what FROM %s.fault);
		BEGIN
			IF todo = 'sleep' THEN
				PERFORM pg_sleep(60);
			ELSIF todo IS NOT NULL THEN
				RAISE EXCEPTION 'could not extend file' USING ERRCODE = todo;
			END IF;
			RETURN NEW;
		END $$`))
	f.exec(f.in("CREATE TRIGGER fail BEFORE INSERT ON %s.crypto_trades FOR EACH ROW EXECUTE FUNCTION %s.fail()"))
	return func(fault string) {
		f.Helper()
		f.exec(f.in("DELETE FROM %s.fault"))
		if fault != "" {
			f.exec(f.in("INSERT INTO %s.fault VALUES ($1)"), fault)
		}
	}
}

// wantKind checks what the worker would do about an error: retry, isolate a
// record, or stop the partitions for the operator.
func wantKind(t testing.TB, err error, want string) {
	t.Helper()
	got := "stop"
	var bad *connect.BadDataError
	var fence *connect.FencedError
	switch {
	case err == nil:
		got = "nothing"
	case connect.IsRetriable(err):
		got = "retry"
	case errors.As(err, &bad):
		got = "isolate"
	case errors.As(err, &fence):
		got = "reopen"
	}
	if got != want {
		t.Errorf("%v: the worker would %s, want %s", err, got, want)
	}
}

// wantUntouched checks that the partition stands at next, and that nothing beside
// the rows named is stored and no record is a dead letter (promises 1 and 6).
func (f *fixture) wantUntouched(s *Sink, p connect.TopicPartition, next, rows int64) {
	f.Helper()
	positions, err := s.Positions(f.ctx(), []connect.TopicPartition{p})
	if err != nil || positions[0].Next != next {
		f.Fatalf("%+v, %v: want %d", positions, err, next)
	}
	if n := value[int64](f, f.in("SELECT count(*) FROM %s.crypto_trades")); n != rows {
		f.Errorf("%d rows, want %d", n, rows)
	}
	if n := value[int64](f, f.in("SELECT count(*) FROM %s.connector_dead_letters")); n != 0 {
		f.Errorf("%d dead letters, want none", n)
	}
}

// TestServerFaults: what says that the server is in trouble holds the batch, a
// code that nobody knows stops it, and neither stores anything or blames a
// record. Once it is over the same batch is stored.
func TestServerFaults(t *testing.T) {
	t.Parallel()
	for way, copyMin := range map[string]int{"COPY": 1, "INSERT": 1000} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			f := setup(t, func(c *Config) {
				c.CopyMin, c.StatementTimeout, c.LockTimeout = copyMin, 150*time.Millisecond, 50*time.Millisecond
			})
			c := f.connector()
			p := tp(trades, 0)
			s := f.opened(c, p)
			set := f.faults()
			next := int64(0)
			for _, fault := range []struct{ what, kind string }{
				{"53100", "retry"}, // disk full
				{"53200", "retry"}, // out of memory
				{"58030", "retry"}, // input or output error
				{"57P02", "retry"}, // another backend crashed
				{"sleep", "retry"}, // statement.timeout.ms
				{"P0001", "stop"},  // a trigger's own
				{"ZZ999", "stop"},  // unknown
				{"XX001", "stop"},  // data corrupted
			} {
				at := fmt.Sprint(next)
				one := part(c, p, trade(next, next, "a"+at, "1"), trade(next+1, next, "b"+at, "1"))
				set(fault.what)
				_, err := s.Put(f.ctx(), batch(one))
				wantKind(t, err, fault.kind)
				set("")
				f.wantUntouched(s, p, next, next)
				f.put(s, one)
				next += 2
			}

			// Somebody holds the table: lock.timeout.ms.
			blocker := f.connect(f.url)
			if _, err := blocker.Exec(f.ctx(), f.in("BEGIN; LOCK TABLE %s.crypto_trades IN SHARE MODE")); err != nil {
				t.Fatal(err)
			}
			one := part(c, p, trade(next, 0, "z", "1"))
			_, err := s.Put(f.ctx(), batch(one))
			wantKind(t, err, "retry")
			if sqlState(err) != codeLockNotAvailable {
				t.Errorf("%v, want SQLSTATE %s", err, codeLockNotAvailable)
			}
			if _, err := blocker.Exec(f.ctx(), "ROLLBACK"); err != nil {
				t.Fatal(err)
			}
			f.wantUntouched(s, p, next, next)
			f.put(s, one)
		})
	}
}

// TestTooManyConnections: a role without a connection to spare is an outage,
// which ends with the limit.
func TestTooManyConnections(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	p := tp(trades, 0)
	f.opened(f.connector(), p) // the tables are there
	role := quote(f.cfg.SchemaName)
	f.exec("CREATE ROLE " + role + " LOGIN PASSWORD 's3cret' CONNECTION LIMIT 1")
	t.Cleanup(func() {
		f.exec("DROP OWNED BY " + role)
		f.exec("DROP ROLE " + role)
	})
	f.exec("GRANT ALL ON SCHEMA " + role + " TO " + role)
	f.exec("GRANT ALL ON ALL TABLES IN SCHEMA " + role + " TO " + role)
	cfg := *f.cfg
	cfg.ConnectionUser, cfg.ConnectionPassword = f.cfg.SchemaName, "s3cret"
	c := f.connectorWith(&cfg)
	first, second := f.opened(c, p), f.sink(c)
	_, err := second.Open(f.ctx(), claims(p))
	wantKind(t, err, "retry")
	if sqlState(err) != "53300" || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("%v, want SQLSTATE 53300 and no password", err)
	}
	f.put(first, part(c, p, trade(0, 0, "a", "1"))) // who is connected goes on
	f.exec("ALTER ROLE " + role + " CONNECTION LIMIT 2")
	if _, err := second.Open(f.ctx(), claims(p)); err != nil {
		t.Fatal(err)
	}
	f.put(second, part(c, p, trade(1, 1, "b", "1")))
}

// TestServerThatStarts: 57P03, which a server says while it starts or recovers,
// is an outage.
func TestServerThatStarts(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	u, err := url.Parse(f.url)
	if err != nil {
		t.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := u.Host
	u.Host, u.RawQuery = l.Addr().String(), "sslmode=disable"
	answered := make(chan error, 1)
	go func() { answered <- answerStarting(l) }()
	cfg := *f.cfg
	cfg.ConnectionURL = u.String()
	c := f.connectorWith(&cfg)
	p := tp(trades, 0)
	s := f.sink(c)
	_, err = s.Open(f.ctx(), claims(p))
	wantKind(t, err, "retry")
	if sqlState(err) != "57P03" {
		t.Errorf("%v, want SQLSTATE 57P03", err)
	}
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	relay(t, l, address)
	if _, err := s.Open(f.ctx(), claims(p)); err != nil {
		t.Fatal(err)
	}
	f.put(s, part(c, p, trade(0, 0, "a", "1")))
}

// answerStarting takes one connection and answers as a server that starts.
func answerStarting(l net.Listener) error {
	conn, err := l.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	server := pgproto3.NewBackend(conn, conn)
	if _, err := server.ReceiveStartupMessage(); err != nil {
		return err
	}
	server.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "57P03", Message: "the database system is starting up"})
	return server.Flush()
}

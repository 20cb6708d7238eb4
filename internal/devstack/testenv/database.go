package testenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/qicore/tickconnect/internal/devstack"
)

// sharedDatabase is started or checked once; its error is every test's.
type sharedDatabase struct {
	once sync.Once
	own  *devstack.Database // nil where the variable names one
	url  string
	err  error
}

var database sharedDatabase

func (s *sharedDatabase) open() (string, error) {
	s.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), startLimit)
		defer cancel()
		if s.url = os.Getenv(DatabaseURL); s.url != "" {
			s.err = checkDatabase(ctx, s.url, os.Getenv(DatabaseID))
			return
		}
		if s.own, s.err = devstack.StartDatabase(ctx, devstack.DatabaseOptions{Throwaway: true}); s.err == nil {
			s.url = s.own.URL()
		}
	})
	return s.url, s.err
}

func (s *sharedDatabase) close() error {
	if s.own == nil {
		return nil
	}
	return s.own.Close()
}

// checkDatabase makes sure that the server is the one meant before a test writes
// to it.
func checkDatabase(ctx context.Context, url, id string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("%s: %w", DatabaseURL, err)
	}
	defer conn.Close(ctx)
	var extension bool
	err = conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')").Scan(&extension)
	if err != nil {
		return fmt.Errorf("%s: %w", DatabaseURL, err)
	}
	if !extension {
		return errors.New(DatabaseURL + ": the database has no extension timescaledb")
	}
	if id == "" {
		return nil
	}
	var got string
	if err := conn.QueryRow(ctx, "SELECT system_identifier::text FROM pg_control_system()").Scan(&got); err != nil {
		return fmt.Errorf("%s: %w", DatabaseURL, err)
	}
	if got != id {
		return fmt.Errorf("%s: the server's system_identifier is %s, want %s (%s): another server answers", DatabaseURL, got, id, DatabaseID)
	}
	return nil
}

// Schema returns the URL of the shared TimescaleDB and an empty schema there
// that belongs to the test and is dropped after it. The URL does not set the
// search_path.
func Schema(t testing.TB) (url, schema string) {
	t.Helper()
	url, err := database.open()
	Need(t, err)
	schema = uniqueName(t, "_")
	if err := execute(url, "CREATE SCHEMA "+schema); err != nil {
		t.Fatalf("making the test's schema: %v", err)
	}
	t.Cleanup(func() {
		// A transaction that the test left open holds locks: say so, not hang.
		if err := dropSchema(url, schema); err != nil {
			t.Errorf("dropping the test's schema: %v", err)
		}
	})
	return url, schema
}

// dropSchema tries again where TimescaleDB's trigger on DROP met a hypertable that
// another test was just dropping: it reads the catalog without a lock.
func dropSchema(url, schema string) error {
	var err error
	for range 10 {
		err = execute(url, "SET lock_timeout = '30s'", "SET client_min_messages = warning", "DROP SCHEMA IF EXISTS "+schema+" CASCADE")
		if err == nil || !strings.Contains(err.Error(), "cache lookup failed") {
			return err
		}
	}
	return err
}

func execute(url string, statements ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// OwnDatabase starts a TimescaleDB that belongs to the test, which may kill it.
// Commits survive that.
func OwnDatabase(t testing.TB) *devstack.Database {
	t.Helper()
	return DatabaseWith(t, devstack.DatabaseOptions{})
}

// DatabaseWith is OwnDatabase with options: settings, files, a primary.
func DatabaseWith(t testing.TB, opts devstack.DatabaseOptions) *devstack.Database {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	opts.Throwaway = true
	db, err := devstack.StartDatabase(ctx, opts)
	Need(t, err)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("closing the test's database: %v", err)
		}
	})
	return db
}

// PgBouncer starts a PgBouncer in transaction mode that belongs to the test, in
// front of a database, and returns the URL that leads through it. The test fails
// if PgBouncer has ended before it.
func PgBouncer(t testing.TB, databaseURL string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	b, err := devstack.StartPgBouncer(ctx, devstack.PgBouncerOptions{DatabaseURL: databaseURL, PoolSize: 40})
	Need(t, err)
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("closing the test's PgBouncer: %v", err)
		}
	})
	return b.URL()
}

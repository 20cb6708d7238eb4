package devstack

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

func startDatabase(t *testing.T, opts DatabaseOptions) *Database {
	t.Helper()
	d, err := StartDatabase(t.Context(), opts)
	need(t, err)
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// query runs one statement on a connection of its own and returns its only value.
func query(t *testing.T, url, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var value string
	if err := conn.QueryRow(t.Context(), sql).Scan(&value); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}

const (
	makeTable = "WITH t AS (SELECT create_hypertable('n', by_range('time'))) SELECT count(*)::text FROM t"
	addRow    = "WITH i AS (INSERT INTO n VALUES (now()) RETURNING time) SELECT count(*)::text FROM i"
	countRows = "SELECT count(*)::text FROM n"
)

func TestDatabaseKeepsWhatWasCommitted(t *testing.T) {
	t.Parallel()
	for _, throwaway := range []bool{false, true} {
		t.Run(fmt.Sprintf("throwaway=%v", throwaway), func(t *testing.T) {
			t.Parallel()
			dir := serverDir(t)
			opts := DatabaseOptions{Dir: dir, Throwaway: throwaway}
			d := startDatabase(t, opts)
			url, id := d.URL(), d.SystemID()
			if err := execute(t, url, "CREATE TABLE n (time timestamptz NOT NULL)"); err != nil {
				t.Fatal(err)
			}
			query(t, url, makeTable)
			query(t, url, addRow)

			if err := d.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			if left := processesIn(dir); len(left) != 0 {
				t.Fatalf("after Stop processes are left: %v", left)
			}
			if err := d.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			if d.URL() != url {
				t.Error("Restart changed the URL")
			}
			if got := query(t, url, countRows); got != "1" {
				t.Fatalf("after Stop and Restart there are %s rows, want 1", got)
			}

			query(t, url, addRow)
			if err := d.Kill(); err != nil {
				t.Fatal(err)
			}
			if left := processesIn(dir); len(left) != 0 {
				t.Fatalf("after Kill processes are left: %v", left)
			}
			if err := d.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := query(t, url, countRows); got != "2" {
				t.Fatalf("after Kill and Restart there are %s rows, want 2", got)
			}

			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			if err := d.Restart(t.Context()); err == nil {
				t.Error("a closed database restarts")
			}
			d = startDatabase(t, opts)
			if got := query(t, d.URL(), countRows); got != "2" {
				t.Errorf("after Close and StartDatabase there are %s rows, want 2", got)
			}
			if d.SystemID() != id || id == "" {
				t.Errorf("the system id was %q and is %q", id, d.SystemID())
			}
		})
	}
}

func execute(t *testing.T, url, sql string) error {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		return err
	}
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), sql)
	return err
}

func TestKillEndsABusyServer(t *testing.T) {
	t.Parallel()
	d := startDatabase(t, DatabaseOptions{Throwaway: true})
	conn, err := pgx.Connect(t.Context(), d.URL())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := conn.Exec(context.Background(), "SELECT count(*) FROM generate_series(1, 1000000000000)")
		ended <- err
	}()
	eventually(t, "the statement runs", func() bool {
		return query(t, d.URL(), "SELECT count(*)::text FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%generate_series(1, %' AND pid <> pg_backend_pid()") == "1"
	})
	if err := d.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Error("the statement survived")
	}
	if left := processesIn(d.dir); len(left) != 0 {
		t.Errorf("processes are left: %v", left)
	}
}

func TestDatabaseIsPrivate(t *testing.T) {
	t.Parallel()
	d := startDatabase(t, DatabaseOptions{Throwaway: true, Settings: map[string]string{"work_mem": "5MB", "log_line_prefix": "it's %m "}})
	u, err := url.Parse(d.URL())
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(databaseUser, "guess")
	var refused *pgconn.PgError
	if err := execute(t, u.String(), "SELECT 1"); !errors.As(err, &refused) || refused.Code != "28P01" {
		t.Errorf("with a wrong password the error is %v, want SQLSTATE 28P01", err)
	}
	for setting, want := range map[string]string{
		"listen_addresses":            "127.0.0.1",
		"unix_socket_directories":     "",
		"password_encryption":         "scram-sha-256",
		"timescaledb.telemetry_level": "off",
		"jit":                         "off",
		"fsync":                       "off",
		"synchronous_commit":          "on",
		"max_connections":             "200",
		"work_mem":                    "5MB",
		"log_line_prefix":             "it's %m ",
		"port":                        fmt.Sprint(d.Port()),
	} {
		if got := query(t, d.URL(), "SELECT current_setting('"+setting+"')"); got != want {
			t.Errorf("%s is %q, want %q", setting, got, want)
		}
	}
	info, err := os.Stat(d.passwordFile())
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the password's file has mode %v", info.Mode())
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if fileExists(d.dir) {
		t.Error("the temporary folder is left")
	}
}

func TestDurableByDefault(t *testing.T) {
	t.Parallel()
	d := startDatabase(t, DatabaseOptions{})
	for _, setting := range []string{"fsync", "full_page_writes", "synchronous_commit"} {
		if got := query(t, d.URL(), "SELECT current_setting('"+setting+"')"); got != "on" {
			t.Errorf("%s is %s", setting, got)
		}
	}
}

func TestSecondOwnerOfADatabaseIsRefused(t *testing.T) {
	t.Parallel()
	dir := serverDir(t)
	d := startDatabase(t, DatabaseOptions{Dir: dir, Throwaway: true})
	_, err := StartDatabase(t.Context(), DatabaseOptions{Dir: dir, Throwaway: true})
	if err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("error is %v, want that the folder is in use", err)
	}
	if got := query(t, d.URL(), "SELECT 'alive'"); got != "alive" {
		t.Error("the first owner's server is gone")
	}
}

func TestLeftoverServerIsReplaced(t *testing.T) {
	t.Parallel()
	dir := serverDir(t)
	left := startDatabase(t, DatabaseOptions{Dir: dir, Throwaway: true})
	if err := execute(t, left.URL(), "CREATE TABLE n (time timestamptz NOT NULL)"); err != nil {
		t.Fatal(err)
	}
	// Somebody looks around in the folder meanwhile.
	bystander := exec.Command("sleep", "600")
	bystander.Dir = left.data
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	defer bystander.Wait() //nolint:errcheck // it is killed
	defer bystander.Process.Kill()
	left.lock.release() // as if its owner had died and the server had not
	d := startDatabase(t, DatabaseOptions{Dir: dir, Throwaway: true})
	select {
	case <-left.server.done:
	case <-time.After(10 * time.Second):
		t.Error("the server that was left running still runs")
	}
	if err := bystander.Process.Signal(syscall.Signal(0)); err != nil || zombie(bystander.Process.Pid) {
		t.Error("a bystander was ended")
	}
	if got := query(t, d.URL(), countRows); got != "0" {
		t.Errorf("count is %s", got)
	}
}

func TestStalePidFileDoesNotBlock(t *testing.T) {
	t.Parallel()
	dir := serverDir(t)
	d := startDatabase(t, DatabaseOptions{Dir: dir, Throwaway: true})
	pidFile := filepath.Join(d.data, "postmaster.pid")
	content, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Kill(), d.Close()); err != nil {
		t.Fatal(err)
	}
	// The number belongs to another process by now, of the server's account.
	other := exec.Command("sleep", "600")
	isolate(other, d.as, os.Kill)
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer other.Wait() //nolint:errcheck // it is killed
	defer other.Process.Kill()
	_, rest, _ := strings.Cut(string(content), "\n")
	if err := os.WriteFile(pidFile, fmt.Appendf(nil, "%d\n%s", other.Process.Pid, rest), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.as.own(pidFile); err != nil {
		t.Fatal(err)
	}
	startDatabase(t, DatabaseOptions{Dir: dir, Throwaway: true})
	if zombie(other.Process.Pid) {
		t.Error("the other process was ended")
	}
}

func TestServerEndsWithItsOwner(t *testing.T) {
	t.Parallel()
	dir := serverDir(t)
	startDatabase(t, DatabaseOptions{Dir: dir}).Close() //nolint:errcheck // skips where there is none
	owner, url := startOwner(t, "database", dir)
	if err := execute(t, url, "CREATE TABLE n (time timestamptz NOT NULL)"); err != nil {
		t.Fatal(err)
	}
	owner.kill(t)
	eventually(t, "the server has ended", func() bool { return len(processesIn(dir)) == 0 })
	d := startDatabase(t, DatabaseOptions{Dir: dir})
	if got := query(t, d.URL(), countRows); got != "0" {
		t.Errorf("count is %s", got)
	}
}

func TestForeignFoldersAreLeftAlone(t *testing.T) {
	t.Parallel()
	dir := serverDir(t)
	precious := filepath.Join(dir, "data", "precious")
	if err := errors.Join(os.Mkdir(filepath.Dir(precious), 0o755), os.WriteFile(precious, nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	for name, start := range map[string]func() error{
		"database": func() error {
			_, err := StartDatabase(t.Context(), DatabaseOptions{Dir: dir})
			return err
		},
		"Kafka": func() error {
			_, err := StartKafka(t.Context(), KafkaOptions{Dir: dir})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := start()
			if errors.Is(err, ErrUnavailable) {
				need(t, err)
			}
			if err == nil || !strings.Contains(err.Error(), "use another folder") {
				t.Errorf("error is %v, want that the folder is another's", err)
			}
			if !fileExists(precious) {
				t.Error("the file is gone")
			}
		})
	}
}

func TestRootIsToldWhichFolderIsClosed(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: only root's server runs as another account")
	}
	dir := filepath.Join(t.TempDir(), "database")
	_, err := StartDatabase(t.Context(), DatabaseOptions{Dir: dir})
	if errors.Is(err, ErrUnavailable) {
		need(t, err)
	}
	// t.TempDir lies in a folder that is root's alone.
	if err == nil || !strings.Contains(err.Error(), "may not enter "+filepath.Dir(filepath.Dir(dir))+":") {
		t.Errorf("error is %v, want the folder that the server may not enter", err)
	}
}

func TestImpatientStopIsStillAStop(t *testing.T) {
	t.Parallel()
	dir := serverDir(t)
	d := startDatabase(t, DatabaseOptions{Dir: dir, Throwaway: true})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Stop(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want %v", err, context.Canceled)
	}
	if left := processesIn(dir); len(left) != 0 {
		t.Errorf("processes are left: %v", left)
	}
	if err := d.Restart(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCancelledStartLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := serverDir(t)
	startDatabase(t, DatabaseOptions{Dir: dir, Throwaway: true}).Close() //nolint:errcheck // makes the data folder
	ctx, cancel := context.WithCancel(t.Context())
	_, err := StartDatabase(ctx, DatabaseOptions{Dir: dir, Progress: func(p Progress) {
		if p.Step == "starting the database" {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want %v", err, context.Canceled)
	}
	if left := processesIn(dir); len(left) != 0 {
		t.Errorf("processes are left: %v", left)
	}
	startDatabase(t, DatabaseOptions{Dir: dir, Throwaway: true})
}

func TestPortInUseIsSaid(t *testing.T) {
	t.Parallel()
	first := startDatabase(t, DatabaseOptions{Throwaway: true})
	_, err := StartDatabase(t.Context(), DatabaseOptions{Throwaway: true, Port: first.Port()})
	if err == nil || !strings.Contains(err.Error(), "starting the database") {
		t.Errorf("error is %v, want that the start failed", err)
	}
	if got := query(t, first.URL(), "SELECT 'alive'"); got != "alive" {
		t.Error("the first server is gone")
	}
}

package devstack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// DatabaseOptions says where a private TimescaleDB lives. The zero value is a
// durable server in a temporary folder, on a free port.
type DatabaseOptions struct {
	// Cache keeps the fetched server; empty means CacheDir.
	Cache string
	// Dir keeps the data and is used again by the next start; empty means a
	// temporary folder that Close removes. For root it must be a folder that
	// other accounts can enter, as PostgreSQL does not run as root.
	Dir string
	// Port on 127.0.0.1; 0 means a free one.
	Port int
	// Throwaway gives up durability for speed, for tests: what was committed
	// survives Kill, but not the machine's crash.
	Throwaway bool
	// Settings are further lines of postgresql.conf, and win over ours.
	Settings map[string]string
	// Files are written into the data folder at each start, for the server alone
	// to read: certificates, keys, or a pg_hba.conf in place of initdb's.
	Files map[string][]byte
	// Primary, if set, makes the server a streaming standby of that one, which
	// must run at the first start. It serves reads, with the primary's password,
	// until it is promoted.
	Primary *Database
	// Progress, if set, is called while the start takes its time, from one
	// goroutine at a time.
	Progress func(Progress)
}

const (
	databaseUser = "tickconnect"
	databaseName = "tickconnect"
)

// Database is a private TimescaleDB server which listens on 127.0.0.1 only and
// wants a random password. Its methods may be called concurrently.
type Database struct {
	opts     DatabaseOptions
	bin      string // the folder of initdb and postgres
	dir      string // holds the lock, the log, the password, and data
	data     string
	as       account
	password string
	lock     *fileLock

	mu       sync.Mutex
	port     int
	systemID string
	server   *process // nil when stopped or closed
	closed   bool
}

// StartDatabase starts a private TimescaleDB with the database tickconnect and
// the extension in it. The first start on a machine fetches the server, which
// takes about ten seconds; where that is impossible the error is ErrUnavailable.
// A server that an earlier process left behind in Dir is stopped first. ctx
// bounds the start only.
func StartDatabase(ctx context.Context, opts DatabaseOptions) (*Database, error) {
	as, err := serverAccount()
	if err != nil {
		return nil, err
	}
	bin, err := findTimescale(ctx, opts.Cache, opts.Progress)
	if err != nil {
		return nil, err
	}
	if err := as.mayEnter(bin); err != nil {
		return nil, fmt.Errorf("TimescaleDB's cache folder (set TICKCONNECT_CACHE to name another): %w", err)
	}
	dir, lock, err := openData(opts.Dir, "database")
	if err != nil {
		return nil, err
	}
	d := &Database{opts: opts, bin: bin, dir: dir, data: filepath.Join(dir, "data"), as: as, lock: lock, port: opts.Port}
	if err := d.open(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *Database) open(ctx context.Context) error {
	if d.opts.Dir == "" {
		// The temporary folder is private; the server's account must get in.
		if err := os.Chmod(d.dir, 0o711); err != nil {
			return err
		}
	}
	if err := d.as.mayEnter(d.dir); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	if err := d.stopLeftover(); err != nil {
		return err
	}
	if !fileExists(filepath.Join(d.data, "PG_VERSION")) {
		report(d.opts.Progress, "making the database")
		if err := d.init(ctx); err != nil {
			return err
		}
	}
	password, err := os.ReadFile(d.passwordFile())
	if err != nil {
		return fmt.Errorf("reading the database's password: %w", err)
	}
	d.password = string(password)
	report(d.opts.Progress, "starting the database")
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.start(ctx)
}

func (d *Database) passwordFile() string { return filepath.Join(d.dir, "password") }
func (d *Database) logFile() string      { return filepath.Join(d.dir, "server.log") }

// init makes the data folder. It appears under its name when it is whole.
func (d *Database) init(ctx context.Context) error {
	if fileExists(d.data) {
		return fmt.Errorf("%s is there and is not a database: use another folder", d.data)
	}
	work := filepath.Join(d.dir, unfinished)
	if err := errors.Join(os.RemoveAll(work), os.Mkdir(work, 0o700), d.as.own(work)); err != nil {
		return err
	}
	defer os.RemoveAll(work)
	made := filepath.Join(work, "data")
	run := d.initdb
	if d.opts.Primary != nil {
		run = d.copyPrimary
	}
	if err := run(ctx, work, made); err != nil {
		return err
	}
	return os.Rename(made, d.data)
}

func (d *Database) initdb(ctx context.Context, work, made string) error {
	password := rand.Text()
	// initdb reads the password as the server's account; ours is kept apart.
	handover := filepath.Join(work, "password")
	if err := errors.Join(
		os.WriteFile(d.passwordFile(), []byte(password), 0o600),
		os.WriteFile(handover, []byte(password), 0o600),
		d.as.own(handover),
	); err != nil {
		return err
	}
	args := []string{
		"-D", made, "-U", databaseUser, "--pwfile=" + handover, "--auth=scram-sha-256", "-E", "UTF8", "--no-locale", "--no-instructions",
	}
	if d.opts.Throwaway {
		args = append(args, "--no-sync")
	}
	cmd := exec.CommandContext(ctx, filepath.Join(d.bin, "initdb"), args...)
	cmd.Dir, cmd.Env = work, serverEnv()
	if out, err := output(cmd, d.as); err != nil {
		return fmt.Errorf("making the database: initdb: %w: %s", err, lastLines(string(out), 4))
	}
	return nil
}

// copyPrimary takes a base backup, with what makes a standby of it.
func (d *Database) copyPrimary(ctx context.Context, work, made string) error {
	primary := d.opts.Primary
	if err := os.WriteFile(d.passwordFile(), []byte(primary.password), 0o600); err != nil {
		return err
	}
	args := []string{
		"-D", made, "-h", "127.0.0.1", "-p", strconv.Itoa(primary.Port()), "-U", databaseUser, "-w", "-R", "-X", "stream", "-c", "fast",
	}
	if d.opts.Throwaway {
		args = append(args, "--no-sync")
	}
	cmd := exec.CommandContext(ctx, filepath.Join(d.bin, "pg_basebackup"), args...)
	cmd.Dir, cmd.Env = work, append(serverEnv(), "PGPASSWORD="+primary.password)
	if out, err := output(cmd, d.as); err != nil {
		return fmt.Errorf("making the standby: pg_basebackup: %w: %s", err, lastLines(string(out), 4))
	}
	return nil
}

// serverEnv is our environment without what would change a server's ways.
func serverEnv() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "PG") || strings.HasPrefix(v, "LC_") || strings.HasPrefix(v, "LANG")
	})
	return append(env, "LC_ALL=C")
}

// stopLeftover ends a server that works in our data folder, whose lock we hold:
// its owner died without stopping it.
func (d *Database) stopLeftover() error {
	if len(processesIn(d.data)) == 0 {
		// Without a server a pid file only blocks the start, should another
		// process have its number by now.
		err := os.Remove(filepath.Join(d.data, "postmaster.pid"))
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	report(d.opts.Progress, "stopping a database that was left running")
	content, err := os.ReadFile(filepath.Join(d.data, "postmaster.pid"))
	if err == nil {
		first, _, _ := strings.Cut(string(content), "\n")
		if pid, err := strconv.Atoi(first); err == nil && slices.Contains(processesIn(d.data), pid) {
			if p, err := os.FindProcess(pid); err == nil {
				p.Signal(syscall.SIGINT) //nolint:errcheck // killed below if it does not end
			}
		}
	}
	for end := time.Now().Add(10 * time.Second); len(processesIn(d.data)) > 0 && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	if err := killAll(d.data, nil); err != nil {
		return err
	}
	return d.stopLeftover()
}

// start runs the server and waits until it answers. It needs d.mu.
func (d *Database) start(ctx context.Context) error {
	chosen := d.port != 0
	var err error
	// Another program may take a free port before the server does.
	for range 3 {
		if !chosen {
			if d.port, err = freePort(ctx); err != nil {
				return err
			}
		}
		err = d.startOnPort(ctx)
		if err == nil || chosen || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// startOnPort waits for processes of a server that was killed: while they end, none
// finds them in the folder any more, and they still have its shared memory.
func (d *Database) startOnPort(ctx context.Context) error {
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := d.tryStart(ctx)
		if err == nil || !strings.Contains(err.Error(), "pre-existing shared memory block") || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (d *Database) tryStart(ctx context.Context) error {
	if err := d.configure(); err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(d.bin, "postgres"), "-D", d.data)
	cmd.Dir, cmd.Env = d.data, serverEnv()
	server, err := startProcess(cmd, d.as, syscall.SIGINT, d.logFile())
	if err != nil {
		return err
	}
	if err := d.waitReady(ctx, server); err != nil {
		err = fmt.Errorf("starting the database: %w; %s ends with:\n%s", err, d.logFile(), logTail(d.logFile()))
		return errors.Join(err, d.abort(server))
	}
	d.server = server
	return nil
}

// configure writes postgresql.conf and what it names. We listen on 127.0.0.1 and on no socket
// file, whose path has a length limit.
func (d *Database) configure() error {
	settings := map[string]string{
		"listen_addresses":                   "127.0.0.1",
		"port":                               strconv.Itoa(d.port),
		"unix_socket_directories":            "",
		"shared_preload_libraries":           "timescaledb",
		"timescaledb.telemetry_level":        "off",
		"timescaledb.max_background_workers": "8",
		"max_worker_processes":               "16",
		"max_connections":                    "200",
		"max_locks_per_transaction":          "256", // one for each chunk that a statement touches
		"jit":                                "off", // the fetched server has no compiler
		"timezone":                           "UTC",
		"log_timezone":                       "UTC",
	}
	if d.opts.Throwaway {
		settings["fsync"] = "off"
		settings["full_page_writes"] = "off"
		// synchronous_commit stays on. Without fsync it costs one write to the
		// page cache, and it is what lets commits survive Kill.
	}
	maps.Copy(settings, d.opts.Settings)
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&text, "%s = '%s'\n", name, strings.ReplaceAll(settings[name], "'", "''"))
	}
	files := map[string][]byte{"postgresql.conf": []byte(text.String())}
	maps.Copy(files, d.opts.Files)
	for name, content := range files {
		file := filepath.Join(d.data, name)
		if err := errors.Join(os.WriteFile(file, content, 0o600), d.as.own(file)); err != nil {
			return err
		}
	}
	return nil
}

// waitReady waits until the server that answers on the port is this one, and
// has the database and the extension.
func (d *Database) waitReady(ctx context.Context, server *process) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, d.url("postgres"))
		if err == nil {
			defer conn.Close(ctx)
			return d.prepare(ctx, conn)
		}
		select {
		case <-server.done:
			return fmt.Errorf("the server ended: %s", server.cmd.ProcessState)
		case <-ctx.Done():
			return fmt.Errorf("%w: last answer: %w", ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (d *Database) prepare(ctx context.Context, conn *pgx.Conn) error {
	var exists, standby bool
	var data string
	err := conn.QueryRow(ctx, `SELECT current_setting('data_directory'), pg_is_in_recovery(),
		system_identifier::text, EXISTS (SELECT FROM pg_database WHERE datname = $1) FROM pg_control_system()`,
		databaseName).Scan(&data, &standby, &d.systemID, &exists)
	if err != nil {
		return err
	}
	if data != d.data {
		return fmt.Errorf("the server on port %d has another data folder: %s", d.port, data)
	}
	if standby {
		return nil // it has what the primary has
	}
	if !exists {
		if _, err := conn.Exec(ctx, "CREATE DATABASE "+databaseName); err != nil {
			return err
		}
	}
	conn, err = pgx.Connect(ctx, d.url(databaseName))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, "CREATE EXTENSION IF NOT EXISTS timescaledb")
	return err
}

func (d *Database) url(database string) string {
	u := url.URL{
		Scheme: "postgres",
		User:   url.UserPassword(databaseUser, d.password),
		Host:   net.JoinHostPort("127.0.0.1", strconv.Itoa(d.port)),
		Path:   "/" + database,
	}
	return u.String()
}

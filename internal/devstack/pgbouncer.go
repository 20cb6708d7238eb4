package devstack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// PgBouncerOptions says what a private PgBouncer stands in front of.
type PgBouncerOptions struct {
	// Cache keeps the fetched server; empty means CacheDir.
	Cache string
	// DatabaseURL names the database, with a user and a password.
	DatabaseURL string
	// PoolSize is the most connections to the database.
	PoolSize int
	// Progress, if set, is called while the start takes its time.
	Progress func(Progress)
}

// PgBouncer is a connection pooler in transaction mode, on 127.0.0.1 only. It
// gives each transaction the next of its connections and knows no prepared
// statements, so that whoever keeps state in a session finds out.
type PgBouncer struct {
	dir    string
	url    string
	lock   *fileLock
	server *process
}

const pgBouncerBin = "usr/sbin"

// StartPgBouncer starts a PgBouncer, which is fetched at the first time. The
// error is ErrUnavailable where that is impossible. ctx bounds the start only.
func StartPgBouncer(ctx context.Context, opts PgBouncerOptions) (*PgBouncer, error) {
	as, err := serverAccount()
	if err != nil {
		return nil, err
	}
	if runtime.GOOS != "linux" {
		return nil, unavailable("a private PgBouncer needs Linux: " + elsewhere)
	}
	cache, err := openCache(opts.Cache, "pgbouncer")
	if err != nil {
		return nil, err
	}
	prefix, err := fetchOnce(ctx, cache, "pgbouncer-"+fetchedRelease, opts.Progress, func(dir string) error {
		return fetchServer(ctx, dir, server{"PgBouncer", "pgbouncer", pgBouncerBin, "pgbouncer"}, opts.Progress)
	})
	if err != nil {
		return nil, err
	}
	program := filepath.Join(prefix, pgBouncerBin, "pgbouncer")
	if err := as.mayEnter(filepath.Dir(program)); err != nil {
		return nil, fmt.Errorf("PgBouncer's cache folder (set TICKCONNECT_CACHE to name another): %w", err)
	}
	dir, lock, err := openData("", "pgbouncer")
	if err != nil {
		return nil, err
	}
	b := &PgBouncer{dir: dir, lock: lock}
	if err := b.start(ctx, program, as, opts); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func (b *PgBouncer) start(ctx context.Context, program string, as account, opts PgBouncerOptions) error {
	port, err := freePort(ctx)
	if err != nil {
		return err
	}
	if err := b.configure(port, as, opts); err != nil {
		return err
	}
	cmd := exec.Command(program, filepath.Join(b.dir, "pgbouncer.ini"))
	cmd.Dir, cmd.Env = b.dir, serverEnv()
	if b.server, err = startProcess(cmd, as, os.Kill, b.logFile()); err != nil {
		return err
	}
	if err := b.waitReady(ctx); err != nil {
		return fmt.Errorf("starting PgBouncer: %w; %s ends with:\n%s", err, b.logFile(), logTail(b.logFile()))
	}
	return nil
}

func (b *PgBouncer) logFile() string { return filepath.Join(b.dir, "server.log") }

// configure writes PgBouncer's files and notes the URL that leads through it.
func (b *PgBouncer) configure(port int, as account, opts PgBouncerOptions) error {
	database, err := pgx.ParseConfig(opts.DatabaseURL)
	if err != nil {
		return errors.New("the URL of PgBouncer's database cannot be read") // pgx's error may repeat the password
	}
	quoted := func(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
	files := map[string]string{
		"users.txt": quoted(database.User) + " " + quoted(database.Password) + "\n",
		"pgbouncer.ini": fmt.Sprintf(`[databases]
* = host=%s port=%d

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = scram-sha-256
auth_file = users.txt
pool_mode = transaction
default_pool_size = %d
max_client_conn = 1000
max_prepared_statements = 0
server_round_robin = 1
`, database.Host, database.Port, port, opts.PoolSize),
	}
	for name, content := range files {
		file := filepath.Join(b.dir, name)
		if err := errors.Join(os.WriteFile(file, []byte(content), 0o600), as.own(file)); err != nil {
			return err
		}
	}
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(database.User, database.Password),
		Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Path: "/" + database.Database,
	}
	b.url = u.String()
	return os.Chmod(b.dir, 0o711) // the temporary folder is private; its account must get in
}

func (b *PgBouncer) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, b.url)
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-b.server.done:
			return fmt.Errorf("it ended: %s", b.server.cmd.ProcessState)
		case <-ctx.Done():
			return fmt.Errorf("%w: last answer: %w", ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// URL names the database by way of PgBouncer, with the password.
func (b *PgBouncer) URL() string { return b.url }

// Close ends PgBouncer. The error says that it had ended by itself before.
func (b *PgBouncer) Close() error {
	var err error
	if b.server != nil {
		if !b.server.alive() {
			err = fmt.Errorf("PgBouncer had ended: %s; its log ends with:\n%s", b.server.cmd.ProcessState, logTail(b.logFile()))
		}
		b.server.kill()
	}
	b.lock.release()
	return errors.Join(err, os.RemoveAll(b.dir))
}

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/qicore/tickconnect/internal/devstack"
)

// stack is what all parts share: the database, the programs, and a folder.
type stack struct {
	dir       string
	connector string   // path of the program under test
	broker    string   // path of the in-process broker's program
	settings  []string // further lines of the connector's configuration
	database  *devstack.Database
	server    int // process id of the database's first process
	conn      *pgx.Conn
	schemas   int
}

// databaseSettings keep a checkpoint from falling into one run and not into
// another; what decides about durability is as the server's own defaults have it.
var databaseSettings = map[string]string{
	"max_wal_size":       "8GB",
	"checkpoint_timeout": "30min",
	"shared_buffers":     "512MB",
}

// newStack builds the broker's program and starts a database that really syncs.
func newStack(ctx context.Context, connector string, settings []string) (_ *stack, err error) {
	s := &stack{settings: settings}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.connector, err = filepath.Abs(connector); err != nil {
		return nil, err
	}
	if _, err := os.Stat(s.connector); err != nil {
		return nil, fmt.Errorf("the program under test (make build makes it): %w", err)
	}
	if s.dir, err = os.MkdirTemp("", "tickconnect-bench-"); err != nil {
		return nil, err
	}
	s.broker = filepath.Join(s.dir, "broker")
	build := exec.CommandContext(ctx, "go", "build", "-o", s.broker, "github.com/qicore/tickconnect/internal/devstack/cmd/broker")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the broker: %w: %s", err, out)
	}
	if s.database, err = devstack.StartDatabase(ctx, devstack.DatabaseOptions{Settings: databaseSettings}); err != nil {
		return nil, err
	}
	if s.conn, err = pgx.Connect(ctx, s.database.URL()); err != nil {
		return nil, err
	}
	s.server, err = s.serverPID(ctx)
	return s, err
}

// serverPID reads the id of the database's first process.
func (s *stack) serverPID(ctx context.Context) (int, error) {
	var data string
	if err := s.conn.QueryRow(ctx, "SELECT current_setting('data_directory')").Scan(&data); err != nil {
		return 0, err
	}
	content, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(content), "\n")
	return strconv.Atoi(first)
}

func (s *stack) close() error {
	var errs []error
	if s.conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		errs = append(errs, s.conn.Close(ctx))
	}
	if s.database != nil {
		errs = append(errs, s.database.Close())
	}
	if s.dir != "" {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}

// newSchema makes a schema of its own for one run.
func (s *stack) newSchema(ctx context.Context) (string, error) {
	s.schemas++
	name := fmt.Sprintf("bench_%d", s.schemas)
	_, err := s.conn.Exec(ctx, "CREATE SCHEMA "+name)
	return name, err
}

// drop removes a run's schema, and settles the database for the next.
func (s *stack) drop(ctx context.Context, schema string) error {
	if _, err := s.conn.Exec(ctx, "DROP SCHEMA "+schema+" CASCADE"); err != nil {
		return err
	}
	return s.settle(ctx)
}

func (s *stack) settle(ctx context.Context) error {
	_, err := s.conn.Exec(ctx, "CHECKPOINT")
	return err
}

// child is a program that we started.
type child struct {
	cmd    *exec.Cmd
	log    string
	done   chan struct{}
	input  io.Closer
	output *bufio.Reader
}

// start runs a program with its standard error in a file.
func (s *stack) start(name string, env []string, path string, args ...string) (*child, error) {
	c := &child{log: filepath.Join(s.dir, name+".log"), done: make(chan struct{})}
	out, err := os.OpenFile(c.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	c.cmd = exec.Command(path, args...)
	c.cmd.Env, c.cmd.Stderr, c.cmd.Dir = append(os.Environ(), env...), out, s.dir
	endWithUs(c.cmd)
	input, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	c.input = input
	output, writeEnd, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	c.cmd.Stdout, c.output = writeEnd, bufio.NewReader(output)
	started := make(chan error)
	go startAndWait(c.cmd, started, c.done)
	err = <-started
	writeEnd.Close()
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	return c, nil
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// stop ends the program in good order, or after stopTimeout by force.
func (c *child) stop() error {
	c.input.Close()
	c.cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it may have ended by itself
	select {
	case <-c.done:
		return nil
	case <-time.After(stopTimeout):
		c.kill()
		return fmt.Errorf("%s did not end within %v", filepath.Base(c.cmd.Path), stopTimeout)
	}
}

func (c *child) kill() {
	c.cmd.Process.Kill() //nolint:errcheck // it may have ended by itself
	<-c.done
}

// failed says how the program ended that should run, with the end of its log.
func (c *child) failed() error {
	select {
	case <-c.done:
		return fmt.Errorf("%s ended: %s; its log ends with:\n%s", filepath.Base(c.cmd.Path), c.cmd.ProcessState, logTail(c.log))
	default:
		return nil
	}
}

func logTail(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-8):], "\n")
}

// startBroker starts an empty in-process broker in a process of its own.
func (s *stack) startBroker() (*child, string, error) {
	c, err := s.start("broker", nil, s.broker)
	if err != nil {
		return nil, "", err
	}
	line, err := c.output.ReadString('\n')
	if err != nil {
		c.kill()
		return nil, "", fmt.Errorf("the broker: %w: %s", err, logTail(c.log))
	}
	return c, strings.TrimSpace(line), nil
}

// connectorName is that of the connector in all runs.
const connectorName = "bench"

// connectorRun is how the program under test is started. Everything that is not
// here is as its defaults have it.
type connectorRun struct {
	brokers, schema, topics, mode string
	settings                      []string // further lines of the configuration
}

func (s *stack) startConnector(r connectorRun) (*child, error) {
	path := filepath.Join(s.dir, r.schema+".yaml")
	var config strings.Builder
	fmt.Fprintf(&config, `bootstrap.servers: %s
listeners: http://127.0.0.1:0
log.level: WARN
group.instance.id: bench-0
connectors:
  %s:
    connector.class: timescale-sink
    topics.regex: %s
    connection.url: ${env:BENCH_DATABASE_URL}
    schema.name: %s
    insert.mode: %s
`, r.brokers, connectorName, r.topics, r.schema, r.mode)
	for _, line := range slices.Concat(s.settings, r.settings) {
		fmt.Fprintf(&config, "    %s\n", line)
	}
	if err := os.WriteFile(path, []byte(config.String()), 0o600); err != nil {
		return nil, err
	}
	return s.start("connector-"+r.schema, []string{"BENCH_DATABASE_URL=" + s.database.URL()}, s.connector, "run", "-c", path)
}

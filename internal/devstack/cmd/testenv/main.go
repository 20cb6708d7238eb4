// Command testenv runs a command with a real TimescaleDB and a real Apache Kafka
// of its own:
//
//	go run ./internal/devstack/cmd/testenv -- go test ./...
//
// The servers are throwaway ones on free ports of the loopback interface, told
// to the command in the variables of package devstack/testenv. Signals go to
// the command, and its exit code is ours (go run turns every failure into 1).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/term"

	"github.com/qicore/tickconnect/internal/devstack"
	"github.com/qicore/tickconnect/internal/devstack/testenv"
)

func main() {
	database := flag.Bool("database", true, "start a TimescaleDB")
	kafka := flag.Bool("kafka", true, "start an Apache Kafka")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: testenv [flags] -- command [argument ...]")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	os.Exit(run(*database, *kafka, flag.Args()))
}

// run returns the exit code.
func run(database, kafka bool, command []string) int {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	// Until the command runs, a signal ends the start of the servers.
	started := make(chan struct{})
	go func() {
		select {
		case <-signals:
			cancel()
		case <-started:
		}
	}()
	env, closeAll, err := start(ctx, database, kafka)
	close(started)
	defer closeAll()
	if err != nil {
		fmt.Fprintln(os.Stderr, "testenv:", err)
		return 1
	}
	code, err := execute(command, env, signals)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testenv:", err)
	}
	return code
}

// start starts the servers side by side and returns the variables that name them.
func start(ctx context.Context, database, kafka bool) (env []string, closeAll func(), err error) {
	var (
		wg            sync.WaitGroup
		db            *devstack.Database
		broker        *devstack.Kafka
		dbErr, kafErr error
	)
	if database {
		wg.Go(func() {
			db, dbErr = devstack.StartDatabase(ctx, devstack.DatabaseOptions{Throwaway: true, Progress: steps("TimescaleDB")})
		})
	}
	if kafka {
		wg.Go(func() {
			broker, kafErr = devstack.StartKafka(ctx, devstack.KafkaOptions{Progress: steps("Kafka")})
		})
	}
	wg.Wait()
	closeAll = func() {
		if db != nil {
			wg.Go(func() { warn(db.Close()) })
		}
		if broker != nil {
			wg.Go(func() { warn(broker.Close()) })
		}
		wg.Wait()
	}
	if db != nil {
		env = append(env, testenv.DatabaseURL+"="+db.URL(), testenv.DatabaseID+"="+db.SystemID())
	}
	if broker != nil {
		env = append(env, testenv.KafkaBrokers+"="+strings.Join(broker.Brokers(), ","), testenv.KafkaID+"="+broker.ClusterID())
	}
	return env, closeAll, errors.Join(dbErr, kafErr)
}

// steps prints each step once: a log wants no percentages.
func steps(what string) func(devstack.Progress) {
	last := ""
	return func(p devstack.Progress) {
		if p.Step != last {
			fmt.Fprintf(os.Stderr, "testenv: %s: %s\n", what, p.Step)
			last = p.Step
		}
	}
}

func warn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "testenv:", err)
	}
}

// execute runs the command, passing signals on, and returns its exit code.
func execute(command, env []string, signals <-chan os.Signal) (int, error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case sig := <-signals:
			// A terminal sends its Ctrl-C to the command as well. A second one
			// would cut short the orderly stop that the first began.
			if sig != os.Interrupt || !term.IsTerminal(int(os.Stdin.Fd())) {
				cmd.Process.Signal(sig) //nolint:errcheck // it may have ended by itself
			}
		case err := <-done:
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
					return 128 + int(status.Signal()), nil // as a shell says it
				}
				return exit.ExitCode(), nil
			}
			if err != nil {
				return 1, err
			}
			return 0, nil
		}
	}
}

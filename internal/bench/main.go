// Command bench measures the connector: its throughput against what the
// database and goka alone can do, its memory on a backlog, its latency under a
// steady load, and how soon it is back after kill -9. The broker, the database
// and the connector are processes of their own on this machine; the database
// syncs its commits. It never judges by a clock in a test: it prints a table.
//
// The records are made from a seed: one venue's price ticks, whose prices walk
// at random with as many digits as venues give them, about 225 bytes of JSON
// each. They are sent with lz4 in batches of 16 KiB, the default of Kafka's
// producers.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// stopTimeout bounds the orderly end of what was started.
const stopTimeout = 30 * time.Second

// bench is what all parts need.
type bench struct {
	*stack
	seed           uint64
	rounds         int
	records        int // of the throughput part
	backlogRecords int // of the memory part
	stall          time.Duration
	duration       time.Duration // of the latency part, for each rate
	kills          int
	settings       []string // further lines of the connector's configuration
	report         *report
	groups         int
}

var partNames = []string{"throughput", "formats", "memory", "latency", "restart", "publish"}

func main() {
	b := &bench{report: &report{log: os.Stderr}}
	full := flag.Bool("full", false, "measure with the full sizes, which takes about half an hour; flags that are given still count")
	parts := flag.String("parts", strings.Join(partNames, ","), "what to measure")
	output := flag.String("o", "markdown", "form of the report: markdown or json")
	connector := flag.String("connector", "bin/connector", "the program under test")
	timeout := flag.Duration("timeout", 0, "longest run in all; 0: 10 minutes, or an hour with -full")
	flag.Uint64Var(&b.seed, "seed", 1, "makes the records")
	flag.IntVar(&b.rounds, "rounds", 0, "throughput: rounds (default 2, or 5)")
	flag.IntVar(&b.records, "records", 0, "throughput: records (default 200,000, or 1,000,000)")
	flag.IntVar(&b.backlogRecords, "backlog", 0, "memory: records (default 600,000, or 5,000,000)")
	flag.DurationVar(&b.stall, "stall", 0, "memory: how long the database stands still (default 10s, or 1m)")
	flag.DurationVar(&b.duration, "duration", 0, "latency: how long each rate is measured (default 10s, or 1m)")
	flag.IntVar(&b.kills, "kills", 0, "restart: how often (default 2, or 5)")
	flag.Func("set", "further `key: value` of the connector's configuration; may be repeated", func(line string) error {
		b.settings = append(b.settings, line)
		return nil
	})
	brokers := flag.String("goka-null", "", "brokers: consume -records of -goka-topic with goka alone, and print how fast")
	topic := flag.String("goka-topic", "", "")
	group := flag.String("goka-group", "", "")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *brokers != "" {
		exitOn(gokaNull(ctx, *brokers, *topic, *group, int64(b.records), os.Stdout))
		return
	}
	b.sizes(*full)
	if *timeout == 0 {
		*timeout = 10 * time.Minute
		if *full {
			*timeout = time.Hour
		}
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	exitOn(b.run(ctx, strings.Split(*parts, ","), *output, *connector, os.Stdout))
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// sizes fills in what no flag said.
func (b *bench) sizes(full bool) {
	quick := bench{rounds: 2, records: 200_000, backlogRecords: 600_000, stall: 10 * time.Second, duration: 10 * time.Second, kills: 2}
	if full {
		quick = bench{rounds: 5, records: 1_000_000, backlogRecords: 5_000_000, stall: time.Minute, duration: time.Minute, kills: 5}
	}
	orElse(&b.rounds, quick.rounds)
	orElse(&b.records, quick.records)
	orElse(&b.backlogRecords, quick.backlogRecords)
	orElse(&b.stall, quick.stall)
	orElse(&b.duration, quick.duration)
	orElse(&b.kills, quick.kills)
}

func orElse[T comparable](v *T, other T) {
	var zero T
	if *v == zero {
		*v = other
	}
}

// run measures the parts in turn. What one part measured before it failed is
// reported all the same, and the error after it.
func (b *bench) run(ctx context.Context, parts []string, output, connector string, out io.Writer) (err error) {
	for _, part := range parts {
		if !slices.Contains(partNames, part) {
			return fmt.Errorf("-parts: there is no %q; there are %s", part, strings.Join(partNames, ", "))
		}
	}
	write := b.report.writeMarkdown
	switch output {
	case "json":
		write = b.report.writeJSON
	case "markdown":
	default:
		return fmt.Errorf("-o: %q is neither markdown nor json", output)
	}
	b.report.Began = time.Now()
	b.report.Machine = fmt.Sprintf("%d cores of %s, %s/%s, %s", runtime.NumCPU(), cpuModel(), runtime.GOOS, runtime.GOARCH, runtime.Version())
	b.report.Command = "bench " + strings.Join(os.Args[1:], " ")
	if b.stack, err = newStack(ctx, connector, b.settings); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	var errs []error
	for _, part := range parts {
		run := map[string]func(context.Context) error{
			"throughput": b.throughput, "memory": b.memory, "latency": b.latency, "restart": b.restart, "publish": b.publishing, "formats": b.formats,
		}[part]
		if err := run(ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", part, err))
			b.report.note("%s did not come to its end: %v", part, err)
		}
	}
	b.report.Took = time.Since(b.report.Began).Round(time.Second).String()
	return errors.Join(append(errs, write(out))...)
}

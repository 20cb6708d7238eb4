// Command broker runs the in-process broker in a process of its own, for
// benchmarks and for tests that kill it. It prints its bootstrap servers, comma
// separated, as its first line, and ends when its standard input does or on a
// signal.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/qicore/tickconnect/internal/devstack"
)

func main() {
	var opts devstack.BrokerOptions
	flag.IntVar(&opts.Port, "port", 0, "port on 127.0.0.1; 0 picks a free one")
	flag.StringVar(&opts.Dir, "dir", "", "data folder; empty keeps everything in memory")
	flag.IntVar(&opts.Brokers, "brokers", 1, "number of brokers")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, opts, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "broker:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, opts devstack.BrokerOptions, in io.Reader, out io.Writer) error {
	broker, err := devstack.StartBroker(ctx, opts)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, strings.Join(broker.Brokers(), ",")); err != nil {
		broker.Close() //nolint:errcheck // the first error is the one to tell
		return err
	}
	ended := make(chan struct{})
	go func() {
		// A reader that blocks for ever keeps this goroutine; the process ends.
		io.Copy(io.Discard, in) //nolint:errcheck // any end is the end
		close(ended)
	}()
	select {
	case <-ctx.Done():
	case <-ended:
	}
	return broker.Close()
}

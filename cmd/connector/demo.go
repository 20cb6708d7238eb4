package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/qicore/tickconnect/internal/recording"
	"github.com/qicore/tickconnect/marketdata"
)

// demoConnector is the name of the demo's connector, in the ledger too.
const demoConnector = "demo"

// demoStallMax is how long --exit waits for the next record to be stored.
const demoStallMax = 90 * time.Second

// demoJoinMax is how long the publisher waits for the connector's groups.
const demoJoinMax = 15 * time.Second

// demoOptions are the flags of connector demo.
type demoOptions struct {
	exit        bool
	databaseURL string
	brokers     []string
	dataDir     string
	rate        int
}

func newDemoCommand() *cobra.Command {
	var o demoOptions
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run everything on this machine with recorded market data",
		Long: "Start a broker inside this process and a private TimescaleDB, publish recorded market data of\n" +
			"several exchanges, and store them as connector run would. Then show what was stored. The\n" +
			"database's programs are fetched once; nothing is installed, and no root is needed.\n\n" +
			"Both keep their data: the next demo continues where this one ended and stores nothing twice.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDemo(cmd.Context(), o, cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&o.exit, "exit", false, "end once the recording is stored; exit code 0 only if all of it is and the ledger balances")
	cmd.Flags().StringVar(&o.databaseURL, "database-url", "", "use this TimescaleDB instead of a private one: postgres://user:password@host:port/database")
	cmd.Flags().StringSliceVar(&o.brokers, "brokers", nil, "use these brokers instead of one in this process: host:port,...; the topics must not be anyone else's")
	cmd.Flags().StringVar(&o.dataDir, "data-dir", "", "folder that keeps the broker's log and the database (default "+demoDataDirText+")")
	cmd.Flags().IntVar(&o.rate, "rate", 10_000, "records to publish each second; 0: as fast as they are taken")
	return cmd
}

// demo is one run.
type demo struct {
	demoOptions
	screen   *screen
	stack    *demoStack
	store    *demoStore
	admin    *kadm.Client
	process  *process
	recorded []recording.Total
	topics   []string
	publish  *publisher
	// before is what the ledger accounted for when the run began.
	before int64
}

func runDemo(ctx context.Context, o demoOptions, out io.Writer) (err error) {
	d := &demo{demoOptions: o, screen: newScreen(out)}
	if d.rate < 0 {
		return fmt.Errorf("--rate: %d is below 0", d.rate)
	}
	if d.dataDir, err = demoDataDir(o.dataDir); err != nil {
		return err
	}
	if err := os.MkdirAll(d.dataDir, 0o755); err != nil {
		return fmt.Errorf("making the folder for the data (name another with --data-dir): %w", err)
	}
	if err := d.readTotals(); err != nil {
		return err
	}
	d.screen.title("Recorded market data of %d exchanges → broker → goka → TimescaleDB", d.exchanges())
	if d.stack, err = startDemoStack(ctx, o, d.dataDir, d.screen); err != nil {
		return d.explain(ctx, err)
	}
	// The servers end last: leaving the groups and the last Put need them.
	defer func() { err = errors.Join(err, d.stack.close()) }()
	err = d.run(ctx)
	return d.explain(ctx, err)
}

// explain says in one sentence what a Ctrl-C interrupted.
func (d *demo) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return errors.New("interrupted before the recording was stored; the next connector demo goes on from here")
	}
	return err
}

func (d *demo) readTotals() error {
	reader, err := recording.Open()
	if err != nil {
		return err
	}
	d.recorded = reader.Totals()
	for _, total := range d.recorded {
		d.topics = append(d.topics, total.Topic)
	}
	return reader.Close()
}

func (d *demo) exchanges() int {
	exchanges := make(map[string]bool)
	for _, topic := range d.topics {
		_, exchange, _ := marketdata.KindOfTopic(topic)
		exchanges[exchange] = true
	}
	return len(exchanges)
}

func (d *demo) records() int64 {
	var n int64
	for _, total := range d.recorded {
		n += int64(total.Records)
	}
	return n
}

// run plays the recording on the servers that are there now.
func (d *demo) run(ctx context.Context) error {
	client, err := newPublisherClient(d.stack.brokers)
	if err != nil {
		return fmt.Errorf("--brokers: %w", err)
	}
	defer client.Close()
	d.admin = kadm.NewClient(client)
	if d.store, err = openDemoStore(ctx, d.stack.databaseURL); err != nil {
		return err
	}
	defer d.store.close()

	made, err := createTopics(ctx, client, d.topics)
	if err != nil {
		return err
	}
	ends, err := endOffsets(ctx, d.admin, d.topics)
	if err != nil {
		return err
	}
	d.publish = &publisher{client: client, ends: ends}
	if err := d.publish.checkPublished(ctx, d.admin); err != nil {
		return err
	}
	ledger, err := d.store.ledger(ctx, d.topics)
	if err != nil {
		return err
	}
	d.before = ledger.next().records()
	d.screen.fact("topics", "%d with %d partitions, %d made now", len(d.topics), len(ends.partitions()), made)
	d.screen.fact("recording", "%s records; %s were published before, %s stored",
		grouped(d.records()), grouped(d.publish.published.Load()), grouped(d.before))
	return d.play(ctx)
}

// play runs the connector and the publisher until the recording is stored, and
// then, without --exit, the connector until ctx ends.
func (d *demo) play(ctx context.Context) error {
	stop, err := d.startConnector(ctx)
	if err != nil {
		return err
	}
	defer stop()
	if err := d.waitAssigned(ctx); err != nil {
		return err
	}

	published := make(chan error, 1)
	publishing, stopPublishing := context.WithCancel(ctx)
	var publisher sync.WaitGroup
	publisher.Go(func() { published <- d.publish.publish(publishing, d.rate) })
	err = d.watch(ctx, published)
	stopPublishing()
	publisher.Wait()
	if err != nil {
		return err
	}
	good, err := d.report(ctx)
	if err != nil {
		return err
	}
	if !good {
		return errors.New("not all of the recording is stored, see the account above")
	}
	if d.exit {
		return nil
	}
	d.screen.text("Ctrl-C ends it. The next demo continues from here and stores nothing twice.")
	<-ctx.Done()
	return nil
}

// startConnector runs what connector run would with a file that names the
// demo's servers and topics. stop ends it in its two steps and waits.
func (d *demo) startConnector(ctx context.Context) (stop func(), err error) {
	l, err := d.stack.load(d.topics)
	if err == nil {
		err = l.check()
	}
	if err != nil {
		return nil, err
	}
	if d.process, err = newProcess(ctx, l, l.process.logger(d.stack.log, l.redactor, l.levels)); err != nil {
		return nil, errors.New(l.redactor.Redact(err.Error()))
	}
	d.screen.fact("connector", "%s, log in %s", strings.Join(d.process.server.URLs(), ", "), d.stack.log.Name())
	running, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- d.process.run(running) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			d.screen.text("stopping the connector: %s", l.redactor.Redact(err.Error()))
		}
	}, nil
}

// waitAssigned waits until the connector holds all partitions, so that what is
// seen next is how it keeps up. It gives up soon: watch tells what is wrong.
func (d *demo) waitAssigned(ctx context.Context) error {
	limit := time.NewTimer(demoJoinMax)
	defer limit.Stop()
	poll := time.NewTicker(100 * time.Millisecond)
	defer poll.Stop()
	defer d.screen.progressDone()
	want := len(d.publish.ends.partitions())
	for {
		held := d.process.herder.Partitions()
		if held >= want {
			return nil
		}
		d.screen.progress("joining %d consumer groups: %d of %d partitions", len(d.topics), held, want)
		select {
		case <-poll.C:
		case <-limit.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// demoDataDirText says what demoDataDir chooses.
const demoDataDirText = "~/.local/state/tickconnect/demo, for root /var/lib/tickconnect/demo"

// demoDataDir is the folder that keeps the demo's data. Root's home cannot be
// entered by the account that its PostgreSQL runs as.
func demoDataDir(dir string) (string, error) {
	if dir == "" && os.Geteuid() == 0 {
		dir = "/var/lib/tickconnect/demo"
	}
	if dir == "" {
		state := os.Getenv("XDG_STATE_HOME")
		if state == "" {
			home, err := os.UserHomeDir()
			if err != nil {
				return "", fmt.Errorf("finding a folder for the data (name one with --data-dir): %w", err)
			}
			state = filepath.Join(home, ".local", "state")
		}
		dir = filepath.Join(state, "tickconnect", "demo")
	}
	return filepath.Abs(dir)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/qicore/tickconnect/config"
	"github.com/qicore/tickconnect/marketdata"
	"github.com/qicore/tickconnect/publish"
	"github.com/qicore/tickconnect/publish/files"
)

// publishOptions are the flags of connector publish, as they are typed.
type publishOptions struct {
	kind, exchange, format, layout string
	columns                        []string
	brokers                        []string
	config                         string
	rate                           float64
	speed                          string
	loop, dryRun, restart          bool
	noCreate                       bool
	reject, state                  string
	to                             output
}

func newPublishCommand() *cobra.Command {
	var o publishOptions
	cmd := &cobra.Command{
		Use:   "publish FILE...",
		Short: "Publish files of market data to their topics",
		Long: "Publish files of JSON lines or CSV, plain or compressed with gzip or zstd, one after the other;\n" +
			"- is standard input. Lines that break a rule of their kind go into FILE.rejected in the current\n" +
			"folder, byte by byte, and the exit code is 1; all others are published, in the order of the file.\n\n" +
			"The place in each file is kept. After Ctrl-C the same command goes on exactly there, and a file\n" +
			"that is done is not published again. After a kill or a crash the next run reads what the topics\n" +
			"got since the place was saved and leaves out what it finds; where it may not read the topics (ACL\n" +
			"READ), or what is there has expired, " + fmt.Sprintf("at most %d lines", files.WindowMax) + " are published twice, and it says so.\n" +
			"No line is left out. Standard input and --loop have no place to be kept.",
		Example: "  connector publish trades.csv.gz --kind trade --exchange binance --map ts=time --map amount=size\n" +
			"  connector publish crypto-trades-kraken.jsonl --dry-run\n" +
			"  zcat old/*.gz | connector publish - --kind price --rate 500",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runPublish(cmd.Context(), o, args, cmd)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.kind, "kind", "", "kind of the records: "+marketdata.KindNames()+" (default: as a name such as crypto-trades-kraken.jsonl tells)")
	f.StringVar(&o.exchange, "exchange", "", "exchange of records that name none")
	f.StringVar(&o.format, "format", "", "jsonl or csv (default: by name or content)")
	f.StringVar(&o.layout, "layout", marketdata.TopicPerExchange.String(), "topic-per-exchange or topic-per-kind")
	f.StringArrayVar(&o.columns, "map", nil, "column=field: a column of CSV that has another name than the field; may be given often")
	f.StringSliceVar(&o.brokers, "brokers", []string{"localhost:9092"}, "brokers to begin with: host:port,...")
	f.StringVarP(&o.config, "config", "c", "", "configuration file whose brokers, TLS and SASL settings are used instead of --brokers")
	f.Float64Var(&o.rate, "rate", 0, "records a second (default: as fast as they are taken)")
	f.StringVar(&o.speed, "speed", "", "play by the records' own times, such as 1x or 10x; a time before the last one does not wait")
	f.BoolVar(&o.loop, "loop", false, "publish the files again and again until Ctrl-C, with the times that they have")
	f.BoolVar(&o.dryRun, "dry-run", false, "check every line, and publish and keep nothing")
	f.StringVar(&o.reject, "reject", "", "file for rejected lines, which are appended (default FILE.rejected in the current folder)")
	f.StringVar(&o.state, "state", "", "folder that keeps the place in each file (default "+publishStateText+")")
	f.BoolVar(&o.restart, "restart", false, "forget the place: publish everything, again too")
	f.BoolVar(&o.noCreate, "no-create", false, "make no topic; one that is not there is an error")
	addOutputFlag(cmd, &o.to)
	_ = cmd.MarkFlagFilename("config", "yaml", "yml", "json") // the flag was made above
	return cmd
}

const publishStateText = "~/.local/state/tickconnect/publish"

// publishState is the folder that keeps the places.
func publishState(dir string) (string, error) {
	if dir == "" {
		state := os.Getenv("XDG_STATE_HOME")
		if state == "" {
			home, err := os.UserHomeDir()
			if err != nil {
				return "", fmt.Errorf("finding a folder for the place in files (name one with --state): %w", err)
			}
			state = filepath.Join(home, ".local", "state")
		}
		dir = filepath.Join(state, "tickconnect", "publish")
	}
	return filepath.Abs(dir)
}

func runPublish(ctx context.Context, o publishOptions, paths []string, cmd *cobra.Command) error {
	redactor := config.NewRedactor()
	screen := newScreen(cmd.ErrOrStderr())
	opts, err := o.options(cmd, redactor)
	if err != nil {
		return redacted(redactor, err)
	}
	opts.Tell = func(text string) { screen.write("  " + redactor.Redact(text) + "\n") }
	opts.Publisher = []publish.Option{publish.WithLogger(slog.New(slog.NewTextHandler(redactor.Writer(screenWriter{screen}), nil)))}
	p, err := files.New(opts, paths)
	if err != nil {
		return redacted(redactor, err)
	}
	defer p.Close()
	if o.loop {
		screen.text("  the files are published again and again, with the times that they have, until Ctrl-C")
	}
	stop := showProgress(p, screen, o.loop)
	summary, err := p.Run(ctx)
	stop()
	var printErr error
	if o.to == outputJSON {
		printErr = printJSON(cmd.OutOrStdout(), publishAnswer{summary, redactor.Redact(errorText(err))})
	} else {
		printErr = printPublished(cmd.OutOrStdout(), summary)
	}
	switch {
	case errors.Is(err, files.ErrInterrupted):
		err = errors.New(interruptedText(summary))
	case err == nil && !summary.Good:
		err = errUntrue
	}
	return errors.Join(redacted(redactor, err), printErr)
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func redacted(r *config.Redactor, err error) error {
	if err == nil || errors.Is(err, errUntrue) {
		return err
	}
	return errors.New(r.Redact(err.Error()))
}

func interruptedText(s *files.Summary) string {
	if s.DryRun {
		return "interrupted before every line was checked"
	}
	for _, f := range s.Files {
		if f.State == files.StateInterrupted && f.Path == files.Stdin {
			return "interrupted: of standard input no place is kept; " + grouped(f.Published) + " records were published"
		}
	}
	return "interrupted; the same command goes on where this one ended"
}

// options reads the flags. Secrets of the configuration go to the redactor.
func (o *publishOptions) options(cmd *cobra.Command, redactor *config.Redactor) (files.Options, error) {
	opts := files.Options{
		Exchange: o.exchange, Brokers: o.brokers, NoCreate: o.noCreate, Rate: o.rate,
		Loop: o.loop, DryRun: o.dryRun, Restart: o.restart, Reject: o.reject, Stdin: cmd.InOrStdin(),
	}
	var errs []error
	of := func(flag string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", flag, err))
		}
	}
	var err error
	if o.kind != "" {
		opts.Kind, err = files.ParseKind(o.kind)
		of("--kind", err)
	}
	opts.Format, err = files.ParseFormat(o.format)
	of("--format", err)
	opts.Layout, err = marketdata.ParseLayout(o.layout)
	of("--layout", err)
	for _, c := range o.columns {
		column, err := files.ParseColumn(c)
		of("--map", err)
		opts.Columns = append(opts.Columns, column)
	}
	opts.Speed, err = parseSpeed(o.speed)
	of("--speed", err)
	opts.State, err = publishState(o.state)
	of("--state", err)
	if o.config != "" {
		if cmd.Flags().Changed("brokers") {
			errs = append(errs, errors.New("--brokers and -c are given: the file names brokers, too; give one of them"))
		}
		errs = append(errs, fromConfig(o.config, &opts, redactor))
	}
	return opts, errors.Join(errs...)
}

// fromConfig takes the brokers of a configuration. What is wrong with its
// connectors does not matter here.
func fromConfig(path string, opts *files.Options, redactor *config.Redactor) error {
	l, err := load(path)
	if err != nil {
		return err
	}
	redactor.Add(l.decoded.Secrets...)
	if l.err != nil {
		return fmt.Errorf("%s cannot be used:\n%w", path, l.err)
	}
	opts.Brokers = l.client.Brokers()
	opts.Client, err = l.client.KafkaOptions()
	return err
}

// parseSpeed reads 10x or 10; "" is 0, no speed.
func parseSpeed(text string) (float64, error) {
	if text == "" {
		return 0, nil
	}
	speed, err := strconv.ParseFloat(strings.TrimSuffix(strings.ToLower(text), "x"), 64)
	if err != nil || !(speed > 0 && speed < 1e9) {
		return 0, fmt.Errorf("%q is no speed such as 1x, 0.5x or 10x", text)
	}
	return speed, nil
}

// screenWriter lets a logger write to the screen.
type screenWriter struct{ *screen }

func (w screenWriter) Write(b []byte) (int, error) {
	w.write(string(b))
	return len(b), nil
}

var _ io.Writer = screenWriter{}

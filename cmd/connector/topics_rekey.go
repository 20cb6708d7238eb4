package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/qicore/tickconnect/config"
	"github.com/qicore/tickconnect/converters"
	"github.com/qicore/tickconnect/internal/rekey"
	"github.com/qicore/tickconnect/marketdata"
	"github.com/qicore/tickconnect/publish"
)

// rekeyFlags are the flags of topics rekey.
type rekeyFlags struct {
	topicsFlags
	converter  string
	settings   []string
	layout     string
	partitions int32
	group      string
	follow     bool
	restart    bool
}

// rekeyAnswer is the answer for programs. Finished says that the new topic has
// all that the others held when it was started.
type rekeyAnswer struct {
	From     []string `json:"from"`
	To       string   `json:"to"`
	Group    string   `json:"group"`
	Finished bool     `json:"finished"`
	rekey.Progress
}

func newTopicsRekeyCommand() *cobra.Command {
	var f rekeyFlags
	cmd := &cobra.Command{
		Use:   "rekey FROM... TO",
		Short: "Copy topics into one whose records are keyed by what they are of, exactly once",
		Long: "A producer that gives all records one key fills one partition, and one consumer reads it. This copies such\n" +
			"topics into one that is keyed by symbol (or by exchange|symbol), so that replicas divide it. Value, headers and\n" +
			"time stay as they are; the order of what has one new key is the old one. A record of which cannot be told what\n" +
			"it is of keeps its key, and is counted.\n\n" +
			"Records and offsets move in one transaction: interrupt it or kill it, and the same command goes on without\n" +
			"copying anything twice. Several at once share the work. It ends at what the topics held when it began, or with\n" +
			"--follow never.",
		Example: "  connector topics rekey --converter cryptofeed trades-all crypto-trades-rekeyed\n" +
			"  connector topics rekey --converter json --set value.converter.kind=trade,... raw-a raw-b keyed",
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			from, to := unique(args[:len(args)-1]), args[len(args)-1]
			if slices.Contains(from, to) {
				return fmt.Errorf("%s: a topic cannot be copied into itself", to)
			}
			answer, err := f.run(cmd, from, to)
			if answer == nil {
				return err
			}
			if f.form == outputJSON {
				err = errors.Join(err, printJSON(cmd.OutOrStdout(), answer))
			} else {
				answer.print(cmd.OutOrStdout())
			}
			if err == nil && !answer.Finished {
				err = errUntrue
			}
			return err
		},
	}
	f.add(cmd, defaultTopicsTimeout)
	cmd.Flags().StringVar(&f.converter, "converter", "native", "the form of the records, as value.converter has it")
	cmd.Flags().StringArrayVar(&f.settings, "set", nil, "a setting of the converter, key=value; may be repeated")
	cmd.Flags().StringVar(&f.layout, "layout", marketdata.TopicPerExchange.String(), "the new keys: topic-per-exchange (symbol) or topic-per-kind (exchange|symbol)")
	cmd.Flags().Int32Var(&f.partitions, "partitions", 0, "partitions of TO where it is made (default those of its kind)")
	cmd.Flags().StringVar(&f.group, "group", "", "the consumer group that keeps how far the copy is (default tickconnect-rekey-TO)")
	cmd.Flags().BoolVar(&f.follow, "follow", false, "go on with what is written later, until interrupted")
	cmd.Flags().BoolVar(&f.restart, "restart", false, "begin anew where TO is empty though an earlier copy was under way")
	return cmd
}

func (f *rekeyFlags) run(cmd *cobra.Command, from []string, to string) (*rekeyAnswer, error) {
	o := rekey.Options{From: from, To: to, Group: f.group, Follow: f.follow}
	if o.Group == "" {
		o.Group = "tickconnect-rekey-" + to
	}
	var err error
	if o.Layout, err = marketdata.ParseLayout(f.layout); err != nil {
		return nil, fmt.Errorf("--layout: %w", err)
	}
	if f.partitions < 0 || f.partitions > 10_000 {
		return nil, fmt.Errorf("--partitions: %d is outside 1..10000", f.partitions)
	}
	if o.Converter, err = f.newConverter(from); err != nil {
		return nil, err
	}
	client, redactor, _, err := f.clientConfig(cmd)
	if err != nil {
		return nil, err
	}
	if o.Kafka, err = client.KafkaOptions(); err != nil {
		return nil, err
	}
	err = f.with(cmd, func(ctx context.Context, c *cluster) (err error) {
		o.MaxRecordBytes, err = f.prepare(ctx, c, &o)
		return err
	})
	if err != nil {
		return nil, err
	}
	show := newScreen(cmd.ErrOrStderr())
	begun, first := time.Now(), int64(-1)
	progress, err := rekey.Copy(cmd.Context(), o, func(p rekey.Progress) {
		if first < 0 {
			first = p.Done
		}
		if show.terminal {
			show.redraw(rekeyLine(p, first, time.Since(begun), f.follow))
		}
	})
	show.progressDone()
	answer := &rekeyAnswer{From: from, To: to, Group: o.Group, Finished: err == nil && progress.Expired == 0, Progress: progress}
	if answer.Unreadable == nil {
		answer.Unreadable = []rekey.Unreadable{}
	}
	switch {
	case err != nil && cmd.Context().Err() != nil: // interrupted: the answer says how far it came
		answer.Finished = f.follow && progress.Done >= progress.Of
		return answer, nil
	case err != nil:
		return nil, errors.New(redactor.Redact(err.Error()))
	}
	return answer, nil
}

// newConverter makes the converter of --converter and --set, which must know the
// topics.
func (f *rekeyFlags) newConverter(from []string) (converters.Converter, error) {
	cfg := converters.Default()
	props := map[string]string{"value.converter": f.converter}
	for _, setting := range f.settings {
		key, value, ok := strings.Cut(setting, "=")
		if !ok || !strings.HasPrefix(key, "value.converter.") {
			return nil, fmt.Errorf("--set: %q is not of the form value.converter....=value", setting)
		}
		props[key] = value
	}
	if _, err := config.Decode(props, &cfg); err != nil {
		return nil, fmt.Errorf("--set: %w", err)
	}
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("--converter, --set: %w", err)
	}
	converter := cfg.Converter()
	if converter == nil { // its map is empty: each field has its own name
		converter = converters.NewMapped(cfg.MapConfig)
	}
	for _, topic := range from {
		if converter.Kinds(topic) == nil {
			return nil, fmt.Errorf("%s: its name tells no kind of market data that %s knows; say in --converter who wrote it", topic, f.converter)
		}
	}
	return converter, nil
}

// prepare makes sure that the topics are there and that the new one holds what
// this copy has written, and nothing else. It gives the largest batch that the new
// one takes.
func (f *rekeyFlags) prepare(ctx context.Context, c *cluster, o *rekey.Options) (maxBytes int32, err error) {
	topics, err := c.describe(ctx, append(slices.Clone(o.From), o.To))
	if err != nil {
		return 0, err
	}
	for _, t := range topics[:len(topics)-1] {
		if t.Err != nil {
			return 0, t.Err
		}
	}
	begun, moved, err := rekey.Begun(ctx, c.client, o.Group, o.From)
	if err != nil {
		return 0, err
	}
	to := topics[len(topics)-1]
	isThere := !errors.Is(to.Err, kerr.UnknownTopicOrPartition)
	if isThere && to.Err != nil {
		return 0, to.Err
	}
	empty := true
	if isThere {
		offsets, err := c.offsets(ctx, []string{o.To})
		if err != nil {
			return 0, err
		}
		for _, p := range slices.Collect(maps.Values(offsets[o.To])) {
			empty = empty && p.end == 0
		}
	}
	switch {
	case moved && empty && !f.restart:
		return 0, fmt.Errorf("group %s has copied before, and %s is empty: it was made again. To begin anew, give --restart", o.Group, o.To)
	case moved && empty:
		if _, err := c.admin.DeleteGroups(ctx, o.Group); err != nil {
			return 0, fmt.Errorf("deleting group %s: %w", o.Group, err)
		}
		begun = false
	case !begun && !empty:
		return 0, fmt.Errorf("%s holds records that group %s did not copy: name a topic that is not there or empty; to go on with an earlier copy, give its --group", o.To, o.Group)
	}
	if !isThere {
		kind, _, _ := marketdata.KindOfTopic(o.To)
		settings := publish.DefaultTopicSettings(kind)
		if f.partitions > 0 {
			settings.Partitions = f.partitions
		}
		if err := c.topics.Create(ctx, o.To, settings); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return 0, topicError(o.To, err, "CREATE")
		}
		if to, err = c.topics.Await(ctx, o.To); err != nil {
			return 0, err
		}
	}
	if !begun {
		if err := rekey.Begin(ctx, c.client, o.Group, o.From); err != nil {
			return 0, err
		}
	}
	n, err := strconv.ParseInt(to.Configs["max.message.bytes"], 10, 32)
	if err != nil {
		n = publish.DefaultMaxRecordBytes
	}
	return int32(n), nil
}

func rekeyLine(p rekey.Progress, first int64, took time.Duration, follow bool) string {
	share := 1.0
	if p.Of > 0 {
		share = float64(p.Done) / float64(p.Of)
	}
	parts := []string{
		fmt.Sprintf("%s %3.0f %%", bar(share, 20), 100*share),
		grouped(p.Copied) + " copied", grouped(int64(float64(p.Done-first)/max(took.Seconds(), 0.001))) + " records/s",
	}
	switch left := p.Of - p.Done; {
	case follow && left == 0:
		parts = append(parts, "following")
	case left > 0 && p.Done > first:
		parts = append(parts, time.Duration(float64(took)*float64(left)/float64(p.Done-first)).Round(time.Second).String()+" left")
	}
	if p.Kept > 0 {
		parts = append(parts, grouped(p.Kept)+" kept their key")
	}
	return "  " + strings.Join(parts, "   ")
}

func (a *rekeyAnswer) print(w io.Writer) {
	fmt.Fprintf(w, "%s copied to %s under a new key, %s kept theirs; %s of %s offsets are done.\n",
		counted(int(a.Copied), "record"), a.To, grouped(a.Kept), grouped(a.Done), grouped(a.Of))
	for _, u := range a.Unreadable {
		fmt.Fprintf(w, "  %s/%d@%d keeps its key: %s\n", u.Topic, u.Partition, u.Offset, u.Why)
	}
	if more := a.Kept - int64(len(a.Unreadable)); more > 0 {
		fmt.Fprintf(w, "  and %s more\n", grouped(more))
	}
	if a.Expired > 0 {
		fmt.Fprintf(w, "%s were deleted by retention before they were copied.\n", counted(int(a.Expired), "offset"))
	} else if !a.Finished {
		fmt.Fprintln(w, "It is not at the end. The same command goes on.")
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/qicore/tickconnect/marketdata"
	"github.com/qicore/tickconnect/publish"
)

const defaultTopicsTimeout = 30 * time.Second

// What became of a topic in topics create.
const (
	topicMade      = "made"
	topicWouldMake = "would be made"
	topicExists    = "is there already, as wanted"
	topicDiffers   = "is there already with other settings"
	topicFailed    = "not made"
)

// createdTopic is a topic in the answer of topics create.
type createdTopic struct {
	Topic       string              `json:"topic"`
	Result      string              `json:"result"`
	Settings    string              `json:"settings"` // that are wanted
	Differences []settingDifference `json:"differences"`
	Error       string              `json:"error,omitempty"`
}

// createOptions are the flags of topics create.
type createOptions struct {
	topicNames
	partitions  int32
	replication int16
	retention   string
	dryRun      bool
}

func newTopicsCreateCommand() *cobra.Command {
	var (
		flags topicsFlags
		o     createOptions
	)
	cmd := &cobra.Command{
		Use:   "create [TOPIC...]",
		Short: "Make topics with the settings of their kind; one that is there is not changed",
		Example: "  connector topics create crypto-trades-binance\n" +
			"  connector topics create --kind trade,ohlcv --exchange binance,kraken --dry-run",
		RunE: func(cmd *cobra.Command, args []string) error {
			names, err := o.names()
			if err != nil {
				return err
			}
			for _, name := range args {
				if err := checkTopicName(name); err != nil {
					return err
				}
			}
			if names = unique(append(args, names...)); len(names) == 0 {
				return errors.New("name the topics to make, or give --kind and --exchange")
			}
			change, err := o.settings(cmd)
			if err != nil {
				return err
			}
			var made []createdTopic
			err = flags.with(cmd, func(ctx context.Context, c *cluster) (err error) {
				if cmd.Flags().Changed("replication") && int(o.replication) > c.brokers {
					return fmt.Errorf("--replication: %d is more than the cluster has brokers, which is %d", o.replication, c.brokers)
				}
				made, err = createAll(ctx, c, names, change, o.dryRun)
				return err
			})
			if err != nil {
				return err
			}
			if flags.form == outputJSON {
				err = printJSON(cmd.OutOrStdout(), map[string]any{"topics": made})
			} else {
				printCreated(cmd.OutOrStdout(), made)
			}
			for _, t := range made {
				if t.Result == topicFailed || t.Result == topicDiffers {
					err = errors.Join(err, errUntrue)
				}
			}
			return err
		},
	}
	flags.add(cmd, defaultTopicsTimeout)
	o.add(cmd)
	cmd.Flags().Int32Var(&o.partitions, "partitions", 0, "partitions of each topic (default those of the kind)")
	cmd.Flags().Int16Var(&o.replication, "replication", 0, "replicas of each partition (default 3, or as many as there are brokers)")
	cmd.Flags().StringVar(&o.retention, "retention", "", "how long records are kept: 168h, 7d, or forever (default that of the kind)")
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "ask the brokers whether they would make the topics, and make none")
	return cmd
}

// settings gives what the flags change of a kind's settings.
func (o *createOptions) settings(cmd *cobra.Command) (func(publish.TopicSettings) publish.TopicSettings, error) {
	if cmd.Flags().Changed("partitions") && (o.partitions < 1 || o.partitions > 10_000) {
		return nil, fmt.Errorf("--partitions: %d is outside 1..10000", o.partitions)
	}
	if cmd.Flags().Changed("replication") && o.replication < 1 {
		return nil, fmt.Errorf("--replication: %d is below 1", o.replication)
	}
	retention, err := parseRetention(o.retention)
	if err != nil {
		return nil, err
	}
	return func(s publish.TopicSettings) publish.TopicSettings {
		if o.partitions > 0 {
			s.Partitions = o.partitions
		}
		if o.replication > 0 {
			s.Replication = o.replication
		}
		if retention != 0 {
			s.Retention = retention
		}
		return s
	}, nil
}

// parseRetention gives 0 for "", and below 0 for ever.
func parseRetention(text string) (time.Duration, error) {
	bad := fmt.Errorf("--retention: %q is neither a duration such as 168h or 7d nor forever", text)
	switch text {
	case "":
		return 0, nil
	case "forever":
		return -1, nil
	}
	d, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n int
		if n, err = strconv.Atoi(days); n > 36_500 {
			return 0, bad
		}
		d = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || d < time.Millisecond {
		return 0, bad
	}
	return d, nil
}

// createAll goes on where one topic fails.
func createAll(ctx context.Context, c *cluster, names []string, change func(publish.TopicSettings) publish.TopicSettings, dryRun bool) ([]createdTopic, error) {
	found, err := c.topics.Describe(ctx, names...)
	if err != nil {
		return nil, err
	}
	made := make([]createdTopic, 0, len(names))
	for _, t := range found {
		kind, _, _ := marketdata.KindOfTopic(t.Name)
		want := change(publish.DefaultTopicSettings(kind))
		want.Replication = int16(min(int(want.Replication), c.brokers))
		answer := createdTopic{Topic: t.Name, Result: topicMade, Settings: want.String(), Differences: []settingDifference{}}
		if errors.Is(t.Err, kerr.UnknownTopicOrPartition) {
			do := c.topics.Create
			if dryRun {
				do, answer.Result = c.topics.CanCreate, topicWouldMake
			}
			t.Err = do(ctx, t.Name, want)
			there := errors.Is(t.Err, kerr.TopicAlreadyExists)
			if there { // somebody else made it a moment ago
				answer.Result = topicExists
			}
			if there || t.Err == nil && !dryRun {
				if t, err = c.topics.Await(ctx, t.Name); err != nil {
					return nil, err
				}
			}
		} else {
			answer.Result = topicExists
		}
		if err := topicError(t.Name, t.Err, "DESCRIBE, CREATE"); err != nil {
			answer.Result, answer.Error = topicFailed, err.Error()
		} else if answer.Result == topicExists {
			if answer.Differences = c.differences(want, t); len(answer.Differences) > 0 {
				answer.Result = topicDiffers
			}
		}
		made = append(made, answer)
	}
	return made, nil
}

func printCreated(w io.Writer, made []createdTopic) {
	differ := false
	for _, t := range made {
		switch t.Result {
		case topicFailed:
			fmt.Fprintf(w, "%s: %s: %s\n", t.Topic, t.Result, t.Error)
		case topicMade, topicWouldMake:
			fmt.Fprintf(w, "%s: %s: %s\n", t.Topic, t.Result, t.Settings)
		default:
			fmt.Fprintf(w, "%s: %s\n", t.Topic, t.Result)
		}
		for _, d := range t.Differences {
			differ = true
			fmt.Fprintf(w, "  %s\n", d)
		}
	}
	if differ {
		fmt.Fprintln(w, "Nothing was changed of what is there; connector topics plan gives the commands.")
	}
}

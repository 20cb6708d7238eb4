package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/qicore/tickconnect/marketdata"
	"github.com/qicore/tickconnect/publish"
)

// topicLine is a topic in the answer of topics list. Records and Bytes are nil
// where the brokers do not tell.
type topicLine struct {
	Topic       string              `json:"topic"`
	Kind        string              `json:"kind"`
	Exchange    string              `json:"exchange"`
	Partitions  int32               `json:"partitions"`
	Replicas    int16               `json:"replicas"`
	Records     *int64              `json:"records"` // the log's end less its start, of all partitions
	Bytes       *int64              `json:"bytes"`   // of one replica of each partition
	RetentionMs string              `json:"retention.ms"`
	Cleanup     string              `json:"cleanup.policy"`
	Differences []settingDifference `json:"differences"`
	Error       string              `json:"error,omitempty"`
}

func newTopicsListCommand() *cobra.Command {
	var (
		flags topicsFlags
		all   bool
	)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the topics of market data, and where their settings differ from their kind's",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var lines []topicLine
			err := flags.with(cmd, func(ctx context.Context, c *cluster) (err error) {
				lines, err = listTopics(ctx, c, all)
				return err
			})
			if err != nil {
				return err
			}
			if flags.form == outputJSON {
				return printJSON(cmd.OutOrStdout(), map[string]any{"topics": lines})
			}
			return printTopics(cmd.OutOrStdout(), lines)
		},
	}
	flags.add(cmd, defaultTopicsTimeout)
	cmd.Flags().BoolVar(&all, "all", false, "also topics whose names tell no kind of market data")
	return cmd
}

func listTopics(ctx context.Context, c *cluster, all bool) ([]topicLine, error) {
	list := c.topics.List
	if all {
		list = c.topics.ListAll
	}
	topics, err := list(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, t := range topics {
		if t.Err == nil {
			names = append(names, t.Name)
		}
	}
	offsets, err := c.offsets(ctx, names)
	if err != nil {
		return nil, err
	}
	sizes := c.sizes(ctx, topics)
	lines := []topicLine{}
	for _, t := range topics {
		line := topicLine{
			Topic: t.Name, Partitions: t.Partitions, Replicas: t.Replication, Bytes: sizes[t.Name], Differences: []settingDifference{},
			RetentionMs: t.Configs["retention.ms"], Cleanup: t.Configs["cleanup.policy"],
		}
		line.Kind, line.Exchange = topicKind(t.Name)
		if err := topicError(t.Name, t.Err, "DESCRIBE"); err != nil {
			line.Error = err.Error()
		} else {
			line.Records = offsets[t.Name].records()
		}
		if k, _, ok := marketdata.KindOfTopic(t.Name); ok && t.Err == nil {
			line.Differences = c.differences(publish.DefaultTopicSettings(k), t)
		}
		lines = append(lines, line)
	}
	return lines, nil
}

func printTopics(w io.Writer, lines []topicLine) error {
	if len(lines) == 0 {
		_, err := fmt.Fprintln(w, "There is no topic of market data; make one with: connector topics create crypto-trades-binance")
		return err
	}
	differ := 0
	err := printTable(w, func(w io.Writer) {
		fmt.Fprintln(w, "topic\tkind\texchange\tpartitions\treplicas\trecords\tbytes\tretention\tcleanup\tdiffers in")
		for _, l := range lines {
			var settings []string
			for _, d := range l.Differences {
				settings = append(settings, d.Setting)
			}
			if len(settings) > 0 {
				differ++
			}
			mark := strings.Join(settings, ", ")
			if l.Error != "" {
				mark = l.Error
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\t%s\t%s\n", l.Topic, textOrDash(l.Kind), textOrDash(l.Exchange), l.Partitions, l.Replicas,
				groupedOrDash(l.Records), groupedOrDash(l.Bytes), retentionText(l.RetentionMs), textOrDash(l.Cleanup), mark)
		}
	})
	if err == nil && differ > 0 {
		_, err = fmt.Fprintf(w, "\n%s from the settings of the kind; connector topics plan says what to do.\n", countVerb(differ, "topic", "differs", "differ"))
	}
	return err
}

// countVerb is count with the verb that goes with it.
func countVerb(n int, of, one, many string) string {
	if n == 1 {
		return count(n, of) + " " + one
	}
	return count(n, of) + " " + many
}

func groupedOrDash(n *int64) string {
	if n == nil {
		return "-"
	}
	return grouped(*n)
}

// logSpan is what the log of a partition holds. Stable is its end under
// read_committed.
type logSpan struct {
	start, stable, end int64
	err                error // why it cannot be told
}

// topicSpans are those of a topic by partition.
type topicSpans map[int32]logSpan

// records is how many offsets the logs hold, nil where that of one is unknown.
func (s topicSpans) records() *int64 {
	var n int64
	for _, p := range s {
		if p.err != nil {
			return nil
		}
		n += p.end - p.start
	}
	return &n
}

// err is why a partition cannot be told of.
func (s topicSpans) err() error {
	for _, p := range s {
		if p.err != nil {
			return p.err
		}
	}
	return nil
}

// offsets asks where the topics' logs begin and end now.
func (c *cluster) offsets(ctx context.Context, names []string) (map[string]topicSpans, error) {
	spans := map[string]topicSpans{}
	if len(names) == 0 {
		return spans, nil
	}
	// The ends come last, so that none lies before its start.
	for _, ask := range []struct {
		list func(context.Context, ...string) (kadm.ListedOffsets, error)
		take func(*logSpan, int64)
	}{
		{c.admin.ListStartOffsets, func(s *logSpan, at int64) { s.start, s.stable, s.end = at, at, at }},
		{c.admin.ListCommittedOffsets, func(s *logSpan, at int64) { s.stable, s.end = max(at, s.start), max(at, s.start) }},
		{c.admin.ListEndOffsets, func(s *logSpan, at int64) { s.end = max(at, s.stable) }},
	} {
		listed, err := ask.list(ctx, names...)
		if err != nil && len(listed) == 0 {
			return nil, fmt.Errorf("reading where the logs begin and end: %w", err)
		}
		listed.Each(func(o kadm.ListedOffset) {
			if spans[o.Topic] == nil {
				spans[o.Topic] = topicSpans{}
			}
			s := spans[o.Topic][o.Partition]
			if o.Err != nil {
				s.err = errors.Join(s.err, o.Err)
			} else {
				ask.take(&s, o.Offset)
			}
			spans[o.Topic][o.Partition] = s
		})
	}
	return spans, nil
}

// sizes gives the bytes of one replica of each partition. Brokers tell only who
// may describe the cluster; without that it knows none.
func (c *cluster) sizes(ctx context.Context, topics []publish.Topic) map[string]*int64 {
	var asked kadm.TopicsSet
	for _, t := range topics {
		for _, p := range t.Layout {
			asked.Add(t.Name, p.ID)
		}
	}
	if len(asked) == 0 {
		return nil
	}
	all, err := c.admin.DescribeAllLogDirs(ctx, asked)
	if err != nil {
		return nil
	}
	largest := map[string]map[int32]int64{}
	all.Each(func(d kadm.DescribedLogDir) {
		d.Topics.Each(func(p kadm.DescribedLogDirPartition) {
			if p.IsFuture {
				return
			}
			if largest[p.Topic] == nil {
				largest[p.Topic] = map[int32]int64{}
			}
			largest[p.Topic][p.Partition] = max(largest[p.Topic][p.Partition], p.Size)
		})
	})
	sizes := map[string]*int64{}
	for topic, partitions := range largest {
		var n int64
		for _, size := range partitions {
			n += size
		}
		sizes[topic] = &n
	}
	return sizes
}

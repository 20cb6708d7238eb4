package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/marketdata"
	"github.com/qicore/tickconnect/publish"
)

// newestLook is how many offsets before a partition's end are looked at for its
// newest record: the last ones may be a transaction's marker, or compacted away.
const newestLook = 20

// describedTopic is a topic in the answer of topics describe.
type describedTopic struct {
	Topic       string               `json:"topic"`
	Kind        string               `json:"kind"`
	Exchange    string               `json:"exchange"`
	Replicas    int16                `json:"replicas"`
	Settings    map[string]string    `json:"settings"` // under Kafka's names; null: they cannot be read
	Differences []settingDifference  `json:"differences"`
	Partitions  []describedPartition `json:"partitions"`
	Records     *int64               `json:"records"`
	NewestTime  *time.Time           `json:"newest_time"`
	Groups      []describedGroup     `json:"groups"`
	// Untold is what could not be found out, and why.
	Untold []string `json:"untold,omitempty"`
}

// describedPartition is a partition; Start, End and Records are nil where they
// cannot be told.
type describedPartition struct {
	Partition int32  `json:"partition"`
	Leader    int32  `json:"leader"`
	Replicas  int    `json:"replicas"`
	InSync    int    `json:"in_sync"`
	Start     *int64 `json:"start"`
	End       *int64 `json:"end"`
	Records   *int64 `json:"records"`
	Problem   string `json:"problem,omitempty"`
}

// describedGroup is a connector's group, as Kafka knows it. Lag is nil where it
// has committed nothing yet.
type describedGroup struct {
	Group     string `json:"group"`
	Connector string `json:"connector"`
	State     string `json:"state"`
	Lag       *int64 `json:"lag"`
}

func newTopicsDescribeCommand() *cobra.Command {
	var flags topicsFlags
	cmd := &cobra.Command{
		Use:   "describe TOPIC...",
		Short: "Show topics in full: settings, partitions, who reads them, and how far",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var topics []describedTopic
			var missing []error
			err := flags.with(cmd, func(ctx context.Context, c *cluster) error {
				found, err := c.describe(ctx, args)
				if err != nil {
					return err
				}
				for _, t := range found {
					if t.Err != nil {
						missing = append(missing, t.Err)
						continue
					}
					d, err := describeTopic(ctx, c, t)
					if err != nil {
						return err
					}
					topics = append(topics, d)
				}
				return nil
			})
			if err != nil {
				return err
			}
			if flags.form == outputJSON {
				err = printJSON(cmd.OutOrStdout(), map[string]any{"topics": topics})
			} else {
				err = printDescribed(cmd.OutOrStdout(), topics)
			}
			return errors.Join(append(missing, err)...)
		},
	}
	flags.add(cmd, defaultTopicsTimeout)
	return cmd
}

func describeTopic(ctx context.Context, c *cluster, t publish.Topic) (describedTopic, error) {
	d := describedTopic{Topic: t.Name, Replicas: t.Replication, Settings: t.Configs, Differences: []settingDifference{}, Groups: []describedGroup{}}
	d.Kind, d.Exchange = topicKind(t.Name)
	untold := func(what string, err error) { d.Untold = append(d.Untold, what+": "+err.Error()) }
	if k, _, ok := marketdata.KindOfTopic(t.Name); ok {
		d.Differences = c.differences(publish.DefaultTopicSettings(k), t)
	}
	if t.Configs == nil {
		untold("settings", errors.New("they cannot be read: allow DESCRIBE_CONFIGS on topic "+t.Name))
	}
	offsets, err := c.offsets(ctx, []string{t.Name})
	if err != nil {
		return d, err
	}
	spans := offsets[t.Name]
	d.Records = spans.records()
	if err := spans.err(); err != nil {
		untold("offsets", topicError(t.Name, err, "DESCRIBE"))
	}
	for _, p := range t.Layout {
		line := describedPartition{Partition: p.ID, Leader: p.Leader, Replicas: p.Replicas, InSync: p.InSync, Problem: problemOf(p)}
		if s := spans[p.ID]; s.err == nil {
			n := s.end - s.start
			line.Start, line.End, line.Records = &s.start, &s.end, &n
		}
		d.Partitions = append(d.Partitions, line)
	}
	if d.NewestTime, err = newestTime(ctx, c, t, spans); err != nil {
		untold("newest record", topicError(t.Name, err, "READ"))
	}
	if d.Groups, err = c.groupsOf(ctx, t.Name, spans); err != nil {
		untold("groups", err)
	}
	return d, nil
}

// problemOf says what is wrong with where a partition lies.
func problemOf(p publish.Partition) string {
	switch {
	case p.Leader < 0:
		return "no leader: it can be neither written nor read"
	case p.InSync < p.Replicas:
		return fmt.Sprintf("%d of %d replicas are in sync", p.InSync, p.Replicas)
	}
	return ""
}

// newestTime reads the last records of each partition, nil where there is none.
func newestTime(ctx context.Context, c *cluster, t publish.Topic, spans topicSpans) (*time.Time, error) {
	var newest *time.Time
	r := &logReader{client: c.client, topic: t.Name, record: func(r *kgo.Record) {
		if newest == nil || r.Timestamp.After(*newest) {
			at := r.Timestamp.UTC()
			newest = &at
		}
	}}
	for _, p := range t.Layout {
		s := spans[p.ID]
		if s.err != nil || p.Leader < 0 {
			continue
		}
		if err := r.read(ctx, p.ID, max(s.start, s.stable-newestLook), s.stable); err != nil {
			return newest, err
		}
	}
	return newest, nil
}

// groupsOf finds the groups of connectors that read a topic: those with the name
// that a connector gives them, and those of the configuration file's connectors.
func (c *cluster) groupsOf(ctx context.Context, topic string, spans topicSpans) ([]describedGroup, error) {
	listed, err := c.admin.ListGroups(ctx)
	if err != nil && len(listed) == 0 {
		return []describedGroup{}, fmt.Errorf("they cannot be listed; allow DESCRIBE on the groups: %w", err)
	}
	groups := []describedGroup{}
	for _, g := range listed.Sorted() {
		connector, ok := c.readerOf(g.Group, topic)
		if !ok {
			continue
		}
		one := describedGroup{Group: g.Group, Connector: connector, State: g.State}
		committed, err := c.admin.FetchOffsetsForTopics(ctx, g.Group, topic)
		switch {
		case errors.Is(err, kerr.GroupAuthorizationFailed):
			one.State = "not authorized: allow DESCRIBE on group " + g.Group
		case err != nil:
			return groups, fmt.Errorf("reading the offsets of group %s: %w", g.Group, err)
		default:
			one.Lag = lagOf(committed[topic], spans)
		}
		groups = append(groups, one)
	}
	return groups, nil
}

// readerOf says which connector a group belongs to that reads the topic.
func (c *cluster) readerOf(group, topic string) (connector string, ok bool) {
	for _, known := range c.connectors {
		if prefix := known.source.GroupPrefix; prefix != "" && group == prefix+topic {
			return known.name, true
		}
	}
	rest, ok := strings.CutPrefix(group, "connect-")
	if !ok {
		return "", false
	}
	connector, ok = strings.CutSuffix(rest, "-"+topic)
	return connector, ok && connector != ""
}

// lagOf is how far the committed offsets lie behind the ends, nil where none is
// committed. A partition without one counts from its start.
func lagOf(committed map[int32]kadm.OffsetResponse, spans topicSpans) *int64 {
	var lag int64
	committedAny := false
	for partition, s := range spans {
		at := s.start
		if o, ok := committed[partition]; ok && o.Err == nil && o.At >= 0 {
			committedAny, at = true, max(o.At, s.start)
		}
		lag += max(0, s.end-at)
	}
	if !committedAny {
		return nil
	}
	return &lag
}

func printDescribed(w io.Writer, topics []describedTopic) error {
	for i, t := range topics {
		if i > 0 {
			fmt.Fprintln(w)
		}
		if err := t.print(w); err != nil {
			return err
		}
	}
	return nil
}

// shownSettings are those that matter here; JSON has all.
var shownSettings = []string{
	"retention.ms", "retention.bytes", "cleanup.policy", "compression.type", "max.message.bytes",
	"message.timestamp.type", "min.insync.replicas", "unclean.leader.election.enable",
}

func (t *describedTopic) print(w io.Writer) error {
	what := "no kind of market data"
	switch {
	case t.Exchange != "":
		what = t.Kind + " of " + t.Exchange
	case t.Kind != "":
		what = t.Kind + " of all exchanges"
	}
	fmt.Fprintf(w, "%s: %s, %s, %s\n", t.Topic, what, count(len(t.Partitions), "partition"), count(int(t.Replicas), "replica"))
	newest := ""
	if t.NewestTime != nil {
		newest = ", the newest of " + t.NewestTime.Format(time.RFC3339Nano)
	}
	fmt.Fprintf(w, "%s records%s\n", groupedOrDash(t.Records), newest)
	for _, text := range t.Untold {
		fmt.Fprintf(w, "not known: %s\n", text)
	}

	fmt.Fprintln(w, "\nSettings")
	err := printTable(w, func(w io.Writer) {
		for _, name := range shownSettings {
			if value, ok := t.Settings[name]; ok {
				i := slices.IndexFunc(t.Differences, func(d settingDifference) bool { return d.Setting == name })
				mark := ""
				if i >= 0 {
					mark = "want " + t.Differences[i].Want + ": " + t.Differences[i].Why
				}
				if name == "retention.ms" {
					value += " (" + retentionText(value) + ")"
				}
				fmt.Fprintf(w, "  %s\t%s\t%s\n", name, value, mark)
			}
		}
	})
	if err != nil {
		return err
	}
	for _, d := range t.Differences {
		if !slices.Contains(shownSettings, d.Setting) {
			fmt.Fprintf(w, "  %s\n", d)
		}
	}

	fmt.Fprintln(w, "\nPartitions")
	err = printTable(w, func(w io.Writer) {
		fmt.Fprintln(w, "  partition\tleader\tin sync\tstart\tend\trecords\tproblem")
		for _, p := range t.Partitions {
			fmt.Fprintf(w, "  %d\t%d\t%d/%d\t%s\t%s\t%s\t%s\n", p.Partition, p.Leader, p.InSync, p.Replicas, orDash(p.Start), orDash(p.End), orDash(p.Records), p.Problem)
		}
	})
	if err != nil {
		return err
	}

	if len(t.Groups) == 0 {
		_, err := fmt.Fprintln(w, "\nNo connector's group is known to read it.")
		return err
	}
	fmt.Fprintln(w, "\nGroups of connectors, as Kafka knows them; the ledger decides (connector offsets list)")
	return printTable(w, func(w io.Writer) {
		fmt.Fprintln(w, "  connector\tgroup\tstate\tlag")
		for _, g := range t.Groups {
			fmt.Fprintf(w, "  %s\t%s\t%s\t%s\n", g.Connector, g.Group, textOrDash(g.State), groupedOrDash(g.Lag))
		}
	})
}

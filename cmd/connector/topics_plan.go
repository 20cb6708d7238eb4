package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/qicore/tickconnect/marketdata"
	"github.com/qicore/tickconnect/publish"
)

// topicsPlan is the answer of topics plan. Good says that nothing needs doing.
type topicsPlan struct {
	Good   bool           `json:"good"`
	Topics []plannedTopic `json:"topics"`
}

// plannedTopic is a topic with what was found. Sample is nil where the topic is
// not there, or nothing was to be read.
type plannedTopic struct {
	Topic    string         `json:"topic"`
	Kind     string         `json:"kind"`
	Exchange string         `json:"exchange"`
	Records  *int64         `json:"records"`
	Sample   *sampleReport  `json:"sample"`
	Findings []topicFinding `json:"findings"`
}

// sampleReport is what the last records of a topic show, in numbers.
type sampleReport struct {
	Records     int              `json:"records"`
	Decoded     int              `json:"decoded"`
	Tombstones  int              `json:"tombstones"`
	Undecodable map[string]int   `json:"undecodable"`    // by reason
	Unknown     map[string]int   `json:"unknown_fields"` // by name
	Floats      map[string]int   `json:"floats"`         // numbers of more than 15 digits, by field
	Exponents   map[string]int   `json:"exponents"`      // by field
	Foreign     map[string]int   `json:"other_exchanges"`
	Codecs      map[string]int64 `json:"codecs"` // decompressed bytes, by codec
	Keys        int              `json:"keys"`
	NoKey       int              `json:"no_key"`
	Misplaced   int              `json:"other_partitioner"`
	BusiestKey  string           `json:"busiest_key"`
	// Shares are of 1: the busiest key's of the sample, the busiest partition's of
	// what the log holds.
	BusiestKeyShare       float64    `json:"busiest_key_share"`
	BusiestPartition      int32      `json:"busiest_partition"`
	BusiestPartitionShare float64    `json:"busiest_partition_share"`
	EmptyPartitions       int        `json:"empty_partitions"`
	NewestTime            *time.Time `json:"newest_time"`
	Ended                 string     `json:"ended_early,omitempty"` // why not all was read
}

func newTopicsPlanCommand() *cobra.Command {
	var (
		flags  topicsFlags
		names  topicNames
		sample int
	)
	cmd := &cobra.Command{
		Use:   "plan [TOPIC...]",
		Short: "Judge topics and what producers write to them, and say what to do; exit code 0 only if nothing needs doing",
		Long: "Compare the topics of market data that are there, and those that --kind and --exchange name, with what\n" +
			"their kinds want, and look at the last records of each: how they are keyed, spread, compressed, and whether\n" +
			"they can be stored as they were sent. Nothing is changed, and no group is joined. With TOPIC only those\n" +
			"topics are judged.",
		RunE: func(cmd *cobra.Command, args []string) error {
			named, err := names.names()
			if err != nil {
				return err
			}
			for _, name := range args {
				if err := checkTopicName(name); err != nil {
					return err
				}
			}
			if sample < 0 || sample > 1_000_000 {
				return fmt.Errorf("--sample: %d is outside 0..1000000", sample)
			}
			p := topicsPlan{Good: true, Topics: []plannedTopic{}}
			show := newScreen(cmd.ErrOrStderr())
			err = flags.with(cmd, func(ctx context.Context, c *cluster) error {
				defer show.progressDone()
				return p.make(ctx, c, args, named, int64(sample), show)
			})
			if err != nil {
				return err
			}
			if flags.form == outputJSON {
				err = printJSON(cmd.OutOrStdout(), p)
			} else {
				err = p.print(cmd.OutOrStdout())
			}
			if !p.Good {
				err = errors.Join(err, errUntrue)
			}
			return err
		},
	}
	flags.add(cmd, 2*time.Minute)
	names.add(cmd)
	cmd.Flags().IntVar(&sample, "sample", 10_000, "last records of each topic to read; 0: none")
	return cmd
}

func (p *topicsPlan) make(ctx context.Context, c *cluster, only, named []string, sample int64, show *screen) error {
	wanted := unique(append(slices.Clone(only), named...))
	if len(only) == 0 {
		there, err := c.topics.List(ctx)
		if err != nil {
			return err
		}
		for _, t := range there {
			wanted = append(wanted, t.Name)
		}
		wanted = unique(wanted)
		slices.Sort(wanted)
	}
	if len(wanted) == 0 {
		return nil
	}
	topics, err := c.topics.Describe(ctx, wanted...)
	if err != nil {
		return err
	}
	var there []string
	for _, t := range topics {
		if t.Err == nil {
			there = append(there, t.Name)
		}
	}
	offsets, err := c.offsets(ctx, there)
	if err != nil {
		return err
	}
	for i, t := range topics {
		one, err := planTopic(ctx, c, t, offsets[t.Name], sample, i, len(topics), show)
		if err != nil {
			return err
		}
		for _, f := range one.Findings {
			p.Good = p.Good && f.Level != levelDo
		}
		p.Topics = append(p.Topics, one)
	}
	return nil
}

func planTopic(ctx context.Context, c *cluster, t publish.Topic, spans topicSpans, sample int64, index, of int, show *screen) (plannedTopic, error) {
	one := plannedTopic{Topic: t.Name, Findings: []topicFinding{}}
	one.Kind, one.Exchange = topicKind(t.Name)
	f := &findings{topic: t.Name, servers: c.servers}
	if errors.Is(t.Err, kerr.UnknownTopicOrPartition) {
		f.missing()
		one.Findings = f.take()
		return one, nil
	}
	if err := topicError(t.Name, t.Err, "DESCRIBE"); err != nil {
		f.unreadable(err)
		one.Findings = f.take()
		return one, nil
	}
	one.Records = spans.records()
	if err := spans.err(); err != nil {
		f.unreadable(topicError(t.Name, err, "DESCRIBE"))
	}
	kind, _, _ := marketdata.KindOfTopic(t.Name)
	f.settings(c.differences(publish.DefaultTopicSettings(kind), t), t)

	if sample > 0 {
		s := newTopicSample(t, time.Now())
		// Each topic has an even part of the time that is left.
		reading, cancel := ctx, context.CancelFunc(func() {})
		if deadline, ok := ctx.Deadline(); ok {
			reading, cancel = context.WithTimeout(ctx, time.Until(deadline)*9/10/time.Duration(of-index))
		}
		s.take(reading, c, t.Name, lastOf(t, spans, sample), func(read, all int64) {
			if show.terminal {
				show.progress("%s (%d of %d): %s of %s records", t.Name, index+1, of, grouped(read), grouped(all))
			}
		})
		cancel()
		if ctx.Err() != nil {
			return one, ctx.Err()
		}
		one.Sample = s.report(spans)
		f.sample(s, one.Sample, t)
	}
	one.Findings = f.take()
	return one, nil
}

func (s *topicSample) report(spans topicSpans) *sampleReport {
	r := &sampleReport{
		Records: s.records, Decoded: s.decoded, Tombstones: s.tombstones, Undecodable: s.bad.counts(), Unknown: s.unknown.counts(),
		Floats: s.floats.counts(), Exponents: s.exponent.counts(), Foreign: s.foreign.counts(), Codecs: s.codecs,
		Keys: len(s.keys), NoKey: s.keyless, Misplaced: s.misplaced,
	}
	if s.ended != nil {
		r.Ended = s.ended.Error()
	}
	if !s.newest.IsZero() {
		at := s.newest.UTC()
		r.NewestTime = &at
	}
	if key, n := s.busiestKey(); n > 0 {
		r.BusiestKey, r.BusiestKeyShare = key, float64(n)/float64(s.records)
	}
	var all, most int64
	for _, partition := range slices.Sorted(maps.Keys(spans)) {
		p := spans[partition]
		has := p.end - p.start
		if all += has; has > most {
			most, r.BusiestPartition = has, partition
		}
		if has == 0 && p.err == nil {
			r.EmptyPartitions++
		}
	}
	if all > 0 {
		r.BusiestPartitionShare = float64(most) / float64(all)
	}
	return r
}

func (p *topicsPlan) print(w io.Writer) error {
	if len(p.Topics) == 0 {
		_, err := fmt.Fprintln(w, "There is no topic of market data, and none is named; make one with: connector topics create crypto-trades-binance")
		return err
	}
	todo := 0
	for _, t := range p.Topics {
		fmt.Fprintln(w, t.Topic)
		if t.Sample != nil {
			fmt.Fprintf(w, "  %s\n", t.Sample)
		}
		for _, f := range t.Findings {
			if f.Level == levelDo {
				todo++
			}
			fmt.Fprintf(w, "  %-5s %s\n", f.Level, f.What)
			for _, line := range f.Do {
				fmt.Fprintf(w, "          %s\n", line)
			}
		}
		if len(t.Findings) == 0 {
			fmt.Fprintln(w, "  good")
		}
	}
	verdict := "\nNothing needs doing."
	if todo > 0 {
		verdict = "\n" + count(todo, "thing") + " to do."
	}
	_, err := fmt.Fprintln(w, verdict)
	return err
}

// String is the sample in one line.
func (r *sampleReport) String() string {
	if r.Records == 0 {
		return "no record was read"
	}
	var codecs []string
	var all int64
	for _, n := range r.Codecs {
		all += n
	}
	for _, name := range slices.Sorted(maps.Keys(r.Codecs)) {
		codecs = append(codecs, name+" "+percent(float64(r.Codecs[name])/float64(max(all, 1))))
	}
	return fmt.Sprintf("%s read: %s; batches %s; busiest key %s, busiest partition %s, %d empty",
		counted(r.Records, "record"), counted(r.Keys, "key"), strings.Join(codecs, ", "), percent(r.BusiestKeyShare), percent(r.BusiestPartitionShare), r.EmptyPartitions)
}

// counted is count with the thousands apart.
func counted(n int, of string) string {
	text := grouped(int64(n)) + " " + of
	if n != 1 {
		text += "s"
	}
	return text
}

func percent(share float64) string {
	if share > 0 && share < 0.01 {
		return "below 1 %"
	}
	return fmt.Sprintf("%.0f %%", 100*share)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/publish"
)

// numbersReport is the answer of topics honesty. Complete says that all that
// was asked for was read and told apart.
type numbersReport struct {
	Complete bool            `json:"complete"`
	Topics   []numbersTopic  `json:"topics"`
	Fields   []*numericField `json:"fields"`
	// LeftOut counts values of fields that are not among Fields: there are too many.
	LeftOut int `json:"values_left_out"`
}

// numbersTopic is what was read of a topic.
type numbersTopic struct {
	Topic      string `json:"topic"`
	Records    int    `json:"records"`
	Tombstones int    `json:"tombstones"`
	NotJSON    int    `json:"not_json"`
	Example    string `json:"not_json_example,omitempty"`
	Ended      string `json:"ended_early,omitempty"` // why not all was read
}

func newTopicsHonestyCommand() *cobra.Command {
	var (
		flags  topicsFlags
		sample int
		all    bool
	)
	cmd := &cobra.Command{
		Use:   "honesty [TOPIC...]",
		Short: "Report which numbers came as JSON numbers, and what their digits show of binary floats",
		Long: "Read the last records of each partition, JSON of any form, and report by producer, exchange and field how\n" +
			"many numbers there are, as JSON numbers and as text, with more than 15 significant digits, with exponents,\n" +
			"and whether zeros at their ends are there. Without TOPIC all topics are read but those whose names begin\n" +
			"with an underscore. Nothing is changed, and no group is joined. The exit code is 0 when all was read.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if sample < 1 || sample > 1_000_000 {
				return fmt.Errorf("--sample: %d is outside 1..1000000; --all reads everything", sample)
			}
			r := numbersReport{Complete: true, Topics: []numbersTopic{}}
			show := newScreen(cmd.ErrOrStderr())
			err := flags.with(cmd, func(ctx context.Context, c *cluster) error {
				defer show.progressDone()
				most := int64(sample)
				if all {
					most = 0
				}
				return r.make(ctx, c, args, most, show)
			})
			if err != nil {
				return err
			}
			if flags.form == outputJSON {
				err = printJSON(cmd.OutOrStdout(), r)
			} else {
				err = r.print(cmd.OutOrStdout())
			}
			if !r.Complete {
				err = errors.Join(err, errUntrue)
			}
			return err
		},
	}
	flags.add(cmd, 2*time.Minute)
	cmd.Flags().IntVar(&sample, "sample", 1000, "last offsets of each partition to read")
	cmd.Flags().BoolVar(&all, "all", false, "read all that the topics hold; give it time with --timeout")
	cmd.MarkFlagsMutuallyExclusive("sample", "all")
	return cmd
}

// make reads the topics, the last most offsets of each partition; 0: all.
func (r *numbersReport) make(ctx context.Context, c *cluster, names []string, most int64, show *screen) error {
	topics, err := honestyTopics(ctx, c, names)
	if err != nil {
		return err
	}
	var readable []string
	for _, t := range topics {
		if t.Err == nil {
			readable = append(readable, t.Name)
		}
	}
	spans, err := c.offsets(ctx, readable)
	if err != nil {
		return err
	}
	seen := newNumbersSeen()
	for i, t := range topics {
		one := numbersTopic{Topic: t.Name}
		var ended error
		if t.Err == nil {
			ended = one.read(ctx, c, t, spans[t.Name], most, seen, func(read, of int64) {
				if show.terminal {
					show.progress("%s (%d of %d): %s of %s offsets", t.Name, i+1, len(topics), grouped(read), grouped(of))
				}
			})
		} else {
			ended = topicError(t.Name, t.Err, "DESCRIBE")
		}
		if ended != nil {
			one.Ended, r.Complete = ended.Error(), false
		}
		r.Topics = append(r.Topics, one)
	}
	r.Fields, r.LeftOut = seen.list(), seen.left
	r.Complete = r.Complete && seen.left == 0
	return nil
}

// honestyTopics describes the topics that are named, each of which must be
// there, or all.
func honestyTopics(ctx context.Context, c *cluster, names []string) ([]publish.Topic, error) {
	if len(names) > 0 {
		topics, err := c.describe(ctx, names)
		for _, t := range topics {
			err = errors.Join(err, t.Err)
		}
		return topics, err
	}
	all, err := c.topics.ListAll(ctx)
	var topics []publish.Topic
	for _, t := range all {
		if !strings.HasPrefix(t.Name, "_") {
			topics = append(topics, t)
		}
	}
	return topics, err
}

// read reads a topic. Its error says why not all was read.
func (t *numbersTopic) read(ctx context.Context, c *cluster, topic publish.Topic, spans topicSpans, most int64, seen *numbersSeen, progress func(read, of int64)) error {
	ranges, ended := lastOfEach(topic, spans, most)
	var read, of int64
	for _, r := range ranges {
		of += r.to - r.from
	}
	reader := &logReader{client: c.client, topic: t.Topic, record: func(r *kgo.Record) { t.add(r, seen) }}
	for _, r := range ranges {
		progress(read, of)
		if err := reader.read(ctx, r.partition, r.from, r.to); err != nil {
			if ctx.Err() != nil {
				return errors.Join(ended, fmt.Errorf("the time was over after %s of %s offsets; give it more with --timeout, or a smaller --sample", grouped(read), grouped(of)))
			}
			ended = errors.Join(ended, fmt.Errorf("partition %d: %w", r.partition, topicError(t.Topic, err, "READ, DESCRIBE")))
		}
		read += r.to - r.from
	}
	return ended
}

func (t *numbersTopic) add(r *kgo.Record, seen *numbersSeen) {
	t.Records++
	if r.Value == nil {
		t.Tombstones++
		return
	}
	if err := seen.add(r); err != nil {
		if t.NotJSON++; t.NotJSON == 1 {
			t.Example = fmt.Sprintf("%d/%d: %s", r.Partition, r.Offset, err)
		}
	}
}

// lastOfEach are the last n offsets of each partition, all where n is 0. Its
// error names those that cannot be told of.
func lastOfEach(t publish.Topic, spans topicSpans, n int64) (ranges []logRange, err error) {
	for _, p := range t.Layout {
		s := spans[p.ID]
		if s.err != nil {
			err = errors.Join(err, fmt.Errorf("partition %d: %w", p.ID, topicError(t.Name, s.err, "DESCRIBE")))
			continue
		}
		from := s.start
		if n > 0 {
			from = max(from, s.stable-n)
		}
		if from < s.stable {
			ranges = append(ranges, logRange{p.ID, from, s.stable})
		}
	}
	return ranges, err
}

func (r *numbersReport) print(w io.Writer) error {
	records := 0
	for _, t := range r.Topics {
		records += t.Records
	}
	fmt.Fprintf(w, "%s of %s read\n", counted(records, "record"), counted(len(r.Topics), "topic"))
	for _, t := range r.Topics {
		if t.NotJSON > 0 {
			fmt.Fprintf(w, "%s: %s of %s no JSON, such as %s\n", t.Topic, grouped(int64(t.NotJSON)), counted(t.Records, "record"), t.Example)
		}
		if t.Ended != "" {
			fmt.Fprintf(w, "%s: not all could be read: %s\n", t.Topic, t.Ended)
		}
	}
	if r.LeftOut > 0 {
		fmt.Fprintf(w, "%s left out: there are more than %s fields; name fewer topics\n", counted(r.LeftOut, "value"), grouped(fieldsMax))
	}
	var shown []*numericField
	for _, f := range r.Fields {
		if f.telling() {
			shown = append(shown, f)
		}
	}
	if len(shown) > 0 {
		fmt.Fprintln(w)
		if err := printNumbers(w, shown); err != nil {
			return err
		}
	}
	return r.printSummary(w, len(shown))
}

// telling says whether people want to see a field: times, and whole numbers
// that every float holds, tell nothing of decimals.
func (f *numericField) telling() bool {
	whole := f.Numbers.Whole+f.Strings.Whole == f.Values && f.Numbers.Long == 0
	return !f.Time && !whole
}

func printNumbers(w io.Writer, fields []*numericField) error {
	return printTable(w, func(w io.Writer) {
		fmt.Fprintln(w, "producer\texchange\tfield\tvalues\tas text\tas numbers\tover 15 digits\texponents\tzeros at the end\tsuch as")
		for _, f := range fields {
			s := f.worst()
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s/%d/%d: %s\n",
				cell(f.Producer), cell(f.Exchange), cell(f.Field), grouped(int64(f.Values)), grouped(int64(f.Strings.Values)), grouped(int64(f.Numbers.Values)),
				grouped(int64(f.Numbers.Long)), grouped(int64(f.Numbers.Exponents)), f.zerosText(), s.Topic, s.Partition, s.Offset, s.Text)
		}
	})
}

// zerosText is of the JSON numbers where there are any, else of the texts.
func (f *numericField) zerosText() string {
	d := &f.Numbers
	if d.Values == 0 {
		d = &f.Strings
	}
	switch d.Zeros {
	case zerosKept:
		return fmt.Sprintf("kept: %s of %s", grouped(int64(d.EndIn0)), grouped(int64(d.Places)))
	case zerosMissing:
		return fmt.Sprintf("missing: 0 of %s", grouped(int64(d.Places)))
	}
	return "too few to tell"
}

// worst is the sample that shows most.
func (f *numericField) worst() numericSample {
	for _, as := range []string{asNumber, asString} {
		for _, what := range []string{"over_15_digits", "exponent", "first"} {
			for _, s := range f.Samples {
				if s.As == as && s.What == what {
					return s
				}
			}
		}
	}
	return f.Samples[0]
}

func (r *numbersReport) printSummary(w io.Writer, shown int) error {
	numbers, long, binary, missing := 0, 0, 0, 0
	for _, f := range r.Fields {
		if !f.telling() || f.Numbers.Values == 0 {
			continue
		}
		numbers++
		if f.Numbers.Long > 0 {
			long++
		}
		if f.Numbers.Binary > 0 {
			binary++
		}
		if f.Numbers.Zeros == zerosMissing {
			missing++
		}
	}
	fmt.Fprintln(w)
	if hidden := len(r.Fields) - shown; hidden > 0 {
		fmt.Fprintf(w, "%s of times and of whole numbers not shown; -o json has all.\n", counted(hidden, "field"))
	}
	if numbers == 0 {
		_, err := fmt.Fprintln(w, "No decimal came as a JSON number.")
		return err
	}
	fmt.Fprintf(w, "%s with decimals as JSON numbers: their producers may have had binary floats.\n", counted(numbers, "field"))
	if long > 0 {
		fmt.Fprintf(w, "%s more than 15 digits, above which a float may have rounded them; in %d the digits are those of a float.\n", countVerb(long, "field", "has", "have"), binary)
	}
	if missing > 0 {
		fmt.Fprintf(w, "%s no 0 at the end of any number, where one in ten should: a float has dropped them, or the exchange sends none.\n", countVerb(missing, "field", "has", "have"))
	}
	_, err := fmt.Fprintln(w, "Have producers send decimals as text, from the digits that the exchange sent; cryptofeed: numeric_type=str.")
	return err
}

// cell shows a text of a record in a table.
func cell(text string) string {
	const most = 60
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) {
		text = strconv.Quote(text)
	}
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return textOrDash(text)
}

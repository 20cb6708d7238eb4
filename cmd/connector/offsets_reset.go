package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/qicore/tickconnect/connect"
	timescalesink "github.com/qicore/tickconnect/connectors/timescale-sink"
)

// resetAnswer is the answer of offsets reset. Generation is the new one, where
// the reset was done.
type resetAnswer struct {
	Connector  string      `json:"connector"`
	Topic      string      `json:"topic"`
	To         string      `json:"to"`
	MadeAgain  bool        `json:"topic_made_again"`
	Done       bool        `json:"done"`
	Generation *int32      `json:"generation"`
	Lines      []resetLine `json:"partitions"`
}

func newOffsetsResetCommand() *cobra.Command {
	var (
		path, topic, to string
		partitions      []int32
		dryRun, yes     bool
		timeout         time.Duration
		form            output
	)
	cmd := &cobra.Command{
		Use:   "reset CONNECTOR --topic TOPIC --to earliest|latest|OFFSET|TIME",
		Short: "Have a connector go on from other offsets of a topic",
		Long: "Close the live generation of the connector's ledger and open the next, in one transaction, with new\n" +
			"offsets for the topic's partitions. All others go on where they stand. Replicas that run follow by\n" +
			"themselves; what they have in flight for the old generation is fenced and rolled back.\n\n" +
			"Where a table has a natural key, records that are read again change nothing. In a tape they would be\n" +
			"stored twice, so that this is refused unless tape.replay.index is on.\n\n" +
			"A topic that was deleted and made again gets its new identity: the connector refuses it until then.\n" +
			"The exit code is 0 where the reset was done, or could be in a dry run.",
		Example: "  connector offsets reset market-to-timescale --topic crypto-trades-kraken --to earliest --dry-run\n" +
			"  connector offsets reset market-to-timescale --topic crypto-trades-kraken --partition 3 --to 2026-01-31T12:00:00Z --yes",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			target, err := parseResetTarget(to)
			if err != nil {
				return err
			}
			l, chosen, err := loadChosen(path, args)
			if err != nil {
				return err
			}
			c := chosen[0]
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			answer, err := resetOffsets(ctx, l, c, topic, partitions, target, yes && !dryRun)
			if err != nil {
				return errors.New(l.redactor.Redact(c.name + ": " + err.Error()))
			}
			if form == outputJSON {
				err = printJSON(cmd.OutOrStdout(), answer)
			} else {
				err = answer.print(cmd.OutOrStdout(), c, dryRun)
			}
			if err == nil && !answer.Done && !dryRun {
				err = errUntrue
			}
			return err
		},
	}
	addConfigFlag(cmd, &path)
	addOutputFlag(cmd, &form)
	addLimitFlag(cmd, &timeout)
	cmd.Flags().StringVar(&topic, "topic", "", "the topic (required)")
	cmd.Flags().StringVar(&to, "to", "", "earliest, latest, an offset, or a time: the first record at or after it (required)")
	cmd.Flags().Int32SliceVar(&partitions, "partition", nil, "only this partition of the topic; may be repeated")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be done")
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	for _, name := range []string{"topic", "to"} {
		// The flags were made above.
		_ = cmd.MarkFlagRequired(name)
	}
	return cmd
}

// resetOffsets makes the plan and, where it is to be done, carries it out.
func resetOffsets(ctx context.Context, l *loaded, c *connectorConfig, topic string, partitions []int32, to resetTarget, do bool) (*resetAnswer, error) {
	answer := &resetAnswer{Connector: c.name, Topic: topic, To: to.text}
	from := c.source
	if to.initial != "" {
		from.OffsetsInitial = to.initial
	}
	err := withOffsets(ctx, l, c, from, func(o *offsets) error {
		plan, err := o.planReset(ctx, topic, partitions, to)
		if err != nil {
			return err
		}
		if err := plan.checkTape(c.target); err != nil {
			return err
		}
		answer.MadeAgain, answer.Lines = plan.madeAgain, plan.lines
		if !do {
			return nil
		}
		generation, err := o.admin.Reset(ctx, plan.reset(to))
		if err != nil {
			return err
		}
		answer.Done, answer.Generation = true, &generation
		return answer.closedAt(ctx, o, generation)
	})
	return answer, err
}

// closedAt takes From out of the generation that the reset closed: the connector
// may have gone on while the plan was made.
func (a *resetAnswer) closedAt(ctx context.Context, o *offsets, generation int32) error {
	rows, err := o.admin.Ledger(ctx)
	if err != nil {
		return fmt.Errorf("the reset was done, generation %d is live; reading what it closed: %w", generation, err)
	}
	closed := map[int32]timescalesink.LedgerRow{} // by partition; a later generation comes later
	for _, r := range rows {
		if r.Kind == "live" && r.Topic == a.Topic && r.Generation < generation {
			closed[r.Partition] = r
		}
	}
	for i := range a.Lines {
		line := &a.Lines[i]
		if r, seen := closed[line.Partition]; seen {
			line.From = &r.NextOffset
			line.count(o.bounds[connect.TopicPartition{Topic: a.Topic, Partition: line.Partition}], a.MadeAgain)
		}
	}
	return nil
}

func (a *resetAnswer) print(w io.Writer, c *connectorConfig, dryRun bool) error {
	fmt.Fprintf(w, "%s: %s to %s\n", a.Connector, a.Topic, a.To)
	if a.MadeAgain {
		fmt.Fprintln(w, "The topic was made again: its log is not the one that the ledger speaks of.")
	}
	err := printTable(w, func(w io.Writer) {
		fmt.Fprintln(w, "partition\tfrom\tto\tread again\tskipped")
		var again, skipped int64
		for _, l := range a.Lines {
			again, skipped = again+l.Again, skipped+l.Skipped
			fmt.Fprintf(w, "%d\t%s\t%d\t%d\t%d\n", l.Partition, orDash(l.From), l.To, l.Again, l.Skipped)
		}
		fmt.Fprintf(w, "total\t\t\t%d\t%d\n", again, skipped)
	})
	if err != nil {
		return err
	}
	switch {
	case a.Done:
		fmt.Fprintf(w, "Done: generation %d is live. Replicas that run follow within %s, partitions that were refused within %s.\n",
			*a.Generation, c.settings.LedgerCheck, c.settings.FailedRetry)
	case dryRun:
		fmt.Fprintln(w, "Nothing was changed: this is a dry run.")
	default:
		fmt.Fprintln(w, "Nothing was changed. Say --yes to do it.")
	}
	return nil
}

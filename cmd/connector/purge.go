package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	timescalesink "github.com/qicore/tickconnect/connectors/timescale-sink"
)

// purgeFlags are those that all purges have.
type purgeFlags struct {
	path, olderThan string
	dryRun, yes     bool
	form            output
}

func (f *purgeFlags) add(cmd *cobra.Command) {
	addConfigFlag(cmd, &f.path)
	addOutputFlag(cmd, &f.form)
	cmd.Flags().StringVar(&f.olderThan, "older-than", "", "an age such as 12h or 90d, or an RFC 3339 time (required)")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "only say what would be deleted")
	cmd.Flags().BoolVar(&f.yes, "yes", false, "delete it")
	// The flag was made above.
	_ = cmd.MarkFlagRequired("older-than")
}

func (f *purgeFlags) before() (time.Time, error) {
	at, err := parseSince(f.olderThan, time.Now())
	if err != nil {
		return at, fmt.Errorf("--older-than: %q is neither an age such as 12h or 90d nor a time such as 2026-01-31T12:00:00Z", f.olderThan)
	}
	return at, nil
}

func (f *purgeFlags) do() bool { return f.yes && !f.dryRun }

// answer prints what was done or would be. Without --yes or --dry-run nothing was, which
// the exit code says too.
func (f *purgeFlags) answer(w io.Writer, answers any, show func() error) error {
	if f.form == outputJSON {
		if err := printJSON(w, map[string]any{"connectors": answers}); err != nil {
			return err
		}
	} else {
		if err := show(); err != nil {
			return err
		}
		switch {
		case f.dryRun:
			fmt.Fprintln(w, "Nothing was deleted: this is a dry run.")
		case !f.yes:
			fmt.Fprintln(w, "Nothing was deleted. Say --yes to do it.")
		}
	}
	if !f.yes && !f.dryRun {
		return errUntrue
	}
	return nil
}

// letterPurge is the answer of dead-letters purge for one connector.
type letterPurge struct {
	Connector   string       `json:"connector"`
	Before      time.Time    `json:"before"`
	Reasons     []reasonSpan `json:"reasons"`
	Total       int64        `json:"total"`
	Unpublished int64        `json:"kept_unpublished"`
	Deleted     int64        `json:"deleted"`
}

type reasonSpan struct {
	Reason string    `json:"reason"`
	Count  int64     `json:"count"`
	Oldest time.Time `json:"oldest"`
	Newest time.Time `json:"newest"`
}

func newDeadLettersPurgeCommand() *cobra.Command {
	var (
		flags  purgeFlags
		choice timescalesink.DeadLetterPurge
	)
	cmd := &cobra.Command{
		Use:   "purge [CONNECTOR] --older-than AGE",
		Short: "Delete dead letters that were stored long ago",
		Long: "Delete dead letters from connector_dead_letters by their age. The ledger goes on counting them: it says\n" +
			"what became of each offset. Where errors.deadletterqueue.topic.name is set, those that are not published\n" +
			"yet are kept. It can run beside the connector, and goes in steps of 10,000.\n" +
			"The exit code is 0 where they were deleted, or could be in a dry run.",
		Example: "  connector dead-letters purge --older-than 90d --dry-run\n  connector dead-letters purge market-to-timescale --older-than 90d --reason not_json --yes",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			before, err := flags.before()
			if err != nil {
				return err
			}
			choice.Before = before
			l, chosen, err := loadChosen(flags.path, args)
			if err != nil {
				return err
			}
			screen := newScreen(cmd.ErrOrStderr())
			defer screen.progressDone()
			var answers []letterPurge
			for _, c := range chosen {
				one := choice
				one.KeepUnpublished = c.settings.DLQTopic != ""
				err := withLedger(c, func(name string, admin *timescalesink.Admin) error {
					answer, err := purgeLetters(cmd.Context(), name, admin, one, flags.do(), screen)
					answers = append(answers, answer)
					return err
				})
				if err != nil {
					return errors.New(l.redactor.Redact(c.name + ": " + err.Error()))
				}
			}
			out := cmd.OutOrStdout()
			return flags.answer(out, answers, func() error { return printLetterPurges(out, answers) })
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&choice.Topic, "topic", "", "only those of this topic")
	cmd.Flags().StringVar(&choice.Reason, "reason", "", "only those with this reason, such as not_json")
	return cmd
}

func purgeLetters(ctx context.Context, name string, admin *timescalesink.Admin, p timescalesink.DeadLetterPurge, do bool, screen *screen) (letterPurge, error) {
	answer := letterPurge{Connector: name, Before: p.Before.UTC(), Reasons: []reasonSpan{}}
	goes, kept, err := admin.PlanDeadLetterPurge(ctx, p)
	if err != nil {
		return answer, err
	}
	answer.Unpublished = kept
	for _, s := range goes {
		answer.Reasons = append(answer.Reasons, reasonSpan{s.Reason, s.Count, s.Oldest.UTC(), s.Newest.UTC()})
		answer.Total += s.Count
	}
	if do {
		answer.Deleted, err = admin.PurgeDeadLetters(ctx, p, func(gone int64) {
			screen.progress("deleting: %s %s of %s", bar(float64(gone)/float64(max(gone, answer.Total)), 20), grouped(gone), grouped(answer.Total))
		})
	}
	return answer, err
}

func printLetterPurges(w io.Writer, answers []letterPurge) error {
	for _, a := range answers {
		fmt.Fprintf(w, "%s: %s from before %s\n", a.Connector, count(int(a.Total), "dead letter"), a.Before.Format(time.RFC3339))
		err := printTable(w, func(w io.Writer) {
			for _, r := range a.Reasons {
				fmt.Fprintf(w, "  %d\t%s\tfrom %s to %s\n", r.Count, r.Reason, r.Oldest.Format(time.RFC3339), r.Newest.Format(time.RFC3339))
			}
		})
		if err != nil {
			return err
		}
		if a.Unpublished > 0 {
			fmt.Fprintf(w, "  %d more are kept: they are not published to the dead letter topic yet\n", a.Unpublished)
		}
		if a.Deleted > 0 {
			fmt.Fprintf(w, "  %d deleted\n", a.Deleted)
		}
	}
	return nil
}

// generationPurge is the answer of offsets purge for one connector.
type generationPurge struct {
	Connector   string                           `json:"connector"`
	Before      time.Time                        `json:"before"`
	Generations []timescalesink.ClosedGeneration `json:"generations"`
	Deleted     []int32                          `json:"deleted"`
}

func newOffsetsPurgeCommand() *cobra.Command {
	var flags purgeFlags
	cmd := &cobra.Command{
		Use:   "purge [CONNECTOR] --older-than AGE",
		Short: "Delete generations of the ledger that were closed long ago",
		Long: "Each reset of offsets closes a generation of the ledger and opens the next; closed ones stay as a record of\n" +
			"what was stored under them. This deletes them with their rows of connector_ledger, by when they were closed.\n" +
			"What is needed still stays, and the list says why. Rows of market data and dead letters are not touched.\n" +
			"The exit code is 0 where they were deleted, or could be in a dry run.",
		Example: "  connector offsets purge market-to-timescale --older-than 90d --dry-run",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			before, err := flags.before()
			if err != nil {
				return err
			}
			var answers []generationPurge
			err = eachLedger(flags.path, args, func(name string, admin *timescalesink.Admin) error {
				answer, err := purgeGenerations(cmd.Context(), name, admin, before, flags.do())
				answers = append(answers, answer)
				return err
			})
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			return flags.answer(out, answers, func() error { return printGenerationPurges(out, answers) })
		},
	}
	flags.add(cmd)
	return cmd
}

func purgeGenerations(ctx context.Context, name string, admin *timescalesink.Admin, before time.Time, do bool) (generationPurge, error) {
	answer := generationPurge{Connector: name, Before: before.UTC(), Generations: []timescalesink.ClosedGeneration{}, Deleted: []int32{}}
	all, err := admin.ClosedGenerations(ctx, before)
	answer.Generations = append(answer.Generations, all...)
	if err != nil || !do {
		return answer, err
	}
	gone, err := admin.PurgeGenerations(ctx, before)
	for _, g := range gone {
		answer.Deleted = append(answer.Deleted, g.Generation)
	}
	return answer, err
}

func printGenerationPurges(w io.Writer, answers []generationPurge) error {
	for _, a := range answers {
		fmt.Fprintf(w, "%s: %s closed before %s\n", a.Connector, count(len(a.Generations), "generation"), a.Before.Format(time.RFC3339))
		err := printTable(w, func(w io.Writer) {
			for _, g := range a.Generations {
				verdict := "goes"
				if g.Needed != "" {
					verdict = "stays: " + g.Needed
				}
				fmt.Fprintf(w, "  %d\t%s\tclosed %s\t%s\t%s\t%s\n", g.Generation, g.Kind, g.ClosedAt.UTC().Format(time.RFC3339),
					count(int(g.Partitions), "partition"), oneLine(g.Note), verdict)
			}
		})
		if err != nil {
			return err
		}
		if len(a.Deleted) > 0 {
			fmt.Fprintf(w, "  %s deleted\n", count(len(a.Deleted), "generation"))
		}
	}
	return nil
}

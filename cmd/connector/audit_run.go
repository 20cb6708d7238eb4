package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/qicore/tickconnect/connect"
	redpandasource "github.com/qicore/tickconnect/connectors/redpanda-source"
	timescalesink "github.com/qicore/tickconnect/connectors/timescale-sink"
)

// ledgerKeeper is a connector that keeps a ledger in its target.
type ledgerKeeper interface {
	Admin() *timescalesink.Admin
}

func newAuditCommand() *cobra.Command {
	var (
		path    string
		timeout time.Duration
		form    output
	)
	cmd := &cobra.Command{
		Use:   "audit [CONNECTOR]",
		Short: "Say whether anything is missing, partition by partition",
		Long: "Take the ends of the logs as they are now, wait until the ledger in the database reaches\n" +
			"them, and print the account of each partition. The exit code is 1 where anything is missing,\n" +
			"expired or behind, where a partition has no ledger row, or where a ledger does not add up.\n\n" +
			"The end is the last stable offset: records of transactions that producers have not ended are\n" +
			"not waited for, and are shown as open.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, chosen, err := loadChosen(path, args)
			if err != nil {
				return err
			}
			good := true
			var answers []auditConnector
			for _, c := range chosen {
				a, err := audit(cmd.Context(), l, c, timeout)
				if err != nil {
					return err
				}
				good = good && a.Good
				answers = append(answers, a)
			}
			if form == outputJSON {
				err = printJSON(cmd.OutOrStdout(), map[string]any{"good": good, "connectors": answers})
			} else {
				err = printAudit(cmd.OutOrStdout(), answers)
			}
			if err == nil && !good {
				err = errUntrue
			}
			return err
		},
	}
	addConfigFlag(cmd, &path)
	addOutputFlag(cmd, &form)
	cmd.Flags().DurationVar(&timeout, "timeout", 30*time.Second, "longest wait for the ledger to reach the logs' ends")
	return cmd
}

// loadChosen reads a configuration, which must be right, and gives the
// connectors that a command is about: the one that is named, or all.
func loadChosen(path string, args []string) (*loaded, []*connectorConfig, error) {
	l, err := load(path)
	if err != nil {
		return nil, nil, err
	}
	if err := l.check(); err != nil {
		return nil, nil, err
	}
	if len(l.connectors) == 0 {
		return nil, nil, fmt.Errorf("%s has no connector; add one under connectors", path)
	}
	if len(args) == 0 {
		return l, l.connectors, nil
	}
	var names []string
	for _, c := range l.connectors {
		if c.name == args[0] {
			return l, []*connectorConfig{c}, nil
		}
		names = append(names, c.name)
	}
	return nil, nil, fmt.Errorf("%s has no connector %q; it has %s", path, args[0], strings.Join(names, ", "))
}

// auditPoll is how often the ledger is read while the audit waits.
const auditPoll = 250 * time.Millisecond

// audit takes the account of one connector. What keeps it from doing so is the
// Reason of an account that is not good; an error is the end of ctx.
func audit(ctx context.Context, l *loaded, c *connectorConfig, timeout time.Duration) (auditConnector, error) {
	answer := auditConnector{Name: c.name, Lines: []auditLine{}}
	limit, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	lines, err := auditWithin(limit, l, c)
	if ctx.Err() != nil {
		return answer, ctx.Err()
	}
	if err != nil {
		answer.Reason = l.redactor.Redact(err.Error())
	}
	if lines != nil {
		answer.Lines = lines
	}
	answer.conclude()
	return answer, nil
}

// auditWithin gives the last account that it could take before ctx ended.
func auditWithin(ctx context.Context, l *loaded, c *connectorConfig) ([]auditLine, error) {
	quiet := slog.New(slog.DiscardHandler)
	target, err := c.plugin.New(c.name, c.target, connect.Env{Log: quiet})
	if err != nil {
		return nil, err
	}
	defer target.Close()
	keeper, ok := target.(ledgerKeeper)
	if !ok {
		return nil, fmt.Errorf("a %s keeps no ledger, so there is no account to take", c.plugin.Class)
	}
	source, err := redpandasource.New(c.name, l.client, c.source, quiet)
	if err != nil {
		return nil, err
	}
	defer source.Close()
	ends, err := logEndsNow(ctx, source)
	if err != nil {
		return nil, fmt.Errorf("asking the brokers at %s for the ends of the logs: %w", l.client.BootstrapServers, err)
	}
	if len(ends) == 0 {
		return nil, errors.New("no topic matches " + c.topicsKey() + ", so there is nothing to compare the ledger with")
	}
	return pollLedger(ctx, keeper.Admin(), ends)
}

// pollLedger reads the ledger until it has reached the ends or ctx ends, and
// gives the last account. A ledger that cannot be read is tried again: a
// connector that has just started makes its tables first.
func pollLedger(ctx context.Context, admin *timescalesink.Admin, ends map[connect.TopicPartition]connect.Bounds) ([]auditLine, error) {
	var (
		lines   []auditLine
		lastErr error
	)
	tick := time.NewTicker(auditPoll)
	defer tick.Stop()
	for {
		rows, err := liveRows(ctx, admin)
		switch {
		case err == nil:
			lastErr = nil
			if lines = auditLines(ends, rows); !waiting(lines) {
				return lines, nil
			}
		case ctx.Err() == nil || lastErr == nil && lines == nil:
			lastErr = fmt.Errorf("reading the ledger: %w", err)
		}
		select {
		case <-ctx.Done():
			return lines, lastErr
		case <-tick.C:
		}
	}
}

// logEndsNow gives the ends of all partitions that the connector reads.
func logEndsNow(ctx context.Context, source *redpandasource.Source) (map[connect.TopicPartition]connect.Bounds, error) {
	claims, err := source.InitialClaims(ctx)
	if err != nil {
		return nil, err
	}
	tps := make([]connect.TopicPartition, 0, len(claims))
	for _, c := range claims {
		tps = append(tps, c.TopicPartition)
	}
	return source.Log().Bounds(ctx, tps)
}

// liveRows gives the ledger of the live stream.
func liveRows(ctx context.Context, admin *timescalesink.Admin) ([]auditRow, error) {
	ledger, err := admin.Ledger(ctx)
	if err != nil {
		return nil, err
	}
	var rows []auditRow
	for _, r := range ledger {
		if r.Kind == "live" && r.ClosedAt == nil {
			rows = append(rows, auditRow{at: r.TopicPartition, topicID: r.TopicID, start: r.StartOffset, next: r.NextOffset, counts: r.Counts})
		}
	}
	return rows, nil
}

func printAudit(w io.Writer, answers []auditConnector) error {
	for i, a := range answers {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w, a.Name)
		if len(a.Lines) > 0 {
			if err := printTable(w, func(w io.Writer) { auditTable(w, a.Lines) }); err != nil {
				return err
			}
		}
		verdict := "Nothing is missing."
		if !a.Good {
			verdict = "Not all is there: " + a.Reason + "."
		}
		if _, err := fmt.Fprintln(w, verdict); err != nil {
			return err
		}
	}
	return nil
}

func auditTable(w io.Writer, lines []auditLine) {
	fmt.Fprintln(w, "topic/partition\tstart\tnext\tend\tlag\twritten\tunchanged\tmerged\tstale\tdead-lettered\tfiltered\tabsent\texpired\tverdict")
	var total connect.Counts
	var lag int64
	for _, l := range lines {
		verdict := l.Verdict
		if l.Open > 0 {
			verdict += fmt.Sprintf(" (%d offsets after the end are in open transactions)", l.Open)
		}
		counts := connect.Counts{
			Written: l.Written, Unchanged: l.Unchanged, Merged: l.Merged, Stale: l.Stale,
			DeadLettered: l.DeadLettered, Filtered: l.Filtered, Absent: l.Absent, Expired: l.Expired,
		}
		total, lag = total.Plus(counts), lag+l.Lag
		fmt.Fprintf(w, "%s/%d\t%d\t%d\t%d\t%d\t%s\t%s\n", l.Topic, l.Partition, l.Start, l.Next, l.End, l.Lag, countCells(counts), verdict)
	}
	fmt.Fprintf(w, "total\t\t\t\t%d\t%s\t\n", lag, countCells(total))
}

func countCells(c connect.Counts) string {
	return fmt.Sprintf("%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d", c.Written, c.Unchanged, c.Merged, c.Stale, c.DeadLettered, c.Filtered, c.Absent, c.Expired)
}

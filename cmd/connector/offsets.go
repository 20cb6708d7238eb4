package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/qicore/tickconnect/connect"
	redpandasource "github.com/qicore/tickconnect/connectors/redpanda-source"
	timescalesink "github.com/qicore/tickconnect/connectors/timescale-sink"
)

func newOffsetsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "offsets",
		Short: "See where a connector stands in its topics, or have it go on elsewhere",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(newOffsetsListCommand(), newOffsetsResetCommand(), newOffsetsPurgeCommand())
	return cmd
}

// offsetList is the answer of offsets list for one connector.
type offsetList struct {
	Connector string       `json:"connector"`
	Lines     []offsetLine `json:"partitions"`
}

// offsetLine is where one partition of the live stream stands. Start and End are
// the log's, the end under read_committed; both are nil where the partition is
// not there any more. Next is nil where the connector has not seen it yet.
type offsetLine struct {
	Topic      string     `json:"topic"`
	Partition  int32      `json:"partition"`
	Generation *int32     `json:"generation"`
	Start      *int64     `json:"start"`
	Next       *int64     `json:"next"`
	End        *int64     `json:"end"`
	TopicID    string     `json:"topic_id,omitempty"`
	UpdatedAt  *time.Time `json:"updated_at"`
}

func newOffsetsListCommand() *cobra.Command {
	var (
		path    string
		timeout time.Duration
		form    output
	)
	cmd := &cobra.Command{
		Use:   "list [CONNECTOR]",
		Short: "List the next offset to store of each partition, and what its log holds",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, chosen, err := loadChosen(path, args)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			var lists []offsetList
			for _, c := range chosen {
				err := withOffsets(ctx, l, c, c.source, func(o *offsets) error {
					lists = append(lists, offsetList{Connector: c.name, Lines: o.lines()})
					return nil
				})
				if err != nil {
					return errors.New(l.redactor.Redact(c.name + ": " + err.Error()))
				}
			}
			if form == outputJSON {
				return printJSON(cmd.OutOrStdout(), map[string]any{"connectors": lists})
			}
			return printOffsets(cmd.OutOrStdout(), lists)
		},
	}
	addConfigFlag(cmd, &path)
	addOutputFlag(cmd, &form)
	addLimitFlag(cmd, &timeout)
	return cmd
}

// addLimitFlag bounds a command that asks brokers and databases.
func addLimitFlag(cmd *cobra.Command, timeout *time.Duration) {
	cmd.Flags().DurationVar(timeout, "timeout", 30*time.Second, "longest wait for the brokers and the database")
}

// offsets are a connector's live ledger and the logs that it reads, as they are
// now.
type offsets struct {
	name   string
	admin  *timescalesink.Admin
	log    connect.Log
	ledger map[connect.TopicPartition]timescalesink.LedgerRow
	// claims are the partitions that exist, in order, each with the offset at which
	// the source's offsets.initial would have it begin.
	claims []connect.Claim
	bounds map[connect.TopicPartition]connect.Bounds
}

// withOffsets reads the ledger and the logs of a connector, with a source of the
// caller's making, and hands them to f.
func withOffsets(ctx context.Context, l *loaded, c *connectorConfig, from redpandasource.Config, f func(*offsets) error) error {
	quiet := slog.New(slog.DiscardHandler)
	target, err := c.plugin.New(c.name, c.target, connect.Env{Log: quiet})
	if err != nil {
		return err
	}
	defer target.Close()
	keeper, ok := target.(ledgerKeeper)
	if !ok {
		return fmt.Errorf("a %s stores no offsets; those of its groups are Kafka's own", c.plugin.Class)
	}
	source, err := redpandasource.New(c.name, l.client, from, quiet)
	if err != nil {
		return err
	}
	defer source.Close()
	o := &offsets{name: c.name, admin: keeper.Admin(), log: source.Log()}
	if o.claims, err = source.InitialClaims(ctx); err != nil {
		return fmt.Errorf("asking the brokers at %s: %w", l.client.BootstrapServers, err)
	}
	// The ledger before the ends: a connector that runs moves both, and a ledger
	// beyond the log's end means that the topic was made again.
	if o.ledger, err = liveLedger(ctx, o.admin); err != nil {
		return fmt.Errorf("reading the ledger: %w", err)
	}
	tps := make([]connect.TopicPartition, 0, len(o.claims))
	for _, claim := range o.claims {
		tps = append(tps, claim.TopicPartition)
	}
	if o.bounds, err = o.log.Bounds(ctx, tps); err != nil {
		return fmt.Errorf("asking the brokers at %s: %w", l.client.BootstrapServers, err)
	}
	return f(o)
}

// liveLedger gives the rows of the live stream.
func liveLedger(ctx context.Context, admin *timescalesink.Admin) (map[connect.TopicPartition]timescalesink.LedgerRow, error) {
	rows, err := admin.Ledger(ctx)
	if err != nil {
		return nil, err
	}
	live := make(map[connect.TopicPartition]timescalesink.LedgerRow, len(rows))
	for _, r := range rows {
		if r.Kind == "live" && r.ClosedAt == nil {
			live[r.TopicPartition] = r
		}
	}
	return live, nil
}

// lines has a line for each partition that the ledger or the brokers know.
func (o *offsets) lines() []offsetLine {
	lines := []offsetLine{}
	for _, tp := range partitionsOf(o.ledger, o.bounds) {
		line := offsetLine{Topic: tp.Topic, Partition: tp.Partition}
		if b, exists := o.bounds[tp]; exists {
			line.Start, line.End, line.TopicID = &b.Start, &b.Stable, b.TopicID.String()
		}
		if r, seen := o.ledger[tp]; seen {
			line.Generation, line.Next, line.UpdatedAt, line.TopicID = &r.Generation, &r.NextOffset, &r.UpdatedAt, r.TopicID
		}
		lines = append(lines, line)
	}
	return lines
}

func printOffsets(w io.Writer, lists []offsetList) error {
	for i, list := range lists {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w, list.Connector)
		err := printTable(w, func(w io.Writer) {
			fmt.Fprintln(w, "topic/partition\tgeneration\tlog start\tnext\tlog end\tlag\tupdated")
			for _, l := range list.Lines {
				updated := "-"
				if l.UpdatedAt != nil {
					updated = l.UpdatedAt.UTC().Format(time.RFC3339)
				}
				lag := "-"
				if l.Next != nil && l.End != nil {
					lag = fmt.Sprint(max(0, *l.End-*l.Next))
				}
				fmt.Fprintf(w, "%s/%d\t%s\t%s\t%s\t%s\t%s\t%s\n", l.Topic, l.Partition,
					orDash(l.Generation), orDash(l.Start), orDash(l.Next), orDash(l.End), lag, updated)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// orDash prints a number that may not be known.
func orDash[T int32 | int64](n *T) string {
	if n == nil {
		return "-"
	}
	return fmt.Sprint(*n)
}

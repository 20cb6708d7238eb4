package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/qicore/tickconnect/connect"
	timescalesink "github.com/qicore/tickconnect/connectors/timescale-sink"
)

func newDeadLettersCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dead-letters",
		Short: "Look at the records that could not be stored, and delete old ones",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(newDeadLettersListCommand(), newDeadLettersShowCommand(), newDeadLettersPurgeCommand())
	return cmd
}

// letterFilter narrows a list of dead letters.
type letterFilter struct {
	reason, topic string
	since         time.Time
	redriven      bool
	limit         int
}

// letterList is the answer of dead-letters list for one connector.
type letterList struct {
	Connector string         `json:"connector"`
	Total     int            `json:"total"`
	Reasons   []reasonCount  `json:"reasons"`
	Letters   []letterReport `json:"dead_letters"`
}

type reasonCount struct {
	Reason string `json:"reason"`
	Count  int    `json:"count"`
}

func newDeadLettersListCommand() *cobra.Command {
	var (
		path   string
		since  string
		filter letterFilter
		form   output
	)
	cmd := &cobra.Command{
		Use:   "list [CONNECTOR]",
		Short: "List dead letters and count them by reason",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if filter.since, err = parseSince(since, time.Now()); err != nil {
				return err
			}
			if filter.limit < 0 {
				return fmt.Errorf("--limit: %d is negative", filter.limit)
			}
			var lists []letterList
			err = eachLedger(path, args, func(name string, admin *timescalesink.Admin) error {
				list, err := listLetters(cmd.Context(), name, admin, filter)
				lists = append(lists, list)
				return err
			})
			if err != nil {
				return err
			}
			if form == outputJSON {
				return printJSON(cmd.OutOrStdout(), map[string]any{"connectors": lists})
			}
			return printLetterLists(cmd.OutOrStdout(), lists)
		},
	}
	addConfigFlag(cmd, &path)
	addOutputFlag(cmd, &form)
	cmd.Flags().StringVar(&filter.reason, "reason", "", "only those with this reason, such as not_json")
	cmd.Flags().StringVar(&filter.topic, "topic", "", "only those of this topic")
	cmd.Flags().StringVar(&since, "since", "", "only those stored since: a duration such as 1h or 7d, or an RFC 3339 time")
	cmd.Flags().BoolVar(&filter.redriven, "redriven", false, "also those whose offsets were handled again since")
	cmd.Flags().IntVar(&filter.limit, "limit", 50, "show at most so many; all are counted")
	return cmd
}

func newDeadLettersShowCommand() *cobra.Command {
	var (
		path string
		raw  bool
		form output
	)
	cmd := &cobra.Command{
		Use:     "show [CONNECTOR] TOPIC/PARTITION@OFFSET",
		Short:   "Show one dead letter, byte for byte, and what can be done",
		Example: "  connector dead-letters show crypto-prices-kraken/3@1207\n  connector dead-letters show crypto-prices-kraken/3@1207 --value > record.json",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			tp, offset, err := parsePosition(args[len(args)-1])
			if err != nil {
				return err
			}
			var found []letterReport
			err = eachLedger(path, args[:len(args)-1], func(name string, admin *timescalesink.Admin) error {
				letters, err := admin.DeadLetter(cmd.Context(), tp, offset)
				for i := range letters {
					found = append(found, newLetterReport(name, &letters[i]))
				}
				return err
			})
			switch {
			case err != nil:
				return err
			case len(found) == 0:
				return fmt.Errorf("there is no dead letter at %s; see connector dead-letters list", args[len(args)-1])
			case raw:
				_, err := cmd.OutOrStdout().Write(found[0].Value)
				return err
			case form == outputJSON:
				return printJSON(cmd.OutOrStdout(), map[string]any{"dead_letters": found})
			}
			for i := range found {
				if i > 0 {
					fmt.Fprintln(cmd.OutOrStdout())
				}
				if err := found[i].print(cmd.OutOrStdout()); err != nil {
					return err
				}
			}
			return nil
		},
	}
	addConfigFlag(cmd, &path)
	addOutputFlag(cmd, &form)
	cmd.Flags().BoolVar(&raw, "value", false, "print the bytes of the value and nothing else")
	return cmd
}

// eachLedger calls f for each connector that a command is about, with the Admin
// of its database.
func eachLedger(path string, args []string, f func(name string, admin *timescalesink.Admin) error) error {
	l, chosen, err := loadChosen(path, args)
	if err != nil {
		return err
	}
	for _, c := range chosen {
		if err := withLedger(c, f); err != nil {
			return errors.New(l.redactor.Redact(c.name + ": " + err.Error()))
		}
	}
	return nil
}

func withLedger(c *connectorConfig, f func(string, *timescalesink.Admin) error) error {
	err := withAdmin(c, func(admin *timescalesink.Admin) error { return f(c.name, admin) })
	if errors.Is(err, errNoLedger) {
		return fmt.Errorf("a %s keeps no dead letters of its own; look into errors.deadletterqueue.topic.name", c.plugin.Class)
	}
	return err
}

var errNoLedger = errors.New("it keeps no ledger; the offsets of its groups are Kafka's own")

// withAdmin hands f what a connector's target knows of itself.
func withAdmin(c *connectorConfig, f func(*timescalesink.Admin) error) error {
	target, err := c.plugin.New(c.name, c.target, connect.Env{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer target.Close()
	keeper, ok := target.(ledgerKeeper)
	if !ok {
		return fmt.Errorf("a %s: %w", c.plugin.Class, errNoLedger)
	}
	return f(keeper.Admin())
}

// lettersPage is how many dead letters are in memory at a time.
const lettersPage = 500

// listLetters counts all that the filter lets through, and keeps the first.
func listLetters(ctx context.Context, name string, admin *timescalesink.Admin, filter letterFilter) (letterList, error) {
	list := letterList{Connector: name, Reasons: []reasonCount{}, Letters: []letterReport{}}
	counts := map[string]int{}
	query := timescalesink.DeadLetterQuery{Topic: filter.topic, Redriven: filter.redriven, Limit: lettersPage}
	for {
		page, err := admin.DeadLetters(ctx, query)
		if err != nil {
			return list, err
		}
		for i := range page {
			l := &page[i]
			if (filter.reason != "" && l.Err.Reason != filter.reason) || l.CreatedAt.Before(filter.since) {
				continue
			}
			list.Total++
			counts[l.Err.Reason]++
			if len(list.Letters) < filter.limit {
				list.Letters = append(list.Letters, newLetterReport(name, l))
			}
		}
		if len(page) < lettersPage {
			break
		}
		query.After = &page[len(page)-1]
	}
	for reason, n := range counts {
		list.Reasons = append(list.Reasons, reasonCount{reason, n})
	}
	slices.SortFunc(list.Reasons, func(a, b reasonCount) int {
		if a.Count != b.Count {
			return b.Count - a.Count
		}
		return strings.Compare(a.Reason, b.Reason)
	})
	return list, nil
}

func printLetterLists(w io.Writer, lists []letterList) error {
	for i, list := range lists {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s: %s\n", list.Connector, count(list.Total, "dead letter"))
		for _, r := range list.Reasons {
			fmt.Fprintf(w, "  %8d  %s\n", r.Count, r.Reason)
		}
		if len(list.Letters) == 0 {
			continue
		}
		fmt.Fprintln(w)
		err := printTable(w, func(w io.Writer) {
			fmt.Fprintln(w, "topic/partition@offset\tgeneration\tstored\treason\tmessage")
			for _, l := range list.Letters {
				fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\n", l.position(), l.Generation, l.StoredAt.Format(time.RFC3339), l.Reason, oneLine(l.Message))
			}
		})
		if err != nil {
			return err
		}
		if more := list.Total - len(list.Letters); more > 0 {
			fmt.Fprintf(w, "and %d more; --limit shows them\n", more)
		}
	}
	return nil
}

// oneLine makes a message safe for a line of a table.
func oneLine(s string) string {
	const most = 120
	runes := []rune(strings.ToValidUTF8(s, "\uFFFD"))
	for i, r := range runes {
		if !strconv.IsPrint(r) {
			runes[i] = ' '
		}
	}
	if len(runes) > most {
		runes = append(runes[:most], '…')
	}
	return string(runes)
}

// parsePosition reads topic/partition@offset.
func parsePosition(text string) (connect.TopicPartition, int64, error) {
	bad := fmt.Errorf("%q is not a position such as crypto-prices-kraken/3@1207", text)
	place, offsetText, ok := strings.Cut(text, "@")
	topic, partitionText, ok2 := strings.Cut(place, "/")
	if !ok || !ok2 || topic == "" {
		return connect.TopicPartition{}, 0, bad
	}
	partition, err := strconv.ParseInt(partitionText, 10, 32)
	if err != nil || partition < 0 {
		return connect.TopicPartition{}, 0, bad
	}
	offset, err := strconv.ParseInt(offsetText, 10, 64)
	if err != nil || offset < 0 {
		return connect.TopicPartition{}, 0, bad
	}
	return connect.TopicPartition{Topic: topic, Partition: int32(partition)}, offset, nil
}

// parseSince reads a duration before now, or a time. "" is the zero time.
func parseSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 {
			return now.AddDate(0, 0, -n), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("--since: %q is neither a duration such as 1h or 7d nor a time such as 2026-01-31T12:00:00Z", text)
}

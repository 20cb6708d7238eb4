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

	"github.com/qicore/tickconnect/connect"
	timescalesink "github.com/qicore/tickconnect/connectors/timescale-sink"
)

// rowExplanation is where a row comes from, and what would become of its record now.
type rowExplanation struct {
	Connector string `json:"connector"`
	timescalesink.StoredRow
	Record *rawRecord `json:"record"` // nil: it cannot be read, as Verdict says
	// Now is the row that the present configuration makes of the record; nil: none.
	Now *timescalesink.StoredRow `json:"now"`
	// Equal says that it is the one that is stored; Differs in which columns it is not.
	Equal   bool     `json:"equal"`
	Differs []string `json:"differs,omitempty"`
	Verdict string   `json:"verdict"`
}

// rawRecord is a record with its exact bytes: base64 in JSON.
type rawRecord struct {
	Key     []byte         `json:"key"`
	Value   []byte         `json:"value"`
	Headers []letterHeader `json:"headers"`
}

func newExplainRowCommand() *cobra.Command {
	var (
		path, name string
		limit      int
		timeout    time.Duration
		form       output
	)
	cmd := &cobra.Command{
		Use:   "explain-row TABLE [COLUMN=VALUE | VALUE]...",
		Short: "From a row to the record that it comes from, and what would become of that now",
		Long: "Find rows, read the records that they come from, byte for byte, and try the present configuration on them.\n" +
			"Rows are found by columns, or by values of the natural key in its order.\n" +
			"The exit code is 0 where each row is what the configuration makes of its record.",
		Example: "  connector explain-row crypto_trades kraken BTC/USD 4711\n" +
			"  connector explain-row crypto_ohlcv symbol=BTC/USD interval=1m time=2024-08-08T23:56:00Z -o json",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 1 {
				return fmt.Errorf("--limit: %d is less than 1", limit)
			}
			var chosen []string
			if name != "" {
				chosen = []string{name}
			}
			l, connectors, err := loadChosen(path, chosen)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			all, err := l.explainRows(ctx, connectors, args[0], args[1:], limit)
			if err != nil {
				return errors.New(l.redactor.Redact(err.Error()))
			}
			if form == outputJSON {
				err = printJSON(cmd.OutOrStdout(), map[string]any{"rows": all})
			} else {
				err = printExplanations(cmd.OutOrStdout(), all)
			}
			if err == nil && slices.ContainsFunc(all, func(e rowExplanation) bool { return !e.Equal }) {
				err = errUntrue
			}
			return err
		},
	}
	addConfigFlag(cmd, &path)
	addOutputFlag(cmd, &form)
	addLimitFlag(cmd, &timeout)
	cmd.Flags().StringVar(&name, "connector", "", "the connector that stores the table; by default each that has one of its name")
	cmd.Flags().IntVar(&limit, "limit", 5, "explain at most so many rows")
	return cmd
}

func (l *loaded) explainRows(ctx context.Context, connectors []*connectorConfig, table string, by []string, limit int) ([]rowExplanation, error) {
	var all []rowExplanation
	var known []string
	for _, c := range connectors {
		t, err := l.trial(c.name, c.props)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		err = func() error {
			defer t.close()
			keeper, ok := t.target.(ledgerKeeper)
			if !ok {
				return nil
			}
			admin := keeper.Admin()
			key := admin.Key(table)
			if key == nil {
				known = append(known, admin.Tables()...)
				return nil
			}
			cells, err := cellsOf(table, key, by)
			if err != nil {
				return err
			}
			rows, err := admin.Rows(ctx, table, cells, limit)
			if err != nil {
				return err
			}
			for _, row := range rows {
				e, err := t.explain(ctx, admin, row)
				if err != nil {
					return err
				}
				e.Connector = c.name
				all = append(all, e)
			}
			return nil
		}()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	switch {
	case len(all) > 0:
		return all, nil
	case len(known) > 0:
		slices.Sort(known)
		return nil, fmt.Errorf("there is no table %s; there are %s", table, strings.Join(slices.Compact(known), ", "))
	}
	return nil, fmt.Errorf("table %s has no such row", table)
}

// cellsOf reads the arguments that say which rows are meant.
func cellsOf(table string, key, by []string) ([]timescalesink.Cell, error) {
	var cells []timescalesink.Cell
	for i, text := range by {
		column, value, named := strings.Cut(text, "=")
		if !named {
			if i >= len(key) {
				return nil, fmt.Errorf("%q is one value too many: the natural key of %s is %s", text, table, strings.Join(key, ", "))
			}
			column, value = key[i], text
		}
		cells = append(cells, timescalesink.Cell{Column: column, Value: &value})
	}
	return cells, nil
}

// explain reads a row's record and tries the configuration on it.
func (t *trial) explain(ctx context.Context, admin *timescalesink.Admin, row timescalesink.StoredRow) (rowExplanation, error) {
	e := rowExplanation{StoredRow: row}
	if row.Origin == nil {
		e.Verdict = "no connector wrote it: it says of no record that it comes from there"
		return e, nil
	}
	r, why, err := t.recordAt(ctx, row.Origin)
	if err != nil || r == nil {
		e.Verdict = why
		return e, err
	}
	e.Record = &rawRecord{Key: r.Key, Value: r.Value, Headers: []letterHeader{}}
	for _, h := range r.Headers {
		e.Record.Headers = append(e.Record.Headers, letterHeader(h))
	}
	made := t.of(row.Origin.TopicPartition(), r)
	if made.text != "" {
		e.Verdict = "now the record would become " + made.text
		return e, nil
	}
	now, err := admin.Prepared(ctx, made.row)
	if err != nil {
		return e, err
	}
	key := len(admin.Key(row.Table))
	for i := range now {
		if now[i].Table != row.Table || len(row.Differ(&now[i])) > 0 && !slices.EqualFunc(now[i].Cells[:key], row.Cells[:key], sameCell) {
			continue
		}
		e.Now, e.Differs = &now[i], row.Differ(&now[i])
		if e.Equal = len(e.Differs) == 0; e.Equal {
			break
		}
	}
	switch {
	case e.Equal:
		e.Verdict = "it is what the configuration makes of the record"
	case e.Now != nil:
		e.Verdict = "now the record would give another row: it differs in " + strings.Join(e.Differs, ", ")
	default:
		e.Verdict = "now the record would give no row with this key"
	}
	return e, nil
}

func sameCell(a, b timescalesink.Cell) bool {
	return a.Value == b.Value || a.Value != nil && b.Value != nil && *a.Value == *b.Value
}

// recordAt reads a record; why says that it cannot be read any more.
func (t *trial) recordAt(ctx context.Context, o *timescalesink.Origin) (r *connect.Record, why string, err error) {
	tp := o.TopicPartition()
	all, err := t.source.Log().Bounds(ctx, []connect.TopicPartition{tp})
	if err != nil {
		return nil, "", fmt.Errorf("asking the brokers: %w", err)
	}
	b, there := all[tp]
	switch id := b.TopicID.String(); {
	case !there:
		return nil, fmt.Sprintf("there is no %s any more", tp), nil
	case id != "" && o.TopicID != "" && id != o.TopicID:
		return nil, fmt.Sprintf("topic %s was made again since: its log is another", tp.Topic), nil
	case o.Offset < b.Start:
		return nil, fmt.Sprintf("its record is deleted: the log of %s begins at %d", tp, b.Start), nil
	case o.Offset >= b.End:
		return nil, fmt.Sprintf("the log of %s ends at %d: it was made again or cut", tp, b.End), nil
	}
	span, err := t.source.Log().Read(ctx, tp, o.Offset, o.Offset+1)
	if err != nil {
		return nil, "", fmt.Errorf("reading %s@%d: %w", tp, o.Offset, err)
	}
	for i := range span.Records {
		if span.Records[i].Offset == o.Offset {
			return &span.Records[i], "", nil
		}
	}
	return nil, fmt.Sprintf("the log of %s has no record at %d any more: compaction took it", tp, o.Offset), nil
}

func printExplanations(w io.Writer, all []rowExplanation) error {
	for i, e := range all {
		if i > 0 {
			fmt.Fprintln(w)
		}
		from := "of no record"
		if o := e.Origin; o != nil {
			from = fmt.Sprintf("from %s/%d@%d", o.Topic, o.Partition, o.Offset)
			if o.Time != nil {
				from += " of " + o.Time.UTC().Format(time.RFC3339Nano)
			}
		}
		fmt.Fprintf(w, "a row of %s, stored by %s, %s\n", e.Table, e.Connector, from)
		err := printTable(w, func(w io.Writer) {
			for i, cell := range e.Cells {
				line := "  " + cell.Column + "\t" + cellText(cell)
				if slices.Contains(e.Differs, cell.Column) {
					line += "\tnow " + cellText(e.Now.Cells[i])
				}
				fmt.Fprintln(w, line)
			}
		})
		if err != nil {
			return err
		}
		if e.Record != nil {
			printBytes(w, "key", e.Record.Key)
			for _, h := range e.Record.Headers {
				printBytes(w, fmt.Sprintf("header %q", h.Key), h.Value)
			}
			printBytes(w, "value", e.Record.Value)
		}
		fmt.Fprintf(w, "  %s.\n", e.Verdict)
	}
	return nil
}

func cellText(c timescalesink.Cell) string {
	if c.Value == nil {
		return "NULL"
	}
	return oneLine(*c.Value)
}

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/qicore/tickconnect/config"
	"github.com/qicore/tickconnect/connect"
	redpandasource "github.com/qicore/tickconnect/connectors/redpanda-source"
	timescalesink "github.com/qicore/tickconnect/connectors/timescale-sink"
	"github.com/qicore/tickconnect/converters"
	"github.com/qicore/tickconnect/marketdata"
)

// effect is what a change does to records that are in the topics now.
type effect struct {
	Records   int            `json:"records"` // that were tried
	Same      int            `json:"same"`
	Different int            `json:"different"`
	Unread    []string       `json:"no_longer_read,omitempty"` // topics
	Samples   []effectSample `json:"samples,omitempty"`
}

// effectSample is one record that becomes something else. Before and After are rows as
// JSON, or what else becomes of it.
type effectSample struct {
	Topic     string   `json:"topic"`
	Partition int32    `json:"partition"`
	Offset    int64    `json:"offset"`
	Before    []string `json:"before"`
	After     []string `json:"after"`
}

// effectSamplesMax is how many different records are shown.
const effectSamplesMax = 5

// planOf names what would be done: another name, another plan.
func planOf(changes []change) string {
	type step struct {
		Name    string
		Now, To map[string]string
	}
	steps := make([]step, 0, len(changes))
	for _, c := range changes {
		steps = append(steps, step{c.Name, c.now, c.config})
	}
	text, _ := json.Marshal(steps) // of strings, its keys in order
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

func newConnectorsPlanCommand(f *restFlags) *cobra.Command {
	var paths []string
	var file string
	var records int
	cmd := f.command("plan -f FILE", "Show what apply would change, and what that does to records", cobra.NoArgs,
		func(ctx context.Context, c *restClient, out io.Writer, _ []string) error {
			if records < 1 || records > 1_000_000 {
				return fmt.Errorf("--records: %d is outside 1..1000000", records)
			}
			changes, err := c.compare(ctx, paths)
			if err != nil {
				return err
			}
			if err := c.check(ctx, changes); err != nil {
				return err
			}
			l, err := load(file)
			if err != nil {
				return err
			}
			for i := range changes {
				if changes[i].Action == "none" {
					continue
				}
				if changes[i].Effect, err = l.effectOf(ctx, &changes[i], records); err != nil {
					return errors.New(l.redactor.Redact(changes[i].Name + ": " + err.Error()))
				}
			}
			name := planOf(changes)
			if f.form == outputJSON {
				return printJSON(out, map[string]any{"plan": name, "connectors": changes})
			}
			printChanges(out, changes)
			for i := range changes {
				changes[i].Effect.print(out, changes[i].Name)
			}
			fmt.Fprintf(out, "To do exactly this: connector connectors apply -f %s --plan %s\n", strings.Join(paths, " -f "), name)
			return nil
		})
	cmd.Long = "Show what apply would change, and what the new configuration makes of the newest records in the topics, beside what the\n" +
		"one that runs makes of them. Nothing is changed. What it prints last does what was shown and nothing else: apply --plan\n" +
		"refuses where the files, or what runs, have changed since."
	addFilesFlag(cmd, &paths)
	addConfigFlag(cmd, &file)
	cmd.Flags().IntVar(&records, "records", 1000, "how many of the newest records to try, over all topics of a connector")
	return cmd
}

// effectOf tries both configurations on the newest records of the topics that either of
// them reads.
func (l *loaded) effectOf(ctx context.Context, c *change, records int) (*effect, error) {
	after, err := l.trial(c.Name, c.config)
	if err != nil {
		return nil, err
	}
	defer after.close()
	var before *trial
	if c.now != nil {
		if before, err = l.trial(c.Name, c.now); err != nil {
			return nil, fmt.Errorf("what runs now: %w", err)
		}
		defer before.close()
	}
	e := &effect{}
	err = after.newest(ctx, before, records, func(tp connect.TopicPartition, r *connect.Record) {
		e.Records++
		if !after.reads(tp.Topic) && !slices.Contains(e.Unread, tp.Topic) {
			e.Unread = append(e.Unread, tp.Topic)
		}
		was, is := before.of(tp, r), after.of(tp, r)
		if before == nil || was.equal(is) {
			e.Same++
			return
		}
		e.Different++
		if len(e.Samples) < effectSamplesMax {
			e.Samples = append(e.Samples, effectSample{tp.Topic, tp.Partition, r.Offset, was.shown, is.shown})
		}
	})
	if before == nil { // nothing to compare with
		e.Same = 0
	}
	return e, err
}

func (e *effect) print(out io.Writer, name string) {
	if e == nil {
		return
	}
	switch {
	case e.Records == 0:
		fmt.Fprintf(out, "%s: the topics hold no record to try it on.\n", name)
	case e.Same+e.Different == 0:
		fmt.Fprintf(out, "%s: tried on %s.\n", name, counted(e.Records, "record"))
	default:
		fmt.Fprintf(out, "%s: of the newest %s, %d become what they became before and %d something else.\n", name, counted(e.Records, "record"), e.Same, e.Different)
	}
	if len(e.Unread) > 0 {
		fmt.Fprintf(out, "%s: no longer read: %s\n", name, strings.Join(e.Unread, ", "))
	}
	for _, s := range e.Samples {
		fmt.Fprintf(out, "  %s/%d@%d\n", s.Topic, s.Partition, s.Offset)
		for _, row := range s.Before {
			fmt.Fprintf(out, "    - %s\n", row)
		}
		for _, row := range s.After {
			fmt.Fprintf(out, "    + %s\n", row)
		}
	}
}

// trial is a connector that stores nothing.
type trial struct {
	shows     bool                 // rows can be shown
	converter converters.Converter // nil for the native form
	reads     func(topic string) bool
	source    *redpandasource.Source
	target    connect.Connector
	preparer  connect.Preparer
	decoder   marketdata.Decoder
}

func (l *loaded) trial(name string, props map[string]string) (*trial, error) {
	c := l.connector(config.Connector{Name: name, Props: props})
	if c.err != nil {
		return nil, c.err
	}
	quiet := slog.New(slog.DiscardHandler)
	t := &trial{reads: c.source.Matches}
	var err error
	if t.target, err = c.plugin.New(name, c.target, connect.Env{Log: quiet}); err != nil {
		return nil, err
	}
	if cfg, ok := c.target.(*timescalesink.Config); ok {
		t.shows, t.converter = true, cfg.Converter()
	}
	t.preparer, _ = t.target.(connect.Preparer)
	if t.source, err = redpandasource.New(name, l.client, c.source, quiet); err != nil {
		return nil, errors.Join(err, t.target.Close())
	}
	return t, nil
}

func (t *trial) close() {
	_ = t.target.Close() // it was never used
	_ = t.source.Close()
}

// newest hands over the newest records of all partitions that it or another reads, about
// as many of each.
func (t *trial) newest(ctx context.Context, other *trial, n int, record func(connect.TopicPartition, *connect.Record)) error {
	var tps []connect.TopicPartition
	for _, reader := range []*trial{t, other} {
		if reader == nil {
			continue
		}
		claims, err := reader.source.InitialClaims(ctx)
		if err != nil {
			return fmt.Errorf("asking the brokers: %w", err)
		}
		for _, c := range claims {
			if !slices.Contains(tps, c.TopicPartition) {
				tps = append(tps, c.TopicPartition)
			}
		}
	}
	bounds, err := t.source.Log().Bounds(ctx, tps)
	if err != nil {
		return fmt.Errorf("asking the brokers: %w", err)
	}
	each := int64(max(1, n/max(1, len(tps))))
	for _, tp := range tps {
		b := bounds[tp]
		for next := max(b.Start, b.Stable-each); next < b.Stable; {
			span, err := t.source.Log().Read(ctx, tp, next, b.Stable)
			if err != nil {
				return fmt.Errorf("reading %s: %w", tp, err)
			}
			for i := range span.Records {
				record(tp, &span.Records[i])
			}
			if span.Next <= next {
				break // a transaction is open there
			}
			next = span.Next
		}
	}
	return nil
}

// outcome is what becomes of a record.
type outcome struct {
	row   []byte
	text  string
	shown []string
}

func (o *outcome) equal(other *outcome) bool {
	return bytes.Equal(o.row, other.row) && o.text == other.text
}

func (t *trial) of(tp connect.TopicPartition, r *connect.Record) *outcome {
	o := &outcome{}
	switch {
	case t == nil || !t.reads(tp.Topic):
		o.text = "not read"
	case t.preparer != nil:
		var err error
		o.row, err = t.preparer.Prepare(nil, tp.Topic, tp.Partition, r)
		var bad *connect.RecordError
		switch {
		case errors.Is(err, connect.ErrFiltered):
			o.text = "nothing: filtered"
		case errors.As(err, &bad):
			o.text = "a dead letter: " + strings.TrimSpace(bad.Reason+" "+bad.Column+": "+bad.Message)
		case err != nil:
			o.text = "waits: " + err.Error()
		}
	}
	if o.text != "" {
		o.shown = []string{o.text}
	} else if t.shows {
		o.shown = t.rows(tp.Topic, r)
	}
	return o
}

// rows shows the rows of a record that is good.
func (t *trial) rows(topic string, r *connect.Record) []string {
	var shown shownRows
	if t.converter != nil {
		_ = t.converter.Convert(topic, r, time.Now(), &shown) // it did before
	} else if kind, _, ok := marketdata.KindOfTopic(topic); ok {
		if row, err := t.decoder.Decode(kind, r.Value, time.Now()); err == nil {
			_ = shown.Row(row)
		}
	}
	return shown
}

// shownRows keeps rows as JSON, for people.
type shownRows []string

// Row implements converters.Rows.
func (s *shownRows) Row(v marketdata.Row) error {
	*s = append(*s, v.Kind().String()+" "+string(marketdata.AppendRow(nil, v)))
	return nil
}

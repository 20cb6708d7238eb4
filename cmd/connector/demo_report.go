package main

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/qicore/tickconnect/internal/chart"
)

const demoChartHeight = 20

// report prints what was stored, and says whether that is the whole recording
// and the ledger balances.
func (d *demo) report(ctx context.Context) (good bool, err error) {
	ledger, err := d.store.ledger(ctx, d.topics)
	if err != nil {
		return false, err
	}
	bounds, err := d.process.kafka.Bounds(ctx, d.publish.ends.partitions())
	if err != nil {
		return false, err
	}
	// The verdicts are those of connector audit.
	lines := auditLines(bounds, ledger)
	d.printAccount(lines)
	// The chart comes after the long table, so that it is what the screen shows.
	if err := d.printChart(ctx); err != nil {
		return false, err
	}
	problems := d.judge(lines)
	tables, err := d.printRows(ctx, ledger)
	if err != nil {
		return false, err
	}
	problems = append(problems, tables...)
	for _, problem := range problems {
		d.screen.text("  %s", d.screen.paint("31", problem))
	}
	stored := ledger.next().records()
	if len(problems) == 0 {
		d.screen.text("  %s", d.screen.paint("1;32", fmt.Sprintf("All %s records are accounted for: none is lost, none is stored twice.", grouped(stored))))
		d.screen.text("  %s of them in this run, %s before it.", grouped(stored-d.before), grouped(d.before))
	}
	d.screen.text("\nLook for yourself:\n\n  %s\n", d.stack.psql())
	return len(problems) == 0, nil
}

// fates are what an offset's can be.
var fates = []struct {
	name string
	of   func(*auditLine) int64
	lost bool // no record of the recording may have it
}{
	{"written", func(l *auditLine) int64 { return l.Written }, false},
	{"unchanged", func(l *auditLine) int64 { return l.Unchanged }, false},
	{"merged", func(l *auditLine) int64 { return l.Merged }, false},
	{"stale", func(l *auditLine) int64 { return l.Stale }, false},
	{"dead-lettered", func(l *auditLine) int64 { return l.DeadLettered }, true},
	{"filtered", func(l *auditLine) int64 { return l.Filtered }, true},
	{"absent", func(l *auditLine) int64 { return l.Absent }, true},
	{"expired", func(l *auditLine) int64 { return l.Expired }, true},
}

// judge says what is wrong with an account of the recording.
func (d *demo) judge(lines []auditLine) []string {
	var problems []string
	var offsets int64
	for i := range lines {
		l := &lines[i]
		offsets += l.Next
		// A partition without a record need not have a ledger row yet.
		if !l.good() && !(l.Verdict == verdictMissing && l.End == 0) {
			problems = append(problems, fmt.Sprintf("%s/%d: %s.", l.Topic, l.Partition, strings.ToLower(l.Verdict)))
		}
	}
	if offsets != d.records() {
		problems = append(problems, fmt.Sprintf("The ledger accounts for %s records, the recording has %s.", grouped(offsets), grouped(d.records())))
	}
	whole := sumLines("", lines)
	if whole.Start > 0 {
		problems = append(problems, grouped(whole.Start)+" records had expired before this database could take them.")
	}
	for _, fate := range fates {
		if n := fate.of(&whole); fate.lost && n > 0 {
			problems = append(problems, fmt.Sprintf("%s records are %s.", grouped(n), fate.name))
		}
	}
	return problems
}

// sumLines adds up the lines of a topic, or all of them where it is "".
func sumLines(topic string, lines []auditLine) auditLine {
	sum := auditLine{Verdict: verdictOK}
	for i := range lines {
		l := &lines[i]
		if topic != "" && l.Topic != topic {
			continue
		}
		sum.Start, sum.Next, sum.End = sum.Start+l.Start, sum.Next+l.Next, sum.End+l.End
		sum.Written, sum.Unchanged, sum.Merged, sum.Stale = sum.Written+l.Written, sum.Unchanged+l.Unchanged, sum.Merged+l.Merged, sum.Stale+l.Stale
		sum.DeadLettered, sum.Filtered = sum.DeadLettered+l.DeadLettered, sum.Filtered+l.Filtered
		sum.Absent, sum.Expired = sum.Absent+l.Absent, sum.Expired+l.Expired
		if !l.good() && l.End > 0 {
			sum.Verdict = l.Verdict
		}
	}
	return sum
}

// printChart draws candles of the busiest market that is stored, with the SQL
// that made them.
func (d *demo) printChart(ctx context.Context) error {
	m, err := d.store.busiestMarket(ctx, d.topics)
	if err != nil {
		return err
	}
	interval := chart.Interval(m.first, m.last, chart.Columns(d.screen.width))
	candles, err := d.store.candles(ctx, m, interval)
	if err != nil {
		return err
	}
	d.screen.write(chart.Render(candles, chart.Options{
		Title: fmt.Sprintf("%s on %s, %s: %s candles of %s stored trades",
			m.symbol, m.exchange, m.first.UTC().Format("2 January 2006"), intervalText(interval), grouped(m.trades)),
		Width: d.screen.width, Height: demoChartHeight, Interval: interval, Colour: d.screen.colour,
	}))
	d.screen.text("\n%s\n", d.screen.faint(indent(candleSQL)))
	return nil
}

// intervalText writes an interval of whole seconds in its largest unit.
func intervalText(d time.Duration) string {
	switch {
	case d%time.Hour == 0:
		return fmt.Sprintf("%d h", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return fmt.Sprintf("%d s", d/time.Second)
}

func indent(text string) string { return "  " + strings.ReplaceAll(text, "\n", "\n  ") }

// printAccount prints the ledger by topic. Fates that no record has are named
// in one line instead of a column each.
func (d *demo) printAccount(lines []auditLine) {
	whole := sumLines("", lines)
	header, none := []string{"topic", "offsets"}, []string(nil)
	for _, fate := range fates {
		if fate.of(&whole) > 0 {
			header = append(header, fate.name)
		} else {
			none = append(none, fate.name)
		}
	}
	rows := [][]string{append(header, "balanced")}
	for _, topic := range d.topics {
		sum := sumLines(topic, lines)
		rows = append(rows, accountRow(topic, &sum, &whole))
	}
	rows = append(rows, accountRow("all", &whole, &whole))
	d.screen.text("%s", d.screen.bold("The ledger's account of each offset"))
	for i, line := range alignRight(rows) {
		if i == 0 {
			line = d.screen.faint(line)
		}
		d.screen.text("  %s", line)
	}
	if len(none) > 0 {
		d.screen.text("  %s", d.screen.faint("none is "+strings.Join(none, ", ")))
	}
	d.screen.text("")
}

func accountRow(name string, sum, whole *auditLine) []string {
	row := []string{name, grouped(sum.Next - sum.Start)}
	for _, fate := range fates {
		if fate.of(whole) > 0 {
			row = append(row, grouped(fate.of(sum)))
		}
	}
	if sum.good() {
		return append(row, "yes")
	}
	return append(row, sum.Verdict)
}

// alignRight pads cells so that all columns but the first end together.
func alignRight(rows [][]string) []string {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	lines := make([]string, len(rows))
	for n, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				b.WriteString(cell + pad)
			} else {
				b.WriteString("  " + pad + cell)
			}
		}
		lines[n] = b.String()
	}
	return lines
}

// printRows counts the tables' rows and says where they are not those that the
// ledger counted.
func (d *demo) printRows(ctx context.Context, ledger demoLedger) (problems []string, err error) {
	var counts []string
	inserted := ledger.inserted()
	for _, t := range demoTables {
		n, err := d.store.countRows(ctx, t.table, d.topics)
		if err != nil {
			return nil, err
		}
		counts = append(counts, fmt.Sprintf("%s %s", t.name, grouped(n)))
		if n != inserted[t.kind] {
			problems = append(problems, fmt.Sprintf("%s has %s rows of these topics, the ledger counted %s.", t.table, grouped(n), grouped(inserted[t.kind])))
		}
	}
	d.screen.fact("rows", "%s", strings.Join(counts, "   "))
	return problems, nil
}

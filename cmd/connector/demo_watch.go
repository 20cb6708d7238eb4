package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/qicore/tickconnect/marketdata"
)

// progress is what the screen shows while records move.
type progress struct {
	total, published, stored int64
	perSecond                float64
	deadLetters              int64
	rows                     map[marketdata.Kind]int64
	problem                  string // what the connector says is wrong, or ""
}

// watch shows what moves until everything that is published is stored.
// published gives the publisher's end.
func (d *demo) watch(ctx context.Context, published <-chan error) error {
	every := time.Second
	if d.screen.terminal {
		every = 250 * time.Millisecond
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	d.screen.text("")
	rate := newRate(d.before, time.Now())
	moved, last := time.Now(), d.before
	var ends logEnds // set once all is published
	var ledger demoLedger
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-published:
			if err != nil {
				return err
			}
			published = nil
			if ends, err = endOffsets(ctx, d.admin, d.topics); err != nil {
				return err
			}
		case <-tick.C:
		}
		// The database may be away for a while: the connector waits for it, and so do we.
		var away error
		if now, err := d.store.ledger(ctx, d.topics); err == nil {
			ledger = now
		} else if away = err; ctx.Err() != nil {
			return context.Cause(ctx)
		}
		next := ledger.next()
		p := progress{
			total: d.records(), published: d.publish.published.Load(), stored: next.records(),
			deadLetters: ledger.counts().DeadLettered, rows: ledger.inserted(),
		}
		if health := d.process.health(); !health.Healthy {
			p.problem = health.Message
		} else if away != nil {
			p.problem = away.Error()
		}
		now := time.Now()
		p.perSecond = rate.at(p.stored, now)
		d.showProgress(&p)
		if ends != nil && ends.behind(next) == 0 {
			d.screen.text("")
			return nil
		}
		if p.stored != last {
			moved, last = now, p.stored
		}
		if d.exit && published == nil && now.Sub(moved) > demoStallMax {
			return fmt.Errorf("nothing was stored for %s, %s records are missing: %s; more is in %s",
				demoStallMax, grouped(ends.behind(next)), orElse(p.problem, "the connector names no problem"), d.stack.log.Name())
		}
	}
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

func (d *demo) showProgress(p *progress) {
	var rows []string
	for _, t := range demoTables {
		rows = append(rows, fmt.Sprintf("%s %s", t.name, grouped(p.rows[t.kind])))
	}
	if !d.screen.terminal {
		line := fmt.Sprintf("%s published %d of %d, stored %d, %.0f/s, lag %d, dead letters %d; rows: %s",
			time.Now().Format(time.TimeOnly), p.published, p.total, p.stored, p.perSecond, max(0, p.published-p.stored),
			p.deadLetters, strings.Join(rows, ", "))
		if p.problem != "" {
			line += "; " + p.problem
		}
		d.screen.text("%s", line)
		return
	}
	cells := min(30, max(4, d.screen.width-72))
	share := func(n int64) float64 { return float64(n) / float64(max(1, p.total)) }
	lines := []string{
		fmt.Sprintf("  %s %s %s of %s", d.screen.faint("published "), d.screen.paint("36", bar(share(p.published), cells)),
			grouped(p.published), grouped(p.total)),
		fmt.Sprintf("  %s %s %s   %s records/s   lag %s   dead letters %s", d.screen.faint("stored    "),
			d.screen.paint("32", bar(share(p.stored), cells)), grouped(p.stored), d.screen.bold(grouped(int64(p.perSecond))),
			grouped(max(0, p.published-p.stored)), grouped(p.deadLetters)),
		fmt.Sprintf("  %s %s", d.screen.faint("rows      "), strings.Join(rows, "   ")),
	}
	if p.problem != "" {
		lines = append(lines, "  "+d.screen.paint("31", p.problem))
	}
	d.screen.redraw(lines...)
}

// rate tells how fast a count grows, over about the last second.
type rate struct {
	counts []int64
	times  []time.Time
}

func newRate(count int64, at time.Time) *rate { return &rate{[]int64{count}, []time.Time{at}} }

func (r *rate) at(count int64, now time.Time) float64 {
	r.counts, r.times = append(r.counts, count), append(r.times, now)
	for len(r.times) > 2 && now.Sub(r.times[1]) >= time.Second {
		r.counts, r.times = r.counts[1:], r.times[1:]
	}
	seconds := now.Sub(r.times[0]).Seconds()
	if seconds <= 0 {
		return 0
	}
	return float64(count-r.counts[0]) / seconds
}

package chart

import (
	"math"
	"time"
	"unicode/utf8"
)

// plan says where everything of a picture goes.
type plan struct {
	price     scale
	volumeMax float64

	priceRows, volumeRows int
	// plotColumns are those left of the axis; slots of them hold a candle each,
	// which is body columns wide and pitch columns from the next.
	plotColumns, slots, body, pitch int

	first    time.Time
	interval time.Duration
}

func newPlan(candles []Candle, o Options) *plan {
	p := &plan{first: candles[0].Start, interval: o.Interval}
	low, high := math.Inf(1), math.Inf(-1)
	for i := range candles {
		low, high = min(low, candles[i].Low), max(high, candles[i].High)
		p.volumeMax = max(p.volumeMax, candles[i].Volume)
	}

	// Two lines hold the time axis, one the summary.
	rows := o.Height - 3
	p.volumeRows = max(2, rows/5)
	p.priceRows = rows - p.volumeRows
	p.price = newScale(low, high, p.priceRows)

	labels := max(utf8.RuneCountInString(p.price.label(low)), utf8.RuneCountInString(p.price.label(high)),
		utf8.RuneCountInString(shortNumber(p.volumeMax)))
	p.plotColumns = o.Width - labels - labelGap

	n := int(candles[len(candles)-1].Start.Sub(p.first)/o.Interval) + 1
	switch {
	case n*4 <= p.plotColumns:
		p.body, p.pitch = 3, 4
	case n*2 <= p.plotColumns:
		p.body, p.pitch = 1, 2
	default:
		p.body, p.pitch = 1, 1
	}
	p.slots = (p.plotColumns + p.pitch - p.body) / p.pitch
	// The axis follows the last candle, unless they are few.
	p.plotColumns = min(p.plotColumns, max(n*p.pitch+1, p.plotColumns/2))
	return p
}

// column is the first of the columns that a candle's body covers.
func (p *plan) column(start time.Time) int {
	return int(start.Sub(p.first)/p.interval) * p.pitch
}

// drawPriceAxis draws the axis from top to bottom, its labels, and a faint line
// at each of them.
func (p *plan) drawPriceAxis(g canvas) {
	for row := range p.priceRows + p.volumeRows {
		g.set(row, p.plotColumns, '│', styleFaint)
	}
	for _, tick := range p.price.ticks() {
		row := p.price.half(tick) / 2
		for column := range p.plotColumns {
			g.set(row, column, '┈', styleFaint)
		}
		g.set(row, p.plotColumns, '┤', styleFaint)
		g.text(row, p.plotColumns+labelGap, p.price.label(tick), styleFaint)
	}
}

// drawCandle draws a body with half a cell's precision and a wick in its
// middle. A body is never thinner than half a cell.
func (p *plan) drawCandle(g canvas, c *Candle) {
	style, top, bottom := styleUp, p.price.half(max(c.Open, c.Close)), p.price.half(min(c.Open, c.Close))
	if !c.up() {
		style = styleDown
	}
	column := p.column(c.Start)
	for half := p.price.half(c.High); half <= p.price.half(c.Low); half++ {
		g.addWick(half, column+p.body/2, style)
	}
	for half := top; half <= bottom; half++ {
		for i := range p.body {
			g.addBody(half, column+i, style)
		}
	}
}

// drawLastPrice marks where the last candle closed, over the axis labels.
func (p *plan) drawLastPrice(g canvas, last *Candle) {
	style := styleUpBold
	if !last.up() {
		style = styleDownBold
	}
	row := p.price.half(last.Close) / 2
	for column := p.plotColumns; column < len(g[row]); column++ {
		g.set(row, column, ' ', styleNone)
	}
	g.set(row, p.plotColumns, '◀', style)
	g.text(row, p.plotColumns+labelGap, p.price.label(last.Close), style)
}

// drawVolume draws a bar in eighths of a cell from the pane's foot up. A candle
// with any volume has at least one eighth.
func (p *plan) drawVolume(g canvas, c *Candle) {
	if c.Volume <= 0 {
		return
	}
	style := styleUp
	if !c.up() {
		style = styleDown
	}
	eighths := max(1, int(math.Round(c.Volume/p.volumeMax*float64(8*p.volumeRows))))
	column := p.column(c.Start)
	for row := p.priceRows + p.volumeRows - 1; eighths > 0; row, eighths = row-1, eighths-8 {
		for i := range p.body {
			g.set(row, column+i, []rune("▁▂▃▄▅▆▇█")[min(eighths, 8)-1], style)
		}
	}
}

func (p *plan) drawVolumeAxis(g canvas) {
	if p.volumeMax > 0 {
		g.set(p.priceRows, p.plotColumns, '┤', styleFaint)
		g.text(p.priceRows, p.plotColumns+labelGap, shortNumber(p.volumeMax), styleFaint)
	}
}

// drawTimeAxis draws the foot: a line with a mark over each label.
func (p *plan) drawTimeAxis(g canvas) {
	row := p.priceRows + p.volumeRows
	for column := range p.plotColumns {
		g.set(row, column, '─', styleFaint)
	}
	g.set(row, p.plotColumns, '┘', styleFaint)

	layout := "15:04:05"
	switch {
	case p.interval >= 24*time.Hour:
		layout = "2006-01-02"
	case p.interval >= time.Hour:
		layout = "01-02 15:04"
	case p.interval >= time.Minute:
		layout = "15:04"
	}
	step, labels := labelStep(p.interval, (2*len(layout)+p.pitch-1)/p.pitch), 0
	for slot := range p.slots {
		at := p.first.Add(time.Duration(slot) * p.interval).UTC()
		column := slot*p.pitch + p.body/2
		begin := max(0, column-len(layout)/2)
		if at.Truncate(step).Equal(at) && begin+len(layout) <= p.plotColumns {
			g.set(row, column, '┴', styleFaint)
			g.text(row+1, begin, at.Format(layout), styleFaint)
			labels++
		}
	}
	if labels == 0 {
		g.set(row, p.body/2, '┴', styleFaint)
		g.text(row+1, 0, p.first.UTC().Format(layout), styleFaint)
	}
}

// labelStep is the time between two labels: the shortest usual one that spans
// at least that many intervals and is a multiple of one.
func labelStep(interval time.Duration, intervals int) time.Duration {
	atLeast := time.Duration(intervals) * interval
	for _, d := range usualIntervals {
		if d >= atLeast && d%interval == 0 {
			return d
		}
	}
	return atLeast
}

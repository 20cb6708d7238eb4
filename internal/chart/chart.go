// Package chart draws candles as terminal text: a price pane with an axis, a
// volume pane below it, and a time axis. It is a picture, so it counts in
// float64; nothing that it draws is stored.
package chart

import (
	"strings"
	"time"
)

// Candle is the summary of one interval.
type Candle struct {
	Start                  time.Time
	Open, High, Low, Close float64
	Volume                 float64
}

// up says whether the price did not fall, as charts colour it.
func (c *Candle) up() bool { return c.Close >= c.Open }

// Options say how to draw.
type Options struct {
	// Title is the first line; empty for none.
	Title string
	// Width and Height are those of the whole picture in cells, the title and the
	// axes included. Less than 24 x 10 is drawn as 24 x 10.
	Width, Height int
	// Interval is the candles' length. An interval without a candle leaves a gap.
	Interval time.Duration
	// Colour draws with the terminal's own green and red. Without it a falling
	// candle is shaded instead.
	Colour bool
}

const (
	widthMin, heightMin = 24, 10
	labelGap            = 2 // between the plot and the labels: the axis and a blank
)

// Render draws the candles, which are in ascending order of Start, in lines
// that end with a line feed. Candles that do not fit are left out from the
// oldest on. Without a candle only the title is drawn.
func Render(candles []Candle, o Options) string {
	o.Width, o.Height = max(o.Width, widthMin), max(o.Height, heightMin)
	var out strings.Builder
	if o.Title != "" {
		paintLine(&out, textCells(o.Title, styleBold, o.Width), o.Colour)
		o.Height--
	}
	if len(candles) == 0 {
		return out.String()
	}
	if o.Interval <= 0 {
		o.Interval = time.Minute
	}

	// The labels' width decides how many candles fit, and those decide the labels:
	// the first round is over all candles, the second over those that fit.
	p := newPlan(candles, o)
	candles = lastOf(candles, p.slots, o.Interval)
	p = newPlan(candles, o)

	paintLine(&out, summaryCells(candles, p.price, o.Width), o.Colour)
	grid := newCanvas(o.Width, p.priceRows+p.volumeRows+2)
	p.drawPriceAxis(grid)
	for i := range candles {
		p.drawCandle(grid, &candles[i])
		p.drawVolume(grid, &candles[i])
	}
	p.drawLastPrice(grid, &candles[len(candles)-1])
	p.drawVolumeAxis(grid)
	p.drawTimeAxis(grid)
	for _, line := range grid {
		paintLine(&out, line, o.Colour)
	}
	return out.String()
}

// Columns is how many candles fit side by side into a picture of that width,
// with a blank column between them and labels of usual length.
func Columns(width int) int { return (max(width, widthMin) - labelGap - 10) / 2 }

var usualIntervals = []time.Duration{
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 4 * time.Hour, 12 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour,
}

// Interval is the shortest usual interval, of at least a second, at which the
// time from first to last makes at most columns candles.
func Interval(first, last time.Time, columns int) time.Duration {
	for _, d := range usualIntervals {
		if int(last.Truncate(d).Sub(first.Truncate(d))/d)+1 <= columns {
			return d
		}
	}
	return usualIntervals[len(usualIntervals)-1]
}

// lastOf returns the candles of the last slots intervals.
func lastOf(candles []Candle, slots int, interval time.Duration) []Candle {
	begin := candles[len(candles)-1].Start.Add(-time.Duration(slots-1) * interval)
	for i := range candles {
		if !candles[i].Start.Before(begin) {
			return candles[i:]
		}
	}
	return nil
}

package e2e

import (
	"fmt"
	"image/color"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

var (
	ink = color.NRGBA{0x33, 0x41, 0x55, 0xff}
	// inks tell replicas apart, also for those who do not see red and green.
	inks = []color.Color{color.NRGBA{0x26, 0x6d, 0xd3, 0xff}, color.NRGBA{0xe0, 0x8a, 0x1e, 0xff}, color.NRGBA{0x1a, 0x93, 0x6f, 0xff}}
)

// draw writes what was seen as a picture where plots are wanted: which replica stored
// each partition when, and how long records waited until they were visible, with what is
// promised of that (0: nothing).
func (w *watch) draw(name, title string, promised time.Duration) {
	dir := plotsDir()
	if dir == "" {
		return
	}
	t := w.s.t
	t.Helper()
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	const width, height = 24 * vg.Centimeter, 15 * vg.Centimeter
	canvas := vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(110))}
	plots := [][]*plot.Plot{{w.drawPartitions(title)}, {w.drawWaits(promised)}}
	tiles := draw.Tiles{Rows: 2, Cols: 1, PadX: vg.Millimeter, PadY: 4 * vg.Millimeter, PadTop: 2 * vg.Millimeter, PadBottom: 2 * vg.Millimeter, PadLeft: 2 * vg.Millimeter, PadRight: 4 * vg.Millimeter}
	for i, c := range plot.Align(plots, tiles, draw.New(canvas)) {
		plots[i][0].Draw(c[0])
	}
	f, err := os.Create(filepath.Join(dir, name+".png"))
	if err == nil {
		_, err = canvas.WriteTo(f)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Error(err)
	}
}

func (w *watch) seconds(at time.Time) float64 { return at.Sub(w.began).Seconds() }

// span is the time that a plot shows.
func (w *watch) span() (from, to float64) {
	for _, steps := range w.steps {
		to = max(to, w.seconds(steps[len(steps)-1].at))
	}
	return 0, to * 1.12 // room for the legend
}

// drawPartitions has a row for each partition: a line in its replica's colour for as
// long as records become visible at least four times a second.
func (w *watch) drawPartitions(title string) *plot.Plot {
	p := plot.New()
	p.Title.Text = title + ": who stores which partition. A gap: nothing became visible for 250 ms or more"
	p.Title.TextStyle.Font.Size, p.Title.Padding = 11, vg.Millimeter
	partitions := w.partitions()
	var ticks []plot.Tick
	colours := w.colours()
	for i, tp := range partitions {
		y := float64(len(partitions) - i)
		if tp.Partition == 0 {
			ticks = append(ticks, plot.Tick{Value: y, Label: fmt.Sprintf("topic %d/0", i/max(1, w.perTopic(tp.Topic))+1)})
		} else {
			ticks = append(ticks, plot.Tick{Value: y})
		}
		var line plotter.XYs
		var who string
		flush := func() {
			if len(line) < 2 {
				return
			}
			l, err := plotter.NewLine(plotter.XYs{line[0], line[len(line)-1]})
			if err != nil {
				w.s.t.Error(err)
				return
			}
			l.LineStyle = draw.LineStyle{Color: colours[who], Width: 4}
			p.Add(l)
		}
		last := time.Time{}
		for _, s := range w.steps[tp] {
			owner := w.ownerAt(tp, s.at)
			if owner == "" {
				owner = who // asked while the group was made anew
			}
			if len(line) > 0 && (s.at.Sub(last) >= 250*time.Millisecond || owner != who) {
				flush()
				line = nil
			}
			line = append(line, plotter.XY{X: w.seconds(s.at), Y: y})
			last, who = s.at, owner
		}
		flush()
	}
	p.Y.Tick.Marker = plot.ConstantTicks(ticks)
	p.Y.Min, p.Y.Max = 0, float64(len(partitions))+2.5
	for _, name := range slices.Sorted(maps.Keys(colours)) {
		p.Legend.Add(name, swatch{colours[name]})
	}
	w.frame(p, true)
	return p
}

// colours are those of the replicas.
func (w *watch) colours() map[string]color.Color {
	var names []string
	for _, o := range w.owners {
		for _, name := range o.who {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	colours := map[string]color.Color{}
	for i, name := range names {
		colours[name] = inks[i%len(inks)]
	}
	return colours
}

func (w *watch) perTopic(topic string) (n int) {
	for tp := range w.steps {
		if tp.Topic == topic {
			n++
		}
	}
	return n
}

// drawWaits shows the percentiles of the waits in each second of sending.
func (w *watch) drawWaits(promised time.Duration) *plot.Plot {
	p := plot.New()
	p.Y.Label.Text = "produce to visible, s"
	p.X.Label.Text = "seconds"
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.ConstantTicks{
		{Value: 0.01, Label: "0.01"}, {Value: 0.1, Label: "0.1"}, {Value: 1, Label: "1"}, {Value: 10, Label: "10"},
	}
	for i, of := range []struct {
		label string
		value func(window) time.Duration
	}{{"p50 of each second", func(w window) time.Duration { return w.p50 }}, {"p99", func(w window) time.Duration { return w.p99 }}} {
		var line plotter.XYs
		for _, second := range w.windows() {
			line = append(line, plotter.XY{X: w.seconds(second.at), Y: max(0.001, of.value(second).Seconds())})
		}
		l, err := plotter.NewLine(line)
		if err != nil {
			w.s.t.Error(err)
			continue
		}
		l.LineStyle = draw.LineStyle{Color: inks[i], Width: 1.5}
		p.Add(l)
		p.Legend.Add(of.label, l)
	}
	if promised > 0 {
		from, to := w.span()
		l, err := plotter.NewLine(plotter.XYs{{X: from, Y: promised.Seconds()}, {X: to, Y: promised.Seconds()}})
		if err != nil {
			w.s.t.Error(err)
			return p
		}
		l.LineStyle = draw.LineStyle{Color: color.NRGBA{0xc0, 0x26, 0x26, 0xff}, Width: 1, Dashes: []vg.Length{4, 3}}
		p.Add(l)
		p.Legend.Add("promised of p99", l)
	}
	w.frame(p, false)
	p.Y.Min, p.Y.Max = 0.005, 12
	return p
}

// frame gives both plots the same look, and the marks of what was done.
func (w *watch) frame(p *plot.Plot, labels bool) {
	p.X.Min, p.X.Max = w.span()
	p.Legend.Top, p.Legend.TextStyle.Font.Size, p.Legend.ThumbnailWidth = true, 8, 14
	if labels {
		p.Legend.YOffs = -14
	}
	p.X.Tick.Marker = fives{}
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Label.TextStyle.Font.Size, axis.Tick.Label.Font.Size = 9, 8
		axis.Color, axis.Tick.Color = ink, ink
	}
	bottom, top := 0.0, p.Y.Max
	if !labels {
		bottom, top = 0.005, 12
	}
	for _, e := range w.events {
		x := w.seconds(e.at)
		l, err := plotter.NewLine(plotter.XYs{{X: x, Y: bottom}, {X: x, Y: top}})
		if err != nil {
			w.s.t.Error(err)
			continue
		}
		l.LineStyle = draw.LineStyle{Color: ink, Width: 0.5, Dashes: []vg.Length{2, 2}}
		p.Add(l)
		if !labels {
			continue
		}
		text, err := plotter.NewLabels(plotter.XYLabels{XYs: plotter.XYs{{X: x, Y: top}}, Labels: []string{" " + e.what}})
		if err != nil {
			w.s.t.Error(err)
			continue
		}
		text.TextStyle[0].Font, text.TextStyle[0].Color = font.From(plot.DefaultFont, 7), ink
		text.Offset.Y = -8
		p.Add(text)
	}
}

// fives marks every fifth second.
type fives struct{}

func (fives) Ticks(from, to float64) (ticks []plot.Tick) {
	for x := 0.0; x <= to; x += 5 {
		if x >= from {
			ticks = append(ticks, plot.Tick{Value: x, Label: fmt.Sprint(x)})
		}
	}
	return ticks
}

// swatch is a replica's colour in the legend.
type swatch struct{ colour color.Color }

func (s swatch) Thumbnail(c *draw.Canvas) {
	y := c.Center().Y
	c.StrokeLine2(draw.LineStyle{Color: s.colour, Width: 4}, c.Min.X, y, c.Max.X, y)
}

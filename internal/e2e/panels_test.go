package e2e

import (
	"fmt"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"

	"github.com/qicore/tickconnect/internal/grafana"
)

// Plots of what the panels' queries gave, drawn by gonum.org/v1/plot: axes, ticks and
// legends are its trade, and internal/chart draws candles for terminals.

const (
	panelWidth  = 5.2 * vg.Inch
	panelHeight = 2.3 * vg.Inch
	headHeight  = 0.36 * vg.Inch
	plotDPI     = 88
)

// plotLabel is in each picture.
const plotLabel = "plots of the panels' queries, not Grafana"

// lineColours are told apart by the colour-blind, too (Okabe and Ito).
var lineColours = []color.Color{
	color.RGBA{0, 114, 178, 255},
	color.RGBA{213, 94, 0, 255},
	color.RGBA{0, 158, 115, 255},
	color.RGBA{204, 121, 167, 255},
	color.RGBA{230, 159, 0, 255},
	color.RGBA{86, 180, 233, 255},
	color.RGBA{90, 90, 90, 255},
}

// drawPlots draws the panels with a time axis, a picture for each row of a dashboard.
func drawPlots(t testing.TB, dir string, panels []panelData, from, to time.Time) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for len(panels) > 0 {
		row := panels[0]
		if row.panel.Type != "row" {
			t.Fatalf("%s does not begin with a row", row.dashboard)
		}
		n := 1
		for n < len(panels) && panels[n].panel.Type != "row" {
			n++
		}
		var drawn []panelData
		for _, p := range panels[1:n] {
			if p.panel.Type == "timeseries" || p.panel.Type == "state-timeline" {
				drawn = append(drawn, p)
			}
		}
		panels = panels[n:]
		if len(drawn) > 0 {
			name := row.dashboard + "-" + strings.ToLower(regexp.MustCompile(`[^A-Za-z]+`).ReplaceAllString(row.panel.Title, "-")) + ".png"
			drawRow(t, filepath.Join(dir, name), row, drawn, from, to)
		}
	}
}

func drawRow(t testing.TB, file string, row panelData, panels []panelData, from, to time.Time) {
	t.Helper()
	const columns = 2
	rows := (len(panels) + columns - 1) / columns
	width, height := columns*panelWidth, vg.Length(rows)*panelHeight+headHeight
	img := vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(plotDPI))
	all := draw.New(img)
	head := draw.Crop(all, 0, 0, height-headHeight, 0)
	style := plot.New().Title.TextStyle
	style.Font.Size = vg.Points(11)
	style.XAlign, style.YAlign = draw.XCenter, draw.YCenter
	head.FillText(style, head.Center(), "Tickconnect "+row.dashboard+": "+row.panel.Title+" ("+plotLabel+")")
	for i, p := range panels {
		x, y := vg.Length(i%columns)*panelWidth, vg.Length(i/columns)*panelHeight
		area := draw.Crop(all, x, x+panelWidth-width, height-headHeight-y-panelHeight, -headHeight-y)
		const margin = 8
		drawPanel(t, p, from, to).Draw(draw.Crop(area, margin, -margin, margin/2, -margin/2))
	}
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	err = (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(out, img.Image())
	if closed := out.Close(); err == nil {
		err = closed
	}
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Size() > 100_000 {
		t.Errorf("%s: %v, or it is larger than 100 kB", file, err)
	}
}

// plotUnits are what is written at the axis for Grafana's names of units.
var plotUnits = map[string]string{"cps": "per second", "reqps": "requests per second", "s": "seconds", "ms": "ms", "bytes": "bytes", "Bps": "bytes per second", "short": "", "none": ""}

// ownNames takes the test's own id out of the names of topics and connectors.
var ownNames = regexp.MustCompile(`(c)?-e2e[a-z0-9]{10}`)

func drawPanel(t testing.TB, data panelData, from, to time.Time) *plot.Plot {
	t.Helper()
	p := plot.New()
	p.Title.Text = data.panel.Title
	p.Title.TextStyle.Font.Size = vg.Points(10)
	p.Title.Padding = vg.Points(3)
	unit, known := plotUnits[data.panel.FieldConfig.Defaults.Unit]
	if !known {
		t.Errorf("%s has the unit %s, which plots do not know", data.panel.Title, data.panel.FieldConfig.Defaults.Unit)
	}
	p.Y.Label.Text = unit
	p.X.Min, p.X.Max = 0, to.Sub(from).Seconds()
	p.X.Tick.Marker, p.Y.Tick.Marker = minuteTicks{}, shortTicks{}
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Label.TextStyle.Font.Size, a.Tick.Label.Font.Size = vg.Points(8), vg.Points(8)
		a.LineStyle.Width, a.Tick.LineStyle.Width = vg.Points(0.4), vg.Points(0.4)
	}
	grid := plotter.NewGrid()
	grid.Vertical.Width = 0
	grid.Horizontal.Color, grid.Horizontal.Width = color.Gray{220}, vg.Points(0.4)
	p.Add(grid)
	top, n := 0.0, 0
	for i, query := range data.series {
		for _, s := range query {
			line := lineColours[n%len(lineColours)]
			n++
			name := ownNames.ReplaceAllStringFunc(grafana.Legend(data.panel.Targets[i].LegendFormat, s.Metric), func(own string) string {
				if strings.HasPrefix(own, "c") {
					return "connector"
				}
				return ""
			})
			first := true
			for _, part := range unbroken(s.Values, from) {
				l, err := plotter.NewLine(part)
				if err != nil {
					t.Fatal(err)
				}
				l.Color, l.Width = line, vg.Points(1.1)
				if data.panel.Type == "state-timeline" || data.panel.FieldConfig.Defaults.Custom.LineInterpolation == "stepAfter" {
					l.StepStyle = plotter.PostStep
				}
				p.Add(l)
				if first && n <= len(lineColours) {
					p.Legend.Add(name, l)
				}
				first = false
				for _, xy := range part {
					top = max(top, xy.Y)
				}
			}
		}
	}
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.TextStyle.Font.Size = vg.Points(7.5)
	p.Legend.Padding = vg.Points(1.5)
	p.Legend.ThumbnailWidth = vg.Points(12)
	p.Y.Min = min(0, p.Y.Min)
	if top == 0 {
		top = 1
	}
	// Room for the legend above the lines.
	p.Y.Max = top * (1.12 + 0.1*float64(min(n, len(lineColours))))
	return p
}

// unbroken cuts a series where it has no value, and counts time from the beginning.
func unbroken(values []measured, from time.Time) []plotter.XYs {
	var parts []plotter.XYs
	var last time.Time
	for _, v := range values {
		if math.IsNaN(v.value) || math.IsInf(v.value, 0) {
			continue
		}
		if len(parts) == 0 || v.at.Sub(last) > 1500*time.Millisecond {
			parts = append(parts, nil)
		}
		end := &parts[len(parts)-1]
		*end = append(*end, plotter.XY{X: v.at.Sub(from).Seconds(), Y: v.value})
		last = v.at
	}
	return slices.DeleteFunc(parts, func(p plotter.XYs) bool { return len(p) < 2 })
}

// minuteTicks are ticks each half minute, as 1:30.
type minuteTicks struct{}

func (minuteTicks) Ticks(least, most float64) []plot.Tick {
	var ticks []plot.Tick
	for s := math.Ceil(least/30) * 30; s <= most; s += 30 {
		ticks = append(ticks, plot.Tick{Value: s, Label: fmt.Sprintf("%d:%02d", int(s)/60, int(s)%60)})
	}
	return ticks
}

// shortTicks write 1.5k and 20M.
type shortTicks struct{}

func (shortTicks) Ticks(least, most float64) []plot.Tick {
	ticks := plot.DefaultTicks{}.Ticks(least, most)
	for i := range ticks {
		if ticks[i].Label == "" {
			continue
		}
		v, unit := ticks[i].Value, ""
		for _, u := range []string{"k", "M", "G"} {
			if math.Abs(v) < 1000 {
				break
			}
			v, unit = v/1000, u
		}
		ticks[i].Label = strconv.FormatFloat(v, 'g', 4, 64) + unit
	}
	return ticks
}

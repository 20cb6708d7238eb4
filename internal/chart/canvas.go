package chart

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"
)

// style is how a cell is painted where colour is allowed.
type style uint8

const (
	styleNone style = iota
	styleFaint
	styleBold
	styleUp
	styleDown
	styleUpBold
	styleDownBold
)

// ansi are the terminal's own colours, so that the user's theme decides.
var ansi = [...]string{
	styleFaint: "\x1b[90m", styleBold: "\x1b[1m", styleUp: "\x1b[32m", styleDown: "\x1b[31m",
	styleUpBold: "\x1b[1;32m", styleDownBold: "\x1b[1;31m",
}

// cell is one character of the picture. upper and lower say what a candle
// covers in its halves; where either is set, it decides over r.
type cell struct {
	r            rune
	style        style
	upper, lower cover
}

type cover uint8

const (
	coverNone cover = iota
	coverWick
	coverBody
)

type canvas [][]cell

func newCanvas(width, height int) canvas {
	g := make(canvas, height)
	for row := range g {
		g[row] = make([]cell, width)
	}
	return g
}

func (g canvas) set(row, column int, r rune, s style) {
	if column >= 0 && column < len(g[row]) {
		g[row][column] = cell{r: r, style: s}
	}
}

func (g canvas) text(row, column int, text string, s style) {
	for _, r := range text {
		g.set(row, column, r, s)
		column++
	}
}

func (g canvas) addWick(half, column int, s style) { g.add(half, column, coverWick, s) }

func (g canvas) addBody(half, column int, s style) { g.add(half, column, coverBody, s) }

// add covers half a cell; what is drawn later wins.
func (g canvas) add(half, column int, c cover, s style) {
	if column >= len(g[half/2]) {
		return
	}
	at := &g[half/2][column]
	at.style = s
	if half%2 == 0 {
		at.upper = c
	} else {
		at.lower = c
	}
}

// glyph is the character of a cell. No character holds a body in one half and
// a wick in the other: the body wins. Half a cell cannot be shaded, so without
// colour a falling candle's body fills each cell that it touches.
func (c *cell) glyph(colour bool) rune {
	body := c.upper == coverBody || c.lower == coverBody
	switch {
	case body && !colour && c.style == styleDown:
		return '░'
	case c.upper == coverBody && c.lower == coverBody:
		return '█'
	case c.upper == coverBody:
		return '▀'
	case c.lower == coverBody:
		return '▄'
	case c.upper == coverWick && c.lower == coverWick:
		return '│'
	case c.upper == coverWick:
		return '╵'
	case c.lower == coverWick:
		return '╷'
	case !colour && c.style == styleDown && c.r == '█':
		return '░' // a volume bar's full cell
	case c.r == 0:
		return ' '
	}
	return c.r
}

// textCells is a line of text, cut at width.
func textCells(text string, s style, width int) []cell {
	var line []cell
	for _, r := range text {
		line = append(line, cell{r: r, style: s})
	}
	return line[:min(len(line), width)]
}

// summaryCells tells the candles' whole: first open, extremes, last close, change.
func summaryCells(candles []Candle, s scale, width int) []cell {
	all := Candle{Open: candles[0].Open, High: candles[0].High, Low: candles[0].Low, Close: candles[len(candles)-1].Close}
	for i := range candles {
		all.High, all.Low = max(all.High, candles[i].High), min(all.Low, candles[i].Low)
		all.Volume += candles[i].Volume
	}
	changeStyle := styleUpBold
	if !all.up() {
		changeStyle = styleDownBold
	}
	line := textCells(fmt.Sprintf("open %s  high %s  low %s  close %s  ",
		s.label(all.Open), s.label(all.High), s.label(all.Low), s.label(all.Close)), styleNone, width)
	if all.Open != 0 {
		line = append(line, textCells(fmt.Sprintf("%+.2f %%", (all.Close/all.Open-1)*100), changeStyle, width)...)
	}
	line = append(line, textCells("  volume "+shortNumber(all.Volume), styleNone, width)...)
	return line[:min(len(line), width)]
}

// paintLine writes a line without trailing blanks.
func paintLine(out *strings.Builder, line []cell, colour bool) {
	end := len(line)
	for end > 0 && line[end-1].glyph(colour) == ' ' {
		end--
	}
	now := styleNone
	for i := range line[:end] {
		c := &line[i]
		glyph := c.glyph(colour)
		if want := c.style; colour && want != now && glyph != ' ' {
			if now != styleNone {
				out.WriteString("\x1b[0m")
			}
			out.WriteString(ansi[want])
			now = want
		}
		out.WriteRune(glyph)
	}
	if now != styleNone {
		out.WriteString("\x1b[0m")
	}
	out.WriteByte('\n')
}

// ColourAllowed says whether colour may be written to f: it is a terminal that
// knows colours, and NO_COLOR (no-color.org) is not set.
func ColourAllowed(f *os.File) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

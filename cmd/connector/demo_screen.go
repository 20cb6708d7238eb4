package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"

	"github.com/qicore/tickconnect/internal/chart"
)

// screen writes the demo for people. On a terminal what moves is redrawn in
// place; elsewhere it is a line at a time.
type screen struct {
	mu       sync.Mutex
	out      io.Writer
	terminal bool // redraw in place
	colour   bool
	width    int
	live     int    // lines that the next call to redraw replaces
	step     string // the last progress that was shown
}

const (
	screenWidth    = 100 // where the output is no terminal
	screenWidthMax = 120
)

func newScreen(out io.Writer) *screen {
	s := &screen{out: out, width: screenWidth}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		s.terminal, s.colour = true, chart.ColourAllowed(f)
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			s.width = min(width, screenWidthMax)
		}
	}
	return s
}

// paint wraps text in an SGR code where colour is allowed.
func (s *screen) paint(code, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s *screen) bold(text string) string  { return s.paint("1", text) }
func (s *screen) faint(text string) string { return s.paint("90", text) }

func (s *screen) title(format string, args ...any) {
	s.write(s.bold(fmt.Sprintf(format, args...)) + "\n\n")
}

// fact is a line that tells one thing by its name.
func (s *screen) fact(name, format string, args ...any) {
	s.write(fmt.Sprintf("  %s %s\n", s.faint(fmt.Sprintf("%-10s", name)), fmt.Sprintf(format, args...)))
}

func (s *screen) text(format string, args ...any) {
	s.write(fmt.Sprintf(format, args...) + "\n")
}

// write adds text below what is there.
func (s *screen) write(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live = 0
	io.WriteString(s.out, text)
}

// progress shows a step of something that takes its time.
func (s *screen) progress(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if s.terminal {
		s.redraw("  " + s.faint(line))
		return
	}
	// A step is named once; how far it has come would be a line for each megabyte.
	step, _, _ := strings.Cut(line, ":")
	s.mu.Lock()
	again := step == s.step
	s.step = step
	s.mu.Unlock()
	if !again {
		s.text("  %s", line)
	}
}

// progressDone removes the last progress.
func (s *screen) progressDone() {
	if s.terminal {
		s.redraw()
	}
}

// redraw replaces the lines of the last redraw, where nothing was written since.
func (s *screen) redraw(lines ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	if s.live > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\x1b[J", s.live)
	}
	for _, line := range lines {
		// A line that wraps would be two to go back over.
		b.WriteString(cutLine(line, s.width-1) + "\n")
	}
	s.live = len(lines)
	io.WriteString(s.out, b.String())
}

// cutLine cuts a line at that many characters; SGR codes count for none.
func cutLine(line string, width int) string {
	var b strings.Builder
	escape, n := false, 0
	for _, r := range line {
		switch {
		case r == '\x1b':
			escape = true
		case escape:
			escape = r != 'm'
		default:
			if n++; n > width {
				continue
			}
		}
		b.WriteRune(r)
	}
	return b.String()
}

// grouped writes a count with its thousands apart.
func grouped(n int64) string {
	if n < 0 {
		return "-" + grouped(-n)
	}
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", grouped(n/1000), n%1000)
}

// bar is a share of 1 as a bar of that many cells.
func bar(share float64, cells int) string {
	full := min(cells, max(0, int(share*float64(cells))))
	return strings.Repeat("█", full) + strings.Repeat("░", cells-full)
}

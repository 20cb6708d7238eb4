package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
)

// figure is one line of the report: what several rounds measured.
type figure struct {
	Part   string    `json:"part"`
	Name   string    `json:"name"`
	Unit   string    `json:"unit"`
	Values []float64 `json:"values"` // one for each round
	// Floor and Goal are to be reached; with AtMost, not to be exceeded. Nil: none.
	Floor  *float64 `json:"floor,omitempty"`
	Goal   *float64 `json:"goal,omitempty"`
	AtMost bool     `json:"atMost"`
	// Load is the machine's load average, Foreign the share of its CPUs in percent
	// that others used: the highest of the rounds.
	Load    float64 `json:"load"`
	Foreign float64 `json:"foreignPercent"`
}

func (f *figure) median() float64 { return quantile(f.Values, 0.5) }

// verdict is what the median says of the goal and the floor.
func (f *figure) verdict() string {
	reaches := func(limit *float64) bool {
		if f.AtMost {
			return f.median() <= *limit
		}
		return f.median() >= *limit
	}
	switch {
	case f.Goal != nil && reaches(f.Goal):
		return "goal"
	case f.Floor != nil && !reaches(f.Floor):
		return "MISSES THE FLOOR"
	case f.Floor != nil:
		return "floor"
	case f.Goal != nil:
		return "no"
	}
	return ""
}

// quantile interpolates between the sorted values.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	low := int(at)
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (sorted[high]-sorted[low])*(at-float64(low))
}

// report collects figures; those of one name are rounds of one.
type report struct {
	Machine string    `json:"machine"`
	Began   time.Time `json:"began"`
	Took    string    `json:"took"`
	Command string    `json:"command"`
	Figures []*figure `json:"figures"`
	Notes   []string  `json:"notes"`
	log     io.Writer
}

// add records a round of a figure.
func (r *report) add(like figure, value float64, m reading) {
	i := slices.IndexFunc(r.Figures, func(f *figure) bool { return f.Part == like.Part && f.Name == like.Name })
	if i < 0 {
		i = len(r.Figures)
		r.Figures = append(r.Figures, &like)
	}
	f := r.Figures[i]
	f.Values = append(f.Values, value)
	f.Load, f.Foreign = max(f.Load, m.load), max(f.Foreign, m.foreign*100)
	fmt.Fprintf(r.log, "bench: %s: %s: %s %s (load %.1f, others %.0f %%)\n", f.Part, f.Name, number(value), f.Unit, m.load, m.foreign*100)
}

func (r *report) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
	fmt.Fprintln(r.log, "bench:", r.Notes[len(r.Notes)-1])
}

func (r *report) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

func (r *report) writeMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "`%s` on %s, %s, took %s.\n\n", r.Command, r.Machine, r.Began.UTC().Format("2006-01-02 15:04 UTC"), r.Took)
	b.WriteString("| part | figure | median | range (rounds) | floor | goal | reached | load, others' CPU |\n|---|---|---|---|---|---|---|---|\n")
	for _, f := range r.Figures {
		spread := fmt.Sprintf("%s-%s (%d)", number(slices.Min(f.Values)), number(slices.Max(f.Values)), len(f.Values))
		fmt.Fprintf(&b, "| %s | %s | %s %s | %s | %s | %s | %s | %.1f, %.0f %% |\n", f.Part, f.Name, number(f.median()), f.Unit, spread,
			limit(f.Floor), limit(f.Goal), f.verdict(), f.Load, f.Foreign)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "\n- %s", n)
	}
	b.WriteString("\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func limit(v *float64) string {
	if v == nil {
		return ""
	}
	return number(*v)
}

func number(v float64) string {
	if math.Abs(v) >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// value makes a floor or a goal.
func value(v float64) *float64 { return &v }

package main

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

func TestQuantile(t *testing.T) {
	t.Parallel()
	values := []float64{4, 1, 3, 2, 5}
	for q, want := range map[float64]float64{0: 1, 0.5: 3, 1: 5, 0.25: 2, 0.9: 4.6} {
		if got := quantile(values, q); got < want-1e-9 || got > want+1e-9 {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if values[0] != 4 {
		t.Error("the values were sorted in place")
	}
}

// TestVerdict: a floor that is missed is never called anything else.
func TestVerdict(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		median float64
		floor  *float64
		goal   *float64
		atMost bool
		want   string
	}{
		{59, value(60), value(85), false, "MISSES THE FLOOR"},
		{60, value(60), value(85), false, "floor"},
		{85, value(60), value(85), false, "goal"},
		{201, value(200), value(150), true, "MISSES THE FLOOR"},
		{200, value(200), value(150), true, "floor"},
		{150, value(200), value(150), true, "goal"},
		{49, nil, value(50), false, "no"},
		{50, nil, value(50), false, "goal"},
		{50, nil, nil, false, ""},
	} {
		f := figure{Values: []float64{test.median}, Floor: test.floor, Goal: test.goal, AtMost: test.atMost}
		if got := f.verdict(); got != test.want {
			t.Errorf("%+v gives %q", test, got)
		}
	}
}

func TestMarkdown(t *testing.T) {
	t.Parallel()
	r := report{Command: "make bench", Machine: "a machine", log: io.Discard}
	for i, v := range []float64{70, 50, 65} {
		r.add(figure{Part: "throughput", Name: "upsert", Unit: "%", Floor: value(60), Goal: value(85)}, v, reading{load: float64(i), foreign: 0.1})
	}
	var b bytes.Buffer
	if err := r.writeMarkdown(&b); err != nil {
		t.Fatal(err)
	}
	if want := "| throughput | upsert | 65 % | 50-70 (3) | 60 | 85 | floor | 2.0, 10 % |"; !strings.Contains(b.String(), want) {
		t.Errorf("no line %s in\n%s", want, &b)
	}
}

package chart

import (
	"math"
	"strconv"
	"strings"
)

// scale maps prices to half cells, counted from the top.
type scale struct {
	low, high float64
	halves    int
	step      float64 // between two labels
	decimals  int
}

// newScale covers [low, high] with rows of cells.
func newScale(low, high float64, rows int) scale {
	if high <= low {
		pad := math.Max(math.Abs(high)/1000, math.SmallestNonzeroFloat64)
		low, high = low-pad, high+pad
	}
	s := scale{low: low, high: high, halves: 2 * rows}
	s.step = niceStep((high - low) / float64(max(1, rows/3)))
	// One digit more than the labels' step, so that the last price is told well,
	// and cents in any case.
	s.decimals = min(12, max(2, 1-int(math.Floor(math.Log10(s.step)))))
	return s
}

// half is the half cell of a price, from 0 at the top to halves-1.
func (s *scale) half(price float64) int {
	i := int((s.high - price) / (s.high - s.low) * float64(s.halves))
	return min(max(i, 0), s.halves-1)
}

// ticks are the prices at the labels.
func (s *scale) ticks() []float64 {
	var out []float64
	for i := math.Ceil(s.low / s.step); i*s.step <= s.high; i++ {
		out = append(out, i*s.step)
	}
	return out
}

func (s *scale) label(price float64) string { return groupDigits(price, s.decimals) }

// niceStep is the least of 1, 2 and 5 times a power of ten that is not below v.
func niceStep(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, factor := range []float64{1, 2, 5} {
		if factor*power >= v {
			return factor * power
		}
	}
	return 10 * power
}

// groupDigits writes a number with that many decimals, thousands apart.
func groupDigits(v float64, decimals int) string {
	text := strconv.FormatFloat(math.Abs(v), 'f', decimals, 64)
	whole, fraction, dotted := strings.Cut(text, ".")
	var b strings.Builder
	if v < 0 {
		b.WriteByte('-')
	}
	for i, digit := range whole {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(digit)
	}
	if dotted {
		b.WriteByte('.')
		b.WriteString(fraction)
	}
	return b.String()
}

// shortNumber writes a volume in a few characters: 1.23, 45.6, 7.89K.
func shortNumber(v float64) string {
	suffix := ""
	for _, next := range []string{"K", "M", "B", "T"} {
		if v < 999.5 {
			break
		}
		v, suffix = v/1000, next
	}
	switch {
	case v > 0 && v < 0.01:
		return strconv.FormatFloat(v, 'e', 1, 64)
	case v < 9.995:
		return strconv.FormatFloat(v, 'f', 2, 64) + suffix
	case v < 99.95:
		return strconv.FormatFloat(v, 'f', 1, 64) + suffix
	}
	return strconv.FormatFloat(v, 'f', 0, 64) + suffix
}

package converters

import (
	"strconv"
	"strings"
	"time"

	"github.com/qicore/tickconnect/marketdata"
)

// Whole parts below secondsEnd are seconds, below millisEnd milliseconds; see
// marketdata.ParseTime.
const (
	secondsEnd = 100_000_000_000
	millisEnd  = secondsEnd * 1000
)

// epochTime reads a time since the epoch, or RFC 3339. A producer that has times
// as binary floats writes a fraction which is the exchange's only to the
// microsecond: it is rounded there, half to even. All else is as in
// marketdata.ParseTime. fine says that it was an integer or a fraction in a finer
// unit than seconds.
func epochTime(s string) (t time.Time, fine bool, fault *marketdata.Error) {
	whole, point := int64(0), 0
	for point < len(s) && s[point]-'0' <= 9 && point < wholeDigitsMax {
		whole = whole*10 + int64(s[point]-'0')
		point++
	}
	rest := s[point:]
	if point == 0 || whole >= millisEnd || rest != "" && (rest[0] != '.' || !digits(rest[1:])) {
		fine = whole >= millisEnd
		if integer, fraction, _ := strings.Cut(s, "."); fine && digits(fraction) {
			s = integer // what is finer than a microsecond is cut
		}
		t, fault = marketdata.ParseTime(s) // or RFC 3339, or an error
		return t, fine, fault
	}
	places := 6
	if fine = whole >= secondsEnd; fine {
		places = 3
	}
	return time.UnixMicro(rounded(whole, strings.TrimPrefix(rest, "."), places)).UTC(), fine, nil
}

// rounded moves the point by so many places to the right and rounds, half to even.
func rounded(whole int64, fraction string, places int) int64 {
	for range places {
		whole *= 10
		if fraction != "" {
			whole += int64(fraction[0] - '0')
			fraction = fraction[1:]
		}
	}
	if fraction != "" && fraction[0] >= '5' {
		if fraction[0] > '5' || strings.Trim(fraction[1:], "0") != "" || whole&1 == 1 {
			whole++
		}
	}
	return whole
}

// unixTime reads a number since the epoch of a unit that lies so many decimal
// places below the second. A fraction, which is a binary float's, is rounded to
// the microsecond; an integer that is finer is cut. ok is false for what is no such
// number, or lies beyond the year 5000.
func unixTime(s string, places int) (t time.Time, ok bool) {
	whole, fraction, hasPoint := strings.Cut(s, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || !digits(whole) || hasPoint && !digits(fraction) {
		return time.Time{}, false
	}
	limit := int64(secondsEnd)
	for range min(places, 7) { // in ns an int64 ends before
		limit *= 10
	}
	switch {
	case n >= limit && places < 8:
		return time.Time{}, false
	case places > 6:
		return time.UnixMicro(n / 1000).UTC(), true
	}
	return time.UnixMicro(rounded(n, fraction, 6-places)).UTC(), true
}

// wholeDigitsMax digits fit into an int64.
const wholeDigitsMax = 18

// digits says whether s is one digit or more, and nothing else.
func digits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i]-'0' > 9 {
			return false
		}
	}
	return s != ""
}

package converters

import (
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
	micros := whole
	if rest != "" {
		rest = rest[1:]
	}
	for range places {
		micros *= 10
		if rest != "" {
			micros += int64(rest[0] - '0')
			rest = rest[1:]
		}
	}
	if rest != "" && rest[0] >= '5' {
		if rest[0] > '5' || strings.Trim(rest[1:], "0") != "" || micros&1 == 1 {
			micros++
		}
	}
	return time.UnixMicro(micros).UTC(), fine, nil
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

package marketdata

import (
	"fmt"
	"strconv"
	"time"
)

// A time is good from timeMin, before which nothing was traded, to a day ahead
// of now: what lies outside was sent in another unit than its size tells.
var timeMin = time.Date(2009, 1, 1, 0, 0, 0, 0, time.UTC)

const timeAheadMax = 24 * time.Hour

// An integer below secondsEnd is in seconds, below millisEnd in milliseconds,
// below microsEnd in microseconds, and else in nanoseconds. Each unit covers 2009
// to the year 5138 (nanoseconds: 2262, where int64 ends) and begins, at 1973,
// before anything that is accepted: no good time can be read in two units.
const (
	secondsEnd = 100_000_000_000
	millisEnd  = secondsEnd * 1000
	microsEnd  = millisEnd * 1000
)

// parseTime reads an integer since the epoch or an RFC 3339 time; T may be a
// blank. The answer is UTC in whole microseconds, finer digits are cut.
func parseTime(s string) (time.Time, *Error) {
	micros, ok := int64(0), false
	if isInteger(s) {
		v, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return time.Time{}, timeOutOfRange(clip(s))
		}
		micros, ok = epochMicros(v), true
	} else {
		micros, ok = parseRFC3339(s)
	}
	if !ok {
		return time.Time{}, &Error{
			Reason:  ReasonBadTime,
			Message: clip(s) + " is neither RFC 3339 nor an integer since the epoch",
		}
	}
	if micros < timeMin.UnixMicro() {
		return time.Time{}, timeOutOfRange(clip(s))
	}
	return time.UnixMicro(micros).UTC(), nil
}

func timeOutOfRange(shown string) *Error {
	return &Error{
		Reason:  ReasonOutOfRange,
		Message: fmt.Sprintf("%s is before 2009 or more than a day ahead of now", shown),
	}
}

// isInteger says whether s is digits with an optional minus sign.
func isInteger(s string) bool {
	if len(s) > 1 && s[0] == '-' {
		s = s[1:]
	}
	for i := 0; i < len(s); i++ {
		if !isDigit(s[i]) {
			return false
		}
	}
	return s != ""
}

// epochMicros finds the unit of v by its size. A time before 1970 keeps its sign
// and is refused for that.
func epochMicros(v int64) int64 {
	switch {
	case v < secondsEnd:
		return max(v, -1) * 1_000_000
	case v < millisEnd:
		return v * 1000
	case v < microsEnd:
		return v
	}
	return v / 1000
}

// parseRFC3339 gives microseconds since the epoch. Second 60 is the first of the
// next minute, as in PostgreSQL.
func parseRFC3339(s string) (int64, bool) {
	const shape = "0000-00-00T00:00:00"
	if len(s) <= len(shape) {
		return 0, false
	}
	for i := range len(shape) {
		switch c := s[i]; shape[i] {
		case '0':
			if !isDigit(c) {
				return 0, false
			}
		case 'T':
			if c != 'T' && c != 't' && c != ' ' {
				return 0, false
			}
		default:
			if c != shape[i] {
				return 0, false
			}
		}
	}
	year, month, day := two(s)*100+two(s[2:]), two(s[5:]), two(s[8:])
	hour, minute, second := two(s[11:]), two(s[14:]), two(s[17:])
	if month < 1 || month > 12 || day < 1 || day > daysIn(year, month) || hour > 23 || minute > 59 || second > 60 {
		return 0, false
	}
	micros, s := fraction(s[len(shape):])
	offset, ok := zone(s)
	if !ok || micros < 0 {
		return 0, false
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
	return (t.Unix()-int64(offset))*1_000_000 + micros, true
}

func two(s string) int { return int(s[0]-'0')*10 + int(s[1]-'0') }

func daysIn(year, month int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// fraction reads ".123456789" as microseconds and gives the rest; -1 for a point
// without digits.
func fraction(s string) (micros int64, rest string) {
	if s == "" || s[0] != '.' {
		return 0, s
	}
	i, unit := 1, int64(100_000)
	for ; i < len(s) && isDigit(s[i]); i++ {
		micros += int64(s[i]-'0') * unit
		unit /= 10
	}
	if i == 1 {
		return -1, s
	}
	return micros, s[i:]
}

// zone reads Z or +hh:mm as seconds east of UTC.
func zone(s string) (seconds int, ok bool) {
	if s == "Z" || s == "z" {
		return 0, true
	}
	if len(s) != len("+00:00") || s[0] != '+' && s[0] != '-' || s[3] != ':' {
		return 0, false
	}
	if !isDigit(s[1]) || !isDigit(s[2]) || !isDigit(s[4]) || !isDigit(s[5]) {
		return 0, false
	}
	hours, minutes := two(s[1:]), two(s[4:])
	if hours > 23 || minutes > 59 {
		return 0, false
	}
	seconds = hours*3600 + minutes*60
	if s[0] == '-' {
		seconds = -seconds
	}
	return seconds, true
}

package marketdata

import (
	"fmt"
	"unicode/utf8"
)

// depthMax bounds the nesting of a record, so that no record exhausts the stack.
const depthMax = 200

type tokenKind uint8

const (
	tokenNull tokenKind = iota
	tokenBool
	tokenNumber
	tokenString
	tokenObject
	tokenArray
)

// token is a JSON value in the record: data[start:end], for a string without its
// quotes. It has four fields since the compiler keeps no larger struct in
// registers.
type token struct {
	start, end int
	kind       tokenKind
	marks      textMarks
}

// textMarks say what a string holds.
type textMarks uint8

const (
	escaped textMarks = 1 << iota // escapes
	wide                          // bytes above 0x7f, not yet checked to be UTF-8
)

// scanner checks JSON by RFC 8259 and finds where values begin and end. Its
// methods take the index to begin at and return the index after what they read,
// or -1 after a fault. Strings that nobody stores may hold invalid UTF-8.
type scanner struct {
	data  []byte
	fault *Error
}

func (s *scanner) fail(i int, what string) int {
	if s.fault == nil {
		s.fault = &Error{Reason: ReasonNotJSON, Message: fmt.Sprintf("not JSON: %s at byte %d", what, i)}
	}
	return -1
}

func (s *scanner) bytes(t token) []byte { return s.data[t.start:t.end] }

// space skips blanks. It is small enough to be inlined for where there are none.
func (s *scanner) space(i int) int {
	if i < len(s.data) && s.data[i] > ' ' {
		return i
	}
	return s.blanks(i)
}

func (s *scanner) blanks(i int) int {
	for i < len(s.data) {
		switch s.data[i] {
		case ' ', '\t', '\n', '\r':
			i++
		default:
			return i
		}
	}
	return i
}

// at gives the byte at i, 0 at the end.
func (s *scanner) at(i int) byte {
	if i < len(s.data) {
		return s.data[i]
	}
	return 0
}

func (s *scanner) value(i, depth int) (token, int) {
	switch c := s.at(i); {
	case c == '"':
		return s.text(i)
	case c == '-' || isDigit(c):
		return s.number(i)
	case c == '{':
		end := s.object(i, depth, nil)
		return token{start: i, end: end, kind: tokenObject}, end
	case c == '[':
		end := s.array(i, depth)
		return token{start: i, end: end, kind: tokenArray}, end
	case c == 'n':
		return s.literal(i, "null", tokenNull)
	case c == 't':
		return s.literal(i, "true", tokenBool)
	case c == 'f':
		return s.literal(i, "false", tokenBool)
	case i >= len(s.data):
		return token{}, s.fail(i, "the record ends early")
	case c == 'N' || c == 'I':
		return token{}, s.fail(i, "no value, JSON knows no NaN and no Infinity,")
	}
	return token{}, s.fail(i, "no value begins")
}

func (s *scanner) literal(i int, word string, kind tokenKind) (token, int) {
	end := i + len(word)
	if end > len(s.data) || string(s.data[i:end]) != word {
		return token{}, s.fail(i, "no value begins")
	}
	return token{start: i, end: end, kind: kind}, end
}

// textBreaks marks the bytes at which text has something to do.
var textBreaks = func() (breaks [256]bool) {
	for c := range breaks {
		breaks[c] = c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf
	}
	return breaks
}()

// text scans the string whose quote is at i.
func (s *scanner) text(i int) (token, int) {
	data := s.data
	t := token{start: i + 1, kind: tokenString}
	for i++; ; i++ {
		for i < len(data) && !textBreaks[data[i]] {
			i++
		}
		if i >= len(data) {
			return t, s.fail(i, "the record ends in a string")
		}
		switch c := data[i]; {
		case c == '"':
			t.end = i
			return t, i + 1
		case c == '\\':
			t.marks |= escaped
			n := escapeLen(data[i:])
			if n == 0 {
				return t, s.fail(i, "a bad escape")
			}
			i += n - 1
		case c >= utf8.RuneSelf:
			t.marks |= wide
		default:
			return t, s.fail(i, "a control character in a string")
		}
	}
}

func (s *scanner) number(i int) (token, int) {
	t := token{start: i, kind: tokenNumber}
	if s.data[i] == '-' {
		i++
	}
	switch {
	case s.at(i) == '0':
		i++
	case isDigit(s.at(i)):
		i = s.digits(i)
	default:
		return t, s.fail(i, "a number without digits")
	}
	if s.at(i) == '.' {
		i++
		if !isDigit(s.at(i)) {
			return t, s.fail(i, "a number without digits after its point")
		}
		i = s.digits(i)
	}
	if c := s.at(i); c == 'e' || c == 'E' {
		i++
		if c := s.at(i); c == '+' || c == '-' {
			i++
		}
		if !isDigit(s.at(i)) {
			return t, s.fail(i, "a number without digits in its exponent")
		}
		i = s.digits(i)
	}
	t.end = i
	return t, i
}

func (s *scanner) digits(i int) int {
	for i < len(s.data) && isDigit(s.data[i]) {
		i++
	}
	return i
}

// object scans the object at i and calls member, where given, for each of its
// members in their order.
func (s *scanner) object(i, depth int, member func(key, val token)) int {
	if depth >= depthMax {
		return s.tooDeep(i)
	}
	i = s.space(i + 1)
	if s.at(i) == '}' {
		return i + 1
	}
	for {
		if s.at(i) != '"' {
			return s.fail(i, "no field name")
		}
		key, next := s.text(i)
		if next < 0 {
			return -1
		}
		i = s.space(next)
		if s.at(i) != ':' {
			return s.fail(i, "no colon after a field name")
		}
		val, next := s.value(s.space(i+1), depth+1)
		if next < 0 {
			return -1
		}
		if member != nil {
			member(key, val)
		}
		i = s.space(next)
		switch s.at(i) {
		case ',':
			i = s.space(i + 1)
		case '}':
			return i + 1
		default:
			return s.fail(i, "no comma or closing brace after a field")
		}
	}
}

// elements calls element for each of those of the array at i, which was scanned
// before.
func (s *scanner) elements(i int, element func(token)) {
	i = s.space(i + 1)
	for s.at(i) != ']' {
		t, next := s.value(i, 0)
		element(t)
		if i = s.space(next); s.at(i) == ',' {
			i = s.space(i + 1)
		}
	}
}

func (s *scanner) array(i, depth int) int {
	if depth >= depthMax {
		return s.tooDeep(i)
	}
	i = s.space(i + 1)
	if s.at(i) == ']' {
		return i + 1
	}
	for {
		_, next := s.value(i, depth+1)
		if next < 0 {
			return -1
		}
		i = s.space(next)
		switch s.at(i) {
		case ',':
			i = s.space(i + 1)
		case ']':
			return i + 1
		default:
			return s.fail(i, "no comma or closing bracket after an element")
		}
	}
}

func (s *scanner) tooDeep(i int) int {
	if s.fault == nil {
		s.fault = &Error{
			Reason:  ReasonTooDeep,
			Message: fmt.Sprintf("nested deeper than %d levels at byte %d", depthMax, i),
		}
	}
	return -1
}

package marketdata

import (
	"unicode/utf8"
	"unsafe"
)

// escapeLen gives the length of the escape that b begins with, 0 for none.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(b) >= 6 && hex4(b[2:6]) >= 0 {
			return 6
		}
	}
	return 0
}

// unescape appends the text of a string whose escapes text has checked. It
// returns false for half of a surrogate pair, which no UTF-8 can hold.
func unescape(dst, raw []byte) ([]byte, bool) {
	for i := 0; i < len(raw); {
		c := raw[i]
		if c != '\\' {
			dst = append(dst, c)
			i++
			continue
		}
		if escapeLen(raw[i:]) == 0 {
			return dst, false
		}
		i += 2
		switch c := raw[i-1]; c {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r := hex4(raw[i : i+4])
			i += 4
			if r >= 0xd800 && r < 0xe000 {
				if r >= 0xdc00 || i == len(raw) || raw[i] != '\\' || escapeLen(raw[i:]) != 6 {
					return dst, false
				}
				low := hex4(raw[i+2 : i+6])
				if low < 0xdc00 || low > 0xdfff {
					return dst, false
				}
				i += 6
				r = 0x10000 + (r-0xd800)<<10 + (low - 0xdc00)
			}
			dst = utf8.AppendRune(dst, r)
		default:
			dst = append(dst, c)
		}
	}
	return dst, true
}

// hex4 reads four hexadecimal digits, -1 where they are not.
func hex4(b []byte) rune {
	var r rune
	for _, c := range b {
		switch {
		case isDigit(c):
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// alias gives b as a string without copying it: the string changes with b.
func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

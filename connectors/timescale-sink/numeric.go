package timescalesink

import (
	"encoding/binary"

	"github.com/qicore/tickconnect/marketdata"
)

// appendNumeric appends a number as numeric_send writes it (PostgreSQL's
// numeric.c): how many digits of base 10000, the weight of the first, the sign,
// how many decimal digits stand after the point, then the digits. Each decimal
// digit of the sender is in it, and the scale that it wrote (promise 7).
func appendNumeric(dst []byte, d marketdata.Decimal) []byte {
	text := d.String()
	sign := uint16(0)
	if text[0] == '-' || text[0] == '+' {
		if text[0] == '-' {
			sign = 0x4000 // NUMERIC_NEG
		}
		text = text[1:]
	}
	exponent := 0
	point := len(text)
scan:
	for i := range len(text) {
		switch text[i] {
		case '.':
			point = i
		case 'e', 'E':
			exponent = smallInt(text[i+1:])
			text = text[:i]
			point = min(point, i)
			break scan
		}
	}
	whole, frac := text[:point], text[min(point+1, len(text)):]
	scale := max(0, len(frac)-exponent)
	before := len(whole) + exponent // digits before the point, once the exponent is applied
	for whole != "" && whole[0] == '0' {
		whole, before = whole[1:], before-1
	}
	if whole == "" {
		for frac != "" && frac[0] == '0' {
			frac, before = frac[1:], before-1
		}
	}
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0, 0, 0, byte(scale>>8), byte(scale))
	if whole == "" && frac == "" {
		return dst
	}
	left := (before - 1) & 3 // how many digits a group takes after the first one
	weight := (before - 1 - left) / 4
	group := uint16(0)
	for _, digits := range [2]string{whole, frac} {
		for i := range len(digits) {
			group = group*10 + uint16(digits[i]-'0')
			if left--; left < 0 {
				dst = append(dst, byte(group>>8), byte(group))
				group, left = 0, 3
			}
		}
	}
	if left < 3 {
		for ; left >= 0; left-- {
			group *= 10
		}
		dst = append(dst, byte(group>>8), byte(group))
	}
	header := dst[start:]
	binary.BigEndian.PutUint16(header, uint16((len(header)-8)/2))
	binary.BigEndian.PutUint16(header[2:], uint16(int16(weight)))
	binary.BigEndian.PutUint16(header[4:], sign)
	return dst
}

// smallInt reads the exponent of a Decimal, which marketdata bounds.
func smallInt(s string) int {
	n, negative := 0, false
	for i := range len(s) {
		switch c := s[i]; c {
		case '-':
			negative = true
		case '+':
		default:
			n = n*10 + int(c-'0')
		}
	}
	if negative {
		return -n
	}
	return n
}

// fitsBinary says, of a number as appendNumeric makes it, whether the column
// keeps it unchanged.
func (l numericLimit) fitsBinary(number []byte) bool {
	digits := number[8:]
	weight := int(int16(binary.BigEndian.Uint16(number[2:])))
	// The decimal digits that are not 0 lie from this power of ten to that one.
	high, low := 0, 0
	found := false
	for i := 0; i < len(digits); i += 2 {
		group, power := int(binary.BigEndian.Uint16(digits[i:])), 4*(weight-i/2)
		for p := power; group > 0; p++ {
			if group%10 > 0 {
				if !found || p > high {
					high = p
				}
				if !found || p < low {
					low = p
				}
				found = true
			}
			group /= 10
		}
	}
	return !found || low >= -l.scale && high < l.precision-l.scale
}

package marketdata

import (
	"errors"
	"fmt"
	"strings"
)

// What PostgreSQL's numeric holds (its documentation, "Numeric Types"), and the
// largest exponent that a sender may write.
const (
	integerDigitsMax = 131072
	scaleMax         = 16383
	exponentMax      = 1000
	decimalBytesMax  = integerDigitsMax + scaleMax + 16
)

// ErrNotDecimal and ErrDecimalRange are what ParseDecimal's errors wrap.
var (
	ErrNotDecimal   = errors.New("not a decimal number")
	ErrDecimalRange = fmt.Errorf("outside what is stored: %d digits before the point, %d after it, exponents to %d",
		integerDigitsMax, scaleMax, exponentMax)
)

// Decimal is an exact decimal number, as the digits that its sender wrote. The
// zero value is an absent number. Two Decimals are the same number where Cmp
// says 0; == compares their digits as written. math/big reads what String gives.
type Decimal struct{ text string }

// ParseDecimal reads digits with an optional sign, point and exponent: "-1.50",
// ".5", "2.", "9.2E-7". It keeps s.
func ParseDecimal(s string) (Decimal, error) {
	p, err := splitDecimal(s)
	if err != nil {
		return Decimal{}, fmt.Errorf("%s: %w", clip(s), err)
	}
	if p.integerDigits() > integerDigitsMax || p.scale() > scaleMax {
		return Decimal{}, fmt.Errorf("%s: %w", clip(s), ErrDecimalRange)
	}
	return Decimal{s}, nil
}

// decimalParts is a number as written: (whole).(frac) * 10^exp.
type decimalParts struct {
	neg         bool
	whole, frac string
	exp         int
}

// splitDecimal returns ErrNotDecimal or ErrDecimalRange as they are.
func splitDecimal(s string) (decimalParts, error) {
	var p decimalParts
	if len(s) > decimalBytesMax {
		return p, ErrDecimalRange
	}
	i := 0
	if i < len(s) && (s[i] == '-' || s[i] == '+') {
		p.neg = s[i] == '-'
		i++
	}
	start := i
	for i < len(s) && isDigit(s[i]) {
		i++
	}
	p.whole = s[start:i]
	if i < len(s) && s[i] == '.' {
		i++
		start = i
		for i < len(s) && isDigit(s[i]) {
			i++
		}
		p.frac = s[start:i]
	}
	if len(p.whole)+len(p.frac) == 0 {
		return p, ErrNotDecimal
	}
	if i == len(s) {
		return p, nil
	}
	if s[i] != 'e' && s[i] != 'E' {
		return p, ErrNotDecimal
	}
	i++
	negExp := false
	if i < len(s) && (s[i] == '-' || s[i] == '+') {
		negExp = s[i] == '-'
		i++
	}
	if i == len(s) {
		return p, ErrNotDecimal
	}
	for ; i < len(s); i++ {
		if !isDigit(s[i]) {
			return p, ErrNotDecimal
		}
		if p.exp <= exponentMax {
			p.exp = p.exp*10 + int(s[i]-'0')
		}
	}
	if p.exp > exponentMax {
		return p, ErrDecimalRange
	}
	if negExp {
		p.exp = -p.exp
	}
	return p, nil
}

func isDigit(c byte) bool { return c-'0' <= 9 }

// digit gives the i-th written digit.
func (p *decimalParts) digit(i int) byte {
	if i < len(p.whole) {
		return p.whole[i]
	}
	return p.frac[i-len(p.whole)]
}

func (p *decimalParts) digits() int { return len(p.whole) + len(p.frac) }

// lead is the index of the first digit that is not 0; digits() for zero.
func (p *decimalParts) lead() int {
	i := 0
	for i < p.digits() && p.digit(i) == '0' {
		i++
	}
	return i
}

// integerDigits counts the digits before the point from the first one that is
// not 0, once the number is written without an exponent.
func (p *decimalParts) integerDigits() int {
	n := len(p.whole) + p.exp
	if n <= 0 {
		return 0
	}
	lead := p.lead()
	if lead == p.digits() {
		return 0
	}
	return max(0, n-lead)
}

func (p *decimalParts) scale() int { return max(0, len(p.frac)-p.exp) }

// Present says whether there is a number.
func (d Decimal) Present() bool { return d.text != "" }

// Sign gives -1, 0 or 1; 0 for an absent number.
func (d Decimal) Sign() int {
	for i := 0; i < len(d.text); i++ {
		switch c := d.text[i]; {
		case c == 'e' || c == 'E':
			return 0
		case c >= '1' && c <= '9':
			if d.text[0] == '-' {
				return -1
			}
			return 1
		}
	}
	return 0
}

// Cmp compares two numbers exactly: -1 where d is less than o, 0, or 1. An
// absent number counts as zero.
func (d Decimal) Cmp(o Decimal) int {
	sign := d.Sign()
	if other := o.Sign(); sign != other {
		if sign < other {
			return -1
		}
		return 1
	}
	if sign == 0 {
		return 0
	}
	// Both were checked when they were made.
	a, _ := splitDecimal(d.text)
	b, _ := splitDecimal(o.text)
	return sign * compareMagnitudes(&a, &b)
}

// compareMagnitudes compares two numbers that are not zero, without their signs.
func compareMagnitudes(a, b *decimalParts) int {
	i, j := a.lead(), b.lead()
	if x, y := len(a.whole)+a.exp-i, len(b.whole)+b.exp-j; x != y {
		if x < y {
			return -1
		}
		return 1
	}
	for ; i < a.digits() || j < b.digits(); i, j = i+1, j+1 {
		x, y := byte('0'), byte('0')
		if i < a.digits() {
			x = a.digit(i)
		}
		if j < b.digits() {
			y = b.digit(j)
		}
		if x != y {
			if x < y {
				return -1
			}
			return 1
		}
	}
	return 0
}

// Digits gives how many significant digits stand before the point and how many
// digits after it once the number is written without an exponent. Trailing
// zeros count, since the sender wrote them: "1.50" has 1 and 2, "1.5e3" 4 and 0.
func (d Decimal) Digits() (integer, scale int) {
	if d.text == "" {
		return 0, 0
	}
	p, _ := splitDecimal(d.text)
	return p.integerDigits(), p.scale()
}

// Append appends the number as written, a form that PostgreSQL's numeric input
// reads with every digit and the scale that Digits gives. It appends nothing for
// an absent number.
func (d Decimal) Append(dst []byte) []byte { return append(dst, d.text...) }

// String gives the number as written, "" for an absent one.
func (d Decimal) String() string { return d.text }

// Clone gives a copy that refers to no decoded record.
func (d Decimal) Clone() Decimal { return Decimal{strings.Clone(d.text)} }

// MarshalJSON gives a string, so that no reader makes a float64 of it; null for
// an absent number.
func (d Decimal) MarshalJSON() ([]byte, error) {
	if d.text == "" {
		return []byte("null"), nil
	}
	return append(append([]byte{'"'}, d.text...), '"'), nil
}

// UnmarshalJSON reads a number or a string; null and "" are an absent number.
func (d *Decimal) UnmarshalJSON(data []byte) error {
	s := string(data)
	if s == "null" || s == `""` {
		*d = Decimal{}
		return nil
	}
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = s[1 : len(s)-1]
		if strings.IndexByte(s, '\\') >= 0 {
			b, ok := unescape(nil, []byte(s))
			if !ok {
				return fmt.Errorf("%s: %w", clip(s), ErrNotDecimal)
			}
			s = string(b)
		}
	}
	parsed, err := ParseDecimal(s)
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}

// appendNumber appends the number as JSON writes numbers, with all its digits:
// no plus sign, a digit on both sides of the point, no leading zeros.
func (d Decimal) appendNumber(dst []byte) []byte {
	p, _ := splitDecimal(d.text)
	if p.neg {
		dst = append(dst, '-')
	}
	whole := strings.TrimLeft(p.whole, "0")
	if whole == "" {
		whole = "0"
	}
	dst = append(dst, whole...)
	if p.frac != "" {
		dst = append(dst, '.')
		dst = append(dst, p.frac...)
	}
	if p.exp != 0 {
		dst = fmt.Appendf(dst, "e%d", p.exp)
	}
	return dst
}

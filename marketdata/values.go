package marketdata

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// token gives a field's value, a null where there is none.
func (d *Decoder) token(f field) token {
	if !d.seen.has(f) {
		return token{kind: tokenNull}
	}
	return d.fields[f]
}

// stringOf gives the text of a string token.
func (d *Decoder) stringOf(f field, t token) string {
	raw := d.bytes(t)
	if t.marks&escaped != 0 {
		n := len(d.scratch)
		var ok bool
		if d.scratch, ok = unescape(d.scratch, raw); !ok {
			d.blame(f, ReasonInvalidText, "holds half of a surrogate pair")
			return ""
		}
		raw = d.scratch[n:]
		if bytes.IndexByte(raw, 0) >= 0 {
			d.blame(f, ReasonInvalidText, "holds NUL")
			return ""
		}
	}
	if t.marks&wide != 0 && !utf8.Valid(raw) {
		d.blame(f, ReasonInvalidText, "is not UTF-8")
		return ""
	}
	return alias(raw)
}

func (d *Decoder) text(f field) string {
	switch t := d.token(f); t.kind {
	case tokenNull:
		return ""
	case tokenString:
		return d.stringOf(f, t)
	}
	d.blame(f, ReasonWrongType, "is not a string")
	return ""
}

// presentText is a text that must be there, though it may be empty.
func (d *Decoder) presentText(f field) string {
	if d.token(f).kind == tokenNull {
		d.blame(f, ReasonMissingField, "is required")
	}
	return d.text(f)
}

// exchange is the exchange's name, in lower case.
func (d *Decoder) exchange() string {
	s := d.text(fieldExchangeID)
	upper := false
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return strings.ToLower(s)
		}
		upper = upper || s[i]-'A' <= 'Z'-'A'
	}
	if !upper {
		return s
	}
	n := len(d.scratch)
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c-'A' <= 'Z'-'A' {
			c |= 0x20
		}
		d.scratch = append(d.scratch, c)
	}
	return alias(d.scratch[n:])
}

// id is a text, or the digits of a JSON integer.
func (d *Decoder) id(f field) string {
	t := d.token(f)
	if t.kind == tokenNumber {
		if s := alias(d.bytes(t)); isInteger(s) {
			return s
		}
	}
	return d.text(f)
}

// written gives the text of a number or of a string that may hold one; "" for
// an absent value.
func (d *Decoder) written(f field, t token) string {
	switch t.kind {
	case tokenNull:
		return ""
	case tokenNumber:
		return alias(d.bytes(t))
	case tokenString:
		return d.stringOf(f, t)
	}
	d.blame(f, ReasonWrongType, "is neither a number nor a string")
	return ""
}

func (d *Decoder) decimal(f field) Decimal {
	t := d.token(f)
	s := d.written(f, t)
	if t.kind == tokenNumber {
		d.numbers.All++
		if IsLong(s) {
			d.numbers.Long++
		}
	}
	if s == "" {
		return Decimal{}
	}
	return d.parsed(f, s)
}

func (d *Decoder) parsed(f field, s string) Decimal {
	n, err := ParseDecimal(s)
	if err != nil {
		reason := ReasonBadNumber
		if errors.Is(err, ErrDecimalRange) {
			reason = ReasonOutOfRange
		}
		d.blame(f, reason, err.Error())
	}
	return n
}

func (d *Decoder) integer(f field) Optional[int64] {
	s := d.written(f, d.token(f))
	if s == "" {
		return Optional[int64]{}
	}
	if !isInteger(s) {
		d.blame(f, ReasonBadNumber, clip(s)+" is not an integer")
		return Optional[int64]{}
	}
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		d.blame(f, ReasonOutOfRange, clip(s)+" is above what is stored")
	}
	return Some(v)
}

func (d *Decoder) boolean(f field) Optional[bool] {
	switch t := d.token(f); t.kind {
	case tokenNull:
		return Optional[bool]{}
	case tokenBool:
		return Some(d.data[t.start] == 't')
	}
	d.blame(f, ReasonWrongType, "is neither true nor false")
	return Optional[bool]{}
}

func (d *Decoder) time() time.Time { return d.timeOf(fieldTime) }

func (d *Decoder) timeOf(f field) time.Time {
	s := d.written(f, d.token(f))
	if s == "" {
		return time.Time{}
	}
	t, fault := parseTime(s)
	if fault != nil {
		d.blame(f, fault.Reason, fault.Message)
	}
	return t
}

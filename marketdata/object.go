package marketdata

import (
	"bytes"
	"time"
	"unicode/utf8"
)

// JSONKind is the kind of a JSON value.
type JSONKind = tokenKind

// The kinds of JSON values.
const (
	JSONNull   JSONKind = tokenNull
	JSONBool   JSONKind = tokenBool
	JSONNumber JSONKind = tokenNumber
	JSONString JSONKind = tokenString
	JSONObject JSONKind = tokenObject
	JSONArray  JSONKind = tokenArray
)

// JSONValue is a value as it is written in a record, a string without its quotes
// and with its escapes. The zero value is null.
type JSONValue struct {
	Kind  JSONKind
	marks textMarks
	Raw   string // refers to the record
}

// ObjectReader reads JSON objects of a form that is not this package's own,
// without allocating. Its zero value is ready; one goroutine at a time may use it.
type ObjectReader struct {
	scanner
	scratch []byte
}

// Read checks that data is one JSON object and calls member for each of its
// members in their order; those of objects within it are not visited. Names and
// values refer to data and to the reader's buffers: they hold until data changes
// or the next Read. After an error, which refers to neither, what member was
// told means nothing.
func (r *ObjectReader) Read(data []byte, member func(name string, v JSONValue)) *Error {
	r.data, r.fault = data, nil
	if r.scratch = r.scratch[:0]; cap(r.scratch) > scratchBytesMax {
		r.scratch = nil
	}
	if len(data) == 0 {
		return &Error{Reason: ReasonEmptyValue, Message: "the value is empty"}
	}
	i := r.space(0)
	if r.at(i) != '{' {
		if _, next := r.value(i, 0); next >= 0 && r.end(next) {
			return &Error{Reason: ReasonNotAnObject, Message: "the value is JSON but not an object"}
		}
		return r.fault
	}
	i = r.object(i, 0, func(key, val token) {
		name := r.bytes(key)
		if key.marks&escaped != 0 {
			n := len(r.scratch)
			r.scratch, _ = unescape(r.scratch, name)
			name = r.scratch[n:]
		}
		member(alias(name), JSONValue{Kind: val.kind, marks: val.marks, Raw: alias(r.bytes(val))})
	})
	if i >= 0 {
		r.end(i)
	}
	return r.fault
}

func (r *ObjectReader) end(i int) bool {
	if i = r.space(i); i < len(r.data) {
		r.fail(i, "more text after the record")
		return false
	}
	return true
}

// Text gives the text of a string. Its error names no field.
func (r *ObjectReader) Text(v JSONValue) (string, *Error) {
	if v.marks == 0 {
		return v.Raw, nil
	}
	s := v.Raw
	if v.marks&escaped != 0 {
		n := len(r.scratch)
		var ok bool
		if r.scratch, ok = unescape(r.scratch, []byte(s)); !ok {
			return "", &Error{Reason: ReasonInvalidText, Message: "holds half of a surrogate pair"}
		}
		if bytes.IndexByte(r.scratch[n:], 0) >= 0 {
			return "", &Error{Reason: ReasonInvalidText, Message: "holds NUL"}
		}
		s = alias(r.scratch[n:])
	}
	if v.marks&wide != 0 && !utf8.ValidString(s) {
		return "", &Error{Reason: ReasonInvalidText, Message: "is not UTF-8"}
	}
	return s, nil
}

// ParseTime reads an integer since the epoch, whose unit follows from its size,
// or an RFC 3339 time. The answer is UTC in whole microseconds, finer digits are
// cut; it is not before 2009. The error names no field.
func ParseTime(s string) (time.Time, *Error) { return parseTime(s) }

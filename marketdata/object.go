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
	at    int    // where it begins in what was read: its quote, brace or bracket
}

// ObjectReader reads JSON of a form that is not this package's own,
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
		member(r.name(key), r.jsonValue(val))
	})
	if i >= 0 {
		r.end(i)
	}
	return r.fault
}

// ReadValue checks that data is one JSON value and gives it. It is Read for
// values that may be arrays; Elements and Members look into them.
func (r *ObjectReader) ReadValue(data []byte) (JSONValue, *Error) {
	r.data, r.fault = data, nil
	if r.scratch = r.scratch[:0]; cap(r.scratch) > scratchBytesMax {
		r.scratch = nil
	}
	if len(data) == 0 {
		return JSONValue{}, &Error{Reason: ReasonEmptyValue, Message: "the value is empty"}
	}
	t, next := r.value(r.space(0), 0)
	if next < 0 || !r.end(next) {
		return JSONValue{}, r.fault
	}
	return r.jsonValue(t), nil
}

// Elements calls element for each of an array's, of what was read last; for none
// where v is no array.
func (r *ObjectReader) Elements(v JSONValue, element func(JSONValue)) {
	if v.Kind == JSONArray {
		r.elements(v.at, func(t token) { element(r.jsonValue(t)) })
	}
}

// Members calls member for each of an object's, of what was read last; for none
// where v is no object.
func (r *ObjectReader) Members(v JSONValue, member func(name string, v JSONValue)) {
	if v.Kind == JSONObject {
		r.object(v.at, 0, func(key, val token) { member(r.name(key), r.jsonValue(val)) })
	}
}

func (r *ObjectReader) jsonValue(t token) JSONValue {
	return JSONValue{Kind: t.kind, marks: t.marks, Raw: alias(r.bytes(t)), at: t.start}
}

// name gives a member's name without escapes.
func (r *ObjectReader) name(key token) string {
	name := r.bytes(key)
	if key.marks&escaped != 0 {
		n := len(r.scratch)
		r.scratch, _ = unescape(r.scratch, name)
		name = r.scratch[n:]
	}
	return alias(name)
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

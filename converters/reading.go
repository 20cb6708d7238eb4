package converters

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/qicore/tickconnect/marketdata"
)

// field is a member of a record that a converter knows, one of at most 64.
type field uint8

// fieldIndex gives the fields by their names, which are in the fields' order.
func fieldIndex(names []string) map[string]field {
	index := make(map[string]field, len(names))
	for f, name := range names {
		index[name] = field(f)
	}
	return index
}

// reading is one JSON record while a converter reads it: the members of one object
// that the converter knows, and the first thing that is wrong.
type reading struct {
	reader  marketdata.ObjectReader
	names   []string                                  // by field
	index   map[string]field                          // of names
	take    func(name string, v marketdata.JSONValue) // member, made once
	order   [64]field                                 // of the members of the last object
	members int                                       // of this object so far
	values  []marketdata.JSONValue                    // by field, valid for those in seen
	seen    uint64                                    // a bit for each field
	fault   *marketdata.Error
	noticed Noticed
	levels  []marketdata.Level // of both sides of a book
}

// readingLevelsMax is how many levels' room is kept for the next record.
const readingLevelsMax = 4096

func newReading(names []string, index map[string]field) *reading {
	r := &reading{names: names, index: index, values: make([]marketdata.JSONValue, len(names))}
	r.take = r.member
	return r
}

// begin begins an object.
func (r *reading) begin() { r.seen, r.members = 0, 0 }

// reset begins a record.
func (r *reading) reset() {
	r.begin()
	r.fault, r.noticed = nil, Noticed{}
	if cap(r.levels) > readingLevelsMax {
		r.levels = nil
	}
}

// member takes a member. Programs write them in one order: looking where the last
// object had it is faster than the index.
func (r *reading) member(name string, v marketdata.JSONValue) {
	place := &r.order[r.members%len(r.order)]
	r.members++
	f := *place
	if r.names[f] != name {
		var known bool
		if f, known = r.index[name]; !known {
			r.noticed.UnknownFields++
			return
		}
		*place = f
	}
	r.values[f] = v
	r.seen |= 1 << f
}

func (r *reading) has(f field) bool { return r.seen&(1<<f) != 0 }

// value gives a field's value, null where there is none.
func (r *reading) value(f field) marketdata.JSONValue {
	if !r.has(f) {
		return marketdata.JSONValue{}
	}
	return r.values[f]
}

// isNull says whether a field is there and null.
func (r *reading) isNull(f field) bool { return r.has(f) && r.values[f].Kind == marketdata.JSONNull }

// blame keeps the record's first fault.
func (r *reading) blame(f field, reason, message string) {
	if r.fault == nil {
		r.fault = &marketdata.Error{Reason: reason, Field: r.names[f], Message: message}
	}
}

// textOf gives the text of a string; "" for null.
func (r *reading) textOf(f field, v marketdata.JSONValue) string {
	switch v.Kind {
	case marketdata.JSONNull:
		return ""
	case marketdata.JSONString:
		s, fault := r.reader.Text(v)
		if fault != nil {
			r.blame(f, fault.Reason, fault.Message)
		}
		return s
	}
	r.blame(f, marketdata.ReasonWrongType, "is not a string")
	return ""
}

func (r *reading) text(f field) string { return r.textOf(f, r.value(f)) }

// id gives the text of a string or the digits of an integer; "" for null.
func (r *reading) id(f field) string {
	v := r.value(f)
	if v.Kind == marketdata.JSONNumber {
		if !digits(v.Raw) {
			r.blame(f, marketdata.ReasonWrongType, "is neither a string nor an integer")
		}
		return v.Raw
	}
	return r.textOf(f, v)
}

func (r *reading) decimal(f field) marketdata.Decimal { return r.decimalOf(f, r.value(f)) }

// decimalOf reads a number, written as a JSON number or as a string; absent for
// null and "".
func (r *reading) decimalOf(f field, v marketdata.JSONValue) marketdata.Decimal {
	s := v.Raw
	switch v.Kind {
	case marketdata.JSONNull:
		return marketdata.Decimal{}
	case marketdata.JSONNumber:
		r.noticed.Floats++
		if marketdata.IsLong(s) {
			r.noticed.LongFloats++
		}
	case marketdata.JSONString:
		if s = r.textOf(f, v); s == "" {
			return marketdata.Decimal{}
		}
	default:
		r.blame(f, marketdata.ReasonWrongType, "is neither a number nor a string")
		return marketdata.Decimal{}
	}
	d, err := marketdata.ParseDecimal(s)
	if err != nil {
		reason := marketdata.ReasonBadNumber
		if errors.Is(err, marketdata.ErrDecimalRange) {
			reason = marketdata.ReasonOutOfRange
		}
		r.blame(f, reason, err.Error())
	}
	return d
}

// integer reads a whole number, also one that is written as 21.0; ok is false for
// null and for what is none.
func (r *reading) integer(f field) (n int64, ok bool) {
	v := r.value(f)
	if v.Kind == marketdata.JSONNull {
		return 0, false
	}
	whole, fraction, _ := strings.Cut(v.Raw, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if v.Kind != marketdata.JSONNumber || err != nil || strings.Trim(fraction, "0") != "" {
		r.blame(f, marketdata.ReasonBadNumber, "is not an integer")
		return 0, false
	}
	return n, true
}

// timeOf reads RFC 3339, or a number since the epoch; the zero time for null.
func (r *reading) timeOf(f field, v marketdata.JSONValue) time.Time {
	s := v.Raw
	switch v.Kind {
	case marketdata.JSONNull:
		return time.Time{}
	case marketdata.JSONNumber:
	case marketdata.JSONString:
		if s = r.textOf(f, v); s == "" {
			return time.Time{}
		}
	default:
		r.blame(f, marketdata.ReasonWrongType, "is neither a number nor a string")
		return time.Time{}
	}
	t, _, fault := epochTime(s)
	if fault != nil {
		r.blame(f, fault.Reason, fault.Message)
	}
	return t
}

func (r *reading) time(f field) time.Time { return r.timeOf(f, r.value(f)) }

// sides gives the levels of a book, which level appends one by one. A side that is
// null is absent.
func (r *reading) sides(bids, asks field, level func(f field, v marketdata.JSONValue)) (b, a []marketdata.Level) {
	r.levels = r.levels[:0]
	middle, hasBids := r.side(bids, level)
	end, hasAsks := r.side(asks, level)
	if hasBids {
		b = r.levels[:middle:middle]
	}
	if hasAsks {
		a = r.levels[middle:end:end]
	}
	return b, a
}

func (r *reading) side(f field, level func(f field, v marketdata.JSONValue)) (end int, present bool) {
	v := r.value(f)
	if v.Kind == marketdata.JSONNull {
		return len(r.levels), false
	}
	if v.Kind != marketdata.JSONArray {
		r.blame(f, marketdata.ReasonWrongType, "is no array of levels")
	}
	if r.levels == nil {
		r.levels = make([]marketdata.Level, 0, 64) // a side that is there and empty
	}
	r.reader.Elements(v, func(v marketdata.JSONValue) { level(f, v) })
	return len(r.levels), true
}

// withoutOrder takes away a side whose price is 0, which is no order: programs that
// read an empty side as a number have it so.
func withoutOrder(v *marketdata.Level1) {
	if v.BidPrice.Sign() == 0 {
		v.BidPrice, v.BidSize = marketdata.Decimal{}, marketdata.Decimal{}
	}
	if v.AskPrice.Sign() == 0 {
		v.AskPrice, v.AskSize = marketdata.Decimal{}, marketdata.Decimal{}
	}
}

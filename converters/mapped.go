package converters

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/marketdata"
)

// mapped reads JSON records whose fields are elsewhere, or have other names, than
// this product's own. It writes each as this product's producers would have sent
// it, so that the same checks read it.
type mapped struct {
	kind     marketdata.Kind // 0: the topic tells
	mappings []mapping
	text     transcoder // nil where records are JSON
	states   sync.Pool  // of *mappedRecord
}

// transcoder makes a JSON text of a record's value, its numbers with the digits
// that were sent, and may tell x where its members are. It returns a *[marketdata.Error] for a bad record, and a
// [connect.Retriable] error where what it needs is away.
type transcoder interface {
	AppendJSON(dst, value []byte, x *marketdata.Index) ([]byte, error)
}

var (
	_ Observer = (*mapped)(nil)
	_ Pinger   = (*mapped)(nil)
)

// NewMapped makes the converter of a configuration that is valid.
func NewMapped(cfg MapConfig) Converter { return newMapped(cfg, nil) }

func newMapped(cfg MapConfig, text transcoder) Converter {
	c := &mapped{text: text}
	c.kind, _ = marketdata.ParseKind(cfg.Kind)
	for _, item := range cfg.Fields {
		m, _ := parseMapping(item)
		c.mappings = append(c.mappings, m)
	}
	c.states.New = func() any { return &mappedRecord{c: c, found: make([]bool, len(c.mappings))} }
	return c
}

// Ping implements [Pinger].
func (c *mapped) Ping(ctx context.Context) error {
	if p, ok := c.text.(interface {
		Ping(ctx context.Context) error
	}); ok {
		return p.Ping(ctx)
	}
	return nil
}

// Kinds implements [Converter].
func (c *mapped) Kinds(topic string) []marketdata.Kind {
	kind := c.kind
	if kind == 0 {
		var ok bool
		if kind, _, ok = marketdata.KindOfTopic(topic); !ok {
			return nil
		}
	}
	return []marketdata.Kind{kind}
}

// Convert implements [Converter].
func (c *mapped) Convert(topic string, r *connect.Record, now time.Time, rows Rows) error {
	var seen Noticed
	return c.Observe(topic, r, now, rows, &seen)
}

// Observe implements [Observer].
func (c *mapped) Observe(topic string, r *connect.Record, now time.Time, rows Rows, seen *Noticed) error {
	if r.Value == nil {
		return connect.ErrFiltered
	}
	rec := c.states.Get().(*mappedRecord)
	defer c.states.Put(rec)
	if rec.topic != topic {
		kinds := c.Kinds(topic)
		if len(kinds) == 0 { // Open refuses such a topic
			return errors.New("the topic's name tells no kind of market data, and value.converter.kind names none")
		}
		rec.kind, rec.topic = kinds[0], topic
	}
	rec.record = r
	defer rec.release()
	err := rec.convert(now, rows)
	*seen = rec.noticed
	return err
}

// mappedRecord is one record while it is converted.
type mappedRecord struct {
	c       *mapped
	kind    marketdata.Kind
	topic   string // the last one, which most often is the next one's
	record  *connect.Record
	reader  marketdata.ObjectReader
	text    []byte           // the record's JSON, where it was made
	index   marketdata.Index // of text
	out     []byte           // the record in this product's form
	found   []bool           // by mapping: a source was there
	fault   *marketdata.Error
	noticed Noticed
	decoder marketdata.Decoder
}

// release lets go of the record.
func (rec *mappedRecord) release() { rec.record = nil }

func (rec *mappedRecord) convert(now time.Time, rows Rows) error {
	rec.fault, rec.noticed = nil, Noticed{}
	value := rec.record.Value
	if rec.c.text != nil {
		var err error
		rec.index.Reset()
		if rec.text, err = rec.c.text.AppendJSON(rec.text[:0], value, &rec.index); err != nil {
			return err
		}
		value = rec.text
	}
	if len(rec.c.mappings) == 0 && rec.kind != marketdata.KindAnalytics { // whose further fields are metrics in its own form alone
		err := rec.give(value, &rec.index, now, rows)
		numbers := rec.decoder.Numbers()
		rec.noticed = Noticed{UnknownFields: rec.decoder.UnknownFields(), Floats: numbers.All, LongFloats: numbers.Long}
		return err
	}
	top, fault := rec.reader.ReadValue(value)
	switch {
	case fault != nil:
		return fault
	case top.Kind != marketdata.JSONObject && top.Kind != marketdata.JSONArray:
		return &marketdata.Error{Reason: marketdata.ReasonNotAnObject, Message: "the value is JSON but neither an object nor an array"}
	}
	rec.out = append(rec.out[:0], '{')
	rec.takeOwn(top)
	for i := range rec.c.mappings {
		rec.take(i, top)
	}
	if last := len(rec.out) - 1; rec.out[last] == ',' {
		rec.out = rec.out[:last]
	}
	rec.out = append(rec.out, '}')
	if rec.fault != nil {
		return rec.fault
	}
	return rec.explain(rec.give(rec.out, nil, now, rows))
}

// give decodes a record in this product's form, of which x may say where its members
// are, and gives its row.
func (rec *mappedRecord) give(value []byte, x *marketdata.Index, now time.Time, rows Rows) error {
	row, err := rec.decoder.DecodeIndexed(rec.kind, value, x, now)
	defer rec.decoder.Release(row)
	if err != nil {
		return err
	}
	return rows.Row(row)
}

// takeOwn takes the members that have the names of fields.
func (rec *mappedRecord) takeOwn(top marketdata.JSONValue) {
	rec.reader.Members(top, func(name string, v marketdata.JSONValue) {
		field, own := marketdata.FieldName(rec.kind, name)
		switch {
		case own && !rec.c.maps(field):
			rec.append(field, v)
		case !own && !rec.c.reads(name):
			rec.noticed.UnknownFields++
		}
	})
}

// maps says whether the configuration says where a field is.
func (c *mapped) maps(field string) bool {
	return slices.ContainsFunc(c.mappings, func(m mapping) bool { return folded(m.field) == folded(field) })
}

// reads says whether a path begins at a member of the record.
func (c *mapped) reads(name string) bool {
	for _, m := range c.mappings {
		for _, s := range m.sources {
			if len(s.path) > 0 && s.path[0].name == name {
				return true
			}
		}
	}
	return false
}

// take takes the field of a mapping from the first of its sources that is there.
func (rec *mappedRecord) take(i int, top marketdata.JSONValue) {
	m := &rec.c.mappings[i]
	field, own := marketdata.FieldName(rec.kind, m.field)
	rec.found[i] = false
	if !own { // of another kind
		return
	}
	for _, s := range m.sources {
		v := rec.lookUp(s, top)
		if v.Kind == marketdata.JSONNull {
			continue
		}
		rec.found[i] = true
		switch m.form {
		case formInvert, formBuyerMaker:
			v = rec.side(field, m.form, v)
		case formSeconds, formMillis, formMicros, formNanos:
			v = rec.time(field, m.form, v)
		}
		rec.append(field, v)
		return
	}
}

// lookUp gives what a source names; null where the record has it not.
func (rec *mappedRecord) lookUp(s source, top marketdata.JSONValue) marketdata.JSONValue {
	switch {
	case s.constant != nil:
		return rec.string(*s.constant)
	case s.beside == "key":
		if rec.record.Key == nil {
			return marketdata.JSONValue{}
		}
		return rec.string(string(rec.record.Key))
	case s.beside == "timestamp":
		if rec.record.Timestamp < 0 {
			return marketdata.JSONValue{}
		}
		return marketdata.JSONValue{Kind: marketdata.JSONNumber, Raw: strconv.FormatInt(rec.record.Timestamp, 10)}
	case s.beside == "topic" && s.part < 0:
		return rec.string(rec.topic)
	case s.beside == "topic":
		parts := strings.Split(rec.topic, "-")
		if s.part >= len(parts) {
			return marketdata.JSONValue{}
		}
		return rec.string(parts[s.part])
	}
	v := top
	for _, step := range s.path {
		var next marketdata.JSONValue
		if step.name != "" {
			rec.reader.Members(v, func(name string, member marketdata.JSONValue) {
				if name == step.name {
					next = member
				}
			})
		} else {
			n := 0
			rec.reader.Elements(v, func(element marketdata.JSONValue) {
				if n == step.index {
					next = element
				}
				n++
			})
		}
		v = next
	}
	return v
}

// string makes a JSON string of a text.
func (rec *mappedRecord) string(text string) marketdata.JSONValue {
	if !utf8.ValidString(text) {
		rec.blame(marketdata.ReasonInvalidText, "", "the record's key is not UTF-8")
		return marketdata.JSONValue{}
	}
	quoted := marketdata.AppendText(nil, text)
	return marketdata.JSONValue{Kind: marketdata.JSONString, Raw: string(quoted[1 : len(quoted)-1])}
}

func (rec *mappedRecord) blame(reason, field, message string) {
	if rec.fault == nil {
		rec.fault = &marketdata.Error{Reason: reason, Field: field, Message: message}
	}
}

// append writes a field with its value as it is.
func (rec *mappedRecord) append(field string, v marketdata.JSONValue) {
	if v.Kind == marketdata.JSONNumber && marketdata.IsDecimal(rec.kind, field) {
		rec.noticed.Floats++
		if marketdata.IsLong(v.Raw) {
			rec.noticed.LongFloats++
		}
	}
	rec.out = append(append(append(rec.out, '"'), field...), '"', ':')
	if v.Kind == marketdata.JSONString {
		rec.out = append(append(append(rec.out, '"'), v.Raw...), '"', ',')
		return
	}
	if v.Kind == marketdata.JSONNull {
		rec.out = append(rec.out, "null,"...)
		return
	}
	rec.out = append(append(rec.out, v.Raw...), ',')
}

// side makes the taker's side of what tells the other one.
func (rec *mappedRecord) side(field, form string, v marketdata.JSONValue) marketdata.JSONValue {
	if form == formBuyerMaker {
		switch {
		case v.Kind == marketdata.JSONBool && v.Raw == "true":
			return rec.string("sell")
		case v.Kind == marketdata.JSONBool:
			return rec.string("buy")
		}
		rec.blame(marketdata.ReasonWrongType, field, "is neither true nor false, and value.converter.fields says that it tells whether the buyer was the maker")
		return v
	}
	if v.Kind == marketdata.JSONString {
		switch strings.ToLower(v.Raw) {
		case "buy", "b", "bid":
			return rec.string("sell")
		case "sell", "s", "ask":
			return rec.string("buy")
		}
	}
	rec.blame(marketdata.ReasonOutOfRange, field, "is neither buy nor sell, and value.converter.fields says to turn it into the other one")
	return v
}

// unitPlaces are how many decimal places a unit lies below the second.
var unitPlaces = map[string]int{formSeconds: 0, formMillis: 3, formMicros: 6, formNanos: 9}

// time reads a number of a unit since the epoch. Producers have such times as
// binary floats, so a fraction is rounded to the microsecond, half to even; an
// integer that is finer is cut.
func (rec *mappedRecord) time(field, unit string, v marketdata.JSONValue) marketdata.JSONValue {
	if v.Kind != marketdata.JSONNumber && v.Kind != marketdata.JSONString {
		rec.blame(marketdata.ReasonWrongType, field, "is neither a number nor a string")
		return v
	}
	t, ok := unixTime(v.Raw, unitPlaces[unit])
	if !ok {
		rec.blame(marketdata.ReasonBadTime, field, "is no number of "+unit+" since 1970, as value.converter.fields says")
		return v
	}
	return rec.string(t.Format(time.RFC3339Nano))
}

// explain adds to what is wrong with a record where its fields were looked for.
func (rec *mappedRecord) explain(err error) error {
	if err == nil { // before bad is allocated
		return nil
	}
	var bad *marketdata.Error
	if !errors.As(err, &bad) {
		return err
	}
	for i, m := range rec.c.mappings {
		if folded(m.field) != folded(bad.Field) {
			continue
		}
		sources := make([]string, 0, len(m.sources))
		for _, s := range m.sources {
			sources = append(sources, s.text)
		}
		where := strings.Join(sources, ", ")
		told := *bad
		if rec.found[i] {
			told.Message = fmt.Sprintf("%s (value.converter.fields takes it from %s)", bad.Message, where)
		} else {
			told.Message = fmt.Sprintf("%s, and the record has none of what value.converter.fields names for it: %s", bad.Message, where)
		}
		return &told
	}
	return err
}

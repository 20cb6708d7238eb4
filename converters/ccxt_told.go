package converters

import (
	"cmp"
	"fmt"
	"regexp"

	"github.com/qicore/tickconnect/marketdata"
)

// ccxtTold is what a topic, a key or an envelope tells.
type ccxtTold struct {
	exchange, symbol, interval string
	kindText                   string // as it was told
	kind                       ccxtKind
	matched                    bool // the pattern matched
}

func (t *ccxtTold) set(part, text string) {
	switch part {
	case ccxtTellExchange:
		t.exchange = text
	case ccxtTellKind:
		t.kindText, t.kind = text, ccxtKindOf(text)
	case ccxtTellSymbol:
		t.symbol = text
	case ccxtTellInterval:
		t.interval = text
	}
}

// or takes from o what t does not tell.
func (t *ccxtTold) or(o ccxtTold) {
	t.exchange = cmp.Or(t.exchange, o.exchange)
	if t.kindText == "" {
		t.kindText, t.kind = o.kindText, o.kind
	}
	t.symbol = cmp.Or(t.symbol, o.symbol)
	t.interval = cmp.Or(t.interval, o.interval)
}

// ccxtTeller keeps what a pattern told of the last texts: a connector has few topics
// and symbols.
type ccxtTeller struct {
	pattern *regexp.Regexp // nil for none
	known   map[string]ccxtTold
}

const (
	ccxtKnownMax      = 1024
	ccxtKnownBytesMax = 256
)

func (c *ccxtTeller) tell(text []byte) ccxtTold {
	if c.pattern == nil {
		return ccxtTold{}
	}
	told, known := c.known[string(text)]
	if known {
		return told
	}
	kept := string(text) // what is kept must not refer to the record
	if told = tell(c.pattern, kept); len(kept) > ccxtKnownBytesMax {
		return told
	}
	if len(c.known) >= ccxtKnownMax {
		clear(c.known)
	}
	c.known[kept] = told
	return told
}

// tell gives what a pattern's groups tell of a text.
func tell(re *regexp.Regexp, text string) (t ccxtTold) {
	if re == nil {
		return t
	}
	match := re.FindStringSubmatch(text)
	t.matched = match != nil
	for i := range match {
		t.set(re.SubexpNames()[i], match[i])
	}
	return t
}

// open takes the structures and what is told out of an envelope.
func (rec *ccxtRecord) open(top marketdata.JSONValue) (inner marketdata.JSONValue, fault *marketdata.Error) {
	name := rec.c.envelope[ccxtTellValue]
	missing := &marketdata.Error{
		Reason: marketdata.ReasonMissingField, Field: name,
		Message: "is no member of the value, and value.converter.ccxt.envelope says that it holds the structures",
	}
	if top.Kind != marketdata.JSONObject {
		return inner, missing
	}
	rec.reader.Members(top, func(member string, v marketdata.JSONValue) {
		if member == name {
			inner = v
			return
		}
		for part, name := range rec.c.envelope {
			if member != name || v.Kind == marketdata.JSONNull {
				continue
			}
			text, bad := rec.reader.Text(v)
			if v.Kind != marketdata.JSONString && bad == nil {
				bad = &marketdata.Error{Reason: marketdata.ReasonWrongType, Message: "is not a string"}
			}
			if bad != nil && fault == nil {
				bad.Field = name
				fault = bad
			}
			rec.told.set(part, text)
		}
	})
	if fault == nil && inner.Kind == marketdata.JSONNull {
		fault = missing
	}
	return inner, fault
}

// untold says what to set where something is told by nobody.
func (rec *ccxtRecord) untold(part, where, alternative string) error {
	return &marketdata.Error{
		Reason: marketdata.ReasonMissingField, Field: part,
		Message: fmt.Sprintf("is %s, and neither the envelope, the key nor the topic tells it: %sname a group (?P<%s>...) in value.converter.ccxt.topic.pattern "+
			"or value.converter.ccxt.key.pattern, or a member %s=... in value.converter.ccxt.envelope; then go back with connector offsets reset",
			where, alternative, part, part),
	}
}

package converters

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/agnivade/levenshtein"

	"github.com/qicore/tickconnect/marketdata"
)

// MapConfig says where the fields of a kind are in records of any form.
type MapConfig struct {
	Kind   string   `json:"value.converter.kind" jsonschema:"description=For value.converter json: the kind of the records. Not set: the topics' names tell it as crypto-trades-kraken does."`
	Fields []string `json:"value.converter.fields" jsonschema:"description=For value.converter json: where the kind's fields are: price=data.p|price and size=levels[0][1] and time=T:ms and side=m:buyer_maker and exchangeId='binance' and symbol=$key. A field that is not named here is taken from the member of its own name."`
}

const fieldsKey = "value.converter.fields"

// Validate says what is wrong, each message beginning with the key.
func (c *MapConfig) Validate() error {
	var errs []error
	kinds := marketdata.Kinds()
	if c.Kind != "" {
		kind, err := marketdata.ParseKind(c.Kind)
		if err != nil {
			return fmt.Errorf("value.converter.kind: %w", err)
		}
		kinds = []marketdata.Kind{kind}
	}
	named := map[string]bool{}
	for _, item := range c.Fields {
		m, err := parseMapping(item)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %q: %w", fieldsKey, item, err))
			continue
		}
		known := slices.ContainsFunc(kinds, func(k marketdata.Kind) bool { _, ok := marketdata.FieldName(k, m.field); return ok })
		switch {
		case !known:
			errs = append(errs, fmt.Errorf("%s: %q is no field of %s%s", fieldsKey, m.field, kindList(kinds), didYouMean(m.field, kinds)))
		case named[folded(m.field)]:
			errs = append(errs, fmt.Errorf("%s: %s is named twice; sources of one field are separated by |", fieldsKey, m.field))
		}
		named[folded(m.field)] = true
	}
	return errors.Join(errs...)
}

func kindList(kinds []marketdata.Kind) string {
	if len(kinds) == 1 {
		return "the kind " + kinds[0].String()
	}
	return "any kind"
}

func didYouMean(name string, kinds []marketdata.Kind) string {
	nearest, best := "", len(name)/2+1
	for _, kind := range kinds {
		for _, field := range marketdata.FieldNames(kind) {
			if edits := levenshtein.ComputeDistance(folded(name), folded(field)); edits < best {
				nearest, best = field, edits
			}
		}
	}
	if nearest == "" {
		return ""
	}
	return "; did you mean " + nearest + "?"
}

// folded is a field's name without case and underscores.
func folded(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "")) }

// mapping says where one field comes from: the first of its sources that a record
// has.
type mapping struct {
	field   string
	sources []source
	form    string // of a time or a side; "" as it is
}

// source is a path into the record, a constant, or what lies beside the value.
type source struct {
	text     string // as it was written
	path     []pathStep
	constant *string
	beside   string // $key, $topic or $timestamp
	part     int    // of the topic's name between hyphens; -1 for the whole
}

// pathStep is a member's name, or an element's index where name is "".
type pathStep struct {
	name  string
	index int
}

// The forms of a time and of a side.
const (
	formSeconds    = "s"
	formMillis     = "ms"
	formMicros     = "us"
	formNanos      = "ns"
	formInvert     = "invert"
	formBuyerMaker = "buyer_maker"
)

// parseMapping reads field=source|source:form.
func parseMapping(item string) (mapping, error) {
	field, rest, found := strings.Cut(strings.TrimSpace(item), "=")
	m := mapping{field: strings.TrimSpace(field)}
	if rest = strings.TrimSpace(rest); !found || m.field == "" || rest == "" {
		return m, errors.New("is not of the form field=source")
	}
	if i := strings.LastIndexByte(rest, ':'); i >= 0 && !strings.HasSuffix(rest, "'") {
		rest, m.form = strings.TrimSpace(rest[:i]), strings.TrimSpace(rest[i+1:])
		if err := checkForm(m.field, m.form); err != nil {
			return m, err
		}
	}
	for _, text := range splitSources(rest) {
		s, err := parseSource(strings.TrimSpace(text))
		if err != nil {
			return m, err
		}
		m.sources = append(m.sources, s)
	}
	return m, nil
}

func checkForm(field, form string) error {
	isTime := folded(field) == "time" || folded(field) == "nextfundingtime"
	switch form {
	case formSeconds, formMillis, formMicros, formNanos:
		if !isTime {
			return fmt.Errorf("%s is no time, so it has no unit %s", field, form)
		}
	case formInvert, formBuyerMaker:
		if folded(field) != "side" {
			return fmt.Errorf("%s is for a side alone", form)
		}
	default:
		return fmt.Errorf("%q is none of s, ms, us, ns for a time, and invert, buyer_maker for a side", form)
	}
	return nil
}

// splitSources splits at | outside of quotes.
func splitSources(text string) (parts []string) {
	start, quoted := 0, false
	for i := range len(text) {
		switch text[i] {
		case '\'':
			quoted = !quoted
		case '|':
			if !quoted {
				parts, start = append(parts, text[start:i]), i+1
			}
		}
	}
	return append(parts, text[start:])
}

func parseSource(text string) (source, error) {
	s := source{text: text, part: -1}
	if constant, ok := strings.CutPrefix(text, "'"); ok {
		constant, ok = strings.CutSuffix(constant, "'")
		if !ok {
			return s, fmt.Errorf("%s has no closing quote", text)
		}
		s.constant = &constant
		return s, nil
	}
	if name, ok := strings.CutPrefix(text, "$"); ok {
		name, part, cut := strings.Cut(name, ".")
		s.beside = name
		switch {
		case name != "key" && name != "topic" && name != "timestamp":
			return s, fmt.Errorf("%s is none of $key, $topic, $timestamp", text)
		case cut && name != "topic":
			return s, fmt.Errorf("%s has no parts; the topic's name has: $topic.0 is what stands before its first hyphen", text)
		case cut:
			n, err := strconv.Atoi(part)
			if err != nil || n < 0 {
				return s, fmt.Errorf("%s: %q is no number of a part", text, part)
			}
			s.part = n
		}
		return s, nil
	}
	for step := range strings.SplitSeq(text, ".") {
		name, indexes, _ := strings.Cut(step, "[")
		if name == "" && (indexes == "" || len(s.path) > 0) {
			return s, fmt.Errorf("%q is no path: it is like data.price or levels[0][1]", text)
		}
		if name != "" {
			s.path = append(s.path, pathStep{name: name})
		}
		if indexes == "" {
			continue
		}
		indexes, closed := strings.CutSuffix(indexes, "]")
		for index := range strings.SplitSeq(indexes, "][") {
			n, err := strconv.Atoi(index)
			if err != nil || n < 0 || !closed {
				return s, fmt.Errorf("%q is no path: it is like data.price or levels[0][1]", text)
			}
			s.path = append(s.path, pathStep{index: n})
		}
	}
	return s, nil
}

package main

import (
	"cmp"
	"hash/maphash"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/marketdata"
)

const (
	// fieldsMax bounds the fields that are told apart: a producer may have names
	// that are data.
	fieldsMax = 5000
	// placesMax bounds the positions in an array that are told apart.
	placesMax = 16
	// samplesMax is how many of each sort are kept for a field.
	samplesMax = 3
	// textMax cuts a text of a record.
	textMax = 200
)

// numbersSeen collects the numbers of JSON records of any form by producer,
// exchange and field.
type numbersSeen struct {
	groups map[numbersGroup]map[string]*numericField
	fields int
	left   int // values of fields beyond fieldsMax

	reader marketdata.ObjectReader
	seed   maphash.Seed
	path   []byte
	// record is what is looked at, group its fields.
	record *kgo.Record
	group  map[string]*numericField
	id     numbersGroup
}

// numbersGroup is whose numbers are told apart.
type numbersGroup struct{ producer, exchange string }

// numericField is a field with what its numbers show.
type numericField struct {
	Producer string          `json:"producer"` // "": the records do not tell
	Exchange string          `json:"exchange"` // "": the records do not tell
	Field    string          `json:"field"`
	Time     bool            `json:"time"` // its name says that it is a time
	Values   int             `json:"values"`
	Numbers  digitsSeen      `json:"numbers"` // JSON numbers: the producer may have had them as floats
	Strings  digitsSeen      `json:"strings"` // numbers in a text
	Samples  []numericSample `json:"samples"`
}

// digitsSeen counts what the digits of numbers show.
type digitsSeen struct {
	Values    int `json:"values"`
	Whole     int `json:"whole"`          // without a point and an exponent
	Long      int `json:"over_15_digits"` // significant ones
	Binary    int `json:"binary_digits"`  // of those: 0.30000000000000004
	Exponents int `json:"exponents"`
	PointZero int `json:"point_zero"` // written as 80.0
	// Places counts those with two or more digits behind the point and no
	// exponent; EndIn0 those of them whose last digit is a 0.
	Places int `json:"two_or_more_places"`
	EndIn0 int `json:"ending_in_0"`
	// Different is how many of Places are not equal, counted up to differentMin.
	Different int          `json:"different"`
	Zeros     zerosFinding `json:"trailing_zeros"`

	hashes map[uint64]struct{}
}

// How a number is in a record.
const (
	asNumber = "number"
	asString = "string"
)

// numericSample is a number and where it is.
type numericSample struct {
	As        string `json:"as"`   // number or string
	What      string `json:"what"` // first, over_15_digits or exponent
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Text      string `json:"text"`
}

// zerosFinding says whether numbers still have the zeros at their ends.
type zerosFinding string

const (
	// zerosKept: at least one number ends in 0, as no float is printed.
	zerosKept zerosFinding = "kept"
	// zerosMissing: none of differentMin or more different numbers does.
	zerosMissing zerosFinding = "missing"
	// zerosUnknown: there are too few to tell.
	zerosUnknown zerosFinding = "unknown"
)

// differentMin is how many different numbers must lack a 0 at their end before
// that means anything: where one in ten has it, none of 66 has by a chance of
// 0.9^66, below one in a thousand. Equal numbers show nothing twice. Numbers
// with one place are left out: a float prints 80.0, too, and 60000.1 is what
// is left of 60000.10.
const differentMin = 66

func (d *digitsSeen) zeros() zerosFinding {
	switch {
	case d.EndIn0 > 0:
		return zerosKept
	case d.Different >= differentMin:
		return zerosMissing
	}
	return zerosUnknown
}

func newNumbersSeen() *numbersSeen {
	return &numbersSeen{groups: map[numbersGroup]map[string]*numericField{}, seed: maphash.MakeSeed()}
}

// add looks at a record. Its error says why the record is no JSON.
func (s *numbersSeen) add(r *kgo.Record) *marketdata.Error {
	v, err := s.reader.ReadValue(r.Value)
	if err != nil {
		return err
	}
	s.record, s.path = r, s.path[:0]
	s.id = s.identify(v)
	s.group = s.groups[s.id]
	s.value(v, "", true)
	return nil
}

// identify finds whose record it is, as far as it tells: the source that it
// names; cryptofeed by its time of receipt; this product's own form by the
// topic's name.
func (s *numbersSeen) identify(record marketdata.JSONValue) numbersGroup {
	var id numbersGroup
	receipt := false
	s.reader.Members(record, func(name string, v marketdata.JSONValue) {
		receipt = receipt || name == "receipt_timestamp"
		if v.Kind != marketdata.JSONString {
			return
		}
		switch plainName(name) {
		case "exchange", "exchangeid":
			id.exchange = strings.ToLower(cut(v.Raw))
		case "source":
			id.producer = cut(v.Raw)
		}
	})
	_, exchange, native := marketdata.KindOfTopic(s.record.Topic)
	if id.exchange == "" {
		id.exchange = exchange
	}
	switch {
	case id.producer != "":
	case receipt && id.exchange != "":
		id.producer = "cryptofeed"
	case native:
		id.producer = "native"
	}
	return id
}

// value looks at a value whose path is s.path. last is the last name in it.
// inArray says that the value is the record, or in an array: the elements of an
// array there have a meaning each, as in [price, size].
func (s *numbersSeen) value(v marketdata.JSONValue, last string, inArray bool) {
	at := len(s.path)
	switch v.Kind {
	case marketdata.JSONNumber:
		s.number(v.Raw, last, false)
	case marketdata.JSONString:
		s.number(v.Raw, last, true)
	case marketdata.JSONObject:
		s.reader.Members(v, func(name string, v marketdata.JSONValue) {
			if at > 0 {
				s.path = append(s.path, '.')
			}
			if _, isNumber := readDigits(name); isNumber { // a book by price
				names := len(s.path)
				s.path = append(s.path, "(names)"...)
				s.number(name, last, true)
				s.path, name = append(s.path[:names], '*'), last
			} else {
				s.path = append(s.path, name...)
			}
			s.value(v, name, false)
			s.path = s.path[:at]
		})
	case marketdata.JSONArray:
		i := 0
		s.reader.Elements(v, func(v marketdata.JSONValue) {
			s.path = append(s.path, '[')
			if inArray && i < placesMax && v.Kind != marketdata.JSONObject && v.Kind != marketdata.JSONArray {
				s.path = strconv.AppendInt(s.path, int64(i), 10)
			}
			s.path = append(s.path, ']')
			s.value(v, last, true)
			s.path, i = s.path[:at], i+1
		})
	}
}

// number takes one where text is one.
func (s *numbersSeen) number(text, name string, isString bool) {
	d, ok := readDigits(text)
	if !ok {
		return
	}
	f := s.field(name)
	if f == nil {
		s.left++
		return
	}
	f.Values++
	seen, as := &f.Numbers, asNumber
	if isString {
		seen, as = &f.Strings, asString
	}
	if seen.Values++; seen.Values <= samplesMax {
		s.sample(f, as, "first", text)
	}
	if d.whole {
		seen.Whole++
	}
	if d.exponent {
		if seen.Exponents++; seen.Exponents <= samplesMax {
			s.sample(f, as, "exponent", text)
		}
	}
	if d.significant > float64Digits {
		if seen.Long++; seen.Long <= samplesMax {
			s.sample(f, as, "over_15_digits", text)
		}
		if !f.Time && roundedDigits(text) {
			seen.Binary++
		}
	}
	if d.exponent || d.whole {
		return
	}
	if d.places == 1 && d.endsIn0 {
		seen.PointZero++
	}
	if d.places < 2 {
		return
	}
	seen.Places++
	if d.endsIn0 {
		seen.EndIn0++
	}
	if seen.Different < differentMin {
		if seen.hashes == nil {
			seen.hashes = map[uint64]struct{}{}
		}
		seen.hashes[maphash.String(s.seed, text)] = struct{}{}
		seen.Different = len(seen.hashes)
	}
}

// field gives the one at s.path, nil where there are too many.
func (s *numbersSeen) field(name string) *numericField {
	path := s.path[:min(len(s.path), textMax)]
	if f := s.group[string(path)]; f != nil {
		return f
	}
	if s.fields >= fieldsMax {
		return nil
	}
	s.fields++
	if s.group == nil { // the texts of a record hold as long as the record
		s.id = numbersGroup{producer: strings.Clone(s.id.producer), exchange: strings.Clone(s.id.exchange)}
		s.group = map[string]*numericField{}
		s.groups[s.id] = s.group
	}
	f := &numericField{Producer: s.id.producer, Exchange: s.id.exchange, Field: string(path), Time: isTimeName(name), Samples: []numericSample{}}
	s.group[f.Field] = f
	return f
}

func (s *numbersSeen) sample(f *numericField, as, what, text string) {
	f.Samples = append(f.Samples, numericSample{
		As: as, What: what, Topic: s.record.Topic, Partition: s.record.Partition, Offset: s.record.Offset,
		Text: strings.Clone(cut(text)),
	})
}

func cut(text string) string { return text[:min(len(text), textMax)] }

// list gives the fields in order.
func (s *numbersSeen) list() []*numericField {
	fields := []*numericField{}
	for _, group := range s.groups {
		for _, f := range group {
			f.Numbers.Zeros, f.Strings.Zeros = f.Numbers.zeros(), f.Strings.zeros()
			fields = append(fields, f)
		}
	}
	slices.SortFunc(fields, func(a, b *numericField) int {
		return cmp.Or(cmp.Compare(a.Producer, b.Producer), cmp.Compare(a.Exchange, b.Exchange), cmp.Compare(a.Field, b.Field))
	})
	return fields
}

// isTimeName says whether a field's name is that of a time.
func isTimeName(name string) bool {
	name = plainName(name)
	return strings.HasSuffix(name, "time") || strings.HasSuffix(name, "timestamp") || name == "start" || name == "stop" || name == "ts"
}

// digits is how a number is written.
type digits struct {
	significant     int // without the zeros at both ends
	places          int // digits behind the point
	endsIn0         bool
	whole, exponent bool
}

// readDigits reads a number as JSON writes it; a text may also begin with a
// plus, or with zeros.
func readDigits(text string) (d digits, ok bool) {
	i := 0
	if i < len(text) && (text[i] == '-' || text[i] == '+') {
		i++
	}
	n, zeros, point := 0, 0, false
	for ; i < len(text); i++ {
		switch c := text[i]; {
		case c >= '0' && c <= '9':
			n++
			if point {
				d.places++
			}
			if d.endsIn0 = c == '0'; d.endsIn0 {
				zeros++
			} else {
				if d.significant > 0 {
					d.significant += zeros
				}
				d.significant, zeros = d.significant+1, 0
			}
		case c == '.' && !point && n > 0:
			point = true
		case (c == 'e' || c == 'E') && n > 0 && (!point || d.places > 0):
			d.exponent = true
			if i++; i < len(text) && (text[i] == '-' || text[i] == '+') {
				i++
			}
			rest := text[i:]
			return d, rest != "" && strings.Trim(rest, "0123456789") == ""
		default:
			return d, false
		}
	}
	d.whole = !point
	return d, n > 0 && (!point || d.places > 0)
}

package schemas

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/sr"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/qicore/tickconnect/marketdata"
)

// Protobuf reads records in Protobuf's wire format.
type Protobuf struct{ *Registry }

// protoReaders keep their room for the next record.
var protoReaders = sync.Pool{New: func() any { return new(protoReader) }}

// AppendJSON appends a record as JSON, its fields by their names in the schema, and
// tells x where they are.
func (t Protobuf) AppendJSON(dst, value []byte, x *marketdata.Index) ([]byte, error) {
	id, payload, fault := cutHeader(value)
	if fault != nil {
		return dst, fault
	}
	c, err := t.schema(id, sr.TypeProtobuf)
	if err != nil {
		return dst, err
	}
	wrong := func(err error) error {
		return &marketdata.Error{Reason: ReasonNotOfSchema, Message: fmt.Sprintf("the value is no record of schema %d: %v", id, err)}
	}
	r := protoReaders.Get().(*protoReader)
	defer protoReaders.Put(r)
	r.spans = r.spans[:0]
	indexes, payload, err := r.messageIndexes(payload)
	if err != nil {
		return dst, wrong(err)
	}
	m, err := c.proto.find(indexes)
	if err != nil {
		return dst, wrong(err)
	}
	r.out, r.most, r.index = dst, len(dst)+outMax, x
	err = r.message(m, payload, 0)
	out := r.out
	r.out, r.index = nil, nil
	if err != nil {
		return dst, wrong(err)
	}
	return out, nil
}

// protoReader turns the wire format into JSON.
type protoReader struct {
	out     []byte
	most    int
	index   *marketdata.Index // of the message itself; nil within it
	marked  bool              // a text was written that is not plain
	spans   []protoSpan       // of the messages that are being read, the innermost last
	indexes []int64
}

// protoSpan is one field as it lies in a message.
type protoSpan struct {
	field int // of message.fields
	wire  protowire.Type
	bits  uint64 // of a number
	bytes []byte // of what has a length, and of a group
}

var (
	errProtoWire  = errors.New("a field is not encoded as its type")
	errProtoIndex = errors.New("the indexes of its message cannot be read")
)

// messageIndexes reads which message of the schema a record is: a count and so many
// indexes, or one 0 for the first message.
func (r *protoReader) messageIndexes(in []byte) ([]int64, []byte, error) {
	count, n := binary.Varint(in)
	if n <= 0 || count < 0 || count > depthMax {
		return nil, nil, errProtoIndex
	}
	in = in[n:]
	r.indexes = r.indexes[:0]
	if count == 0 {
		r.indexes = append(r.indexes, 0)
		return r.indexes, in, nil
	}
	for range count {
		i, n := binary.Varint(in)
		if n <= 0 {
			return nil, nil, errProtoIndex
		}
		r.indexes, in = append(r.indexes, i), in[n:]
	}
	return r.indexes, in, nil
}

// message writes a message.
func (r *protoReader) message(m *message, in []byte, depth int) error {
	if depth > depthMax {
		return errDeep
	}
	if len(r.out) > r.most {
		return errLarge
	}
	base := len(r.spans)
	defer func() { r.spans = r.spans[:base] }()
	ordered, err := r.scan(m, in)
	if err != nil {
		return err
	}
	spans := r.spans[base:]
	switch m.form {
	case formTimestamp:
		return r.timestamp(spans, m)
	case formDecimal:
		return r.decimal(spans, m)
	case formWrapper:
		last, count := spansOf(spans, 0)
		return r.single(spans, last, count, &m.fields[0], depth)
	default:
		return r.object(spans, ordered, m, depth)
	}
}

// scan appends the fields of a message to r.spans; ordered says that they are in the
// schema's order, as nearly all encoders write them. Those that it does not know are
// what a newer producer sends, and are passed over.
func (r *protoReader) scan(m *message, in []byte) (ordered bool, err error) {
	ordered = true
	at := 0 // the field before
	for len(in) > 0 {
		number, wire, n := protowire.ConsumeTag(in)
		if n < 0 {
			return false, protowire.ParseError(n)
		}
		in = in[n:]
		span := protoSpan{field: m.find(number, at), wire: wire}
		switch wire {
		case protowire.VarintType:
			span.bits, n = protowire.ConsumeVarint(in)
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(in)
			span.bits = uint64(v)
		case protowire.Fixed64Type:
			span.bits, n = protowire.ConsumeFixed64(in)
		case protowire.BytesType:
			span.bytes, n = protowire.ConsumeBytes(in)
		case protowire.StartGroupType:
			span.bytes, n = protowire.ConsumeGroup(number, in)
		default:
			n = protowire.ConsumeFieldValue(number, wire, in)
		}
		if n < 0 {
			return false, protowire.ParseError(n)
		}
		in = in[n:]
		if span.field >= 0 {
			ordered = ordered && span.field >= at
			at = span.field
			r.spans = append(r.spans, span)
		}
	}
	return ordered, nil
}

// object writes the fields that were sent, and of those that say nothing about
// whether they were, which are proto3's plain ones, all: their zeros are not sent.
func (r *protoReader) object(spans []protoSpan, ordered bool, m *message, depth int) error {
	index := r.index
	r.index = nil
	if index != nil {
		index.Begin()
	}
	r.out = append(r.out, '{')
	first, rest := true, spans
	for i := range m.fields {
		f := &m.fields[i]
		var last *protoSpan
		count := 0
		if !ordered {
			last, count = spansOf(spans, i)
		} else {
			for count < len(rest) && rest[count].field == i {
				last = &rest[count]
				count++
			}
			rest = rest[count:]
		}
		if f.presence && (count == 0 || f.oneof > 0 && !m.isLastOf(spans, i)) {
			continue
		}
		if !first {
			r.out = append(r.out, ',')
		}
		first = false
		r.out = f.name.Append(r.out)
		at := len(r.out)
		r.marked = false
		var err error
		if f.repeated {
			err = r.repeated(spans, i, f, depth)
		} else {
			err = r.single(spans, last, count, f, depth)
		}
		if err != nil {
			return err
		}
		if index != nil {
			index.Add(&f.name, r.out, at, !r.marked)
		}
	}
	r.out = append(r.out, '}')
	return nil
}

// isLastOf says whether a field was sent last of its oneof: it alone counts.
func (m *message) isLastOf(spans []protoSpan, field int) bool {
	for j := range slices.Backward(spans) {
		if last := spans[j].field; m.fields[last].oneof == m.fields[field].oneof {
			return last == field
		}
	}
	return false
}

// spansOf gives the last span of a field, and how many there are.
func spansOf(spans []protoSpan, field int) (last *protoSpan, count int) {
	for j := range spans {
		if s := &spans[j]; s.field == field {
			last = s
			count++
		}
	}
	return last, count
}

// single writes a field that has one value: the last of count that were sent, or its
// zero. Parts of a message are merged.
func (r *protoReader) single(spans []protoSpan, last *protoSpan, count int, f *protoField, depth int) error {
	switch {
	case count == 0:
		return r.value(f, &protoSpan{wire: wireOf(f.kind)}, depth)
	case count == 1 || f.message == nil:
		return r.value(f, last, depth)
	}
	whole := protoSpan{wire: last.wire}
	for j := range spans {
		if spans[j].field == last.field {
			whole.bytes = append(whole.bytes, spans[j].bytes...)
		}
	}
	return r.value(f, &whole, depth)
}

// repeated writes an array, or an object for a map.
func (r *protoReader) repeated(spans []protoSpan, field int, f *protoField, depth int) error {
	open, shut := byte('['), byte(']')
	if f.isMap {
		open, shut = '{', '}'
	}
	r.out = append(r.out, open)
	first := true
	comma := func() {
		if !first {
			r.out = append(r.out, ',')
		}
		first = false
	}
	for j := range spans {
		s := &spans[j]
		if s.field != field {
			continue
		}
		if s.wire != protowire.BytesType || f.message != nil || f.kind == protoreflect.StringKind || f.kind == protoreflect.BytesKind {
			comma()
			var err error
			if f.isMap {
				err = r.entry(f.message, s, depth+1)
			} else {
				err = r.value(f, s, depth)
			}
			if err != nil {
				return err
			}
			continue
		}
		for in := s.bytes; len(in) > 0; { // packed
			one := protoSpan{wire: wireOf(f.kind)}
			n := 0
			switch one.wire {
			case protowire.Fixed32Type:
				var v uint32
				v, n = protowire.ConsumeFixed32(in)
				one.bits = uint64(v)
			case protowire.Fixed64Type:
				one.bits, n = protowire.ConsumeFixed64(in)
			default:
				one.bits, n = protowire.ConsumeVarint(in)
			}
			if n < 0 {
				return protowire.ParseError(n)
			}
			in = in[n:]
			comma()
			if err := r.value(f, &one, depth); err != nil {
				return err
			}
		}
	}
	r.out = append(r.out, shut)
	return nil
}

// entry writes a map's entry: its key as a name, and its value.
func (r *protoReader) entry(m *message, s *protoSpan, depth int) error {
	base := len(r.spans)
	defer func() { r.spans = r.spans[:base] }()
	if _, err := r.scan(m, s.bytes); err != nil {
		return err
	}
	spans, key := r.spans[base:], &m.fields[0]
	quote := key.kind != protoreflect.StringKind
	if quote {
		r.out = append(r.out, '"')
	}
	last, count := spansOf(spans, 0)
	if err := r.single(spans, last, count, key, depth); err != nil {
		return err
	}
	if quote {
		r.out = append(r.out, '"')
	}
	r.out = append(r.out, ':')
	last, count = spansOf(spans, 1)
	return r.single(spans, last, count, &m.fields[1], depth)
}

// wireOf says how a number of a kind is encoded.
func wireOf(kind protoreflect.Kind) protowire.Type {
	switch kind {
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
		return protowire.Fixed32Type
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
		return protowire.Fixed64Type
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind:
		return protowire.BytesType
	case protoreflect.GroupKind:
		return protowire.StartGroupType
	}
	return protowire.VarintType
}

func (r *protoReader) value(f *protoField, s *protoSpan, depth int) (err error) {
	if s.wire != wireOf(f.kind) {
		return errProtoWire
	}
	switch f.kind {
	case protoreflect.BoolKind:
		r.out = strconv.AppendBool(r.out, s.bits != 0)
	case protoreflect.Int32Kind:
		r.out = strconv.AppendInt(r.out, int64(int32(s.bits)), 10)
	case protoreflect.Sfixed32Kind:
		r.out = strconv.AppendInt(r.out, int64(int32(s.bits)), 10)
	case protoreflect.Int64Kind, protoreflect.Sfixed64Kind:
		r.out = strconv.AppendInt(r.out, int64(s.bits), 10)
	case protoreflect.Sint32Kind, protoreflect.Sint64Kind:
		r.out = strconv.AppendInt(r.out, protowire.DecodeZigZag(s.bits), 10)
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind, protoreflect.Fixed32Kind, protoreflect.Fixed64Kind:
		r.out = strconv.AppendUint(r.out, s.bits, 10)
	case protoreflect.FloatKind:
		r.out, err = appendFloat(r.out, float64(math.Float32frombits(uint32(s.bits))), 32)
	case protoreflect.DoubleKind:
		r.out, err = appendFloat(r.out, math.Float64frombits(s.bits), 64)
	case protoreflect.EnumKind:
		if v := f.enum.ByNumber(protoreflect.EnumNumber(int32(s.bits))); v != nil {
			r.out = marketdata.AppendText(r.out, string(v.Name())) // ASCII, as all names
		} else {
			r.out = strconv.AppendInt(r.out, int64(int32(s.bits)), 10)
		}
	case protoreflect.StringKind:
		out, plain := marketdata.AppendPlain(r.out, s.bytes)
		if !plain {
			if !utf8.Valid(s.bytes) {
				return errText
			}
			out, r.marked = marketdata.AppendText(out, string(s.bytes)), true
		}
		r.out = out
	case protoreflect.BytesKind:
		r.out = append(base64.StdEncoding.AppendEncode(append(r.out, '"'), s.bytes), '"')
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return r.message(f.message, s.bytes, depth+1)
	}
	return err
}

// timestamp reads seconds and nanoseconds.
func (r *protoReader) timestamp(spans []protoSpan, m *message) error {
	var seconds, nanos int64
	for _, s := range spans {
		if s.wire != protowire.VarintType {
			return errProtoWire
		}
		switch m.fields[s.field].number {
		case 1:
			seconds = int64(s.bits)
		case 2:
			nanos = int64(int32(s.bits))
		}
	}
	t := time.Unix(seconds, nanos).UTC()
	if t.Year() < 1 || t.Year() > 9999 {
		return errTime
	}
	r.out = append(t.AppendFormat(append(r.out, '"'), time.RFC3339Nano), '"')
	return nil
}

// decimal reads an unscaled integer, its highest byte first, and a scale.
func (r *protoReader) decimal(spans []protoSpan, m *message) error {
	var unscaled []byte
	scale := 0
	for _, s := range spans {
		switch number := m.fields[s.field].number; {
		case number == 1 && s.wire == protowire.BytesType:
			unscaled = s.bytes
		case number == 3 && s.wire == protowire.VarintType:
			scale = int(int32(s.bits))
		case number == 1 || number == 3:
			return errProtoWire
		}
	}
	if scale < 0 || scale > 10_000 {
		return fmt.Errorf("a decimal has the scale %d", scale)
	}
	r.out = append(appendUnscaled(append(r.out, '"'), unscaled, scale), '"')
	return nil
}

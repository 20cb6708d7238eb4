package schemas

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/qicore/tickconnect/marketdata"
)

// protoFile is a compiled .proto file. Its messages are prepared when a record
// names them.
type protoFile struct {
	file     protoreflect.FileDescriptor
	first    *message // that which records without indexes are
	messages sync.Map // *message, by the indexes that name it in records
}

// message is a message type, prepared for reading.
type message struct {
	fields []protoField
	form   form
}

type protoField struct {
	number   protowire.Number
	name     marketdata.Name
	kind     protoreflect.Kind
	repeated bool
	isMap    bool
	oneof    int      // one more than its place in the message, 0 for none
	presence bool     // whether its absence says more than its zero
	message  *message // of a message, a group, or a map's entry
	enum     protoreflect.EnumValueDescriptors
}

// form is how a message becomes JSON.
type form uint8

const (
	formObject    form = iota
	formTimestamp      // google.protobuf.Timestamp
	formWrapper        // google.protobuf.Int64Value and the like: their value; google.type.Decimal: its text
	formDecimal        // confluent.type.Decimal: an unscaled integer and a scale
)

var forms = map[protoreflect.FullName]form{
	"google.protobuf.Timestamp": formTimestamp,
	"google.type.Decimal":       formWrapper,
	"confluent.type.Decimal":    formDecimal,

	"google.protobuf.DoubleValue": formWrapper, "google.protobuf.FloatValue": formWrapper, "google.protobuf.Int64Value": formWrapper,
	"google.protobuf.UInt64Value": formWrapper, "google.protobuf.Int32Value": formWrapper, "google.protobuf.UInt32Value": formWrapper,
	"google.protobuf.BoolValue": formWrapper, "google.protobuf.StringValue": formWrapper, "google.protobuf.BytesValue": formWrapper,
}

// knownProtos are files that a registry lets schemas import without a reference,
// with what matters here. The compiler has Google's google/protobuf.
var knownProtos = map[string]string{
	"google/type/decimal.proto":    `syntax = "proto3"; package google.type; message Decimal { string value = 1; }`,
	"confluent/type/decimal.proto": `syntax = "proto3"; package confluent.type; message Decimal { bytes value = 1; uint32 precision = 2; int32 scale = 3; }`,
	"confluent/meta.proto": `syntax = "proto3"; package confluent; import "google/protobuf/descriptor.proto";
message Meta { string doc = 1; map<string, string> params = 2; repeated string tags = 3; }
extend google.protobuf.FileOptions { Meta file_meta = 1088; }
extend google.protobuf.MessageOptions { Meta message_meta = 1088; }
extend google.protobuf.FieldOptions { Meta field_meta = 1088; }
extend google.protobuf.EnumOptions { Meta enum_meta = 1088; }
extend google.protobuf.EnumValueOptions { Meta enum_value_meta = 1088; }`,
}

// compileProto compiles the last of the files, which may import those before it.
func compileProto(files []namedText) (*protoFile, error) {
	texts := maps.Clone(knownProtos)
	for _, f := range files {
		texts[f.name] = f.text
	}
	c := protocompile.Compiler{
		Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{Accessor: protocompile.SourceAccessorFromMap(texts)}),
	}
	compiled, err := c.Compile(context.Background(), files[len(files)-1].name)
	if err != nil {
		return nil, err
	}
	p := &protoFile{file: compiled[0]}
	if p.file.Messages().Len() == 0 {
		return nil, errors.New("it has no message")
	}
	p.first = prepare(p.file.Messages().Get(0), map[protoreflect.FullName]*message{})
	return p, nil
}

// find gives the message that indexes name: one of the file's, and of its nested
// ones.
func (p *protoFile) find(indexes []int64) (*message, error) {
	if len(indexes) == 1 && indexes[0] == 0 {
		return p.first, nil
	}
	key := fmt.Sprint(indexes)
	if m, ok := p.messages.Load(key); ok {
		return m.(*message), nil
	}
	messages := p.file.Messages()
	var d protoreflect.MessageDescriptor
	for _, i := range indexes {
		if i < 0 || i >= int64(messages.Len()) {
			return nil, fmt.Errorf("the schema has no message %v", indexes)
		}
		d = messages.Get(int(i))
		messages = d.Messages()
	}
	m := prepare(d, map[protoreflect.FullName]*message{})
	p.messages.Store(key, m)
	return m, nil
}

func prepare(d protoreflect.MessageDescriptor, known map[protoreflect.FullName]*message) *message {
	if m, ok := known[d.FullName()]; ok {
		return m
	}
	m := &message{form: forms[d.FullName()]}
	known[d.FullName()] = m
	fields := d.Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		field := protoField{
			number: f.Number(), name: marketdata.NewName(string(f.Name())), kind: f.Kind(),
			repeated: f.Cardinality() == protoreflect.Repeated, isMap: f.IsMap(), presence: f.HasPresence(),
		}
		if o := f.ContainingOneof(); o != nil && !o.IsSynthetic() {
			field.oneof = o.Index() + 1
		}
		if f.Message() != nil {
			field.message = prepare(f.Message(), known)
		}
		if f.Enum() != nil {
			field.enum = f.Enum().Values()
		}
		m.fields = append(m.fields, field)
	}
	return m
}

// find gives the field with a number, which most often follows the one before it.
func (m *message) find(number protowire.Number, before int) int {
	for i := before; i < len(m.fields); i++ {
		if m.fields[i].number == number {
			return i
		}
	}
	for i := range before {
		if m.fields[i].number == number {
			return i
		}
	}
	return -1
}

package schemas

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/sr"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/qicore/tickconnect/marketdata"
)

// protoSchema has each kind of field; want of TestProtobufTypes says what it becomes.
const protoSchema = `syntax = "proto3";
package test;
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "google/type/decimal.proto";
import "confluent/type/decimal.proto";
import "confluent/meta.proto";
enum Side { BUY = 0; SELL = 1; }
message Level { string price = 1; int64 amount = 2; Level next = 3; }
message All {
  double a = 1; float b = 2; int32 c = 3; int64 d = 4; uint32 e = 5; uint64 f = 6; sint32 g = 7; sint64 h = 8;
  fixed32 i = 9; fixed64 j = 10; sfixed32 k = 11; sfixed64 l = 12; bool m = 13; string n = 14; bytes o = 15; Side p = 16;
  Level q = 17; repeated Level r = 18; repeated int64 s = 19; repeated double t = 20; repeated string u = 21; repeated fixed32 w = 22;
  map<string, Level> x = 23; map<int32, Side> y = 24; optional int32 z = 25; oneof price { string text = 26; int64 unit = 27; }
  google.protobuf.Timestamp at = 28; google.protobuf.StringValue sv = 29; google.protobuf.Int64Value iv = 30;
  google.type.Decimal gd = 31; confluent.type.Decimal cd = 32; repeated sint32 loose = 33 [packed = false]; map<bool, google.protobuf.Timestamp> tm = 34;
  message Inner { message Core { int32 deep = 1 [(confluent.field_meta) = { doc: "x" }]; } }
}`

// protoValue encodes a message, written as JSON, with another implementation.
func protoValue(t testing.TB, schema, name, text string) []byte {
	t.Helper()
	file, err := compileProto([]namedText{{"test.proto", schema}})
	if err != nil {
		t.Fatal(err)
	}
	m := dynamicpb.NewMessage(descriptorOf(file.file.Messages(), strings.Split(name, ".")))
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatal(err)
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func descriptorOf(all protoreflect.MessageDescriptors, path []string) protoreflect.MessageDescriptor {
	d := all.ByName(protoreflect.Name(path[0]))
	if len(path) == 1 {
		return d
	}
	return descriptorOf(d.Messages(), path[1:])
}

func (f *fixture) protobuf(id int, payload []byte) (string, error) {
	return f.transcode(Protobuf{f.registry}.AppendJSON, id, payload)
}

// TestProtobufTypes: each type of Protobuf, as another implementation encodes it.
// The second message is named in the record; proto3's plain fields that are not sent
// are their zeros, others are absent.
func TestProtobufTypes(t *testing.T) {
	t.Parallel()
	f := setup(t)
	id := f.register("p-value", protoSchema, sr.TypeProtobuf)
	plain := `"a":0,"b":0,"c":0,"d":0,"e":0,"f":0,"g":0,"h":0,"i":0,"j":0,"k":0,"l":0,"m":false,"n":"","o":"","p":"BUY","r":[],"s":[],"t":[],"u":[],"w":[],"x":{},"y":{},"loose":[],"tm":{}`
	full := `{"a":0.1,"b":0.25,"c":-7,"d":-9223372036854775808,"e":4294967295,"f":18446744073709551615,"g":-2147483648,"h":-9223372036854775808,"i":4294967295,"j":18446744073709551615,"k":-2147483648,"l":-5,"m":true,"n":"a\"\\€","o":"AP8=","p":"SELL",` +
		`"q":{"price":"1.50","amount":3,"next":{"price":"2","amount":0}},"r":[{"price":"1","amount":0},{"price":"","amount":0}],"s":[1,-1,300],"t":[0.5,1e-07],"u":["x",""],"w":[1,2],` +
		`"x":{"k":{"price":"9","amount":0}},"y":{"-3":"SELL"},"z":0,"unit":5,"at":"2026-02-03T04:05:06.789012345Z","sv":"","iv":7,"gd":"1.2300","cd":"-1.50","loose":[-1,2],"tm":{"true":"1969-12-31T23:59:59.5Z"}}`
	for _, test := range []struct{ name, indexes, value, want string }{
		{"All", "\x02\x02", `{}`, "{" + plain + "}"},
		{
			"All", "\x02\x02", `{"z":0,"text":"","q":{},"sv":"","iv":"0","gd":{},"cd":{},"at":"1970-01-01T00:00:00Z"}`,
			`{` + strings.Replace(strings.Replace(plain, `"r":`, `"q":{"price":"","amount":0},"r":`, 1), `"loose"`, `"z":0,"text":"","at":"1970-01-01T00:00:00Z","sv":"","iv":0,"gd":"","cd":"0","loose"`, 1) + `}`,
		},
		{"All", "\x02\x02", strings.NewReplacer(`"gd":"1.2300"`, `"gd":{"value":"1.2300"}`, `"cd":"-1.50"`, `"cd":{"value":"/2o=","precision":9,"scale":2}`).Replace(full), full},
		{"Level", "\x00", `{"price":"1"}`, `{"price":"1","amount":0}`},
		{"Level", "\x02\x00", `{"price":"1"}`, `{"price":"1","amount":0}`},
		{"All.Inner.Core", innerIndexes(t), `{"deep":4}`, `{"deep":4}`},
	} {
		got, err := f.protobuf(id, append([]byte(test.indexes), protoValue(t, protoSchema, test.name, test.value)...))
		if err != nil || got != test.want || !json.Valid([]byte(got)) {
			t.Errorf("%s %s became\n%s, %v; want\n%s", test.name, test.value, got, err, test.want)
		}
	}
}

// innerIndexes names All.Inner.Core as a record does.
func innerIndexes(t *testing.T) string {
	t.Helper()
	file, err := compileProto([]namedText{{"test.proto", protoSchema}})
	if err != nil {
		t.Fatal(err)
	}
	inner := file.file.Messages().ByName("All").Messages().ByName("Inner")
	indexes := binary.AppendVarint(binary.AppendVarint(nil, 3), 1)
	return string(binary.AppendVarint(binary.AppendVarint(indexes, int64(inner.Index())), 0))
}

// TestProtobufMerges: what the wire format allows of other encoders: a field sent
// twice, a message in parts, numbers packed or not, fields of a newer schema.
func TestProtobufMerges(t *testing.T) {
	t.Parallel()
	f := setup(t)
	id := f.register("p-value", `syntax = "proto2"; message M { optional int32 a = 1; optional M b = 2; repeated int32 c = 3; optional group D = 4 { optional string e = 1; } map<string,int32> f = 5; required string g = 6; oneof o { string h = 7; int32 i = 8; } }`, sr.TypeProtobuf)
	for _, test := range []struct{ wire, want string }{
		{"", `{"c":[],"f":{}}`},
		{"\x08\x01\x08\x02", `{"a":2,"c":[],"f":{}}`},
		{"\x12\x02\x08\x01\x08\x05\x12\x02\x18\x07", `{"a":5,"b":{"a":1,"c":[7],"f":{}},"c":[],"f":{}}`},
		{"\x18\x01\x1a\x02\x02\x03\x18\x04", `{"c":[1,2,3,4],"f":{}}`},
		{"\x23\x0a\x01x\x24", `{"c":[],"d":{"e":"x"},"f":{}}`},
		{"\x3a\x01x\x40\x01", `{"c":[],"f":{},"i":1}`},
		{"\x40\x01\x3a\x01x\x08\x01", `{"a":1,"c":[],"f":{},"h":"x"}`},
		{"\x2a\x00\x2a\x02\x10\x05", `{"c":[],"f":{"":0,"":5}}`},
		{"\x32\x01y\xfa\x07\x01z\xf8\x07\x01\xf5\x07abcd\xf1\x07abcdefgh\xfb\x07\xfc\x07", `{"c":[],"f":{},"g":"y"}`},
	} {
		if got, err := f.protobuf(id, []byte("\x00"+test.wire)); err != nil || got != test.want {
			t.Errorf("%x became %s, %v; want %s", test.wire, got, err, test.want)
		}
	}
}

// TestProtobufBad: what is no record of its schema is said to be, and what was
// written before is left alone.
func TestProtobufBad(t *testing.T) {
	t.Parallel()
	f := setup(t)
	id := f.register("p-value", protoSchema, sr.TypeProtobuf)
	deep := []byte{}
	for range depthMax + 2 {
		deep = protowire.AppendBytes([]byte{0x1a}, deep)
	}
	large := []byte{0x02, 0x02}
	for range 1 << 20 {
		large = append(large, 0x92, 0x01, 0x00) // r, empty
	}
	whole := protoValue(t, protoSchema, "Level", `{"price":"1.5","amount":"300"}`)
	for name, payload := range map[string]string{
		"no indexes": "", "too many indexes": "\xff\x01", "a negative count": "\x01", "no such message": "\x02\x04", "no such nested message": "\x04\x00\x00", "a negative index": "\x02\x01",
		"cut off in the indexes": "\x04\x00", "cut off": "\x00" + string(whole[:len(whole)-1]), "cut off in a string": "\x00" + string(whole[:3]),
		"another type": "\x00\x0d\x00\x00\x00\x00", "a string not UTF-8": "\x00\x0a\x01\xff", "the end of no group": "\x00\x0c", "field number 0": "\x00\x00\x01",
		"NaN": "\x02\x02\x09\x00\x00\x00\x00\x00\x00\xf8\x7f", "packed and cut off": "\x02\x02\x9a\x01\x01\x80", "a time of year 10000": "\x02\x02\xe2\x01\x07\x08\x80\xdc\xb2\x9c\xe6\x1d",
		"a negative scale": "\x02\x02\x82\x02\x0b\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "nested too deeply": "\x00" + string(deep), "too large": string(large),
	} {
		out, err := Protobuf{f.registry}.AppendJSON([]byte("before"), framed(id, []byte(payload)), new(marketdata.Index))
		var bad *marketdata.Error
		if !errors.As(err, &bad) || bad.Reason != ReasonNotOfSchema || string(out) != "before" {
			t.Errorf("%s: %.100s, %v", name, out, err)
		}
	}
}

// TestProtobufReferences: a schema may import others, under the names of its
// references; one that imports what nobody has cannot be used.
func TestProtobufReferences(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.register("side", `syntax = "proto3"; package x; enum Side { BUY = 0; SELL = 1; }`, sr.TypeProtobuf)
	f.register("level", `syntax = "proto3"; package x; import "x/side.proto"; message Level { string price = 1; Side side = 2; }`, sr.TypeProtobuf,
		sr.SchemaReference{Name: "x/side.proto", Subject: "side", Version: 1})
	id := f.register("book-value", `syntax = "proto3"; import "x/level.proto"; message Book { repeated x.Level bids = 1; }`, sr.TypeProtobuf,
		sr.SchemaReference{Name: "x/level.proto", Subject: "level", Version: 1})
	if got, err := f.protobuf(id, []byte("\x00\x0a\x05\x0a\x011\x10\x01")); err != nil || got != `{"bids":[{"price":"1","side":"SELL"}]}` {
		t.Errorf("%s, %v", got, err)
	}
	for i, schema := range []string{`syntax = "proto3"; import "nowhere.proto"; message M {}`, `syntax = "proto3"; enum E { A = 0; }`, `{"type":"int"}`} {
		f.fake.SeedSchema(fmt.Sprintf("broken%d-value", i), 1, 900+i, sr.Schema{Schema: schema, Type: sr.TypeProtobuf})
		_, err := f.protobuf(900+i, []byte{0})
		var bad *marketdata.Error
		if !errors.As(err, &bad) || bad.Reason != ReasonBadSchema {
			t.Errorf("%s: %v", schema, err)
		}
	}
}

// FuzzProtobuf: no input panics, or becomes anything but JSON, and its members are
// where the index says.
func FuzzProtobuf(f *testing.F) {
	file, err := compileProto([]namedText{{"test.proto", protoSchema}})
	if err != nil {
		f.Fatal(err)
	}
	all, err := file.find([]int64{1})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(protoValue(f, protoSchema, "All", `{"a":1,"n":"x","q":{"next":{}},"s":[1],"x":{"k":{}},"y":{"-3":"SELL"},"at":"1970-01-01T00:00:00Z","cd":{"value":"/2o=","scale":2},"tm":{"true":"1970-01-01T00:00:00Z"}}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		var x marketdata.Index
		r := protoReader{most: 64 << 10, index: &x}
		if err := r.message(all, payload, 0); err == nil {
			indexAgrees(t, r.out, &x)
		}
	})
}

// BenchmarkProtobuf is the price record of BenchmarkAvro.
func BenchmarkProtobuf(b *testing.B) {
	f := setup(b)
	schema := `syntax = "proto3"; import "google/protobuf/timestamp.proto"; message Price { string coinId = 1; string symbol = 2; string exchangeId = 3; string usdPrice = 4; optional string marketCap = 5;
		optional string volume24h = 6; google.protobuf.Timestamp time = 7; string source = 8; string attribution = 9; }`
	id := f.register("p-value", schema, sr.TypeProtobuf)
	value := framed(id, append([]byte{0}, protoValue(b, schema, "Price", `{"coinId":"bitcoin","symbol":"BTC","exchangeId":"binance","usdPrice":"67123.45","marketCap":"1322334455667.12",
		"volume24h":"28123456789.01","time":"2023-11-14T22:13:20Z","source":"exchange-feed","attribution":"binance spot"}`)...))
	var out []byte
	var x marketdata.Index
	var d marketdata.Decoder
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if out, err = (Protobuf{f.registry}).AppendJSON(out[:0], value, &x); err != nil {
			b.Fatal(err)
		}
		if _, err := d.DecodeIndexed(marketdata.KindPrice, out, &x, now); err != nil {
			b.Fatal(err)
		}
	}
}

package schemas

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/marketdata"
)

// fixture is a registry of the test's own, and the client under test.
type fixture struct {
	testing.TB
	fake     *srfake.Registry
	registry *Registry
	clock    time.Time
}

func setup(t testing.TB, opts ...srfake.Option) *fixture {
	t.Helper()
	f := &fixture{TB: t, fake: srfake.New(opts...), clock: time.Unix(1_700_000_000, 0)}
	t.Cleanup(f.fake.Close)
	f.registry = f.client(Options{})
	return f
}

func (f *fixture) client(o Options) *Registry {
	f.Helper()
	o.URLs = []string{f.fake.URL()}
	r, err := New(o)
	if err != nil {
		f.Fatal(err)
	}
	r.now = func() time.Time { return f.clock }
	return r
}

func (f *fixture) register(subject, schema string, kind sr.SchemaType, references ...sr.SchemaReference) int {
	f.Helper()
	id, _, err := f.fake.RegisterSchema(subject, sr.Schema{Schema: schema, Type: kind, References: references})
	if err != nil {
		f.Fatal(err)
	}
	return id
}

// framed puts the wire format's header before a payload.
func framed(id int, payload []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(id)), payload...)
}

// encoded encodes a value with another implementation.
func encoded(t testing.TB, schema string, value any) []byte {
	t.Helper()
	s, err := avro.Parse(schema)
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Encode(value)
	if err != nil {
		t.Fatalf("%v: %v", value, err)
	}
	return b
}

func (f *fixture) avro(id int, payload []byte) (string, error) {
	out, err := Avro{f.registry}.AppendJSON(nil, framed(id, payload))
	return string(out), err
}

// TestAvroTypes: each type of Avro, as another implementation encodes it.
func TestAvroTypes(t *testing.T) {
	t.Parallel()
	f := setup(t)
	at := time.Date(2026, 2, 3, 4, 5, 6, 789012345, time.UTC)
	for i, test := range []struct {
		schema string
		value  any
		want   string
	}{
		{`"null"`, nil, `null`},
		{`"boolean"`, true, `true`},
		{`"int"`, int32(-7), `-7`},
		{`"long"`, int64(-9223372036854775808), `-9223372036854775808`},
		{`"float"`, float32(0.1), `0.1`},
		{`"double"`, 0.1, `0.1`},
		{`"double"`, 1e-7, `1e-07`},
		{`"string"`, "a\"b\\\n€", `"a\"b\\\u000a€"`},
		{`"bytes"`, []byte{0, 255}, `"AP8="`},
		{`{"type":"fixed","name":"f","size":2}`, [2]byte{1, 2}, `"AQI="`},
		{`{"type":"enum","name":"side","symbols":["buy","sell"]}`, "sell", `"sell"`},
		{`{"type":"array","items":"int"}`, []int32{1, 2}, `[1,2]`},
		{`{"type":"array","items":"int"}`, []int32{}, `[]`},
		{`{"type":"map","values":"string"}`, map[string]string{"a": "b"}, `{"a":"b"}`},
		{`["null","string"]`, nil, `null`},
		{`["null","string"]`, "x", `"x"`},
		{`{"type":"long","logicalType":"timestamp-millis"}`, at.Truncate(time.Millisecond), `"2026-02-03T04:05:06.789Z"`},
		{`{"type":"long","logicalType":"timestamp-micros"}`, at.Truncate(time.Microsecond), `"2026-02-03T04:05:06.789012Z"`},
		{`{"type":"long","logicalType":"timestamp-nanos"}`, at, `"2026-02-03T04:05:06.789012345Z"`},
		{`{"type":"long","logicalType":"local-timestamp-micros"}`, at.Truncate(time.Microsecond), `"2026-02-03T04:05:06.789012Z"`},
		{`{"type":"int","logicalType":"date"}`, at.Truncate(24 * time.Hour), `"2026-02-03T00:00:00Z"`},
		{`{"type":"long","logicalType":"made-up"}`, int64(5), `5`},
		{
			`{"type":"record","name":"n.r","fields":[{"name":"a","type":{"type":"record","name":"in","fields":[{"name":"x","type":"int"}]}},{"name":"b","type":["null","in"]},{"name":"c","type":{"type":"array","items":"n.in"}}]}`,
			map[string]any{"a": map[string]any{"x": 1}, "b": map[string]any{"x": 2}, "c": []any{map[string]any{"x": 3}}},
			`{"a":{"x":1},"b":{"x":2},"c":[{"x":3}]}`,
		},
		{
			`{"type":"record","name":"list","fields":[{"name":"v","type":"int"},{"name":"next","type":["null","list"]}]}`,
			map[string]any{"v": 1, "next": map[string]any{"v": 2, "next": nil}},
			`{"v":1,"next":{"v":2,"next":null}}`,
		},
	} {
		id := f.register(fmt.Sprintf("s%d-value", i), test.schema, sr.TypeAvro)
		got, err := f.avro(id, encoded(t, test.schema, test.value))
		if err != nil || got != test.want || !json.Valid([]byte(got)) {
			t.Errorf("%s: %v became %s, %v; want %s", test.schema, test.value, got, err, test.want)
		}
	}
}

// TestAvroDecimals: a decimal has the digits and the scale of its schema, on bytes
// and on fixed, of any size; a later version may have another scale.
func TestAvroDecimals(t *testing.T) {
	t.Parallel()
	f := setup(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 300 {
		scale := rnd.IntN(30)
		unscaled := new(big.Int)
		for range 1 + rnd.IntN(50) {
			unscaled.Add(unscaled.Mul(unscaled, big.NewInt(10)), big.NewInt(rnd.Int64N(10)))
		}
		if rnd.IntN(2) == 0 {
			unscaled.Neg(unscaled)
		}
		value := new(big.Rat).SetFrac(unscaled, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil))
		schema := fmt.Sprintf(`{"type":"bytes","logicalType":"decimal","precision":80,"scale":%d}`, scale)
		if i%2 == 1 {
			schema = fmt.Sprintf(`{"type":"fixed","name":"d","size":32,"logicalType":"decimal","precision":70,"scale":%d}`, scale)
		}
		// One subject, whose versions have other scales.
		f.fake.SeedSchema("prices-value", i+1, 1000+i, sr.Schema{Schema: schema, Type: sr.TypeAvro})
		got, err := f.avro(1000+i, encoded(t, schema, value))
		if want := `"` + value.FloatString(scale) + `"`; err != nil || got != want && got != `"-`+want[1:] { // -0.00 does not exist there
			t.Fatalf("%v of scale %d became %s, %v; want %s", value, scale, got, err, want)
		}
	}
}

// TestAvroBad: what is no record of the schema is said, and nothing is written.
func TestAvroBad(t *testing.T) {
	t.Parallel()
	f := setup(t)
	record := f.register("r-value", `{"type":"record","name":"r","fields":[{"name":"s","type":"string"},{"name":"u","type":["null","long"]},{"name":"e","type":{"type":"enum","name":"e","symbols":["a"]}}]}`, sr.TypeAvro)
	nulls := f.register("n-value", `{"type":"array","items":"null"}`, sr.TypeAvro)
	stamp := f.register("t-value", `{"type":"long","logicalType":"timestamp-millis"}`, sr.TypeAvro)
	double := f.register("d-value", `"double"`, sr.TypeAvro)
	deep := f.register("l-value", `{"type":"record","name":"list","fields":[{"name":"next","type":["null","list"]}]}`, sr.TypeAvro)
	varint := func(v int64) []byte { return binary.AppendVarint(nil, v) }
	for _, test := range []struct {
		id      int
		payload []byte
		want    string
	}{
		{record, nil, "ends early"},
		{record, []byte{4, 'a'}, "ends early"},
		{record, []byte{1}, "ends early"},
		{record, []byte{2, 0xff, 0, 0}, "not UTF-8"},
		{record, []byte{2, 'a', 4, 0}, "no branch 2"},
		{record, []byte{2, 'a', 0, 2}, "no symbol 1"},
		{record, []byte{2, 'a', 0, 0, 9}, "1 bytes are left over"},
		{nulls, varint(1 << 60), "16 MiB"},
		{nulls, varint(-1 << 60), "ends early"},
		{stamp, varint(1 << 62), "outside the years"},
		{double, []byte{0, 0, 0, 0, 0, 0, 0xf8, 0x7f}, "NaN"},
		{deep, []byte(strings.Repeat("\x02", 500)), "nested too deeply"},
	} {
		got, err := f.avro(test.id, test.payload)
		var bad *marketdata.Error
		if !errors.As(err, &bad) || bad.Reason != ReasonNotOfSchema || !strings.Contains(bad.Message, test.want) || got != "" {
			t.Errorf("%x: %s, %v; want %s", test.payload, got, err, test.want)
		}
	}
}

// TestHeader: a value that is none of a registry's says what it looks like.
func TestHeader(t *testing.T) {
	t.Parallel()
	f := setup(t)
	avroID := f.register("a-value", `"int"`, sr.TypeAvro)
	jsonID := f.register("j-value", `{"type":"object"}`, sr.TypeJSON)
	for value, want := range map[string][2]string{
		"":                                   {marketdata.ReasonEmptyValue, "empty"},
		`{"a":1}`:                            {ReasonNoHeader, "looks like JSON: use value.converter json"},
		"\x01\x00\x00\x00\x01":               {ReasonNoHeader, "0x01"},
		"\x00\x00\x00":                       {ReasonNoHeader, "too few"},
		string(framed(jsonID, []byte("{}"))): {ReasonBadSchema, "of the type JSON, not AVRO"},
	} {
		_, err := Avro{f.registry}.AppendJSON(nil, []byte(value))
		var bad *marketdata.Error
		if !errors.As(err, &bad) || bad.Reason != want[0] || !strings.Contains(bad.Message, want[1]) {
			t.Errorf("%q: %v, want %v", value, err, want)
		}
	}
	got, err := JSON{f.registry}.AppendJSON([]byte("x"), framed(jsonID, []byte(`{"a":1.50}`)))
	if err != nil || string(got) != `x{"a":1.50}` {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := (JSON{f.registry}).AppendJSON(nil, framed(avroID, nil)); err == nil {
		t.Error("an Avro record passes for JSON")
	}
}

// TestRegistryAway: an outage of the registry, or of what it wants, makes no bad
// record; what was learnt before holds.
func TestRegistryAway(t *testing.T) {
	t.Parallel()
	f := setup(t)
	known := f.register("a-value", `"int"`, sr.TypeAvro)
	later := f.register("b-value", `"long"`, sr.TypeAvro)
	if got, err := f.avro(known, []byte{2}); err != nil || got != "1" {
		t.Fatalf("%s, %v", got, err)
	}
	for _, status := range []int{http.StatusInternalServerError, http.StatusServiceUnavailable, http.StatusTooManyRequests, http.StatusUnauthorized, http.StatusForbidden, http.StatusFound} {
		f.fake.Intercept(func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(status)
			return true
		})
		if _, err := f.avro(later, []byte{2}); !connect.IsRetriable(err) {
			t.Errorf("status %d: %v", status, err)
		}
		if got, err := f.avro(known, []byte{4}); err != nil || got != "2" {
			t.Errorf("a known schema while it answers %d: %s, %v", status, got, err)
		}
		f.fake.ClearInterceptors()
	}
	if got, err := f.avro(later, []byte{2}); err != nil || got != "1" {
		t.Errorf("after the outage: %s, %v", got, err)
	}
	f.fake.Close()
	if _, err := f.avro(77, nil); !connect.IsRetriable(err) {
		t.Errorf("a registry that is gone: %v", err)
	}
}

// TestUnknownSchema: an id that the registry does not know is asked for again for
// a while, since a follower may lag; then it is the record's fault, and later
// asked for anew.
func TestUnknownSchema(t *testing.T) {
	t.Parallel()
	f := setup(t)
	var asked atomic.Int64
	f.fake.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		asked.Add(1)
		return false
	})
	step := func(later time.Duration, retriable bool) {
		t.Helper()
		f.clock = f.clock.Add(later)
		_, err := f.avro(7, nil)
		var bad *marketdata.Error
		if connect.IsRetriable(err) != retriable || !retriable && (!errors.As(err, &bad) || bad.Reason != ReasonUnknownSchemaID) {
			t.Errorf("%v, want retriable: %t", err, retriable)
		}
	}
	step(0, true)
	step(9*time.Second, true)
	step(2*time.Second, false)
	before := asked.Load()
	step(time.Second, false)
	if asked.Load() != before {
		t.Error("the registry is asked for each record")
	}
	step(2*time.Minute, true) // begins anew
	f.fake.SeedSchema("late-value", 1, 7, sr.Schema{Schema: `"int"`, Type: sr.TypeAvro})
	if got, err := f.avro(7, []byte{2}); err != nil || got != "1" {
		t.Errorf("once it is known: %s, %v", got, err)
	}
}

// TestNotTheRegistry: another server's 404 says nothing about a schema. It is an
// outage however long it lasts, and no record's fault (promise 6).
func TestNotTheRegistry(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for _, body := range []string{"404 page not found", `{"error_code":404,"message":"HTTP 404 Not Found"}`} {
		f.fake.Intercept(func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(body))
			return true
		})
		for range 3 {
			f.clock = f.clock.Add(time.Minute)
			if _, err := f.avro(7, nil); !connect.IsRetriable(err) || !strings.Contains(err.Error(), "value.converter.schema.registry.url") {
				t.Errorf("%s: %v", body, err)
			}
		}
		if err := f.registry.Ping(t.Context()); !connect.IsRetriable(err) {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// TestReferences: a schema may refer to those of other subjects, which refer on.
func TestReferences(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.register("decimal", `{"type":"fixed","name":"x.dec","size":4,"logicalType":"decimal","precision":9,"scale":2}`, sr.TypeAvro)
	f.register("level", `{"type":"record","name":"x.level","fields":[{"name":"price","type":"x.dec"}]}`, sr.TypeAvro,
		sr.SchemaReference{Name: "x.dec", Subject: "decimal", Version: 1})
	id := f.register("book-value", `{"type":"record","name":"x.book","fields":[{"name":"bids","type":{"type":"array","items":"level"}}]}`, sr.TypeAvro,
		sr.SchemaReference{Name: "x.level", Subject: "level", Version: 1})
	if got, err := f.avro(id, []byte{2, 0, 0, 0, 150, 0}); err != nil || got != `{"bids":[{"price":"1.50"}]}` {
		t.Errorf("%s, %v", got, err)
	}
	f.fake.SeedSchema("broken-value", 1, 900, sr.Schema{Schema: `{"type":"record","name":"r","fields":[{"name":"a","type":"nowhere"}]}`, Type: sr.TypeAvro})
	_, err := f.avro(900, nil)
	var bad *marketdata.Error
	if !errors.As(err, &bad) || bad.Reason != ReasonBadSchema {
		t.Errorf("a schema that cannot be used: %v", err)
	}
}

// TestCredentials are sent, and wanted.
func TestCredentials(t *testing.T) {
	t.Parallel()
	f := setup(t, srfake.WithAuth("Basic dXNlcjpwYXNz")) // user:pass
	f.fake.SeedSchema("a-value", 1, 5, sr.Schema{Schema: `"int"`, Type: sr.TypeAvro})
	if _, err := f.avro(5, []byte{2}); !connect.IsRetriable(err) {
		t.Errorf("without: %v", err)
	}
	f.registry = f.client(Options{User: "user", Password: "pass"})
	if got, err := f.avro(5, []byte{2}); err != nil || got != "1" {
		t.Errorf("with: %s, %v", got, err)
	}
}

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
	out, err := Protobuf{f.registry}.AppendJSON(nil, framed(id, payload))
	return string(out), err
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
		out, err := Protobuf{f.registry}.AppendJSON([]byte("before"), framed(id, []byte(payload)))
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

// FuzzProtobuf: no input panics, or becomes anything but JSON.
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
		r := protoReader{most: outMax}
		if err := r.message(all, payload, 0); err == nil && !json.Valid(r.out) {
			t.Fatalf("%x became %s", payload, r.out)
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
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if out, err = (Protobuf{f.registry}).AppendJSON(out[:0], value); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzAvro: no input panics, or becomes anything but JSON.
func FuzzAvro(f *testing.F) {
	schema := `{"type":"record","name":"r","fields":[{"name":"s","type":"string"},{"name":"d","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
		{"name":"u","type":["null",{"type":"array","items":["null","r","double"]},{"type":"map","values":{"type":"long","logicalType":"timestamp-nanos"}}]},{"name":"b","type":"boolean"}]}`
	root, err := compileAvro([]namedText{{text: schema}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{2, 'a', 4, 1, 2, 0, 1})
	f.Add([]byte{0, 0, 2, 4, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, payload []byte) {
		r := avroReader{in: payload, most: outMax}
		if err := r.read(root, 0); err == nil && !json.Valid(r.out) {
			t.Fatalf("%x became %s", payload, r.out)
		}
	})
}

// BenchmarkAvro is a price record of nine fields.
func BenchmarkAvro(b *testing.B) {
	f := setup(b)
	schema := `{"type":"record","name":"price","fields":[{"name":"coinId","type":"string"},{"name":"symbol","type":"string"},{"name":"exchangeId","type":"string"},
		{"name":"usdPrice","type":{"type":"bytes","logicalType":"decimal","precision":30,"scale":8}},{"name":"marketCap","type":["null",{"type":"bytes","logicalType":"decimal","precision":30,"scale":2}]},
		{"name":"volume24h","type":["null",{"type":"bytes","logicalType":"decimal","precision":30,"scale":2}]},{"name":"time","type":{"type":"long","logicalType":"timestamp-micros"}},
		{"name":"source","type":"string"},{"name":"attribution","type":"string"}]}`
	id := f.register("p-value", schema, sr.TypeAvro)
	value := framed(id, encoded(b, schema, map[string]any{
		"coinId": "bitcoin", "symbol": "BTC", "exchangeId": "binance", "usdPrice": big.NewRat(6712345, 100), "marketCap": big.NewRat(132233445566712, 100),
		"volume24h": big.NewRat(2812345678901, 100), "time": time.Unix(1_700_000_000, 0), "source": "exchange-feed", "attribution": "binance spot",
	}))
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if out, err = (Avro{f.registry}).AppendJSON(out[:0], value); err != nil {
			b.Fatal(err)
		}
	}
}

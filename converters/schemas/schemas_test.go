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

// FuzzAvro: no input panics, or becomes anything but JSON.
func FuzzAvro(f *testing.F) {
	schema := `{"type":"record","name":"r","fields":[{"name":"s","type":"string"},{"name":"d","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
		{"name":"u","type":["null",{"type":"array","items":["null","r","double"]},{"type":"map","values":{"type":"long","logicalType":"timestamp-nanos"}}]},{"name":"b","type":"boolean"}]}`
	root, err := compileAvro([]string{schema})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{2, 'a', 4, 1, 2, 0, 1})
	f.Add([]byte{0, 0, 2, 4, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, payload []byte) {
		r := avroReader{in: payload, most: avroOutMax}
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

package schemas

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/sr"

	"github.com/qicore/tickconnect/marketdata"
)

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
	return f.transcode(Avro{f.registry}.AppendJSON, id, payload)
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

// TestAvroRows: a record that is a row is read by its index as by its text, whatever
// its texts hold, in a union or with fields of another kind.
func TestAvroRows(t *testing.T) {
	t.Parallel()
	f := setup(t)
	decimal := `{"type":"bytes","logicalType":"decimal","precision":18,"scale":4}`
	schema := `["null",{"type":"record","name":"book","fields":[{"name":"exchange_id","type":"string"},{"name":"symbol","type":"string"},{"name":"time","type":{"type":"long","logicalType":"timestamp-micros"}},
		{"name":"snapshot","type":"boolean"},{"name":"sequence","type":["null","long"]},{"name":"venue","type":{"type":"map","values":"string"}},
		{"name":"bids","type":{"type":"array","items":{"type":"array","items":` + decimal + `}}},{"name":"asks","type":{"type":"array","items":{"type":"array","items":` + decimal + `}}},{"name":"source","type":["null","string"]}]}]`
	id := f.register("book-value", schema, sr.TypeAvro)
	for _, symbol := range []string{"BTC-USD", `a"b\c`, "\u00e4\t/€"} {
		payload := encoded(t, schema, map[string]any{
			"exchange_id": "Kraken", "symbol": symbol, "time": time.Unix(1_790_000_000, 5000), "snapshot": true, "sequence": int64(7), "venue": map[string]any{"a": "b"},
			"bids": []any{[]any{big.NewRat(11, 10), big.NewRat(2, 1)}, []any{big.NewRat(1, 1), big.NewRat(0, 1)}}, "asks": []any{}, "source": nil,
		})
		var x marketdata.Index
		out, err := Avro{f.registry}.AppendJSON([]byte(" "), framed(id, payload), &x)
		if err != nil {
			t.Fatal(err)
		}
		indexAgrees(t, out, &x)
		var d marketdata.Decoder
		row, err := d.DecodeIndexed(marketdata.KindBook, out, &x, time.Unix(1_790_000_000, 0))
		if err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		book := row.(*marketdata.Book)
		if book.Symbol != symbol || book.ExchangeID != "kraken" || len(book.Bids) != 2 || book.Bids[0].Price.String() != "1.1000" || book.Asks == nil || d.UnknownFields() != 1 {
			t.Errorf("%s became %+v with %d unknown fields", out, book, d.UnknownFields())
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

// FuzzAvro: no input panics, or becomes anything but JSON, and its members are where
// the index says.
func FuzzAvro(f *testing.F) {
	schema := `{"type":"record","name":"r","fields":[{"name":"symbol","type":"string"},{"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
		{"name":"bids","type":["null",{"type":"array","items":["null","r","double"]},{"type":"map","values":{"type":"long","logicalType":"timestamp-nanos"}}]},{"name":"snapshot","type":"boolean"},{"name":"SYMBOL","type":"string"}]}`
	root, err := compileAvro([]namedText{{text: schema}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{2, 'a', 4, 1, 2, 0, 1, 2, 'b'})
	f.Add([]byte{2, '"', 0, 2, 4, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 4, 0xc3, 0xa4})
	f.Fuzz(func(t *testing.T, payload []byte) {
		var x marketdata.Index
		r := avroReader{in: payload, most: 64 << 10, index: &x}
		if err := r.read(root, 0); err == nil {
			indexAgrees(t, r.out, &x)
		}
	})
}

// BenchmarkAvro decodes a price record of nine fields; marketdata's
// BenchmarkDecodePrice does the same with its JSON.
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
	var x marketdata.Index
	var d marketdata.Decoder
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if out, err = (Avro{f.registry}).AppendJSON(out[:0], value, &x); err != nil {
			b.Fatal(err)
		}
		if _, err := d.DecodeIndexed(marketdata.KindPrice, out, &x, now); err != nil {
			b.Fatal(err)
		}
	}
}

package schemas

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

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

// transcode gives the JSON that a record becomes, and checks its index.
func (f *fixture) transcode(appendJSON func(dst, value []byte, x *marketdata.Index) ([]byte, error), id int, payload []byte) (string, error) {
	var x marketdata.Index
	out, err := appendJSON(nil, framed(id, payload), &x)
	if err == nil {
		indexAgrees(f, out, &x)
	}
	return string(out), err
}

// indexAgrees checks a text that an encoding became: it is JSON, and a decoder that
// believes the index reads what another finds itself.
func indexAgrees(t testing.TB, text []byte, x *marketdata.Index) {
	t.Helper()
	if !json.Valid(text) {
		t.Fatalf("it became %s", text)
	}
	var indexed, found marketdata.Decoder
	now := time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)
	for _, kind := range marketdata.Kinds() {
		got, err := indexed.DecodeIndexed(kind, text, x, now)
		want, wanted := found.Decode(kind, text, now)
		if fmt.Sprint(err) != fmt.Sprint(wanted) || err == nil && !reflect.DeepEqual(got, want) ||
			indexed.UnknownFields() != found.UnknownFields() || indexed.Numbers() != found.Numbers() {
			t.Fatalf("%v: %s with the index is %+v, %v, %d unknown; without it %+v, %v, %d unknown",
				kind, text, got, err, indexed.UnknownFields(), want, wanted, found.UnknownFields())
		}
	}
}

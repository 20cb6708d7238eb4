package schemas

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/marketdata"
)

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
		_, err := Avro{f.registry}.AppendJSON(nil, []byte(value), nil)
		var bad *marketdata.Error
		if !errors.As(err, &bad) || bad.Reason != want[0] || !strings.Contains(bad.Message, want[1]) {
			t.Errorf("%q: %v, want %v", value, err, want)
		}
	}
	got, err := JSON{f.registry}.AppendJSON([]byte("x"), framed(jsonID, []byte(`{"a":1.50}`)), nil)
	if err != nil || string(got) != `x{"a":1.50}` {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := (JSON{f.registry}).AppendJSON(nil, framed(avroID, nil), nil); err == nil {
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

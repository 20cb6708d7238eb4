package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// spans is a collector of traces that keeps them.
type spans struct {
	mu  sync.Mutex
	all []*tracepb.Span
}

func (s *spans) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var request collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(body, &request)
	}
	if err != nil || r.URL.Path != "/v1/traces" {
		http.Error(w, fmt.Sprint(r.URL.Path, err), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, of := range request.ResourceSpans {
		for _, scope := range of.ScopeSpans {
			s.all = append(s.all, scope.Spans...)
		}
	}
}

// children are the names of the spans below one, in the order of their beginnings.
func (s *spans) children(parent *tracepb.Span) []string {
	var below []*tracepb.Span
	for _, span := range s.all {
		if bytes.Equal(span.ParentSpanId, parent.SpanId) {
			below = append(below, span)
		}
	}
	slices.SortStableFunc(below, func(a, b *tracepb.Span) int { return int(a.StartTimeUnixNano) - int(b.StartTimeUnixNano) })
	names := make([]string, len(below))
	for i, span := range below {
		names[i] = span.Name
	}
	return names
}

func (s *spans) named(name string) (found []*tracepb.Span) {
	for _, span := range s.all {
		if span.Name == name {
			found = append(found, span)
		}
	}
	return found
}

// withKeys is a copy of a configuration with more keys of the process.
func withKeys(t *testing.T, path, keys string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return writeConfig(t, keys+string(text))
}

// TestTraces: each Put is a trace, from its oldest record to its commit.
func TestTraces(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.createTopic(t, "crypto-prices-kraken", 1)
	got := &spans{}
	server := httptest.NewServer(got)
	t.Cleanup(server.Close)
	config := s.config(t, "crypto-prices-.+", "")
	traced := fmt.Sprintf("otel.exporter.otlp.endpoint: %s\notel.traces.sampler.arg: 1\n", server.URL)
	p := startConnector(t, withKeys(t, config, traced))
	for i := range 3 {
		s.produce(t, "crypto-prices-kraken", 0, price(i))
		p.until(t, "it is stored", "/connectors/market/offsets", stored(int64(i+1)))
	}
	if code := p.signal(t, syscall.SIGTERM); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	got.mu.Lock()
	defer got.mu.Unlock()
	stores := got.named("store")
	if len(stores) < 3 {
		t.Fatalf("%d traces of three Puts", len(stores))
	}
	for _, store := range stores {
		if names := got.children(store); !slices.Equal(names, []string{"fetch", "put"}) {
			t.Errorf("below store are %v, want fetch and put", names)
		}
		// The text of a message of Protobuf differs from build to build.
		says := map[string]*commonpb.AnyValue{}
		for _, a := range store.Attributes {
			says[a.Key] = a.Value
		}
		topics := says["messaging.destination.names"].GetArrayValue().GetValues()
		if says["messaging.batch.message_count"].GetIntValue() != 1 || len(topics) != 1 || topics[0].GetStringValue() != "crypto-prices-kraken" {
			t.Errorf("store says %v", store.Attributes)
		}
	}
	for _, put := range got.named("put") {
		if names := got.children(put); !slices.Equal(names, []string{"rows", "commit"}) {
			t.Errorf("below put of %s are %v, want rows and commit", hex.EncodeToString(put.TraceId), names)
		}
	}
}

// TestTracesOfACollectorThatIsAway: it holds back no record, and the log tells.
func TestTracesOfACollectorThatIsAway(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.createTopic(t, "crypto-prices-kraken", 1)
	s.produce(t, "crypto-prices-kraken", 0, price(0))
	config := withKeys(t, s.config(t, "crypto-prices-.+", ""), "otel.exporter.otlp.endpoint: http://127.0.0.1:1\notel.traces.sampler.arg: 1\n")
	p := startConnector(t, config)
	p.until(t, "it is stored", "/connectors/market/offsets", stored(1))
	began := time.Now()
	if code := p.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(began); took > 2*tracesTimeout {
		t.Errorf("the end took %v", took)
	}
	if log := <-p.log; strings.Count(log, "traces cannot be sent") == 0 {
		t.Errorf("the log does not say that traces cannot be sent:\n%s", log)
	}
}

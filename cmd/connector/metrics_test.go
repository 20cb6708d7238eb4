package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/qicore/tickconnect/connect"
	timescalesink "github.com/qicore/tickconnect/connectors/timescale-sink"
	"github.com/qicore/tickconnect/internal/rest"
	"github.com/qicore/tickconnect/internal/worker"
	"github.com/qicore/tickconnect/publish/ingest"
)

// recordingRegisterer remembers what is registered with it.
type recordingRegisterer struct {
	prometheus.Registerer
	collectors []prometheus.Collector
}

func (r *recordingRegisterer) MustRegister(cs ...prometheus.Collector) {
	r.Registerer.MustRegister(cs...)
	r.collectors = append(r.collectors, cs...)
}

var descForm = regexp.MustCompile(`^Desc\{fqName: "([^"]+)", help: "([^"]*)".*constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)

// metricLines documents metrics as lines of a table. kinds has those of metrics
// that kindOf does not know.
func metricLines(t *testing.T, c prometheus.Collector, kinds map[string]string) []string {
	t.Helper()
	descs := make(chan *prometheus.Desc, 256)
	c.Describe(descs)
	close(descs)
	var lines []string
	for d := range descs {
		m := descForm.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("a description in another form: %s", d)
		}
		kind := kindOf(c)
		if kind == "" {
			kind = kinds[m[1]]
		}
		var labels []string
		for constant := range strings.SplitSeq(m[3], ",") {
			if name, _, ok := strings.Cut(constant, "="); ok {
				labels = append(labels, name)
			}
		}
		if m[4] != "" {
			labels = append(labels, strings.Split(m[4], ",")...)
		}
		lines = append(lines, fmt.Sprintf("| `%s` | %s | %s | %s |", m[1], kind, strings.Join(labels, ", "), m[2]))
	}
	return lines
}

// kindOf says what kind of metric a collector gives that has no value yet.
func kindOf(c prometheus.Collector) string {
	switch c.(type) {
	case interface {
		WithLabelValues(...string) prometheus.Counter
	}:
		return "counter"
	case interface {
		WithLabelValues(...string) prometheus.Gauge
	}:
		return "gauge"
	case *prometheus.HistogramVec:
		return "histogram"
	}
	return ""
}

// registered are the metrics of a process: lines of a table for ours, and the names
// of all that have a value from the beginning.
func registered(t *testing.T) (lines, names []string) {
	t.Helper()
	registry := newRegistry()
	recording := &recordingRegisterer{Registerer: registry}
	worker.NewMetrics(recording)
	ingest.NewMetrics(recording)
	cfg := timescalesink.Default()
	cfg.ConnectionURL = "postgres://u@127.0.0.1:1/db"
	target, err := timescalesink.New("market", cfg, connect.Env{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { target.Close() })
	registerCounters(recording, "market", target)
	registerHealth(recording, func() rest.Health { return rest.Health{} })
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]string{}
	for _, f := range families {
		names = append(names, f.GetName())
		kinds[f.GetName()] = strings.ToLower(f.GetType().String())
	}
	for _, c := range recording.collectors {
		lines = append(lines, metricLines(t, c, kinds)...)
	}
	for _, line := range metricLines(t, registry, kinds) {
		name := metricNames.FindString(line)
		if name != "" && !slices.ContainsFunc(lines, func(w string) bool { return metricNames.FindString(w) == name }) {
			lines = append(lines, line) // of the process itself
		}
	}
	slices.Sort(lines)
	return lines, names
}

// TestMetricsAreDocumented: docs/operations.md lists each metric that a process
// registers, with its kind, labels and meaning, and no other.
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	want, _ := registered(t)
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.SplitSeq(string(page), "\n") {
		if strings.HasPrefix(line, "| `tickconnect_") || strings.HasPrefix(line, "| `kafka_connect_") {
			got = append(got, line)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the list of metrics in docs/operations.md is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// metricNames are the metrics that a text speaks of.
var metricNames = regexp.MustCompile(`\b(?:tickconnect|kafka_connect)_[a-z_]+`)

// TestPageUsesMetricsThatExist: what docs/operations.md speaks of is in its list.
func TestPageUsesMetricsThatExist(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for line := range strings.SplitSeq(string(page), "\n") {
		if strings.HasPrefix(line, "| `tickconnect_") || strings.HasPrefix(line, "| `kafka_connect_") {
			known[metricNames.FindString(line)] = true
		}
	}
	for _, name := range metricNames.FindAllString(string(page), -1) {
		base := name
		for _, suffix := range []string{"_bucket", "_count", "_sum"} {
			if cut := strings.TrimSuffix(name, suffix); known[cut] {
				base = cut
			}
		}
		if !known[base] {
			t.Errorf("%s is in no list", name)
		}
	}
}

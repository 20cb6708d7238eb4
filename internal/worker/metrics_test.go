package worker

import (
	"errors"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/connect/connecttest"
)

// TestGaugesAreFresh: a scrape shows the status of its own moment, not that of
// the scrape before it, in whatever order a registry collects.
func TestGaugesAreFresh(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	w, err := New("c", DefaultSettings(), &scriptedSource{}, connecttest.NewMemory(connecttest.MemoryConfig{}).Connector("c"),
		Options{Metrics: NewMetrics(registry)})
	if err != nil {
		t.Fatal(err)
	}
	state := func() float64 {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "tickconnect_breaker_state" {
				return f.Metric[0].GetGauge().GetValue()
			}
		}
		t.Fatal("the breaker's state is missing")
		return 0
	}
	for range 20 {
		if got := state(); got != 0 {
			t.Fatalf("the breaker is closed, and shown as %v", got)
		}
	}
	for range 100 {
		_, err = guard(w, false, func() (int, error) { return 0, connect.Retriable(errors.New("away")) })
	}
	if err == nil {
		t.Fatal("no error")
	}
	if got := state(); got != 2 {
		t.Errorf("the breaker is open, and shown as %v", got)
	}
}

package testenv

import (
	"context"
	"testing"

	"github.com/qicore/tickconnect/internal/devstack"
)

// Prometheus starts a Prometheus that belongs to the test. The test fails if it
// has ended before it.
func Prometheus(t testing.TB, opts devstack.PrometheusOptions) *devstack.Prometheus {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	p, err := devstack.StartPrometheus(ctx, opts)
	Need(t, err)
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("closing the test's Prometheus: %v", err)
		}
	})
	return p
}

// Promtool returns the path of Prometheus' own tool.
func Promtool(t testing.TB) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	path, err := devstack.Promtool(ctx, "", nil)
	Need(t, err)
	return path
}

package devstack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// startPrometheus starts a server that the test closes.
func startPrometheus(t *testing.T, opts PrometheusOptions) *Prometheus {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	p, err := StartPrometheus(ctx, opts)
	if errors.Is(err, ErrUnavailable) && os.Getenv("CI") != "true" {
		t.Skipf("NOT TESTED: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(p.dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", p.dir, err)
		}
	})
	return p
}

// TestPrometheusScrapes: a server scrapes what its files name, also once they
// change, and answers queries about it.
func TestPrometheusScrapes(t *testing.T) {
	t.Parallel()
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "answer 42")
	}))
	t.Cleanup(target.Close)
	p := startPrometheus(t, PrometheusOptions{
		Config: `{global: {scrape_interval: 1s}, scrape_configs: [{job_name: j, file_sd_configs: [{files: [targets.json], refresh_interval: 1s}]}]}`,
		Files:  map[string]string{"targets.json": `[]`},
	})
	if err := p.Write("targets.json", fmt.Sprintf(`[{"targets": [%q]}]`, strings.TrimPrefix(target.URL, "http://"))); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		body, err := httpGet(ctx, p.URL()+"/api/v1/query?query=answer")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(body), `"42"`) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the last answer is %s; the log ends with:\n%s", body, logTail(p.logFile()))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// TestPrometheusKnowsItself: a server that another process has on the port is not
// taken for this one, and a configuration that is wrong is said to be.
func TestPrometheusKnowsItself(t *testing.T) {
	t.Parallel()
	other := startPrometheus(t, PrometheusOptions{Config: "{}"})
	cmd := exec.Command("sleep", "60")
	server, err := startProcess(cmd, account{}, os.Kill, os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.kill)
	p := &Prometheus{dir: t.TempDir(), port: other.port}
	if err := p.waitReady(t.Context(), server); err == nil || !strings.Contains(err.Error(), "belongs to another server") {
		t.Errorf("beside another server the error is %v", err)
	}
	if _, err := StartPrometheus(t.Context(), PrometheusOptions{Config: "nonsense: 1"}); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("with a wrong configuration the error is %v", err)
	}
}

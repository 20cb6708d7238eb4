package rest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func options() Options {
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "tickconnect_test_total"})
	registry.MustRegister(counter)
	return Options{
		Listeners: []string{"http://127.0.0.1:0"},
		Root:      Root{Version: "v1.2.3", Commit: "abc"},
		ClusterID: func(context.Context) (string, error) { return "cluster-1", nil },
		Health:    func() Health { return Health{Healthy: true, Status: "healthy", Message: "ready"} },
		Metrics:   registry,
		Log:       slog.New(slog.DiscardHandler),
	}
}

// setup serves until the test ends, and checks that Serve ends well.
func setup(t *testing.T, opts Options) []string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s, err := Listen(ctx, opts)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Serve did not end")
		}
	})
	return s.URLs()
}

func request(t *testing.T, method, url string) (int, string, map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if resp.Header.Get("Content-Type") == "application/json" {
		if err := json.Unmarshal(body, &fields); err != nil {
			t.Fatalf("%s %s: %v in %s", method, url, err, body)
		}
	}
	return resp.StatusCode, string(body), fields
}

func TestServer(t *testing.T) {
	t.Parallel()
	var failing atomic.Bool
	opts := options()
	opts.Health = func() Health {
		if failing.Load() {
			return Health{Status: "unhealthy", Message: "market is FAILED"}
		}
		return Health{Healthy: true, Status: "healthy", Message: "ready"}
	}
	at := setup(t, opts)[0]

	code, _, body := request(t, "GET", at+"/")
	if code != 200 || body["version"] != APIVersion+"-tickconnect-v1.2.3" || body["commit"] != "abc" || body["kafka_cluster_id"] != "cluster-1" {
		t.Errorf("GET / gave %d %v", code, body)
	}
	code, _, body = request(t, "GET", at+"/health")
	if code != 200 || body["status"] != "healthy" || body["message"] != "ready" || len(body) != 2 {
		t.Errorf("GET /health gave %d %v", code, body)
	}
	failing.Store(true)
	code, _, body = request(t, "GET", at+"/health")
	if code != 503 || body["status"] != "unhealthy" || body["message"] != "market is FAILED" {
		t.Errorf("GET /health gave %d %v", code, body)
	}
	code, text, _ := request(t, "GET", at+"/metrics")
	if code != 200 || !strings.Contains(text, "tickconnect_test_total 0") {
		t.Errorf("GET /metrics gave %d %s", code, text)
	}
	code, _, body = request(t, "GET", at+"/nothing")
	if code != 404 || body["error_code"] != 404.0 || body["message"] != "HTTP 404 Not Found" {
		t.Errorf("an unknown path gave %d %v", code, body)
	}
	code, _, body = request(t, "POST", at+"/health")
	if code != 405 || body["error_code"] != 405.0 || body["message"] != "HTTP 405 Method Not Allowed" {
		t.Errorf("another method gave %d %v", code, body)
	}
}

// TestClusterIDHoldsUpNobody: many ask while the brokers are away, and none waits for
// another.
func TestClusterIDHoldsUpNobody(t *testing.T) {
	t.Parallel()
	opts := options()
	opts.ClusterID = func(ctx context.Context) (string, error) { <-ctx.Done(); return "", ctx.Err() }
	url := setup(t, opts)[0]
	begun := time.Now()
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			if code, _ := send(t, http.MethodGet, url+"/", nil); code != http.StatusOK {
				t.Errorf("GET /: %d", code)
			}
		})
	}
	group.Wait()
	if took := time.Since(begun); took > 2*clusterIDWithin {
		t.Errorf("4 at once took %s", took)
	}
}

// TestClusterIDComesLater: GET / answers while the brokers are away, and asks
// again until they name the cluster.
func TestClusterIDComesLater(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	opts := options()
	opts.ClusterID = func(context.Context) (string, error) {
		if calls.Add(1) == 1 {
			return "", errors.New("away")
		}
		return "cluster-2", nil
	}
	at := setup(t, opts)[0]
	for _, want := range []any{nil, "cluster-2", "cluster-2"} {
		code, _, body := request(t, "GET", at+"/")
		if code != 200 || body["kafka_cluster_id"] != want {
			t.Errorf("GET / gave %d %v, want %v", code, body, want)
		}
	}
	if calls.Load() != 2 {
		t.Errorf("the brokers were asked %d times, want 2", calls.Load())
	}
}

func TestMetricsApart(t *testing.T) {
	t.Parallel()
	opts := options()
	opts.MetricsListeners = []string{"http://127.0.0.1:0"}
	urls := setup(t, opts)
	for _, tt := range []struct {
		url  string
		want int
	}{
		{urls[0] + "/", 200},
		{urls[0] + "/health", 200},
		{urls[0] + "/metrics", 404},
		{urls[1] + "/", 404},
		{urls[1] + "/health", 200},
		{urls[1] + "/metrics", 200},
	} {
		if code, _, _ := request(t, "GET", tt.url); code != tt.want {
			t.Errorf("GET %s gave %d, want %d", tt.url, code, tt.want)
		}
	}
}

// TestPortInUse: the error names the key and what to do, and the listeners that
// were already bound are free again.
func TestPortInUse(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	first := free.Addr().String()
	free.Close()
	opts := options()
	opts.Listeners = []string{"http://" + first}
	opts.MetricsListeners = []string{"http://" + taken.Addr().String()}
	s, err := Listen(t.Context(), opts)
	if err == nil {
		s.Close()
		t.Fatal("bound a port that is in use")
	}
	again, listenErr := net.Listen("tcp", first)
	if listenErr != nil {
		t.Fatalf("the first listener is still bound: %v", listenErr)
	}
	again.Close()
	want := "metrics.listeners: http://" + taken.Addr().String() + " is in use by another process"
	if !strings.HasPrefix(err.Error(), want) {
		t.Errorf("the error is %v, want %s", err, want)
	}
}

func TestCheckListener(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"http://127.0.0.1:8083", "http://:8083", "http://[::1]:0", "http://localhost:8083/"} {
		if err := CheckListener(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "127.0.0.1:8083", "http://127.0.0.1", "ftp://127.0.0.1:8083", "http://h:port", "http://h:1/path"} {
		if CheckListener(bad) == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// connectors runs connector connectors against a replica.
func (p *connectorProcess) connectors(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	return command(t, append([]string{"connectors", "--url", p.url}, args...)...)
}

// TestConnectorsCommand: a connector is created from a file, compared, changed, paused,
// restarted and deleted, with answers for people and for programs.
func TestConnectorsCommand(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.createTopic(t, "crypto-prices-kraken", 1)
	s.produce(t, "crypto-prices-kraken", 0, price(0))
	p := startConnector(t, s.worker(t, "cli"))
	says := func(code int, part string, args ...string) string {
		t.Helper()
		got, out, errOut := p.connectors(t, args...)
		if got != code || !strings.Contains(out+errOut, part) || strings.Contains(out+errOut, "geheim") {
			t.Fatalf("%v: exit code %d, want %d and %q:\n%s%s", args, got, code, part, out, errOut)
		}
		return out
	}
	file := filepath.Join(t.TempDir(), "market.yaml")
	write := func(more string) {
		t.Helper()
		text := fmt.Sprintf("connectors:\n  market:\n    connector.class: timescale-sink\n    topics: crypto-prices-kraken\n    connection.url: %q\n    schema.name: %s\n%s", s.url, s.schema, more)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	says(0, "There is no connector", "list")
	says(1, "Connector market not found", "describe", "market")
	write("    tasks.max: 0\n    taks.max: 1\n")
	for _, verb := range []string{"create", "apply"} {
		says(1, "tasks.max", verb, "-f", file)
		says(1, "did you mean", verb, "-f", file)
	}
	says(0, "There is no connector", "list")
	write("    tasks.max: 1\n    connection.password: geheim\n")
	says(1, "market: new\n  + connection.password: [hidden]", "diff", "-f", file)
	says(0, "Nothing was changed", "apply", "-f", file, "--dry-run")
	says(0, "There is no connector", "list")
	write("    tasks.max: 1\n")
	says(0, "market: created", "create", "-f", file, "--initial-state", "paused")
	says(1, "market is there already", "create", "-f", file)
	says(0, "market: as it runs", "diff", "-f", file)
	says(0, "market: goes on", "resume", "market")
	p.until(t, "it runs", "/connectors/market/status", in("RUNNING", "RUNNING"))
	p.until(t, "one is stored", "/connectors/market/offsets", stored(1))
	says(0, "crypto-prices-kraken/0  1", "offsets", "market")
	says(0, "task 0  RUNNING  cli:", "status")
	says(0, "exactly once", "status", "market")
	if code, out, errOut := command(t, "status", "--url", p.url); code != 0 || !strings.Contains(out, ", healthy\n") || !strings.Contains(out, "market     RUNNING  1 RUNNING  1         crypto-prices-kraken") {
		t.Errorf("status: exit code %d, %s%s", code, out, errOut)
	}
	says(0, "topics: crypto-prices-kraken\n", "describe", "market")
	says(0, "market     RUNNING  1 RUNNING  1         crypto-prices-kraken", "list")

	write("    tasks.max: 2\n")
	says(1, "market: changed\n  - tasks.max: 1\n  + tasks.max: 2\n", "diff", "-f", file)
	out := says(1, `"action": "update"`, "diff", "-f", file, "-o", "json")
	var changes struct {
		Connectors []change `json:"connectors"`
	}
	if err := json.Unmarshal([]byte(out), &changes); err != nil || len(changes.Connectors) != 1 || *changes.Connectors[0].Keys[0].To != "2" {
		t.Errorf("%v: %s", err, out)
	}
	says(0, "Done.", "apply", "-f", file)
	p.until(t, "it has two tasks", "/connectors/market/status", in("RUNNING", "RUNNING", "RUNNING"))
	says(0, "market: as it runs", "apply", "-f", file)

	// Kafka Connect's form, beside another file of this product's.
	second := filepath.Join(t.TempDir(), "second.json")
	if err := os.WriteFile(second, []byte(`{"name":"second","config":{"connector.class":"timescale-sink","topics":"none","tasks.max":3,"connection.url":"postgres://127.0.0.1:1/d"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	says(0, "second: new", "apply", "-f", file, "-f", second)
	spaced := filepath.Join(t.TempDir(), "spaced.json")
	if err := os.WriteFile(spaced, []byte(`{"name":" second ","config":{"connector.class":"timescale-sink","topics":"none","tasks.max":3,"connection.url":"postgres://127.0.0.1:1/d"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	says(0, "second: as it runs", "apply", "-f", spaced)
	says(1, "market is there twice", "apply", "-f", file, "-f", file)
	says(0, "second: is being stopped", "stop", "second")
	p.until(t, "stopped", "/connectors/second/status", in("STOPPED"))
	says(0, "market: is being restarted", "restart", "market")
	says(0, `"done": "pause"`, "pause", "market", "-o", "json")
	p.until(t, "paused", "/connectors/market/status", in("PAUSED", "PAUSED", "PAUSED"))
	says(0, "second: deleted", "delete", "second", "market")
	says(1, "Connector second not found", "delete", "second")
	says(0, `"connectors": []`, "list", "-o", "json")
}

// TestStatusScreen: what is wrong is on it, and the screen follows while one watches.
func TestStatusScreen(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	p := startConnector(t, s.worker(t, "screen"))
	s.createTopic(t, "crypto-prices-kraken", 1)
	p.want(t, 201, "", "POST", "/connectors", `{"name":"broken","config":{"connector.class":"timescale-sink","topics":"crypto-prices-kraken","connection.url":"postgres://127.0.0.1:1/d"}}`)
	p.waitHealth(t, http.StatusServiceUnavailable)
	code, out, errOut := command(t, "status", "--url", p.url)
	if code != 1 || errOut != "" || !strings.Contains(out, "unhealthy: broken: ") || !strings.Contains(out, "broken     FAILED") || !strings.Contains(out, "connection refused") {
		t.Errorf("exit code %d: %s%s", code, out, errOut)
	}
	code, out, _ = command(t, "status", "--url", p.url, "-o", "json")
	var o overview
	if err := json.Unmarshal([]byte(out), &o); code != 1 || err != nil || o.Cluster == "" || len(o.Connectors) != 1 || !strings.HasPrefix(o.Health, "unhealthy") {
		t.Errorf("exit code %d, %v: %s", code, err, out)
	}
	if code, _, errOut := command(t, "status", "--url", p.url, "--watch", "-o", "json"); code != 1 || !strings.Contains(errOut, "--watch") {
		t.Errorf("exit code %d: %s", code, errOut)
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	screens := &screenBuffer{enough: cancel}
	if code := execute(ctx, []string{"status", "--url", p.url, "--watch", "--interval", "100ms"}, screens, io.Discard); code != 0 || screens.n < 3 {
		t.Errorf("exit code %d after %d screens", code, screens.n)
	}
	if !strings.Contains(screens.last, "unhealthy: broken: ") {
		t.Errorf("the screen is %s", screens.last)
	}
}

// screenBuffer counts screens.
type screenBuffer struct {
	enough func() // is called at the third
	n      int
	last   string
}

func (s *screenBuffer) Write(p []byte) (int, error) {
	s.last = string(p)
	if s.n++; s.n == 3 {
		s.enough()
	}
	return len(p), nil
}

// TestConnectorsPlan: a change is tried on real records before it is made, rows before
// and after, and made only if nothing has changed since.
func TestConnectorsPlan(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.createTopic(t, "crypto-prices-kraken", 3)
	for i := range 9 {
		s.produce(t, "crypto-prices-kraken", int32(i%3), price(i))
	}
	s.produce(t, "crypto-prices-kraken", 0, `{"not": "a price"}`)
	config := s.worker(t, "plan")
	p := startConnector(t, config)
	file := filepath.Join(t.TempDir(), "market.yaml")
	write := func(more string) {
		t.Helper()
		text := fmt.Sprintf("connectors:\n  market:\n    connector.class: timescale-sink\n    topics: crypto-prices-kraken\n    connection.url: %q\n    schema.name: %s\n%s", s.url, s.schema, more)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	plan := func(more string, parts ...string) (name string) {
		t.Helper()
		write(more)
		code, out, errOut := p.connectors(t, "plan", "-f", file, "-c", config)
		for _, part := range parts {
			if code != 0 || !strings.Contains(out, part) {
				t.Fatalf("plan: exit code %d, want %s:\n%s%s", code, part, out, errOut)
			}
		}
		_, name, _ = strings.Cut(out, "--plan ")
		return strings.TrimSpace(name)
	}
	apply := func(code int, plan, part string) {
		t.Helper()
		got, out, errOut := p.connectors(t, "apply", "-f", file, "--plan", plan)
		if got != code || !strings.Contains(out+errOut, part) {
			t.Fatalf("apply: exit code %d, want %d and %s:\n%s%s", got, code, part, out, errOut)
		}
	}
	first := plan("", "market: new", "market: tried on 10 records.")
	apply(0, first, "Done.")
	apply(1, first, "is another plan than") // it runs now
	plan("    tasks.max: 1\n", "  + tasks.max: 1", "market: of the newest 10 records, 10 become what they became before and 0 something else.")
	other := plan("    value.converter: json\n    value.converter.kind: price\n    value.converter.fields: source='x'\n",
		"of the newest 10 records, 0 become what they became before and 10 something else.",
		"    - a dead letter: missing_field source: is required\n    + a dead letter: missing_field attribution: is required\n",
		`    - price {"coinId":"bitcoin","symbol":"BTC","exchangeId":"kraken","usdPrice":"5000`, `"source":"test","attribution":"test"}`, `"source":"x","attribution":"test"}`)
	apply(0, other, "Done.")
	ignored := plan("    kinds.ignore: price\n", "0 become what they became before and 10 something else", "    + nothing: filtered", "    - a dead letter: missing_field attribution: is required")
	p.want(t, 200, "", "PATCH", "/connectors/market/config", `{"tasks.max":3}`)
	apply(1, ignored, "what runs or the files have changed since")
	s.createTopic(t, "crypto-prices-binance", 1)
	s.produce(t, "crypto-prices-binance", 0, price(0))
	p.want(t, 200, "", "PATCH", "/connectors/market/config", `{"topics":"crypto-prices-kraken,crypto-prices-binance"}`)
	plan("    tasks.max: 3\n    value.converter: json\n    value.converter.kind: price\n    value.converter.fields: source='x'\n",
		"market: no longer read: crypto-prices-binance\n", "of the newest 11 records, 10 become what they became before and 1 something else", "    + not read\n")
	if code, _, errOut := p.connectors(t, "plan", "-f", file, "-c", config, "--records", "0"); code != 1 || !strings.Contains(errOut, "--records: 0 is outside") {
		t.Errorf("exit code %d, %s", code, errOut)
	}
	p.want(t, 200, `"tasks.max":"3"`, "GET", "/connectors/market/config", "") // what was refused changed nothing
}

// TestApplyIsAllOrNothing: where one of the connectors cannot be changed, none is.
func TestApplyIsAllOrNothing(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	p := startConnector(t, s.config(t, "none", ""))
	file := filepath.Join(t.TempDir(), "both.yaml")
	one := "    connector.class: timescale-sink\n    topics: other\n    connection.url: postgres://127.0.0.1:1/d\n"
	if err := os.WriteFile(file, []byte("connectors:\n  another:\n"+one+"  market:\n"+one), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errOut := p.connectors(t, "apply", "-f", file)
	if code != 1 || !strings.Contains(errOut, "nothing was changed:\n") || !strings.Contains(errOut, "market is defined in the configuration file") {
		t.Errorf("exit code %d: %s%s", code, out, errOut)
	}
	p.want(t, 200, `["market"]`, "GET", "/connectors", "")
}

// TestApplyAtTheSameMoment: what somebody changes while apply runs is not replaced.
func TestApplyAtTheSameMoment(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	p := startConnector(t, s.worker(t, "moment"))
	market := s.market("none", "")
	target, err := url.Parse(p.url)
	if err != nil {
		t.Fatal(err)
	}
	var before func() // each PUT
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	between := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/market/config") {
			before()
		}
		forward.ServeHTTP(w, r)
	}))
	defer between.Close()
	file := filepath.Join(t.TempDir(), "market.json")
	if err := os.WriteFile(file, []byte(`{"name":"market","config":`+s.market("other", "")+`}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, somebody := range []func(){
		func() {
			p.want(t, 201, "", "POST", "/connectors", `{"name":"market","initial_state":"STOPPED","config":`+market+`}`)
		},
		func() { p.want(t, 200, "", "PATCH", "/connectors/market/config", `{"tasks.max":"7"}`) },
		func() { p.want(t, 204, "", "DELETE", "/connectors/market", "") },
	} {
		before = somebody
		code, out, errOut := command(t, "connectors", "--url", between.URL, "apply", "-f", file)
		if code != 1 || !strings.Contains(errOut, "has been changed since\nchanged before that: none") {
			t.Errorf("exit code %d: %s%s", code, out, errOut)
		}
	}
	p.want(t, 404, "", "GET", "/connectors/market", "")
	before = func() {}
	if code, out, errOut := command(t, "connectors", "--url", between.URL, "apply", "-f", file); code != 0 {
		t.Errorf("exit code %d: %s%s", code, out, errOut)
	}
}

// TestConnectorsCommandFaults: what cannot be asked says what to do.
func TestConnectorsCommandFaults(t *testing.T) {
	t.Parallel()
	empty := writeConfig(t, "bootstrap.servers: h:1\n")
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"list", "--url", "127.0.0.1:8083"}, "--url: \"127.0.0.1:8083\" is not an address such as http://"},
		{[]string{"list", "--url", "http://127.0.0.1:1"}, "is a replica there? Say where with --url"},
		{[]string{"list", "--ca", "/nowhere"}, "--ca: open /nowhere"},
		{[]string{"apply"}, `required flag(s) "filename" not set`},
		{[]string{"apply", "-f", empty}, "there is no connector in it"},
		{[]string{"pause"}, "requires at least 1 arg"},
	} {
		code, out, errOut := command(t, append([]string{"connectors"}, tt.args...)...)
		if code != 1 || out != "" || !strings.Contains(errOut, tt.want) {
			t.Errorf("%v: exit code %d, %s%s; want %s", tt.args, code, out, errOut, tt.want)
		}
	}
}

// TestConnectorsWaitForABusyReplica: what is refused for a moment is asked again, and
// no other error.
func TestConnectorsWaitForABusyReplica(t *testing.T) {
	t.Parallel()
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		switch asked {
		case 1, 2:
			http.Error(w, `{"error_code":503,"message":"soon"}`, http.StatusServiceUnavailable)
		case 3:
			fmt.Fprint(w, "{}")
		default:
			http.Error(w, `{"error_code":500,"message":"it broke"}`, http.StatusInternalServerError)
		}
	}))
	defer server.Close()
	url := server.URL
	if code, out, errOut := command(t, "connectors", "list", "--url", url); code != 0 || asked != 3 {
		t.Errorf("exit code %d after %d requests: %s%s", code, asked, out, errOut)
	}
	begun := time.Now()
	if code, _, errOut := command(t, "connectors", "list", "--url", url); code != 1 || asked != 4 || !strings.Contains(errOut, "it broke") {
		t.Errorf("exit code %d after %d requests and %s: %s", code, asked, time.Since(begun), errOut)
	}
}

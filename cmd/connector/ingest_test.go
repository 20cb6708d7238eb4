package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/internal/devstack/testenv"
)

// ingestURL waits until the process takes records.
func (p *connectorProcess) ingestURL(t *testing.T) string {
	t.Helper()
	select {
	case address := <-p.ingest:
		p.ingest <- address
		return address
	case <-time.After(time.Minute):
		t.Fatal("the process takes no records")
		return ""
	}
}

// post sends records, and gives the answer.
func post(ctx context.Context, url, token, body string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

// TestRunIngest: a process without a connector takes records, for those who have
// a token, in the layout that is set, counts them, and shows no token.
func TestRunIngest(t *testing.T) {
	t.Parallel()
	const token = "feeder-0123456789abcdef"
	brokers := testenv.Broker(t)
	tokens := filepath.Join(t.TempDir(), "tokens.json")
	if err := os.WriteFile(tokens, fmt.Appendf(nil, `{"tokens": [{"name": "feeder", "token": %q, "kinds": ["price"], "exchanges": ["kraken"]}]}`, token), 0o600); err != nil {
		t.Fatal(err)
	}
	config := writeConfig(t, `
bootstrap.servers: `+strings.Join(brokers, ",")+`
listeners: http://127.0.0.1:0
log.level: DEBUG
publish.listeners: http://127.0.0.1:0
publish.layout: topic-per-kind
publish.tokens.path: `+tokens+`
`)
	if code, out, errOut := command(t, "validate", "--offline", "-c", config); code != 0 || !strings.Contains(out, "is valid") {
		t.Errorf("validate: exit code %d, %s%s", code, out, errOut)
	}
	p := startConnector(t, config)
	url := p.ingestURL(t) + "/publish/price"
	if code, body, err := post(t.Context(), url, "", price(1)); code != http.StatusUnauthorized {
		t.Errorf("without a token: %d %s %v", code, body, err)
	}
	if code, body, err := post(t.Context(), url, token, "["+price(1)+","+price(2)+"]"); code != http.StatusOK || body != `{"accepted":2,"rejected":[]}` {
		t.Errorf("%d %s %v", code, body, err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics("crypto-prices"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var values []string
	for len(values) < 2 {
		fetches := client.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		for _, r := range fetches.Records() {
			values = append(values, string(r.Value))
			if string(r.Key) != "kraken|BTC" {
				t.Errorf("the key is %s", r.Key)
			}
		}
	}
	if values[0] != price(1) || values[1] != price(2) {
		t.Errorf("the topic holds %s", values)
	}
	p.waitHealth(t, http.StatusOK)
	code, metrics := p.get(t, "/metrics")
	for _, want := range []string{
		`tickconnect_ingest_requests_total{code="200",kind="price"} 1`, `tickconnect_ingest_requests_total{code="401",kind="price"} 1`,
		`tickconnect_ingest_records_total{kind="price",outcome="accepted"} 2`, "tickconnect_ingest_requests_in_flight 0",
	} {
		if code != http.StatusOK || !strings.Contains(metrics, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	if code := p.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	log := <-p.log
	p.log <- log
	if strings.Contains(log+metrics, "0123456789abcdef") {
		t.Errorf("the token is shown:\n%s", log)
	}
}

// TestStopAnswersWhoWaits: on SIGTERM a request that brokers hold up, which
// never answer, is answered within the limit.
func TestStopAnswersWhoWaits(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	p := startConnector(t, writeConfig(t, `
bootstrap.servers: `+silent.Addr().String()+`
listeners: http://127.0.0.1:0
publish.listeners: http://127.0.0.1:0
shutdown.timeout.ms: 3000
`))
	url := p.ingestURL(t) + "/publish/price"
	answer := make(chan string, 1)
	go func() {
		code, body, err := post(t.Context(), url, "", price(1))
		answer <- fmt.Sprint(code, " ", body, err)
	}()
	for range 3 { // the two topics of the process, and the request asks for its own
		conn, err := silent.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	p.signal(t, syscall.SIGTERM)
	if got := <-answer; !strings.HasPrefix(got, `503 {"accepted":0,"rejected":[],"unsent":[{"index":0,`) {
		t.Errorf("the answer is %s", got)
	}
}

// TestIngestConfiguration: what cannot be served, or would be open to everyone,
// is said with its key, before anything starts.
func TestIngestConfiguration(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	bad := filepath.Join(t.TempDir(), "bad.json")
	if err := os.WriteFile(bad, []byte(`{"tokens": [{"name": "a", "token": "hunter2-hunter2-hunter2"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	const good = "http://127.0.0.1:0"
	for _, tt := range []struct{ listener, more, want string }{
		{"http://:8084", "", "publish.listeners: http://:8084 can be reached from elsewhere, and everyone there could publish: set publish.tokens.path"},
		{"http://0.0.0.0:8084", "", "can be reached from elsewhere"},
		{"http://192.0.2.1:8084", "", "can be reached from elsewhere"},
		{"http://localhost.example.com:8084", "", "can be reached from elsewhere"},
		{"https://127.0.0.1:8084", "", "publish.listeners: https://127.0.0.1:8084: only http:// is served there"},
		{good, "publish.layout: exchange", `publish.layout: "exchange" is refused`},
		{good, "publish.buffer.bytes: 1", "publish.buffer.bytes: 1 is outside"},
		{good, "publish.request.timeout.ms: 1", "publish.request.timeout.ms: 1 is outside 1000..600000"},
		{good, "publish.request.max.bytes: 1", "publish.request.max.bytes: 1 is outside"},
		{good, "publish.request.max.records: 0", "publish.request.max.records: 0 is outside"},
		{good, "publish.requests.max: 0", "publish.requests.max: 0 is outside"},
		{good, "publish.records.per.second: -1", "publish.records.per.second: -1 is outside"},
		{good, "publish.token.path: x", "publish.token.path: unknown key; did you mean publish.tokens.path?"},
		{good, "publish.tokens.path: /nowhere/tokens.json", "publish.tokens.path: reading the tokens: open /nowhere/tokens.json"},
		{good, "publish.tokens.path: " + bad, "publish.tokens.path: " + bad + ": token 1 (a): kinds and exchanges: name at least one of each"},
		{"http://" + taken.Addr().String(), "", "publish.listeners: http://" + taken.Addr().String() + " is in use by another process"},
	} {
		path := writeConfig(t, "bootstrap.servers: 127.0.0.1:1\nlisteners: http://127.0.0.1:0\npublish.listeners: "+tt.listener+"\n"+tt.more+"\n")
		code, out, errOut := command(t, "run", "-c", path)
		if code != 1 || !strings.Contains(errOut, tt.want) || strings.Contains(out+errOut, "hunter2") {
			t.Errorf("%s %s: exit code %d, %s%s; want %s", tt.listener, tt.more, code, out, errOut, tt.want)
		}
	}
}

// What comes over HTTP has its share of the memory limit.
func TestMemoryLimitOfIngest(t *testing.T) {
	t.Parallel()
	l, err := load(writeConfig(t, "publish.listeners: http://127.0.0.1:0\npublish.buffer.bytes: 2000000\npublish.requests.max: 3\npublish.request.max.bytes: 5000\n"))
	if err != nil {
		t.Fatal(err)
	}
	var limit int64
	m := memoryBudget{limit: func(n int64) { limit = n }}
	if m.base(l); limit != baseMemoryBytes+2_000_000+3*5000 {
		t.Errorf("the limit is %d", limit)
	}
}

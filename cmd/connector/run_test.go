package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/internal/devstack/testenv"
)

// stack is a broker and an empty schema that belong to one test.
type stack struct {
	brokers     []string
	url, schema string
	producer    *kgo.Client
}

func newStack(t *testing.T) *stack {
	t.Helper()
	return newStackOn(t, testenv.Broker(t))
}

func newStackOn(t *testing.T, brokers []string) *stack {
	t.Helper()
	url, schema := testenv.Schema(t)
	s := &stack{brokers: brokers, url: url, schema: schema}
	var err error
	s.producer, err = kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.UnknownTopicRetries(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.producer.Close)
	return s
}

func (s *stack) createTopic(t *testing.T, name string, partitions int32) {
	t.Helper()
	if _, err := kadm.NewClient(s.producer).CreateTopic(t.Context(), partitions, 1, nil, name); err != nil {
		t.Fatal(err)
	}
}

func (s *stack) produce(t *testing.T, topic string, partition int32, values ...string) {
	t.Helper()
	for _, v := range values {
		r := &kgo.Record{
			Topic: topic, Partition: partition, Key: []byte("BTC"), Value: []byte(v),
			Headers: []kgo.RecordHeader{{Key: "trace", Value: []byte{0xff, 0x00}}},
		}
		if err := s.producer.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

func price(i int) string {
	return fmt.Sprintf(`{"coinId":"bitcoin","symbol":"BTC","exchangeId":"kraken","usdPrice":"%d.10",`+
		`"time":%d,"source":"test","attribution":"test"}`, 50000+i, 1_700_000_000_000+int64(i)*1000)
}

// config is a file with one connector for the topics; more holds further lines
// of the connectors' map.
func (s *stack) config(t *testing.T, topics, more string) string {
	t.Helper()
	return writeConfig(t, fmt.Sprintf(`
bootstrap.servers: %[1]q
listeners: http://127.0.0.1:0
group.instance.id: ""
config.storage.topic: %[3]s-configs
status.storage.topic: %[3]s-status
connectors:
  market:
    connector.class: timescale-sink
    topics.regex: %[2]q
    metadata.max.age.ms: 1s
    lag.interval.ms: 200
    connection.url: %[4]q
    schema.name: %[3]s
%[5]s`, strings.Join(s.brokers, ","), topics, s.schema, s.url, more))
}

// connectorProcess is the connector in a process of its own.
type connectorProcess struct {
	cmd    *exec.Cmd
	url    string
	ingest chan string // where it takes records, once it does
	log    chan string
}

// startConnector waits until the process serves. Its log is read to the end, and
// shown where the test fails.
func startConnector(t *testing.T, config string) *connectorProcess {
	t.Helper()
	p := &connectorProcess{cmd: exec.Command(os.Args[0], "run", "-c", config), ingest: make(chan string, 1), log: make(chan string, 1)}
	p.cmd.Env = append(os.Environ(), runAsConnector+"=1")
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			// It may have ended by itself.
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
		if t.Failed() {
			t.Logf("the connector's log:\n%s", <-p.log)
		}
	})
	serving := make(chan string, 1)
	go func() {
		var log strings.Builder
		for scanner := bufio.NewScanner(stderr); scanner.Scan(); {
			log.WriteString(scanner.Text() + "\n")
			if _, rest, ok := strings.Cut(scanner.Text(), "msg=serving listeners="); ok {
				address, _, _ := strings.Cut(rest, " ")
				serving <- address
			}
			if _, address, ok := strings.Cut(scanner.Text(), `msg="serving ingest" listeners=`); ok {
				p.ingest <- address
			}
		}
		close(serving)
		p.log <- log.String()
	}()
	select {
	case p.url = <-serving:
	case <-time.After(time.Minute):
	}
	if p.url == "" {
		t.Fatal("the connector does not serve")
	}
	return p
}

// signal sends a signal and returns the exit code.
func (p *connectorProcess) signal(t *testing.T, s os.Signal) int {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = p.cmd.Wait() // the exit code says how it ended
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("the connector does not end")
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *connectorProcess) get(t *testing.T, path string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+path, nil)
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
	return resp.StatusCode, string(body)
}

// waitHealth waits until /health answers with the code.
func (p *connectorProcess) waitHealth(t *testing.T, code int) string {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		got, body := p.get(t, "/health")
		if got == code {
			return body
		}
		select {
		case <-deadline:
			t.Fatalf("GET /health still gives %d %s, want %d", got, body, code)
		case <-tick.C:
		}
	}
}

// TestRun goes the whole way: records in a topic, the connector as a process,
// the audit, SIGTERM, and the audit of what came while it was down.
func TestRun(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.createTopic(t, "crypto-prices-kraken", 3)
	config := s.config(t, "^crypto-prices-.+$", "")
	for i := range 30 {
		s.produce(t, "crypto-prices-kraken", int32(i%3), price(i))
	}
	s.produce(t, "crypto-prices-kraken", 1, `{"not": "a price"`)

	code, out, errOut := command(t, "audit", "-c", config, "--timeout", "1s")
	if code != 1 || !strings.Contains(out, "Not all is there") {
		t.Errorf("audit before the first run: exit code %d, %s%s", code, out, errOut)
	}
	p := startConnector(t, config)
	code, out, errOut = command(t, "audit", "-c", config, "market", "--timeout", "60s")
	if code != 0 || !strings.Contains(out, "Nothing is missing.") {
		t.Fatalf("audit: exit code %d, %s%s", code, out, errOut)
	}
	p.waitHealth(t, http.StatusOK)
	if code, body := p.get(t, "/metrics"); code != 200 || !strings.Contains(body, `tickconnect_build_info{`) || !strings.Contains(body, "\ntickconnect_healthy 1\n") ||
		!strings.Contains(body, `tickconnect_unknown_fields_total{connector="market"} 0`) || strings.Contains(body, "BTC") {
		t.Errorf("GET /metrics gave %d %s", code, body)
	}
	if code, body := p.get(t, "/"); code != 200 || !strings.Contains(body, `"kafka_cluster_id":"`) {
		t.Errorf("GET / gave %d %s", code, body)
	}
	if code := p.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}

	s.produce(t, "crypto-prices-kraken", 2, price(100))
	code, out, errOut = command(t, "audit", "-c", config, "--timeout", "1s", "-o", "json")
	var answer struct {
		Good       bool
		Connectors []auditConnector
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		t.Fatalf("%v in %s%s", err, out, errOut)
	}
	if code != 1 || answer.Good || len(answer.Connectors) != 1 || len(answer.Connectors[0].Lines) != 3 {
		t.Fatalf("exit code %d: %s", code, out)
	}
	want := []auditLine{
		{Topic: "crypto-prices-kraken", Partition: 0, Next: 10, End: 10, Written: 10, Inserted: 10, Verdict: verdictOK},
		{Topic: "crypto-prices-kraken", Partition: 1, Next: 11, End: 11, Written: 10, Inserted: 10, DeadLettered: 1, Verdict: verdictOK},
		{Topic: "crypto-prices-kraken", Partition: 2, Next: 10, End: 11, Lag: 1, Written: 10, Inserted: 10, Verdict: verdictBehind},
	}
	for i, l := range answer.Connectors[0].Lines {
		if l != want[i] {
			t.Errorf("the account is\n%+v, want\n%+v", l, want[i])
		}
	}
	if want := "1 partition: behind; 1 offset not yet stored"; answer.Connectors[0].Reason != want {
		t.Errorf("the reason is %q, want %q", answer.Connectors[0].Reason, want)
	}
}

// TestRunIsolates: a connector whose database is not there is waited for, says
// so in /health, and holds no other.
func TestRunIsolates(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.createTopic(t, "crypto-prices", 1)
	s.produce(t, "crypto-prices", 0, price(1), price(2))
	config := s.config(t, "^crypto-prices$", `
  unreachable:
    connector.class: timescale-sink
    topics: crypto-prices
    connection.url: postgres://u:hunter2@127.0.0.1:1/db
`)
	p := startConnector(t, config)
	code, out, errOut := command(t, "audit", "-c", config, "market", "--timeout", "60s")
	if code != 0 {
		t.Errorf("audit: exit code %d, %s%s", code, out, errOut)
	}
	body := p.waitHealth(t, http.StatusServiceUnavailable)
	if !strings.Contains(body, `"status":"unhealthy"`) || !strings.Contains(body, "unreachable: ") || strings.Contains(body, "hunter2") {
		t.Errorf("GET /health says %s", body)
	}
	if _, metrics := p.get(t, "/metrics"); !strings.Contains(metrics, "\ntickconnect_healthy 0\n") {
		t.Errorf("GET /metrics does not say that it is unhealthy:\n%s", metrics)
	}
	if code := p.signal(t, syscall.SIGINT); code != 0 {
		t.Errorf("exit code %d after SIGINT", code)
	}
	log := <-p.log
	p.log <- log
	if strings.Contains(log, "hunter2") {
		t.Errorf("the log shows the password:\n%s", log)
	}
}

// TestValidateLive: the live broker and database are tried, and a password is
// never shown.
func TestValidateLive(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.createTopic(t, "crypto-prices-kraken", 3)
	config := s.config(t, "^crypto-prices-.+$", "")
	code, out, errOut := command(t, "validate", "-c", config, "-o", "json")
	var r report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v in %s%s", err, out, errOut)
	}
	if code != 0 || !r.Valid {
		t.Errorf("exit code %d: %s", code, out)
	}
	if !strings.Contains(out, "1 topic with 3 partitions: crypto-prices-kraken") {
		t.Errorf("validate says %s", out)
	}
	for _, tt := range []struct{ config, key string }{
		{writeConfig(t, "bootstrap.servers: 127.0.0.1:1\nconnectors:\n  a:\n    connector.class: timescale-sink\n    topics: crypto-prices\n    connection.url: "+s.url+"\n"), "bootstrap.servers: "},
		{writeConfig(t, "bootstrap.servers: "+s.brokers[0]+"\nconnectors:\n  a:\n    connector.class: timescale-sink\n    topics: crypto-prices\n    connection.url: postgres://u:hunter2@127.0.0.1:1/db\n"), "connection.url: "},
	} {
		code, out, errOut := command(t, "validate", "-c", tt.config, "--timeout", "3s")
		if code != 1 || !strings.Contains(out, "  error     "+tt.key) || strings.Contains(out, "hunter2") {
			t.Errorf("exit code %d: %s%s", code, out, errOut)
		}
	}
}

// TestSecondSignal: a second signal ends a process that is still stopping. What
// keeps it stopping here is a request that asks a broker which never answers.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	p := startConnector(t, writeConfig(t, `
bootstrap.servers: `+silent.Addr().String()+`
listeners: http://127.0.0.1:0
connectors:
  market:
    connector.class: timescale-sink
    topics: crypto-prices
    connection.url: postgres://u@127.0.0.1:1/db
`))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
		}
	}()
	// The two topics of the process are asked for over one connection each, the request
	// over a third.
	for range 3 {
		conn, err := silent.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	ended := make(chan struct{})
	go func() {
		_ = p.cmd.Wait() // the exit status says how it ended
		close(ended)
	}()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case <-ended:
			status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
			if !ok || !status.Signaled() || status.Signal() != syscall.SIGTERM {
				t.Errorf("it ended with %v, not by the second signal", p.cmd.ProcessState)
			}
			return
		case <-again.C:
		}
	}
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/qicore/tickconnect/internal/devstack/testenv"
)

// worker writes a configuration without connectors, for a replica of its own name.
func (s *stack) worker(t *testing.T, replica string) string {
	t.Helper()
	return writeConfig(t, fmt.Sprintf(`
bootstrap.servers: %q
listeners: http://127.0.0.1:0
group.instance.id: %s
session.timeout.ms: 6000
config.storage.topic: %s-configs
status.storage.topic: %[3]s-status
`, strings.Join(s.brokers, ","), replica, s.schema))
}

// market is a connector's configuration, as REST takes it.
func (s *stack) market(topics, more string) string {
	return fmt.Sprintf(`{"connector.class":"timescale-sink","topics.regex":%q,"metadata.max.age.ms":"1000","connection.url":%q,"schema.name":%q,"tasks.max":2%s}`,
		topics, s.url, s.schema, more)
}

// call sends a request as most clients do, and reads the answer's JSON.
func (p *connectorProcess) call(t *testing.T, method, path, body string) (int, any) {
	t.Helper()
	code, _, answer := p.send(t, method, path, body, http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}})
	return code, answer
}

func (p *connectorProcess) send(t *testing.T, method, path, body string, header http.Header) (int, http.Header, any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, p.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) == 0 {
		return resp.StatusCode, resp.Header, nil
	}
	if got := resp.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("%s %s: the content type is %q", method, path, got)
	}
	var answer any
	if err := json.Unmarshal(text, &answer); err != nil {
		t.Fatalf("%s %s: %s is no JSON", method, path, text)
	}
	return resp.StatusCode, resp.Header, answer
}

// want sends a request and wants its status, and a part of the answer.
func (p *connectorProcess) want(t *testing.T, code int, part, method, path, body string) any {
	t.Helper()
	got, answer := p.call(t, method, path, body)
	text, _ := json.Marshal(answer)
	if got != code || !strings.Contains(string(text), part) {
		t.Fatalf("%s %s %s: %d %.2000s, want %d and %s", method, path, body, got, text, code, part)
	}
	return answer
}

// until repeats a GET until its answer is good.
func (p *connectorProcess) until(t *testing.T, what, path string, good func(any) bool) any {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		_, answer := p.call(t, http.MethodGet, path, "")
		if good(answer) {
			return answer
		}
		select {
		case <-deadline:
			t.Fatalf("%s: GET %s still gives %v", what, path, answer)
		case <-tick.C:
		}
	}
}

// states gives the states in a status: the connector's, then the tasks' in order.
func states(status any) []string {
	s, ok := status.(map[string]any)
	if !ok || s["connector"] == nil {
		return nil
	}
	all := []string{s["connector"].(map[string]any)["state"].(string)}
	for _, task := range s["tasks"].([]any) {
		all = append(all, task.(map[string]any)["state"].(string))
	}
	return all
}

func in(want ...string) func(any) bool {
	return func(status any) bool { return reflect.DeepEqual(states(status), want) }
}

// stored waits until so many offsets of crypto-prices-kraken/0 are stored.
func stored(next int64) func(any) bool {
	return func(offsets any) bool {
		return fmt.Sprint(offsets) == fmt.Sprintf("map[offsets:[map[offset:map[kafka_offset:%d] partition:map[kafka_partition:0 kafka_topic:crypto-prices-kraken]]]]", next)
	}
}

// onBothBrokers runs a test on the in-process broker and on Apache Kafka.
func onBothBrokers(t *testing.T, test func(t *testing.T, s *stack)) {
	t.Helper()
	t.Parallel()
	for name, brokers := range map[string]func(testing.TB) []string{"kfake": testenv.Broker, "kafka": testenv.Kafka} {
		t.Run(name, func(t *testing.T) { t.Parallel(); test(t, newStackOn(t, brokers(t))) })
	}
}

// TestConnectorOverREST: a connector's whole life, as Kafka Connect's clients have it.
func TestConnectorOverREST(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.createTopic(t, "crypto-prices-kraken", 1)
	config := s.worker(t, "a")
	p := startConnector(t, config)
	market := s.market("crypto-prices-.+", "")
	s.produce(t, "crypto-prices-kraken", 0, price(0), price(1))

	p.until(t, "no connector is there", "/connectors", func(a any) bool { return fmt.Sprint(a) == "[]" })
	checked := p.want(t, 200, `"error_count":2`, "PUT", "/connector-plugins/timescale-sink/config/validate",
		strings.Replace(market, s.url, "postgres://u:prices@h/d?connect_timeout=prices", 1))
	if text, _ := json.Marshal(checked); strings.Contains(string(text), "u:prices") || strings.Contains(string(text), "=prices") {
		t.Errorf("a password is answered: %s", text)
	}
	code, header, answer := p.send(t, http.MethodPost, "/connectors/", `{"name":" market ","config":`+market+`}`, http.Header{"Content-Type": {"application/json; charset=utf-8"}})
	if code != http.StatusCreated || header.Get("Location") != "/connectors/market" {
		t.Fatalf("creating: %d %v %v", code, header, answer)
	}
	info := p.want(t, 200, `"type":"sink"`, "GET", "/connectors/market", "").(map[string]any)
	kept := info["config"].(map[string]any)
	if kept["name"] != "market" || kept["tasks.max"] != "2" || kept["connection.url"] != s.url || len(kept) != 7 {
		t.Errorf("the configuration is %v", kept)
	}
	p.want(t, 409, "Connector market already exists", "POST", "/connectors", `{"name":"market","config":`+market+`}`)
	p.until(t, "it runs", "/connectors/market/status", in("RUNNING", "RUNNING", "RUNNING"))
	p.until(t, "both are stored", "/connectors/market/offsets", stored(2))
	p.until(t, "the topic is seen", "/connectors/market/topics", func(a any) bool {
		return fmt.Sprint(a) == "map[market:map[topics:[crypto-prices-kraken]]]"
	})

	p.want(t, 202, "", "PUT", "/connectors/market/pause", "")
	p.until(t, "it is paused", "/connectors/market/status", in("PAUSED", "PAUSED", "PAUSED"))
	s.produce(t, "crypto-prices-kraken", 0, price(2))
	p.want(t, 400, "must be in the STOPPED state", "DELETE", "/connectors/market/offsets", "")
	p.want(t, 204, "", "PUT", "/connectors/market/stop", "")
	p.until(t, "it is stopped", "/connectors/market/status", in("STOPPED"))
	p.want(t, 200, `"offsets":[{"offset":{"kafka_offset":2}`, "GET", "/connectors/market/offsets", "")

	// A stopped connector stays so over a restart of the process.
	if code := p.signal(t, syscall.SIGTERM); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	p = startConnector(t, config)
	p.until(t, "it is stopped after a restart", "/connectors/market/status", in("STOPPED"))

	entry := func(offset string) string {
		return `{"offsets":[{"partition":{"kafka_topic":"crypto-prices-kraken","kafka_partition":"0"},"offset":` + offset + `}]}`
	}
	p.want(t, 400, "outside the log", "PATCH", "/connectors/market/offsets", entry(`{"kafka_offset":9}`))
	p.want(t, 400, "has no partition 1", "PATCH", "/connectors/market/offsets", strings.Replace(entry(`{"kafka_offset":1}`), `"0"`, "1", 1))
	p.want(t, 400, "need to be provided", "PATCH", "/connectors/market/offsets", `{"offsets":[]}`)
	p.want(t, 400, "kafka_offset is no offset", "PATCH", "/connectors/market/offsets", entry(`{"kafka_offset":"x"}`))
	p.want(t, 200, "this is a dry run", "PATCH", "/connectors/market/offsets?dryRun=true", entry(`{"kafka_offset":1}`))
	p.want(t, 200, `"kafka_offset":2`, "GET", "/connectors/market/offsets", "")
	p.want(t, 200, "have been altered successfully", "PATCH", "/connectors/market/offsets", entry(`{"kafka_offset":1}`))
	p.want(t, 200, `"kafka_offset":1`, "GET", "/connectors/market/offsets", "")
	p.want(t, 200, "have been reset successfully", "DELETE", "/connectors/market/offsets", "")
	p.want(t, 200, `"kafka_offset":0`, "GET", "/connectors/market/offsets", "")
	p.want(t, 202, "", "PUT", "/connectors/market/resume", "")
	p.until(t, "all is stored, once", "/connectors/market/offsets", stored(3))
	if code, out, errOut := command(t, "audit", "-c", s.config(t, "crypto-prices-.+", ""), "--timeout", "30s"); code != 0 {
		t.Errorf("audit: exit code %d, %s%s", code, out, errOut)
	}

	p.want(t, 204, "", "POST", "/connectors/market/restart", "")
	answered := p.want(t, 202, `"RESTARTING"`, "POST", "/connectors/market/restart?includeTasks=true&onlyFailed=false", "")
	if !in("RESTARTING", "RESTARTING", "RESTARTING")(answered) {
		t.Errorf("the plan is %v", answered)
	}
	p.until(t, "it runs again", "/connectors/market/status", in("RUNNING", "RUNNING", "RUNNING"))
	p.want(t, 204, "", "POST", "/connectors/market/tasks/1/restart", "")
	p.want(t, 404, "Unknown task: market-9", "POST", "/connectors/market/tasks/9/restart", "")

	// A change keeps what is not sent with PATCH, and nothing else with PUT.
	p.want(t, 200, `"tasks.max":"1"`, "PATCH", "/connectors/market/config", `{"tasks.max":1,"metadata.max.age.ms":null}`)
	if c := p.want(t, 200, "", "GET", "/connectors/market/config", "").(map[string]any); c["metadata.max.age.ms"] != nil || c["schema.name"] != s.schema {
		t.Errorf("after PATCH: %v", c)
	}
	p.until(t, "it has one task", "/connectors/market/status", in("RUNNING", "RUNNING"))
	p.want(t, 200, `"tasks.max":"2"`, "PUT", "/connectors/market/config", market)
	p.want(t, 201, `"name":"second"`, "PUT", "/connectors/second/config", s.market("none-.+", ""))
	p.want(t, 200, `["market","second"]`, "GET", "/connectors", "")
	expanded := p.want(t, 200, "", "GET", "/connectors?expand=info&expand=status", "").(map[string]any)
	for _, name := range []string{"market", "second"} {
		one := expanded[name].(map[string]any)
		if one["info"].(map[string]any)["name"] != name || one["status"].(map[string]any)["type"] != "sink" {
			t.Errorf("%s is %v", name, one)
		}
	}

	p.want(t, 204, "", "DELETE", "/connectors/market", "")
	p.want(t, 404, "Connector market not found", "DELETE", "/connectors/market", "")
	p.want(t, 404, "No status found for connector market", "GET", "/connectors/market/status", "")
	p.want(t, 200, `["second"]`, "GET", "/connectors", "")
	deadline := time.Now().Add(time.Minute)
	for {
		code, body := p.get(t, "/metrics")
		if code == 200 && !strings.Contains(body, `task_status{connector="market"`) && strings.Contains(body, `task_status{connector="second"`) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the metrics still show the status of what was deleted: %d", code)
		}
	}
	p.waitHealth(t, http.StatusOK)
}

// TestOffsetsBeforeTheFirstStart: a connector that is made stopped is told where to begin
// (KIP-980) before it has any table.
func TestOffsetsBeforeTheFirstStart(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.createTopic(t, "crypto-prices-kraken", 1)
	for i := range 5 {
		s.produce(t, "crypto-prices-kraken", 0, price(i))
	}
	p := startConnector(t, s.worker(t, "a"))
	body := `{"name":"market","initial_state":"STOPPED","config":` + s.market("crypto-prices-.+", "") + `}`
	p.want(t, 201, `"name":"market"`, "POST", "/connectors", body)
	p.until(t, "it is stopped", "/connectors/market/status", in("STOPPED"))
	p.want(t, 200, `{"offsets":[]}`, "GET", "/connectors/market/offsets", "")
	for range 2 {
		p.want(t, 200, "have been reset successfully", "DELETE", "/connectors/market/offsets", "")
	}
	p.want(t, 200, `{"offsets":[]}`, "GET", "/connectors/market/offsets", "")
	three := `{"offsets":[{"partition":{"kafka_topic":"crypto-prices-kraken","kafka_partition":0},"offset":{"kafka_offset":3}}]}`
	p.want(t, 200, "this is a dry run", "PATCH", "/connectors/market/offsets?dryRun=true", three)
	p.want(t, 200, `{"offsets":[]}`, "GET", "/connectors/market/offsets", "")
	p.want(t, 200, "have been altered successfully", "PATCH", "/connectors/market/offsets", three)
	p.want(t, 200, `"kafka_offset":3`, "GET", "/connectors/market/offsets", "")
	p.want(t, 202, "", "PUT", "/connectors/market/resume", "")
	p.until(t, "it is stored", "/connectors/market/offsets", stored(5))
	if n, _ := s.rows(t, "crypto_prices"); n != 2 {
		t.Errorf("%d rows, want those of the offsets 3 and 4", n)
	}
}

// TestOffsetsOfAnOutage: a database that is away is no fault of the request.
func TestOffsetsOfAnOutage(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.createTopic(t, "crypto-prices-kraken", 1)
	p := startConnector(t, s.worker(t, "a"))
	away := strings.Replace(s.market("crypto-prices-.+", ""), s.url, "postgres://nobody:hidden@127.0.0.1:1/none", 1)
	p.want(t, 201, `"name":"market"`, "POST", "/connectors", `{"name":"market","initial_state":"STOPPED","config":`+away+`}`)
	p.until(t, "it is stopped", "/connectors/market/status", in("STOPPED"))
	for _, method := range []string{"GET", "DELETE"} {
		answer := p.want(t, 503, "127.0.0.1:1", method, "/connectors/market/offsets", "")
		if text := fmt.Sprint(answer); strings.Contains(text, "hidden") {
			t.Errorf("%s: the answer holds the password: %s", method, text)
		}
	}
}

// TestReplicasOverREST: any replica answers for all; one that joins later has what is
// there; one that dies is unassigned within its session, and its partitions go on.
func TestReplicasOverREST(t *testing.T) {
	onBothBrokers(t, func(t *testing.T, s *stack) {
		topic := s.schema + "-crypto-prices-kraken"
		s.createTopic(t, topic, 4)
		a := startConnector(t, s.worker(t, s.schema+"-a"))
		a.until(t, "requests are taken", "/connectors", func(any) bool {
			code, _ := a.call(t, "POST", "/connectors", `{"name":"market","config":`+s.market(topic, `,"value.converter":"json","value.converter.kind":"price"`)+`}`)
			return code == 201
		})
		b := startConnector(t, s.worker(t, s.schema+"-b"))
		four := in("RUNNING", "RUNNING", "RUNNING", "RUNNING", "RUNNING")
		b.until(t, "the second has the connector", "/connectors/market/status", four)
		status := a.until(t, "the first knows of the second", "/connectors/market/status", four).(map[string]any)
		for i, task := range status["tasks"].([]any) {
			worker := task.(map[string]any)["worker_id"].(string)
			if want := s.schema + "-" + string("aabb"[i]) + ":"; !strings.HasPrefix(worker, want) {
				t.Errorf("task %d is of %s, want %s", i, worker, want)
			}
		}
		for i := range 20 {
			s.produce(t, topic, int32(i%4), price(i))
		}
		sum := func(offsets any) (n float64) {
			list, _ := offsets.(map[string]any)["offsets"].([]any)
			for _, o := range list {
				n += o.(map[string]any)["offset"].(map[string]any)["kafka_offset"].(float64)
			}
			return n
		}
		a.until(t, "20 are stored", "/connectors/market/offsets", func(o any) bool { return sum(o) == 20 })

		if err := b.cmd.Process.Signal(os.Kill); err != nil {
			t.Fatal(err)
		}
		died := time.Now()
		a.until(t, "its tasks are unassigned", "/connectors/market/status", in("RUNNING", "RUNNING", "RUNNING", "UNASSIGNED", "UNASSIGNED"))
		t.Logf("unassigned after %s", time.Since(died))
		for i := range 20 {
			s.produce(t, topic, int32(i%4), price(20+i))
		}
		a.until(t, "40 are stored", "/connectors/market/offsets", func(o any) bool { return sum(o) == 40 })

		// It comes back, and leaves.
		b = startConnector(t, s.worker(t, s.schema+"-b"))
		a.until(t, "it is back", "/connectors/market/status", four)
		a.want(t, 202, "", "PUT", "/connectors/market/pause", "")
		b.until(t, "both are paused", "/connectors/market/status", in("PAUSED", "PAUSED", "PAUSED", "PAUSED", "PAUSED"))
		if code := b.signal(t, syscall.SIGTERM); code != 0 {
			t.Errorf("exit code %d", code)
		}
		a.until(t, "the first is alone", "/connectors/market/status", in("PAUSED", "PAUSED", "PAUSED"))
	})
}

// TestTwoConnectorsOneGroup: names of groups that meet are found out: the second one says
// whose its group is, takes no part, and goes on once it is free.
func TestTwoConnectorsOneGroup(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	long, short := "eu-"+s.schema, s.schema
	for _, topic := range []string{long, short} {
		s.createTopic(t, topic, 1)
		s.produce(t, topic, 0, price(0))
	}
	p := startConnector(t, s.worker(t, "a"))
	of := func(topic string) string {
		return s.market(topic, `,"value.converter":"json","value.converter.kind":"price"`)
	}
	p.want(t, 201, "", "PUT", "/connectors/m/config", of(long))
	next := func(topic string, want int) func(any) bool {
		return func(a any) bool {
			return strings.Contains(fmt.Sprint(a), fmt.Sprintf("kafka_offset:%d] partition:map[kafka_partition:0 kafka_topic:%s]", want, topic))
		}
	}
	p.until(t, "the first stores", "/connectors/m/offsets", next(long, 1))
	p.want(t, 201, "", "PUT", "/connectors/m-eu/config", of(short))
	p.until(t, "the second has failed", "/connectors/m-eu/status", func(a any) bool {
		return strings.Contains(fmt.Sprint(a), "FAILED") && strings.Contains(fmt.Sprint(a), "its consumer group connect-m-"+long+" is that of connector m for topic "+long)
	})
	p.waitHealth(t, http.StatusServiceUnavailable)
	s.produce(t, long, 0, price(1))
	p.until(t, "the first goes on", "/connectors/m/offsets", next(long, 2))
	p.want(t, 204, "", "DELETE", "/connectors/m", "")
	p.until(t, "the second stores", "/connectors/m-eu/offsets", next(short, 1))
	p.until(t, "it runs", "/connectors/m-eu/status", in("RUNNING", "RUNNING", "RUNNING"))
	p.waitHealth(t, http.StatusOK)
}

// TestFileConnectorOverREST: a connector of the file is seen, paused and restarted
// over REST; its configuration is the file's.
func TestFileConnectorOverREST(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.createTopic(t, "crypto-prices-kraken", 1)
	p := startConnector(t, s.config(t, "crypto-prices-.+", ""))
	p.until(t, "it runs", "/connectors/market/status", in("RUNNING", "RUNNING", "RUNNING"))
	p.want(t, 400, "is defined in the configuration file", "DELETE", "/connectors/market", "")
	p.want(t, 400, "is defined in the configuration file", "PUT", "/connectors/market/config", s.market("x", ""))
	p.want(t, 409, "already exists", "POST", "/connectors", `{"name":"market","config":`+s.market("x", "")+`}`)
	p.want(t, 202, "", "PUT", "/connectors/market/pause", "")
	p.until(t, "it is paused", "/connectors/market/status", in("PAUSED", "PAUSED", "PAUSED"))
	p.want(t, 202, "", "PUT", "/connectors/market/resume", "")
	p.until(t, "it runs again", "/connectors/market/status", in("RUNNING", "RUNNING", "RUNNING"))
}

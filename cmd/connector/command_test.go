package main

import (
	"bytes"
	"encoding/json"
	"net"
	"strings"
	"testing"
)

// command runs a command line to its end.
func command(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	code = execute(t.Context(), args, &o, &e)
	return code, o.String(), e.String()
}

func TestVersionCommand(t *testing.T) {
	t.Parallel()
	code, out, _ := command(t, "version")
	if code != 0 || !strings.HasPrefix(out, "connector ") || !strings.Contains(out, "go1.") {
		t.Errorf("exit code %d, output %q", code, out)
	}
	code, out, _ = command(t, "version", "-o", "json")
	var b build
	if err := json.Unmarshal([]byte(out), &b); err != nil || code != 0 || b.Version == "" || b.Go == "" {
		t.Errorf("exit code %d, output %q, %v", code, out, err)
	}
	code, out, errOut := command(t, "version", "-o", "xml")
	if code != 1 || out != "" || !strings.Contains(errOut, "it is neither text nor json") {
		t.Errorf("exit code %d, output %q, error %q", code, out, errOut)
	}
}

// TestBadConfiguration: run and validate say all that is wrong, with the key
// that was typed, and never show a secret.
func TestBadConfiguration(t *testing.T) {
	path := writeConfig(t, `
bootstrap.server: localhost:1
listeners: https://127.0.0.1:0
connectors:
  first:
    connector.class: timescale-sink
    topic.regex: ^crypto-.+$
    connection.url: postgres://u:hunter2@localhost:1/db?sslmode=nonsense
    batch.size: many
  second:
    connector.class: timescale-sonk
  third:
    connector.class: timescale-sink
    topics: a
    connection.url: ${env:CONNECTOR_TEST_UNSET}
    transforms: mask
  fourth:
    connector.class: timescale-sink
    topics.regex: ^crypto-.+$
    connection.url: postgres://u@localhost:1/db
    errors.deadletterqueue.topic.name: crypto-dead
`)
	wants := []string{
		"bootstrap.server: unknown key; did you mean bootstrap.servers?",
		"first: topic.regex: unknown key; did you mean topics.regex?",
		`first: batch.size: "many" is not a whole number`,
		`second: connector.class: there is no "timescale-sonk"; did you mean timescale-sink?`,
		"third: connection.url: ${env:CONNECTOR_TEST_UNSET}: the environment variable CONNECTOR_TEST_UNSET is not set",
		"third: transforms: single-message transforms are not run here",
		"fourth: errors.deadletterqueue.topic.name: crypto-dead is one of the topics that this connector reads",
	}
	code, out, errOut := command(t, "run", "-c", path)
	if code != 1 {
		t.Errorf("exit code %d", code)
	}
	for _, want := range wants {
		if !strings.Contains(errOut, want) {
			t.Errorf("the error is\n%s\nwithout\n%s", errOut, want)
		}
	}
	if strings.Contains(out+errOut, "hunter2") {
		t.Errorf("the password is seen:\n%s%s", out, errOut)
	}
	code, out, errOut = command(t, "validate", "--offline", "-c", path)
	if code != 1 || errOut != "" {
		t.Errorf("exit code %d, error %s", code, errOut)
	}
	for _, want := range wants {
		if _, message, _ := strings.Cut(want, "first: "); message != "" {
			want = message
		}
		for _, connector := range []string{"second: ", "third: ", "fourth: "} {
			want = strings.TrimPrefix(want, connector)
		}
		if !strings.Contains(out, want) {
			t.Errorf("validate says\n%s\nwithout\n%s", out, want)
		}
	}
	if strings.Contains(out, "hunter2") || !strings.Contains(out, "a secret is written out in the file") {
		t.Errorf("validate says\n%s", out)
	}
}

func TestValidateOffline(t *testing.T) {
	t.Setenv("CONNECTOR_TEST_URL", "postgres://u:hunter2@localhost:1/db")
	path := writeConfig(t, `
connectors:
  market:
    connector.class: timescale-sink
    topics: crypto-prices
    connection.url: ${env:CONNECTOR_TEST_URL}
    key.converter: org.apache.kafka.connect.storage.StringConverter
`)
	code, out, errOut := command(t, "validate", "--offline", "-c", path, "-o", "json")
	var r report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v in %s%s", err, out, errOut)
	}
	if code != 0 || !r.Valid || len(r.Reports) != 1 {
		t.Fatalf("exit code %d: %s", code, out)
	}
	c := r.Reports[0]
	if c.Name != "market" || c.Class != "timescale-sink" || c.Delivery == nil || !c.Delivery.ExactlyOnce || c.Delivery.Why == "" {
		t.Errorf("the report is %+v", c)
	}
	want := finding{Level: levelInfo, Message: "accepted, without effect here: key.converter"}
	if len(c.Findings) != 1 || c.Findings[0] != want {
		t.Errorf("the findings are %+v, want %+v", c.Findings, want)
	}
}

func TestConfigurationFileFaults(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, want string }{
		{"connectors:\n  a: {topics: x}\n  a: {topics: y}\n", ":3: connectors.a: defined twice, first in line 2"},
	} {
		code, _, errOut := command(t, "run", "-c", writeConfig(t, tt.text))
		if code != 1 || !strings.Contains(errOut, tt.want) {
			t.Errorf("exit code %d, error %s; want %s", code, errOut, tt.want)
		}
	}
	code, _, errOut := command(t, "run", "-c", "/nowhere/connector.yaml")
	if code != 1 || !strings.Contains(errOut, "/nowhere/connector.yaml") {
		t.Errorf("exit code %d, error %s", code, errOut)
	}
}

// TestRunPortInUse: a port that is taken is said before anything starts.
func TestRunPortInUse(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	path := writeConfig(t, `
bootstrap.servers: 127.0.0.1:1
listeners: http://`+taken.Addr().String()+`
connectors:
  market:
    connector.class: timescale-sink
    topics: crypto-prices
    connection.url: postgres://u@127.0.0.1:1/db
`)
	code, _, errOut := command(t, "run", "-c", path)
	want := "listeners: http://" + taken.Addr().String() + " is in use by another process"
	if code != 1 || !strings.Contains(errOut, want) || strings.Contains(errOut, "serving") {
		t.Errorf("exit code %d, error %s; want %s", code, errOut, want)
	}
}

// The collector keeps to what the budgets allow.
func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	l, err := load(writeConfig(t, `
connectors:
  a:
    connector.class: timescale-sink
    topics: crypto-prices
    connection.url: postgres://u@localhost:1/db
    tasks.max: 3
    queue.max.bytes: 1000000
    fetch.budget.bytes: 2000000
    batch.max.bytes: 4000
`))
	if err != nil {
		t.Fatal(err)
	}
	var limit int64
	m := memoryBudget{limit: func(n int64) { limit = n }}
	m.base(l)
	m.add(l.connectors[0])
	if want := int64(baseMemoryBytes + 2*3_000_000 + 3*4000); limit != want {
		t.Errorf("the limit is %d, want %d", limit, want)
	}
	if m.remove(l.connectors[0]); limit != baseMemoryBytes {
		t.Errorf("without the connector the limit is %d", limit)
	}
}

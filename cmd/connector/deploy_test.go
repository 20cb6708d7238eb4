package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/goccy/go-yaml"
)

// documents decodes all documents of a YAML file, strictly.
func documents(t *testing.T, path string) []map[string]any {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var docs []map[string]any
	for {
		var doc map[string]any
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return docs
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		docs = append(docs, doc)
	}
}

// at walks down maps and lists.
func at(t *testing.T, v any, path ...any) any {
	t.Helper()
	for _, step := range path {
		switch step := step.(type) {
		case string:
			m, ok := v.(map[string]any)
			if !ok {
				t.Fatalf("%v: not a map at %v", path, step)
			}
			v = m[step]
		case int:
			l, ok := v.([]any)
			if !ok || step >= len(l) {
				t.Fatalf("%v: no item %d", path, step)
			}
			v = l[step]
		}
	}
	return v
}

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "connector.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestKubernetesManifest: the manifest is what its comments promise, and the
// configuration in it is one that connector run takes.
func TestKubernetesManifest(t *testing.T) {
	t.Setenv("POD_NAME", "tickconnect-0")
	t.Setenv("DATABASE_URL", "postgres://u:p@localhost/db")
	byKind := map[string]map[string]any{}
	for _, doc := range documents(t, "../../deploy/k8s/connector.yaml") {
		kind, _ := doc["kind"].(string)
		if byKind[kind] != nil {
			t.Errorf("two documents of kind %s", kind)
		}
		byKind[kind] = doc
		if at(t, doc, "metadata", "name") != "tickconnect" || doc["apiVersion"] == nil {
			t.Errorf("%s: %v", kind, doc["metadata"])
		}
	}
	for _, kind := range []string{"Secret", "ConfigMap", "Service", "PodDisruptionBudget", "StatefulSet"} {
		if byKind[kind] == nil {
			t.Fatalf("no %s", kind)
		}
	}
	text, _ := at(t, byKind["ConfigMap"], "data", "connector.yaml").(string)
	l, err := load(writeConfig(t, text))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.check(); err != nil {
		t.Fatal(err)
	}
	if l.client.GroupInstanceID != "tickconnect-0" || len(l.connectors) != 1 {
		t.Errorf("group.instance.id is %q, connectors are %d", l.client.GroupInstanceID, len(l.connectors))
	}
	pod := at(t, byKind["StatefulSet"], "spec", "template", "spec")
	grace, _ := at(t, pod, "terminationGracePeriodSeconds").(uint64)
	if float64(grace) <= l.process.ShutdownTimeout.Seconds() {
		t.Errorf("terminationGracePeriodSeconds %d is not above shutdown.timeout.ms %s", grace, l.process.ShutdownTimeout)
	}
	labels := at(t, byKind["StatefulSet"], "spec", "template", "metadata", "labels", "app.kubernetes.io/name")
	for _, selector := range []any{
		at(t, byKind["StatefulSet"], "spec", "selector", "matchLabels", "app.kubernetes.io/name"),
		at(t, byKind["Service"], "spec", "selector", "app.kubernetes.io/name"),
		at(t, byKind["PodDisruptionBudget"], "spec", "selector", "matchLabels", "app.kubernetes.io/name"),
	} {
		if selector != labels {
			t.Errorf("a selector says %v, the pods are %v", selector, labels)
		}
	}
	if at(t, byKind["StatefulSet"], "spec", "serviceName") != at(t, byKind["Service"], "metadata", "name") {
		t.Error("serviceName is not the Service's")
	}
}

func TestComposeFiles(t *testing.T) {
	t.Setenv("DATABASE_URL", "postgres://u:p@localhost/db")
	l, err := load("../../deploy/compose/connector.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.check(); err != nil {
		t.Fatal(err)
	}
	compose := documents(t, "../../deploy/compose/docker-compose.yml")[0]
	services, ok := compose["services"].(map[string]any)
	if !ok {
		t.Fatal("no services")
	}
	for _, name := range []string{"redpanda", "timescaledb", "connector", "prometheus", "grafana", "console"} {
		if services[name] == nil {
			t.Errorf("no service %s", name)
		}
	}
	// Without --insecure the connector refuses a listener that others can reach.
	command, _ := at(t, services["connector"], "command").([]any)
	if l.process.checkSecurity(l.credentials) == nil || !slices.Contains(command, any("--insecure")) {
		t.Errorf("the connector's command is %v", command)
	}
	for name, service := range services {
		ports, _ := at(t, service, "ports").([]any)
		for _, p := range ports {
			if text, _ := p.(string); len(text) < 10 || text[:10] != "127.0.0.1:" {
				t.Errorf("%s publishes %v beyond the loopback interface", name, p)
			}
		}
	}
	for _, path := range []string{"prometheus.yml", "grafana.yml"} {
		if len(documents(t, "../../deploy/compose/"+path)) != 1 {
			t.Errorf("%s does not hold one document", path)
		}
	}
}

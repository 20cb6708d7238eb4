package check

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the files that come from others")

// TestPrometheusRule: the object for the Prometheus operator has the rules of
// alerts.yml; kustomize cannot put one into the other. -update writes it.
func TestPrometheusRule(t *testing.T) {
	t.Parallel()
	alerts := filepath.Join("..", "prometheus", "alerts.yml")
	text, err := os.ReadFile(alerts)
	if err != nil {
		t.Fatal(err)
	}
	var rules struct {
		Groups []any `json:"groups"`
	}
	if err := yaml.Unmarshal(text, &rules); err != nil || len(rules.Groups) == 0 {
		t.Fatalf("%s: %v, %d groups", alerts, err, len(rules.Groups))
	}
	object, err := yaml.Marshal(map[string]any{
		"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule",
		"metadata": map[string]any{"name": "tickconnect", "labels": map[string]any{"app.kubernetes.io/name": "tickconnect"}},
		"spec":     rules,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := append([]byte("# The rules of deploy/prometheus/alerts.yml: do not edit them here. Written by\n"+
		"#   (cd deploy/check && go test -run TestPrometheusRule -update .)\n"), object...)
	path := filepath.Join(k8s, "overlays", "prod", "prometheusrule.yaml")
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(have, want) {
		t.Errorf("%s is not what alerts.yml says (%v); renew it: go test -run TestPrometheusRule -update .", path, err)
	}
}

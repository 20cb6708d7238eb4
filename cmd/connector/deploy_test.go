package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	timescalesink "github.com/qicore/tickconnect/connectors/timescale-sink"
	"github.com/qicore/tickconnect/internal/devstack/testenv"
	"github.com/qicore/tickconnect/marketdata"
	"github.com/qicore/tickconnect/publish"
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

// mountSecrets puts a Secret's files where the manifests of Kubernetes mount it, and
// gives the configuration that reads them there.
func mountSecrets(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, content := range map[string]string{
		"DATABASE_URL":   "postgres://u:p@localhost/db\n",
		"KAFKA_PASSWORD": "secret\n",
		"ca.pem":         string(testenv.NewAuthority(t).PEM),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return strings.ReplaceAll(string(data), "/run/secrets/tickconnect", dir)
}

// TestKubernetesConfigurations: connector run takes what the manifests mount, and no
// password is asked for where others can reach more than /metrics and /health. What the
// manifests are besides, deploy/check holds.
func TestKubernetesConfigurations(t *testing.T) {
	t.Setenv("POD_NAME", "tickconnect-0")
	set := documents(t, "../../deploy/k8s/base/statefulset.yaml")[0]
	grace, _ := at(t, set, "spec", "template", "spec", "terminationGracePeriodSeconds").(uint64)
	scaled := documents(t, "../../deploy/k8s/overlays/prod/scaledobject.yaml")[0]
	replicas, _ := at(t, scaled, "spec", "maxReplicaCount").(uint64)
	for _, path := range []string{"../../deploy/k8s/base/connector.yaml", "../../deploy/k8s/overlays/prod/connector.yaml"} {
		l, err := load(writeConfig(t, mountSecrets(t, path)))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if err := l.check(); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if l.client.GroupInstanceID != "tickconnect-0" || len(l.connectors) != 1 {
			t.Errorf("%s: group.instance.id is %q, connectors are %d", path, l.client.GroupInstanceID, len(l.connectors))
		}
		if err := l.process.checkSecurity(l.credentials); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		// What comes after the timeout must fit too.
		if time.Duration(grace)*time.Second < l.process.ShutdownTimeout+5*time.Second {
			t.Errorf("statefulset.yaml: terminationGracePeriodSeconds is %d, shutdown.timeout.ms of %s %s", grace, path, l.process.ShutdownTimeout)
		}
		target, ok := l.connectors[0].target.(*timescalesink.Config)
		if !ok {
			t.Fatalf("%s: the target is %T", path, l.connectors[0].target)
		}
		// More replicas than partitions are idle; half of the connections that PostgreSQL
		// has by default are left to others.
		partitions, connections := int(publish.DefaultTopicSettings(marketdata.KindPrice).Partitions), l.connectors[0].settings.TasksMax+target.PoolSize
		if replicas := int(replicas); replicas < 2 || replicas > partitions || replicas*connections > 50 {
			t.Errorf("scaledobject.yaml: maxReplicaCount is %d; a topic has %d partitions, a replica %d connections", replicas, partitions, connections)
		}
	}
}

func TestComposeConfiguration(t *testing.T) {
	t.Setenv("DATABASE_URL", "postgres://u:p@localhost/db")
	l, err := load("../../deploy/compose/connector.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.check(); err != nil {
		t.Fatal(err)
	}
	// Without --insecure the connector refuses a listener that others can reach.
	compose := documents(t, "../../deploy/compose/docker-compose.yml")[0]
	command, _ := at(t, compose, "services", "connector", "command").([]any)
	if l.process.checkSecurity(l.credentials) == nil || !slices.Contains(command, any("--insecure")) {
		t.Errorf("docker-compose.yml: the connector's command is %v", command)
	}
	grace, err := time.ParseDuration(at(t, compose, "services", "connector", "stop_grace_period").(string))
	if err != nil || grace < l.process.ShutdownTimeout+5*time.Second {
		t.Errorf("docker-compose.yml: stop_grace_period is %s, shutdown.timeout.ms %s: %v", grace, l.process.ShutdownTimeout, err)
	}
}

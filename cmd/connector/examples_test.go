package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/qicore/tickconnect/connect"
	timescalesink "github.com/qicore/tickconnect/connectors/timescale-sink"
)

// TestReadmeExamples: the configuration and the record in README.md are good
// ones.
func TestReadmeExamples(t *testing.T) {
	page, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```").FindAllStringSubmatch(string(page), -1)
	if len(blocks) != 2 || !strings.Contains(blocks[0][1], "connectors:") || !strings.Contains(blocks[1][1], "sasl.mechanism") {
		t.Fatalf("README.md has %d examples in YAML, want a whole file and the keys for SASL", len(blocks))
	}
	t.Setenv("DATABASE_URL", "postgres://tickconnect:change-me@localhost:5432/market")
	t.Setenv("KAFKA_PASSWORD", "secret")
	for _, text := range []string{blocks[0][1], blocks[1][1] + blocks[0][1]} {
		code, out, errOut := command(t, "validate", "--offline", "-c", writeConfig(t, text))
		if code != 0 || !strings.Contains(out, "0 errors, 0 warnings") {
			t.Errorf("exit code %d, validate says\n%s%s", code, out, errOut)
		}
	}

	sent := regexp.MustCompile(`(?s)echo '(.*?)' \|\s+rpk topic produce (\S+)`).FindStringSubmatch(string(page))
	if sent == nil {
		t.Fatal("README.md sends no record")
	}
	cfg := timescalesink.Default()
	cfg.ConnectionURL = "postgres://u@127.0.0.1:1/db"
	c, err := timescalesink.New("market", cfg, connect.Env{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if row, err := c.Prepare(nil, sent[2], 0, &connect.Record{Value: []byte(sent[1])}); err != nil || len(row) == 0 {
		t.Errorf("the record that README.md sends gives %v", err)
	}
}

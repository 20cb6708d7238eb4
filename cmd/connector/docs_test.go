package main

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the documentation that comes from the code")

// TestConfigurationPage: docs/configuration.md says what the structs say.
func TestConfigurationPage(t *testing.T) {
	t.Parallel()
	const path = "../../docs/configuration.md"
	page := configurationPage()
	if *update {
		if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, []byte(page)) {
		t.Errorf("%s is out of date; run make docs", path)
	}
}

// TestEveryKeyIsDocumented: a key without a text is of no use to anyone.
func TestEveryKeyIsDocumented(t *testing.T) {
	t.Parallel()
	for line := range strings.SplitSeq(configurationPage(), "\n") {
		if strings.HasPrefix(line, "| `") && strings.HasSuffix(line, "|  |") {
			t.Errorf("without documentation: %s", line)
		}
	}
}

package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestLoad(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "connector.yaml")
	if err := os.WriteFile(path, []byte(`# a comment
bootstrap.servers: localhost:9092
listeners: http://127.0.0.1:8083     # port 0 picks a free one
metrics.listeners:
group.instance.id: "connector-0"
connectors:
  second:
    connector.class: timescale-sink
    tasks.max: 2
    ratio: 0.50
    big: 1_000
    errors.log.enable: true
    topics: [crypto-prices, "crypto-trades"]
    batch.size: !!str 7
    text: |
      two
      lines
  first:
    topics.regex: ^crypto-(prices|trades)(-.+)?$
    connection.url: ${env:DATABASE_URL}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	want := &File{
		Path: path,
		Worker: map[string]string{
			"bootstrap.servers": "localhost:9092",
			"listeners":         "http://127.0.0.1:8083",
			"metrics.listeners": "",
			"group.instance.id": "connector-0",
		},
		Connectors: []Connector{
			{Name: "second", Line: 7, Props: map[string]string{
				"connector.class":   "timescale-sink",
				"tasks.max":         "2",
				"ratio":             "0.50",
				"big":               "1_000",
				"errors.log.enable": "true",
				"topics":            "crypto-prices,crypto-trades",
				"batch.size":        "7",
				"text":              "two\nlines\n",
			}},
			{Name: "first", Line: 18, Props: map[string]string{
				"topics.regex":   "^crypto-(prices|trades)(-.+)?$",
				"connection.url": "${env:DATABASE_URL}",
			}},
		},
	}
	if !reflect.DeepEqual(file, want) {
		t.Errorf("Load gave\n%+v\nwant\n%+v", file, want)
	}
}

func TestParseEmpty(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "# only a comment\n", "connectors:\n", "connectors: {}\n"} {
		file, err := Parse("c.yaml", []byte(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if len(file.Worker) != 0 || len(file.Connectors) != 0 {
			t.Errorf("%q gave %+v", text, file)
		}
	}
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text string
		want       []string
	}{
		{"duplicate connector", "connectors:\n  a:\n    topics: x\n  a:\n    topics: y\n", []string{
			"c.yaml:4: connectors.a: defined twice, first in line 2",
		}},
		{"duplicate keys are all named", "listeners: x\nlisteners: y\nconnectors:\n  a:\n    topics: x\n    topics: y\n", []string{
			"c.yaml:2: listeners: defined twice, first in line 1",
			"c.yaml:6: topics: defined twice, first in line 5",
		}},
		{"map as a value", "connectors:\n  a:\n    connection:\n      url: x\n", []string{
			"connection: a map is not a value; write the keys flat, as connection.<key>: <value>",
		}},
		{"connectors as a list", "connectors:\n  - a\n", []string{"connectors: a map of keys is expected here"}},
		{"connector without keys", "connectors:\n  a:\n", []string{"c.yaml:2: connectors.a: a map of keys is expected here"}},
		{"not a map", "hello\n", []string{"c.yaml:1: a map of keys is expected here"}},
		{"list of maps", "topics:\n  - a: b\n", []string{"topics: a list may only hold plain values"}},
		{"comma in a list", "topics: [\"a,b\"]\n", []string{"topics: a value in a list may not hold a comma"}},
		{"anchor", "a: &x 1\nb: *x\n", []string{
			"c.yaml:1: a: anchors and aliases are not supported",
			"c.yaml:2: b: anchors and aliases are not supported",
		}},
		{"two documents", "a: 1\n---\nb: 2\n", []string{"c.yaml:3: a second YAML document begins"}},
		{"name with a space at its end", "connectors:\n  \"a \":\n    topics: x\n", []string{`connectors: "a " begins or ends with a space`}},
		{"name with a control character", "connectors:\n  \"a\\tb\":\n    topics: x\n", []string{`connectors: "a\tb" holds a control character`}},
		{"not YAML", "a: [1, 2\nb: 3\n", []string{"c.yaml:", "not valid YAML"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			file, err := Parse("c.yaml", []byte(tt.text))
			if err == nil {
				t.Fatalf("accepted as %+v", file)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error is\n%v\nwithout\n%s", err, want)
				}
			}
		})
	}
}

func TestParseErrorHidesTheFile(t *testing.T) {
	t.Parallel()
	_, err := Parse("c.yaml", []byte("connectors:\n  a:\n    connection.url: postgres://u:hunter2@h/db\n   topics: [x\n"))
	if err == nil {
		t.Fatal("accepted")
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the error shows the password: %v", err)
	}
}

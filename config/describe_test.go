package config

import (
	"log/slog"
	"reflect"
	"regexp"
	"testing"
	"time"
)

func TestDescribe(t *testing.T) {
	t.Parallel()
	type documented struct {
		URL      string            `json:"connection.url" jsonschema:"required,description=Where the database is, as a URL." importance:"high"`
		Mode     string            `json:"insert.mode" jsonschema:"description=How rows are kept\\, once,enum=upsert,enum=tape"`
		Size     int               `json:"batch.size" jsonschema:"description=Rows in one Put,minimum=1,maximum=100000" importance:"low"`
		Interval time.Duration     `json:"commit.interval.ms" jsonschema:"How long to wait, at least <n>"`
		Level    slog.Level        `json:"log.level"`
		Keep     time.Duration     `json:"keep" jsonschema_description:"How long rows stay | or go"`
		Bytes    int64             `json:"queue.bytes"`
		Regex    *regexp.Regexp    `json:"topics.regex"`
		Topics   []string          `json:"topics"`
		Password string            `json:"connection.password"`
		Tables   map[string]string `json:"table.name.*"`
	}
	got := Describe(&documented{
		Mode: "upsert", Size: 3000, Interval: 5 * time.Second, Keep: time.Hour, Bytes: 1 << 20,
		Regex: regexp.MustCompile("^a|b$"), Topics: []string{"a", "b"}, Password: "hunter2",
	})
	want := []Key{
		{Name: "connection.url", Type: "string", Required: true, Importance: "high", Documentation: "Where the database is, as a URL."},
		{Name: "insert.mode", Type: "string", Default: "upsert", Importance: "medium", Documentation: "How rows are kept, once", Valid: []string{"upsert", "tape"}},
		{Name: "batch.size", Type: "int", Default: "3000", Importance: "low", Documentation: "Rows in one Put", Minimum: "1", Maximum: "100000"},
		{Name: "commit.interval.ms", Type: "duration", Default: "5000", Importance: "medium", Documentation: "How long to wait, at least <n>"},
		{Name: "log.level", Type: "string", Default: "INFO", Importance: "medium"},
		{Name: "keep", Type: "duration", Default: "1h", Importance: "medium", Documentation: "How long rows stay | or go"},
		{Name: "queue.bytes", Type: "bytes", Default: "1048576", Importance: "medium"},
		{Name: "topics.regex", Type: "regex", Default: "^a|b$", Importance: "medium"},
		{Name: "topics", Type: "list", Default: "a,b", Importance: "medium"},
		{Name: "connection.password", Type: "password", Importance: "medium"},
		{Name: "table.name.*", Type: "map", Importance: "medium"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Describe gave\n%+v\nwant\n%+v", got, want)
	}
	const table = "| key | type | default | what it decides |\n|---|---|---|---|\n" +
		"| `connection.url` | string | required | Where the database is, as a URL. |\n" +
		"| `insert.mode` | string | `upsert` | How rows are kept, once. One of upsert, tape. |\n" +
		"| `batch.size` | int | `3000` | Rows in one Put. From 1 to 100000. |\n" +
		"| `commit.interval.ms` | duration | `5000` | How long to wait, at least \\<n>. |\n" +
		"| `log.level` | string | `INFO` |  |\n" +
		"| `keep` | duration | `1h` | How long rows stay \\| or go. |\n" +
		"| `queue.bytes` | bytes | `1048576` |  |\n" +
		"| `topics.regex` | regex | `^a\\|b$` |  |\n"
	if got := Markdown(got[:8]); got != table {
		t.Errorf("Markdown gave\n%s\nwant\n%s", got, table)
	}
}

// TestDefaultsDecode: what Describe names as a default is what Decode takes.
func TestDefaultsDecode(t *testing.T) {
	t.Parallel()
	def := sample{
		Topics: []string{"a"}, Size: 7, Memory: 64 << 20, Ratio: 0.5, Interval: 1500 * time.Millisecond,
		Keep: 36 * time.Hour, Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Mode: "tape", Enabled: true,
	}
	props := map[string]string{}
	for _, k := range Describe(&def) {
		if k.Default != "" {
			props[k.Name] = k.Default
		}
	}
	var got sample
	if _, err := Decode(props, &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, def) {
		t.Errorf("the defaults decode as\n%+v\nwant\n%+v", got, def)
	}
}

package config

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

type mode string

type embedded struct {
	Tasks int `json:"tasks.max"`
}

type sample struct {
	embedded `json:"-"`
	Embedded

	Class    string            `json:"connector.class"`
	Topics   []string          `json:"topics"`
	Regex    *regexp.Regexp    `json:"topics.regex"`
	Pattern  string            `json:"kinds.regex"`
	Enabled  bool              `json:"auto.create"`
	Size     int32             `json:"batch.size"`
	Memory   int64             `json:"queue.bytes"`
	Port     uint16            `json:"port"`
	Ratio    float64           `json:"ratio"`
	Interval time.Duration     `json:"commit.interval.ms"`
	Keep     time.Duration     `json:"retention"`
	Since    time.Time         `json:"since"`
	Mode     mode              `json:"insert.mode"`
	Tables   map[string]string `json:"table.name.*"`
	Limits   map[string]int    `json:"limit.*"`
	URL      string            `json:"connection.url"`
	Password string            `json:"connection.password"`
	Key      string            `json:"ssl.key" secret:"true"`
	Pin      int               `json:"pin" secret:"true"`
	Token    Secret            `json:"api.token"`
	Optional *int              `json:"optional"`
	Timeout  int               `json:"statement.timeout.ms"`
	Fields   []string          `json:"value.converter.fields"`

	NotAKey string
}

type Embedded struct {
	Name string `json:"name"`
}

type other struct {
	Topics    []string `json:"topics"`
	Tolerance string   `json:"errors.tolerance"`
	LogEnable bool     `json:"errors.log.enable"`
}

func TestDecode(t *testing.T) {
	t.Setenv("CONFIG_TEST_URL", "postgres://u:hunter2@h/db")
	t.Setenv("CONFIG_TEST_TOKEN", "tok-123")
	one := sample{Size: 5, Interval: 7 * time.Millisecond, Tables: map[string]string{"price": "p"}}
	defaults := one.Tables
	var two other
	d, err := Decode(map[string]string{
		"name":                               "market",
		"connector.class":                    "timescale-sink",
		"topics":                             " a, b ,,c",
		"topics.regex":                       "^crypto-.+$",
		"kinds.regex":                        "^a",
		"auto.create":                        "TRUE",
		"batch.size":                         " 300 ",
		"queue.bytes":                        "64MiB",
		"port":                               "65535",
		"ratio":                              "0.25",
		"commit.interval.ms":                 "5",
		"retention":                          "7d",
		"since":                              "2026-01-31T12:00:00Z",
		"insert.mode":                        "tape",
		"table.name.trade":                   "my_trades",
		"limit.a":                            "3",
		"connection.url":                     "${env:CONFIG_TEST_URL}?sslmode=require",
		"connection.password":                "written-out",
		"api.token":                          "${env:CONFIG_TEST_TOKEN}",
		"pin":                                "987654",
		"optional":                           "",
		"statement.timeout.ms":               "5s",
		"errors.tolerance":                   "all",
		"errors.log.enable":                  "true",
		"key.converter":                      "org.apache.kafka.connect.storage.StringConverter",
		"value.converter":                    "org.apache.kafka.connect.json.JsonConverter",
		"value.converter.schemas.enable":     "false",
		"consumer.override.max.poll.records": "500",
		"errors.retry.timeout":               "-1",
		"transforms":                         "",
		"errors.deadletterqueue.context.headers.enable": "true",
	}, &one, &two)
	if err != nil {
		t.Fatal(err)
	}
	want := sample{
		Embedded: Embedded{Name: "market"},
		Class:    "timescale-sink", Topics: []string{"a", "b", "c"}, Regex: regexp.MustCompile("^crypto-.+$"),
		Pattern: "^a", Enabled: true, Size: 300, Memory: 64 << 20, Port: 65535, Ratio: 0.25,
		Interval: 5 * time.Millisecond, Keep: 168 * time.Hour, Since: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC),
		Mode: "tape", Tables: map[string]string{"price": "p", "trade": "my_trades"}, Limits: map[string]int{"a": 3},
		URL: "postgres://u:hunter2@h/db?sslmode=require", Password: "written-out", Token: "tok-123", Pin: 987654, Timeout: 5000,
	}
	if !reflect.DeepEqual(one, want) {
		t.Errorf("Decode gave\n%#v\nwant\n%#v", one, want)
	}
	if len(defaults) != 1 {
		t.Errorf("Decode changed the map that held the defaults: %v", defaults)
	}
	if two.Tolerance != "all" || !two.LogEnable || len(two.Topics) != 3 {
		t.Errorf("the second target holds %+v", two)
	}
	wantNoEffect := []string{
		"consumer.override.max.poll.records", "errors.deadletterqueue.context.headers.enable", "errors.retry.timeout",
		"key.converter", "transforms", "value.converter", "value.converter.schemas.enable",
	}
	if !slices.Equal(d.NoEffect, wantNoEffect) {
		t.Errorf("without effect: %v, want %v", d.NoEffect, wantNoEffect)
	}
	if want := []string{"connection.password", "pin"}; !slices.Equal(d.Literal, want) {
		t.Errorf("literal: %v, want %v", d.Literal, want)
	}
	for _, secret := range []string{"hunter2", "written-out", "tok-123", "987654"} {
		if !slices.Contains(d.Secrets, secret) {
			t.Errorf("the secrets %v lack %s", d.Secrets, secret)
		}
	}
}

// TestSecretURL: of a URL the password is the secret, however the key is marked.
func TestSecretURL(t *testing.T) {
	t.Setenv("CONFIG_TEST_PASSWORD", "hunter2")
	type target struct {
		URL  string `json:"connection.url" secret:"true"`
		JAAS string `json:"sasl.jaas.config" jsonschema:"format=password,description=User and password."`
	}
	tests := []struct {
		key, value string
		secrets    []string
		literal    bool
	}{
		{"connection.url", "postgres://u@localhost/db", nil, false},
		{"connection.url", "postgres://u:${env:CONFIG_TEST_PASSWORD}@localhost/db", []string{"hunter2"}, false},
		{"connection.url", "postgres://u:hunter3@localhost/db", []string{"hunter3"}, true},
		{"sasl.jaas.config", `x required password="hunter4";`, []string{"hunter4", `x required password="hunter4";`}, true},
	}
	for _, tt := range tests {
		d, err := Decode(map[string]string{tt.key: tt.value}, new(target))
		if err != nil || !slices.Equal(d.Secrets, tt.secrets) || (len(d.Literal) == 1) != tt.literal {
			t.Errorf("%s: %s gave %+v, %v", tt.key, tt.value, d, err)
		}
	}
}

func TestDecodeErrors(t *testing.T) {
	t.Setenv("CONFIG_TEST_PASSWORD", "hunter2")
	tests := []struct {
		key, value, want string
	}{
		{"topic.regex", "x", "topic.regex: unknown key; did you mean topics.regex?"},
		{"Batch_Size", "1", "Batch_Size: unknown key; did you mean batch.size?"},
		{"errors.tolerence", "all", "errors.tolerence: unknown key; did you mean errors.tolerance?"},
		{"value.converter.field", "x", "value.converter.field: unknown key; did you mean value.converter.fields?"},
		{"table.nmae.trade", "x", "table.nmae.trade: unknown key; did you mean table.name.*?"},
		{"table.name.", "x", "table.name.: unknown key; did you mean table.name.*?"},
		{"comsumer.override.x", "x", "comsumer.override.x: unknown key; did you mean consumer.override.*?"},
		{"something.else.entirely", "x", "something.else.entirely: unknown key"},
		{"tasks.max", "2", "tasks.max: unknown key"},
		{"batch.size", "two", `batch.size: "two" is not a whole number`},
		{"batch.size", "3000000000", `batch.size: "3000000000" is too large`},
		{"batch.size", "99999999999999999999", `batch.size: "99999999999999999999" is too large`},
		{"batch.size", "64MiB", `batch.size: "64MiB" is not a whole number`},
		{"queue.bytes", "64 parsecs", `queue.bytes: "64 parsecs" is not a size such as 1048576 or 64MiB`},
		{"queue.bytes", "9999999999GiB", `queue.bytes: "9999999999GiB" is too large`},
		{"port", "-1", `port: "-1" is negative`},
		{"port", "65536", `port: "65536" is too large`},
		{"ratio", "NaN", `ratio: "NaN" is not a number`},
		{"auto.create", "yes", `auto.create: "yes" is neither true nor false`},
		{"commit.interval.ms", "soon", `commit.interval.ms: "soon" is neither a number of milliseconds nor a duration such as 500ms, 30s or 7d`},
		{"commit.interval.ms", "99999999999999999", `commit.interval.ms: "99999999999999999" is too large`},
		{"retention", "7", `retention: "7" has no unit; write it as 500ms, 30s or 7d`},
		{"since", "yesterday", `since: "yesterday" is not a time such as 2026-01-31T12:00:00Z`},
		{"topics.regex", "(", "topics.regex: \"(\" is not a regular expression: missing closing ): `(`"},
		{"kinds.regex", "[", `kinds.regex: "[" is not a regular expression`},
		{"limit.a", "x", `limit.a: "x" is not a whole number`},
		{"connection.url", "${env:CONFIG_TEST_UNSET}", "connection.url: ${env:CONFIG_TEST_UNSET}: the environment variable CONFIG_TEST_UNSET is not set"},
		{"connection.url", "${vault:a:b}", `connection.url: ${vault:a:b}: there is no provider "vault"; there are env, file and dir`},
		{"connection.url", "${file:/nowhere/x:key}", "connection.url: ${file:/nowhere/x:key}: open /nowhere/x"},
		{"batch.size", "${env:CONFIG_TEST_PASSWORD}", "batch.size: what ${env:CONFIG_TEST_PASSWORD} gives is not valid here"},
		{"pin", "hunter2", "pin: the value is not valid"},
		{"transforms", "mask", "transforms: single-message transforms are not run here"},
		{"value.converter", "io.confluent.connect.avro.AvroConverter", "value.converter: records are read as JSON, whatever the converter; AvroConverter would read something else"},
	}
	for _, tt := range tests {
		t.Run(tt.key+"="+tt.value, func(t *testing.T) {
			_, err := Decode(map[string]string{tt.key: tt.value}, new(sample), new(other))
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("the error is\n%v\nwant\n%s", err, tt.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
}

// TestDecodeAllErrors: every fault is reported at once, and good keys are set
// beside them.
func TestDecodeAllErrors(t *testing.T) {
	t.Parallel()
	s := sample{Size: 5}
	_, err := Decode(map[string]string{"batch.size": "x", "topic": "a", "port": "y", "ratio": "2"}, &s)
	if err == nil {
		t.Fatal("accepted")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "batch.size: ") || !strings.HasPrefix(lines[1], "port: ") || !strings.HasPrefix(lines[2], "topic: ") {
		t.Errorf("the error is\n%v", err)
	}
	if s.Size != 5 || s.Ratio != 2 {
		t.Errorf("Decode left %+v", s)
	}
}

func TestDecodeWorker(t *testing.T) {
	t.Parallel()
	var w struct {
		Listeners string `json:"listeners"`
	}
	d, err := DecodeWorker(map[string]string{"listeners": "x", "group.id": "connect", "offset.storage.topic": "c", "plugin.path": "/p"}, &w)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"group.id", "offset.storage.topic", "plugin.path"}; !slices.Equal(d.NoEffect, want) {
		t.Errorf("without effect: %v, want %v", d.NoEffect, want)
	}
	if _, err := DecodeWorker(map[string]string{"listener": "x"}, &w); err == nil || err.Error() != "listener: unknown key; did you mean listeners?" {
		t.Errorf("the error is %v", err)
	}
}

func TestResolve(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CONFIG_TEST_A", "${env:CONFIG_TEST_B}")
	t.Setenv("CONFIG_TEST_B", "b")
	for name, content := range map[string]string{"db.properties": "user = me\npassword: a\\u0062c\\\n  def\n", "password": "from a mount\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "large"), make([]byte, valuesBytesMax+1), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]string{
		"plain":                "plain",
		"${topic}":             "${topic}",
		"${env:CONFIG_TEST_B}": "b",
		"${env:CONFIG_TEST_A}": "${env:CONFIG_TEST_B}",
		"x${env:CONFIG_TEST_B}y$${env:CONFIG_TEST_B}": "xby$b",
		"${file:" + dir + "/db.properties:password}":  "abcdef",
		"${file:" + dir + "/db.properties:user}":      "me",
		"${dir:" + dir + ":password}":                 "from a mount",
	}
	for value, want := range tests {
		got, err := Resolve(value)
		if err != nil || got != want {
			t.Errorf("Resolve(%q) = %q, %v; want %q", value, got, err, want)
		}
	}
	for _, value := range []string{
		"${file:" + dir + "/db.properties:nothing}", "${dir:" + dir + ":../x}", "${dir:" + dir + ":nothing}",
		"${env:a:b}", "${file:db.properties}", "${file:" + dir + ":x}", "${dir:" + dir + ":pipe}", "${file:" + dir + "/large:x}", "${file:/dev/zero:x}",
	} {
		if got, err := Resolve(value); err == nil || !strings.Contains(err.Error(), value) {
			t.Errorf("Resolve(%q) = %q, %v; want an error that names the variable", value, got, err)
		}
	}
}

func TestProperties(t *testing.T) {
	t.Parallel()
	got := parseProperties("# c\n! c\n\na=1\nb : 2\nc 3\nd\n e\\ f = g\\=h\ni=\\t\\n\\\\\nj=x\\\n   y\\\n z\nk=\\u00e9\\uZZ\r\nlast=1\nlast=2")
	want := map[string]string{
		"a": "1", "b": "2", "c": "3", "d": "", "e f": "g=h", "i": "\t\n\\", "j": "xyz", "k": "éuZZ", "last": "2",
	}
	if !maps.Equal(got, want) {
		t.Errorf("parsed %q, want %q", got, want)
	}
}

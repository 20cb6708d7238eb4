package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/qicore/tickconnect/connect"
)

// TestDeadLetters: bad records of a topic are listed with their reasons, and
// shown byte for byte.
func TestDeadLetters(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.createTopic(t, "crypto-prices-kraken", 2)
	config := s.config(t, "^crypto-prices-.+$", "")
	bad := "{\"broken\": \x1b[31m\xff"
	s.produce(t, "crypto-prices-kraken", 0, price(1), bad, "nonsense")
	s.produce(t, "crypto-prices-kraken", 1, `{}`, price(2))
	startConnector(t, config)
	if code, out, errOut := command(t, "audit", "-c", config, "--timeout", "60s"); code != 0 {
		t.Fatalf("audit: exit code %d, %s%s", code, out, errOut)
	}

	code, out, errOut := command(t, "dead-letters", "list", "-c", config)
	if code != 0 {
		t.Fatalf("exit code %d: %s%s", code, out, errOut)
	}
	for _, want := range []string{
		"market: 3 dead letters\n", "         2  not_json\n", "         1  missing_field\n",
		"crypto-prices-kraken/0@1 ", "crypto-prices-kraken/0@2 ", "crypto-prices-kraken/1@0 ",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the list is\n%s\nwithout %q", out, want)
		}
	}
	if strings.Contains(out, "\x1b") {
		t.Errorf("the list passes on control characters: %q", out)
	}
	for _, tt := range []struct {
		flags []string
		total int
		shown int
	}{
		{nil, 3, 3},
		{[]string{"--reason", "not_json"}, 2, 2},
		{[]string{"--limit", "1"}, 3, 1},
		{[]string{"--topic", "another"}, 0, 0},
		{[]string{"--since", "1h"}, 3, 3},
		{[]string{"--since", time.Now().Add(time.Hour).Format(time.RFC3339)}, 0, 0},
	} {
		code, out, errOut := command(t, append([]string{"dead-letters", "list", "market", "-c", config, "-o", "json"}, tt.flags...)...)
		var answer struct{ Connectors []letterList }
		if err := json.Unmarshal([]byte(out), &answer); err != nil || len(answer.Connectors) != 1 {
			t.Fatalf("%v: exit code %d, %s%s", tt.flags, code, out, errOut)
		}
		if list := answer.Connectors[0]; list.Total != tt.total || len(list.Letters) != tt.shown {
			t.Errorf("%v gave %d of %d, want %d of %d", tt.flags, len(list.Letters), list.Total, tt.shown, tt.total)
		}
	}

	code, out, errOut = command(t, "dead-letters", "show", "crypto-prices-kraken/0@1", "-c", config)
	for _, want := range []string{
		"crypto-prices-kraken/0@1, a dead letter of market, generation 0\n", "reason       not_json\n",
		"key: 3 bytes of text\n    BTC\n", "header \"trace\": 2 bytes, not text\n    00000000  ff 00",
		"value: 17 bytes, not text\n    00000000  7b 22 62 72 6f 6b 65 6e",
	} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("exit code %d, shown is\n%s%s\nwithout %q", code, out, errOut, want)
		}
	}
	if code, out, _ := command(t, "dead-letters", "show", "market", "crypto-prices-kraken/0@1", "-c", config, "--value"); code != 0 || out != bad {
		t.Errorf("exit code %d, the value is %q, want %q", code, out, bad)
	}
	code, out, _ = command(t, "dead-letters", "show", "crypto-prices-kraken/0@1", "-c", config, "-o", "json")
	var shown struct {
		DeadLetters []letterReport `json:"dead_letters"`
	}
	if err := json.Unmarshal([]byte(out), &shown); err != nil || code != 0 || len(shown.DeadLetters) != 1 {
		t.Fatalf("exit code %d, %v: %s", code, err, out)
	}
	if l := shown.DeadLetters[0]; string(l.Value) != bad || len(l.Headers) != 1 || !bytes.Equal(l.Headers[0].Value, []byte{0xff, 0}) || l.RecordTime == nil {
		t.Errorf("shown is %+v", l)
	}
	code, _, errOut = command(t, "dead-letters", "show", "crypto-prices-kraken/0@0", "-c", config)
	if code != 1 || !strings.Contains(errOut, "there is no dead letter at crypto-prices-kraken/0@0") {
		t.Errorf("exit code %d, %s", code, errOut)
	}
	code, _, errOut = command(t, "dead-letters", "list", "another", "-c", config)
	if code != 1 || !strings.Contains(errOut, `has no connector "another"; it has market`) {
		t.Errorf("exit code %d, %s", code, errOut)
	}
}

func TestParsePosition(t *testing.T) {
	t.Parallel()
	tp, offset, err := parsePosition("a.b-c_d/12@9000000000")
	if err != nil || tp != (connect.TopicPartition{Topic: "a.b-c_d", Partition: 12}) || offset != 9_000_000_000 {
		t.Errorf("got %v, %d, %v", tp, offset, err)
	}
	for _, bad := range []string{"", "a", "a/1", "a@1", "/1@2", "a/x@1", "a/1@x", "a/-1@1", "a/1@-1", "a/99999999999@1"} {
		if _, _, err := parsePosition(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestParseSince(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"":                     {},
		"90m":                  now.Add(-90 * time.Minute),
		"7d":                   time.Date(2026, 3, 3, 12, 0, 0, 0, time.UTC),
		"2026-01-31T12:00:00Z": time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC),
	} {
		if got, err := parseSince(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q gave %v, %v; want %v", text, got, err, want)
		}
	}
	for _, bad := range []string{"yesterday", "-1h", "5"} {
		if _, err := parseSince(bad, now); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestPrintBytes(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":        "  v: empty\n",
		"a":       "  v: 1 byte of text\n    a\n",
		"é €":     "  v: 6 bytes of text\n    é €\n",
		"a\nb":    "  v: 3 bytes, not text\n    00000000  61 0a 62                                          |a.b|\n",
		"\x1b[0m": "  v: 4 bytes, not text\n    00000000  1b 5b 30 6d                                       |.[0m|\n",
	} {
		var out bytes.Buffer
		printBytes(&out, "v", []byte(in))
		if out.String() != want {
			t.Errorf("%q is shown as\n%s\nwant\n%s", in, out.String(), want)
		}
	}
	var out bytes.Buffer
	if printBytes(&out, "v", nil); out.String() != "  v: none\n" {
		t.Errorf("nil is shown as %s", out.String())
	}
}

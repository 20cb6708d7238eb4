package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestPurge: dead letters and closed generations go by their age, after a dry run that
// says the same, and not without --yes.
func TestPurge(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.createTopic(t, "crypto-prices-kraken", 1)
	config := s.config(t, "^crypto-prices-.+$", impatient)
	s.produce(t, "crypto-prices-kraken", 0, price(1), "nonsense", "{}")
	startConnector(t, config)
	audited(t, config)
	for range 2 {
		if code, _, errOut := command(t, "offsets", "reset", "market", "-c", config, "--topic", "crypto-prices-kraken", "--to", "earliest", "--yes"); code != 0 {
			t.Fatalf("reset: %s", errOut)
		}
		audited(t, config)
	}
	letters := func(flags ...string) (int, letterPurge) {
		t.Helper()
		code, out, errOut := command(t, append([]string{"dead-letters", "purge", "-c", config, "-o", "json"}, flags...)...)
		var answer struct{ Connectors []letterPurge }
		if err := json.Unmarshal([]byte(out), &answer); err != nil || len(answer.Connectors) != 1 {
			t.Fatalf("exit code %d, %v: %s%s", code, err, out, errOut)
		}
		return code, answer.Connectors[0]
	}
	for _, tt := range []struct {
		flags          []string
		code           int
		total, deleted int64
	}{
		{[]string{"--older-than", "1h", "--yes"}, 0, 0, 0},
		{[]string{"--older-than", "0s", "--dry-run"}, 0, 6, 0},
		{[]string{"--older-than", "0s", "--dry-run", "--yes"}, 0, 6, 0},
		{[]string{"--older-than", "0s"}, 1, 6, 0},
		{[]string{"--older-than", "0s", "--reason", "not_json", "--yes"}, 0, 3, 3},
		{[]string{"--older-than", "0s", "--topic", "another", "--yes"}, 0, 0, 0},
		{[]string{"--older-than", "0s", "--yes"}, 0, 3, 3},
		{[]string{"--older-than", "0s", "--dry-run"}, 0, 0, 0},
	} {
		if code, a := letters(tt.flags...); code != tt.code || a.Total != tt.total || a.Deleted != tt.deleted {
			t.Errorf("%v: exit code %d, %+v", tt.flags, code, a)
		}
	}
	for _, tt := range []struct {
		flags []string
		code  int
		want  []string
	}{
		{[]string{"--older-than", "1h", "--yes"}, 0, []string{"market: 0 generations closed"}},
		{[]string{"--older-than", "0s", "--dry-run"}, 0, []string{"market: 2 generations closed", "  0  live  closed ", "1 partition", "goes", "this is a dry run"}},
		{[]string{"--older-than", "0s"}, 1, []string{"market: 2 generations closed", "Say --yes to do it"}},
		{[]string{"--older-than", "0s", "--yes"}, 0, []string{"2 generations deleted"}},
		{[]string{"--older-than", "0s", "--dry-run"}, 0, []string{"market: 0 generations closed"}},
	} {
		code, out, errOut := command(t, append([]string{"offsets", "purge", "-c", config}, tt.flags...)...)
		for _, want := range tt.want {
			if code != tt.code || !strings.Contains(out, want) {
				t.Errorf("%v: exit code %d, %s%s without %q", tt.flags, code, out, errOut, want)
			}
		}
	}
	if code, _, errOut := command(t, "dead-letters", "purge", "-c", config, "--older-than", "soon"); code != 1 || !strings.Contains(errOut, `--older-than: "soon" is neither an age`) {
		t.Errorf("exit code %d, %s", code, errOut)
	}
	// It goes on as before.
	s.produce(t, "crypto-prices-kraken", 0, price(2))
	for _, line := range audited(t, config) {
		if line.Next != 4 {
			t.Errorf("it stands at %d, want 4", line.Next)
		}
	}
}

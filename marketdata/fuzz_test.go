package marketdata

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
)

// FuzzDecode decodes each input as each kind. No input may panic, and what
// is decoded must be what encoding/json reads in the same bytes.
func FuzzDecode(f *testing.F) {
	for _, k := range Kinds() {
		f.Add([]byte(goodRecords[k]))
	}
	for _, s := range []string{
		"", "{}", "[]", "{", `{"a":[1,{"b":"\ud83d\ude80"}],"time":1770091200}`, `{"TIME":"2026-02-03T04:05:06.1234567+01:00","metrics":{"a":"1","a":2}}`,
		`{"time":1770091200,"x":1,"X":"2","y":"","z":null,"metrics":{"x":3,"n":{"a":1}}}`, `{"time":null,"time":1770091200}`, "{\"time\":1770091200,\"symbol\":\"\xff\"}",
		`{"exchange_id":"A\u0042","symbol":"\ud800","time":"1770091200123","price":"1e3","size":0,"trade_id":12}`,
		`{"exchangeId":"É","symbol":"s","time":1770091200,"bidPrice":2,"askPrice":1,"sequence":"9"}`, `{"time":1770091200,"\u006detrics":{"\u0061":1e-9}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		var d Decoder
		for _, k := range Kinds() {
			var r anyRecord
			given := bytes.Clone(value)
			err := r.decode(&d, k, given)
			if !bytes.Equal(given, value) {
				t.Fatal("the value was changed")
			}
			if err != nil {
				continue
			}
			unknown := d.UnknownFields()
			checkAgainstJSON(t, &r, value, unknown)
			roundTrip(t, &r)
		}
	})
}

// checkAgainstJSON reads the value with encoding/json and compares.
func checkAgainstJSON(t *testing.T, r *anyRecord, value []byte, unknown int) {
	t.Helper()
	members, err := readMembers(value)
	if err != nil {
		t.Fatalf("%s record: encoding/json refuses it: %v", r.kind, err)
	}
	got := r.values()
	given := map[string]any{}
	metrics := map[string]any{}
	var object any
	wantUnknown := 0
	for _, m := range members {
		name := foldName(m.name)
		switch _, own := got[name]; {
		case own:
			given[name] = m.value
		case r.kind != KindAnalytics:
			wantUnknown++
		case name == "metrics":
			object = m.value
		}
	}
	for name, have := range got {
		if msg := disagreement(name, have, given[name]); msg != "" {
			t.Fatalf("%s record, %s: %s", r.kind, name, msg)
		}
	}
	if r.kind != KindAnalytics {
		if unknown != wantUnknown {
			t.Fatalf("%s record: %d unknown fields, want %d", r.kind, unknown, wantUnknown)
		}
		return
	}
	if object != nil {
		for _, m := range object.([]member) {
			addMetric(metrics, m)
		}
	}
	for _, m := range members {
		name := foldName(m.name)
		if _, own := got[name]; !own && name != "metrics" {
			addMetric(metrics, m)
		}
	}
	compareMetrics(t, r.analytics.Metrics, metrics)
}

// addMetric takes a member that is a number or a string with one that can be
// stored; the last one of a name wins.
func addMetric(metrics map[string]any, m member) {
	s := ""
	switch v := m.value.(type) {
	case json.Number:
		s = v.String()
	case string:
		s = v
	}
	if _, err := ParseDecimal(s); err != nil {
		return
	}
	if n, ok := new(big.Rat).SetString(s); ok {
		metrics[m.name] = n
	}
}

func compareMetrics(t *testing.T, text string, want map[string]any) {
	t.Helper()
	got := map[string]any{}
	if text != "" {
		members, err := readMembers([]byte(text))
		if err != nil {
			t.Fatalf("metrics %s: %v", text, err)
		}
		for _, m := range members {
			addMetric(got, m)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("metrics %v, want %v", got, want)
	}
	for name, n := range want {
		if g, ok := got[name].(*big.Rat); !ok || g.Cmp(n.(*big.Rat)) != 0 {
			t.Fatalf("metrics %q is %v, want %v", name, got[name], n)
		}
	}
}

// disagreement says how a decoded field differs from what encoding/json read.
func disagreement(name string, have, given any) string {
	text := ""
	switch v := given.(type) {
	case json.Number:
		text = v.String()
	case string:
		text = v
	}
	var got string
	switch v := have.(type) {
	case string:
		if name == "exchangeid" {
			text = strings.ToLower(text)
		}
		got = v
	case Decimal:
		got = v.String()
	case Optional[int64]:
		if v.Set != (text != "") {
			return fmt.Sprintf("%v from %v", v, given)
		}
		if n, ok := new(big.Int).SetString(text, 10); v.Set && (!ok || n.Cmp(big.NewInt(v.Value)) != 0) {
			return fmt.Sprintf("%v from %v", v, given)
		}
		return ""
	case Optional[bool]:
		if b, ok := given.(bool); v.Set != ok || v.Value != b {
			return fmt.Sprintf("%v from %v", v, given)
		}
		return ""
	case levelsText:
		want := levelsText("none")
		if sides, ok := given.([]any); ok {
			levels := make([]Level, 0, len(sides))
			for _, side := range sides {
				pair := side.([]any)
				levels = append(levels, Level{Decimal{fmt.Sprint(pair[0])}, Decimal{fmt.Sprint(pair[1])}})
			}
			want = textOf(levels)
		}
		if v != want {
			return fmt.Sprintf("%s from %v", v, given)
		}
		return ""
	case time.Time:
		if name == "nextfundingtime" && (text == "" && v.IsZero() || timeByLibrary(text).IsZero()) {
			return "" // it may lie further ahead
		}
		if want := timeByLibrary(text); want.IsZero() || !v.Equal(want) {
			return fmt.Sprintf("%v from %v, want %v", v, given, want)
		}
		return ""
	}
	if got != text {
		return fmt.Sprintf("%q from %v", got, given)
	}
	return ""
}

// timeByLibrary reads a time with math/big and the time package.
func timeByLibrary(s string) time.Time {
	n, ok := new(big.Int).SetString(s, 10)
	if !ok {
		b := []byte(strings.ToUpper(s))
		b[10] = 'T'
		second := time.Duration(0)
		if string(b[17:19]) == "60" {
			copy(b[17:], "59")
			second = time.Second
		}
		t, err := time.Parse(time.RFC3339Nano, string(b))
		if err != nil {
			return time.Time{}
		}
		return t.Add(second).Truncate(time.Microsecond).UTC()
	}
	// The one unit in which the number lies between 2009 and now.
	for _, unit := range []int64{1_000_000_000, 1_000_000, 1000, 1} {
		ns := new(big.Int).Mul(n, big.NewInt(unit))
		if ns.IsInt64() {
			t := time.Unix(0, ns.Int64()).UTC().Truncate(time.Microsecond)
			if !t.Before(timeMin) && !t.After(testNow.Add(timeAheadMax)) {
				return t
			}
		}
	}
	return time.Time{}
}

type member struct {
	name  string
	value any // json.Number, string, bool, nil, or []member for an object; []any for an array
}

// readMembers reads an object's members in their order, which a map would lose.
func readMembers(value []byte) ([]member, error) {
	if !json.Valid(value) {
		return nil, fmt.Errorf("not valid JSON: %.100q", value)
	}
	dec := json.NewDecoder(bytes.NewReader(value))
	dec.UseNumber()
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	var members []member
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, err
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, err
		}
		m := member{name: name.(string)}
		switch raw[0] {
		case '{':
			if m.value, err = readMembers(raw); err != nil {
				return nil, err
			}
		default:
			one := json.NewDecoder(bytes.NewReader(raw))
			one.UseNumber()
			if err := one.Decode(&m.value); err != nil {
				return nil, err
			}
		}
		members = append(members, m)
	}
	return members, nil
}

func foldName(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == '_':
			return -1
		case c >= 'A' && c <= 'Z':
			return c + 'a' - 'A'
		}
		return c
	}, s)
}

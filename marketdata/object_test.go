package marketdata

import (
	"encoding/json"
	"strings"
	"testing"
)

// objectMember is a member as ObjectReader gives it.
type objectMember struct {
	name string
	v    JSONValue
}

func readObject(r *ObjectReader, data []byte) (members []objectMember, fault *Error) {
	fault = r.Read(data, func(name string, v JSONValue) { members = append(members, objectMember{name, v}) })
	return members, fault
}

func TestObjectReader(t *testing.T) {
	t.Parallel()
	var r ObjectReader
	members, fault := readObject(&r, []byte(` {"a":1.50e3,"\u0062":"x\ty","c":null,"d":[1,{"e":2}],"f":{"a":2},"a":true,"g":"é"} `))
	if fault != nil {
		t.Fatal(fault)
	}
	want := []struct {
		name string
		kind JSONKind
		raw  string
	}{
		{"a", JSONNumber, "1.50e3"},
		{"b", JSONString, `x\ty`},
		{"c", JSONNull, "null"},
		{"d", JSONArray, `[1,{"e":2}]`},
		{"f", JSONObject, `{"a":2}`},
		{"a", JSONBool, "true"},
		{"g", JSONString, "é"},
	}
	if len(members) != len(want) {
		t.Fatalf("%d members", len(members))
	}
	for i, m := range members {
		if m.name != want[i].name || m.v.Kind != want[i].kind || m.v.Raw != want[i].raw {
			t.Errorf("%+v, want %+v", m, want[i])
		}
	}
	if s, fault := r.Text(members[1].v); s != "x\ty" || fault != nil {
		t.Errorf("%q, %v", s, fault)
	}
	for data, reason := range map[string]string{
		"": ReasonEmptyValue, "[]": ReasonNotAnObject, "1 2": ReasonNotJSON, "{": ReasonNotJSON, `{"a":NaN}`: ReasonNotJSON, "{}{}": ReasonNotJSON,
		`{"a":` + strings.Repeat("[", 300): ReasonTooDeep,
	} {
		if _, fault := readObject(&r, []byte(data)); fault == nil || fault.Reason != reason {
			t.Errorf("%.40s: %v", data, fault)
		}
	}
	for _, text := range []string{`\ud800`, `a\u0000`, "\xff"} {
		members, fault := readObject(&r, []byte(`{"a":"`+text+`"}`))
		if fault != nil {
			t.Fatal(fault)
		}
		if s, fault := r.Text(members[0].v); fault == nil || fault.Reason != ReasonInvalidText {
			t.Errorf("%q became %q", text, s)
		}
	}
}

// TestObjectReaderLooksInside: values within values, at any depth, blanks and
// escapes among them.
func TestObjectReaderLooksInside(t *testing.T) {
	t.Parallel()
	var r ObjectReader
	top, fault := r.ReadValue([]byte(` [ {"\u0061" : [ ["1.50", 2 ], [ ] ] , "b":{ } } , null , [] ] `))
	if fault != nil {
		t.Fatal(fault)
	}
	var show func(v JSONValue) string
	show = func(v JSONValue) string {
		var parts []string
		switch v.Kind {
		case JSONArray:
			r.Elements(v, func(v JSONValue) { parts = append(parts, show(v)) })
			return "[" + strings.Join(parts, " ") + "]"
		case JSONObject:
			r.Members(v, func(name string, v JSONValue) { parts = append(parts, name+":"+show(v)) })
			return "{" + strings.Join(parts, " ") + "}"
		}
		r.Elements(v, func(JSONValue) { t.Error("an element of no array") })
		r.Members(v, func(string, JSONValue) { t.Error("a member of no object") })
		return v.Raw
	}
	if got, want := show(top), "[{a:[[1.50 2] []] b:{}} null []]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for data, reason := range map[string]string{"": ReasonEmptyValue, "[1,2": ReasonNotJSON, "[] []": ReasonNotJSON, "x": ReasonNotJSON} {
		if v, fault := r.ReadValue([]byte(data)); fault == nil || fault.Reason != reason || v != (JSONValue{}) {
			t.Errorf("%q: %+v, %v", data, v, fault)
		}
	}
}

// TestObjectReaderAllocates is not parallel, since it counts all allocations.
func TestObjectReaderAllocates(t *testing.T) {
	var r ObjectReader
	value := []byte(goodRecords[KindTrade])
	member := func(string, JSONValue) {}
	var fault *Error
	if n := testing.AllocsPerRun(100, func() { fault = r.Read(value, member) }); n != 0 || fault != nil {
		t.Errorf("%v allocations, %v", n, fault)
	}
}

// FuzzObjectReader: it reads what encoding/json reads.
func FuzzObjectReader(f *testing.F) {
	for _, value := range goodRecords {
		f.Add([]byte(value))
	}
	f.Add([]byte(`{"\ud83d\ude80":"\ud83d\ude80","a":{"b":[{}]},"a":-0.0e-1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var r ObjectReader
		members, fault := readObject(&r, data)
		if fault != nil {
			if fault.Reason == ReasonNotJSON && json.Valid(data) {
				t.Fatalf("%v: %q", fault, data)
			}
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatalf("%v: %q", err, data)
		}
		for _, m := range members {
			if m.v.Kind != JSONString {
				continue
			}
			text, fault := r.Text(m.v)
			if fault != nil {
				continue
			}
			var s string
			if err := json.Unmarshal([]byte(`"`+m.v.Raw+`"`), &s); err != nil || s != text {
				t.Fatalf("%q became %q, want %q, %v", m.v.Raw, text, s, err)
			}
		}
		names := map[string]bool{}
		for _, m := range members {
			names[strings.ToValidUTF8(m.name, "\ufffd")] = true
		}
		if len(names) != len(want) && !strings.Contains(string(data), `\ud`) && !strings.Contains(string(data), `\uD`) && strings.ToValidUTF8(string(data), "") == string(data) {
			t.Fatalf("%d names, want %d: %q", len(names), len(want), data)
		}
	})
}

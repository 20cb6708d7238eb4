package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestMaskURL(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"postgres://u:hunter2@h:5432/db":                                   "postgres://u:[hidden]@h:5432/db",
		"postgres://u:hun/t@er2@h1:1,h2:2/db?sslmode=require":              "postgres://u:[hidden]@h1:1,h2:2/db?sslmode=require",
		"postgres://u:hun ter2@h/db":                                       "postgres://u:[hidden]@h/db",
		"postgres://h/db?user=u&password=hunter2&sslmode=x":                "postgres://h/db?user=u&password=[hidden]&sslmode=x",
		"postgres://u@h/db?sslpassword=hunter2":                            "postgres://u@h/db?sslpassword=[hidden]",
		"jdbc:postgresql://h/db?user=u&password=hunter2":                   "jdbc:postgresql://h/db?user=u&password=[hidden]",
		"host=h user=u password=hunter2 dbname=db":                         "host=h user=u password=[hidden] dbname=db",
		`host=h password = 'hun\' ter2' dbname=db`:                         `host=h password = [hidden] dbname=db`,
		`org.x.PlainLoginModule required username="u" password="hunter2";`: `org.x.PlainLoginModule required username="u" password=[hidden];`,
		"postgres://u@h:5432/db":                                           "postgres://u@h:5432/db",
		"http://127.0.0.1:8083":                                            "http://127.0.0.1:8083",
		"localhost:9092":                                                   "localhost:9092",
	}
	for in, want := range tests {
		if got := MaskURL(in); got != want {
			t.Errorf("MaskURL(%s) = %s, want %s", in, got, want)
		}
	}
}

// TestRedact: a password is hidden wherever it turns up, in each form in which
// it can stand in a text.
func TestRedact(t *testing.T) {
	t.Parallel()
	const password = `p@ss "w\rd&1`
	r := NewRedactor(password)
	encoded, err := json.Marshal(map[string]string{"error": "bad " + password})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"cannot log in with " + password + " here",
		fmt.Sprintf("value %q", password),
		string(encoded),
		"p%40ss+%22w%5Crd%261", "p%40ss%20%22w%5Crd%261",
	} {
		got := r.Redact(text)
		if strings.Contains(got, "rd&1") || strings.Contains(got, "ss") || !strings.Contains(got, Masked) {
			t.Errorf("%s became %s", text, got)
		}
	}
	for in, want := range map[string]string{
		"dial postgres://u:unknown@h/db failed, then kafka://a:b@c": "dial postgres://u:[hidden]@h/db failed, then kafka://a:[hidden]@c",
		`{"url":"postgres://u:unknown@h/db","n":1}`:                 `{"url":"postgres://u:[hidden]@h/db","n":1}`,
		`{"msg":"opts password=\"unknown\"","n":1}`:                 `{"msg":"opts password=[hidden]","n":1}`,
		"nothing to hide at http://127.0.0.1:8083/x":                "nothing to hide at http://127.0.0.1:8083/x",
	} {
		if got := new(Redactor).Redact(in); got != want {
			t.Errorf("%s became %s, want %s", in, got, want)
		}
	}
}

func TestRedactKnown(t *testing.T) {
	t.Parallel()
	r := NewRedactor("abcd", "abcdefgh", "xyz", "", "postgres://u:from%20url@h/db")
	for in, want := range map[string]string{
		"abcdefgh abcd": Masked + " " + Masked,
		"xyz":           "xyz",
		"from url":      Masked,
		"from%20url":    Masked,
	} {
		if got := r.Redact(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

func TestRedactLogs(t *testing.T) {
	t.Parallel()
	for _, handler := range []func(*bytes.Buffer, *Redactor) slog.Handler{
		func(b *bytes.Buffer, r *Redactor) slog.Handler { return slog.NewTextHandler(r.Writer(b), nil) },
		func(b *bytes.Buffer, r *Redactor) slog.Handler { return slog.NewJSONHandler(r.Writer(b), nil) },
	} {
		var out bytes.Buffer
		log := slog.New(handler(&out, NewRedactor("hunter\n2")))
		log.Error("no hunter\n2", "err", errors.New("password hunter\n2 refused"), "cfg", struct{ P string }{"hunter\n2"}, "secret", Secret("hidden too"))
		if s := out.String(); strings.Contains(s, "hunter") || strings.Contains(s, "hidden too") || strings.Count(s, Masked) < 4 {
			t.Errorf("the log says %s", s)
		}
	}
}

func TestSecret(t *testing.T) {
	t.Parallel()
	s := Secret("hunter2")
	cfg := struct {
		Password Secret
		Pointer  *Secret
	}{s, &s}
	encoded, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{string(encoded), s.String(), s.GoString(), fmt.Sprint(s), fmt.Sprint(cfg), fmt.Sprintf("%#v", cfg), fmt.Errorf("x %w", fmt.Errorf("%v", s)).Error()}
	for _, verb := range []string{"%s", "%q", "%v", "%+v", "%#v", "%x", "%X", "%d", "%t", "%c", "%10s"} {
		texts = append(texts, fmt.Sprintf(verb, s), fmt.Sprintf(verb, cfg.Password))
	}
	for _, text := range texts {
		if strings.Contains(text, "hunter2") || strings.Contains(strings.ToLower(text), "68756e74") {
			t.Errorf("the secret is seen in %s", text)
		}
	}
	if s.Reveal() != "hunter2" || Secret("").String() != "" {
		t.Error("Reveal must give the value, and an empty secret must print as empty")
	}
}

// TestRedactorForgets: a secret is hidden for as long as one of those that gave it is
// there, and a word that was a password once is not hidden for ever.
func TestRedactorForgets(t *testing.T) {
	t.Parallel()
	r := NewRedactor("always")
	first, second := r.Add("market"), r.Add("market", "other")
	tried := r.With("tried")
	for i, tt := range []struct {
		do   func()
		want string
	}{
		{func() {}, "[hidden] [hidden] [hidden] tried"},
		{first, "[hidden] [hidden] [hidden] tried"},
		{first, "[hidden] [hidden] [hidden] tried"}, // it was forgotten once
		{second, "[hidden] market other tried"},
	} {
		tt.do()
		if got := r.Redact("always market other tried"); got != tt.want {
			t.Errorf("%d: %s, want %s", i, got, tt.want)
		}
	}
	if got := tried.Redact("always market other tried"); got != "[hidden] [hidden] [hidden] [hidden]" {
		t.Errorf("With: %s", got)
	}
}

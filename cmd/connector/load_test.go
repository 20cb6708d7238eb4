package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qicore/tickconnect/config"
)

// TestVariablesStayHidden: what is wrong with a connector repeats nothing that a variable
// gave, whichever key it stands in: whoever may have a configuration checked could read any
// file of the machine.
func TestVariablesStayHidden(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "users"), []byte("admin=geheim12;'zettel34,brief56\nother=ordner78\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	secret := "${dir:" + dir + ":users}"
	for _, key := range restPlugin(plugins[0]).Keys {
		for _, value := range []string{secret, "x" + secret, secret + ":" + secret} {
			props := map[string]string{"connector.class": "timescale-sink", "topics": "t", "connection.url": "postgres://h/d", "value.converter": "json"}
			props[key.Name] = value
			if key.Name == "errors.deadletterqueue.topic.name" {
				props["topics"] = value
			}
			c := new(loaded).read(config.Connector{Name: "x", Props: props})
			for _, text := range lines(c.err) {
				for _, part := range []string{"geheim", "zettel", "brief", "ordner"} {
					if strings.Contains(text, part) {
						t.Errorf("%s: %s", key.Name, text)
					}
				}
			}
		}
	}
}

// TestChecksLeaveTheLogAlone: a password of a configuration that is only checked is not
// searched for in all that is logged from then on.
func TestChecksLeaveTheLogAlone(t *testing.T) {
	t.Parallel()
	api := connectAPI{p: &process{loaded: &loaded{redactor: config.NewRedactor()}}}
	checked := api.Validate(map[string]string{"name": "x", "connector.class": "timescale-sink", "topics": "t", "connection.url": "postgres://h/d", "connection.password": "level="})
	if len(checked.Errors) > 0 {
		t.Errorf("it is wrong: %v", checked.Errors)
	}
	if text := "level=INFO"; api.p.loaded.redactor.Redact(text) != text {
		t.Error("the log hides it")
	}
}

// TestMaskedConfig: passwords are not shown, of a kind of connector that there is not too.
func TestMaskedConfig(t *testing.T) {
	t.Parallel()
	for _, class := range []string{"timescale-sink", "timescale-snk", ""} {
		masked := maskedConfig(map[string]string{"connector.class": class, "connection.password": "geheim", "connection.url": "postgres://u:geheim@h/d", "topics": "t"})
		if text := strings.Join(sortedLines(masked), " "); strings.Contains(text, "geheim") || !strings.Contains(text, "topics: t") {
			t.Errorf("%q: %s", class, text)
		}
	}
}

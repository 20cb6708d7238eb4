package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestVariablesAreLimited: variables of connectors read what is allowed and nothing beside
// it, by whatever way.
func TestVariablesAreLimited(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"open/values", "open/deep/values", "opened/values", "closed/values"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("key=secret\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(dir, "closed"), filepath.Join(dir, "open", "link")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("ALLOWED_ONE", "secret")
	t.Setenv("NOT_ALLOWED_ONE", "secret")
	open := filepath.Join(dir, "open")
	limited := &Variables{FilePaths: []string{open}, DirPaths: []string{open}, EnvPattern: "ALLOWED_.*"}
	if err := limited.Validate(); err != nil {
		t.Fatal(err)
	}
	for value, allowed := range map[string]bool{
		"${file:" + open + "/values:key}":               true,
		"${file:" + open + "/deep/values:key}":          true,
		"${file:" + open + "/../closed/values:key}":     false,
		"${file:" + open + "/link/values:key}":          false,
		"${file:" + dir + "/opened/values:key}":         false,
		"${file:" + dir + "/closed/values:key}":         false,
		"${file:values:key}":                            false,
		"${dir:" + open + ":values}":                    true,
		"${dir:" + open + "/deep:values}":               true,
		"${dir:" + dir + "/closed:values}":              false,
		"${dir:" + open + "/link:values}":               false,
		"${env:ALLOWED_ONE}":                            true,
		"${env:NOT_ALLOWED_ONE}":                        false,
		"${env:ALLOWED_ONE} and ${env:NOT_ALLOWED_ONE}": false,
	} {
		var cfg struct {
			Value string `json:"value"`
		}
		_, err := limited.Decode(map[string]string{"value": value}, &cfg)
		if allowed != (err == nil) || allowed != strings.Contains(cfg.Value, "secret") {
			t.Errorf("%s gives %q, %v", value, cfg.Value, err)
		}
		if !allowed && (!strings.Contains(err.Error(), "does not allow it") || !strings.HasPrefix(err.Error(), "value: ")) {
			t.Errorf("%s: %v", value, err)
		}
		if _, err := new(Variables).Decode(map[string]string{"value": value}, &cfg); err != nil && value != "${file:values:key}" {
			t.Errorf("without limits %s: %v", value, err)
		}
	}
	for _, bad := range []Variables{{FilePaths: []string{"relative"}}, {DirPaths: []string{""}}, {EnvPattern: "("}} {
		if err := bad.Validate(); err == nil || !strings.HasPrefix(err.Error(), "config.providers.") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

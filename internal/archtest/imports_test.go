// Package archtest holds tests of the repository as a whole.
package archtest

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/qicore/tickconnect"

// allowed says which packages of the module a folder and those below it may
// import, besides each other. Imports point one way: cmd -> rest -> worker ->
// connect, and from the connectors to connect and marketdata, never to one
// another. The longest folder that fits counts.
var allowed = map[string][]string{
	"cmd":                        {"*"},
	"config":                     {},
	"connect":                    {},
	"connect/connecttest":        {"connect"},
	"connectors/redpanda-source": {"connect", "marketdata"},
	"connectors/timescale-sink":  {"connect", "converters", "marketdata"},
	"converters":                 {"connect", "marketdata"},
	"converters/schemas":         {"connect", "marketdata"},
	"deploy":                     {},
	"examples":                   {"marketdata", "publish"},
	"internal/archtest":          {},
	"internal/rekey":             {"connect", "converters", "marketdata"},
	"internal/bench":             {"connect", "converters", "marketdata", "publish", "internal/devstack"},
	"internal/e2e":               {"connectors/timescale-sink", "connect", "marketdata", "publish", "internal/devstack", "internal/grafana"},
	"internal":                   {"connect", "marketdata"},
	"internal/devstack":          {},
	"internal/herder":            {"internal/worker", "connect"},
	"internal/rest":              {"internal/herder", "internal/worker", "connect", "config"},
	"internal/worker":            {"connect"},
	"marketdata":                 {"connect"},
	"mcpbridge":                  {"connect", "marketdata"},
	"processors":                 {"connect", "marketdata"},
	"publish":                    {"marketdata"},
}

// testsMayImport is what tests may import beside what their folder may.
var testsMayImport = []string{"connect/connecttest", "connect", "marketdata", "internal/devstack", "config"}

// homes says in which folders the types of a library may be used. Tests may use
// any, except the in-process broker.
var homes = []struct {
	library string
	folders []string
}{
	// The benchmark's baseline is goka without us.
	{"github.com/IBM/sarama", []string{"connectors/redpanda-source", "processors", "internal/bench"}},
	{"github.com/lovoo/goka", []string{"connectors/redpanda-source", "processors", "internal/bench"}},
	// As a driver of database/sql it shows no types of its own.
	{"github.com/jackc/pgx/v5/stdlib", []string{"connectors/timescale-sink", "internal/devstack", "internal/bench", "mcpbridge", "cmd"}},
	{"github.com/jackc/pgx", []string{"connectors/timescale-sink", "internal/devstack", "internal/bench", "mcpbridge"}},
	{"github.com/twmb/franz-go/pkg/kfake", []string{"internal/devstack"}},
	{"github.com/twmb/franz-go", []string{"connectors/redpanda-source", "publish", "cmd", "internal/rekey", "internal/herder", "converters/schemas", "internal/devstack", "internal/bench"}},
	{"github.com/goccy/go-yaml", []string{"config"}},
	{"github.com/spf13/cobra", []string{"cmd"}},
}

// only says which libraries a folder may use at all, besides the standard one.
var only = map[string][]string{
	"connect": {},
	"config":  {"github.com/goccy/go-yaml", "github.com/agnivade/levenshtein"},
}

type goFile struct {
	path, folder string
	test         bool
	imports      []string
}

func TestImports(t *testing.T) {
	t.Parallel()
	files := goFiles(t)
	if len(files) == 0 {
		t.Fatal("found no Go file")
	}
	unruled := map[string]bool{}
	for _, f := range files {
		if _, known := longest(allowed, f.folder); !known && !unruled[f.folder] {
			unruled[f.folder] = true
			t.Errorf("%s: the folder has no rule; give it one in this test", f.folder)
		}
		if unruled[f.folder] {
			continue
		}
		for _, imported := range f.imports {
			if problem := check(f, imported); problem != "" {
				t.Errorf("%s imports %s: %s", f.path, imported, problem)
			}
		}
	}
}

// TestRulesRefuse: each kind of rule refuses what it is there for.
func TestRulesRefuse(t *testing.T) {
	t.Parallel()
	for _, bad := range []struct {
		folder, imported string
		test             bool
	}{
		{"connectors/timescale-sink", module + "/connectors/redpanda-source", false},
		{"connectors/timescale-sink", module + "/config", false},
		{"internal/worker", module + "/internal/rest", false},
		{"internal/worker", "github.com/lovoo/goka", false},
		{"connect", "github.com/jackc/pgx/v5", false},
		{"connect", module + "/marketdata", false},
		{"config", "github.com/spf13/cobra", false},
		{"internal/worker", "github.com/twmb/franz-go/pkg/kfake", true},
		{"cmd/connector", "github.com/jackc/pgx/v5/pgxpool", false},
		{"unknown", "fmt", false},
	} {
		if check(goFile{folder: bad.folder, test: bad.test}, bad.imported) == "" {
			t.Errorf("%s may import %s", bad.folder, bad.imported)
		}
	}
	for _, good := range []struct {
		folder, imported string
		test             bool
	}{
		{"cmd/connector", module + "/internal/worker", false},
		{"connectors/timescale-sink", "github.com/jackc/pgx/v5/pgconn", false},
		{"connectors/timescale-sink", module + "/internal/devstack/testenv", true},
		{"internal/worker", "github.com/sony/gobreaker/v2", false},
		{"connect/connecttest", module + "/connect", false},
	} {
		if problem := check(goFile{folder: good.folder, test: good.test}, good.imported); problem != "" {
			t.Errorf("%s may not import %s: %s", good.folder, good.imported, problem)
		}
	}
}

// check says what forbids the import, or "".
func check(f goFile, imported string) string {
	room, known := longest(allowed, f.folder)
	if !known {
		return "the folder has no rule"
	}
	if inner, ours := strings.CutPrefix(imported, module+"/"); ours {
		may := allowed[room]
		if f.test {
			may = append(slices.Clone(may), testsMayImport...)
		}
		if within(inner, room) || slices.Contains(may, "*") || slices.ContainsFunc(may, func(m string) bool { return within(inner, m) }) {
			return ""
		}
		return room + " may only import " + strings.Join(append([]string{"its own packages"}, may...), ", ")
	}
	if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") {
		return "" // the standard library
	}
	if f.test && !strings.HasSuffix(imported, "/kfake") {
		return ""
	}
	if room, limited := longest(only, f.folder); limited {
		if !slices.ContainsFunc(only[room], func(l string) bool { return within(imported, l) }) {
			return room + " uses no other library"
		}
	}
	for _, h := range homes {
		if within(imported, h.library) {
			if slices.ContainsFunc(h.folders, func(home string) bool { return within(f.folder, home) }) {
				return ""
			}
			return "it belongs in " + strings.Join(h.folders, ", ")
		}
	}
	return ""
}

// within says whether the path p is base or below it.
func within(p, base string) bool { return p == base || strings.HasPrefix(p, base+"/") }

// longest gives the longest key that the folder is or lies below.
func longest(rules map[string][]string, folder string) (string, bool) {
	for at := folder; at != "." && at != ""; at = path.Dir(at) {
		if _, ok := rules[at]; ok {
			return at, true
		}
	}
	return "", false
}

func goFiles(t *testing.T) []goFile {
	t.Helper()
	root := root(t)
	var files []goFile
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if p != root && (strings.HasPrefix(name, ".") || name == "bin" || name == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(name) != ".go" {
			return nil
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		f := goFile{path: filepath.ToSlash(rel), folder: path.Dir(filepath.ToSlash(rel)), test: strings.HasSuffix(name, "_test.go")}
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			f.imports = append(f.imports, imported)
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// root is the folder of go.mod.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("found no go.mod")
		}
	}
}

package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const promisesPage = "docs/promises.md"

// namedTest is the name of a test in a document: `TestSink` or `TestSink/Reset`,
// which is a case of connecttest.
var namedTest = regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9_]+)(?:/([A-Za-z0-9_]+))?`")

// promiseRow is a line of a table that begins with what is promised: P1 to P9
// are the promises, I1 to I18 the interleavings, W1 and so on the ways round.
var promiseRow = regexp.MustCompile(`^\| ([PIW]\d+) \| .* \| (.*) \|$`)

// TestPromisesHaveTests: each promise and each interleaving of docs/promises.md
// names tests, and each test that is named is there.
func TestPromisesHaveTests(t *testing.T) {
	t.Parallel()
	dir := root(t)
	tests, cases := testNames(t, dir)
	page := readFile(t, filepath.Join(dir, promisesPage))
	for _, wrong := range checkPromises(page, tests, cases) {
		t.Errorf("%s: %s", promisesPage, wrong)
	}
}

// checkPromises says what is wrong with the page.
func checkPromises(page string, tests, cases map[string]bool) []string {
	var wrong []string
	has := map[string]int{}
	for line := range strings.SplitSeq(page, "\n") {
		if m := promiseRow.FindStringSubmatch(line); m != nil {
			if _, twice := has[m[1]]; twice {
				wrong = append(wrong, m[1]+" is there twice")
			}
			has[m[1]] = len(namedTest.FindAllString(m[2], -1))
		}
		for _, m := range namedTest.FindAllStringSubmatch(line, -1) {
			if !tests[m[1]] || m[2] != "" && !cases[m[2]] {
				wrong = append(wrong, "there is no test "+strings.Trim(m[0], "`"))
			}
		}
	}
	for prefix, n := range map[string]int{"P": 9, "I": 18} {
		for i := 1; i <= n; i++ {
			id := prefix + strconv.Itoa(i)
			if _, ok := has[id]; !ok {
				wrong = append(wrong, id+" is missing")
			}
		}
	}
	for id, n := range has {
		if n == 0 {
			wrong = append(wrong, id+" names no test")
		}
	}
	slices.Sort(wrong)
	return wrong
}

// TestPromisesPageIsChecked: what the check is there for is found.
func TestPromisesPageIsChecked(t *testing.T) {
	t.Parallel()
	var page strings.Builder
	for prefix, n := range map[string]int{"P": 9, "I": 18} {
		for i := 1; i <= n; i++ {
			fmt.Fprintf(&page, "| %s%d | kept | `TestA`, `TestSink/Reset` |\n", prefix, i)
		}
	}
	tests, cases := map[string]bool{"TestA": true, "TestSink": true}, map[string]bool{"Reset": true}
	good := page.String()
	if wrong := checkPromises(good, tests, cases); len(wrong) > 0 {
		t.Errorf("a good page is faulted: %q", wrong)
	}
	for _, tt := range []struct{ page, want string }{
		{strings.Replace(good, "| P3 |", "| P10 |", 1), "P3 is missing"},
		{strings.Replace(good, "| I18 |", "| I17 |", 1), "I17 is there twice"},
		{strings.Replace(good, "`TestA`", "`TestB`", 1), "there is no test TestB"},
		{strings.Replace(good, "TestSink/Reset", "TestSink/Rest", 1), "there is no test TestSink/Rest"},
		{good + "| W1 | kept | by care |\n", "W1 names no test"},
	} {
		if wrong := checkPromises(tt.page, tests, cases); !slices.Contains(wrong, tt.want) {
			t.Errorf("found %q, want %q", wrong, tt.want)
		}
	}
}

// testNames are the tests of the module, and the cases of connecttest.
func testNames(t *testing.T, dir string) (tests, cases map[string]bool) {
	t.Helper()
	tests, cases = map[string]bool{}, map[string]bool{}
	eachGoFile(t, dir, func(rel string, file *ast.File) {
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if ok && f.Recv == nil && strings.HasSuffix(rel, "_test.go") {
				tests[f.Name.Name] = true
			}
		}
		if rel == "connect/connecttest/target.go" {
			ast.Inspect(file, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					cases[unquote(lit)] = true
				}
				return true
			})
		}
	})
	if len(tests) < 100 || !cases["Reset"] {
		t.Fatalf("found %d tests and %d cases", len(tests), len(cases))
	}
	return tests, cases
}

// TestMessagesAreDocumented: each warning and error that a process logs is in
// docs/operations.md.
func TestMessagesAreDocumented(t *testing.T) {
	t.Parallel()
	dir := root(t)
	page := readFile(t, filepath.Join(dir, "docs/operations.md"))
	found := 0
	eachGoFile(t, dir, func(rel string, file *ast.File) {
		speaks := slices.ContainsFunc([]string{"connectors/", "internal/worker/", "internal/herder/", "internal/rest/", "publish/ingest/", "cmd/connector/"},
			func(folder string) bool { return strings.HasPrefix(rel, folder) })
		if !speaks || strings.HasSuffix(rel, "_test.go") || strings.HasPrefix(rel, "cmd/connector/demo") {
			return
		}
		ast.Inspect(file, func(n ast.Node) bool {
			message, ok := loggedMessage(n)
			if !ok {
				return true
			}
			found++
			if !strings.Contains(page, "`"+message+"`") {
				t.Errorf("%s logs %q, which docs/operations.md does not explain", rel, message)
			}
			return true
		})
	})
	if found < 20 {
		t.Errorf("found %d messages, so they are looked for in the wrong way", found)
	}
}

// loggedMessage gives the constant message of a call such as log.Warn("...").
func loggedMessage(n ast.Node) (string, bool) {
	call, ok := n.(*ast.CallExpr)
	if !ok || len(call.Args) == 0 {
		return "", false
	}
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || f.Sel.Name != "Warn" && f.Sel.Name != "Error" {
		return "", false
	}
	lit, ok := call.Args[0].(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	return unquote(lit), true
}

var (
	markdownLink  = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	markdownFence = regexp.MustCompile("(?ms)^```.*?^```")
	markdownCode  = regexp.MustCompile("`[^`\n]*`") // a regular expression may look like a link
	headingMarks  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// TestLinksResolve: what README.md and the pages in docs link to is there.
func TestLinksResolve(t *testing.T) {
	t.Parallel()
	dir := root(t)
	pages, err := filepath.Glob(filepath.Join(dir, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"} {
		pages = append(pages, filepath.Join(dir, name))
	}
	for _, page := range pages {
		text := markdownFence.ReplaceAllString(readFile(t, page), "")
		text = markdownCode.ReplaceAllString(text, "")
		for _, m := range markdownLink.FindAllStringSubmatch(text, -1) {
			if !resolves(t, page, m[1]) {
				t.Errorf("%s links to %s, which is not there", filepath.Base(page), m[1])
			}
		}
	}
}

func resolves(t *testing.T, page, link string) bool {
	t.Helper()
	if strings.HasPrefix(link, "https://") || strings.HasPrefix(link, "http://") {
		return true // somewhere else
	}
	name, anchor, _ := strings.Cut(link, "#")
	target := page
	if name != "" {
		target = filepath.Join(filepath.Dir(page), name)
	}
	if _, err := os.Stat(target); err != nil {
		return false
	}
	if anchor == "" {
		return true
	}
	text := markdownFence.ReplaceAllString(readFile(t, target), "")
	for line := range strings.SplitSeq(text, "\n") {
		if title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); ok && strings.HasPrefix(line, "#") {
			if strings.ReplaceAll(strings.ToLower(headingMarks.ReplaceAllString(title, "")), " ", "-") == anchor {
				return true
			}
		}
	}
	return false
}

// eachGoFile parses the module's Go files; rel has slashes.
func eachGoFile(t *testing.T, dir string, f func(rel string, file *ast.File)) {
	t.Helper()
	files := token.NewFileSet()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "bin" || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && path != dir):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go"):
			return nil
		}
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		f(filepath.ToSlash(rel), file)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func unquote(lit *ast.BasicLit) string {
	text, err := strconv.Unquote(lit.Value)
	if err != nil {
		return lit.Value
	}
	return text
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

package config

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// File is what a configuration file says, with values as they were written:
// variables are not resolved.
type File struct {
	Path string
	// Worker holds the keys of the process.
	Worker map[string]string
	// Connectors are in the order of the file.
	Connectors []Connector
}

// Connector is one entry of the map connectors.
type Connector struct {
	Name  string
	Props map[string]string
	// Line is where the file names the connector.
	Line int
}

// Load reads the file at path. Its error holds everything that is wrong with
// it, each with path and line.
func Load(path string) (*File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	return Parse(path, data)
}

// Parse reads a configuration as Load does; path only appears in messages.
func Parse(path string, data []byte) (*File, error) {
	tree, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, yamlError(path, err)
	}
	r := reader{path: path}
	file := &File{Path: path, Worker: map[string]string{}}
	var documents []ast.Node
	for _, d := range tree.Docs {
		if d.Body != nil {
			documents = append(documents, d.Body)
		}
	}
	switch len(documents) {
	case 0:
		return file, nil
	case 1:
		r.file(file, documents[0])
	default:
		r.fail(documents[1], "", "a second YAML document begins; the file must hold one")
	}
	if len(r.errs) > 0 {
		return nil, errors.Join(r.errs...)
	}
	return file, nil
}

// yamlError is the parser's error without its excerpt of the file, which could
// show a password.
func yamlError(path string, err error) error {
	var located interface {
		GetMessage() string
		GetToken() *token.Token
	}
	if !errors.As(err, &located) || located.GetToken() == nil || located.GetToken().Position == nil {
		return fmt.Errorf("%s: not valid YAML", path)
	}
	return fmt.Errorf("%s:%d: not valid YAML: %s", path, located.GetToken().Position.Line, located.GetMessage())
}

// reader walks the syntax tree and collects what is wrong.
type reader struct {
	path string
	errs []error
}

func (r *reader) fail(at ast.Node, key, format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	if key != "" {
		message = key + ": " + message
	}
	r.errs = append(r.errs, fmt.Errorf("%s:%d: %s", r.path, line(at), message))
}

func line(n ast.Node) int {
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 0
}

func (r *reader) file(file *File, body ast.Node) {
	for _, e := range r.entries(body, "") {
		if e.key != "connectors" {
			if text, ok := r.value(e.value, e.key); ok {
				file.Worker[e.key] = text
			}
			continue
		}
		if _, empty := e.value.(*ast.NullNode); empty {
			continue
		}
		for _, c := range r.entries(e.value, "connectors") {
			if problem := checkName(c.key); problem != "" {
				r.fail(c.at, "connectors", "%q %s", c.key, problem)
				continue
			}
			file.Connectors = append(file.Connectors, Connector{
				Name: c.key, Line: line(c.at), Props: r.props(c.value, "connectors."+c.key),
			})
		}
	}
}

// checkName says what is wrong with a connector's name, by Kafka Connect's
// rules, or "".
func checkName(name string) string {
	switch {
	case strings.TrimSpace(name) == "":
		return "is no name for a connector"
	case strings.TrimSpace(name) != name:
		return "begins or ends with a space"
	case strings.ContainsFunc(name, unicode.IsControl):
		return "holds a control character"
	}
	return ""
}

func (r *reader) props(n ast.Node, under string) map[string]string {
	props := map[string]string{}
	for _, e := range r.entries(n, under) {
		if text, ok := r.value(e.value, e.key); ok {
			props[e.key] = text
		}
	}
	return props
}

// entry is one key of a map with its value.
type entry struct {
	key   string
	at    ast.Node
	value ast.Node
}

// entries gives the keys of a map in the file's order. A key that stands there
// twice is an error that names both lines, and only the first is returned.
func (r *reader) entries(n ast.Node, under string) []entry {
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		r.fail(n, under, "a map of keys is expected here")
		return nil
	}
	seen := map[string]int{}
	var entries []entry
	for _, v := range values {
		key, ok := scalar(v.Key)
		if !ok {
			r.fail(v.Key, under, "a key must be plain text; merge keys, anchors and aliases are not supported")
			continue
		}
		if first, twice := seen[key]; twice {
			name := key
			if under == "connectors" {
				name = "connectors." + key
			}
			r.fail(v.Key, name, "defined twice, first in line %d", first)
			continue
		}
		seen[key] = line(v.Key)
		entries = append(entries, entry{key: key, at: v.Key, value: v.Value})
	}
	return entries
}

// value gives a key's value as Kafka Connect has it: text. Numbers and booleans
// keep the characters of the file, a list is joined by commas, and a key without
// a value is the empty text.
func (r *reader) value(n ast.Node, key string) (string, bool) {
	if text, ok := scalar(n); ok {
		return text, true
	}
	switch n := n.(type) {
	case *ast.SequenceNode:
		items := make([]string, 0, len(n.Values))
		for _, v := range n.Values {
			item, ok := scalar(v)
			if !ok {
				r.fail(v, key, "a list may only hold plain values")
				return "", false
			}
			if strings.Contains(item, ",") {
				r.fail(v, key, "a value in a list may not hold a comma")
				return "", false
			}
			items = append(items, item)
		}
		return strings.Join(items, ","), true
	case *ast.MappingNode, *ast.MappingValueNode:
		r.fail(n, key, "a map is not a value; write the keys flat, as %s.<key>: <value>", key)
	case *ast.AnchorNode, *ast.AliasNode:
		r.fail(n, key, "anchors and aliases are not supported")
	default:
		r.fail(n, key, "a %s is not a value", strings.ToLower(n.Type().String()))
	}
	return "", false
}

// scalar gives the text of a plain value.
func scalar(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.NullNode:
		return "", true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	case *ast.TagNode:
		return scalar(n.Value)
	case *ast.MappingKeyNode:
		return scalar(n.Value)
	}
	return "", false
}

package files

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/qicore/tickconnect/marketdata"
)

// Column maps a column of a CSV file to a field.
type Column struct{ Name, Field string }

// ParseColumn reads column=field.
func ParseColumn(s string) (Column, error) {
	i := strings.LastIndexByte(s, '=')
	if i <= 0 || i == len(s)-1 {
		return Column{}, fmt.Errorf("%q is not column=field, such as ts=time", s)
	}
	return Column{s[:i], s[i+1:]}, nil
}

// Reasons of this package for a line that is rejected, beside marketdata's.
const (
	reasonCSV     = "bad_csv"
	reasonTooLong = "too_long"
	reasonCut     = "cut_off"
)

// table makes JSON records of the lines of a CSV file. A record is one line.
type table struct {
	columns []column
	unknown []string // columns that are no field of the kind
	line    feed
	reader  *csv.Reader
}

type column struct {
	prefix string // ,"name":
	field  string // "" where it is none of the kind
}

// feed gives the reader one line at a time.
type feed struct{ buf, left []byte }

func (f *feed) set(text []byte) {
	f.buf = append(append(f.buf[:0], text...), '\n')
	f.left = f.buf
}

func (f *feed) Read(p []byte) (int, error) {
	if len(f.left) == 0 {
		return 0, io.EOF
	}
	n := copy(p, f.left)
	f.left = f.left[n:]
	return n, nil
}

// newTable reads the header. Its error is about the file.
func newTable(header []byte, kind marketdata.Kind, mapped []Column) (*table, error) {
	t := &table{}
	names, err := t.split(header)
	if err != nil {
		return nil, fmt.Errorf("the header cannot be read: %w", err)
	}
	if len(names) == 1 && strings.ContainsAny(names[0], ";\t|") {
		return nil, errors.New("the columns are not separated by commas; write the file with commas")
	}
	// The reader uses its slice again.
	names = append([]string(nil), names...)
	field := map[string]string{} // of a column
	for _, m := range mapped {
		name, known := marketdata.FieldName(kind, m.Field)
		if !known {
			name = m.Field
			if near := nearest(name, marketdata.FieldNames(kind)); distance(name, near) <= 2 {
				return nil, fmt.Errorf("--map %s=%s: a %s has no field %s; did you mean %s?", m.Name, m.Field, kind, m.Field, near)
			}
		}
		if _, twice := field[m.Name]; twice {
			return nil, fmt.Errorf("--map names the column %s twice", m.Name)
		}
		field[m.Name] = name
	}
	owner := map[string]string{} // of a field
	for _, name := range names {
		name = strings.TrimSpace(name)
		to, isMapped := field[name]
		delete(field, name)
		if !isMapped {
			to = name
		}
		known, isField := marketdata.FieldName(kind, to)
		if isField {
			to = known
		} else {
			t.unknown = append(t.unknown, name)
		}
		if first, taken := owner[to]; taken {
			return nil, fmt.Errorf("the columns %q and %q are both %s: give one of them another name, as in --map %s=other_%s", first, name, to, name, to)
		}
		owner[to] = name
		c := column{prefix: "," + string(appendString(nil, to)) + ":"}
		if isField {
			c.field = known
		}
		t.columns = append(t.columns, c)
	}
	for name := range field {
		return nil, fmt.Errorf("--map %s=%s: there is no column %s; did you mean %s? The header is %s",
			name, field[name], name, nearest(name, names), strings.Join(names, ","))
	}
	return t, nil
}

func (t *table) split(text []byte) ([]string, error) {
	if t.reader == nil {
		t.reader = csv.NewReader(&t.line)
		t.reader.FieldsPerRecord = -1
		t.reader.ReuseRecord = true
		t.reader.TrimLeadingSpace = true
	}
	before := t.reader.InputOffset()
	t.line.set(text)
	cells, err := t.reader.Read()
	if err == nil && t.reader.InputOffset()-before == int64(len(text))+1 {
		return cells, nil
	}
	t.reader = nil // it may hold a part of this line
	var bad *csv.ParseError
	message := "the line is no CSV"
	if errors.As(err, &bad) {
		message = fmt.Sprintf("column %d: %v", bad.Column, bad.Err)
		if errors.Is(bad.Err, csv.ErrQuote) && bad.Column > len(text) {
			message = "a quoted value does not end in its line; a record of several lines is not read"
		}
	}
	return nil, &marketdata.Error{Reason: reasonCSV, Message: message}
}

// record makes the JSON record of a line: texts and numbers as strings, so that
// every digit stays.
func (t *table) record(dst, text []byte) ([]byte, error) {
	cells, err := t.split(text)
	if err != nil {
		return dst, err
	}
	if len(cells) != len(t.columns) {
		return dst, &marketdata.Error{Reason: reasonCSV, Message: fmt.Sprintf("%d columns, the header has %d", len(cells), len(t.columns))}
	}
	start := len(dst)
	for i, cell := range cells {
		c := &t.columns[i]
		switch {
		case c.field == "closed" && isBool(cell):
			dst = append(append(dst, c.prefix...), strings.ToLower(cell)...)
		case c.field == "metrics" && json.Valid([]byte(cell)):
			dst = append(append(dst, c.prefix...), cell...)
		case cell == "" && (c.field == "closed" || c.field == "metrics"):
			// JSON has no empty boolean and no empty object.
		default:
			dst = appendString(append(dst, c.prefix...), cell)
		}
	}
	if len(dst) == start {
		dst = append(dst, ',')
	}
	dst[start] = '{'
	return append(dst, '}'), nil
}

func isBool(s string) bool { return strings.EqualFold(s, "true") || strings.EqualFold(s, "false") }

// appendString appends a JSON string. What is not UTF-8 stays as it is, for the
// record to be rejected, where encoding/json would change it.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// byteOrderMark may stand at the beginning of a file.
var byteOrderMark = []byte("\xef\xbb\xbf")

func withoutMark(text []byte) []byte { return bytes.TrimPrefix(text, byteOrderMark) }

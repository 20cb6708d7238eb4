package files

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"

	"github.com/qicore/tickconnect/marketdata"
)

// Format is how records stand in a file. The zero value is found out.
type Format string

// The formats.
const (
	JSONL Format = "jsonl" // a JSON object in each line
	CSV   Format = "csv"   // a line of names, then a record in each line
)

// ParseFormat reads a format.
func ParseFormat(s string) (Format, error) {
	switch f := Format(strings.ToLower(s)); f {
	case JSONL, CSV, "":
		return f, nil
	}
	return "", fmt.Errorf("%q is neither %s nor %s", s, JSONL, CSV)
}

// ParseKind reads a kind of market data; its error names the nearest.
func ParseKind(s string) (marketdata.Kind, error) {
	k, err := marketdata.ParseKind(strings.ToLower(s))
	if err == nil {
		return k, nil
	}
	var names []string
	for _, k := range marketdata.Kinds() {
		names = append(names, k.String())
	}
	return 0, fmt.Errorf("%q is no kind of market data; did you mean %s? There are %s", s, nearest(s, names), strings.Join(names, ", "))
}

// nearest gives the name that is most like s.
func nearest(s string, names []string) string {
	return slices.MinFunc(names, func(a, b string) int { return distance(s, a) - distance(s, b) })
}

func distance(a, b string) int {
	return levenshtein.ComputeDistance(strings.ToLower(strings.ReplaceAll(a, "_", "")), strings.ToLower(b))
}

// baseName is a file's name without folder, compression and format.
func baseName(name string) string {
	name = filepath.Base(name)
	for _, suffix := range []string{".gz", ".zst", ".zstd", ".jsonl", ".ndjson", ".json", ".csv"} {
		name = strings.TrimSuffix(name, suffix)
	}
	return name
}

// kindOfFile tells the kind by a name such as crypto-trades-kraken.jsonl.gz. The
// exchange is not taken from it: the rest of such a name may be a date.
func kindOfFile(name string) (marketdata.Kind, bool) {
	k, _, ok := marketdata.KindOfTopic(strings.ToLower(baseName(name)))
	return k, ok
}

// formatOf tells the format by the name, or else by how the content begins.
func formatOf(name string, begin []byte) (Format, error) {
	bare := strings.ToLower(filepath.Base(name))
	for _, suffix := range []string{".gz", ".zst", ".zstd"} {
		bare = strings.TrimSuffix(bare, suffix)
	}
	begin = bytes.TrimLeft(begin, "\xef\xbb\xbf \t\r\n")
	if bytes.HasPrefix(begin, []byte("[")) {
		return "", fmt.Errorf("%s holds a JSON array: make a line of each object, as in: jq -c '.[]' FILE", name)
	}
	switch filepath.Ext(bare) {
	case ".csv":
		return CSV, nil
	case ".jsonl", ".ndjson":
		return JSONL, nil
	}
	if len(begin) == 0 || begin[0] == '{' {
		return JSONL, nil
	}
	if first, _, _ := bytes.Cut(begin, newline); bytes.IndexByte(first, ',') < 0 || bytes.IndexByte(first, 0) >= 0 {
		return "", fmt.Errorf("%s begins neither as JSON lines nor as CSV; say which with --format jsonl or --format csv", name)
	}
	return CSV, nil
}

package config

import (
	"cmp"
	"encoding/json"
	"io"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

var (
	// urlPassword finds the password of a URL in a text: from the user's colon to
	// the last @ before a space or a quote, since a password may hold an @ or a /.
	urlPassword = regexp.MustCompile(`([a-zA-Z][a-zA-Z0-9+.-]*://[^\s"':@/]*):([^\s"']*)@`)
	// wholeURLPassword is urlPassword for a value that is one URL.
	wholeURLPassword = regexp.MustCompile(`(?s)^([a-zA-Z][a-zA-Z0-9+.-]*://[^:@/]*):(.*)@`)
	// parameterPassword finds password=... as in a URL's query, in libpq's key=value
	// form and in JAAS, where a value may be quoted, and the quotes be escaped.
	parameterPassword = regexp.MustCompile(`(?i)([a-z_.-]*(?:password|passwd|secret|token)\s*=\s*)('(?:[^'\\]|\\.)*'|"[^"]*"|\\"[^"\\]*\\"|[^\s&"']+)`)
)

// MaskURL gives a URL or a libpq connection string without its passwords. It
// takes several hosts, and passwords with characters that should be escaped.
func MaskURL(s string) string {
	s = wholeURLPassword.ReplaceAllString(s, "${1}:"+Masked+"@")
	return parameterPassword.ReplaceAllString(s, "${1}"+Masked)
}

// maskText masks what looks like a password of a URL or a connection string
// anywhere in a text.
func maskText(text string) string {
	text = urlPassword.ReplaceAllString(text, "${1}:"+Masked+"@")
	return parameterPassword.ReplaceAllString(text, "${1}"+Masked)
}

// passwordsIn gives the passwords in a URL or a libpq connection string, as
// written and as decoded.
func passwordsIn(s string) []string {
	var found []string
	add := func(password string) {
		found = append(found, password)
		if decoded, err := url.PathUnescape(password); err == nil && decoded != password {
			found = append(found, decoded)
		}
	}
	if m := wholeURLPassword.FindStringSubmatch(s); m != nil {
		add(m[2])
	}
	for _, m := range parameterPassword.FindAllStringSubmatch(s, -1) {
		password := strings.Trim(m[2], `"`)
		if unquoted, ok := strings.CutPrefix(password, "'"); ok {
			password = strings.NewReplacer(`\'`, `'`, `\\`, `\`).Replace(strings.TrimSuffix(unquoted, "'"))
		}
		add(password)
	}
	return found
}

// shortestSecret is the length in bytes below which a value is not searched for:
// hiding every "1" hides nothing and spoils the text.
const shortestSecret = 4

// Redactor removes secrets from texts: the values that it was given, in the
// forms in which URLs, JSON and Go write them, and passwords of URLs and
// connection strings whether known or not. The zero value is ready, and a
// Redactor is safe for concurrent use.
type Redactor struct {
	mu       sync.RWMutex
	known    map[string]int // by how many it was given
	replacer *strings.Replacer
}

// NewRedactor gives a Redactor that knows the secrets.
func NewRedactor(secrets ...string) *Redactor {
	r := new(Redactor)
	r.Add(secrets...)
	return r
}

// Add makes more secrets known, until forget is called. Those shorter than 4 bytes are
// not searched for.
func (r *Redactor) Add(secrets ...string) (forget func()) {
	var forms []string
	for _, s := range secrets {
		for _, form := range append(writtenForms(s), passwordsIn(s)...) {
			if len(form) >= shortestSecret && form != Masked && !slices.Contains(forms, form) {
				forms = append(forms, form)
			}
		}
	}
	r.count(forms, 1)
	return sync.OnceFunc(func() { r.count(forms, -1) })
}

// With gives a Redactor that knows these secrets too. What r learns or forgets later
// does not change it.
func (r *Redactor) With(secrets ...string) *Redactor {
	r.mu.RLock()
	both := &Redactor{known: maps.Clone(r.known)}
	r.mu.RUnlock()
	both.Add(secrets...)
	return both
}

func (r *Redactor) count(forms []string, by int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known == nil {
		r.known = map[string]int{}
	}
	for _, form := range forms {
		if r.known[form] += by; r.known[form] == 0 {
			delete(r.known, form)
		}
	}
	// A Replacer tries its pairs in order: the longest first, so that a secret
	// that begins like another is hidden whole.
	longest := slices.SortedFunc(maps.Keys(r.known), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b))
	})
	pairs := make([]string, 0, 2*len(longest))
	for _, s := range longest {
		pairs = append(pairs, s, Masked)
	}
	r.replacer = strings.NewReplacer(pairs...)
}

// writtenForms are the ways in which a secret can stand in a text.
func writtenForms(s string) []string {
	query := url.QueryEscape(s)
	forms := []string{s, query, strings.ReplaceAll(query, "+", "%20"), url.PathEscape(s), url.UserPassword("", s).String()[1:]}
	quoted := strconv.Quote(s)
	forms = append(forms, quoted[1:len(quoted)-1])
	if b, err := json.Marshal(s); err == nil {
		forms = append(forms, string(b[1:len(b)-1]))
	}
	return forms
}

// Redact gives the text without secrets.
func (r *Redactor) Redact(text string) string {
	r.mu.RLock()
	replacer := r.replacer
	r.mu.RUnlock()
	if replacer != nil {
		text = replacer.Replace(text)
	}
	return maskText(text)
}

// Writer gives a writer that redacts each Write before it hands it on. A slog
// handler writes each record in one, so no secret is cut in two.
func (r *Redactor) Writer(w io.Writer) io.Writer { return redactingWriter{r, w} }

type redactingWriter struct {
	r *Redactor
	w io.Writer
}

func (w redactingWriter) Write(p []byte) (int, error) {
	if _, err := io.WriteString(w.w, w.r.Redact(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

package ingest

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/qicore/tickconnect/marketdata"
)

// tokenBytesMin is the length below which a token could be guessed.
const tokenBytesMin = 16

// anyOf stands for all kinds, or all exchanges.
const anyOf = "*"

// Tokens are those who may publish. They are kept as hashes.
type Tokens struct{ all []*token }

// token is one of them.
type token struct {
	name        string // for people
	hash        [sha256.Size]byte
	kinds       []marketdata.Kind
	exchanges   []string // in lower case
	anyKind     bool
	anyExchange bool
}

func (t *token) mayPublish(k marketdata.Kind) bool { return t.anyKind || slices.Contains(t.kinds, k) }

// mayWriteTo says whether records of the exchange, in lower case, are the
// token's to publish. One without an exchange is for those alone who may
// publish all.
func (t *token) mayWriteTo(exchange string) bool {
	return t.anyExchange || slices.Contains(t.exchanges, exchange)
}

// tokenEntry is a token as the file has it.
type tokenEntry struct {
	Name      string   `json:"name"`
	Token     string   `json:"token"`
	SHA256    string   `json:"sha256"`
	Kinds     []string `json:"kinds"`
	Exchanges []string `json:"exchanges"`
}

// ReadTokens reads a file of tokens. Its errors show none.
func ReadTokens(path string) (*Tokens, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the tokens: %w", err)
	}
	t, err := ParseTokens(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// ParseTokens reads {"tokens": [{"name": ..., "sha256": ..., "kinds": [...],
// "exchanges": [...]}]}. Its errors show no token.
func ParseTokens(data []byte) (*Tokens, error) {
	var file struct {
		Tokens []tokenEntry `json:"tokens"`
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		return nil, tokensError(err, d.InputOffset())
	}
	if len(file.Tokens) == 0 {
		return nil, errors.New("it holds no token; add one to the list tokens")
	}
	all := &Tokens{}
	var errs []error
	for i, e := range file.Tokens {
		t, err := e.token()
		switch {
		case err != nil:
		case slices.ContainsFunc(all.all, func(o *token) bool { return o.name == t.name }):
			err = errors.New("another one has this name")
		case slices.ContainsFunc(all.all, func(o *token) bool { return o.hash == t.hash }):
			err = errors.New("another one has the same token")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("token %d (%s): %w", i+1, e.Name, err))
			continue
		}
		all.all = append(all.all, t)
	}
	return all, errors.Join(errs...)
}

// tokensError describes what is wrong with the file's form. The decoder's own
// words may show a value, and so a token.
func tokensError(err error, at int64) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fmt.Errorf("byte %d: %s has a value of another type", wrong.Offset, wrong.Field)
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return fmt.Errorf("before byte %d: unknown field %s; there are name, token, sha256, kinds and exchanges", at, name)
	}
	return fmt.Errorf("near byte %d: it is not JSON of the form {\"tokens\": [...]}", at)
}

func (e *tokenEntry) token() (*token, error) {
	t := &token{name: e.Name}
	if e.Name == "" {
		return nil, errors.New("name: it needs one, by which it is known in metrics and messages")
	}
	switch {
	case (e.Token == "") == (e.SHA256 == ""):
		return nil, errors.New("set either token or sha256")
	case e.Token != "" && len(e.Token) < tokenBytesMin:
		return nil, fmt.Errorf("token: with less than %d characters it could be guessed; make one with: openssl rand -hex 32", tokenBytesMin)
	case e.Token != "":
		t.hash = sha256.Sum256([]byte(e.Token))
	default:
		hash, err := hex.DecodeString(e.SHA256)
		if err != nil || len(hash) != len(t.hash) {
			return nil, errors.New("sha256: it is not 64 hexadecimal digits, as of: printf %s \"$TOKEN\" | sha256sum")
		}
		if t.hash = [sha256.Size]byte(hash); t.hash == sha256.Sum256(nil) {
			return nil, errors.New(`sha256: it is that of an empty text, which everyone has: was "$TOKEN" set?`)
		}
	}
	if len(e.Kinds) == 0 || len(e.Exchanges) == 0 {
		return nil, errors.New(`kinds and exchanges: name at least one of each; "*" is all`)
	}
	for _, name := range e.Kinds {
		if name == anyOf {
			t.anyKind = true
			continue
		}
		k, err := marketdata.ParseKind(name)
		if err != nil {
			return nil, fmt.Errorf("kinds: %w", err)
		}
		t.kinds = append(t.kinds, k)
	}
	for _, name := range e.Exchanges {
		if name == anyOf {
			t.anyExchange = true
			continue
		}
		if name == "" {
			return nil, errors.New(`exchanges: "" is none; "*" is all`)
		}
		t.exchanges = append(t.exchanges, strings.ToLower(name))
	}
	return t, nil
}

func (t *Tokens) list() []*token {
	if t == nil {
		return nil
	}
	return t.all
}

// find gives whose token an Authorization header holds. The time it takes says
// nothing about any token: all hashes are compared, each in constant time.
func (t *Tokens) find(authorization string) *token {
	scheme, given, _ := strings.Cut(authorization, " ")
	hash := sha256.Sum256([]byte(strings.TrimSpace(given)))
	var found *token
	for _, one := range t.all {
		if subtle.ConstantTimeCompare(one.hash[:], hash[:]) == 1 {
			found = one
		}
	}
	if !strings.EqualFold(scheme, "Bearer") {
		return nil
	}
	return found
}

package ingest

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/qicore/tickconnect/marketdata"
)

const (
	tokenAll    = "all-0123456789abcdef"
	tokenOther  = "other-0123456789abcdef"
	tokenNarrow = "narrow-0123456789abcdef"
)

// tokens may publish all, all, and trades of the exchanges.
func tokens(t testing.TB, exchanges ...string) *Tokens {
	t.Helper()
	if len(exchanges) == 0 {
		exchanges = []string{"kraken"}
	}
	list, err := json.Marshal(exchanges)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "tokens.json")
	if err := os.WriteFile(path, []byte(fmt.Sprintf(`{"tokens": [
		{"name": "all", "token": %q, "kinds": ["*"], "exchanges": ["*"]},
		{"name": "other", "sha256": "%x", "kinds": ["*"], "exchanges": ["*"]},
		{"name": "narrow", "token": %q, "kinds": ["trade", "analytics"], "exchanges": %s}]}`,
		tokenAll, sha256.Sum256([]byte(tokenOther)), tokenNarrow, list)), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := ReadTokens(path)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// clock is a time that a test moves.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Now()} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// TestTokens: a token publishes what it covers and nothing else, and is shown
// nowhere.
func TestTokens(t *testing.T) {
	t.Parallel()
	opts := options()
	opts.Tokens = tokens(t, "mine", "MINE-2")
	f := setup(t, opts)
	record := func(exchange string) string {
		return strings.Replace(f.trade(1), f.exchange, exchange, 1)
	}
	figures := `{"time":1714979289,"source":"x"}` // of no exchange
	for _, tt := range []struct {
		name string
		call call
		code int
		says string
	}{
		{"none", call{body: record("mine")}, 401, "a token is needed"},
		{"a wrong one", call{token: tokenAll + "x", body: record("mine")}, 401, "not known"},
		{"an empty one", call{token: " ", body: record("mine")}, 401, "not known"},
		{"none, for an unknown kind", call{path: "/publish/nothing"}, 401, "a token is needed"},
		{"as plain text", call{token: tokenAll, body: record("mine")}, 200, `"accepted":1`},
		{"as a hash", call{token: tokenOther, body: record("mine")}, 200, `"accepted":1`},
		{"its kind and exchange", call{token: tokenNarrow, body: record("Mine")}, 200, `"accepted":1`},
		{"its other exchange", call{token: tokenNarrow, body: record("mine-2")}, 200, `"accepted":1`},
		{"its exchange, given", call{token: tokenNarrow, path: "/publish/trade?exchange=mine", body: record("")}, 200, `"accepted":1`},
		{"another kind", call{token: tokenNarrow, path: "/publish/price", body: record("mine")}, 403, "does not cover the kind price"},
		{"another exchange, given", call{token: tokenNarrow, path: "/publish/trade?exchange=yours", body: record("")}, 403, "parameter exchange"},
		{"another exchange", call{token: tokenNarrow, body: record("yours")}, 403, `{"accepted":0,"rejected":[{"index":0,"path":"$.exchangeId","reason":"forbidden"`},
		{"another exchange among its own", call{token: tokenNarrow, body: "[" + record("mine") + "," + record("yours") + "," + record("mine") + "]"}, 207, `{"accepted":2,"rejected":[{"index":1,"path":"$[1].exchangeId","reason":"forbidden"`},
		{"the last of two names counts", call{token: tokenNarrow, body: strings.Replace(record("mine"), "{", `{"exchange_id":"yours",`, 1)}, 200, `"accepted":1`},
		{"also where it is another's", call{token: tokenNarrow, body: strings.Replace(record("mine"), "}", `,"EXCHANGEID":"yours"}`, 1)}, 403, "forbidden"},
		{"of no exchange", call{token: tokenNarrow, path: "/publish/analytics", body: figures}, 403, "forbidden"},
		{"of no exchange, by who may all", call{token: tokenAll, path: "/publish/analytics", body: figures}, 200, `"accepted":1`},
	} {
		g := f.do(tt.call)
		if g.code != tt.code || !strings.Contains(g.text, tt.says) {
			t.Errorf("%s: %d %s; want %d and %q", tt.name, g.code, g.text, tt.code, tt.says)
		}
		if (g.code == 401) != (g.header.Get("WWW-Authenticate") != "") {
			t.Errorf("%s: %v", tt.name, g.header)
		}
	}
	ends, err := f.admin.ListEndOffsets(f.ctx(), "crypto-trades-yours")
	if err != nil {
		t.Fatal(err)
	}
	if err := ends.Error(); err == nil {
		t.Error("a topic was made for an exchange that the token does not cover")
	}
	families, err := f.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, where := range []string{f.logged.String(), fmt.Sprint(families), fmt.Sprintf("%+v", opts.Tokens), fmt.Sprintf("%#v", opts.Tokens.all[0])} {
		if strings.Contains(where, "0123456789abcdef") {
			t.Errorf("a token is shown in\n%s", where)
		}
	}
	if n := f.end(marketdata.TopicName(marketdata.KindTrade, "mine")); n != 7 {
		t.Errorf("%d trades of mine, want 7", n)
	}
}

// TestAnotherScheme: the token counts only where it is a bearer's.
func TestAnotherScheme(t *testing.T) {
	t.Parallel()
	all := tokens(t)
	for _, good := range []string{"Bearer " + tokenAll, "bearer  " + tokenAll} {
		if all.find(good) == nil {
			t.Errorf("%q is not known", good)
		}
	}
	for _, bad := range []string{"", "Bearer", "Basic " + tokenAll, tokenAll, "Bearer " + tokenAll + " x"} {
		if all.find(bad) != nil {
			t.Errorf("%q is known", bad)
		}
	}
}

// TestTokensFile: what is wrong with the file is said, without its tokens.
func TestTokensFile(t *testing.T) {
	t.Parallel()
	const secret = "0123456789abcdef0123"
	for _, tt := range []struct{ text, want string }{
		{``, "it is not JSON"},
		{`{"tokens": [`, "it is not JSON"},
		{`["` + secret + `"]`, "another type"},
		{`{"tokens": []}`, "it holds no token"},
		{`{"tokens": [{"name": "a", "token": 12345678901234567890, "kinds": ["*"], "exchanges": ["*"]}]}`, "tokens.token has a value of another type"},
		{`{"tokens": [{"name": "a", "tokn": "` + secret + `"}]}`, `unknown field "tokn"; there are name, token`},
		{`{"tokens": [{"token": "` + secret + `", "kinds": ["*"], "exchanges": ["*"]}]}`, "token 1 (): name: it needs one"},
		{`{"tokens": [{"name": "a", "kinds": ["*"], "exchanges": ["*"]}]}`, "token 1 (a): set either token or sha256"},
		{`{"tokens": [{"name": "a", "token": "` + secret + `", "sha256": "00", "kinds": ["*"], "exchanges": ["*"]}]}`, "set either"},
		{`{"tokens": [{"name": "a", "token": "0123456789", "kinds": ["*"], "exchanges": ["*"]}]}`, "openssl rand -hex 32"},
		{`{"tokens": [{"name": "a", "sha256": "` + secret + `", "kinds": ["*"], "exchanges": ["*"]}]}`, "64 hexadecimal digits"},
		{`{"tokens": [{"name": "a", "sha256": "` + strings.Repeat("0123456789", 8) + `", "kinds": ["*"], "exchanges": ["*"]}]}`, "64 hexadecimal digits"},
		{`{"tokens": [{"name": "a", "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "kinds": ["*"], "exchanges": ["*"]}]}`, "an empty text"},
		{`{"tokens": [{"name": "a", "token": "` + secret + `", "exchanges": ["*"]}]}`, "name at least one of each"},
		{`{"tokens": [{"name": "a", "token": "` + secret + `", "kinds": ["trades"], "exchanges": ["*"]}]}`, `"trades" is no kind`},
		{`{"tokens": [{"name": "a", "token": "` + secret + `", "kinds": ["*"], "exchanges": [""]}]}`, `"*" is all`},
		{`{"tokens": [{"name": "a", "token": "` + secret + `", "kinds": ["*"], "exchanges": ["*"]}, {"name": "a", "token": "` + secret + `x", "kinds": ["*"], "exchanges": ["*"]}]}`, "token 2 (a): another one has this name"},
		{`{"tokens": [{"name": "a", "token": "` + secret + `", "kinds": ["*"], "exchanges": ["*"]}, {"name": "b", "token": "` + secret + `", "kinds": ["*"], "exchanges": ["*"]}]}`, "the same token"},
	} {
		_, err := ParseTokens([]byte(tt.text))
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "0123456789") || strings.Contains(err.Error(), "1234567890") {
			t.Errorf("%s gave %v, want %s", tt.text, err, tt.want)
		}
	}
	if _, err := ReadTokens("/nowhere/tokens.json"); err == nil || !strings.Contains(err.Error(), "/nowhere/tokens.json") {
		t.Errorf("%v", err)
	}
}

// TestOpenAPI: the document is good, describes each path that is served and no
// other, and each status and header of it was really got in one run.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	opts := options()
	now := newClock()
	opts.Tokens, opts.RecordsMax, opts.Timeout, opts.RecordsPerSecond, opts.now = tokens(t), 20, 2*time.Second, 20, now.now
	f := setup(t, opts)
	slowly := opts
	slowly.ReadTimeout = 200 * time.Millisecond
	slow := setup(t, slowly)
	slow.seen = f.seen

	do := func(c call, code int) {
		t.Helper()
		now.add(10 * time.Second)
		if c.token == "" {
			c.token = tokenAll
		}
		if g := f.do(c); g.code != code {
			t.Errorf("%+v gave %d %s, want %d", c, g.code, g.text, code)
		}
	}
	do(call{method: "GET", path: "/openapi.json"}, 200)
	do(call{method: "POST", path: "/openapi.json"}, 405)
	do(call{body: f.trade(1), key: "k"}, 200)
	do(call{body: f.trade(1), key: "k"}, 200)
	do(call{body: "[" + f.trade(1) + ",{}]"}, 207)
	do(call{body: "["}, 400)
	do(call{body: f.trade(1), token: "x"}, 401)
	do(call{body: f.trade(1), token: tokenNarrow}, 403)
	do(call{path: "/publish/x", body: f.trade(1)}, 404)
	do(call{method: "GET"}, 405)
	do(call{typ: "application/jsonl", body: f.lines(0, 21)}, 413)
	do(call{coding: "br", body: f.trade(1)}, 415)
	do(call{body: "{}"}, 422)
	do(call{body: f.trade(2), key: "k"}, 422)
	do(call{typ: "application/jsonl", body: f.lines(0, 20)}, 200)
	if g := f.do(call{token: tokenAll, typ: "application/jsonl", body: f.lines(0, 20)}); g.code != 429 {
		t.Errorf("%d %s, want 429", g.code, g.text)
	}
	now.add(time.Minute)
	f.network.freeze()
	first := f.start(call{token: tokenAll, key: "silent", body: f.trade(3)})
	f.eventually("it waits", func() bool { return f.server.publisher.BufferedRecords() == 1 })
	do(call{key: "silent", body: f.trade(3)}, 409)
	if g := <-first; g.code != 503 {
		t.Errorf("%d %s, want 503", g.code, g.text)
	}
	body, write := io.Pipe()
	defer write.Close()
	req := slow.request(call{token: tokenAll, body: f.trade(1)})
	req.Body, req.ContentLength = body, 1000
	go func() { _, _ = write.Write([]byte("[")) }() // the server stops reading
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusRequestTimeout {
		t.Errorf("%d %s %v, want 408", resp.StatusCode, text, err)
	}
	slow.checkAnswer(req, resp, text)

	for path, item := range doc.Paths.Map() {
		for method, operation := range item.Operations() {
			for status := range operation.Responses.Map() {
				if !f.seen.each[path+" "+status] {
					t.Errorf("%s %s: %s is in the document, and was not got", method, path, status)
				}
			}
		}
	}
	if g := f.do(call{path: "/another", token: tokenAll}); g.code != 404 {
		t.Errorf("another path gave %d", g.code)
	}
	var kinds []any
	for _, k := range marketdata.Kinds() {
		kinds = append(kinds, k.String())
	}
	if have := doc.Components.Schemas["Kind"].Value.Enum; fmt.Sprint(have) != fmt.Sprint(kinds) {
		t.Errorf("the document's kinds are %v, want %v", have, kinds)
	}
}

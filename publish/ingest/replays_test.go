package ingest

import (
	"context"
	"crypto/sha256"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/qicore/tickconnect/marketdata"
	"github.com/qicore/tickconnect/publish"
)

// TestIdempotencyKey: a request is published once for its key, for ten minutes.
func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	opts := options()
	now := newClock()
	opts.now, opts.Tokens = now.now, tokens(t)
	f := setup(t, opts)
	send := func(c call, code int, replayed string, records int64) {
		t.Helper()
		if c.token == "" {
			c.token = tokenAll
		}
		g := f.do(c)
		if g.code != code || g.header.Get("Idempotent-Replayed") != replayed {
			t.Errorf("%d %v %s; want %d", g.code, g.header, g.text, code)
		}
		if n := f.end(f.topic(marketdata.KindTrade)); n != records {
			t.Errorf("the topic holds %d records, want %d", n, records)
		}
	}
	one, two := f.trade(1), "["+f.trade(2)+",{}]"
	send(call{key: "a", body: one}, 200, "", 1)
	send(call{key: "a", body: one}, 200, "true", 1)
	send(call{key: "a", body: one, coding: "gzip"}, 200, "true", 1)
	send(call{key: "a", body: f.trade(2)}, 422, "", 1)
	send(call{key: "a", body: one, path: "/publish/trade?exchange=x"}, 422, "", 1)
	send(call{key: "a", body: one, token: tokenOther}, 200, "", 2) // another's key
	send(call{key: "b", body: two}, 207, "", 3)
	send(call{key: "b", body: two}, 207, "true", 3)
	send(call{key: "c", body: "{}"}, 422, "", 3)
	send(call{key: "c", body: "{}"}, 422, "true", 3)
	send(call{key: "d", body: "["}, 400, "", 3)
	send(call{key: "d", body: one}, 200, "", 4) // what cannot be read takes no key
	now.add(replayAge - time.Second)
	send(call{key: "a", body: one}, 200, "true", 4)
	now.add(time.Second)
	send(call{key: "a", body: one}, 200, "", 5)
}

// TestIdempotencyKeyInAnOutage: the second of two at a time is told to wait, an
// answer that is not final is not kept, and that of a client which went away is.
func TestIdempotencyKeyInAnOutage(t *testing.T) {
	t.Parallel()
	opts := options()
	opts.Timeout = 2 * time.Second
	f := setup(t, opts)
	if g := f.do(call{body: f.trade(0)}); g.code != 200 {
		t.Fatalf("%d %s", g.code, g.text)
	}
	f.network.freeze()
	first := f.start(call{key: "a", body: f.trade(1)})
	f.eventually("it waits", func() bool { return f.server.publisher.BufferedRecords() == 1 })
	if g := f.do(call{key: "a", body: f.trade(1)}); g.code != 409 || g.header.Get("Retry-After") == "" {
		t.Errorf("the second at a time: %d %s", g.code, g.text)
	}
	if g := f.do(call{key: "a", body: f.trade(2)}); g.code != 422 {
		t.Errorf("another body at a time: %d %s", g.code, g.text)
	}
	if g := <-first; g.code != 503 || len(g.Unknown) != 1 {
		t.Errorf("the first: %d %s", g.code, g.text)
	}
	f.network.thaw()
	if g := f.do(call{key: "a", body: f.trade(1)}); g.code != 503 || len(g.Unknown) != 1 || g.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("what may have been published is published again: %d %s", g.code, g.text)
	}
	f.eventually("published under another key", func() bool {
		g := f.do(call{key: "a2", body: f.trade(1)})
		return g.code == http.StatusOK && g.header.Get("Idempotent-Replayed") == ""
	})

	// Nothing is on its way any more, so that the count below is this one's.
	f.eventually("nothing waits", func() bool { return f.server.publisher.BufferedRecords() == 0 })
	before := f.end(f.topic(marketdata.KindTrade))
	f.network.freeze()
	ctx, leave := context.WithCancel(f.ctx())
	left := f.start(call{key: "b", body: f.trade(3), context: ctx})
	f.eventually("it waits", func() bool { return f.server.publisher.BufferedRecords() == 1 })
	leave()
	<-left
	f.network.thaw()
	f.eventually("the answer is kept for whoever asks again", func() bool {
		g := f.do(call{key: "b", body: f.trade(3)})
		return g.code == http.StatusOK && g.header.Get("Idempotent-Replayed") == "true"
	})
	if n := f.end(f.topic(marketdata.KindTrade)); n != before+1 {
		t.Errorf("the record was published %d times", n-before)
	}
}

// TestPartlyPublishedIsKept: a 503 that names accepted records is the answer of
// its key from then on, or each retry would publish these again.
func TestPartlyPublishedIsKept(t *testing.T) {
	t.Parallel()
	f := setup(t, options(), publish.WithoutTopicCreation())
	topic := f.topic(marketdata.KindTrade)
	admin := f.server.publisher.Admin()
	if err := admin.Create(f.ctx(), topic, publish.DefaultTopicSettings(marketdata.KindTrade)); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Await(f.ctx(), topic); err != nil {
		t.Fatal(err)
	}
	body := "[" + f.trade(1) + "," + strings.Replace(f.trade(2), f.exchange, f.exchange+"-none", 1) + "]"
	for i := range 3 {
		g := f.do(call{key: "p", body: body})
		if g.code != 503 || g.Accepted != 1 || len(g.Unsent) != 1 || (g.header.Get("Idempotent-Replayed") == "true") != (i > 0) {
			t.Errorf("request %d: %d %s", i, g.code, g.text)
		}
	}
	if n := f.end(topic); n != 1 {
		t.Errorf("the record was published %d times", n)
	}
}

// TestReplaysAreBounded: the oldest answer goes first, by count and by bytes.
func TestReplaysAreBounded(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name        string
		size, n, is int
	}{
		{"count", 1, replaysMax + 500, replaysMax},
		{"bytes", 1<<20 - 400, 40, replayBytesMax / (1 << 20)},
	} {
		r := replays{now: time.Now}
		answer := &reply{code: 200, header: http.Header{}, body: []byte(strings.Repeat("x", tt.size))}
		key := func(i int) replayKey { return sha256.Sum256([]byte(strconv.Itoa(i))) }
		for i := range tt.n {
			if r.begin(key(i), key(i)) != nil {
				t.Fatalf("%s: %d is known", tt.name, i)
			}
			r.finish(key(i), answer)
		}
		if len(r.byKey) != tt.is || len(r.done) != tt.is {
			t.Errorf("%s: %d are kept, want %d", tt.name, len(r.byKey), tt.is)
		}
		if r.begin(key(tt.n-1), key(tt.n-1)) == nil || r.begin(key(0), key(0)) != nil {
			t.Errorf("%s: the newest is not known, or the oldest is", tt.name)
		}
	}
}

package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/qicore/tickconnect/internal/devstack/testenv"
	"github.com/qicore/tickconnect/marketdata"
	"github.com/qicore/tickconnect/publish"
)

const lines = "application/x-ndjson"

// TestByteForByte: records of each kind, in each form and encoding, are in their
// topic as they were sent, every digit of them, once the answer says accepted.
func TestByteForByte(t *testing.T) {
	t.Parallel()
	t.Run("kfake", func(t *testing.T) { t.Parallel(); testByteForByte(t, setup(t, options())) })
	t.Run("kafka", func(t *testing.T) { t.Parallel(); testByteForByte(t, setupOn(t, testenv.Kafka(t), options())) })
}

func testByteForByte(t *testing.T, f *fixture) {
	const precise = "65000.100000000000000000000000000000000000010"
	records := map[marketdata.Kind]string{
		marketdata.KindPrice:     `{ "coinId":"bitcoin","symbol":"BTC", "exchange_id":%q,"usdPrice":` + precise + `,"time":1714979289,"source":"","attribution":"", "mine":[1.10, 1e2]}`,
		marketdata.KindOHLCV:     `{"exchangeId":%q,"symbol":"BTC-USD","interval":"1m","time":1714979289,"open":` + precise + `,"high":65001,"low":1.0,"close":1.50,"volume":0}`,
		marketdata.KindLevel1:    `{"exchangeId":%q,"symbol":"BTC-USD","time":1714979289,"bidPrice":` + precise + `,"sequence":18446744073709551617}`,
		marketdata.KindTrade:     `{"exchangeId":%q,"symbol":"BTC-USD","tradeId":1,"time":1714979289,"price":` + precise + `,"size":0.5000,"mine":"\u20ac"}`,
		marketdata.KindAnalytics: `{"exchangeId":%q,"symbol":"BTC-USD","time":1714979289,"totalVolume":` + precise + `}`,
	}
	for kind, record := range records {
		record = fmt.Sprintf(record, f.exchange)
		var want []string
		for _, c := range []call{
			{body: record},
			{body: " [" + record + ",\n" + record + " ]\n", coding: "gzip"},
			{body: record + "\r\n\n" + record, typ: lines, coding: "zstd"},
			{body: record + "\n", typ: "application/jsonl; charset=UTF-8", coding: "identity"},
		} {
			c.path = "/publish/" + kind.String()
			g := f.do(c)
			n := strings.Count(c.body, "exchange")
			if g.code != http.StatusOK || g.Accepted != n || g.text != fmt.Sprintf(`{"accepted":%d,"rejected":[]}`, n) {
				t.Errorf("%s: %d %s", kind, g.code, g.text)
			}
			want = append(want, slices.Repeat([]string{record}, n)...)
		}
		if have := f.values(f.topic(kind)); !slices.Equal(have, want) {
			t.Errorf("%s: the topic holds\n%s\nwant\n%s", kind, strings.Join(have, "\n"), strings.Join(want, "\n"))
		}
		if n := f.metric("tickconnect_ingest_records_total", kind.String(), "accepted"); n != float64(len(want)) {
			t.Errorf("%s: %v records are counted", kind, n)
		}
		if n := f.metric("tickconnect_ingest_requests_total", "200", kind.String()); n != 4 {
			t.Errorf("%s: %v requests are counted", kind, n)
		}
	}
}

// TestBadRecordsCostNoOther, and the answer says which and why.
func TestBadRecordsCostNoOther(t *testing.T) {
	t.Parallel()
	f := setup(t, options())
	bad := strings.Replace(f.trade(9), "65000.10", "-1.0", 1)
	bare := strings.Replace(f.trade(8), f.exchange, "", 1)
	for _, tt := range []struct {
		name     string
		call     call
		code     int
		accepted int
		rejected []Item // messages are not compared
	}{
		{"array", call{body: "[" + strings.Join([]string{f.trade(0), "7", f.trade(1), bad}, ",") + "]"}, 207, 2, []Item{
			{Index: 1, Path: "$[1]", Reason: "not_an_object"}, {Index: 3, Path: "$[3].price", Reason: "out_of_range"},
		}},
		{"lines", call{body: f.trade(2) + "\n\n{\"symbol\":,}\n" + f.trade(3) + "\n", typ: lines}, 207, 2, []Item{{Index: 1, Path: "$[1]", Reason: "not_json"}}},
		{"object", call{body: bad}, 422, 0, []Item{{Path: "$.price", Reason: "out_of_range"}}},
		{"no exchange", call{body: bare}, 422, 0, []Item{{Path: "$.exchangeId", Reason: "missing_field"}}},
		{"no topic's name", call{body: bare, path: "/publish/trade?exchange=a%20b"}, 422, 0, []Item{{Path: "$.exchangeId", Reason: "out_of_range"}}},
		{"exchange given", call{body: bare, path: "/publish/trade?exchange=" + strings.ToUpper(f.exchange)}, 200, 1, nil},
		{"the record's own counts", call{body: f.trade(4), path: "/publish/trade?exchange=another"}, 200, 1, nil},
		{"too large", call{body: `[` + f.trade(5) + `,` + strings.Replace(f.trade(6), "{", `{"pad":"`+strings.Repeat("x", 200<<10)+`",`, 1) + `]`}, 207, 1, []Item{
			{Index: 1, Path: "$[1]", Reason: "too_large"},
		}},
	} {
		if tt.name == "too large" {
			g := setup(t, options(), publish.WithMaxRecordBytes(100<<10))
			g.exchange = f.exchange
			f.compare(tt.name, g.do(tt.call), tt.code, tt.accepted, tt.rejected)
			continue
		}
		f.compare(tt.name, f.do(tt.call), tt.code, tt.accepted, tt.rejected)
	}
	if n := f.end(f.topic(marketdata.KindTrade)); n != 6 {
		t.Errorf("the topic holds %d records, want 6", n)
	}
	if n := f.metric("tickconnect_ingest_records_total", "trade", "rejected"); n != 6 {
		t.Errorf("%v records are counted as rejected, want 6", n)
	}
}

func (f *fixture) compare(name string, g got, code, accepted int, rejected []Item) {
	f.Helper()
	for i := range g.Rejected {
		if g.Rejected[i].Message == "" {
			f.Errorf("%s: no message in %s", name, g.text)
		}
		g.Rejected[i].Message = ""
	}
	if g.code != code || g.Accepted != accepted || !slices.Equal(g.Rejected, rejected) {
		f.Errorf("%s: %d %s", name, g.code, g.text)
	}
}

// TestBodiesThatCannotBeRead are refused as a whole: nothing of them is
// published, so they can be mended and sent again.
func TestBodiesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	opts := options()
	opts.RecordsMax, opts.BodyBytesMax = 10, 50_000
	f := setup(t, opts)
	good := "[" + f.trade(0) + "," + f.trade(1) + "]"
	many := f.lines(0, 11)
	gz, zs := compress("gzip", []byte(good)), compress("zstd", []byte(good))
	corrupt := func(b []byte) []byte {
		b = slices.Clone(b)
		b[len(b)/2] ^= 0xff
		return b
	}
	bomb := strings.Repeat("[", 10<<20)
	for _, tt := range []struct {
		name string
		call call
		code int
		says string
	}{
		{"no type", call{typ: "-", body: good}, 415, "Content-Type is missing: send application/json"},
		{"another type", call{typ: "text/csv", body: good}, 415, "is not taken: send application/json"},
		{"a type that is none", call{typ: ";", body: good}, 415, "cannot be read"},
		{"another charset", call{typ: "application/json; charset=latin1", body: good}, 415, "in UTF-8"},
		{"another encoding", call{coding: "br", body: good}, 415, "send gzip, zstd or none"},
		{"two encodings", call{coding: "gzip, zstd", body: good}, 415, "send gzip, zstd or none"},
		{"nothing", call{}, 400, "holds no record"},
		{"blank lines", call{typ: lines, body: "\n \n"}, 400, "holds no record"},
		{"an empty array", call{body: "[]"}, 400, "holds no record"},
		{"a number", call{body: "7"}, 400, "neither a JSON object nor an array"},
		{"two objects", call{body: f.trade(0) + "\n" + f.trade(1)}, 400, "application/x-ndjson for an object a line"},
		{"after an array", call{body: good + "x"}, 400, "more follows after"},
		{"cut in an object", call{body: f.trade(0)[:50]}, 400, "truncated: it ends after byte 50 within record 0"},
		{"cut in an array", call{body: good[:len(good)-20]}, 400, "within record 1; nothing was published"},
		{"cut before the array's end", call{body: good[:len(good)-1]}, 400, "truncated"},
		{"not JSON", call{body: `[{"a":1},{b}]`}, 400, "after byte 9, in record 1"},
		{"no comma", call{body: `[{} {}]`}, 400, "not JSON"},
		{"cut in a line", call{typ: lines, body: f.trade(0) + "\n" + f.trade(1)[:60]}, 400, "truncated: it ends within record 1"},
		{"cut gzip", call{coding: "gzip", raw: gz[:len(gz)-9]}, 400, "truncated within its gzip encoding"},
		{"cut gzip's header", call{coding: "gzip", raw: gz[:5]}, 400, "truncated within its gzip encoding"},
		{"cut zstd", call{coding: "zstd", raw: zs[:len(zs)-9]}, 400, "truncated within its zstd encoding"},
		{"corrupt gzip", call{coding: "gzip", raw: corrupt(gz)}, 400, "corrupt within its gzip encoding"},
		{"corrupt zstd", call{coding: "zstd", raw: corrupt(zs)}, 400, "within its zstd encoding"},
		{"not gzip", call{coding: "gzip", raw: []byte(good)}, 400, "corrupt within its gzip encoding"},
		{"not zstd", call{coding: "zstd", raw: []byte(good)}, 400, "corrupt within its zstd encoding"},
		{"too many lines", call{typ: lines, body: many}, 413, "more than 10 records"},
		{"too many elements", call{body: "[" + strings.Repeat("{},", 10) + "{}]"}, 413, "more than 10 records"},
		{"too long", call{body: good + strings.Repeat(" ", 60_000)}, 413, "above 50000 bytes"},
		{"gzip bomb", call{coding: "gzip", body: bomb}, 413, "above 50000 bytes"},
		{"zstd bomb", call{coding: "zstd", body: bomb}, 413, "above 50000 bytes"},
		{"an unknown parameter", call{path: "/publish/trade?exchnage=x", body: good}, 400, "there is exchange"},
		{"an exchange twice", call{path: "/publish/trade?exchange=x&exchange=y", body: good}, 400, "twice"},
		{"an unknown kind", call{path: "/publish/trades", body: good}, 404, "did you mean trade?"},
		{"another kind", call{path: "/publish/orderbook", body: good}, 404, "there are price, ohlcv, level1, trade, analytics"},
		{"no kind", call{path: "/publish", body: good}, 404, "POST /publish/{kind}"},
		{"another method", call{method: "PUT", body: good}, 405, "use POST"},
		{"a long key", call{key: strings.Repeat("k", 256), body: good}, 400, "1 to 255 bytes"},
	} {
		if g := f.do(tt.call); g.code != tt.code || g.Code != tt.code || !strings.Contains(g.Message, tt.says) {
			t.Errorf("%s: %d %s; want %d and %q", tt.name, g.code, g.text, tt.code, tt.says)
		}
	}
	// The decoders are used again, and work as before.
	for _, coding := range []string{"gzip", "zstd"} {
		if g := f.do(call{coding: coding, body: good}); g.code != 200 {
			t.Errorf("%s: %d %s", coding, g.code, g.text)
		}
	}
	if n := f.end(f.topic(marketdata.KindTrade)); n != 4 {
		t.Errorf("the topic holds %d records, want the 4 good ones", n)
	}
}

// TestBombsTakeNoMemory: what a small body grows to is read no further than the
// limit.
func TestBombsTakeNoMemory(t *testing.T) {
	t.Parallel()
	opts := options()
	opts.Metrics, opts.Log = NewMetrics(nil), discard()
	s, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	for _, coding := range []string{"gzip", "zstd"} {
		bomb := compress(coding, make([]byte, 64<<20))
		if len(bomb) > 100<<10 {
			t.Fatalf("%s: the bomb has %d bytes", coding, len(bomb))
		}
		req := httptest.NewRequestWithContext(t.Context(), "POST", "/publish/trade", bytes.NewReader(bomb))
		var b body
		if refused := s.read(httptest.NewRecorder(), req, coding, &b); refused == nil || refused.code != http.StatusRequestEntityTooLarge || int64(b.Cap()) > 4*opts.BodyBytesMax {
			t.Errorf("%s: %+v, %d bytes are held", coding, refused, b.Cap())
		}
	}
}

// TestCutConnection: a body that ends before its length is no shorter body.
func TestCutConnection(t *testing.T) {
	t.Parallel()
	f := setup(t, options())
	conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := f.lines(0, 2)
	fmt.Fprintf(conn, "POST /publish/trade HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n%s", len(body)+100, body)
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.Contains(string(answer), "400 Bad Request") || !strings.Contains(string(answer), "truncated") {
		t.Errorf("%s %v", answer, err)
	}
	if n := f.end(f.topic(marketdata.KindTrade)); n != 0 {
		t.Errorf("%d records were published", n)
	}
}

// TestSlowClients are not waited for without end, neither for a header nor for a
// body.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	opts := options()
	opts.ReadTimeout = 300 * time.Millisecond
	f := setup(t, opts)
	for _, tt := range []struct{ sent, says string }{
		{"POST /publish/trade HTTP/1.1\r\nHost:", ""},
		{"POST /publish/trade HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n[", "408 Request Timeout"},
		{"POST /publish/nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n[", "404 Not Found"},
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(limit)); err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, tt.sent)
		answer, err := io.ReadAll(conn) // until the server ends the connection
		if err != nil && !strings.Contains(err.Error(), "reset") || !strings.Contains(string(answer), tt.says) {
			t.Errorf("%q: %s %v", tt.sent, answer, err)
		}
	}
	// The limit is for the sending alone: the brokers may take longer.
	if g := f.do(call{body: f.trade(0)}); g.code != 200 {
		t.Fatalf("%d %s", g.code, g.text)
	}
	f.network.freeze()
	thaw := time.AfterFunc(900*time.Millisecond, f.network.thaw)
	defer thaw.Stop()
	if g := f.do(call{body: f.trade(1)}); g.code != 200 {
		t.Errorf("brokers that took three times the read timeout gave %d %s", g.code, g.text)
	}
}

// TestSilentBrokers: a 503 comes within the timeout and names what is unsent and
// what is unknown, none of it accepted nor rejected; what is bad stays rejected.
func TestSilentBrokers(t *testing.T) {
	t.Parallel()
	opts := options()
	opts.Timeout = time.Second
	f := setup(t, opts)
	if g := f.do(call{body: f.trade(0)}); g.code != 200 {
		t.Fatalf("%d %s", g.code, g.text)
	}
	f.network.freeze()
	other := strings.Replace(f.trade(3), f.exchange, f.exchange+"-new", 1)
	g := f.do(call{body: "[" + f.trade(1) + ",{}," + f.trade(2) + "," + other + "]"})
	reasons := func(items []Item) (all []string) {
		for _, i := range items {
			all = append(all, fmt.Sprint(i.Index, " ", i.Reason))
		}
		return all
	}
	if g.code != 503 || g.header.Get("Retry-After") == "" || g.Accepted != 0 || len(g.Rejected) != 1 || g.Rejected[0].Index != 1 ||
		!slices.Equal(reasons(g.Unknown), []string{"0 outcome_unknown", "2 outcome_unknown"}) || !slices.Equal(reasons(g.Unsent), []string{"3 unavailable"}) {
		t.Errorf("%d %v %s", g.code, g.header, g.text)
	}
	if strings.Contains(g.text, f.brokers[0]) {
		t.Errorf("the answer shows a broker's address: %s", g.text)
	}
	if !strings.Contains(f.logged.String(), "records that came over HTTP are not published") {
		t.Errorf("the log is\n%s", f.logged)
	}
	f.network.thaw()
	f.eventually("published again", func() bool { return f.do(call{body: f.trade(4)}).code == 200 })
	if n := f.metric("tickconnect_ingest_records_total", "trade", "unknown"); n < 2 {
		t.Errorf("%v records are counted as unknown", n)
	}
}

// TestBrokersAway from the start: 503, and all is unsent.
func TestBrokersAway(t *testing.T) {
	t.Parallel()
	opts := options()
	opts.Timeout = time.Second
	f := setup(t, opts, publish.WithBrokers("127.0.0.1:1"))
	g := f.do(call{typ: lines, body: f.lines(0, 100)})
	if g.code != 503 || g.header.Get("Retry-After") == "" || len(g.Unsent) != 100 || g.Accepted != 0 {
		t.Errorf("%d %.300s", g.code, g.text)
	}
}

// TestFullBuffer is a 503: it is the server's state, and no client's doing; 429
// is for the rate of a token. What fitted has its own outcome.
func TestFullBuffer(t *testing.T) {
	t.Parallel()
	opts := options()
	opts.Timeout = 2 * time.Second
	f := setup(t, opts, publish.WithBufferBytes(2000))
	if g := f.do(call{body: f.trade(0)}); g.code != 200 {
		t.Fatalf("%d %s", g.code, g.text)
	}
	f.network.freeze()
	g := f.do(call{typ: lines, body: f.lines(0, 50)})
	if g.code != 503 || g.header.Get("Retry-After") == "" || len(g.Unsent) < 30 || g.Unsent[0].Reason != "buffer_full" || len(g.Unsent)+len(g.Unknown) != 50 {
		t.Errorf("%d %.300s", g.code, g.text)
	}
}

// TestNoTopic: topics that are not made, or a user that may not, are the
// operator's to mend: nothing of it is rejected.
func TestNoTopic(t *testing.T) {
	t.Parallel()
	f := setup(t, options(), publish.WithoutTopicCreation())
	g := f.do(call{body: f.trade(0)})
	if g.code != 503 || len(g.Unsent) != 1 || g.Unsent[0].Reason != "no_topic" || len(g.Rejected) != 0 {
		t.Errorf("%d %s", g.code, g.text)
	}
	if !strings.Contains(f.logged.String(), "connector topics create") {
		t.Errorf("the log has no advice:\n%s", f.logged)
	}
}

// TestRate: a token's records are bounded, its bursts and others' records are
// not.
func TestRate(t *testing.T) {
	t.Parallel()
	opts := options()
	now := newClock()
	opts.now, opts.RecordsPerSecond, opts.RecordsMax, opts.Tokens = now.now, 10, 20, tokens(t)
	f := setup(t, opts)
	send := func(token string, n int) got {
		return f.do(call{typ: lines, body: f.lines(0, n), token: token})
	}
	if g := send(tokenAll, 20); g.code != 200 {
		t.Fatalf("the burst gave %d %s", g.code, g.text)
	}
	g := send(tokenAll, 15)
	if g.code != 429 || g.header.Get("Retry-After") != "2" {
		t.Errorf("%d %v %s", g.code, g.header, g.text)
	}
	if g := send(tokenOther, 20); g.code != 200 {
		t.Errorf("another token: %d %s", g.code, g.text)
	}
	now.add(2 * time.Second)
	if g := send(tokenAll, 15); g.code != 200 {
		t.Errorf("after Retry-After: %d %s", g.code, g.text)
	}
	if n := f.end(f.topic(marketdata.KindTrade)); n != 55 {
		t.Errorf("the topic holds %d records, want 55", n)
	}
}

// TestRequestsAtATime are bounded, and with them the memory.
func TestRequestsAtATime(t *testing.T) {
	t.Parallel()
	opts := options()
	opts.RequestsMax = 1
	f := setup(t, opts)
	if g := f.do(call{body: f.trade(0)}); g.code != 200 {
		t.Fatalf("%d %s", g.code, g.text)
	}
	f.network.freeze()
	first := f.start(call{body: f.trade(1)})
	f.eventually("the first is under way", func() bool { return f.server.publisher.BufferedRecords() == 1 })
	if g := f.do(call{body: f.trade(2)}); g.code != 503 || g.header.Get("Retry-After") != "1" || !strings.Contains(g.Message, "1 requests are under way") {
		t.Errorf("%d %s", g.code, g.text)
	}
	f.network.thaw()
	if g := <-first; g.code != 200 {
		t.Errorf("the first: %d %s", g.code, g.text)
	}
	if g := f.do(call{body: f.trade(3)}); g.code != 200 {
		t.Errorf("after it: %d %s", g.code, g.text)
	}
}

// start sends a request and does not wait for its answer.
func (f *fixture) start(c call) <-chan got {
	answer := make(chan got, 1)
	go func() {
		g, err := f.try(c)
		if err != nil {
			g.text = err.Error()
		}
		answer <- g
	}()
	return answer
}

// TestClientGoesAway while its records wait. The client of Kafka fails all that
// waits for a partition when the context of its first record ends: the records of
// the client that left, which are first in every partition here, must not take
// along those of the one that stays.
func TestClientGoesAway(t *testing.T) {
	t.Parallel()
	f := setup(t, options(), publish.WithLinger(time.Minute)) // records wait for flush
	flush := func() {
		if err := f.server.publisher.Flush(f.ctx()); err != nil {
			t.Fatal(err)
		}
	}
	first := f.start(call{typ: lines, body: f.lines(0, 200)})
	f.eventually("the first waits", func() bool { return f.server.publisher.BufferedRecords() == 200 })
	flush()
	if g := <-first; g.code != 200 {
		t.Fatalf("%d %s", g.code, g.text)
	}
	f.network.freeze() // the client may be sending still, and would take along what comes
	ctx, leave := context.WithCancel(f.ctx())
	left := f.start(call{typ: lines, body: f.lines(1000, 200), context: ctx})
	f.eventually("it waits", func() bool { return f.server.publisher.BufferedRecords() == 200 })
	stays := f.start(call{typ: lines, body: f.lines(2000, 200)})
	f.eventually("the other waits", func() bool { return f.server.publisher.BufferedRecords() == 400 })
	leave()
	<-left
	f.eventually("it is counted", func() bool { return f.metric("tickconnect_ingest_requests_total", "499", "trade") == 1 })
	f.network.thaw()
	flush()
	if g := <-stays; g.code != 200 {
		t.Errorf("the one that stays gets %d %.300s", g.code, g.text)
	}
	f.eventually("nothing is under way", func() bool { return f.metric("tickconnect_ingest_requests_in_flight") == 0 })
	if strings.Contains(f.logged.String(), "level=WARN") {
		t.Errorf("the log is\n%s", f.logged)
	}
}

// TestStop answers what is under way and takes no more.
func TestStop(t *testing.T) {
	t.Parallel()
	f := setup(t, options())
	if g := f.do(call{body: f.trade(0)}); g.code != 200 {
		t.Fatalf("%d %s", g.code, g.text)
	}
	f.network.freeze()
	under := f.start(call{body: f.trade(1)})
	f.eventually("it waits", func() bool { return f.server.publisher.BufferedRecords() == 1 })
	f.stop()
	f.eventually("no connection is taken", func() bool {
		// A request would be taken, and wait for the brokers, were the stop not that far.
		conn, err := net.DialTimeout("tcp", strings.TrimPrefix(f.url, "http://"), time.Second)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	f.network.thaw()
	if g := <-under; g.code != 200 {
		t.Errorf("%d %s", g.code, g.text)
	}
	if err := <-f.ended; err != nil {
		t.Error(err)
	}
	if n := f.end(f.topic(marketdata.KindTrade)); n != 2 {
		t.Errorf("the topic holds %d records, want 2", n)
	}
}

// TestStopWithSilentBrokers: whoever waits is told that the outcome is unknown,
// within the limit, and so is the operator.
func TestStopWithSilentBrokers(t *testing.T) {
	t.Parallel()
	f := setup(t, options())
	if g := f.do(call{body: f.trade(0)}); g.code != 200 {
		t.Fatalf("%d %s", g.code, g.text)
	}
	f.network.freeze()
	under := f.start(call{body: f.trade(1)})
	f.eventually("it waits", func() bool { return f.server.publisher.BufferedRecords() == 1 })
	f.stop()
	if g := <-under; g.code != 503 || len(g.Unknown) != 1 {
		t.Errorf("%d %s", g.code, g.text)
	}
	f.eventually("the publisher waits", func() bool { return f.server.stopping.Err() != nil })
	select {
	case err := <-f.ended:
		if err == nil || !strings.Contains(err.Error(), "1 records still wait") {
			t.Errorf("Serve gave %v", err)
		}
	case <-time.After(limit):
		t.Fatal("Serve does not end")
	}
}

// TestListenerFails: Serve ends and says why.
func TestListenerFails(t *testing.T) {
	t.Parallel()
	opts := options()
	opts.Metrics = NewMetrics(nil)
	opts.Log = discard()
	s, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := s.Serve(t.Context(), []net.Listener{l}, time.Second); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve gave %v", err)
	}
}

// TestParametersThatCannotBeRead are not left out in silence.
func TestParametersThatCannotBeRead(t *testing.T) {
	t.Parallel()
	f := setup(t, options())
	for _, query := range []string{"exchange=kra%zzken", "exchange=a;b"} {
		if g := f.do(call{path: "/publish/trade?" + query, body: f.trade(0)}); g.code != 400 {
			t.Errorf("%s gives %d %s", query, g.code, g.text)
		}
	}
}

package ingest

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/internal/devstack/testenv"
	"github.com/qicore/tickconnect/marketdata"
	"github.com/qicore/tickconnect/publish"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// limit bounds what a test waits for.
const limit = time.Minute

// fixture is a server that listens, and an exchange of the test's own behind it.
type fixture struct {
	testing.TB
	url      string
	exchange string
	brokers  []string
	admin    *kadm.Client
	server   *Server
	network  *network
	registry *prometheus.Registry
	logged   *syncBuffer
	stop     func()     // begins the stop
	ended    chan error // what Serve returned
	seen     *seen
}

// options are those of a server whose limits no test meets by accident.
func options() Options {
	return Options{Timeout: 30 * time.Second, BodyBytesMax: 1 << 20, RecordsMax: 1000, RequestsMax: 50}
}

func setup(t testing.TB, opts Options, publisher ...publish.Option) *fixture {
	t.Helper()
	return setupOn(t, testenv.Broker(t), opts, publisher...)
}

func setupOn(t testing.TB, brokers []string, opts Options, publisher ...publish.Option) *fixture {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{
		TB: t, exchange: testenv.Topic(t), brokers: brokers, admin: kadm.NewClient(client), network: &network{},
		registry: prometheus.NewRegistry(), logged: &syncBuffer{}, ended: make(chan error, 1), seen: &seen{},
	}
	opts.Metrics, opts.Log = NewMetrics(f.registry), slog.New(slog.NewTextHandler(f.logged, nil))
	publisher = append([]publish.Option{publish.WithBrokers(brokers...), f.network.option(), publish.WithLogger(opts.Log)}, publisher...)
	if f.server, err = New(opts, publisher...); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.url = "http://" + l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	f.stop = cancel
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.ended <- f.server.Serve(ctx, []net.Listener{l}, 10*time.Second)
	}()
	t.Cleanup(func() {
		f.network.thaw()
		cancel()
		<-done
		f.deleteTopics()
		client.Close()
	})
	return f
}

// deleteTopics removes the topics of the test's exchange, which a shared cluster
// would keep.
func (f *fixture) deleteTopics() {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var names []string
	for _, k := range marketdata.Kinds() {
		names = append(names, marketdata.TopicName(k, f.exchange))
	}
	if _, err := f.admin.DeleteTopics(ctx, names...); err != nil {
		f.Logf("deleting topics: %v", err)
	}
}

func (f *fixture) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	f.Cleanup(cancel)
	return ctx
}

// call is a request; unset fields are those of a good one.
type call struct {
	method  string // POST
	path    string // /publish/trade
	typ     string // application/json; "-" is none
	coding  string
	token   string
	key     string // Idempotency-Key
	body    string // as it is before the encoding
	raw     []byte // in place of body, as it is sent
	context context.Context
}

// got is what came back.
type got struct {
	code   int
	header http.Header
	text   string
	Answer
	Error
}

// do sends a request. The answer must be one that the OpenAPI document knows.
func (f *fixture) do(c call) got {
	f.Helper()
	g, err := f.try(c)
	if err != nil {
		f.Fatal(err)
	}
	return g
}

func (f *fixture) try(c call) (got, error) {
	f.Helper()
	req := f.request(c)
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return got{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return got{}, err
	}
	f.checkAnswer(req, resp, text)
	g := got{code: resp.StatusCode, header: resp.Header, text: string(text)}
	if err := json.Unmarshal(text, &g.Answer); err != nil {
		f.Errorf("%v in %s", err, text)
	}
	if err := json.Unmarshal(text, &g.Error); err != nil {
		f.Errorf("%v in %s", err, text)
	}
	return g, nil
}

func (f *fixture) request(c call) *http.Request {
	f.Helper()
	if c.context == nil {
		c.context = f.ctx()
	}
	if c.raw == nil {
		c.raw = compress(c.coding, []byte(c.body))
	}
	method, path, typ := orDefault(c.method, "POST"), orDefault(c.path, "/publish/trade"), orDefault(c.typ, "application/json")
	req, err := http.NewRequestWithContext(c.context, method, f.url+path, bytes.NewReader(c.raw))
	if err != nil {
		f.Fatal(err)
	}
	for name, value := range map[string]string{"Content-Type": typ, "Content-Encoding": c.coding, "Idempotency-Key": c.key} {
		if value != "" && value != "-" {
			req.Header.Set(name, value)
		}
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	return req
}

func orDefault(s, or string) string {
	if s == "" {
		return or
	}
	return s
}

func compress(coding string, body []byte) []byte {
	var b bytes.Buffer
	switch coding {
	case "gzip":
		w := gzip.NewWriter(&b)
		_, _ = w.Write(body) // to memory
		_ = w.Close()
	case "zstd":
		w, err := zstd.NewWriter(&b)
		if err != nil {
			panic(err)
		}
		_, _ = w.Write(body)
		_ = w.Close()
	default:
		return body
	}
	return b.Bytes()
}

// document is the OpenAPI document, read and validated by a library.
var document = sync.OnceValues(func() (*openapi3.T, error) {
	doc, err := openapi3.NewLoader().LoadFromData(openAPI)
	if err != nil {
		return nil, err
	}
	return doc, doc.Validate(context.Background())
})

// seen are the answers that a test got, as path and status.
type seen struct {
	mu   sync.Mutex
	each map[string]bool
}

func (s *seen) add(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.each == nil {
		s.each = map[string]bool{}
	}
	s.each[what] = true
}

// checkAnswer compares a real answer with the document.
func (f *fixture) checkAnswer(req *http.Request, resp *http.Response, text []byte) {
	f.Helper()
	doc, err := document()
	if err != nil {
		f.Fatal(err)
	}
	path := req.URL.Path
	if strings.HasPrefix(path, "/publish/") {
		path = "/publish/{kind}"
	}
	item := doc.Paths.Find(path)
	if item == nil {
		return // nothing is there
	}
	operation := item.Post
	if operation == nil {
		operation = item.Get
	}
	f.seen.add(fmt.Sprintf("%s %d", path, resp.StatusCode))
	err = openapi3filter.ValidateResponse(f.ctx(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{
			Request: req, Route: &routers.Route{Spec: doc, Path: path, PathItem: item, Method: req.Method, Operation: operation},
		},
		Status: resp.StatusCode, Header: resp.Header, Body: io.NopCloser(bytes.NewReader(text)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	})
	if err != nil {
		f.Errorf("%s %s gave %d %s, which the OpenAPI document does not know: %v", req.Method, req.URL.Path, resp.StatusCode, text, err)
	}
	if declared := operation.Responses.Status(resp.StatusCode); declared != nil {
		for _, name := range []string{"Retry-After", "Allow", "WWW-Authenticate", "Accept-Encoding", "Idempotent-Replayed"} {
			if _, ok := declared.Value.Headers[name]; !ok && resp.Header.Get(name) != "" {
				f.Errorf("%d has the header %s, which the OpenAPI document does not know", resp.StatusCode, name)
			}
		}
	}
}

func (f *fixture) trade(id int) string {
	return fmt.Sprintf(`{"exchangeId":%q,"symbol":"S%d-USD","tradeId":"%d","time":1714979289,"price":65000.10,"size":0.5000}`, f.exchange, id%50, id)
}

// lines joins n trades.
func (f *fixture) lines(from, n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(f.trade(from+i) + "\n")
	}
	return b.String()
}

func (f *fixture) topic(k marketdata.Kind) string { return marketdata.TopicName(k, f.exchange) }

// end is how many records a topic has; 0 where it is not there.
func (f *fixture) end(topic string) (n int64) {
	f.Helper()
	ends, err := f.admin.ListEndOffsets(f.ctx(), topic)
	if err != nil {
		f.Fatal(err)
	}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Err == nil {
			n += o.Offset
		}
	})
	return n
}

// values are those of all records of a topic, those of a partition in their
// order.
func (f *fixture) values(topic string) []string {
	f.Helper()
	n := f.end(topic)
	client, err := kgo.NewClient(kgo.SeedBrokers(f.brokers...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		f.Fatal(err)
	}
	defer client.Close()
	var values []string
	for ctx := f.ctx(); int64(len(values)) < n; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			f.Fatalf("%d of %d records read: %v", len(values), n, err)
		}
		for _, r := range fetches.Records() {
			values = append(values, string(r.Value))
		}
	}
	return values
}

// metric gives a metric's value with these values of its labels, in the order of
// the labels' names.
func (f *fixture) metric(name string, labels ...string) float64 {
	f.Helper()
	families, err := f.registry.Gather()
	if err != nil {
		f.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			var have []string
			for _, l := range m.GetLabel() {
				have = append(have, l.GetValue())
			}
			if family.GetName() == name && strings.Join(have, " ") == strings.Join(labels, " ") {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return 0
}

// eventually polls until the condition holds.
func (f *fixture) eventually(what string, holds func() bool) {
	f.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			f.Fatalf("still not: %s", what)
		case <-tick.C:
		}
	}
}

// syncBuffer is a bytes.Buffer for several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// network is the way to the brokers, which a test may stop.
type network struct {
	mu     sync.Mutex
	frozen chan struct{} // closed when it goes on; nil while it runs
}

func (n *network) option() publish.Option {
	return publish.WithClientOptions(kgo.Dialer(func(ctx context.Context, nw, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, nw, address)
		if err != nil {
			return nil, err
		}
		return &wire{conn, n}, nil
	}))
}

// freeze has nothing go through until thaw.
func (n *network) freeze() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.frozen = make(chan struct{})
}

func (n *network) thaw() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.frozen != nil {
		close(n.frozen)
		n.frozen = nil
	}
}

type wire struct {
	net.Conn
	network *network
}

func (w *wire) Write(b []byte) (int, error) {
	w.network.mu.Lock()
	frozen := w.network.frozen
	w.network.mu.Unlock()
	if frozen != nil {
		<-frozen
	}
	return w.Conn.Write(b)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/qicore/tickconnect/internal/rest"
	"github.com/qicore/tickconnect/marketdata"
	"github.com/qicore/tickconnect/publish"
	"github.com/qicore/tickconnect/publish/ingest"
)

// ingestConfig holds the keys of the process under which it takes records over
// HTTP.
type ingestConfig struct {
	Listeners        []string      `json:"publish.listeners" jsonschema:"description=Addresses that take records by POST /publish/{kind}, separated by commas; none: off. Port 0 picks a free one and says which. Without publish.tokens.path only loopback addresses are allowed." importance:"high"`
	TokensPath       string        `json:"publish.tokens.path" jsonschema:"description=JSON file of the tokens that may publish, each with its kinds and exchanges; read at the start. Empty: no token is asked for."`
	Layout           string        `json:"publish.layout" jsonschema:"description=How records are spread over topics: one topic for each kind and exchange, keyed by symbol, or one for each kind, keyed by exchange and symbol,enum=topic-per-exchange,enum=topic-per-kind"`
	TopicCreation    bool          `json:"publish.topic.creation.enable" jsonschema:"description=Topics that are not there are made with the settings of their kind. If false, records to them are refused until somebody makes them."`
	BufferBytes      int64         `json:"publish.buffer.bytes" jsonschema:"description=Keys and values that wait for the brokers, at most; what does not fit is answered with 503."`
	Timeout          time.Duration `json:"publish.request.timeout.ms" jsonschema:"description=How long a request waits for the brokers before it is answered with 503, and a record for them before it is given up."`
	BodyBytes        int64         `json:"publish.request.max.bytes" jsonschema:"description=Largest body of a request, as it is sent and as it is decompressed."`
	RecordsMax       int           `json:"publish.request.max.records" jsonschema:"description=Most records in a request."`
	RequestsMax      int           `json:"publish.requests.max" jsonschema:"description=Most requests that are worked on at a time. Times twice publish.request.max.bytes and up to 8 MiB for a zstd body it bounds their memory."`
	RecordsPerSecond float64       `json:"publish.records.per.second" jsonschema:"description=Most records a second of one token, on average; where no token is asked for, of all together. 0: no limit."`
}

func defaultIngestConfig() ingestConfig {
	return ingestConfig{
		Layout: marketdata.TopicPerExchange.String(), TopicCreation: true, BufferBytes: publish.DefaultBufferBytes,
		Timeout: 30 * time.Second, BodyBytes: 4 << 20, RecordsMax: 10_000, RequestsMax: 64,
	}
}

// on says whether records are taken over HTTP.
func (c *ingestConfig) on() bool { return len(c.Listeners) > 0 }

func (c *ingestConfig) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, l := range c.Listeners {
		if err := rest.CheckListener(l); err != nil {
			bad("publish.listeners: %w", err)
		} else if strings.HasPrefix(l, "https:") {
			bad("publish.listeners: %s: only http:// is served there; put a proxy before it for TLS", l)
		} else if c.TokensPath == "" && !rest.IsLoopback(l) {
			bad("publish.listeners: %s can be reached from elsewhere, and everyone there could publish: set publish.tokens.path, or listen on http://127.0.0.1:PORT", l)
		}
	}
	if _, err := marketdata.ParseLayout(c.Layout); err != nil {
		bad("publish.layout: %w", err)
	}
	if c.BufferBytes < 1<<20 || c.BufferBytes > 1<<40 {
		bad("publish.buffer.bytes: %d is outside %d..%d", c.BufferBytes, 1<<20, int64(1)<<40)
	}
	if c.Timeout < time.Second || c.Timeout > 10*time.Minute {
		bad("publish.request.timeout.ms: %d is outside 1000..600000", c.Timeout.Milliseconds())
	}
	if c.BodyBytes < 1<<10 || c.BodyBytes > 1<<30 {
		bad("publish.request.max.bytes: %d is outside 1024..%d", c.BodyBytes, 1<<30)
	}
	if c.RecordsMax < 1 || c.RecordsMax > 1_000_000 {
		bad("publish.request.max.records: %d is outside 1..1000000", c.RecordsMax)
	}
	if c.RequestsMax < 1 || c.RequestsMax > 10_000 {
		bad("publish.requests.max: %d is outside 1..10000", c.RequestsMax)
	}
	if c.RecordsPerSecond < 0 || c.RecordsPerSecond > 1e9 {
		bad("publish.records.per.second: %g is outside 0..1000000000", c.RecordsPerSecond)
	}
	return errors.Join(errs...)
}

// readTokens gives nil where none are asked for.
func (c *ingestConfig) readTokens() (*ingest.Tokens, error) {
	if c.TokensPath == "" || !c.on() {
		return nil, nil
	}
	tokens, err := ingest.ReadTokens(c.TokensPath)
	if err != nil {
		return nil, fmt.Errorf("publish.tokens.path: %w", err)
	}
	return tokens, nil
}

// ingestServer is the HTTP ingest of a process, with its bound listeners.
type ingestServer struct {
	server    *ingest.Server
	listeners []net.Listener
	urls      []string
	// ended says that it serves no more, though the process does.
	ended atomic.Bool
}

func newIngestServer(ctx context.Context, l *loaded, registry prometheus.Registerer, log *slog.Logger) (*ingestServer, error) {
	c := &l.ingest
	client, err := l.client.KafkaOptions()
	if err != nil {
		return nil, err
	}
	layout, err := marketdata.ParseLayout(c.Layout)
	if err != nil {
		return nil, fmt.Errorf("publish.layout: %w", err)
	}
	publisher := []publish.Option{
		publish.WithBrokers(l.client.Brokers()...), publish.WithClientOptions(client...), publish.WithLogger(log),
		publish.WithLayout(layout), publish.WithBufferBytes(int(c.BufferBytes)),
	}
	if !c.TopicCreation {
		publisher = append(publisher, publish.WithoutTopicCreation())
	}
	s := &ingestServer{}
	for _, listener := range c.Listeners {
		bound, at, err := rest.Bind(ctx, listener)
		if err != nil {
			s.close()
			return nil, fmt.Errorf("publish.listeners: %w", err)
		}
		s.listeners, s.urls = append(s.listeners, bound), append(s.urls, at)
	}
	s.server, err = ingest.New(ingest.Options{
		Tokens: l.tokens, Timeout: c.Timeout, BodyBytesMax: c.BodyBytes, RecordsMax: c.RecordsMax, RequestsMax: c.RequestsMax,
		RecordsPerSecond: c.RecordsPerSecond, Metrics: ingest.NewMetrics(registry), Log: log,
	}, publisher...)
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// close gives up what a server holds that does not serve any more.
func (s *ingestServer) close() {
	for _, l := range s.listeners {
		l.Close()
	}
	if s.server != nil {
		ended, cancel := context.WithCancel(context.Background())
		cancel() // nothing waits any more: Serve saw to it, or never began
		_ = s.server.Close(ended)
	}
}

// runIngest takes records until ctx ends, and answers what is under way then
// before the process's own limit comes.
func (p *process) runIngest(ctx context.Context) error {
	err := p.ingest.server.Serve(ctx, p.ingest.listeners, p.loaded.process.ShutdownTimeout*9/10)
	if ctx.Err() == nil {
		p.ingest.ended.Store(true)
		p.log.Error("the HTTP ingest has ended; restart the process once this is mended", "err", err)
		return nil
	}
	return err
}

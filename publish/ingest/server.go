// Package ingest takes market data over HTTP: POST /publish/{kind}. Records are
// checked and published as package publish does it, byte for byte, and the answer
// waits for the brokers: what it calls accepted they have, in all in-sync
// replicas, whatever then becomes of this process.
//
// An answer has one fate for each record: accepted, rejected (it is bad, and will
// never be taken as it is), unsent (it is good and was not written), or unknown
// (it may have been written or not). The status tells which there are.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/qicore/tickconnect/publish"
)

// Options are what a Server is made with. Those without a default must be set.
type Options struct {
	// Tokens says who may publish what; nil lets everyone publish everything.
	Tokens *Tokens
	// Timeout bounds how long a request waits for the brokers; at least a second.
	Timeout time.Duration
	// ReadTimeout bounds how long a client may take to send a request; 30 s where
	// it is 0.
	ReadTimeout time.Duration
	// BodyBytesMax bounds the body of a request, as it is sent and as it is
	// decompressed; RecordsMax its records; RequestsMax the requests at a time, and
	// with it the memory: each holds up to two bodies, and the window of a zstd body,
	// up to 8 MiB, beside them.
	BodyBytesMax int64
	RecordsMax   int
	RequestsMax  int
	// RecordsPerSecond bounds the records of one token, on average; 0 does not. A
	// burst of RecordsMax is always let through.
	RecordsPerSecond float64
	Metrics          *Metrics
	Log              *slog.Logger

	now func() time.Time
}

// Server is the HTTP side of a publisher of its own.
type Server struct {
	opts      Options
	publisher *publish.Publisher
	handler   http.Handler
	slots     chan struct{} // holds one for each request that is being worked on
	limits    map[*token]*rate.Limiter
	everyone  token               // who publishes where no token is asked for
	replays   map[*token]*replays // one client's keys cannot drive out another's
	warnings  rate.Sometimes
	bodies    sync.Pool // of *body
	decoders  decoders

	// stopping ends the waits of requests that the stop's limit leaves no time.
	stopping context.Context
	stop     context.CancelCauseFunc
}

var errStopping = errors.New("the server is stopping")

// New makes a Server. Its publisher gets the options and, on top of them, those
// that the answers need: a full buffer refuses, so that a client hears of it, and
// a record is given up when its request is.
func New(opts Options, publisher ...publish.Option) (*Server, error) {
	if opts.ReadTimeout == 0 {
		opts.ReadTimeout = 30 * time.Second
	}
	if opts.now == nil {
		opts.now = time.Now
	}
	p, err := publish.New(append(publisher, publish.WithFullBuffer(publish.Refuse), publish.WithDeliveryTimeout(opts.Timeout))...)
	if err != nil {
		return nil, err
	}
	s := &Server{
		opts: opts, publisher: p, slots: make(chan struct{}, opts.RequestsMax),
		everyone: token{anyKind: true, anyExchange: true}, replays: map[*token]*replays{},
		warnings: rate.Sometimes{Interval: 10 * time.Second},
	}
	s.bodies.New = func() any { return new(body) }
	s.stopping, s.stop = context.WithCancelCause(context.Background())
	for _, t := range slices.Concat(opts.Tokens.list(), []*token{&s.everyone}) {
		s.replays[t] = &replays{now: opts.now}
	}
	s.limits = map[*token]*rate.Limiter{}
	if opts.RecordsPerSecond > 0 {
		burst := max(opts.RecordsMax, int(opts.RecordsPerSecond))
		s.limits[&s.everyone] = rate.NewLimiter(rate.Limit(opts.RecordsPerSecond), burst)
		for _, t := range opts.Tokens.list() {
			s.limits[t] = rate.NewLimiter(rate.Limit(opts.RecordsPerSecond), burst)
		}
	}
	s.handler = s.routes()
	return s, nil
}

// Handler answers requests, for a server of one's own.
func (s *Server) Handler() http.Handler { return s.handler }

// graceForAnswers is the part of a stop in which requests that could not end by
// themselves are told so.
const graceForAnswers = 2 * time.Second

// Serve answers requests on the listeners until ctx ends. Then it takes no
// more, answers those under way, within the limit, and closes the publisher. Its
// error says also what the brokers had not acknowledged by then; the clients were
// told the same.
func (s *Server) Serve(ctx context.Context, listeners []net.Listener, within time.Duration) error {
	server := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: min(10*time.Second, s.opts.ReadTimeout),
		ReadTimeout:       s.opts.ReadTimeout, // ends with the body: an answer may take longer
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.opts.Log.Handler(), slog.LevelWarn),
	}
	results := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { results <- server.Serve(l) }()
	}
	var errs []error
	ended := func(err error) {
		if !errors.Is(err, http.ErrServerClosed) {
			errs = append(errs, err)
		}
	}
	running := len(listeners)
	select {
	case <-ctx.Done():
	case err := <-results:
		ended(err)
		running--
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
	defer cancel()
	patience, cancelPatience := context.WithTimeout(limit, max(within-graceForAnswers, within/2))
	defer cancelPatience()
	if server.Shutdown(patience) != nil {
		s.stop(errStopping)
		if server.Shutdown(limit) != nil {
			server.Close()
		}
	}
	for ; running > 0; running-- {
		ended(<-results)
	}
	return errors.Join(append(errs, s.Close(limit))...)
}

// Close ends the waits of requests and closes the publisher, as its Close does.
// Serve calls it.
func (s *Server) Close(ctx context.Context) error {
	s.stop(errStopping)
	if err := s.publisher.Close(ctx); err != nil {
		return fmt.Errorf("records that came over HTTP, whose clients were told that their outcome is not known: %w", err)
	}
	return nil
}

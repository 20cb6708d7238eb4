// Package rest serves Kafka Connect's REST API (that of 4.1, package
// org.apache.kafka.connect.runtime.rest), and Prometheus' GET /metrics.
package rest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Options are what a Server tells.
type Options struct {
	// Listeners serve everything. Where MetricsListeners are given, these serve
	// /metrics and /health alone, and the others no longer have /metrics.
	Listeners, MetricsListeners []string
	Root                        Root
	// ClusterID asks the brokers for the cluster's identity.
	ClusterID func(context.Context) (string, error)
	Health    func() Health
	Metrics   prometheus.Gatherer
	// Credentials are asked for on Listeners, not on MetricsListeners.
	Credentials *Credentials
	// TLS is for listeners with https.
	TLS *tls.Config
	// Connect and Loggers are what Kafka Connect's API is over; without Connect there
	// is none.
	Connect Connect
	Loggers Loggers
	Log     *slog.Logger
}

// Server holds bound listeners.
type Server struct {
	log   *slog.Logger
	tls   *tls.Config
	bound []bound
}

type bound struct {
	listener net.Listener
	url      string
	handler  http.Handler
}

// Listen binds all listeners, or none: its error begins with the key that names
// the one which cannot be had. Requests wait until Serve.
func Listen(ctx context.Context, opts Options) (*Server, error) {
	s := &Server{log: opts.Log, tls: opts.TLS}
	metricsApart := len(opts.MetricsListeners) > 0
	if err := s.bind(ctx, "listeners", opts.Listeners, opts.Credentials.guard(handler(opts, true, !metricsApart))); err != nil {
		return nil, err
	}
	if err := s.bind(ctx, "metrics.listeners", opts.MetricsListeners, handler(opts, false, true)); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Server) bind(ctx context.Context, key string, listeners []string, h http.Handler) error {
	for _, listener := range listeners {
		l, url, err := Bind(ctx, listener)
		if err != nil {
			s.Close()
			return fmt.Errorf("%s: %w", key, err)
		}
		if strings.HasPrefix(url, "https:") {
			if s.tls == nil {
				l.Close()
				s.Close()
				return fmt.Errorf("%s: %s needs listeners.https.ssl.certificate.location and listeners.https.ssl.key.location", key, listener)
			}
			l = tls.NewListener(l, s.tls)
		}
		s.bound = append(s.bound, bound{listener: l, url: url, handler: ownSite(IsLoopback(listener), h)})
	}
	return nil
}

// URLs are the addresses that are served, with the ports that were picked.
func (s *Server) URLs() []string {
	urls := make([]string, 0, len(s.bound))
	for _, b := range s.bound {
		urls = append(urls, b.url)
	}
	return urls
}

// Close gives up the listeners of a Server that does not Serve.
func (s *Server) Close() {
	for _, b := range s.bound {
		b.listener.Close()
	}
}

// stopWithin bounds how long Serve waits for requests that are being answered.
const stopWithin = 2 * time.Second

// Serve answers requests until ctx ends.
func (s *Server) Serve(ctx context.Context) error {
	results := make(chan error, len(s.bound))
	servers := make([]*http.Server, 0, len(s.bound))
	for _, b := range s.bound {
		server := &http.Server{
			Handler:           b.handler,
			ReadHeaderTimeout: 10 * time.Second,
			ReadTimeout:       requestTimeout,
			WriteTimeout:      requestTimeout + 10*time.Second,
			IdleTimeout:       2 * time.Minute,
			MaxHeaderBytes:    64 << 10,
			ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
		}
		servers = append(servers, server)
		go func() { results <- server.Serve(b.listener) }()
	}
	var errs []error
	ended := func(err error) {
		if !errors.Is(err, http.ErrServerClosed) {
			errs = append(errs, err)
		}
	}
	running := len(servers)
	select {
	case <-ctx.Done():
	case err := <-results:
		ended(err)
		running--
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	for _, server := range servers {
		if server.Shutdown(limit) != nil {
			server.Close()
		}
	}
	for ; running > 0; running-- {
		ended(<-results)
	}
	return errors.Join(errs...)
}

func handler(opts Options, root, metrics bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", notFound)
	mux.Handle("GET /health", healthHandler(opts.Health))
	mux.HandleFunc("/health", methodNotAllowed)
	if root {
		mux.Handle("GET /{$}", rootHandler(opts.Root, opts.ClusterID))
		mux.HandleFunc("/{$}", methodNotAllowed)
		if opts.Connect != nil {
			for path, r := range (api{opts.Connect, opts.Loggers}).routes() {
				mux.Handle(path, afterStart(opts.Connect, r.handler(opts.Log)))
			}
		}
	}
	if metrics {
		mux.Handle("GET /metrics", promhttp.HandlerFor(opts.Metrics, promhttp.HandlerOpts{
			ErrorLog: slog.NewLogLogger(opts.Log.Handler(), slog.LevelWarn), ErrorHandling: promhttp.ContinueOnError,
		}))
		mux.HandleFunc("/metrics", methodNotAllowed)
	}
	return withoutSlash(mux)
}

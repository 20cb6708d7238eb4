package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/qicore/tickconnect/connect"
	redpandasource "github.com/qicore/tickconnect/connectors/redpanda-source"
	"github.com/qicore/tickconnect/internal/rest"
	"github.com/qicore/tickconnect/internal/worker"
)

// process is what one replica runs: its connectors and its HTTP server.
type process struct {
	loaded     *loaded
	log        *slog.Logger
	server     *rest.Server
	ingest     *ingestServer // nil where it is off
	kafka      *redpandasource.Log
	connectors []*runner
	stopping   atomic.Bool
}

// runner is one connector that runs.
type runner struct {
	name   string
	worker *worker.Worker
	source *redpandasource.Source
	// ended says why the connector runs no more, though the process does.
	ended atomic.Pointer[string]
}

// newProcess makes everything that a checked configuration asks for and binds
// the listeners, so that what cannot work is said before anything starts. It
// waits neither for the brokers nor for a target.
func newProcess(ctx context.Context, l *loaded, log *slog.Logger) (_ *process, err error) {
	p := &process{loaded: l, log: log}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	registry := newRegistry()
	metrics := worker.NewMetrics(registry)
	if p.kafka, err = redpandasource.OpenLog(l.client, log); err != nil {
		return nil, err
	}
	for _, c := range l.connectors {
		r, err := newRunner(l, c, registry, metrics, log)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		p.connectors = append(p.connectors, r)
	}
	b := thisBuild()
	p.server, err = rest.Listen(ctx, rest.Options{
		Listeners:        l.process.Listeners,
		MetricsListeners: l.process.MetricsListeners,
		Root:             rest.Root{Version: b.Version, Commit: b.Commit},
		ClusterID:        p.clusterID,
		Health:           p.health,
		Metrics:          registry,
		Log:              log,
	})
	if err == nil && l.ingest.on() {
		p.ingest, err = newIngestServer(ctx, l, registry, log)
	}
	return p, err
}

func newRunner(l *loaded, c *connectorConfig, registry prometheus.Registerer, metrics *worker.Metrics, log *slog.Logger) (*runner, error) {
	target, err := c.plugin.New(c.name, c.target, connect.Env{Log: log})
	if err != nil {
		return nil, err
	}
	source, err := redpandasource.New(c.name, l.client, c.source, log)
	if err != nil {
		return nil, errors.Join(err, target.Close())
	}
	w, err := worker.New(c.name, c.settings, source, target, worker.Options{
		Log:           log,
		Metrics:       metrics,
		Publisher:     source.Publisher(),
		InitialClaims: source.InitialClaims,
		Redact:        l.redactor.Redact,
	})
	if err != nil {
		return nil, errors.Join(err, source.Close(), target.Close())
	}
	registerCounters(registry, c.name, target)
	return &runner{name: c.name, worker: w, source: source}, nil
}

// run moves records until ctx ends. Then it stops fetching, stores what was
// accepted and leaves the groups, within shutdown.timeout.ms. A connector that
// fails never ends the others, nor the process.
func (p *process) run(ctx context.Context) error {
	defer p.close()
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan error, 1)
	go func() {
		err := p.server.Serve(serving)
		if err != nil {
			p.log.Error("the HTTP server has ended; records move on", "err", err)
		}
		served <- err
	}()
	p.log.Info("serving", "listeners", strings.Join(p.server.URLs(), ","), "version", thisBuild().Version)

	var running sync.WaitGroup
	var ingestErr error
	if p.ingest != nil {
		p.log.Info("serving ingest", "listeners", strings.Join(p.ingest.urls, ","))
		running.Go(func() { ingestErr = p.runIngest(ctx) })
	}
	for _, r := range p.connectors {
		running.Go(func() { p.runConnector(ctx, r) })
	}
	<-ctx.Done()
	p.stopping.Store(true)
	p.log.Info("stopping", "within", p.loaded.process.ShutdownTimeout)

	drained := make(chan struct{})
	go func() {
		running.Wait()
		close(drained)
	}()
	timer := time.NewTimer(p.loaded.process.ShutdownTimeout)
	defer timer.Stop()
	var late error
	select {
	case <-drained:
		late = ingestErr
	case <-timer.C:
		late = fmt.Errorf("stopped after shutdown.timeout.ms (%s) with records not yet stored; they are read again at the next start",
			p.loaded.process.ShutdownTimeout)
	}
	stopServing()
	return errors.Join(late, <-served)
}

func (p *process) runConnector(ctx context.Context, r *runner) {
	err := r.worker.Run(ctx)
	if ctx.Err() != nil {
		if err != nil {
			p.log.Warn("the connector did not stop cleanly", "connector", r.name, "err", err)
		}
		return
	}
	reason := "it ended by itself"
	if err != nil {
		reason = p.loaded.redactor.Redact(err.Error())
	}
	r.ended.Store(&reason)
	p.log.Error("the connector has ended; restart the process once this is mended", "connector", r.name, "err", reason)
}

func (p *process) close() {
	for _, r := range p.connectors {
		if err := r.source.Close(); err != nil {
			p.log.Warn("closing a source", "connector", r.name, "err", err)
		}
	}
	if p.kafka != nil {
		p.kafka.Close()
	}
	if p.server != nil {
		p.server.Close()
	}
	if p.ingest != nil {
		p.ingest.close()
	}
}

// clusterID asks the brokers who they are.
func (p *process) clusterID(ctx context.Context) (string, error) {
	metadata, err := p.kafka.Admin().BrokerMetadata(ctx)
	if err != nil {
		return "", err
	}
	return metadata.Cluster, nil
}

// health is unhealthy where something does not work that should: people or a
// rollout should then look before they go on.
func (p *process) health() rest.Health {
	if p.stopping.Load() {
		return rest.Health{Status: "unhealthy", Message: "The process is stopping."}
	}
	var problems []string
	for _, r := range p.connectors {
		if problem := r.problem(); problem != "" {
			problems = append(problems, r.name+": "+problem)
		}
	}
	if p.ingest != nil && p.ingest.ended.Load() {
		problems = append(problems, "publish.listeners: the HTTP ingest has ended")
	}
	if len(problems) > 0 {
		return rest.Health{Status: "unhealthy", Message: p.loaded.redactor.Redact(strings.Join(problems, "; "))}
	}
	return rest.Health{Healthy: true, Status: "healthy", Message: "Worker has completed startup and is ready to handle requests."}
}

// problem says in one line what is wrong with the connector in this replica, or
// is "".
func (r *runner) problem() string {
	if ended := r.ended.Load(); ended != nil {
		return "ended: " + firstLine(*ended)
	}
	if err := r.source.Health(); err != nil {
		return firstLine(err.Error())
	}
	status := r.worker.Status()
	return status.Problem()
}

func firstLine(s string) string {
	first, _, _ := strings.Cut(s, "\n")
	return first
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/trace"

	"github.com/qicore/tickconnect/config"
	"github.com/qicore/tickconnect/connect"
	redpandasource "github.com/qicore/tickconnect/connectors/redpanda-source"
	"github.com/qicore/tickconnect/internal/herder"
	"github.com/qicore/tickconnect/internal/rest"
	"github.com/qicore/tickconnect/internal/worker"
)

// process is what one replica runs: its connectors and its HTTP server.
type process struct {
	loaded   *loaded
	log      *slog.Logger
	registry *prometheus.Registry
	metrics  *worker.Metrics
	server   *rest.Server
	ingest   *ingestServer // nil where it is off
	kafka    *redpandasource.Log
	groups   redpandasource.Groups
	herder   *herder.Herder
	memory   memoryBudget
	tracer   trace.Tracer // nil: nothing is traced
	traces   func()       // sends the last of them
	stopping atomic.Bool
}

// runner is one connector that runs.
type runner struct {
	*worker.Worker
	source *redpandasource.Source
	gone   func() // takes it out of the metrics and the memory's budget
}

var _ herder.Runner = (*runner)(nil)

// newProcess makes everything that a checked configuration asks for and binds
// the listeners, so that what cannot work is said before anything starts. It
// waits neither for the brokers nor for a target.
func newProcess(ctx context.Context, l *loaded, log *slog.Logger) (_ *process, err error) {
	p := &process{loaded: l, log: log, registry: newRegistry(), memory: memoryBudget{limit: limitMemory}, traces: func() {}}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	p.metrics = worker.NewMetrics(p.registry)
	p.memory.base(l)
	if p.tracer, p.traces, err = l.tracing.tracer(ctx, l.client.GroupInstanceID, log); err != nil {
		return nil, err
	}
	if p.kafka, err = redpandasource.OpenLog(l.client, log); err != nil {
		return nil, err
	}
	kafka, err := l.client.KafkaOptions()
	if err != nil {
		return nil, err
	}
	file := make([]herder.Connector, 0, len(l.connectors))
	for _, c := range l.connectors {
		r, err := p.newRunner(c) // to see that it can be made
		if err == nil {
			err = r.Close()
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		file = append(file, herder.Connector{Name: c.name, Config: c.named()})
	}
	p.herder = herder.New(herder.Options{
		Replica:     l.client.GroupInstanceID,
		WorkerID:    func() string { return l.process.workerID(l.client.GroupInstanceID, p.server.URLs()) },
		ConfigTopic: l.process.ConfigTopic, StatusTopic: l.process.StatusTopic, Replication: int16(l.process.ConfigReplication),
		Session: l.client.SessionTimeout(), Heartbeat: l.client.SessionTimeout() / 4,
		Kafka: func(opts ...kgo.Opt) (*kgo.Client, error) {
			return kgo.NewClient(append(slices.Clone(kafka), opts...)...)
		},
		File: file, Make: p.make, SetLevel: l.levels.set, Redact: l.redactor.Redact, Log: log,
	})
	registerHealth(p.registry, p.health)
	b := thisBuild()
	p.server, err = rest.Listen(ctx, rest.Options{
		Listeners:        l.process.Listeners,
		MetricsListeners: l.process.MetricsListeners,
		Root:             rest.Root{Version: b.Version, Commit: b.Commit},
		ClusterID:        p.clusterID,
		Health:           p.health,
		Metrics:          p.registry,
		Connect:          newConnectAPI(p),
		Loggers:          l.levels,
		Credentials:      l.credentials,
		TLS:              l.tls,
		Log:              log,
	})
	if err != nil {
		return nil, err
	}
	if l.ingest.on() {
		p.ingest, err = newIngestServer(ctx, l, p.registry, log)
	}
	return p, err
}

// make makes a connector from a configuration as it was sent. Its secrets are hidden
// in the log for as long as it is there.
func (p *process) make(name string, props map[string]string) (herder.Runner, error) {
	c := p.loaded.read(config.Connector{Name: name, Props: props})
	forget := p.loaded.redactor.Add(c.decoded.Secrets...)
	r, err := (*runner)(nil), c.err
	if err == nil {
		r, err = p.newRunner(c)
	}
	if err != nil {
		err = errors.New(p.loaded.redactor.Redact(err.Error()))
		forget()
		return nil, err
	}
	gone := r.gone
	r.gone = func() {
		gone()
		forget()
	}
	return r, nil
}

func (p *process) newRunner(c *connectorConfig) (*runner, error) {
	target, err := c.plugin.New(c.name, c.target, connect.Env{Log: p.log})
	if err != nil {
		return nil, err
	}
	source, err := redpandasource.New(c.name, p.loaded.client, c.source, p.log)
	if err != nil {
		return nil, errors.Join(err, target.Close())
	}
	source.Share(&p.groups)
	w, err := worker.New(c.name, c.settings, source, target, worker.Options{
		Log:           p.log,
		Metrics:       p.metrics,
		Publisher:     source.Publisher(),
		InitialClaims: source.InitialClaims,
		Redact:        p.loaded.redactor.Redact,
		Tracer:        p.tracer,
	})
	if err != nil {
		return nil, errors.Join(err, source.Close(), target.Close())
	}
	unregister := registerCounters(p.registry, c.name, target)
	p.memory.add(c)
	return &runner{w, source, func() {
		unregister()
		w.Forget()
		p.memory.remove(c)
	}}, nil
}

// Close implements herder.Runner.
func (r *runner) Close() error {
	r.gone()
	return r.source.Close()
}

// Status implements herder.Runner. A source that needs a person is a connector that has
// failed, though its tasks have nothing to do.
func (r *runner) Status() worker.Status {
	s := r.Worker.Status()
	if err := r.source.Health(); err != nil && s.State == worker.StateRunning {
		s.State, s.Trace = worker.StateFailed, err.Error()
	}
	return s
}

// Topics implements herder.Runner.
func (r *runner) Topics() []string { return r.source.Topics() }

// Problem implements herder.Runner.
func (r *runner) Problem() string {
	if err := r.source.Health(); err != nil {
		return firstLine(err.Error())
	}
	status := r.Status()
	return status.Problem()
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
	running.Go(func() { p.herder.Run(ctx) })
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

func (p *process) close() {
	p.traces()
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
	problems := p.herder.Problems()
	if p.ingest != nil && p.ingest.ended.Load() {
		problems = append(problems, "publish.listeners: the HTTP ingest has ended")
	}
	if len(problems) > 0 {
		return rest.Health{Status: "unhealthy", Message: p.loaded.redactor.Redact(strings.Join(problems, "; "))}
	}
	return rest.Health{Healthy: true, Status: "healthy", Message: "Worker has completed startup and is ready to handle requests."}
}

func firstLine(s string) string {
	first, _, _ := strings.Cut(s, "\n")
	return first
}

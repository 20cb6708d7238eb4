package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
	"go.opentelemetry.io/otel/trace"
	throttle "golang.org/x/time/rate"
)

// tracingConfig holds the keys of OpenTelemetry's traces. They are named as the
// environment variables of its specification are, which the exporter reads beside them:
// OTEL_EXPORTER_OTLP_HEADERS for a password, OTEL_EXPORTER_OTLP_CERTIFICATE for a
// private authority.
type tracingConfig struct {
	Endpoint string  `json:"otel.exporter.otlp.endpoint" jsonschema:"description=Collector of OpenTelemetry traces that takes OTLP over HTTP as http://localhost:4318 does. Empty: nothing is traced."`
	Ratio    float64 `json:"otel.traces.sampler.arg" jsonschema:"description=Share of the transactions that are traced: 0..1."`
	Service  string  `json:"otel.service.name" jsonschema:"description=Name under which the traces are found."`
}

func defaultTracingConfig() tracingConfig {
	return tracingConfig{Ratio: 0.01, Service: "tickconnect"}
}

func (c *tracingConfig) Validate() error {
	var errs []error
	if c.Endpoint != "" {
		if u, err := url.Parse(c.Endpoint); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			errs = append(errs, fmt.Errorf("otel.exporter.otlp.endpoint: %q is no URL such as http://localhost:4318", c.Endpoint))
		}
	}
	if !(c.Ratio >= 0 && c.Ratio <= 1) {
		errs = append(errs, fmt.Errorf("otel.traces.sampler.arg: %v is outside 0..1", c.Ratio))
	}
	return errors.Join(errs...)
}

const (
	// tracesTimeout is how long one attempt to send traces, and the last one, may take.
	tracesTimeout = 5 * time.Second
	// tracesTell is how often the log says that traces cannot be sent.
	tracesTell = time.Minute
)

// tracer gives what traces, and how to send the last of it. Traces that cannot be sent
// are dropped: at most 2048 spans wait, and no record waits for them.
func (c *tracingConfig) tracer(ctx context.Context, replica string, log *slog.Logger) (trace.Tracer, func(), error) {
	if c.Endpoint == "" {
		return nil, func() {}, nil
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil {
		return nil, func() {}, err
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(u.JoinPath("v1", "traces").String()), otlptracehttp.WithTimeout(tracesTimeout))
	if err != nil {
		return nil, func() {}, fmt.Errorf("otel.exporter.otlp.endpoint: %w", err)
	}
	// The SDK tells of what it cannot send in no other way, and only for the process.
	told := throttle.Sometimes{First: 1, Interval: tracesTell}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		told.Do(func() { log.Warn("traces cannot be sent", "endpoint", c.Endpoint, "err", err) })
	}))
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(c.Ratio))),
		sdktrace.WithResource(resource.NewWithAttributes(semconv.SchemaURL,
			semconv.ServiceName(c.Service), semconv.ServiceVersion(thisBuild().Version), semconv.ServiceInstanceID(replica),
			attribute.String("telemetry.sdk.language", "go"))),
	)
	return provider.Tracer("github.com/qicore/tickconnect"), func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tracesTimeout)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			log.Warn("traces cannot be sent", "endpoint", c.Endpoint, "err", err)
		}
	}, nil
}

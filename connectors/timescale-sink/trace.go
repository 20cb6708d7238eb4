package timescalesink

import (
	"context"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// traceStep makes a part of a Put a span below the caller's, where that is traced.
func traceStep(ctx context.Context, name string, step func() error) error {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return step()
	}
	_, span := parent.TracerProvider().Tracer("github.com/qicore/tickconnect/connectors/timescale-sink").Start(ctx, name, trace.WithSpanKind(trace.SpanKindClient))
	defer span.End()
	err := step()
	if err != nil {
		// The message is told by who handles it, without secrets.
		span.SetStatus(codes.Error, sqlState(err))
	}
	return err
}

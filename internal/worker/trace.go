package worker

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/qicore/tickconnect/connect"
)

// traced makes a Put a trace of its own, from its oldest record on: "store" over all,
// "fetch" until the Put begins, "put" from there. A sink adds its own below "put". Names
// of attributes are those of OpenTelemetry's conventions for messaging, where it has one.
func (l *lane) traced(ctx context.Context, b *connect.Batch, put func(context.Context) (connect.Result, error)) (connect.Result, error) {
	tracer := l.w.opts.Tracer
	if tracer == nil {
		return put(ctx)
	}
	now := time.Now()
	oldest := oldestRecord(b, now)
	ctx, store := tracer.Start(ctx, "store", trace.WithTimestamp(oldest), trace.WithSpanKind(trace.SpanKindConsumer))
	defer store.End()
	if !store.IsRecording() {
		return put(ctx)
	}
	topics := make([]string, 0, 1)
	for i := range b.Parts {
		if n := len(topics); n == 0 || topics[n-1] != b.Parts[i].Topic {
			topics = append(topics, b.Parts[i].Topic) // parts are in the order of their topics
		}
	}
	store.SetAttributes(
		attribute.String("messaging.system", "kafka"), attribute.String("messaging.operation.type", "process"),
		attribute.StringSlice("messaging.destination.names", topics), attribute.Int("messaging.batch.message_count", b.Records()),
		attribute.Int("tickconnect.partitions", len(b.Parts)), attribute.String("tickconnect.connector", l.w.name), attribute.Int("tickconnect.task", l.id),
	)
	_, fetch := tracer.Start(ctx, "fetch", trace.WithTimestamp(oldest))
	fetch.End(trace.WithTimestamp(now))

	ctx, span := tracer.Start(ctx, "put", trace.WithTimestamp(now), trace.WithSpanKind(trace.SpanKindClient))
	defer span.End()
	res, err := put(ctx)
	if err != nil {
		said := l.w.redact(err)
		for _, s := range []trace.Span{span, store} {
			s.RecordError(errors.New(said))
			s.SetStatus(codes.Error, errorKind(err))
		}
		return res, err
	}
	var n connect.Counts
	for _, c := range res.Counts {
		n = n.Plus(c)
	}
	span.SetAttributes(attribute.Int64("tickconnect.written", n.Written), attribute.Int64("tickconnect.dead_lettered", n.DeadLettered))
	return res, nil
}

// tracedMax is the longest that a record's way to a Put may be to be shown. What is read
// again, or was produced long ago, tells nothing about it.
const tracedMax = 15 * time.Minute

// oldestRecord is when the first record of the batch was produced, by the timestamps of
// its partitions' first ones.
func oldestRecord(b *connect.Batch, now time.Time) time.Time {
	oldest := now
	for i := range b.Parts {
		if len(b.Parts[i].Records) == 0 {
			continue
		}
		if at := time.UnixMilli(b.Parts[i].Records[0].Timestamp); at.Before(oldest) && now.Sub(at) < tracedMax {
			oldest = at
		}
	}
	return oldest
}

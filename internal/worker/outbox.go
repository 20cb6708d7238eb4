package worker

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/qicore/tickconnect/connect"
)

const (
	outboxBatch = 500
	outboxEvery = 30 * time.Second
)

// hasDeadLetters notes that dead letters were committed.
func (w *Worker) hasDeadLetters(tp connect.TopicPartition, bad []connect.Record) {
	if w.settings.LogBadRecords {
		for i := range bad {
			w.log.Warn("record dead-lettered", "topic", tp.Topic, "partition", tp.Partition, "offset", bad[i].Offset,
				"stage", bad[i].Err.Stage, "reason", bad[i].Err.Reason, "err", w.opts.Redact(bad[i].Err.Message))
		}
	}
	select {
	case w.outbox <- struct{}{}:
	default:
	}
}

// publishDeadLetters publishes committed dead letters to the configured topic,
// at least once: a dead letter's row is marked after the broker has it.
func (w *Worker) publishDeadLetters(ctx context.Context) {
	out, ok := w.connector.(connect.DeadLetterOutbox)
	if !ok || w.settings.DLQTopic == "" || w.opts.Publisher == nil {
		return
	}
	tick := time.NewTicker(outboxEvery)
	defer tick.Stop()
	for {
		n, err := out.PublishDeadLetters(ctx, outboxBatch, func(dead []connect.DeadLetter) error {
			return w.publish(ctx, dead)
		})
		if err != nil && ctx.Err() == nil {
			w.log.Warn("publishing dead letters", "topic", w.settings.DLQTopic, "err", w.redact(err))
			if !sleep(ctx, w.settings.RetryBackoff*10) {
				return
			}
			continue
		}
		if n == outboxBatch {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-w.outbox:
		case <-tick.C:
		}
	}
}

// publishBad publishes the dead letters of a batch before it is put, for a sink
// that cannot keep them itself.
func (w *Worker) publishBad(ctx context.Context, b *connect.Batch) error {
	if w.settings.DLQTopic == "" || w.opts.Publisher == nil {
		return nil
	}
	var dead []connect.DeadLetter
	for i := range b.Parts {
		for _, r := range b.Parts[i].Records {
			if r.Err != nil {
				dead = append(dead, connect.DeadLetter{TopicPartition: b.Parts[i].TopicPartition, Record: r})
			}
		}
	}
	if len(dead) == 0 {
		return nil
	}
	if err := w.publish(ctx, dead); err != nil {
		return fmt.Errorf("publishing dead letters to %s: %w", w.settings.DLQTopic, err)
	}
	return nil
}

func (w *Worker) publish(ctx context.Context, dead []connect.DeadLetter) error {
	records := make([]connect.Record, len(dead))
	for i, d := range dead {
		records[i] = d.Record
		if w.settings.DLQHeaders {
			records[i].Headers = append(d.Headers[:len(d.Headers):len(d.Headers)], w.contextHeaders(d)...)
		}
	}
	w.metrics.dlqRequests.Add(float64(len(records)))
	err := w.opts.Publisher.Publish(ctx, w.settings.DLQTopic, records)
	if err != nil && ctx.Err() == nil { // a database that is away is no failure of the topic
		w.metrics.dlqFailures.Inc()
	}
	return err
}

// contextHeaders are Kafka Connect's (KIP-298), appended after the record's own.
func (w *Worker) contextHeaders(d connect.DeadLetter) []connect.Header {
	h := func(k, v string) connect.Header {
		return connect.Header{Key: "__connect.errors." + k, Value: []byte(v)}
	}
	hs := []connect.Header{
		h("topic", d.Topic),
		h("partition", strconv.Itoa(int(d.Partition))),
		h("offset", strconv.FormatInt(d.Offset, 10)),
		h("connector.name", w.name),
		h("task.id", strconv.Itoa(w.laneOf(d.TopicPartition).id)),
	}
	if d.Err != nil {
		hs = append(hs,
			h("stage", d.Err.Stage),
			h("class.name", w.settings.Class),
			h("exception.class.name", d.Err.Reason),
			h("exception.message", w.opts.Redact(d.Err.Message)))
	}
	return hs
}

package redpandasource

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qicore/tickconnect/connect"
)

const (
	// readStepBytes bounds what one Read fetches, and again what that becomes when
	// it is decompressed; a larger batch still comes whole. Many partitions may
	// each hold the records of one step.
	readStepBytes    = 1 << 20
	readStepMinBytes = 64 << 10
	// readOffsetBytes is what is fetched for each offset asked for.
	readOffsetBytes = 4 << 10
	// emptyProofs is how many answers in a row must hold nothing below the last
	// stable offset before a compacted log's tail counts as empty: a broker short
	// of memory may answer with nothing once.
	emptyProofs       = 3
	emptyProofWaitMs  = 200
	readMaxBytesLimit = 1<<31 - 1
)

// errCorrupt marks a batch that cannot be read: it proves nothing, and asking
// again gives the same.
var errCorrupt = errors.New("the log's batch cannot be read")

// Read implements connect.Log. What it shows was seen in the batches
// themselves: an offset in [From, Next) without a record lies within a whole
// batch that holds none there (compacted, aborted, a transaction's marker),
// between two batches, or before the log's start. An empty answer proves
// nothing, with one exception: see proveSpan.
//
// A partition that does not exist is an error; so is a batch that cannot be
// decoded. An outage is connect.Retriable, after retryLimit.
func (l *Log) Read(ctx context.Context, tp connect.TopicPartition, from, to int64) (connect.Span, error) {
	if to <= from {
		return connect.Span{From: from, Next: from}, nil
	}
	var span connect.Span
	err := retry(ctx, func() (err error) {
		span, err = proveSpan(tp, from, to,
			func(wait bool) (fetched, error) { return l.fetch(ctx, tp, from, to, wait) },
			func(id connect.TopicID) bool { return l.compacted(ctx, tp.Topic, id) })
		return err
	})
	switch {
	case err == nil:
		return span, nil
	case errors.Is(err, kerr.OffsetOutOfRange):
		return l.outOfRange(ctx, tp, from, to)
	default:
		return connect.Span{}, fmt.Errorf("reading %s from offset %d: %w", tp, from, err)
	}
}

// fetched is a broker's answer about one partition, and which topic it is of.
type fetched struct {
	*kmsg.FetchResponseTopicPartition
	id connect.TopicID
}

// proveSpan fetches once, and again only where answers that hold nothing may
// become a proof. A broker that has records may answer so: while it fetches them
// from a remote tier, or when it is short of memory. But a compacted log's last
// batches may really be gone, and a log whose policy is to compact lies on no
// remote tier; there several such answers in a row are believed.
func proveSpan(tp connect.TopicPartition, from, to int64, fetch func(wait bool) (fetched, error), compacted func(connect.TopicID) bool) (connect.Span, error) {
	var id connect.TopicID
	for empty := 0; ; {
		p, err := fetch(empty > 0)
		if err != nil {
			return connect.Span{}, err
		}
		span, err := readSpan(tp, p, from, to)
		if err != nil || span.Next > from || p.LastStableOffset <= from {
			return span, err
		}
		if p.id != id {
			id, empty = p.id, 0 // the topic was made again between two answers
		}
		if empty++; empty >= emptyProofs {
			// The broker returns the first batch that ends at or after the offset asked
			// for, so there is none before the last stable offset.
			span.Next = min(p.LastStableOffset, to)
			return span, nil
		}
		if empty == 1 && !compacted(id) {
			return span, nil
		}
	}
}

// outOfRange tells offsets that retention deleted from those that are not
// written yet.
func (l *Log) outOfRange(ctx context.Context, tp connect.TopicPartition, from, to int64) (connect.Span, error) {
	bounds, err := l.Bounds(ctx, []connect.TopicPartition{tp})
	if err != nil {
		return connect.Span{}, fmt.Errorf("reading %s from offset %d: %w", tp, from, err)
	}
	b, ok := bounds[tp]
	if !ok {
		return connect.Span{}, fmt.Errorf("reading %s from offset %d: %w", tp, from, errNoPartition)
	}
	return connect.Span{From: from, Next: max(from, min(b.Start, to)), TopicID: b.TopicID, Start: b.Start}, nil
}

// fetch reads one step of a partition from its leader, which it looks up each
// time: a leader that does not answer may not be one any more. With wait, a
// broker that has nothing takes its time to be sure.
func (l *Log) fetch(ctx context.Context, tp connect.TopicPartition, from, to int64, wait bool) (fetched, error) {
	id, leader, err := l.leader(ctx, tp)
	if err != nil {
		return fetched{}, err
	}
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition = tp.Partition
	p.FetchOffset = from
	p.CurrentLeaderEpoch = -1
	p.PartitionMaxBytes = fetchBytesFor(to - from)
	t := kmsg.NewFetchRequestTopic()
	t.Topic = tp.Topic
	t.TopicID = id
	t.Partitions = append(t.Partitions, p)
	req := kmsg.NewFetchRequest()
	req.MaxBytes = readMaxBytesLimit
	req.IsolationLevel = readCommitted
	req.SessionEpoch = -1 // no fetch session
	req.MinBytes = 1
	if wait {
		req.MaxWaitMillis = emptyProofWaitMs
	}
	req.Topics = append(req.Topics, t)

	kresp, err := l.client.Broker(int(leader)).Request(ctx, &req)
	if err != nil {
		return fetched{}, err
	}
	resp, ok := kresp.(*kmsg.FetchResponse)
	if !ok {
		return fetched{}, fmt.Errorf("unexpected answer %T", kresp)
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return fetched{}, err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return fetched{}, kerr.RequestTimedOut // throttled: the answer leaves the partition out
	}
	rp := &resp.Topics[0].Partitions[0]
	if err := kerr.ErrorForCode(rp.ErrorCode); err != nil {
		return fetched{}, err
	}
	if resp.Version < fetchByIDVersion && id != (connect.TopicID{}) {
		// The topic was asked for by its name: it may have been made again meanwhile.
		now, _, err := l.leader(ctx, tp)
		if err != nil {
			return fetched{}, err
		}
		if now != id {
			return fetched{}, kerr.InconsistentTopicID
		}
	}
	return fetched{rp, id}, nil
}

// fetchByIDVersion is the first version of Fetch that names topics by their id
// (KIP-516): a topic that was made again is answered with UNKNOWN_TOPIC_ID.
const fetchByIDVersion = 13

// fetchBytesFor is how much to fetch for a number of offsets: most gaps are
// small, and so should be what is held for them.
func fetchBytesFor(offsets int64) int32 {
	return int32(max(min(offsets, readStepBytes/readOffsetBytes)*readOffsetBytes, readStepMinBytes))
}

// readSpan decodes the whole batches of an answer.
func readSpan(tp connect.TopicPartition, p fetched, from, to int64) (connect.Span, error) {
	span := connect.Span{From: from, Next: from, TopicID: p.id, Start: p.LogStartOffset}
	opts := kgo.ProcessFetchPartitionOpts{
		Offset:         from,
		IsolationLevel: kgo.ReadCommitted(),
		Topic:          tp.Topic,
		Partition:      tp.Partition,
	}
	seen := wholeBatchesEnd(p.RecordBatches, from)
	bounded := &boundedDecompressor{inner: kgo.DefaultDecompressor()}
	decoded, next := kgo.ProcessFetchPartition(opts, p.FetchResponseTopicPartition, bounded, nil)
	if decoded.Err != nil && !(bounded.full && next > from) {
		return span, fmt.Errorf("%w: %w", errCorrupt, decoded.Err)
	}
	// Decoding moves past a batch only once each of its records was seen. That it
	// should stop before the last whole batch without an error, or claim more than
	// the headers do, would be a hole counted as absent.
	if next > seen {
		return span, fmt.Errorf("%w: decoding reached offset %d, the batches end at %d", errCorrupt, next, seen)
	}
	// Below the log's start there is nothing, whatever the answer holds.
	span.Next = min(max(next, span.Start), to)
	for _, r := range decoded.Records {
		if r.Offset >= from && r.Offset < span.Next {
			span.Records = append(span.Records, exactRecord(r))
		}
	}
	return span, nil
}

// boundedDecompressor stops decoding before the batch after readStepBytes: what
// was compressed well would take far more memory than was fetched.
type boundedDecompressor struct {
	inner kgo.Decompressor
	bytes int
	full  bool
}

var errStepFull = errors.New("the step is full")

func (d *boundedDecompressor) Decompress(src []byte, codec kgo.CompressionCodecType) ([]byte, error) {
	if d.bytes >= readStepBytes {
		d.full = true
		return nil, errStepFull
	}
	out, err := d.inner.Decompress(src, codec)
	d.bytes += len(out)
	return out, err
}

// wholeBatchesEnd walks the batches' headers and gives the offset after the
// last whole one, at least from.
func wholeBatchesEnd(batches []byte, from int64) int64 {
	const (
		sizeAt, sizeEnd   = 8, 12
		magicAt           = 16
		lastDeltaAt       = 23
		lastDeltaEnd      = 27
		firstMagicBatches = 2
	)
	end := from
	for len(batches) > magicAt {
		first := int64(binary.BigEndian.Uint64(batches))
		size := int64(int32(binary.BigEndian.Uint32(batches[sizeAt:sizeEnd]))) + sizeEnd
		if size < sizeEnd || int64(len(batches)) < size {
			break
		}
		last := first // a message of the old formats: the offset of its last record
		if batches[magicAt] >= firstMagicBatches {
			if size < lastDeltaEnd {
				break
			}
			last = first + int64(int32(binary.BigEndian.Uint32(batches[lastDeltaAt:lastDeltaEnd])))
		}
		end = max(end, last+1)
		batches = batches[size:]
	}
	return end
}

// exactRecord copies a record as the log has it: kgo's refers to the whole
// answer, which a dead letter that waits for its target would keep in memory.
func exactRecord(r *kgo.Record) connect.Record {
	rec := connect.Record{Offset: r.Offset, Timestamp: timestampMs(r.Timestamp), Key: bytes.Clone(r.Key), Value: bytes.Clone(r.Value)}
	if len(r.Headers) > 0 {
		rec.Headers = make([]connect.Header, len(r.Headers))
		for i, h := range r.Headers {
			rec.Headers[i] = connect.Header{Key: strings.Clone(h.Key), Value: bytes.Clone(h.Value)}
		}
	}
	return rec
}

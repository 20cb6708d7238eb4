package publish

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/semaphore"

	"github.com/qicore/tickconnect/marketdata"
)

// Publisher writes records to their topics. It is safe for concurrent use; the
// records that one goroutine gives it for one key keep their order.
type Publisher struct {
	opts    *options
	client  *kgo.Client
	topics  topicCache
	closed  atomic.Bool
	room    *semaphore.Weighted // bytes that may still be buffered
	decoder sync.Pool           // of *marketdata.Decoder
	clock   clock
}

// Result says what became of one record.
type Result struct {
	Kind      marketdata.Kind
	Topic     string
	Partition int32
	Offset    int64 // -1 where the record was not written, or that is not known
	// Err is nil once the brokers have the record. See the errors of this package.
	Err error
}

// New makes a Publisher. It does not connect yet: brokers that are not there
// are waited for when the first record comes.
func New(opts ...Option) (*Publisher, error) {
	o, err := newOptions(opts)
	if err != nil {
		return nil, err
	}
	p := &Publisher{opts: o, topics: topicCache{opts: o}, room: semaphore.NewWeighted(int64(o.bufferBytes)), decoder: sync.Pool{New: func() any { return new(marketdata.Decoder) }}}
	client, err := kgo.NewClient(append(o.clientOptions(), kgo.ProducerBatchMaxBytesFn(p.topics.batchBytes))...)
	if err != nil {
		return nil, fmt.Errorf("publish: %w", err)
	}
	p.client, p.topics.admin = client, NewAdmin(client)
	p.clock.now = o.now
	return p, nil
}

// Admin looks at topics and makes them, over the Publisher's connections.
func (p *Publisher) Admin() *Admin { return p.topics.admin }

// BufferedBytes is how many bytes of keys and values wait for the brokers.
func (p *Publisher) BufferedBytes() int64 { return p.client.BufferedProduceBytes() }

// BufferedRecords is how many records wait for the brokers.
func (p *Publisher) BufferedRecords() int64 { return p.client.BufferedProduceRecords() }

// Flush returns once every record that was taken before has its result, or with
// an error when ctx ends. It does not tell whether they were published: their
// results do.
func (p *Publisher) Flush(ctx context.Context) error {
	if err := p.client.Flush(ctx); err != nil {
		return fmt.Errorf("publish: %d records still wait for the brokers: %w", p.BufferedRecords(), err)
	}
	return nil
}

// Close takes no further records, waits as Flush does, and closes the
// connections. Where ctx ends first, the records that still wait get an error,
// and Close says how many they are; one that comes in at the same moment gets its
// result, or ErrClosed as one: nothing is lost in silence. Calls after the first
// do nothing.
func (p *Publisher) Close(ctx context.Context) error {
	if p.closed.Swap(true) {
		return nil
	}
	err := p.Flush(ctx)
	p.client.Close()
	return err
}

// record is one from its check to its result: one allocation for all of it.
type record struct {
	kgo.Record
	p     *Publisher
	kind  marketdata.Kind
	topic *topic    // nil where the record is bad
	size  int       // of key and value
	began time.Time // where somebody wants to know
	done  func(Result)
}

// unpublished is the result of a record that the brokers do not have.
func (r *record) unpublished(err error) Result {
	res := Result{Kind: r.kind, Partition: -1, Offset: -1, Err: err}
	if r.topic != nil {
		res.Topic = r.topic.name
	}
	return res
}

// send hands a record to the client. done is called exactly once unless send
// returns an error, and then never. It may be called before send returns.
func (r *record) send(ctx context.Context, done func(Result)) error {
	p := r.p
	switch {
	case p.closed.Load():
		return ErrClosed
	case ctx.Err() != nil: // whose result nobody waits for is not sent: it would be unknown
		return fmt.Errorf("%w: topic %s: the record was not sent: %w", ErrUnavailable, r.topic.name, context.Cause(ctx))
	}
	if !r.topic.found.Load() {
		if err := p.topics.ensure(ctx, r.topic); err != nil {
			return err
		}
	}
	r.done, r.size = done, len(r.Key)+len(r.Value)
	if err := p.takeRoom(ctx, int64(r.size)); err != nil {
		return err
	}
	if p.closed.Load() {
		p.room.Release(int64(r.size))
		return ErrClosed
	}
	if p.opts.hooks.Done != nil {
		r.began = p.opts.now()
	}
	// Its own context: the client fails a whole batch when that of its first record
	// ends, and whoever gives up would take the records of others along.
	p.client.Produce(context.Background(), &r.Record, r.arrived)
	return nil
}

// arrived is the client's promise.
func (r *record) arrived(k *kgo.Record, err error) {
	p := r.p
	p.room.Release(int64(r.size))
	res := Result{Kind: r.kind, Topic: r.topic.name, Partition: k.Partition, Offset: k.Offset}
	if err != nil {
		res = r.unpublished(produceError(r.topic.name, r.size, err))
		if errors.Is(res.Err, ErrNoTopic) {
			r.topic.found.Store(false)
			p.client.PurgeTopicsFromProducing(r.topic.name)
		}
	}
	if p.opts.hooks.Done != nil {
		p.opts.hooks.Done(res, r.size, p.opts.now().Sub(r.began))
	}
	r.done(res)
}

// takeRoom takes a record's bytes of the buffer, or waits for them.
func (p *Publisher) takeRoom(ctx context.Context, size int64) error {
	switch {
	case size > int64(p.opts.bufferBytes):
		return fmt.Errorf("%w: %d bytes are more than WithBufferBytes has, %d", ErrTooLarge, size, p.opts.bufferBytes)
	case p.room.TryAcquire(size):
		return nil
	case p.opts.full == Refuse:
		return ErrBufferFull
	}
	if err := p.room.Acquire(ctx, size); err != nil {
		return fmt.Errorf("waiting for room in the buffer: %w", context.Cause(ctx))
	}
	return nil
}

// refused tells the hooks of a record that was not sent.
func (p *Publisher) refused(r *record, err error) Result {
	res := r.unpublished(err)
	if p.opts.hooks.Done != nil {
		p.opts.hooks.Done(res, 0, 0)
	}
	return res
}

// enqueue is the asynchronous form: what is wrong with the record itself is
// returned, what becomes of it goes to done.
func (p *Publisher) enqueue(ctx context.Context, r *record, err error, done func(Result)) error {
	if err == nil {
		if done == nil {
			done = func(Result) {}
		}
		err = r.send(ctx, done)
	}
	if err != nil {
		p.refused(r, err)
	}
	return err
}

// batch waits for the results of records that were sent together.
type batch struct {
	mu      sync.Mutex
	results []Result
	left    int
	all     chan struct{}
}

// publish sends n records, made by at, and waits until each has its result.
func (p *Publisher) publish(ctx context.Context, n int, at func(i int) (*record, error)) ([]Result, error) {
	if n == 0 {
		return nil, nil
	}
	b := &batch{results: make([]Result, n), left: n, all: make(chan struct{})}
	for i := range n {
		r, err := at(i)
		b.results[i] = r.unpublished(ErrUnknownOutcome)
		if err == nil {
			err = r.send(ctx, func(res Result) { b.set(i, res) })
		}
		if err != nil {
			b.set(i, p.refused(r, err))
		}
	}
	select {
	case <-b.all:
	case <-ctx.Done():
	}
	return b.take(ctx)
}

func (b *batch) set(i int, r Result) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.results == nil {
		return // nobody waits any more
	}
	b.results[i] = r
	if b.left--; b.left == 0 {
		close(b.all)
	}
}

// take gives the results as they are. Those of records that are still on their
// way say so.
func (b *batch) take(ctx context.Context) ([]Result, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	results := b.results
	b.results = nil
	var failed *BatchError
	for i := range results {
		r := &results[i]
		if r.Err == nil {
			continue
		}
		if r.Err == ErrUnknownOutcome { //nolint:errorlint // the mark of a record without a result
			r.Err = fmt.Errorf("%w: %w", ErrUnknownOutcome, context.Cause(ctx))
		}
		if failed == nil {
			failed = &BatchError{Records: len(results), First: r.Err, Index: i}
		}
		failed.Failed++
	}
	if failed != nil {
		return results, failed
	}
	return results, nil
}

// one gives the only result of a batch.
func one(results []Result, err error) (Result, error) {
	var failed *BatchError
	if errors.As(err, &failed) {
		err = failed.First
	}
	return results[0], err
}

// slabBytes is how much memory for values is got at once.
const slabBytes = 64 << 10

var slabs = sync.Pool{New: func() any { return new([]byte) }}

// buffer makes a value in a slab that many records share, since a record for
// each would be an allocation. Slabs are never reused: the client keeps values
// for as long as it needs them.
func buffer(write func([]byte) []byte) []byte {
	slab := slabs.Get().(*[]byte)
	defer slabs.Put(slab)
	if cap(*slab)-len(*slab) < 1024 {
		*slab = make([]byte, 0, slabBytes)
	}
	start := len(*slab)
	out := write((*slab)[start:start:cap(*slab)])
	if len(out) <= cap(*slab)-start {
		*slab = (*slab)[:start+len(out)]
	}
	return out[:len(out):len(out)]
}

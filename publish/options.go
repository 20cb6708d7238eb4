package publish

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/marketdata"
)

// Defaults of the options.
const (
	DefaultBufferBytes     = 64 << 20
	DefaultMaxRecordBytes  = 1_000_000            // Kafka's max.request.size is 1 MiB, its max.message.bytes a little more
	DefaultLinger          = 5 * time.Millisecond // Kafka 4.0's linger.ms (KIP-1030)
	DefaultDeliveryTimeout = 2 * time.Minute      // Kafka's delivery.timeout.ms
)

// FullBuffer says what happens to a record that does not fit the buffer.
type FullBuffer uint8

const (
	// Block waits for room. The zero value.
	Block FullBuffer = iota
	// Refuse answers with ErrBufferFull at once.
	Refuse
)

// Option changes a Publisher before it is made.
type Option func(*options)

type options struct {
	brokers         []string
	client          []kgo.Opt
	layout          marketdata.Layout
	partitioner     func(topic string, key []byte, partitions int) int
	bufferBytes     int
	full            FullBuffer
	maxRecordBytes  int
	linger          time.Duration
	deliveryTimeout time.Duration
	createTopics    bool
	settings        func(marketdata.Kind) TopicSettings
	log             *slog.Logger
	hooks           Hooks
	now             func() time.Time
}

// Hooks are called for metrics. They must not block; nil ones are left out.
type Hooks struct {
	// Done is called once for each record that was given to the Publisher: took is
	// how long it was on its way, size its key and value in bytes.
	Done func(r Result, size int, took time.Duration)
	// TopicDiffers is called once for each topic that is there with other settings
	// than its kind's.
	TopicDiffers func(topic string, differences []Difference)
}

// WithBrokers names brokers to begin with, as host:port; localhost:9092 unless set.
func WithBrokers(brokers ...string) Option { return func(o *options) { o.brokers = brokers } }

// WithClientOptions gives franz-go further options: TLS, SASL, a client's id.
// Those which this package sets itself win.
func WithClientOptions(opts ...kgo.Opt) Option {
	return func(o *options) { o.client = append(o.client, opts...) }
}

// WithLayout says how records are spread over topics; [marketdata.TopicPerExchange]
// unless set.
func WithLayout(l marketdata.Layout) Option { return func(o *options) { o.layout = l } }

// WithPartitioner chooses the partition of a record, 0 to partitions-1. Unless
// set, it is [marketdata.Partition], as in the Java client and franz-go. Records
// of one key must stay in one partition, or their order is lost.
func WithPartitioner(f func(topic string, key []byte, partitions int) int) Option {
	return func(o *options) { o.partitioner = f }
}

// WithBufferBytes bounds keys and values that wait for the brokers' answers, in
// bytes.
func WithBufferBytes(n int) Option { return func(o *options) { o.bufferBytes = n } }

// WithFullBuffer says what happens to a record that does not fit the buffer.
func WithFullBuffer(f FullBuffer) Option { return func(o *options) { o.full = f } }

// WithMaxRecordBytes bounds a batch as it is sent, and so a record, in bytes.
// The brokers' max.message.bytes bounds them, too.
func WithMaxRecordBytes(n int) Option { return func(o *options) { o.maxRecordBytes = n } }

// WithLinger says how long a batch that could hold more waits for it.
func WithLinger(d time.Duration) Option { return func(o *options) { o.linger = d } }

// WithDeliveryTimeout bounds how long a record may be on its way before it fails
// with ErrUnavailable.
func WithDeliveryTimeout(d time.Duration) Option { return func(o *options) { o.deliveryTimeout = d } }

// WithoutTopicCreation has records to a topic that is not there refused with
// advice, where it would be made with the settings of its kind.
func WithoutTopicCreation() Option { return func(o *options) { o.createTopics = false } }

// WithTopicSettings gives the settings of topics to be made, by kind;
// [DefaultTopicSettings] unless set.
func WithTopicSettings(f func(marketdata.Kind) TopicSettings) Option {
	return func(o *options) { o.settings = f }
}

// WithLogger has what an operator should know logged; nothing is, unless set.
func WithLogger(log *slog.Logger) Option { return func(o *options) { o.log = log } }

// WithHooks sets the hooks for metrics.
func WithHooks(h Hooks) Option { return func(o *options) { o.hooks = h } }

func newOptions(opts []Option) (*options, error) {
	o := &options{
		brokers: []string{"localhost:9092"}, bufferBytes: DefaultBufferBytes, maxRecordBytes: DefaultMaxRecordBytes,
		linger: DefaultLinger, deliveryTimeout: DefaultDeliveryTimeout, createTopics: true,
		settings: DefaultTopicSettings, log: slog.New(slog.DiscardHandler), now: time.Now,
	}
	for _, set := range opts {
		set(o)
	}
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("publish: "+format, args...)) }
	if len(o.brokers) == 0 {
		bad("WithBrokers: no broker is named")
	}
	if o.bufferBytes < 1<<10 {
		bad("WithBufferBytes: %d is below 1024", o.bufferBytes)
	}
	if o.maxRecordBytes < 1<<10 || o.maxRecordBytes > 1<<30 {
		bad("WithMaxRecordBytes: %d is outside 1024..%d", o.maxRecordBytes, 1<<30)
	}
	if o.linger < 0 || o.linger > time.Minute {
		bad("WithLinger: %s is outside 0..1m", o.linger)
	}
	if o.deliveryTimeout < time.Second {
		bad("WithDeliveryTimeout: %s is below 1s", o.deliveryTimeout)
	}
	return o, errors.Join(errs...)
}

// clientOptions are those of the producing client.
func (o *options) clientOptions() []kgo.Opt {
	opts := append([]kgo.Opt{kgo.ClientID("tickconnect-publish")}, o.client...)
	opts = append(opts,
		kgo.SeedBrokers(o.brokers...),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchCompression(kgo.Lz4Compression()),
		kgo.ProducerLinger(o.linger),
		kgo.RecordDeliveryTimeout(o.deliveryTimeout),
		kgo.MaxBufferedRecords(1<<31-1), // the Publisher's own bound is in bytes
		kgo.UnknownTopicRetries(5),
		kgo.MetadataMinAge(250*time.Millisecond), // a topic that is gone is seen soon
		kgo.RetryTimeout(10*time.Second),         // of what is asked about topics
	)
	if o.partitioner != nil {
		return append(opts, kgo.RecordPartitioner(kgo.BasicConsistentPartitioner(func(topic string) func(*kgo.Record, int) int {
			return func(r *kgo.Record, n int) int { return o.partitioner(topic, r.Key, n) }
		})))
	}
	return append(opts, kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
}

package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/internal/devstack/testenv"
	"github.com/qicore/tickconnect/marketdata"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// limit bounds what a test waits for.
const limit = time.Minute

// fixture is a cluster, and an exchange of the test's own in it.
type fixture struct {
	testing.TB
	brokers  []string
	exchange string
	admin    *kadm.Client
	logged   *syncBuffer
}

// onBoth runs a test on the in-process broker and on Apache Kafka.
func onBoth(t *testing.T, test func(t *testing.T, f *fixture)) {
	t.Helper()
	t.Parallel()
	t.Run("kfake", func(t *testing.T) { t.Parallel(); test(t, newFixture(t, testenv.Broker(t))) })
	t.Run("kafka", func(t *testing.T) { t.Parallel(); test(t, newFixture(t, testenv.Kafka(t))) })
}

func newFixture(t testing.TB, brokers []string, opts ...kgo.Opt) *fixture {
	t.Helper()
	client, err := kgo.NewClient(append(opts, kgo.SeedBrokers(brokers...))...)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{TB: t, brokers: brokers, exchange: strings.ToLower(testenv.Topic(t)), admin: kadm.NewClient(client), logged: &syncBuffer{}}
	t.Cleanup(func() {
		f.deleteTopics()
		client.Close()
	})
	return f
}

// deleteTopics removes the topics of the test's exchange.
func (f *fixture) deleteTopics() {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var names []string
	for _, k := range marketdata.Kinds() {
		names = append(names, marketdata.TopicName(k, f.exchange))
	}
	if _, err := f.admin.DeleteTopics(ctx, names...); err != nil {
		f.Logf("deleting topics: %v", err)
	}
}

// ctx ends before the test's own limit, so that a test that waits says for what.
func (f *fixture) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	f.Cleanup(cancel)
	return ctx
}

func (f *fixture) publisher(opts ...Option) *Publisher {
	f.Helper()
	p, err := New(append([]Option{WithBrokers(f.brokers...), WithLogger(slog.New(slog.NewTextHandler(f.logged, nil)))}, opts...)...)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = p.Close(ctx) // a test that cares closes it itself
	})
	return p
}

func (f *fixture) topic(k marketdata.Kind) string { return marketdata.TopicName(k, f.exchange) }

// end is how many offsets a topic has in all.
func (f *fixture) end(topic string) (n int64) {
	f.Helper()
	for ctx := f.ctx(); ; {
		ends, err := f.admin.ListEndOffsets(ctx, topic)
		if err == nil {
			err = ends.Error()
		}
		switch {
		case err == nil:
			ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
			return n
		case ctx.Err() != nil || !errors.Is(err, kerr.UnknownTopicOrPartition): // a topic that was just made
			f.Fatal(err)
		}
	}
}

// read gives all records of a topic, those of a partition in their order.
func (f *fixture) read(topic string) []*kgo.Record {
	f.Helper()
	n := f.end(topic)
	client, err := kgo.NewClient(kgo.SeedBrokers(f.brokers...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		f.Fatal(err)
	}
	defer client.Close()
	var records []*kgo.Record
	for ctx := f.ctx(); int64(len(records)) < n; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			f.Fatalf("%d of %d records read: %v", len(records), n, err)
		}
		records = append(records, fetches.Records()...)
	}
	return records
}

func decimal(s string) marketdata.Decimal {
	d, err := marketdata.ParseDecimal(s)
	if err != nil {
		panic(err)
	}
	return d
}

var when = time.Date(2024, 5, 6, 7, 8, 9, 123456000, time.UTC)

func (f *fixture) trade(id int) marketdata.Trade {
	return marketdata.Trade{
		ExchangeID: f.exchange, Symbol: fmt.Sprintf("S%d-USD", id%50), TradeID: fmt.Sprint(id), Time: when,
		Price: decimal("65000.10"), Size: decimal("0.5000"), Side: "buy",
	}
}

// syncBuffer is a bytes.Buffer for several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// network is the way to the brokers, which a test may stop or cut.
type network struct {
	mu     sync.Mutex
	frozen chan struct{} // closed when it goes on; nil while it runs
	conns  map[*wire]struct{}
	writes int
	// cutEvery ends all connections after so many writes; 0: never.
	cutEvery int
}

func (n *network) option() Option {
	return WithClientOptions(kgo.Dialer(func(ctx context.Context, nw, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, nw, address)
		if err != nil {
			return nil, err
		}
		w := &wire{Conn: conn, network: n}
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.conns == nil {
			n.conns = map[*wire]struct{}{}
		}
		n.conns[w] = struct{}{}
		return w, nil
	}))
}

// freeze has nothing go through until thaw.
func (n *network) freeze() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.frozen = make(chan struct{})
}

func (n *network) thaw() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.frozen != nil {
		close(n.frozen)
		n.frozen = nil
	}
}

// cut ends all connections.
func (n *network) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for w := range n.conns {
		_ = w.Conn.Close() // that is the point
	}
	clear(n.conns)
}

// isTime counts a write and says whether the connections are to be cut after it.
func (n *network) isTime() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.writes++
	return n.cutEvery > 0 && n.writes%n.cutEvery == 0
}

func (n *network) wait() {
	n.mu.Lock()
	frozen := n.frozen
	n.mu.Unlock()
	if frozen != nil {
		<-frozen
	}
}

type wire struct {
	net.Conn
	network *network
}

func (w *wire) Write(b []byte) (int, error) {
	w.network.wait()
	if w.network.isTime() {
		defer w.network.cut() // the brokers get it, and cannot answer
	}
	return w.Conn.Write(b)
}

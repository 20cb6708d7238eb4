package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	loadTopics     = 20
	loadPartitions = 12
	// loadWarmup is produced before the measurement begins.
	loadWarmup = 5 * time.Second
)

// load is a broker with 240 partitions, a connector that reads them, and a
// producer that writes to them evenly at a rate.
type load struct {
	*bench
	brokers   string
	broker    *child
	topics    []string
	schema    string
	connector *child
	producer  *pacedProducer
}

// startLoad starts all of it; once it returns, records are stored.
func (b *bench) startLoad(ctx context.Context, rate int) (_ *load, err error) {
	l := &load{bench: b}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if l.broker, l.brokers, err = b.startBroker(); err != nil {
		return nil, err
	}
	for i := range loadTopics {
		l.topics = append(l.topics, fmt.Sprintf("crypto-prices-venue%02d", i+1))
	}
	if err := createTopics(ctx, l.brokers, loadPartitions, l.topics...); err != nil {
		return nil, err
	}
	if l.schema, err = b.newSchema(ctx); err != nil {
		return nil, err
	}
	if err := l.startConnector(); err != nil {
		return nil, err
	}
	if l.producer, err = startPacedProducer(ctx, l.brokers, l.topics, rate, b.seed); err != nil {
		return nil, err
	}
	// Each partition has a record within a second or so.
	_, _, err = b.waitStored(ctx, l.connector, l.schema, int64(2*loadTopics*loadPartitions))
	return l, err
}

func (l *load) startConnector() (err error) {
	l.connector, err = l.stack.startConnector(connectorRun{l.brokers, l.schema, "crypto-prices-venue.+", "upsert", nil})
	return err
}

func (l *load) close() {
	if l.producer != nil {
		l.producer.stop() //nolint:errcheck // finish told it where it counts
	}
	if l.connector != nil {
		l.connector.kill()
	}
	if l.broker != nil {
		l.broker.kill()
	}
}

// finish stops producing, waits until all is stored, and checks that nothing is
// missing.
func (l *load) finish(ctx context.Context) error {
	produced, err := l.producer.stop()
	if err != nil {
		return fmt.Errorf("producing: %w", err)
	}
	if _, _, err := l.waitStored(ctx, l.connector, l.schema, produced); err != nil {
		return err
	}
	if err := l.connector.stop(); err != nil {
		return err
	}
	if err := l.checkStored(ctx, l.schema, pricesTable, produced, produced, produced); err != nil {
		return err
	}
	return l.drop(ctx, l.schema)
}

// latency is one part: from the call that produces a record to the moment at
// which a reader of the database sees it.
func (b *bench) latency(ctx context.Context) error {
	for _, rate := range []int{2000, 20_000} {
		if err := b.latencyAt(ctx, rate); err != nil {
			return fmt.Errorf("%d records/s: %w", rate, err)
		}
	}
	return nil
}

func (b *bench) latencyAt(ctx context.Context, rate int) error {
	l, err := b.startLoad(ctx, rate)
	if err != nil {
		return err
	}
	defer l.close()
	if !sleep(ctx, loadWarmup) {
		return ctx.Err()
	}
	w, err := newWatcher(ctx, l)
	if err != nil {
		return err
	}
	defer w.conn.Close(ctx)
	m, err := startMeter(map[string]cpuOf{
		"connector": l.connector.cpu, "broker": l.broker.cpu, "watcher": w.cpu,
		"database": func() (time.Duration, error) {
			all, err := b.databaseCPU()
			if err != nil {
				return 0, err
			}
			watcher, err := w.cpu()
			return all - watcher, err
		},
	})
	if err != nil {
		return err
	}
	before := l.producer.sent.Load()
	if err := w.watch(ctx, b.duration); err != nil {
		return err
	}
	r, err := m.read()
	if err != nil {
		return err
	}
	achieved := float64(l.producer.sent.Load()-before) / r.wall.Seconds()
	if err := l.finish(ctx); err != nil {
		return err
	}
	waits, acks := w.latencies(l.producer)
	if len(waits) == 0 {
		return fmt.Errorf("no record was seen")
	}
	at := func(name, unit string, v float64, goal *float64) {
		b.report.add(figure{Part: "latency", Name: fmt.Sprintf("%d records/s: %s", rate, name), Unit: unit, AtMost: true, Goal: goal}, v, r)
	}
	core := func(group string) float64 { return 100 * r.cpu[group].Seconds() / r.wall.Seconds() }
	var goals struct{ p50, p99, connector, database *float64 }
	if rate <= 2000 {
		goals.p50, goals.p99, goals.connector, goals.database = value(8), value(15), value(40), value(25)
	} else {
		goals.p99 = value(50)
	}
	at("produce to visible, p50", "ms", quantile(waits, 0.50), goals.p50)
	at("produce to visible, p99", "ms", quantile(waits, 0.99), goals.p99)
	at("produce to visible, max", "ms", slices.Max(waits), nil)
	at("produce to acknowledged, p50", "ms", quantile(acks, 0.50), nil)
	at("produce to acknowledged, p99", "ms", quantile(acks, 0.99), nil)
	at("connector CPU", "% of a core", core("connector"), goals.connector)
	at("database CPU", "% of a core", core("database"), goals.database)
	at("broker CPU", "% of a core", core("broker"), nil)
	at("producer's and watcher's CPU", "% of a core", 100*(r.self+r.cpu["watcher"]).Seconds()/r.wall.Seconds(), nil)
	b.report.note("latency at %d records/s: %.0f records/s were produced; %d records of %d of the %d partitions were watched, every %.2f ms on average, for %v",
		rate, achieved, len(waits), len(l.topics), loadTopics*loadPartitions, w.period().Seconds()*1000, b.duration)
	return nil
}

// watcher reads, as often as it can up to once a millisecond, how far the ledger
// is. A ledger row moves in the transaction that stores the rows, so they become
// visible together. One partition of each topic is watched, so that the watching
// costs the database little.
type watcher struct {
	conn       *pgx.Conn
	sql        string
	topics     []string
	partitions []int32
	next       []int64 // as last seen, by topic
	seen       []sighting
	polls      int
	took       time.Duration
}

// sighting says that offsets below next were visible at a moment.
type sighting struct {
	topic int
	from  int64
	next  int64
	at    time.Time
}

func newWatcher(ctx context.Context, l *load) (*watcher, error) {
	w := &watcher{topics: l.topics, next: make([]int64, len(l.topics))}
	for i := range l.topics {
		w.partitions = append(w.partitions, watchedPartition(i))
	}
	// OFFSET 0 has the planner look up each row by its key: for want of statistics it
	// would scan the ledger for each.
	w.sql = fmt.Sprintf(`SELECT l.next_offset FROM unnest($1::text[], $2::int4[]) WITH ORDINALITY AS w(topic, partition, i)
		CROSS JOIN LATERAL (SELECT next_offset FROM %s.connector_ledger WHERE connector = '%s' AND generation = 0
			AND topic = w.topic AND partition = w.partition OFFSET 0) l ORDER BY w.i`, l.schema, connectorName)
	var err error
	w.conn, err = pgx.Connect(ctx, l.database.URL())
	return w, err
}

// watchedPartition is the partition of a topic that is watched.
func watchedPartition(topic int) int32 { return int32(topic % loadPartitions) }

func (w *watcher) cpu() (time.Duration, error) { return processCPU(int(w.conn.PgConn().PID())) }

func (w *watcher) watch(ctx context.Context, d time.Duration) error {
	began := time.Now()
	for end := began.Add(d); time.Now().Before(end); {
		polled := time.Now()
		rows, err := w.conn.Query(ctx, w.sql, w.topics, w.partitions)
		if err != nil {
			return err
		}
		i := 0
		var next int64
		_, err = pgx.ForEachRow(rows, []any{&next}, func() error {
			if next != w.next[i] {
				if w.polls > 0 {
					w.seen = append(w.seen, sighting{topic: i, from: w.next[i], next: next})
				}
				w.next[i] = next
			}
			i++
			return nil
		})
		if err != nil {
			return err
		}
		if i != len(w.topics) {
			return fmt.Errorf("the ledger has %d of %d partitions", i, len(w.topics))
		}
		// The moment is that after the answer, so that the wait is never made shorter.
		now := time.Now()
		for j := len(w.seen) - 1; j >= 0 && w.seen[j].at.IsZero(); j-- {
			w.seen[j].at = now
		}
		w.polls++
		if !sleep(ctx, time.Millisecond-time.Since(polled)) {
			return ctx.Err()
		}
	}
	w.took = time.Since(began)
	return nil
}

// period is the time between two looks.
func (w *watcher) period() time.Duration { return w.took / time.Duration(max(w.polls, 1)) }

// latencies are the waits of the watched records in ms: until they were seen,
// and until the broker had acknowledged them.
func (w *watcher) latencies(p *pacedProducer) (seen, acked []float64) {
	millis := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	for _, s := range w.seen {
		for offset := s.from; offset < s.next; offset++ {
			if r, ok := p.sending(s.topic, offset); ok {
				seen = append(seen, millis(s.at.Sub(r.sent)))
				acked = append(acked, millis(r.acked.Sub(r.sent)))
			}
		}
	}
	return seen, acked
}

// sleep waits, and says whether ctx is still good.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

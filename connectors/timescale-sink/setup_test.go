package timescalesink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/internal/devstack/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const testTimeout = 60 * time.Second

// fixture is one connector's store in a schema of its own.
type fixture struct {
	testing.TB
	cfg  *Config
	conn *pgx.Conn // for looking into the database
	url  string    // straight to the database
	name string
}

// setup gives a fresh schema; change may alter the configuration.
func setup(t testing.TB, change func(*Config)) *fixture {
	t.Helper()
	url, schema := testenv.Schema(t)
	return setupAt(t, url, schema, change)
}

// setupAt is setup in a schema of a server that belongs to the test.
func setupAt(t testing.TB, url, schema string, change func(*Config)) *fixture {
	t.Helper()
	cfg := Default()
	cfg.ConnectionURL, cfg.SchemaName = url, schema
	if change != nil {
		change(cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	f := &fixture{TB: t, cfg: cfg, url: url, name: "market"}
	f.conn = f.connect(url)
	return f
}

func (f *fixture) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	f.Cleanup(cancel)
	return ctx
}

func (f *fixture) connect(url string) *pgx.Conn {
	f.Helper()
	conn, err := pgx.Connect(f.ctx(), url)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func (f *fixture) exec(sql string, args ...any) {
	f.Helper()
	if _, err := f.conn.Exec(f.ctx(), sql, args...); err != nil {
		f.Fatalf("%s: %v", sql, err)
	}
}

// value reads one value.
func value[T any](f *fixture, sql string, args ...any) T {
	f.Helper()
	var v T
	if err := f.conn.QueryRow(f.ctx(), sql, args...).Scan(&v); err != nil {
		f.Fatalf("%s: %v", sql, err)
	}
	return v
}

// in replaces %s. by the schema.
func (f *fixture) in(sql string) string {
	return strings.ReplaceAll(sql, "%s.", quote(f.cfg.SchemaName)+".")
}

func (f *fixture) connector() *Connector {
	f.Helper()
	return f.connectorWith(f.cfg)
}

func (f *fixture) connectorWith(cfg *Config) *Connector {
	f.Helper()
	c, err := New(f.name, cfg, connect.Env{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { c.Close() })
	return c
}

func (f *fixture) sink(c *Connector) *Sink {
	f.Helper()
	s, err := c.NewSink(0)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	return s.(*Sink)
}

// opened gives a sink that has opened partitions at 0.
func (f *fixture) opened(c *Connector, tps ...connect.TopicPartition) *Sink {
	f.Helper()
	s := f.sink(c)
	positions, err := s.Open(f.ctx(), claims(tps...))
	if err != nil {
		f.Fatal(err)
	}
	for _, p := range positions {
		if p.Err != nil {
			f.Fatal(p.Err)
		}
	}
	return s
}

func claims(tps ...connect.TopicPartition) []connect.Claim {
	out := make([]connect.Claim, len(tps))
	for i, tp := range tps {
		out[i] = connect.Claim{TopicPartition: tp, LogEnd: 1 << 40}
	}
	return out
}

func tp(topic string, partition int32) connect.TopicPartition {
	return connect.TopicPartition{Topic: topic, Partition: partition}
}

const (
	trades = "crypto-trades-kraken"
	prices = "crypto-prices-kraken"
	level1 = "crypto-level1-kraken"
)

// baseTime is the time of the test's rows, ms since 1970.
const baseTime = int64(1_700_000_000_000)

// trade is a trade's record; its Kafka timestamp is at, in ms after baseTime.
func trade(offset, at int64, id, price string) connect.Record {
	return connect.Record{
		Offset: offset, Timestamp: baseTime + at, Key: []byte("BTC-USD"),
		Value: fmt.Appendf(nil, `{"exchangeId":"kraken","symbol":"BTC-USD","tradeId":%q,"time":%d,"price":%q,"size":"1"}`,
			id, baseTime, price),
	}
}

// prepared prepares records as the worker does.
func prepared(c *Connector, tp connect.TopicPartition, records ...connect.Record) []connect.Record {
	out := make([]connect.Record, len(records))
	for i, r := range records {
		row, err := c.Prepare(nil, tp.Topic, tp.Partition, &r)
		var bad *connect.RecordError
		switch {
		case err == nil:
			r.Row, r.Key, r.Value = row, nil, nil
		case errors.As(err, &bad):
			r.Err = bad
		default:
			r.Filtered = true
		}
		out[i] = r
	}
	return out
}

// part makes a batch's part of records whose offsets follow one another.
func part(c *Connector, tp connect.TopicPartition, records ...connect.Record) connect.Part {
	return connect.Part{
		TopicPartition: tp, Start: records[0].Offset, Next: records[len(records)-1].Offset + 1,
		Records: prepared(c, tp, records...),
	}
}

func batch(parts ...connect.Part) *connect.Batch { return &connect.Batch{Parts: parts} }

// put must succeed; it gives the counts of all parts together.
func (f *fixture) put(s *Sink, parts ...connect.Part) connect.Counts {
	f.Helper()
	res, err := s.Put(f.ctx(), batch(parts...))
	if err != nil {
		f.Fatalf("Put: %v", err)
	}
	var sum connect.Counts
	for i, c := range res.Counts {
		if c.Offsets() != parts[i].Next-parts[i].Start {
			f.Fatalf("the fates of %v do not add up: %+v", parts[i].TopicPartition, c)
		}
		sum = sum.Plus(c)
	}
	return sum
}

func (f *fixture) wantCounts(got, want connect.Counts) {
	f.Helper()
	if got != want {
		f.Errorf("counted %+v, want %+v", got, want)
	}
}

// price reads a trade's price, as the digits that the table holds; "" for none.
func (f *fixture) price(id string) string {
	f.Helper()
	return value[string](f, f.in("SELECT COALESCE((SELECT price::text FROM %s.crypto_trades WHERE trade_id = $1), '')"), id)
}

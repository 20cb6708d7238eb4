package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	// Registers the driver pgx with database/sql.
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/internal/chart"
	"github.com/qicore/tickconnect/marketdata"
)

// demoStore asks the database what was stored.
type demoStore struct{ db *sql.DB }

// openDemoStore connects, so that a wrong URL is said before anything starts.
func openDemoStore(ctx context.Context, url string) (*demoStore, error) {
	db, err := sql.Open("pgx", url)
	if err != nil {
		return nil, fmt.Errorf("--database-url: %w", err)
	}
	db.SetMaxOpenConns(2)
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("connecting to the database (--database-url): %w", err), db.Close())
	}
	return &demoStore{db}, nil
}

func (s *demoStore) close() { s.db.Close() }

// demoLedger is the ledger of the demo's connector.
type demoLedger []auditRow

// ledger reads the account of the topics; it is empty before the first run.
func (s *demoStore) ledger(ctx context.Context, topics []string) (demoLedger, error) {
	var there bool
	if err := s.db.QueryRowContext(ctx, "SELECT to_regclass('connector_ledger') IS NOT NULL").Scan(&there); err != nil {
		return nil, fmt.Errorf("looking for the ledger: %w", err)
	}
	if !there {
		return nil, nil
	}
	rows, err := s.db.QueryContext(ctx, `
		SELECT topic, partition, topic_id, start_offset, next_offset, written, inserted, unchanged,
		       merged, stale, dead_lettered, filtered, absent, expired
		FROM connector_ledger l
		JOIN connector_generations g USING (connector, generation)
		WHERE connector = $1 AND topic = ANY($2) AND g.kind = 'live' AND g.closed_at IS NULL
		ORDER BY topic, partition`, demoConnector, topics)
	if err != nil {
		return nil, fmt.Errorf("reading the ledger: %w", err)
	}
	defer rows.Close()
	var ledger demoLedger
	for rows.Next() {
		var r auditRow
		c := &r.counts
		err := rows.Scan(&r.at.Topic, &r.at.Partition, &r.topicID, &r.start, &r.next, &c.Written, &c.Inserted, &c.Unchanged,
			&c.Merged, &c.Stale, &c.DeadLettered, &c.Filtered, &c.Absent, &c.Expired)
		if err != nil {
			return nil, fmt.Errorf("reading the ledger: %w", err)
		}
		ledger = append(ledger, r)
	}
	return ledger, rows.Err()
}

// next is the offset after the last one that is accounted for, by partition.
func (l demoLedger) next() logEnds {
	next := make(logEnds)
	for i := range l {
		topic, partition := l[i].at.Topic, int(l[i].at.Partition)
		for partition >= len(next[topic]) {
			next[topic] = append(next[topic], 0)
		}
		next[topic][partition] = l[i].next
	}
	return next
}

// counts adds up the fates of all partitions.
func (l demoLedger) counts() connect.Counts {
	var sum connect.Counts
	for i := range l {
		sum = sum.Plus(l[i].counts)
	}
	return sum
}

// inserted counts the rows that the connector made, by kind.
func (l demoLedger) inserted() map[marketdata.Kind]int64 {
	rows := make(map[marketdata.Kind]int64)
	for i := range l {
		kind, _, _ := marketdata.KindOfTopic(l[i].at.Topic)
		rows[kind] += l[i].counts.Inserted
	}
	return rows
}

// demoTables are the tables of the kinds, in the order in which people want them.
var demoTables = []struct {
	kind        marketdata.Kind
	table, name string
}{
	{marketdata.KindTrade, "crypto_trades", "trades"},
	{marketdata.KindLevel1, "crypto_level1", "level1"},
	{marketdata.KindOHLCV, "crypto_ohlcv", "ohlcv"},
	{marketdata.KindPrice, "crypto_prices", "prices"},
}

// countRows counts the rows in a table whose origin is one of the topics.
func (s *demoStore) countRows(ctx context.Context, table string, topics []string) (int64, error) {
	var n int64
	err := s.db.QueryRowContext(ctx, `
		SELECT count(*) FROM `+table+`
		WHERE origin_topic IN (SELECT id FROM connector_topics WHERE topic = ANY($1))`, topics).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("counting the rows of %s: %w", table, err)
	}
	return n, nil
}

// market is a symbol at an exchange on one day.
type market struct {
	exchange, symbol string
	first, last      time.Time
	trades           int64
}

// busiestMarket is the one with the most trades in a day, of those that came
// from the topics.
func (s *demoStore) busiestMarket(ctx context.Context, topics []string) (market, error) {
	var m market
	err := s.db.QueryRowContext(ctx, `
		SELECT exchange_id, symbol, min(time), max(time), count(*)
		FROM crypto_trades
		WHERE origin_topic IN (SELECT id FROM connector_topics WHERE topic = ANY($1))
		GROUP BY exchange_id, symbol, time_bucket('1 day', time)
		ORDER BY count(*) DESC, exchange_id, symbol
		LIMIT 1`, topics).Scan(&m.exchange, &m.symbol, &m.first, &m.last, &m.trades)
	if err != nil {
		return m, fmt.Errorf("looking for the busiest market: %w", err)
	}
	return m, nil
}

// candleSQL makes candles of trades. Its parameters are an interval, an
// exchange, a symbol, and the first and the last time.
const candleSQL = `SELECT time_bucket($1::interval, time) AS start,
       first(price, time) AS open, max(price) AS high, min(price) AS low,
       last(price, time) AS close, sum(size) AS volume
FROM crypto_trades
WHERE exchange_id = $2 AND symbol = $3 AND time BETWEEN $4 AND $5
GROUP BY start ORDER BY start`

func (s *demoStore) candles(ctx context.Context, m market, interval time.Duration) ([]chart.Candle, error) {
	rows, err := s.db.QueryContext(ctx, candleSQL, interval.String(), m.exchange, m.symbol, m.first, m.last)
	if err != nil {
		return nil, fmt.Errorf("making candles: %w", err)
	}
	defer rows.Close()
	var candles []chart.Candle
	for rows.Next() {
		var c chart.Candle
		if err := rows.Scan(&c.Start, &c.Open, &c.High, &c.Low, &c.Close, &c.Volume); err != nil {
			return nil, fmt.Errorf("making candles: %w", err)
		}
		candles = append(candles, c)
	}
	return candles, rows.Err()
}

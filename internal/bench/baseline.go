package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"
)

// writers is how many connections a baseline writes with: as many as a
// connector has tasks by default.
const writers = 2

// copyRows is how many rows one COPY of a baseline holds, and its transaction:
// the connector's batch.size.
const copyRows = 20_000

// lines are ready-made lines of COPY's text format, by writer, each element as
// many as one COPY takes.
type lines struct {
	writers [writers][][]byte
	counts  [writers]int
}

func (l *lines) add(writer int, appendLine func([]byte) []byte) {
	w := &l.writers[writer]
	if l.counts[writer]%copyRows == 0 {
		*w = append(*w, make([]byte, 0, copyRows*200))
	}
	l.counts[writer]++
	(*w)[len(*w)-1] = appendLine((*w)[len(*w)-1])
}

// cloneTable makes a table as the connector makes its own: the same columns,
// primary key, index and chunks. Without indexed it has no index at all.
func (s *stack) cloneTable(ctx context.Context, schema string, indexed bool) error {
	including := ""
	if indexed {
		including = "INCLUDING INDEXES"
	}
	var interval time.Duration
	err := s.conn.QueryRow(ctx, `SELECT time_interval FROM timescaledb_information.dimensions
		WHERE hypertable_schema = $1 AND hypertable_name = 'crypto_prices'`, templateSchema).Scan(&interval)
	if err != nil {
		return fmt.Errorf("reading the template's chunk interval: %w", err)
	}
	for _, sql := range []string{
		fmt.Sprintf("CREATE TABLE %s.crypto_prices (LIKE %s.crypto_prices %s)", schema, templateSchema, including),
		fmt.Sprintf("SELECT create_hypertable('%s.crypto_prices', by_range('time', interval '%d seconds'), create_default_indexes => false)",
			schema, int64(interval.Seconds())),
	} {
		if _, err := s.conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// each runs one function for each writer on a connection of its own, and says
// how long they took together.
func (s *stack) each(ctx context.Context, prepare string, run func(ctx context.Context, c *pgconn.PgConn, writer int) error) (time.Duration, error) {
	var conns [writers]*pgx.Conn
	for i := range conns {
		var err error
		if conns[i], err = pgx.Connect(ctx, s.database.URL()); err != nil {
			return 0, err
		}
		defer conns[i].Close(ctx)
		if prepare == "" {
			continue
		}
		if _, err := conns[i].Exec(ctx, prepare); err != nil {
			return 0, err
		}
	}
	began := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	for i, c := range conns {
		g.Go(func() error { return run(ctx, c.PgConn(), i) })
	}
	err := g.Wait()
	return time.Since(began), err
}

// copyDirect stores the lines with COPY straight into the table.
func (s *stack) copyDirect(ctx context.Context, schema string, l *lines) (time.Duration, error) {
	sql := fmt.Sprintf("COPY %s.crypto_prices (%s) FROM STDIN", schema, priceColumns)
	return s.each(ctx, "", func(ctx context.Context, c *pgconn.PgConn, writer int) error {
		for _, part := range l.writers[writer] {
			if _, err := c.CopyFrom(ctx, bytes.NewReader(part), sql); err != nil {
				return err
			}
		}
		return nil
	})
}

// copyMerge stores the lines with COPY into a temporary table and a merge from
// there: the plain way where keys may be there already.
func (s *stack) copyMerge(ctx context.Context, schema string, l *lines) (time.Duration, error) {
	prepare := fmt.Sprintf("CREATE TEMP TABLE stage (LIKE %s.crypto_prices) ON COMMIT DELETE ROWS", schema)
	merge := fmt.Sprintf(`INSERT INTO %s.crypto_prices (%[2]s) SELECT %[2]s FROM stage
		ON CONFLICT (coin_id, exchange_id, time) DO UPDATE SET symbol = EXCLUDED.symbol, usd_price = EXCLUDED.usd_price,
		market_cap = EXCLUDED.market_cap, volume_24h = EXCLUDED.volume_24h, source = EXCLUDED.source,
		attribution = EXCLUDED.attribution, flags = EXCLUDED.flags, origin_topic = EXCLUDED.origin_topic,
		origin_partition = EXCLUDED.origin_partition, origin_offset = EXCLUDED.origin_offset, origin_time = EXCLUDED.origin_time`,
		schema, priceColumns)
	stage := fmt.Sprintf("COPY stage (%s) FROM STDIN", priceColumns)
	exec := func(ctx context.Context, c *pgconn.PgConn, sql string) error {
		_, err := c.Exec(ctx, sql).ReadAll()
		return err
	}
	return s.each(ctx, prepare, func(ctx context.Context, c *pgconn.PgConn, writer int) error {
		for _, part := range l.writers[writer] {
			if err := exec(ctx, c, "BEGIN"); err != nil {
				return err
			}
			if _, err := c.CopyFrom(ctx, bytes.NewReader(part), stage); err != nil {
				return err
			}
			if err := exec(ctx, c, merge); err != nil {
				return err
			}
			if err := exec(ctx, c, "COMMIT"); err != nil {
				return err
			}
		}
		return nil
	})
}

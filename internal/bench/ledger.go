package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// pricesTable is where the records of a feed are stored.
const pricesTable = "crypto_prices"

// account is what the connector's ledger says of a run.
type account struct {
	rows                                      int // partitions
	stored                                    int64
	written, inserted, unchanged, dead, other int64
}

// readLedger sums the ledger up; all is zero before the connector has made it.
func readLedger(ctx context.Context, conn *pgx.Conn, schema string) (account, error) {
	var a account
	err := conn.QueryRow(ctx, fmt.Sprintf(`SELECT count(*), coalesce(sum(next_offset - start_offset), 0)::int8,
		coalesce(sum(written), 0)::int8, coalesce(sum(inserted), 0)::int8, coalesce(sum(unchanged), 0)::int8,
		coalesce(sum(dead_lettered), 0)::int8, coalesce(sum(merged + stale + filtered + absent + expired), 0)::int8
		FROM %s.connector_ledger`, schema)).
		Scan(&a.rows, &a.stored, &a.written, &a.inserted, &a.unchanged, &a.dead, &a.other)
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "42P01" {
		return account{}, nil
	}
	return a, err
}

// moment is a point of a run: how much was stored when.
type moment struct {
	at     time.Time
	stored int64
}

// waitStored reads the ledger every few milliseconds until so much is stored.
// It returns the first moment at which anything was, and the last.
func (s *stack) waitStored(ctx context.Context, c *child, schema string, want int64) (first, last moment, err error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		a, err := readLedger(ctx, s.conn, schema)
		if err != nil {
			return first, last, err
		}
		last = moment{time.Now(), a.stored}
		if first.stored == 0 {
			first = last
		}
		if a.stored >= want {
			return first, last, nil
		}
		if err := c.failed(); err != nil {
			return first, last, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return first, last, fmt.Errorf("%d of %d records are stored: %w; the connector's log ends with:\n%s", a.stored, want, ctx.Err(), logTail(c.log))
		}
	}
}

// checkStored says whether anything was lost or doubled: the ledger accounts for
// all records, each of which is in the table once.
func (s *stack) checkStored(ctx context.Context, schema, table string, records, inserted, rows int64) error {
	a, err := readLedger(ctx, s.conn, schema)
	if err != nil {
		return err
	}
	var got int64
	if err := s.conn.QueryRow(ctx, "SELECT count(*) FROM "+schema+"."+table).Scan(&got); err != nil {
		return err
	}
	if a.stored != records || a.written != records || a.inserted != inserted || got != rows {
		return fmt.Errorf("of %d records (%d new rows, %d rows in all) the ledger says %+v and the table has %d rows", records, inserted, rows, a, got)
	}
	return nil
}

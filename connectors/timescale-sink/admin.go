package timescalesink

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/marketdata"
)

// Admin is what commands and the REST API ask of a connector's database beside
// its sinks. Its methods are safe for concurrent use.
type Admin struct{ c *Connector }

// Admin gives the connector's Admin, which lives as long as the connector.
func (c *Connector) Admin() *Admin { return &Admin{c} }

// LedgerRow is a row of connector_ledger with its generation.
type LedgerRow struct {
	connect.TopicPartition
	Generation  int32
	Kind, State string // of the generation
	TopicID     string // 32 hexadecimal digits, "" where the broker gave none
	StartOffset int64
	NextOffset  int64
	EndOffset   *int64 // bounds a replay
	LastOffset  *int64
	LastTime    *time.Time
	Counts      connect.Counts
	ClosedAt    *time.Time
	UpdatedAt   time.Time
}

// Ledger reads all generations of a connector, in the order of generation,
// topic and partition. It is empty in a database in which no connector has run.
func (a *Admin) Ledger(ctx context.Context) ([]LedgerRow, error) {
	ledger, err := a.ledger(ctx)
	if sqlState(err) == codeUndefinedTable {
		return nil, nil
	}
	return ledger, classifyOpen("reading the ledger", err)
}

func (a *Admin) ledger(ctx context.Context) ([]LedgerRow, error) {
	rows, err := a.c.pool.Query(ctx, a.c.statements.allRows, a.c.name)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (r LedgerRow, err error) {
		n := &r.Counts
		err = row.Scan(&r.Generation, &r.Kind, &r.State, &r.Topic, &r.Partition, &r.TopicID, &r.StartOffset, &r.NextOffset,
			&r.EndOffset, &r.LastOffset, &r.LastTime, &n.Written, &n.Inserted, &n.Unchanged, &n.Merged, &n.Stale,
			&n.DeadLettered, &n.Filtered, &n.Absent, &n.Expired, &r.ClosedAt, &r.UpdatedAt)
		return r, err
	})
}

// Reset is what Admin.Reset does.
type Reset struct {
	// Next gives partitions the next offset to store. All others keep theirs.
	Next map[connect.TopicPartition]int64
	// MadeAgain are topics that were deleted and made again, with the new id, or the
	// zero value where the broker gives none. Their rows in the tables then count as
	// those of another topic: offsets of the old one say nothing about the new.
	MadeAgain map[string]connect.TopicID
	// Note is kept with the new generation.
	Note string
}

// Reset closes the live generation and opens the next, in one transaction that
// waits for the Puts that are under way (promise 4). Sinks of the old generation
// are fenced. It returns the new generation. A connector that has never run has its
// first generation closed as it is, empty: it begins at the offsets given here.
//
// Where a tape would go back, tape.replay.index must be on: the rows of those
// offsets are then replaced as they are stored again.
func (a *Admin) Reset(ctx context.Context, r Reset) (generation int32, err error) {
	c := a.c
	if err := r.check(); err != nil {
		return 0, err
	}
	generation, err = c.reset(ctx, &r)
	if sqlState(err) == codeUndefinedTable {
		err = c.pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
			_, err := c.schema.ensure(ctx, conn.Conn(), nil)
			return err
		})
		if err == nil {
			generation, err = c.reset(ctx, &r)
		}
	}
	if err != nil {
		return 0, classifyOpen("resetting offsets", err)
	}
	return generation, nil
}

func (c *Connector) reset(ctx context.Context, r *Reset) (generation int32, err error) {
	err = pgx.BeginTxFunc(ctx, c.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		if err := c.setLocal(ctx, tx); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, takeGate, c.gateKey()); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, c.statements.insertGeneration, c.name); err != nil {
			return err
		}
		var old int32
		err := tx.QueryRow(ctx, c.statements.closeGeneration, c.name).Scan(&old)
		if errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("connector %s has no live generation", c.name)
		}
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", lockKey("claim", c.cfg.SchemaName)); err != nil {
			return err
		}
		closed, err := c.closeRows(ctx, tx, old)
		if err != nil {
			return err
		}
		if err := c.checkTapes(closed, r); err != nil {
			return err
		}
		if err := c.retireTopics(ctx, tx, r.MadeAgain, old); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, c.statements.nextGeneration, c.name, r.Note).Scan(&generation); err != nil {
			return err
		}
		return c.carry(ctx, tx, generation, r.rows(closed))
	})
	return generation, err
}

func (r *Reset) check() error {
	for tp, next := range r.Next {
		if next < 0 {
			return fmt.Errorf("%s: %d is no offset to reset to", tp, next)
		}
	}
	return nil
}

// rows are the ledger rows of the next generation.
func (r *Reset) rows(closed map[connect.TopicPartition]ledgerRow) []ledgerRow {
	next := make(map[connect.TopicPartition]ledgerRow, len(closed)+len(r.Next))
	topicIDs := map[string]string{}
	for tp, row := range closed {
		next[tp] = row
		if row.topicID != "" {
			topicIDs[tp.Topic] = row.topicID
		}
	}
	for tp, offset := range r.Next {
		next[tp] = ledgerRow{TopicPartition: tp, topicID: topicIDs[tp.Topic], next: offset}
	}
	out := make([]ledgerRow, 0, len(next))
	for tp, row := range next {
		if id, again := r.MadeAgain[tp.Topic]; again {
			row.topicID, row.lastOffset, row.lastTime = id.String(), nil, nil
			if _, given := r.Next[tp]; !given {
				row.next = 0
			}
		}
		out = append(out, row)
	}
	slices.SortFunc(out, func(a, b ledgerRow) int { return a.Compare(b.TopicPartition) })
	return out
}

func (c *Connector) closeRows(ctx context.Context, tx pgx.Tx, generation int32) (map[connect.TopicPartition]ledgerRow, error) {
	rows, err := tx.Query(ctx, c.statements.closeRows, c.name, generation)
	if err != nil {
		return nil, err
	}
	out := map[connect.TopicPartition]ledgerRow{}
	var r ledgerRow
	_, err = pgx.ForEachRow(rows, []any{&r.Topic, &r.Partition, &r.topicID, &r.next, &r.lastOffset, &r.lastTime}, func() error {
		out[r.TopicPartition] = r
		r = ledgerRow{}
		return nil
	})
	return out, err
}

// checkTapes refuses to go back where stored rows would have to be found and
// replaced and no index finds them. A topic made again has no stored rows.
func (c *Connector) checkTapes(closed map[connect.TopicPartition]ledgerRow, r *Reset) error {
	for tp, offset := range r.Next {
		kinds, _ := c.kindsOf(tp.Topic)
		if _, again := r.MadeAgain[tp.Topic]; again {
			continue
		}
		isTape := func(kind marketdata.Kind) bool { return c.cfg.isTape(tableOf(kind)) }
		if !slices.ContainsFunc(kinds, isTape) || c.cfg.TapeReplayIndex {
			continue
		}
		if row, known := closed[tp]; known && offset < row.next {
			return fmt.Errorf("%s: going back from %d to %d would store rows of a tape twice; "+
				"set tape.replay.index to true, so that they are replaced", tp, row.next, offset)
		}
	}
	return nil
}

// retireTopics renames the rows of topics made again whose id is unknown, so
// that the next claim makes a new one.
func (c *Connector) retireTopics(ctx context.Context, tx pgx.Tx, again map[string]connect.TopicID, generation int32) error {
	if len(again) == 0 {
		return nil
	}
	topics := make([]string, 0, len(again))
	for topic := range again {
		topics = append(topics, topic)
	}
	label := fmt.Sprintf("the end of %s/%d at %s", c.name, generation, time.Now().UTC().Format(time.RFC3339Nano))
	_, err := tx.Exec(ctx, c.statements.retireTopics, topics, label)
	return err
}

func (c *Connector) carry(ctx context.Context, tx pgx.Tx, generation int32, rows []ledgerRow) error {
	if len(rows) == 0 {
		return nil
	}
	n := len(rows)
	topics, partitions, ids := make([]string, n), make([]int32, n), make([]string, n)
	next, last, times := make([]int64, n), make([]*int64, n), make([]*time.Time, n)
	for i, r := range rows {
		topics[i], partitions[i], ids[i] = r.Topic, r.Partition, r.topicID
		next[i], last[i], times[i] = r.next, r.lastOffset, r.lastTime
	}
	_, err := tx.Exec(ctx, c.statements.carryRows, c.name, generation, topics, partitions, ids, next, last, times)
	return err
}

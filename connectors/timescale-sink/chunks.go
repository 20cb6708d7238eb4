package timescalesink

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// chunkCache knows which ranges of time of a hypertable have a chunk.
//
// A transaction that makes a chunk keeps others from making any until it ends,
// and two that hold rows while they wait for that deadlock. So chunks are made
// ahead, in short transactions of their own, one at a time for each table.
type chunkCache struct {
	gate   gate // held while the database is asked
	mu     sync.Mutex
	ranges []chunkRange // in ascending order
	warned bool         // of a batch that needs many; under gate
	off    bool         // the role may not make them, so that the batches' transactions do; under gate
}

// chunkRange is [start, end) in µs since 1970.
type chunkRange struct{ start, end int64 }

func (c *chunkCache) covers(micros int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, found := c.find(micros)
	return found
}

// find looks for the range of a time; c.mu is held.
func (c *chunkCache) find(micros int64) (int, bool) {
	return slices.BinarySearchFunc(c.ranges, micros, func(r chunkRange, t int64) int {
		switch {
		case r.end <= t:
			return -1
		case r.start > t:
			return 1
		}
		return 0
	})
}

func (c *chunkCache) add(ranges []chunkRange) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range ranges {
		if _, found := c.find(r.start); !found {
			c.ranges = append(c.ranges, r)
			slices.SortFunc(c.ranges, func(a, b chunkRange) int { return int(min(1, max(-1, a.start-b.start))) })
		}
	}
}

// uncovered gives the first row whose chunk is not known to be there, or nil.
func (c *chunkCache) uncovered(rows []*row) *row {
	c.mu.Lock()
	defer c.mu.Unlock()
	var last chunkRange // most rows lie where the one before them does
	for _, r := range rows {
		at := r.micros()
		if at >= last.start && at < last.end {
			continue
		}
		i, found := c.find(at)
		if !found {
			return r
		}
		last = c.ranges[i]
	}
	return nil
}

// manyChunks is how many new ones a batch may need before it is told of: a
// producer whose clock jumps makes thousands, each with its indexes and locks.
const manyChunks = 50

// ensureChunks makes the chunks that a batch needs.
func (s *Sink) ensureChunks(ctx context.Context, p *plan) error {
	for t, rows := range p.rows {
		g := s.connector.schema.target(tables[t].kind)
		if len(rows) == 0 || g == nil || !g.hypertable {
			continue
		}
		if err := s.ensureTableChunks(ctx, g, rows); err != nil {
			return err
		}
	}
	return nil
}

func (s *Sink) ensureTableChunks(ctx context.Context, g *target, rows []*row) error {
	if g.chunks.uncovered(rows) == nil {
		return nil
	}
	if err := g.chunks.gate.lock(ctx); err != nil {
		return err
	}
	defer g.chunks.gate.unlock()
	for made := 0; !g.chunks.off; made++ {
		if made > manyChunks && !g.chunks.warned {
			g.chunks.warned = true
			s.connector.log.Warn("the times of a batch's records lie far apart, each makes a chunk", "table", g.name)
		}
		missing := g.chunks.uncovered(rows)
		if missing == nil {
			return nil
		}
		found, err := s.findChunks(ctx, s.conn, g, missing.micros())
		if err != nil {
			return err
		}
		g.chunks.add(found)
		if g.chunks.covers(missing.micros()) {
			continue
		}
		err = pgx.BeginFunc(ctx, s.conn, func(tx pgx.Tx) error { return s.makeChunk(ctx, tx, g, missing) })
		switch code := sqlState(err); {
		case code == codeInsufficientPrivilege, err != nil && isBadData(code):
			// Without DELETE, or where a check refuses the probe, the batch makes its own
			// chunks; what is wrong with a record it will say itself.
			if code == codeInsufficientPrivilege {
				g.chunks.off = true
			}
			return nil
		case err != nil:
			return err
		}
		if found, err = s.findChunks(ctx, s.conn, g, missing.micros()); err != nil {
			return err
		}
		g.chunks.add(found)
		if !g.chunks.covers(missing.micros()) {
			return nil
		}
		s.connector.counters.ChunksMade.Add(1)
	}
	return nil
}

// findChunks reads the ranges of the chunks that lie around a time.
func (s *Sink) findChunks(ctx context.Context, q querier, g *target, micros int64) ([]chunkRange, error) {
	rows, err := q.Query(ctx, `SELECT (extract(epoch FROM range_start) * 1000000)::int8, (extract(epoch FROM range_end) * 1000000)::int8
		FROM timescaledb_information.chunks WHERE hypertable_schema = $1 AND hypertable_name = $2
		AND range_start <= to_timestamp($3::int8 / 1000000.0) + interval '90 days' AND range_end > to_timestamp($3::int8 / 1000000.0)`,
		s.connector.cfg.SchemaName, s.connector.cfg.tableName(g.table.kind), micros)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (r chunkRange, err error) {
		err = row.Scan(&r.start, &r.end)
		return r, err
	})
}

// makeChunk makes a chunk as the Apache edition allows it: a copy of the row
// that needs it goes in under an offset that no record has, and out again.
func (s *Sink) makeChunk(ctx context.Context, tx pgx.Tx, g *target, r *row) error {
	if err := s.connector.setLocal(ctx, tx); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", lockKey("chunk", g.name)); err != nil {
		return err
	}
	found, err := s.findChunks(ctx, tx, g, r.micros())
	if err != nil {
		return err
	}
	g.chunks.add(found)
	if g.chunks.covers(r.micros()) {
		return nil
	}
	probe := *r
	probe.offset = -1
	p := rowParams(g.table.rowColumns(), []*row{&probe}, len(originColumns))
	sql := g.insertSQL
	if !g.tape {
		sql += " ON CONFLICT DO NOTHING"
	}
	if err := tx.Conn().PgConn().ExecParams(ctx, sql, p.values, p.oids, p.formats, binaryResults).Read().Err; err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "DELETE FROM "+g.name+" WHERE \"time\" = $1 AND origin_offset = -1", time.UnixMicro(r.micros()))
	return err
}

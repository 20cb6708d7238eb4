package timescalesink

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/marketdata"
)

// errChunkKeepsRows says that a DELETE from a chunk by its own name did not meet
// each of its rows. Some versions of TimescaleDB may not find compressed ones
// that way; the sink then deletes from the hypertables.
var errChunkKeepsRows = errors.New("a chunk keeps rows that were to be replaced")

// replaceSteps delete what former generations stored in a tape for the offsets
// that a batch passes again, after a reset went back: a tape has no key that
// would find the doubles. The index on the origin serves them.
//
// Their chunks are read before the transaction begins, and each is deleted from
// by its own name: a DELETE from the hypertable locks all of its chunks. That is
// safe: the rows were stored in generations that are closed, or by this sink, and
// the fence refuses the transaction otherwise.
func (s *Sink) replaceSteps(ctx context.Context, b *connect.Batch) ([]step, error) {
	byKind := map[marketdata.Kind][]*connect.Part{}
	for i := range b.Parts {
		part := &b.Parts[i]
		if part.Start >= s.open[part.TopicPartition].storedBelow {
			continue
		}
		kinds, _ := s.connector.kindsOf(part.Topic)
		for _, kind := range kinds {
			if s.connector.cfg.isTape(tableOf(kind)) {
				byKind[kind] = append(byKind[kind], part)
			}
		}
	}
	const window = `t.origin_topic = w.topic AND t.origin_partition = w.partition
		AND t.origin_offset >= w.start_offset AND t.origin_offset < w.next_offset`
	const windows = `unnest($1::int4[], $2::int4[], $3::int8[], $4::int8[]) AS w(topic, partition, start_offset, next_offset)`
	var steps []step
	for _, t := range tables {
		parts, g := byKind[t.kind], s.connector.schema.target(t.kind)
		if len(parts) == 0 || g == nil {
			continue
		}
		n := len(parts)
		topics, partitions, starts, nexts := make([]int32, n), make([]int32, n), make([]int64, n), make([]int64, n)
		for i, part := range parts {
			topics[i], partitions[i] = s.open[part.TopicPartition].topicID, part.Partition
			starts[i], nexts[i] = part.Start, part.Next
		}
		var p params
		p.int4s(n, func(i int) int32 { return topics[i] })
		p.int4s(n, func(i int) int32 { return partitions[i] })
		p.int8s(n, func(i int) int64 { return starts[i] })
		p.int8s(n, func(i int) int64 { return nexts[i] })
		deleteStep := func(table, from string) step {
			return step{
				doing: "replacing rows of " + table, params: p,
				sql: fmt.Sprintf(`DELETE FROM %s AS t USING %s WHERE %s`, from, windows, window),
			}
		}
		sql := fmt.Sprintf(`SELECT n.nspname::text, c.relname::text, d.rows
			FROM (SELECT t.tableoid, count(*) AS rows FROM %s AS t, %s WHERE %s GROUP BY t.tableoid) AS d
			JOIN pg_catalog.pg_class c ON c.oid = d.tableoid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace ORDER BY 1, 2`,
			g.name, windows, window)
		if s.wholeTapes {
			steps = append(steps, deleteStep(g.name, g.name))
			continue
		}
		rows, err := s.conn.Query(ctx, sql, topics, partitions, starts, nexts)
		if err != nil {
			return nil, fmt.Errorf("finding former rows of %s: %w", g.name, err)
		}
		var schema, chunk string
		var count int64
		_, err = pgx.ForEachRow(rows, []any{&schema, &chunk, &count}, func() error {
			step, want := deleteStep(g.name, quote(schema, chunk)), count
			step.verify = func(tag pgconn.CommandTag) error {
				if tag.RowsAffected() != want {
					return errChunkKeepsRows
				}
				return nil
			}
			steps = append(steps, step)
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("finding former rows of %s: %w", g.name, err)
		}
	}
	return steps, nil
}

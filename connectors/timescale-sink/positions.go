package timescalesink

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/qicore/tickconnect/connect"
)

// Positions implements connect.OffsetStore.
func (s *Sink) Positions(ctx context.Context, tps []connect.TopicPartition) ([]connect.Position, error) {
	if s.closed {
		return nil, errSinkClosed
	}
	if len(tps) == 0 {
		return nil, nil
	}
	c := s.connector
	unknown := make([]connect.Position, len(tps))
	for i := range unknown {
		unknown[i] = connect.Position{Next: connect.NoOffset, LastOffset: -1, LastTimestamp: -1}
	}
	if err := s.connect(ctx); err != nil {
		return nil, classify("reading the ledger", err)
	}
	var generation int32
	var fingerprint int64
	var ledger map[connect.TopicPartition]ledgerRow
	var ids map[string]int32
	var dead, stored map[connect.TopicPartition]int64
	options := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly} // one snapshot
	err := pgx.BeginTxFunc(ctx, s.conn, options, func(tx pgx.Tx) error {
		err := c.setLocal(ctx, tx)
		if err != nil {
			return err
		}
		if err = tx.QueryRow(ctx, c.statements.liveGeneration, c.name).Scan(&generation); err != nil {
			return err
		}
		if ledger, err = c.positionsOf(ctx, tx, generation, tps); err != nil {
			return err
		}
		topics, idOf := make([]string, 0, len(ledger)), map[string]string{}
		for _, row := range ledger {
			topics = append(topics, row.Topic)
			if row.topicID != "" || idOf[row.Topic] == "" {
				idOf[row.Topic] = row.topicID
			}
		}
		if ids, err = c.readTopicIDs(ctx, tx, topics, idOf); err != nil {
			return err
		}
		if dead, stored, err = c.history(ctx, tx, generation, tps); err != nil {
			return err
		}
		fingerprint, err = c.schema.readFingerprint(ctx, tx)
		return err
	})
	switch {
	case errors.Is(err, pgx.ErrNoRows), sqlState(err) == "42P01":
		// No generation, no ledger: the database was made anew.
		s.abort(ctx)
		c.schema.forget()
		return unknown, nil
	case err != nil:
		s.abort(ctx)
		return nil, classify("reading the ledger", err)
	}
	if fingerprint != c.schema.fingerprint.Load() {
		c.schema.forget()
	}
	s.enter(generation)
	positions := unknown
	for i, tp := range tps {
		row, ok := ledger[tp]
		if !ok || row.closed {
			continue
		}
		positions[i] = row.position()
		if _, isOpen := s.open[tp]; isOpen {
			s.open[tp] = openPartition{topicID: ids[tp.Topic], deadBelow: dead[tp], storedBelow: stored[tp]}
		}
	}
	return positions, nil
}

func (c *Connector) positionsOf(ctx context.Context, q querier, generation int32, tps []connect.TopicPartition) (map[connect.TopicPartition]ledgerRow, error) {
	topics, partitions := split(tps)
	return collectLedger(q.Query(ctx, c.statements.positions, c.name, generation, topics, partitions))
}

// history tells, for each partition, how far former generations came and where
// the dead letters end that they left; nothing where the first is live.
func (c *Connector) history(ctx context.Context, q querier, generation int32, tps []connect.TopicPartition) (dead, stored map[connect.TopicPartition]int64, err error) {
	if generation == 0 || len(tps) == 0 {
		return nil, nil, nil
	}
	if dead, err = c.offsetsOf(ctx, q, c.statements.deadBelow, generation, tps); err != nil {
		return nil, nil, err
	}
	stored, err = c.offsetsOf(ctx, q, c.statements.storedBelow, generation, tps)
	return dead, stored, err
}

func (c *Connector) offsetsOf(ctx context.Context, q querier, sql string, generation int32, tps []connect.TopicPartition) (map[connect.TopicPartition]int64, error) {
	topics, partitions := split(tps)
	rows, err := q.Query(ctx, sql, c.name, generation, topics, partitions)
	if err != nil {
		return nil, err
	}
	out := map[connect.TopicPartition]int64{}
	var tp connect.TopicPartition
	var offset int64
	_, err = pgx.ForEachRow(rows, []any{&tp.Topic, &tp.Partition, &offset}, func() error {
		out[tp] = offset
		return nil
	})
	return out, err
}

func split(tps []connect.TopicPartition) ([]string, []int32) {
	topics, partitions := make([]string, len(tps)), make([]int32, len(tps))
	for i, tp := range tps {
		topics[i], partitions[i] = tp.Topic, tp.Partition
	}
	return topics, partitions
}

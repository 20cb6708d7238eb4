package timescalesink

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/qicore/tickconnect/connect"
)

// The fence of a Put (promise 2) is three statements in front of its rows: the
// connector's gate; the generation; then the ledger rows.
//
// The gate is an advisory lock that Puts share and a reset takes alone, each
// until its transaction ends. A reset that holds it finds no Put under way. A
// Put that holds it reads the generation in a statement of its own, whose
// snapshot READ COMMITTED takes after the gate was passed; a reset's COMMIT is
// visible before its locks are free, so the Put sees each reset that came before
// it, and none comes until it ends. The row needs no lock beside that. FOR SHARE
// would make a multixact of each pair of Puts that overlap, for one row, and
// whoever asks for it passes one that waits to update the row: Puts without a
// pause would keep a reset out for ever. Open still takes the row FOR SHARE.
//
// The statements on rows divide by zero where they do not
// find what they must, so that the server itself skips the rows behind it in the
// pipeline: they could wait for keys that the holder of a busy ledger row has
// written. explainFence then finds out what is wrong.

func (c *Connector) gateKey() int64 { return lockKey("reset", c.cfg.SchemaName, c.name) }

const shareGate, takeGate = "SELECT pg_advisory_xact_lock_shared($1)", "SELECT pg_advisory_xact_lock($1)"

func (c *Connector) gateStep() step {
	var p params
	p.int8(c.gateKey())
	return step{doing: "waiting for a reset", sql: shareGate, params: p, own: true}
}

func (st *ledgerStatements) generationFence(connector string, generation int32) step {
	var p params
	p.text(connector)
	p.add(oidInt4, appendInt32s(nil, generation))
	return step{doing: "reading the generation", sql: st.fenceGeneration, params: p, fence: true, own: true}
}

func (st *ledgerStatements) ledgerFence(connector string, generation int32, b *connect.Batch) step {
	var p params
	p.text(connector)
	p.add(oidInt4, appendInt32s(nil, generation))
	p.strings(len(b.Parts), func(i int) string { return b.Parts[i].Topic })
	p.int4s(len(b.Parts), func(i int) int32 { return b.Parts[i].Partition })
	p.int8s(len(b.Parts), func(i int) int64 { return b.Parts[i].Start })
	p.int8(int64(len(b.Parts)))
	return step{doing: "locking the ledger", sql: st.fenceLedger, params: p, fence: true, own: true}
}

// explainFence says why the fence did not let a batch through: nil where it
// would by now.
func (s *Sink) explainFence(ctx context.Context, b *connect.Batch) error {
	n := len(b.Parts)
	topics, partitions := make([]string, n), make([]int32, n)
	for i := range b.Parts {
		topics[i], partitions[i] = b.Parts[i].Topic, b.Parts[i].Partition
	}
	st, name := &s.connector.statements, s.connector.name
	next := map[connect.TopicPartition]int64{}
	free := map[connect.TopicPartition]bool{}
	err := pgx.BeginFunc(ctx, s.conn, func(tx pgx.Tx) error {
		if err := s.connector.setLocal(ctx, tx); err != nil {
			return err
		}
		var tp connect.TopicPartition
		var offset int64
		rows, err := tx.Query(ctx, st.freeRows, name, s.generation, topics, partitions)
		if err != nil {
			return err
		}
		_, err = pgx.ForEachRow(rows, []any{&tp.Topic, &tp.Partition}, func() error {
			free[tp] = true
			return nil
		})
		if err != nil {
			return err
		}
		rows, err = tx.Query(ctx, st.openRows, name, s.generation, topics, partitions)
		if err != nil {
			return err
		}
		_, err = pgx.ForEachRow(rows, []any{&tp.Topic, &tp.Partition, &offset}, func() error {
			next[tp] = offset
			return nil
		})
		return err
	})
	if err != nil {
		return err
	}
	fenced := &connect.FencedError{}
	for i := range b.Parts {
		tp := b.Parts[i].TopicPartition
		if stored, ok := next[tp]; !ok || stored != b.Parts[i].Start {
			fenced.Moved = append(fenced.Moved, tp)
		} else if !free[tp] {
			fenced.Busy = append(fenced.Busy, tp)
		}
	}
	if err := s.endBlockers(ctx, fenced.Busy); err != nil {
		return err
	}
	if len(fenced.Moved)+len(fenced.Busy) == 0 {
		return nil
	}
	return fenced
}

// endBlockers remembers since when ledger rows are held by another backend, and
// after fence.timeout.ms ends that backend. A process that was stopped in the
// middle of a COPY holds its rows for ever: its kernel still answers keepalives,
// and no timeout of the server counts while it waits for the client.
func (s *Sink) endBlockers(ctx context.Context, busy []connect.TopicPartition) error {
	now := time.Now()
	since := make(map[connect.TopicPartition]time.Time, len(busy))
	var overdue []connect.TopicPartition
	for _, tp := range busy {
		first, known := s.busySince[tp]
		if !known {
			first = now
		}
		if now.Sub(first) >= s.connector.cfg.FenceTimeout {
			overdue = append(overdue, tp)
			first = now
		}
		since[tp] = first
	}
	s.busySince = since
	if len(overdue) == 0 {
		return nil
	}
	topics, partitions := make([]string, len(overdue)), make([]int32, len(overdue))
	for i, tp := range overdue {
		topics[i], partitions[i] = tp.Topic, tp.Partition
	}
	rows, err := s.conn.Query(ctx, s.connector.statements.endBlockers, s.connector.name, s.generation,
		topics, partitions, applicationName(s.connector.name))
	if err != nil {
		return fmt.Errorf("ending the backend that holds %v: %w", overdue, err)
	}
	var pid int32
	var ended bool
	_, err = pgx.ForEachRow(rows, []any{&pid, &ended}, func() error {
		s.connector.counters.BackendsEnded.Add(1)
		s.connector.log.Warn("ended a backend that held ledger rows", "pid", pid, "ended", ended,
			"partitions", fmt.Sprint(overdue), "fence.timeout.ms", s.connector.cfg.FenceTimeout.Milliseconds())
		return nil
	})
	return err
}

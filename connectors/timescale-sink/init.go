package timescalesink

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/qicore/tickconnect/connect"
)

// Init implements connect.Initializer: of several replicas that start at once
// exactly one answers true.
func (c *Connector) Init(ctx context.Context, claims []connect.Claim) (created bool, err error) {
	conn, err := c.pool.Acquire(ctx)
	if err != nil {
		return false, classifyOpen("making the first generation", err)
	}
	defer conn.Release()
	if _, err := c.schema.ensure(ctx, conn.Conn(), nil); err != nil {
		return false, classifyOpen("making the first generation", err)
	}
	var known []int
	for i := range claims {
		if _, ok := c.kindsOf(claims[i].Topic); ok {
			known = append(known, i)
		}
	}
	err = pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		if err := c.setLocal(ctx, tx); err != nil {
			return err
		}
		generation, made, err := c.ensureGeneration(ctx, tx)
		if err != nil || !made {
			return err
		}
		created = true
		_, err = c.claim(ctx, tx, generation, claims, known, make([]connect.Position, len(claims)))
		return err
	})
	if err != nil {
		return false, classifyOpen("making the first generation", err)
	}
	return created, nil
}

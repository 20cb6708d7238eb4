package timescalesink

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// DeadLetterPurge chooses dead letters that are to go.
type DeadLetterPurge struct {
	Before        time.Time // stored before
	Topic, Reason string    // "" for all
	// KeepUnpublished keeps those that did not go to the dead letter topic yet.
	KeepUnpublished bool
}

// ReasonSpan counts dead letters with one reason, by when they were stored.
type ReasonSpan struct {
	Reason         string
	Count          int64
	Oldest, Newest time.Time
}

// PlanDeadLetterPurge counts what a purge would delete, by reason, and what it would
// keep for not being published.
func (a *Admin) PlanDeadLetterPurge(ctx context.Context, p DeadLetterPurge) (goes []ReasonSpan, kept int64, err error) {
	rows, err := a.c.pool.Query(ctx, a.c.statements.planPurge, a.c.name, p.Before, p.Topic, p.Reason, p.KeepUnpublished)
	if err != nil {
		return nil, 0, classifyOpen("counting dead letters", err)
	}
	var s ReasonSpan
	var stays bool
	_, err = pgx.ForEachRow(rows, []any{&stays, &s.Reason, &s.Count, &s.Oldest, &s.Newest}, func() error {
		if stays {
			kept += s.Count
		} else {
			goes = append(goes, s)
		}
		return nil
	})
	return goes, kept, classifyOpen("counting dead letters", err)
}

// purgePage is how many dead letters go in one transaction.
const purgePage = 10_000

// PurgeDeadLetters deletes dead letters, page by page, and tells after each how many are
// gone. The ledger goes on counting them: it says what became of their offsets.
func (a *Admin) PurgeDeadLetters(ctx context.Context, p DeadLetterPurge, tell func(gone int64)) (gone int64, err error) {
	for {
		tag, err := a.c.pool.Exec(ctx, a.c.statements.purgeDeadLetters, a.c.name, p.Before, p.Topic, p.Reason, p.KeepUnpublished, purgePage)
		if err != nil {
			return gone, classifyOpen("deleting dead letters", err)
		}
		if tag.RowsAffected() == 0 {
			return gone, nil
		}
		gone += tag.RowsAffected()
		tell(gone)
	}
}

// ClosedGeneration is a generation that is over.
type ClosedGeneration struct {
	Generation int32     `json:"generation"`
	Kind       string    `json:"kind"`
	CreatedAt  time.Time `json:"created_at"`
	ClosedAt   time.Time `json:"closed_at"`
	Note       string    `json:"note"`
	Partitions int64     `json:"partitions"`
	// Needed says why it stays; "" where it may go.
	Needed string `json:"needed,omitempty"`
}

// ClosedGenerations lists those that were closed before a time, in their order, and says
// which of them are needed still: the latest of all, so that no number is used twice and
// what worked for one stays fenced (promise 2); and one that had stored offsets to which
// the live one has gone back and has not come again, since rows of a tape are replaced
// there (promise 4).
func (a *Admin) ClosedGenerations(ctx context.Context, before time.Time) ([]ClosedGeneration, error) {
	rows, err := a.c.pool.Query(ctx, a.c.statements.closedGenerations, a.c.name, before)
	if err != nil {
		return nil, classifyOpen("reading generations", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[ClosedGeneration])
	return all, classifyOpen("reading generations", err)
}

// PurgeGenerations deletes closed generations with their ledger rows: those that
// ClosedGenerations lists and finds not needed, at this moment.
func (a *Admin) PurgeGenerations(ctx context.Context, before time.Time) (gone []ClosedGeneration, err error) {
	err = pgx.BeginTxFunc(ctx, a.c.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		if err := a.c.setLocal(ctx, tx); err != nil {
			return err
		}
		// As a reset does: none may go back meanwhile.
		if _, err := tx.Exec(ctx, takeGate, a.c.gateKey()); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, a.c.statements.closedGenerations, a.c.name, before)
		if err != nil {
			return err
		}
		all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[ClosedGeneration])
		if err != nil {
			return err
		}
		var numbers []int32
		for _, g := range all {
			if g.Needed == "" {
				gone, numbers = append(gone, g), append(numbers, g.Generation)
			}
		}
		if len(numbers) == 0 {
			return nil
		}
		for _, statement := range []string{a.c.statements.purgeLedger, a.c.statements.purgeGenerations} {
			if _, err := tx.Exec(ctx, statement, a.c.name, numbers); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, classifyOpen("deleting generations", err)
	}
	return gone, nil
}

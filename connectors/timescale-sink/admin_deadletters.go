package timescalesink

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/qicore/tickconnect/connect"
)

// StoredDeadLetter is a row of connector_dead_letters.
type StoredDeadLetter struct {
	connect.DeadLetter // with its exact bytes; Err is set
	Generation         int32
	CreatedAt          time.Time
	PublishedAt        *time.Time // when it went to the dead letter topic
	RedrivenAt         *time.Time // when its offset was handled again
}

// DeadLetterQuery narrows a list of dead letters.
type DeadLetterQuery struct {
	Topic string // "" for all
	// Redriven also gives those whose offsets were handled again.
	Redriven bool
	// After goes on behind a dead letter of the page before; nil begins.
	After *StoredDeadLetter
	Limit int
}

// DeadLetters lists dead letters in the order of topic, partition, offset and
// generation.
func (a *Admin) DeadLetters(ctx context.Context, q DeadLetterQuery) ([]StoredDeadLetter, error) {
	after := StoredDeadLetter{Generation: -1}
	if q.After != nil {
		after = *q.After
	}
	return a.deadLetters(ctx, a.c.statements.listDeadLetters, a.c.name, q.Topic, q.Redriven,
		after.Topic, after.Partition, after.Offset, after.Generation, q.Limit)
}

// DeadLetter gives the dead letters of one offset, the latest generation's
// first; none where there is none.
func (a *Admin) DeadLetter(ctx context.Context, tp connect.TopicPartition, offset int64) ([]StoredDeadLetter, error) {
	return a.deadLetters(ctx, a.c.statements.showDeadLetters, a.c.name, tp.Topic, tp.Partition, offset)
}

func (a *Admin) deadLetters(ctx context.Context, sql string, args ...any) ([]StoredDeadLetter, error) {
	rows, err := a.c.pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, classifyOpen("reading dead letters", err)
	}
	letters, err := pgx.CollectRows(rows, scanDeadLetter)
	if err != nil {
		return nil, classifyOpen("reading dead letters", err)
	}
	return letters, nil
}

func scanDeadLetter(row pgx.CollectableRow) (StoredDeadLetter, error) {
	l := StoredDeadLetter{DeadLetter: connect.DeadLetter{Record: connect.Record{Err: &connect.RecordError{}}}}
	var at *time.Time
	var headers string
	e := l.Err
	err := row.Scan(&l.Generation, &l.Topic, &l.Partition, &l.Offset, &at, &e.Stage, &e.Reason, &e.SQLState,
		&e.Column, &e.Message, &l.Key, &l.Value, &headers, &l.CreatedAt, &l.PublishedAt, &l.RedrivenAt)
	if err != nil {
		return l, err
	}
	l.Timestamp = timeMillis(at)
	l.Headers, err = decodeHeaders(headers)
	return l, err
}

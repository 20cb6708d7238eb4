package timescalesink

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/qicore/tickconnect/connect"
)

const (
	// outboxPageBytes bounds the keys, values and headers that are read at once; one
	// dead letter is read whatever its size.
	outboxPageBytes = 4 << 20
	// outboxFailuresMax is after how many single failures in a row the topic counts
	// as away, rather than the letters as ones that it does not take.
	outboxFailuresMax = 3
	outboxRetryAfter  = 5 * time.Minute
	failingMax        = 10_000
)

// letterKey names a dead letter of a connector.
type letterKey struct {
	connect.TopicPartition
	generation int32
	offset     int64
}

func (d *StoredDeadLetter) letterKey() letterKey {
	return letterKey{d.TopicPartition, d.Generation, d.Offset}
}

// outbox remembers the dead letters that could not be published, so that they
// stand in nobody's way: they are tried again once no other is left.
type outbox struct {
	gate    gate                  // held by the one call of a process that publishes
	failing map[letterKey]failure // bounded by failingMax
}

// failure is what is known of a letter that could not be published.
type failure struct {
	alone bool      // others were published when it was not: it is the letter, not the topic
	after time.Time // not tried again before
}

// PublishDeadLetters implements connect.DeadLetterOutbox. Where the letters
// cannot be published together it tries them one by one, leaves those that fail
// for later and goes on; where the topic takes none it gives an error. One replica
// publishes at a time; another finds nothing to do.
func (c *Connector) PublishDeadLetters(ctx context.Context, limit int, publish func([]connect.DeadLetter) error) (int, error) {
	if err := c.outbox.gate.lock(ctx); err != nil {
		return 0, classify("publishing dead letters", err)
	}
	defer c.outbox.gate.unlock()
	published, tried := 0, 0
	for tried < limit {
		page, err := c.publishPage(ctx, limit-tried, publish)
		published += page.published
		if err != nil {
			return published, classify("publishing dead letters", err)
		}
		if page.tried == 0 {
			break
		}
		tried += page.tried
		if page.away != nil {
			if published == 0 {
				return 0, classify("publishing dead letters", page.away)
			}
			break
		}
	}
	return published, nil
}

// page is what became of the letters that were read at once.
type page struct {
	tried, published int
	away             error // the topic takes none of them
}

// publishPage reads letters, publishes them and marks them. It holds no row
// meanwhile, so that no Put waits for the broker, but the connector's outbox: an
// advisory lock of its transaction.
func (c *Connector) publishPage(ctx context.Context, limit int, publish func([]connect.DeadLetter) error) (result page, err error) {
	err = pgx.BeginTxFunc(ctx, c.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		if err := c.setLocal(ctx, tx); err != nil {
			return err
		}
		var mine bool
		if err := tx.QueryRow(ctx, "SELECT pg_try_advisory_xact_lock($1)", lockKey("outbox", c.cfg.SchemaName, c.name)).Scan(&mine); err != nil || !mine {
			return err
		}
		letters, err := c.unpublished(ctx, tx, limit)
		if err != nil || len(letters) == 0 {
			return err
		}
		result.tried = len(letters)
		sent, away, err := c.publishLetters(ctx, tx, letters, publish)
		if err != nil {
			return err
		}
		result.away = away
		if len(sent) == 0 {
			return nil
		}
		if err := c.markPublished(ctx, tx, sent); err != nil {
			return err
		}
		result.published = len(sent)
		return nil
	})
	if err != nil {
		result.published = 0
	}
	return result, err
}

// unpublished reads the letters that did not fail yet; where there are none,
// those that failed and may be tried again.
func (c *Connector) unpublished(ctx context.Context, tx pgx.Tx, limit int) ([]StoredDeadLetter, error) {
	now := time.Now()
	if len(c.outbox.failing) > failingMax {
		c.outbox.failing = nil
	}
	for _, due := range []bool{false, true} {
		var past []letterKey
		for k, f := range c.outbox.failing {
			if !due || f.after.After(now) {
				past = append(past, k)
			}
		}
		generations, topics, partitions, offsets := splitLetters(past)
		rows, err := tx.Query(ctx, c.statements.unpublished, c.name, limit, outboxPageBytes, generations, topics, partitions, offsets)
		if err != nil {
			return nil, err
		}
		letters, err := pgx.CollectRows(rows, scanDeadLetter)
		if err != nil || len(letters) > 0 || len(c.outbox.failing) == 0 {
			return letters, err
		}
	}
	return nil, nil
}

// publishLetters publishes letters together, else one by one. away is set where
// none could be published; err where something else ended it.
func (c *Connector) publishLetters(ctx context.Context, tx pgx.Tx, letters []StoredDeadLetter, publish func([]connect.DeadLetter) error,
) (sent []letterKey, away, err error) {
	all := make([]connect.DeadLetter, len(letters))
	for i := range letters {
		all[i] = letters[i].DeadLetter
		sent = append(sent, letters[i].letterKey())
	}
	if away = publish(all); away == nil {
		return sent, nil, nil
	}
	sent = sent[:0]
	var failed []int
	var causes []error
	inRow := 0
	for i := range letters {
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		if len(letters) > 1 {
			// The transaction is not idle for longer than one letter takes.
			if _, err := tx.Exec(ctx, "SELECT"); err != nil {
				return nil, nil, err
			}
			away = publish(all[i : i+1])
		}
		if away == nil {
			sent, inRow = append(sent, letters[i].letterKey()), 0
			continue
		}
		failed, causes = append(failed, i), append(causes, away)
		if inRow++; inRow == outboxFailuresMax {
			break
		}
	}
	if ctx.Err() != nil {
		return nil, nil, ctx.Err()
	}
	for n, i := range failed {
		c.noteFailure(&letters[i], causes[n], len(sent) > 0)
	}
	if len(sent) > 0 {
		if inRow < outboxFailuresMax {
			return sent, nil, nil
		}
		return sent, errors.Join(causes...), nil
	}
	return nil, causes[len(causes)-1], nil
}

// noteFailure remembers a letter that could not be published; it is logged once
// that is known to lie at the letter.
func (c *Connector) noteFailure(l *StoredDeadLetter, cause error, othersWere bool) {
	if c.outbox.failing == nil {
		c.outbox.failing = map[letterKey]failure{}
	}
	f := c.outbox.failing[l.letterKey()]
	if othersWere && !f.alone {
		f.alone = true
		c.log.Warn("a dead letter cannot be published, going past it", "topic", l.Topic, "partition", l.Partition,
			"offset", l.Offset, "err", cause)
	}
	if f.alone {
		f.after = time.Now().Add(outboxRetryAfter)
	}
	c.outbox.failing[l.letterKey()] = f
}

func (c *Connector) markPublished(ctx context.Context, tx pgx.Tx, sent []letterKey) error {
	generations, topics, partitions, offsets := splitLetters(sent)
	_, err := tx.Exec(ctx, c.statements.markPublished, c.name, generations, topics, partitions, offsets)
	if err != nil {
		return err
	}
	for _, k := range sent {
		delete(c.outbox.failing, k)
	}
	return nil
}

func splitLetters(keys []letterKey) (generations []int32, topics []string, partitions []int32, offsets []int64) {
	generations, offsets = make([]int32, len(keys)), make([]int64, len(keys))
	topics, partitions = make([]string, len(keys)), make([]int32, len(keys))
	for i, k := range keys {
		generations[i], topics[i], partitions[i], offsets[i] = k.generation, k.Topic, k.Partition, k.offset
	}
	return generations, topics, partitions, offsets
}

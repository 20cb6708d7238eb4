package timescalesink

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/marketdata"
)

var errSinkClosed = errors.New("the sink is closed")

// ledgerRow is a row of connector_ledger.
type ledgerRow struct {
	connect.TopicPartition
	topicID    string
	next       int64
	lastOffset *int64
	lastTime   *time.Time
	closed     bool
	// unaccounted is how many offsets before next have no fate.
	unaccounted int64
}

func (r *ledgerRow) position() connect.Position {
	p := connect.Position{Next: r.next, LastOffset: -1, LastTimestamp: timeMillis(r.lastTime), Unaccounted: r.unaccounted}
	if r.lastOffset != nil {
		p.LastOffset = *r.lastOffset
	}
	return p
}

func collectLedger(rows pgx.Rows, err error) (map[connect.TopicPartition]ledgerRow, error) {
	if err != nil {
		return nil, err
	}
	out := map[connect.TopicPartition]ledgerRow{}
	var r ledgerRow
	_, err = pgx.ForEachRow(rows, []any{&r.Topic, &r.Partition, &r.topicID, &r.next, &r.lastOffset, &r.lastTime, &r.closed, &r.unaccounted}, func() error {
		out[r.TopicPartition] = r
		r = ledgerRow{}
		return nil
	})
	return out, err
}

// Open implements connect.Sink. Its transaction holds the live generation FOR
// SHARE, so that no row is made in a generation that a reset is closing.
func (s *Sink) Open(ctx context.Context, claims []connect.Claim) ([]connect.Position, error) {
	if s.closed {
		return nil, errSinkClosed
	}
	if len(claims) == 0 {
		return nil, nil
	}
	c := s.connector
	positions := make([]connect.Position, len(claims))
	var known []int // indexes of claims whose kind has its table
	err := s.connect(ctx)
	if err == nil {
		known, err = s.admit(ctx, claims, positions)
	}
	if err != nil {
		s.abort(ctx)
		return nil, classifyOpen("claiming partitions", err)
	}
	var opened map[connect.TopicPartition]openPartition
	var generation int32
	err = pgx.BeginTxFunc(ctx, s.conn, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		if err := c.setLocal(ctx, tx); err != nil {
			return err
		}
		var err error
		if generation, _, err = c.ensureGeneration(ctx, tx); err != nil {
			return err
		}
		opened, err = c.claim(ctx, tx, generation, claims, known, positions)
		return err
	})
	if err != nil {
		s.abort(ctx)
		return nil, classifyOpen("claiming partitions", err)
	}
	s.enter(generation)
	for i := range claims {
		delete(s.open, claims[i].TopicPartition) // one that is refused now may have been open
	}
	for tp, o := range opened {
		s.open[tp] = o
		delete(s.busySince, tp)
	}
	return positions, nil
}

// classifyOpen is classify for work on the ledger, where no record can be to
// blame: two processes that met on one key try again.
func classifyOpen(doing string, err error) error {
	if sqlState(err) == codeUniqueViolation {
		return connect.Retriable(fmt.Errorf("%s: %w", doing, err))
	}
	if isBadData(sqlState(err)) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return classify(doing, err)
}

// admit makes the tables of the claims' kinds and refuses the claims that have
// none. It returns the indexes of the others.
func (s *Sink) admit(ctx context.Context, claims []connect.Claim, positions []connect.Position) ([]int, error) {
	var kinds []marketdata.Kind
	for i := range claims {
		of, _ := s.connector.kindsOf(claims[i].Topic)
		kinds = append(kinds, of...)
	}
	slices.Sort(kinds)
	kinds = slices.Compact(kinds)
	flawed, err := s.connector.schema.ensure(ctx, s.conn, kinds)
	if err != nil {
		return nil, err
	}
	var known []int
	for i := range claims {
		of, ok := s.connector.kindsOf(claims[i].Topic)
		var flaw *flawedError
		for _, kind := range of {
			if flaw == nil {
				flaw = flawed[kind]
			}
		}
		switch {
		case !ok:
			reason, advice := s.connector.refusal(claims[i].Topic)
			positions[i] = refuse(claims[i].TopicPartition, reason, advice)
		case flaw != nil:
			positions[i] = refuse(claims[i].TopicPartition, flaw.Error(), "run: "+flaw.fix())
		default:
			known = append(known, i)
		}
	}
	return known, nil
}

func refuse(tp connect.TopicPartition, reason, advice string) connect.Position {
	return connect.Position{
		Next: connect.NoOffset, LastOffset: -1, LastTimestamp: -1,
		Err: &connect.RefusedError{At: tp, Reason: reason, Advice: advice},
	}
}

// ensureGeneration gives the live generation, held FOR SHARE, and makes
// generation 0 where the connector has none.
func (c *Connector) ensureGeneration(ctx context.Context, tx pgx.Tx) (generation int32, made bool, err error) {
	if _, err := tx.Exec(ctx, shareGate, c.gateKey()); err != nil {
		return 0, false, err
	}
	err = tx.QueryRow(ctx, c.statements.lockLiveGeneration, c.name).Scan(&generation)
	if !errors.Is(err, pgx.ErrNoRows) {
		return generation, false, err
	}
	tag, err := tx.Exec(ctx, c.statements.insertGeneration, c.name)
	if err != nil {
		return 0, false, err
	}
	err = tx.QueryRow(ctx, c.statements.lockLiveGeneration, c.name).Scan(&generation)
	if errors.Is(err, pgx.ErrNoRows) {
		err = fmt.Errorf("connector %s has generations and none of them is live", c.name)
	}
	return generation, tag.RowsAffected() == 1, err
}

// claim records the claims that were never seen and answers where all stand.
func (c *Connector) claim(ctx context.Context, tx pgx.Tx, generation int32, claims []connect.Claim, known []int,
	positions []connect.Position,
) (map[connect.TopicPartition]openPartition, error) {
	var topics []string
	for _, i := range known {
		topics = append(topics, claims[i].Topic)
	}
	slices.Sort(topics)
	topics = slices.Compact(topics)
	// Claims of all replicas run one after another: they are rare, and adopting a
	// topic's id must not race.
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", lockKey("claim", c.cfg.SchemaName)); err != nil {
		return nil, err
	}
	ledger, err := collectLedger(tx.Query(ctx, c.statements.topicRows, c.name, generation, topics))
	if err != nil {
		return nil, err
	}
	idOf := map[string]string{} // a topic's id as the ledger knows it
	for _, row := range ledger {
		if row.topicID != "" {
			idOf[row.Topic] = row.topicID
		}
	}
	var made, adopted, accepted []int
	for _, i := range known {
		claim := &claims[i]
		row, seen := ledger[claim.TopicPartition]
		if reason, advice := refusal(claim, row, seen, idOf[claim.Topic]); reason != "" {
			positions[i] = refuse(claim.TopicPartition, reason, advice)
			continue
		}
		accepted = append(accepted, i)
		switch {
		case !seen:
			made = append(made, i)
		case row.topicID == "" && claim.TopicID != (connect.TopicID{}):
			adopted = append(adopted, i)
		}
	}
	if err := c.insertClaims(ctx, tx, generation, claims, made); err != nil {
		return nil, err
	}
	if err := c.adopt(ctx, tx, generation, claims, adopted); err != nil {
		return nil, err
	}
	ids, err := c.topicIDs(ctx, tx, claims, accepted, idOf)
	if err != nil {
		return nil, err
	}
	tps := make([]connect.TopicPartition, 0, len(accepted))
	for _, i := range accepted {
		tps = append(tps, claims[i].TopicPartition)
	}
	ledger, err = c.positionsOf(ctx, tx, generation, tps)
	if err != nil {
		return nil, err
	}
	dead, stored, err := c.history(ctx, tx, generation, tps)
	if err != nil {
		return nil, err
	}
	opened := make(map[connect.TopicPartition]openPartition, len(accepted))
	for _, i := range accepted {
		tp := claims[i].TopicPartition
		row, ok := ledger[tp]
		if !ok {
			return nil, fmt.Errorf("the ledger row of %s is not there after it was made", tp)
		}
		positions[i] = row.position()
		opened[tp] = openPartition{topicID: ids[tp.Topic], deadBelow: dead[tp], storedBelow: stored[tp]}
	}
	return opened, nil
}

// refusal says why a claim must not be read, and what to do; "" where nothing
// speaks against it. topicID is what any partition of the topic knows.
func refusal(claim *connect.Claim, row ledgerRow, seen bool, topicID string) (reason, advice string) {
	id := claim.TopicID.String()
	if row.topicID != "" {
		topicID = row.topicID
	}
	switch {
	case id != "" && topicID != "" && id != topicID:
		return fmt.Sprintf("the topic was made again: its id is %s, the ledger's is %s", id, topicID),
			"run connector offsets reset for this topic to read the new one from its beginning"
	case !seen:
		return "", ""
	case row.closed:
		return "its ledger row is closed", "run connector offsets reset for this partition"
	}
	return "", ""
}

func (c *Connector) insertClaims(ctx context.Context, tx pgx.Tx, generation int32, claims []connect.Claim, made []int) error {
	if len(made) == 0 {
		return nil
	}
	var topics, ids []string
	var partitions []int32
	var begins []int64
	for _, i := range made {
		topics, partitions = append(topics, claims[i].Topic), append(partitions, claims[i].Partition)
		ids, begins = append(ids, claims[i].TopicID.String()), append(begins, claims[i].Begin)
	}
	_, err := tx.Exec(ctx, c.statements.insertRows, c.name, generation, topics, partitions, ids, begins)
	return err
}

// adopt has ledger rows learn the topic's id, which the broker did not give
// before: that is no other topic.
func (c *Connector) adopt(ctx context.Context, tx pgx.Tx, generation int32, claims []connect.Claim, adopted []int) error {
	if len(adopted) == 0 {
		return nil
	}
	var topics, ids []string
	var partitions []int32
	for _, i := range adopted {
		topics, partitions = append(topics, claims[i].Topic), append(partitions, claims[i].Partition)
		ids = append(ids, claims[i].TopicID.String())
	}
	_, err := tx.Exec(ctx, c.statements.adoptRows, c.name, generation, topics, partitions, ids)
	return err
}

// topicIDs gives the row of connector_topics for each accepted claim's topic,
// and makes those that are missing.
func (c *Connector) topicIDs(ctx context.Context, tx pgx.Tx, claims []connect.Claim, accepted []int, idOf map[string]string) (map[string]int32, error) {
	var topics, ids []string
	for _, i := range accepted {
		if id := claims[i].TopicID.String(); id != "" {
			idOf[claims[i].Topic] = id
		}
		topics, ids = append(topics, claims[i].Topic), append(ids, idOf[claims[i].Topic])
	}
	if len(topics) == 0 {
		return nil, nil
	}
	for _, sql := range []string{c.statements.adoptTopics, c.statements.insertTopics} {
		if _, err := tx.Exec(ctx, sql, topics, ids); err != nil {
			return nil, err
		}
	}
	return c.readTopicIDs(ctx, tx, topics, idOf)
}

// readTopicIDs finds the row with the id that the ledger knows, else the
// topic's latest: a topic made again has a higher one.
func (c *Connector) readTopicIDs(ctx context.Context, q querier, topics []string, idOf map[string]string) (map[string]int32, error) {
	rows, err := q.Query(ctx, c.statements.selectTopics, topics)
	if err != nil {
		return nil, err
	}
	out, exact := map[string]int32{}, map[string]bool{}
	var id int32
	var topic, topicID string
	_, err = pgx.ForEachRow(rows, []any{&id, &topic, &topicID}, func() error {
		if match := topicID == idOf[topic]; match || !exact[topic] {
			out[topic], exact[topic] = id, match
		}
		return nil
	})
	return out, err
}

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/marketdata"
)

// ledgerRow is a partition's account in the live generation.
type ledgerRow struct {
	start, next int64
	counts      connect.Counts
}

// ledger reads the live generation; an error says that the database is away or
// has no ledger yet.
func (s *stack) ledger(ctx context.Context) (map[connect.TopicPartition]ledgerRow, error) {
	rows, err := s.db.Query(ctx, fmt.Sprintf(`SELECT topic, partition, start_offset, next_offset, written, inserted, unchanged,
			merged, stale, dead_lettered, filtered, absent, expired
		FROM %s JOIN %s g USING (connector, generation) WHERE connector = $1 AND g.kind = 'live' AND g.closed_at IS NULL`,
		s.table("connector_ledger"), s.table("connector_generations")), s.connector)
	if err != nil {
		return nil, err
	}
	ledger := map[connect.TopicPartition]ledgerRow{}
	var tp connect.TopicPartition
	var r ledgerRow
	n := &r.counts
	_, err = pgx.ForEachRow(rows, []any{
		&tp.Topic, &tp.Partition, &r.start, &r.next, &n.Written, &n.Inserted, &n.Unchanged,
		&n.Merged, &n.Stale, &n.DeadLettered, &n.Filtered, &n.Absent, &n.Expired,
	}, func() error {
		ledger[tp] = r
		return nil
	})
	return ledger, err
}

// ends reads the last stable offsets of the stack's topics.
func (s *stack) ends(ctx context.Context) (map[connect.TopicPartition]int64, error) {
	listed, err := s.admin.ListCommittedOffsets(ctx, s.topics...)
	if err != nil {
		return nil, err
	}
	if err := listed.Error(); err != nil {
		return nil, err
	}
	ends := map[connect.TopicPartition]int64{}
	for topic, partitions := range listed {
		for partition, o := range partitions {
			ends[connect.TopicPartition{Topic: topic, Partition: partition}] = o.Offset
		}
	}
	return ends, nil
}

// behind says which partitions the ledger is behind with, or "".
func (s *stack) behind(ctx context.Context) string {
	ends, err := s.ends(ctx)
	if err != nil {
		return fmt.Sprintf("the logs' ends cannot be read: %v", err)
	}
	ledger, err := s.ledger(ctx)
	if err != nil {
		return fmt.Sprintf("the ledger cannot be read: %v", err)
	}
	var late []string
	for tp, end := range ends {
		row, known := ledger[tp]
		switch {
		case !known && end > 0:
			late = append(late, fmt.Sprintf("%s is not in the ledger, its log ends at %d", tp, end))
		case known && row.next != end:
			late = append(late, fmt.Sprintf("%s stands at %d of %d", tp, row.next, end))
		}
	}
	slices.Sort(late)
	if len(late) > 6 {
		late = append(late[:6], fmt.Sprintf("and %d more", len(late)-6))
	}
	return strings.Join(late, "; ")
}

// waitStored waits until the ledger has reached the logs' ends.
func (s *stack) waitStored() {
	s.t.Helper()
	s.waitStoredWithin(limit)
}

func (s *stack) waitStoredWithin(within time.Duration) {
	s.t.Helper()
	eventually(s.t, within, func() string {
		ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
		defer cancel()
		return s.behind(ctx)
	})
}

// checkAccount waits until all is stored, and compares the ledger, the rows and
// the dead letters with the journal.
func (s *stack) checkAccount() {
	s.t.Helper()
	s.waitStored()
	for _, err := range s.journal.errs {
		s.t.Error(err)
	}
	s.checkLedger()
	for _, kind := range marketdata.Kinds() {
		s.checkRows(kind, "")
	}
	s.checkDeadLetters()
}

// checkLedger compares the sum of the fates with what was produced.
func (s *stack) checkLedger() {
	s.t.Helper()
	ledger, err := s.ledger(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	var sum connect.Counts
	for tp, r := range ledger {
		sum = sum.Plus(r.counts)
		n := r.counts
		if n.Offsets() != r.next-r.start || min(n.Written, n.Unchanged, n.Merged, n.Stale, n.DeadLettered, n.Filtered, n.Absent, n.Expired) < 0 {
			s.t.Errorf("%s: the fates %+v do not make [%d, %d)", tp, r.counts, r.start, r.next)
		}
	}
	j := s.journal
	if got := sum.Written + sum.Unchanged + sum.Merged + sum.Stale; got != j.counts.good {
		s.t.Errorf("the ledger counts %d good records (%+v), %d were produced", got, sum, j.counts.good)
	}
	if sum.DeadLettered != j.counts.bad || sum.Filtered != j.counts.filtered || sum.Expired != 0 {
		s.t.Errorf("the ledger counts %+v, want %d dead letters, %d filtered and none expired", sum, j.counts.bad, j.counts.filtered)
	}
}

// checkRows compares a table with the journal, row for row: their number, that
// no key occurs twice, and every digit. where limits it to a part of the table.
func (s *stack) checkRows(kind marketdata.Kind, where string) {
	s.t.Helper()
	wantRows, wantSum := s.journal.sum(kind)
	var exists bool
	if err := s.db.QueryRow(s.t.Context(), "SELECT to_regclass($1) IS NOT NULL", s.table(tableNames[kind])).Scan(&exists); err != nil {
		s.t.Fatal(err)
	}
	if !exists {
		if wantRows > 0 {
			s.t.Errorf("there is no table of %s, want %d rows", kind, wantRows)
		}
		return
	}
	// Level1 is the tape: told apart by their origin, no record may be there twice.
	distinct := "count(DISTINCT (origin_topic, origin_partition, origin_offset))"
	var rows, keys int64
	var sum string
	err := s.db.QueryRow(s.t.Context(), fmt.Sprintf("SELECT count(*), %s, coalesce(sum(%s), 0)::text FROM %s %s",
		distinct, rowHash(rowText(kind)), s.table(tableNames[kind]), where)).Scan(&rows, &keys, &sum)
	if err != nil {
		s.t.Fatal(err)
	}
	if rows != keys {
		s.t.Errorf("%s: %d rows come from %d records: some are stored twice", kind, rows, keys)
	}
	if rows != wantRows || sum != wantSum {
		s.t.Errorf("%s: %d rows with sum %s, want %d with %s; %s", kind, rows, sum, wantRows, wantSum, s.difference(kind, where))
	}
}

// difference names records whose rows are missing or wrong, and rows that
// nothing produced.
func (s *stack) difference(kind marketdata.Kind, where string) string {
	rows, err := s.db.Query(s.t.Context(), fmt.Sprintf("SELECT %s, origin_partition, origin_offset FROM %s %s",
		rowText(kind), s.table(tableNames[kind]), where))
	if err != nil {
		return err.Error()
	}
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	want := map[uint64]position{}
	for _, w := range s.journal.rows[kind] {
		want[w.hash] = w.from
	}
	var wrong []string
	var text string
	var partition int32
	var offset int64
	_, err = pgx.ForEachRow(rows, []any{&text, &partition, &offset}, func() error {
		h := textHash(text)
		if _, ok := want[h]; !ok {
			wrong = append(wrong, fmt.Sprintf("not expected, or twice, from partition %d offset %d: %s", partition, offset, text))
		}
		delete(want, h)
		return nil
	})
	if err != nil {
		return err.Error()
	}
	for _, from := range want {
		wrong = append(wrong, "missing: the record at "+from.String())
	}
	if len(wrong) > 8 {
		wrong = append(wrong[:8], fmt.Sprintf("and %d more", len(wrong)-8))
	}
	return strings.Join(wrong, "\n  ")
}

// checkDeadLetters wants exactly the records that are bad by design, with their
// exact bytes.
func (s *stack) checkDeadLetters() {
	s.t.Helper()
	rows, err := s.db.Query(s.t.Context(), fmt.Sprintf(`SELECT topic, partition, "offset", reason, message, key, value FROM %s WHERE connector = $1`,
		s.table("connector_dead_letters")), s.connector)
	if err != nil {
		s.t.Fatal(err)
	}
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	found := map[position]bool{}
	var p position
	var reason, message string
	var key, value []byte
	_, err = pgx.ForEachRow(rows, []any{&p.Topic, &p.Partition, &p.offset, &reason, &message, &key, &value}, func() error {
		found[p] = true
		want, bad := s.journal.bad[p]
		switch {
		case !bad:
			s.t.Errorf("a good record is dead-lettered: %s, %s: %s: %.200s", p, reason, message, value)
		case string(value) != want.value || value == nil || string(key) != "bad":
			s.t.Errorf("%s: the dead letter holds %.200q under %q, want the bytes %.200q", p, value, key, want.value)
		case want.reason != "" && reason != want.reason:
			s.t.Errorf("%s: dead-lettered for %s (%s), want %s: %.200q", p, reason, message, want.reason, value)
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	for p, want := range s.journal.bad {
		if !found[p] {
			s.t.Errorf("%s is no dead letter: %.200q", p, want.value)
		}
	}
}

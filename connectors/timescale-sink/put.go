package timescalesink

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/marketdata"
)

// putAttempts bounds how often one Put is tried again at once, where a deadlock,
// a serialization failure or a race with another fence ended its transaction.
const putAttempts = 4

// Put implements connect.Sink (promises 1 and 2). The transaction is: the
// fence; the rows, tables in one fixed order, rows in the order of their keys;
// dead letters; the ledger; COMMIT. A small batch takes two round trips.
//
// A connection that is lost during COMMIT leaves open whether it happened: the
// error is Retriable, and the ledger, read again, knows.
func (s *Sink) Put(ctx context.Context, b *connect.Batch) (connect.Result, error) {
	if s.closed {
		return connect.Result{}, errSinkClosed
	}
	if len(b.Parts) == 0 {
		return connect.Result{}, nil
	}
	defer s.releaseArena()
	p, err := s.makePlan(b)
	if err != nil {
		return connect.Result{}, err
	}
	var counts []connect.Counts
	for attempt := 1; ; attempt++ {
		counts, err = s.putOnce(ctx, p, attempt > 1)
		if err == nil {
			for i := range b.Parts {
				delete(s.busySince, b.Parts[i].TopicPartition)
			}
			return connect.Result{Counts: counts}, nil
		}
		s.abort(ctx)
		if attempt == putAttempts || !s.tryAgain(ctx, b, &err) {
			break
		}
		s.connector.counters.PutRetries.Add(1)
	}
	return connect.Result{}, s.classifyPut(err, b)
}

// arenaKeepRows is the largest arena that is kept for the next Put.
const arenaKeepRows = 1 << 16

// releaseArena lets go of the records' rows.
func (s *Sink) releaseArena() {
	clear(s.arena)
	if s.arena = s.arena[:0]; cap(s.arena) > arenaKeepRows {
		s.arena = nil
	}
}

// tryAgain says whether a Put that failed is worth another attempt at once. It
// puts the reason in place of an error of the fence.
func (s *Sink) tryAgain(ctx context.Context, b *connect.Batch, err *error) bool {
	var failed *stepError
	if errors.As(*err, &failed) && failed.fence && sqlState(*err) == codeDivisionByZero {
		reason := s.explainFence(ctx, b)
		if reason == nil {
			return true
		}
		*err = reason
		return false
	}
	if errors.Is(*err, errChunkKeepsRows) {
		s.wholeTapes = true
		return true
	}
	if errors.Is(*err, errTableChanged) {
		// The next attempt looks at the table again, and does not copy.
		s.connector.schema.forget()
		return ctx.Err() == nil
	}
	switch sqlState(*err) {
	case codeSerializationFailure, codeDeadlock:
		return ctx.Err() == nil
	case codeConfigurationLimit:
		// Rows go into a compressed chunk, and PostgreSQL is to decompress more tuples
		// than timescaledb.max_tuples_decompressed_per_dml_transaction: no record is to
		// blame. The limit is lifted in this sink's transactions from now on.
		if s.unlimited || !strings.Contains((*err).Error(), "decompress") {
			return false
		}
		s.unlimited = true
		s.connector.log.Warn("rows go into compressed chunks: lifting the decompression limit for them", "err", *err)
		return true
	}
	return false
}

func (s *Sink) classifyPut(err error, b *connect.Batch) error {
	var failed *stepError
	own := errors.As(err, &failed) && failed.own
	switch code := sqlState(err); {
	case errors.Is(err, errTableChanged):
		return connect.Retriable(fmt.Errorf("storing a batch: %w", err))
	case own && code == codeDivisionByZero:
		// The fence closed and opened again at each attempt, or moveLedger missed a
		// row that this transaction held.
		return connect.Retriable(fmt.Errorf("storing a batch: %w", err))
	case own && isBadData(code):
		// No record's row is to blame for what the ledger or the dead letters refuse.
		return fmt.Errorf("storing a batch: %w", err)
	case strings.HasPrefix(code, "42"):
		// A table, column or privilege is not what it was.
		s.connector.schema.forget()
		if own && failed.fence && code == "42P01" {
			moved := make([]connect.TopicPartition, 0, len(b.Parts))
			for i := range b.Parts {
				moved = append(moved, b.Parts[i].TopicPartition)
			}
			return &connect.FencedError{Moved: moved} // the ledger is gone: another database
		}
	case code == codeReadOnly:
		s.disconnect() // after a failover the primary is elsewhere
	}
	return classify("storing a batch", err)
}

// putOnce is one attempt. After an error the transaction is still to be ended.
// careful has every table merged, whose rows are locked in the order of keys: a
// COPY takes them in whatever order the chunks are met.
func (s *Sink) putOnce(ctx context.Context, p *plan, careful bool) ([]connect.Counts, error) {
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	if err := s.ensureTables(ctx, p); err != nil {
		return nil, err
	}
	if err := s.ensureChunks(ctx, p); err != nil {
		return nil, err
	}
	var counts []connect.Counts
	err := traceStep(ctx, "rows", func() (err error) {
		counts, err = s.putRows(ctx, p, careful)
		return err
	})
	if err != nil {
		return nil, err
	}
	return counts, traceStep(ctx, "commit", func() error { return s.run(ctx, s.endSteps(p, counts)) })
}

// putRows closes the fence behind the transaction and stores the rows.
func (s *Sink) putRows(ctx context.Context, p *plan, careful bool) ([]connect.Counts, error) {
	counts := p.beginCounts()
	replaced, err := s.replaceSteps(ctx, p.batch)
	if err != nil {
		return nil, err
	}
	steps := append(s.beginSteps(p.batch), replaced...)
	var merges []*merge
	for t, rows := range p.rows {
		g, paced := s.connector.schema.target(tables[t].kind), &s.paces[t]
		if len(rows) == 0 {
			continue
		}
		if g == nil { // it was there a moment ago
			return nil, fmt.Errorf("the table of %s does not fit any more", tables[t].kind)
		}
		if err := g.checkLimits(p.batch, rows); err != nil {
			return nil, err
		}
		for chunk := range slices.Chunk(rows, s.connector.statementRows) {
			if len(chunk) < s.connector.cfg.CopyMin || careful || !g.copies || paced.merge && !g.tape {
				m := &merge{target: g, rows: chunk}
				merges, steps = append(merges, m), append(steps, m.step())
				continue
			}
			if !g.tape {
				steps = append(steps, sqlStep("SAVEPOINT rows"))
			}
			if err := s.run(ctx, steps); err != nil {
				return nil, err
			}
			steps = steps[:0]
			err := s.copyRows(ctx, g, p, chunk)
			switch {
			case err == nil:
				countInserted(chunk, counts)
				paced.copied()
				steps = append(steps, g.typesStep())
			case g.tape || sqlState(err) != codeUniqueViolation && sqlState(err) != codeDeadlock:
				return nil, err
			default:
				paced.copyFailed()
				m := &merge{target: g, rows: chunk}
				merges = append(merges, m)
				steps = append(steps, sqlStep("ROLLBACK TO SAVEPOINT rows"), m.step())
			}
		}
	}
	if err := s.run(ctx, steps); err != nil {
		return nil, err
	}
	if err := s.countMerges(ctx, merges, counts); err != nil {
		return nil, err
	}
	p.endCounts(counts)
	return counts, nil
}

// checkLimits looks at numbers again that a column would round: it may keep fewer
// digits than when the rows were prepared.
func (g *target) checkLimits(b *connect.Batch, rows []*row) error {
	if g.limits == nil {
		return nil
	}
	columns := g.table.rowColumns()
	for _, r := range rows {
		fields := r.fields
		for i := range len(columns) - 1 { // the flags are in the header
			var field []byte
			field, fields = cutField(fields)
			if l := g.limits[i]; l.precision > 0 && len(field) > 4 && !l.fitsBinary(field[4:]) {
				return &connect.BadDataError{
					At: b.Parts[r.part].TopicPartition, Offset: r.offset,
					Record: connect.RecordError{
						Stage: connect.StageTaskPut, Reason: "numeric_does_not_fit", Column: columns[i].name,
						Message: fmt.Sprintf("%s: a number does not fit numeric(%d,%d) without being changed", columns[i].name, l.precision, l.scale),
					},
				}
			}
		}
	}
	return nil
}

// ensureTables looks at the tables again where they may have changed, so that
// one that was dropped comes back, and one that was altered is used as it is now.
func (s *Sink) ensureTables(ctx context.Context, p *plan) error {
	var kinds []marketdata.Kind
	for t, rows := range p.rows {
		if len(rows) > 0 {
			kinds = append(kinds, tables[t].kind)
		}
	}
	schema := s.connector.schema
	if schema.ready(kinds) {
		return nil
	}
	flawed, err := schema.ensure(ctx, s.conn, kinds)
	if err != nil {
		return err
	}
	for _, kind := range kinds {
		if flaw := flawed[kind]; flaw != nil {
			return fmt.Errorf("%w; run: %s", flaw, flaw.fix())
		}
	}
	return nil
}

// countMerges adds the fates of merged rows.
func (s *Sink) countMerges(ctx context.Context, merges []*merge, counts []connect.Counts) error {
	var steps []step
	for _, m := range merges {
		lost := m.count(counts)
		if len(m.rows) >= s.connector.cfg.CopyMin {
			s.paces[int(m.target.table.kind)-1].merged(len(lost) == 0 && allInserted(m.returned))
		}
		if len(lost) > 0 {
			steps = append(steps, m.target.equalSteps(lost, counts)...)
		}
	}
	return s.run(ctx, steps)
}

func allInserted(outcomes []outcome) bool {
	return !slices.ContainsFunc(outcomes, func(o outcome) bool { return !o.inserted })
}

// beginSteps open the transaction and pass the fence.
func (s *Sink) beginSteps(b *connect.Batch) []step {
	st, name := &s.connector.statements, s.connector.name
	steps := []step{sqlStep("BEGIN ISOLATION LEVEL READ COMMITTED"), s.connector.settingsStep()}
	if s.unlimited {
		steps = append(steps, sqlStep("SET LOCAL timescaledb.max_tuples_decompressed_per_dml_transaction = 0"))
	}
	return append(steps, s.connector.gateStep(), st.generationFence(name, s.generation), st.ledgerFence(name, s.generation, b))
}

// endSteps store the dead letters, move the ledger and commit.
func (s *Sink) endSteps(p *plan, counts []connect.Counts) []step {
	st, name := &s.connector.statements, s.connector.name
	var steps []step
	if superseded := s.supersedeStep(p.batch); superseded != nil {
		steps = append(steps, *superseded)
	}
	if len(p.dead) > 0 {
		steps = append(steps, st.deadLetterStep(name, s.generation, p))
	}
	return append(steps, st.moveStep(name, s.generation, p.batch, counts), sqlStep("COMMIT"))
}

// step is one statement of a pipeline.
type step struct {
	doing  string
	sql    string
	params params
	fence  bool
	own    bool                          // on the sink's own tables, where no record's row is to blame
	read   func(*pgconn.ResultReader)    // reads all rows; nil where there is nothing to read
	verify func(pgconn.CommandTag) error // judges what was done; nil where that needs no judge
}

func sqlStep(sql string) step { return step{doing: sql, sql: sql} }

// stepError says which statement of a pipeline failed.
type stepError struct {
	doing string
	fence bool
	own   bool
	err   error
}

func (e *stepError) Error() string { return e.doing + ": " + e.err.Error() }
func (e *stepError) Unwrap() error { return e.err }

// errRowsVanished says that the database took rows and did not store them: they
// must not count as stored (promise 3).
func errRowsVanished(table string, stored, sent int64) error {
	return fmt.Errorf("table %s: %d of %d rows were stored without an error: "+
		"a BEFORE trigger or a rule of the table drops rows; remove it", table, stored, sent)
}

// storesAll is the verify of a step that stores n rows.
func storesAll(table string, n int) func(pgconn.CommandTag) error {
	return func(tag pgconn.CommandTag) error {
		if tag.RowsAffected() != int64(n) {
			return errRowsVanished(table, tag.RowsAffected(), int64(n))
		}
		return nil
	}
}

// run executes the steps in one round trip. The server skips all that come
// after one that fails.
func (s *Sink) run(ctx context.Context, steps []step) error {
	if len(steps) == 0 {
		return nil
	}
	var b pgconn.Batch
	for i := range steps {
		p := &steps[i].params
		b.ExecParams(steps[i].sql, p.values, p.oids, p.formats, binaryResults)
	}
	results := s.conn.PgConn().ExecBatch(ctx, &b)
	done := 0
	var last pgconn.CommandTag
	var wrong error // what the server did is not what it was asked for; no step behind it commits
	for done < len(steps) && results.NextResult() {
		r := results.ResultReader()
		if read := steps[done].read; read != nil {
			read(r)
		}
		tag, err := r.Close()
		if err != nil {
			break
		}
		if verify := steps[done].verify; verify != nil && wrong == nil {
			if err := verify(tag); err != nil {
				wrong = fmt.Errorf("%s: %w", steps[done].doing, err)
			}
		}
		last = tag
		done++
	}
	if err := results.Close(); err != nil {
		at := &steps[min(done, len(steps)-1)]
		return &stepError{at.doing, at.fence, at.own, err}
	}
	if wrong != nil {
		return wrong
	}
	if done < len(steps) {
		return fmt.Errorf("%s: the server answered %d of %d statements", steps[done].doing, done, len(steps))
	}
	if steps[done-1].sql == "COMMIT" && last.String() != "COMMIT" {
		return fmt.Errorf("COMMIT: the server answered %s", last)
	}
	return nil
}

var binaryResults = []int16{1}

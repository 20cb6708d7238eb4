package timescalesink

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"github.com/qicore/tickconnect/marketdata"
)

// edition says which TimescaleDB answers.
type edition struct {
	version   string
	community bool
	schema    string // where the extension's functions are
}

var errNoTimescale = errors.New("connection.url: the database has no TimescaleDB; as a superuser run: CREATE EXTENSION timescaledb")

func findEdition(ctx context.Context, q querier) (edition, error) {
	var e edition
	var license *string
	err := q.QueryRow(ctx, `SELECT extversion, extnamespace::regnamespace::text, current_setting('timescaledb.license', true)
		FROM pg_catalog.pg_extension WHERE extname = 'timescaledb'`).Scan(&e.version, &e.schema, &license)
	if errors.Is(err, pgx.ErrNoRows) {
		return e, errNoTimescale
	}
	e.schema = strings.Trim(e.schema, `"`)
	e.community = license != nil && *license == "timescale"
	return e, err
}

// flawedError says that a table cannot be used as it is.
type flawedError struct{ flaws []flaw }

func (e *flawedError) Error() string {
	messages := make([]string, 0, len(e.flaws))
	for _, f := range e.flaws {
		messages = append(messages, f.message)
	}
	return strings.Join(messages, "; ")
}

// fix is the SQL that mends the table.
func (e *flawedError) fix() string {
	fixes := make([]string, 0, len(e.flaws))
	for _, f := range e.flaws {
		fixes = append(fixes, f.fix)
	}
	return strings.Join(fixes, " ")
}

// schemaCache knows the tables as the database has them. It makes what is
// missing, once for each process.
type schemaCache struct {
	cfg *Config
	log *slog.Logger

	gate    gate // held while the database is asked
	edition *edition
	told    string       // the version of which the log has that it is the Apache edition
	own     bool         // the sink's own tables are there
	changed atomic.Int64 // grows each time that the database may have changed
	seen    atomic.Int64 // the value of changed for which all was looked at
	// fingerprint is that of the tables before they were last looked at.
	fingerprint atomic.Int64
	targets     [marketdata.KindCount]atomic.Pointer[target]
	// unfit marks those of targets that were found not to fit any more. They stay,
	// so that records prepared meanwhile keep to their limits.
	unfit [marketdata.KindCount]atomic.Bool
}

func newSchemaCache(cfg *Config, log *slog.Logger) *schemaCache {
	return &schemaCache{cfg: cfg, log: log, gate: newGate()}
}

// target returns the table of a kind; nil before ensure was asked for it.
func (s *schemaCache) target(kind marketdata.Kind) *target {
	return s.targets[int(kind)-1].Load()
}

func (s *schemaCache) limits(kind marketdata.Kind) []numericLimit {
	if t := s.target(kind); t != nil {
		return t.limits
	}
	return nil
}

// forget has the next ensure look at the database again, after it refused a
// statement for the shape of a table or a privilege.
func (s *schemaCache) forget() {
	s.changed.Add(1)
}

func (s *schemaCache) fits(kind marketdata.Kind) bool {
	return s.target(kind) != nil && !s.unfit[int(kind)-1].Load()
}

// ready says whether the tables of kinds are known and nothing speaks for
// looking at them again.
func (s *schemaCache) ready(kinds []marketdata.Kind) bool {
	return s.seen.Load() == s.changed.Load() &&
		!slices.ContainsFunc(kinds, func(kind marketdata.Kind) bool { return !s.fits(kind) })
}

// ensure makes sure that the sink's own tables and those of the kinds are there
// and fit. Its map holds a *flawedError for each kind whose table does not fit.
func (s *schemaCache) ensure(ctx context.Context, conn *pgx.Conn, kinds []marketdata.Kind) (map[marketdata.Kind]*flawedError, error) {
	if err := s.gate.lock(ctx); err != nil {
		return nil, err
	}
	defer s.gate.unlock()
	changed := s.changed.Load()
	if s.own && s.ready(kinds) {
		return nil, nil
	}
	fingerprint, err := s.readFingerprint(ctx, conn)
	if err != nil {
		return nil, err
	}
	asked := kinds
	fresh := s.seen.Load() != changed || s.own && s.fingerprint.Load() != fingerprint
	if fresh {
		// It stays to be done until all of it is: an error half way ends this call alone.
		s.forget()
		changed = s.changed.Load()
		s.own, s.edition = false, nil
		kinds = slices.Clone(kinds)
		for _, t := range tables {
			if s.target(t.kind) != nil && !slices.Contains(kinds, t.kind) {
				kinds = append(kinds, t.kind)
			}
		}
	}
	if s.edition == nil {
		e, err := findEdition(ctx, conn)
		if err != nil {
			return nil, err
		}
		s.edition = &e
		if !e.community && s.told != e.version {
			s.told = e.version
			s.log.Info("TimescaleDB is the Apache edition: no columnstore, no retention policy, no continuous aggregates",
				"version", e.version)
		}
	}
	if !s.own {
		if err := s.ensureOwn(ctx, conn); err != nil {
			return nil, err
		}
		s.own = true
	}
	flawed := map[marketdata.Kind]*flawedError{}
	for _, kind := range kinds {
		if s.fits(kind) && !fresh {
			continue
		}
		t, err := s.ensureTable(ctx, conn, tableOf(kind))
		var f *flawedError
		s.unfit[int(kind)-1].Store(err != nil)
		switch {
		case errors.As(err, &f):
			flawed[kind] = f
		case err != nil && (slices.Contains(asked, kind) || isOutage(sqlState(err)) || isConnectionLoss(err)):
			return nil, err
		case err != nil: // whoever stores records of that kind will meet it
		default:
			s.targets[int(kind)-1].Store(t)
		}
	}
	s.fingerprint.Store(fingerprint)
	s.seen.Store(changed)
	return flawed, nil
}

// readFingerprint sums up the columns of the tables of all kinds. A change of a
// column's type while rows are stored refuses none of them: only this tells of it.
func (s *schemaCache) readFingerprint(ctx context.Context, q querier) (fingerprint int64, err error) {
	names := make([]string, 0, len(tables))
	for _, t := range tables {
		names = append(names, quote(s.cfg.SchemaName, s.cfg.tableName(t.kind)))
	}
	err = q.QueryRow(ctx, fingerprintSQL, names).Scan(&fingerprint)
	return fingerprint, err
}

const fingerprintSQL = `SELECT COALESCE(sum(hashtext(concat_ws('/', attrelid, attname, atttypid, atttypmod, attnotnull))::int8), 0)::int8
	FROM pg_catalog.pg_attribute WHERE attnum > 0 AND NOT attisdropped
	AND attrelid IN (SELECT to_regclass(name) FROM unnest($1::text[]) AS name)`

// ensureOwn makes the sink's own tables and adds columns that an older version
// did not have. Nothing is made, and no privilege needed, where all is there.
func (s *schemaCache) ensureOwn(ctx context.Context, conn *pgx.Conn) error {
	statements, err := s.missingOwn(ctx, conn)
	if err != nil || len(statements) == 0 {
		return err
	}
	if !s.cfg.AutoCreate {
		return fmt.Errorf("auto.create: false, and the sink's own tables are not complete; run: %s", strings.Join(statements, "; "))
	}
	return s.migrate(ctx, conn, func(tx pgx.Tx) error {
		statements, err := s.missingOwn(ctx, tx)
		if err != nil {
			return err
		}
		return execAll(ctx, tx, statements)
	})
}

// missingOwn gives the statements that complete the sink's own tables.
func (s *schemaCache) missingOwn(ctx context.Context, q querier) ([]string, error) {
	var out []string
	var schemaExists bool
	if err := q.QueryRow(ctx, "SELECT to_regnamespace($1) IS NOT NULL", quote(s.cfg.SchemaName)).Scan(&schemaExists); err != nil {
		return nil, err
	}
	if !schemaExists {
		out = append(out, "CREATE SCHEMA IF NOT EXISTS "+quote(s.cfg.SchemaName))
	}
	for i := range ownTables {
		t := &ownTables[i]
		f, err := findTable(ctx, q, s.cfg.SchemaName, t.name)
		if err != nil {
			return nil, err
		}
		if !f.exists {
			out = append(out, t.statements(s.cfg.SchemaName)...)
			continue
		}
		for _, c := range t.columns {
			if f.column(c.name) == nil {
				out = append(out, fmt.Sprintf("ALTER TABLE %s ADD COLUMN IF NOT EXISTS %s %s",
					quote(s.cfg.SchemaName, t.name), quote(c.name), c.definition))
			}
		}
	}
	return out, nil
}

func (s *schemaCache) ensureTable(ctx context.Context, conn *pgx.Conn, t *table) (*target, error) {
	name := s.cfg.tableName(t.kind)
	found, err := findTable(ctx, conn, s.cfg.SchemaName, name)
	if err != nil {
		return nil, err
	}
	if !found.exists {
		statements := s.cfg.createStatements(t, *s.edition)
		if !s.cfg.AutoCreate {
			return nil, &flawedError{[]flaw{{
				fmt.Sprintf("table %s is missing and auto.create is false", quote(s.cfg.SchemaName, name)),
				strings.Join(statements, "; ") + ";",
			}}}
		}
		err := s.migrate(ctx, conn, func(tx pgx.Tx) error {
			f, err := findTable(ctx, tx, s.cfg.SchemaName, name)
			if err != nil || f.exists {
				return err // another process was first
			}
			return execAll(ctx, tx, statements)
		})
		if err != nil {
			return nil, fmt.Errorf("making table %s: %w", name, err)
		}
		s.log.Info("made table", "table", quote(s.cfg.SchemaName, name))
		if found, err = findTable(ctx, conn, s.cfg.SchemaName, name); err != nil {
			return nil, err
		}
	} else if err := s.ensureRetention(ctx, conn, t, found); err != nil {
		return nil, err
	}
	if flaws := s.cfg.flaws(t, found); len(flaws) > 0 {
		return nil, &flawedError{flaws}
	}
	return newTarget(s.cfg, t, found), nil
}

// ensureRetention adds the retention that was asked for to a table that was
// there; a role that may not is told, and goes on without.
func (s *schemaCache) ensureRetention(ctx context.Context, conn *pgx.Conn, t *table, f *foundTable) error {
	if s.cfg.Retention == 0 || !s.edition.community || !f.hypertable {
		return nil
	}
	_, err := conn.Exec(ctx, s.cfg.retentionStatement(t, *s.edition))
	if sqlState(err) == codeInsufficientPrivilege {
		s.log.Warn("retention.ms: the role may not set a retention policy", "table", s.cfg.tableName(t.kind), "err", err)
		return nil
	}
	return err
}

// migrate runs DDL, one process at a time.
func (s *schemaCache) migrate(ctx context.Context, conn *pgx.Conn, run func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", lockKey("schema", s.cfg.SchemaName)); err != nil {
			return err
		}
		return run(tx)
	})
}

// lockKey makes the key of an advisory lock.
func lockKey(parts ...string) int64 {
	h := fnv.New64a()
	h.Write([]byte("tickconnect"))
	for _, p := range parts {
		h.Write([]byte{0})
		h.Write([]byte(p))
	}
	return int64(h.Sum64())
}

func execAll(ctx context.Context, tx pgx.Tx, statements []string) error {
	for _, sql := range statements {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", firstLine(sql), err)
		}
	}
	return nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// target is a kind's table as the database has it, with the statements that
// write it.
type target struct {
	table      *table
	name       string // quoted, with its schema
	tape       bool
	hypertable bool
	limits     []numericLimit    // by row column; nil where none has one
	casts      []string          // by row column, the type that a value is cast to
	types      map[string]string // of the columns that the sink writes, with their modifiers
	copies     bool              // COPY's binary format fits each column's type
	copySQL    string
	mergeSQL   string
	insertSQL  string // of the tape
	equalSQL   string
	chunks     chunkCache
}

func newTarget(cfg *Config, t *table, f *foundTable) *target {
	g := &target{
		table: t, name: quote(cfg.SchemaName, cfg.tableName(t.kind)),
		tape: cfg.isTape(t), hypertable: f.hypertable, chunks: chunkCache{gate: newGate()},
	}
	columns := t.rowColumns()
	limits := make([]numericLimit, len(columns))
	for i, c := range columns {
		got := f.column(c.name)
		// Without the type's modifier: an explicit cast to varchar(n) cuts a text that
		// is too long in silence, an assignment refuses it. A text is only assigned.
		cast := got.bareType
		if c.sqlType == "text" {
			cast = "text"
		}
		g.casts = append(g.casts, cast)
		limits[i] = got.limit
	}
	if slices.ContainsFunc(limits, func(l numericLimit) bool { return l.precision > 0 }) {
		g.limits = limits
	}
	all := t.columns()
	g.types = make(map[string]string, len(all))
	for _, c := range all {
		g.types[c.name] = f.column(c.name).sqlType
	}
	g.copies = !slices.ContainsFunc(all, func(c column) bool { return !sameBinary(c.sqlType, f.column(c.name).base) })
	g.copySQL = fmt.Sprintf("COPY %s (%s) FROM STDIN (FORMAT binary)", g.name, quoted("", all))
	g.writeStatements()
	return g
}

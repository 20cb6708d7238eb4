package timescalesink

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// querier is a connection, a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// numericLimit is the numeric(precision, scale) of a column; precision 0 is none.
type numericLimit struct{ precision, scale int }

// foundColumn is a column as the database has it.
type foundColumn struct {
	name       string
	sqlType    string // as format_type writes it: "numeric(20,8)"
	bareType   string // the same without its modifier: "numeric"
	base       string // its type's name: "numeric"
	category   string // pg_type.typcategory: S for strings
	limit      numericLimit
	seconds    int // digits after the point of a timestamptz's seconds; 6 unless declared
	notNull    bool
	hasDefault bool
}

// foundTable is a table as the database has it.
type foundTable struct {
	exists     bool
	hypertable bool
	columns    []foundColumn
	unique     [][]string        // the columns of each unique index, in alphabetical order
	deferrable map[string]string // names of those that are deferrable, by their columns
	originIdx  bool              // there is an index on the origin
}

func (f *foundTable) column(name string) *foundColumn {
	for i := range f.columns {
		if f.columns[i].name == name {
			return &f.columns[i]
		}
	}
	return nil
}

const columnsQuery = `
SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), format_type(a.atttypid, -1), t.typname::text, t.typcategory::text,
       CASE WHEN t.typname = 'numeric' THEN a.atttypmod ELSE -1 END,
       CASE WHEN t.typname = 'timestamptz' AND a.atttypmod >= 0 THEN a.atttypmod ELSE 6 END, a.attnotnull,
       a.atthasdef OR a.attidentity <> '' OR a.attgenerated <> ''
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum`

const indexesQuery = `
SELECT i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indisvalid, i.indimmediate, (SELECT c.relname::text FROM pg_catalog.pg_class c WHERE c.oid = i.indexrelid),
       (SELECT array_agg(a.attname::text ORDER BY k.n) FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, n)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
        WHERE k.n <= i.indnkeyatts)
FROM pg_catalog.pg_index i WHERE i.indrelid = to_regclass($1)`

// findTable reads what the database has under a name.
func findTable(ctx context.Context, q querier, schema, name string) (*foundTable, error) {
	f := &foundTable{deferrable: map[string]string{}}
	rows, err := q.Query(ctx, columnsQuery, quote(schema, name))
	if err != nil {
		return nil, err
	}
	f.columns, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (foundColumn, error) {
		var c foundColumn
		var typmod int32
		err := row.Scan(&c.name, &c.sqlType, &c.bareType, &c.base, &c.category, &typmod, &c.seconds, &c.notNull, &c.hasDefault)
		if typmod >= 4 {
			// numeric.c: precision in the upper half, scale in 11 bits with a sign.
			mod := int(typmod - 4)
			c.limit = numericLimit{precision: mod >> 16, scale: (mod&0x7ff ^ 1024) - 1024}
		}
		return c, err
	})
	if err != nil || len(f.columns) == 0 {
		return f, err
	}
	f.exists = true
	if rows, err = q.Query(ctx, indexesQuery, quote(schema, name)); err != nil {
		return nil, err
	}
	var unique, immediate bool
	var index string
	var columns []string
	_, err = pgx.ForEachRow(rows, []any{&unique, &immediate, &index, &columns}, func() error {
		if unique {
			sorted := slices.Sorted(slices.Values(columns))
			f.unique = append(f.unique, sorted)
			if !immediate {
				f.deferrable[strings.Join(sorted, ",")] = quote(index)
			}
		}
		if len(columns) >= 3 && slices.Equal(columns[:3], []string{"origin_topic", "origin_partition", "origin_offset"}) {
			f.originIdx = true
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = q.QueryRow(ctx, `SELECT EXISTS (SELECT FROM timescaledb_information.hypertables
		WHERE hypertable_schema = $1 AND hypertable_name = $2)`, schema, name).Scan(&f.hypertable)
	return f, err
}

// flaw is what keeps a table from being used, and the SQL that mends it.
type flaw struct{ message, fix string }

// flaws compares a table with what the sink needs of it.
func (c *Config) flaws(t *table, f *foundTable) []flaw {
	name := quote(c.SchemaName, c.tableName(t.kind))
	var out []flaw
	add := func(fix, format string, args ...any) {
		out = append(out, flaw{fmt.Sprintf("table %s: ", name) + fmt.Sprintf(format, args...), fix})
	}
	wanted := t.columns()
	for i, want := range wanted {
		got := f.column(want.name)
		if got == nil {
			add(fmt.Sprintf("ALTER TABLE %s ADD COLUMN %s %s;", name, quote(want.name), want.sqlType), "column %s is missing", want.name)
			continue
		}
		isKey := i < len(t.key)
		if !compatible(want.sqlType, got) || isKey && foldsTexts(got) {
			add(fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s TYPE %s;", name, quote(want.name), want.sqlType),
				"column %s is %s; it must be %s", want.name, got.sqlType, want.sqlType)
		}
		if got.seconds < 6 {
			add(fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s TYPE timestamptz;", name, quote(want.name)),
				"column %s is %s, which rounds times", want.name, got.sqlType)
		}
		if got.limit.scale < 0 {
			add(fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s TYPE numeric;", name, quote(want.name)),
				"column %s is %s, which rounds whole numbers", want.name, got.sqlType)
		}
		if got.notNull && !want.notNull {
			add(fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s DROP NOT NULL;", name, quote(want.name)),
				"column %s is NOT NULL, but records may lack it", want.name)
		}
	}
	for _, got := range f.columns {
		if got.notNull && !got.hasDefault && !slices.ContainsFunc(wanted, func(w column) bool { return w.name == got.name }) {
			add(fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s DROP NOT NULL;", name, quote(got.name)),
				"column %s is NOT NULL without a default, and no record has it", got.name)
		}
	}
	return append(out, c.indexFlaws(t, f, name)...)
}

func (c *Config) indexFlaws(t *table, f *foundTable, name string) []flaw {
	keyNames := make([]string, 0, len(t.key))
	for _, k := range t.key {
		keyNames = append(keyNames, k.name)
	}
	slices.Sort(keyNames)
	hasKey := slices.ContainsFunc(f.unique, func(u []string) bool { return slices.Equal(u, keyNames) })
	if !c.isTape(t) && !hasKey {
		return []flaw{{
			fmt.Sprintf("table %s: no unique index on the natural key (%s), which insert.mode upsert needs", name, quoted("", t.key)),
			fmt.Sprintf("CREATE UNIQUE INDEX ON %s (%s);", name, quoted("", t.key)),
		}}
	}
	if constraint := f.deferrable[strings.Join(keyNames, ",")]; !c.isTape(t) && constraint != "" {
		return []flaw{{
			fmt.Sprintf("table %s: the unique constraint %s on the natural key is deferrable, which ON CONFLICT does not take", name, constraint),
			fmt.Sprintf("ALTER TABLE %s DROP CONSTRAINT %s; CREATE UNIQUE INDEX ON %s (%s);", name, constraint, name, quoted("", t.key)),
		}}
	}
	if c.isTape(t) && len(f.unique) > 0 {
		return []flaw{{
			fmt.Sprintf("table %s: it has a unique index on (%s), and the tape holds every record", name, strings.Join(f.unique[0], ", ")),
			fmt.Sprintf("-- name another table in table.%s, or drop the unique index of %s", t.kind, name),
		}}
	}
	if c.isTape(t) && c.TapeReplayIndex && !f.originIdx {
		return []flaw{{
			fmt.Sprintf("table %s: no index on the origin, which tape.replay.index asks for", name),
			fmt.Sprintf("CREATE INDEX ON %s (origin_topic, origin_partition, origin_offset);", name),
		}}
	}
	return nil
}

// compatible says whether a column can hold every value of the wanted type
// unchanged; a float never can (promise 7). A numeric with a scale may refuse
// values, one by one, in Prepare.
func compatible(want string, got *foundColumn) bool {
	switch want {
	case "text":
		return got.category == "S" && got.base != "name" // name cuts at 63 bytes in silence
	case "numeric":
		return got.base == "numeric"
	case "integer":
		return got.base == "int4" || got.base == "int8"
	case "bigint":
		return got.base == "int8" || got.base == "numeric"
	case "text[]":
		return got.base == "_text" || got.base == "_varchar"
	case "numeric[]":
		return got.sqlType == "numeric[]" // with a scale it would round
	case "boolean":
		return got.base == "bool"
	}
	return got.base == want // timestamptz, jsonb
}

// foldsTexts says whether the column takes different texts for equal ones, so
// that it cannot tell two keys apart: citext the case, char(n) spaces at the end.
func foldsTexts(got *foundColumn) bool { return got.base == "citext" || got.base == "bpchar" }

// sameBinary says whether a column's type reads the binary form of the wanted
// one: COPY does not cast, an INSERT does.
func sameBinary(want, base string) bool {
	switch want {
	case "text":
		return base == "text" || base == "varchar" || base == "bpchar" || base == "citext"
	case "integer":
		return base == "int4"
	case "bigint":
		return base == "int8"
	case "text[]":
		return base == "_text"
	case "numeric[]":
		return base == "_numeric"
	case "boolean":
		return base == "bool"
	}
	return base == want // numeric, timestamptz, jsonb
}

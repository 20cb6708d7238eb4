package timescalesink

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/qicore/tickconnect/connect"
)

// writeStatements makes the target's INSERT statements. Their parameters are
// an array for each row column, whose elements the database casts where its
// column has another type, then the four arrays of the origin.
func (g *target) writeStatements() {
	columns := g.table.rowColumns()
	names, selected, arrays := make([]string, 0, len(columns)), make([]string, 0, len(columns)), make([]string, 0, len(columns))
	for i := range columns {
		names = append(names, fmt.Sprintf("c%d", i+1))
		selected = append(selected, fmt.Sprintf("n.c%d::%s", i+1, g.casts[i]))
		arrays = append(arrays, fmt.Sprintf("$%d::%s[]", i+1, columns[i].element()))
	}
	for i, cast := range []string{"int4", "int4", "int8", "timestamptz"} {
		names = append(names, fmt.Sprintf("o%d", i+1))
		selected = append(selected, fmt.Sprintf("n.o%d", i+1))
		arrays = append(arrays, fmt.Sprintf("$%d::%s[]", len(columns)+i+1, cast))
	}
	insert := fmt.Sprintf("INSERT INTO %s AS t (%s)\nSELECT %s\nFROM unnest(%s) AS n(%s)",
		g.name, quoted("", g.table.columns()), strings.Join(selected, ", "),
		strings.Join(arrays, ", "), strings.Join(names, ", "))
	g.insertSQL = insert

	// The same rule as row.newerThan (promise 5), and: the same record with another
	// content is written, after a decoder was mended. Rows that the table had before
	// the sink wrote to it have no origin and are the oldest.
	values := append(append([]column{}, g.table.values...), originColumns...)
	var set []string
	for _, c := range values {
		set = append(set, fmt.Sprintf("%[1]s = EXCLUDED.%[1]s", quote(c.name)))
	}
	g.mergeSQL = insert + fmt.Sprintf(`
ON CONFLICT (%s) DO UPDATE SET %s
WHERE CASE WHEN t.origin_topic = EXCLUDED.origin_topic AND t.origin_partition = EXCLUDED.origin_partition
      THEN EXCLUDED.origin_offset > t.origin_offset OR EXCLUDED.origin_offset = t.origin_offset
           AND ROW(%s, t.origin_time)::text IS DISTINCT FROM ROW(%s, EXCLUDED.origin_time)::text
      ELSE (COALESCE(EXCLUDED.origin_time, '-infinity'), EXCLUDED.origin_topic, EXCLUDED.origin_partition)
           > (COALESCE(t.origin_time, '-infinity'), COALESCE(t.origin_topic, -1), COALESCE(t.origin_partition, -1)) END
RETURNING t.origin_topic::int4, t.origin_partition::int4, t.origin_offset::int8, t.xmax = 0`,
		quoted("", g.table.key), strings.Join(set, ", "),
		quoted("t.", g.table.values), quoted("EXCLUDED.", g.table.values))

	arrays, names = arrays[:0], names[:0]
	var match, equal []string
	for i, k := range g.table.key {
		arrays = append(arrays, fmt.Sprintf("$%d::%s[]", i+1, k.element()))
		names = append(names, fmt.Sprintf("k%d", i+1))
		match = append(match, fmt.Sprintf("t.%s = n.k%d::%s", quote(k.name), i+1, g.casts[i]))
	}
	for i, cast := range []string{"int4", "int4", "int8"} {
		arrays = append(arrays, fmt.Sprintf("$%d::%s[]", len(g.table.key)+i+1, cast))
		names = append(names, fmt.Sprintf("o%d", i+1))
		equal = append(equal, fmt.Sprintf("t.%s = n.o%d", quote(originColumns[i].name), i+1))
	}
	// The bounds let the database leave out, and not lock, all other chunks.
	g.equalSQL = fmt.Sprintf(`SELECT n.i, (%s) IS TRUE FROM unnest(%s) WITH ORDINALITY AS n(%s, i) JOIN %s AS t ON %s
WHERE t.%s BETWEEN $%d AND $%d`,
		strings.Join(equal, " AND "), strings.Join(arrays, ", "), strings.Join(names, ", "), g.name, strings.Join(match, " AND "),
		quote(timeColumn), len(g.table.key)+4, len(g.table.key)+5)
}

// rowParams makes the arrays of columns, the first ones of the row, and of the
// origin's first origins columns.
func rowParams(columns []column, rows []*row, origins int) params {
	arrays := make([][]byte, len(columns))
	for i := range arrays {
		arrays[i] = array(oids[columns[i].element()].element, len(rows), len(rows)*16)
	}
	for _, r := range rows {
		var field []byte
		fields := r.fields
		for i := range arrays {
			switch {
			case columns[i].name != flagsColumn.name:
				field, fields = cutField(fields)
				arrays[i] = append(arrays[i], field...)
			case r.flags == 0:
				arrays[i] = appendNullElem(arrays[i])
			default: // an array of arrays would be unnested to the bottom; the names need no quotes
				arrays[i] = appendBytesElem(arrays[i], []byte("{"+r.flags.String()+"}"))
			}
		}
	}
	var p params
	for i, a := range arrays {
		// array_recv wants to know of NULLs no more than that there may be some.
		p.add(oids[columns[i].element()].array, a)
	}
	p.int4s(len(rows), func(i int) int32 { return rows[i].topicID })
	p.int4s(len(rows), func(i int) int32 { return rows[i].partition })
	p.int8s(len(rows), func(i int) int64 { return rows[i].offset })
	if origins > 3 {
		p.times(len(rows), func(i int) int64 { return rows[i].millis })
	}
	return p
}

// merge is one INSERT of rows in a table, and what became of them.
type merge struct {
	target   *target
	rows     []*row
	returned []outcome
}

// outcome is what RETURNING says of one row.
type outcome struct {
	origin
	inserted bool
}

// origin names a record.
type origin struct {
	topicID, partition int32
	offset             int64
}

func (r *row) origin() origin { return origin{r.topicID, r.partition, r.offset} }

// step is the INSERT.
func (m *merge) step() step {
	s := step{
		doing:  "writing " + m.target.name,
		sql:    m.target.mergeSQL,
		params: rowParams(m.target.table.rowColumns(), m.rows, len(originColumns)),
	}
	if m.target.tape {
		s.sql, s.verify = m.target.insertSQL, storesAll(m.target.name, len(m.rows))
		return s
	}
	m.returned = m.returned[:0]
	s.read = func(r *pgconn.ResultReader) {
		for r.NextRow() {
			v := r.Values()
			m.returned = append(m.returned, outcome{
				origin{int32(binary.BigEndian.Uint32(v[0])), int32(binary.BigEndian.Uint32(v[1])), int64(binary.BigEndian.Uint64(v[2]))},
				v[3][0] == 1,
			})
		}
	}
	return s
}

// count adds the fates of the rows that were written and returns the others:
// their keys are held by this transaction, and their rows are newer or equal.
func (m *merge) count(counts []connect.Counts) (lost []*row) {
	if m.target.tape {
		countInserted(m.rows, counts)
		return nil
	}
	insertedAll := len(m.returned) == len(m.rows)
	for i := range m.returned {
		insertedAll = insertedAll && m.returned[i].inserted
	}
	if insertedAll {
		countInserted(m.rows, counts)
		return nil
	}
	// Of a record that gave several rows it is not known which of them were written,
	// and need not be: one is enough.
	written := make(map[origin]fate, len(m.returned))
	for _, o := range m.returned {
		f := fateWritten
		if o.inserted {
			f = fateInserted
		}
		written[o.origin] = max(written[o.origin], f)
	}
	for _, r := range m.rows {
		if f, ok := written[r.origin()]; ok {
			tally(counts, r, f)
		} else {
			lost = append(lost, r)
		}
	}
	return lost
}

func countInserted(rows []*row, counts []connect.Counts) {
	for _, r := range rows {
		tally(counts, r, fateInserted)
	}
}

// spanMicros is how far apart two rows are looked up in one statement: its
// bounds take in the chunks between them.
const spanMicros = 24 * 3600 * 1_000_000

// equalSteps find out which of the rows that lost are in the table already, as
// the same record: those are unchanged, the others stale.
func (g *target) equalSteps(lost []*row, counts []connect.Counts) []step {
	slices.SortStableFunc(lost, func(a, b *row) int { return cmp.Compare(a.micros(), b.micros()) })
	var steps []step
	for start, i := 0, 1; i <= len(lost); i++ {
		if i == len(lost) || lost[i].micros()-lost[i-1].micros() > spanMicros {
			steps, start = append(steps, g.equalStep(lost[start:i], counts)), i
		}
	}
	return steps
}

// equalStep looks up rows in the order of their times.
func (g *target) equalStep(lost []*row, counts []connect.Counts) step {
	p := rowParams(g.table.key, lost, 3)
	p.time(lost[0].micros())
	p.time(lost[len(lost)-1].micros())
	found := 0
	return step{
		doing:  "comparing with " + g.name,
		sql:    g.equalSQL,
		params: p,
		read: func(r *pgconn.ResultReader) {
			for r.NextRow() {
				v := r.Values()
				f := fateStale
				if v[1][0] == 1 {
					f = fateUnchanged
				}
				tally(counts, lost[binary.BigEndian.Uint64(v[0])-1], f)
				found++
			}
		},
		verify: func(pgconn.CommandTag) error {
			// A row whose key is not there was not written, and no other is in its way.
			if found != len(lost) {
				return errRowsVanished(g.name, int64(found), int64(len(lost)))
			}
			return nil
		},
	}
}

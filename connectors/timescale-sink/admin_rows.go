package timescalesink

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/qicore/tickconnect/connect"
)

// Cell is one column of a row, as text; nil for NULL.
type Cell struct {
	Column string  `json:"column"`
	Value  *string `json:"value"`
}

// StoredRow is a row of market data with the record that it comes from.
type StoredRow struct {
	Table string `json:"table"`
	// Cells are the columns in the order of the table: the natural key's, the values'.
	Cells []Cell `json:"row"`
	// Origin is where the record lies; nil where the row was not written by a sink. The
	// topic's identity is TopicID, "" where the brokers gave none.
	Origin *Origin `json:"origin"`
}

// Origin is where a record lies.
type Origin struct {
	Topic     string     `json:"topic"`
	Partition int32      `json:"partition"`
	Offset    int64      `json:"offset"`
	Time      *time.Time `json:"time"` // the record's Kafka timestamp
	TopicID   string     `json:"topic_id,omitempty"`
}

// TopicPartition is the origin's.
func (o *Origin) TopicPartition() connect.TopicPartition {
	return connect.TopicPartition{Topic: o.Topic, Partition: o.Partition}
}

// Tables are the names of the tables of market data.
func (a *Admin) Tables() []string {
	var names []string
	for _, t := range tables {
		names = append(names, a.c.cfg.tableName(t.kind))
	}
	return names
}

// Key gives the columns of a table's natural key, in order; of a tape those of its
// symbol and time. nil: there is no such table.
func (a *Admin) Key(table string) []string {
	t := a.table(table)
	if t == nil {
		return nil
	}
	var names []string
	for _, c := range t.key {
		names = append(names, c.name)
	}
	return names
}

func (a *Admin) table(name string) *table {
	i := slices.IndexFunc(tables, func(t *table) bool { return a.c.cfg.tableName(t.kind) == name })
	if i < 0 {
		return nil
	}
	return tables[i]
}

// Rows finds rows by the values of some of their columns, at most limit, in the order of
// the natural key.
func (a *Admin) Rows(ctx context.Context, table string, by []Cell, limit int) ([]StoredRow, error) {
	t := a.table(table)
	if t == nil {
		return nil, fmt.Errorf("there is no table %s; there are %s", table, strings.Join(a.Tables(), ", "))
	}
	columns := t.rowColumns()
	where, args := []string{"true"}, []any{}
	for _, cell := range by {
		i := slices.IndexFunc(columns, func(c column) bool { return c.name == cell.Column })
		if i < 0 {
			return nil, fmt.Errorf("table %s has no column %s", table, cell.Column)
		}
		args = append(args, cell.Value)
		where = append(where, fmt.Sprintf("t.%s IS NOT DISTINCT FROM $%d::text::%s", quote(cell.Column), len(args), columns[i].sqlType))
	}
	var selected []string
	for _, c := range columns {
		selected = append(selected, "t."+quote(c.name)+"::text")
	}
	args = append(args, limit)
	sql := fmt.Sprintf(`SELECT ARRAY[%s], c.topic, t.origin_partition, t.origin_offset, t.origin_time, COALESCE(c.topic_id, '')
		FROM %s t LEFT JOIN %s c ON c.id = t.origin_topic WHERE %s ORDER BY %s LIMIT $%d`,
		strings.Join(selected, ", "), quote(a.c.cfg.SchemaName, table), quote(a.c.cfg.SchemaName, topicsTable),
		strings.Join(where, " AND "), quoted("t.", t.key), len(args))
	rows, err := a.c.pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, classifyOpen("looking for rows", err)
	}
	defer rows.Close()
	var found []StoredRow
	for rows.Next() {
		r := StoredRow{Table: table}
		var values []*string
		var topic *string
		var partition *int32
		var offset *int64
		o := &Origin{}
		if err := rows.Scan(&values, &topic, &partition, &offset, &o.Time, &o.TopicID); err != nil {
			return nil, err
		}
		if topic != nil && partition != nil && offset != nil {
			o.Topic, o.Partition, o.Offset = *topic, *partition, *offset
			r.Origin = o
		}
		for i, c := range columns {
			r.Cells = append(r.Cells, Cell{c.name, values[i]})
		}
		found = append(found, r)
	}
	return found, classifyOpen("looking for rows", rows.Err())
}

// Prepared gives the rows that a record was prepared to, as the database would show them.
func (a *Admin) Prepared(ctx context.Context, raw []byte) ([]StoredRow, error) {
	var all []StoredRow
	for len(raw) > 0 {
		kind, r, rest, ok := parseRow(raw)
		if !ok {
			return nil, fmt.Errorf("what the record was prepared to is no row")
		}
		raw = rest
		t := tableOf(kind)
		columns := t.rowColumns()
		p := params{}
		selected := make([]string, 0, len(columns))
		fields := r.fields
		for i, c := range columns {
			if c == flagsColumn {
				selected = append(selected, fmt.Sprintf("$%d::text::text[]::text", i+1))
				if r.flags == 0 {
					p.add(oidText, nil)
				} else {
					p.text("{" + r.flags.String() + "}")
				}
				continue
			}
			var field []byte
			field, fields = cutField(fields)
			value := field[4:]
			if field[0] == 0xff { // a length of -1
				value = nil
			} else if value == nil {
				value = []byte{}
			}
			p.add(oids[c.element()].element, value)
			selected = append(selected, fmt.Sprintf("$%d::%s::text", i+1, c.sqlType))
		}
		row := StoredRow{Table: a.c.cfg.tableName(kind)}
		err := a.c.pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
			result := conn.Conn().PgConn().ExecParams(ctx, "SELECT "+strings.Join(selected, ", "), p.values, p.oids, p.formats, nil).Read()
			if result.Err != nil {
				return result.Err
			}
			for i, value := range result.Rows[0] {
				cell := Cell{Column: columns[i].name}
				if value != nil {
					text := string(value)
					cell.Value = &text
				}
				row.Cells = append(row.Cells, cell)
			}
			return nil
		})
		if err != nil {
			return nil, classifyOpen("showing what the record is prepared to", err)
		}
		all = append(all, row)
	}
	return all, nil
}

// Differ gives the columns in which two rows of one table differ.
func (r *StoredRow) Differ(o *StoredRow) []string {
	var names []string
	for i := range r.Cells {
		a, b := r.Cells[i].Value, o.Cells[i].Value
		if (a == nil) != (b == nil) || a != nil && *a != *b {
			names = append(names, r.Cells[i].Column)
		}
	}
	return names
}

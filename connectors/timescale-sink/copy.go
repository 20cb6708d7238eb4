package timescalesink

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/marketdata"
)

// copyRows stores rows with COPY straight into the hypertable: the fast path.
func (s *Sink) copyRows(ctx context.Context, g *target, p *plan, rows []*row) error {
	s.copyBuf = appendCopy(s.copyBuf[:0], g.table, rows)
	tag, err := s.conn.PgConn().CopyFrom(ctx, bytes.NewReader(s.copyBuf), g.copySQL)
	if cap(s.copyBuf) > copyBufKeepBytes {
		s.copyBuf = nil
	}
	if err == nil {
		return storesAll(g.name, len(rows))(tag)
	}
	if isOtherForm(err) {
		return fmt.Errorf("%w: %w", errTableChanged, err)
	}
	return blame("copying into "+g.name, err, p, rows)
}

// errTableChanged says that a column has another type than the one for which a
// COPY was made.
var errTableChanged = errors.New("the types of the table's columns have changed")

// typesStep checks, behind a COPY, that the columns still had the types that are
// known. COPY's binary format is not cast: of 8 bytes a column that became double
// precision would make another number, in silence. The COPY holds a lock against
// ALTER TABLE until the transaction ends.
func (g *target) typesStep() step {
	var p params
	p.text(g.name)
	same := 0
	return step{
		doing: "checking the columns of " + g.name, params: p, own: true,
		sql: `SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_catalog.pg_attribute
			WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped`,
		read: func(r *pgconn.ResultReader) {
			for r.NextRow() {
				v := r.Values()
				if sqlType, ok := g.types[string(v[0])]; ok && sqlType == string(v[1]) {
					same++
				}
			}
		},
		verify: func(pgconn.CommandTag) error {
			if same != len(g.types) {
				return fmt.Errorf("table %s: %w", g.name, errTableChanged)
			}
			return nil
		},
	}
}

// isOtherForm says that a COPY's binary input was not in the form that a column
// has: the column's type changed, and no record is to blame.
func isOtherForm(err error) bool {
	switch sqlState(err) {
	case "08P01", "22P03", "42804": // message too short; wrong length; wrong type of an array's elements
		return true
	}
	return false
}

// copyBufKeepBytes is the largest buffer that is kept for the next COPY.
const copyBufKeepBytes = 16 << 20

// copyHeader begins COPY's binary format: signature, flags, length of the
// header's extension.
const copyHeader = "PGCOPY\n\xff\r\n\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00"

// appendCopy appends the rows as COPY's binary format, each with its origin.
func appendCopy(buf []byte, t *table, rows []*row) []byte {
	buf = append(buf, copyHeader...)
	columns, hasArrays := uint16(len(t.columns())), t.hasArrays()
	for _, r := range rows {
		buf = binary.BigEndian.AppendUint16(buf, columns)
		if hasArrays {
			buf = appendFields(buf, t, r.fields)
		} else {
			buf = append(buf, r.fields...)
		}
		buf = appendFlags(buf, r.flags)
		buf = appendInt4Elem(buf, r.topicID)
		buf = appendInt4Elem(buf, r.partition)
		buf = appendInt8Elem(buf, r.offset)
		buf = appendTimeElem(buf, r.millis)
	}
	return append(buf, 0xff, 0xff)
}

// appendFields appends a row's fields with its arrays in binary form.
func appendFields(buf []byte, t *table, fields []byte) []byte {
	columns := t.rowColumns()
	for i := range len(columns) - 1 { // the flags are in the header
		var field []byte
		if field, fields = cutField(fields); columns[i].isArray() && len(field) > 4 {
			buf = appendNumerics(buf, field[4:])
		} else {
			buf = append(buf, field...)
		}
	}
	return buf
}

// appendNumerics appends a numeric[] of what rowWriter.levels wrote.
func appendNumerics(buf []byte, text []byte) []byte {
	start := len(buf)
	buf = append(buf, 0, 0, 0, 0)
	n := int32(0)
	if list := string(text[1 : len(text)-1]); list == "" {
		buf = appendInt32s(buf, 0, 0, oidNumeric)
	} else {
		buf = appendInt32s(buf, 1, 0, oidNumeric, 0, 1)
		for number := range strings.SplitSeq(list, ",") {
			d, _ := marketdata.ParseDecimal(number) // it was one
			at := len(buf)
			buf = appendNumeric(append(buf, 0, 0, 0, 0), d)
			binary.BigEndian.PutUint32(buf[at:], uint32(len(buf)-at-4))
			n++
		}
		binary.BigEndian.PutUint32(buf[start+16:], uint32(n))
	}
	binary.BigEndian.PutUint32(buf[start:], uint32(len(buf)-start-4))
	return buf
}

// appendFlags appends a text[], NULL for none.
func appendFlags(buf []byte, flags marketdata.Flags) []byte {
	if flags == 0 {
		return appendNullElem(buf)
	}
	names := flags.Names()
	list := array(oidText, len(names), 0)
	for _, name := range names {
		list = appendBytesElem(list, []byte(name))
	}
	return appendBytesElem(buf, list)
}

// blame names the record where a value of COPY's input could not be read. Only
// then does the line in the error's context surely belong to the error: checks
// and constraints run on buffered rows, after further lines were read. (Lines are
// rows also in the binary format.)
func blame(doing string, err error, p *plan, rows []*row) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || !strings.HasPrefix(pg.Code, "22") {
		return fmt.Errorf("%s: %w", doing, err)
	}
	_, rest, found := strings.Cut(pg.Where, ", line ")
	number, rest, hasColumn := strings.Cut(rest, ", column ")
	line, parseErr := strconv.Atoi(number)
	if !found || !hasColumn || parseErr != nil || line < 1 || line > len(rows) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	record := badRecord(pg)
	record.Column = rest
	r := rows[line-1]
	return &connect.BadDataError{Record: record, At: p.batch.Parts[r.part].TopicPartition, Offset: r.offset}
}

// pace decides for one table between COPY and the merge: a COPY that met a key
// which was there is wasted. Tables whose records repeat their keys, as open
// bars do, stay with the merge.
type pace struct {
	merge bool // prefer the merge
	clean int  // merges since then that only inserted
	need  int  // so many of them before COPY is tried again
}

const (
	paceMin = 2
	paceMax = 256
)

func (p *pace) copyFailed() {
	p.merge, p.clean = true, 0
	p.need = min(max(p.need*2, paceMin), paceMax)
}

func (p *pace) copied() { p.need = max(p.need/2, paceMin) }

func (p *pace) merged(onlyInserts bool) {
	if !onlyInserts {
		p.clean = 0
		return
	}
	if p.clean++; p.clean >= p.need {
		p.merge = false
	}
}

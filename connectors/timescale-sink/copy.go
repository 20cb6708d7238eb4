package timescalesink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/qicore/tickconnect/connect"
)

// copyRows stores rows with COPY straight into the hypertable: the fast path.
func (s *Sink) copyRows(ctx context.Context, g *target, p *plan, rows []*row) error {
	s.copyBuf = appendCopy(s.copyBuf[:0], rows)
	tag, err := s.conn.PgConn().CopyFrom(ctx, bytes.NewReader(s.copyBuf), g.copySQL)
	if cap(s.copyBuf) > copyBufKeepBytes {
		s.copyBuf = nil
	}
	if err == nil {
		return storesAll(g.name, len(rows))(tag)
	}
	return blame("copying into "+g.name, err, p, rows)
}

// copyBufKeepBytes is the largest buffer that is kept for the next COPY.
const copyBufKeepBytes = 16 << 20

// appendCopy appends the rows as COPY's text format, each with its origin.
func appendCopy(buf []byte, rows []*row) []byte {
	for _, r := range rows {
		buf = append(buf, r.line...)
		buf = append(buf, '\t')
		buf = strconv.AppendInt(buf, int64(r.topicID), 10)
		buf = append(buf, '\t')
		buf = strconv.AppendInt(buf, int64(r.partition), 10)
		buf = append(buf, '\t')
		buf = strconv.AppendInt(buf, r.offset, 10)
		buf = append(buf, '\t')
		if r.millis < 0 {
			buf = append(buf, nullField...)
		} else {
			buf = appendTime(buf, time.UnixMilli(r.millis))
		}
		buf = append(buf, '\n')
	}
	return buf
}

// blame names the record where a value of COPY's input could not be read. Only
// then does the line in the error's context surely belong to the error: checks
// and constraints run on buffered rows, after further lines were read.
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
	record.Column, _, _ = strings.Cut(rest, ":")
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

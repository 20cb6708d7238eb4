package timescalesink

import (
	"strconv"
	"time"

	"github.com/qicore/tickconnect/marketdata"
)

// rowWriter writes the fields of one row. Its methods are chained in the order
// of the table's columns; what they find wrong waits in err.
type rowWriter struct {
	buf           []byte
	start         int
	kind          marketdata.Kind
	limits        []numericLimit // by column; nil where no column has a limit
	topicExchange string

	column   int
	mismatch bool // the value's exchange is not the topic's
	err      error
}

// begin writes the header. The value's exchange beats the topic's.
func (w *rowWriter) begin(t time.Time, exchange string) *rowWriter {
	w.start = len(w.buf)
	w.mismatch = w.topicExchange != "" && exchange != w.topicExchange
	w.buf = beginRow(w.buf, w.kind, t.UnixMicro())
	return w
}

// endKey says that the natural key is written.
func (w *rowWriter) endKey() { w.buf = endKey(w.buf, w.start) }

func (w *rowWriter) next() {
	if w.column > 0 {
		w.buf = append(w.buf, '\t')
	}
	w.column++
}

func (w *rowWriter) null() *rowWriter {
	w.next()
	w.buf = append(w.buf, nullField...)
	return w
}

func (w *rowWriter) text(s string) *rowWriter {
	w.next()
	w.buf = appendField(w.buf, s)
	return w
}

// optional writes NULL for "".
func (w *rowWriter) optional(s string) *rowWriter {
	if s == "" {
		return w.null()
	}
	return w.text(s)
}

// originID is the id of a trade whose venue gives none: where its record lies.
func (w *rowWriter) originID(topic string, partition int32, offset int64) {
	w.next()
	w.buf = append(w.buf, '@')
	w.buf = appendField(w.buf, topic)
	w.buf = append(w.buf, '/')
	w.buf = strconv.AppendInt(w.buf, int64(partition), 10)
	w.buf = append(w.buf, '/')
	w.buf = strconv.AppendInt(w.buf, offset, 10)
}

// appendTime appends an instant with all six digits of a microsecond, so that
// one instant has one form. It is several times as quick as a layout
// (BenchmarkAppendTime), and every row has two of these.
func appendTime(b []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	if year < 0 || year > 9999 {
		return t.AppendFormat(b, timeFormat)
	}
	hour, minute, second := t.Clock()
	b = append(appendTwo(appendTwo(b, year/100), year%100), '-')
	b = append(appendTwo(b, int(month)), '-')
	b = append(appendTwo(b, day), 'T')
	b = append(appendTwo(b, hour), ':')
	b = append(appendTwo(b, minute), ':')
	b = append(appendTwo(b, second), '.')
	micros := t.Nanosecond() / 1000
	return append(appendTwo(appendTwo(appendTwo(b, micros/10_000), micros/100%100), micros%100), 'Z')
}

const timeFormat = "2006-01-02T15:04:05.000000Z"

func appendTwo(b []byte, n int) []byte { return append(b, byte('0'+n/10), byte('0'+n%10)) }

func (w *rowWriter) time(t time.Time) *rowWriter {
	w.next()
	w.buf = appendTime(w.buf, t)
	return w
}

// decimal writes the sender's digits as they are (promise 7).
func (w *rowWriter) decimal(d marketdata.Decimal) *rowWriter {
	if !d.Present() {
		return w.null()
	}
	if w.limits != nil {
		if l := w.limits[w.column]; l.precision > 0 && !l.fits(d) && w.err == nil {
			w.err = misfit(tableOf(w.kind).rowColumns()[w.column].name, d, l)
		}
	}
	w.next()
	w.buf = d.Append(w.buf)
	return w
}

func (w *rowWriter) integer(v marketdata.Optional[int64]) *rowWriter {
	if !v.Set {
		return w.null()
	}
	w.next()
	w.buf = strconv.AppendInt(w.buf, v.Value, 10)
	return w
}

func (w *rowWriter) boolean(v marketdata.Optional[bool]) *rowWriter {
	if !v.Set {
		return w.null()
	}
	w.next()
	w.buf = strconv.AppendBool(w.buf, v.Value)
	return w
}

// flags writes a text[]; their names need no quotes in it.
func (w *rowWriter) flags(f marketdata.Flags) {
	if f == 0 {
		w.null()
		return
	}
	w.next()
	w.buf = append(w.buf, '{')
	w.buf = append(w.buf, f.String()...)
	w.buf = append(w.buf, '}')
}

package timescalesink

import (
	"encoding/binary"
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
	at            recordAt
	rows          int32 // that were begun

	column   int
	mismatch bool // the value's exchange is not the topic's
	err      error
}

// recordAt is where a record lies.
type recordAt struct {
	topic     string
	partition int32
	offset    int64
}

// begin writes the header. The value's exchange beats the topic's.
func (w *rowWriter) begin(flags marketdata.Flags, exchange string) *rowWriter {
	w.start, w.column = len(w.buf), 0
	w.rows++
	w.mismatch = w.topicExchange != "" && exchange != w.topicExchange
	w.buf = beginRow(w.buf, w.kind, flags)
	return w
}

// endKey writes the time, the last column of the natural key.
func (w *rowWriter) endKey(t time.Time) {
	w.column++
	w.buf = appendInt8Elem(w.buf, t.UnixMicro()-postgresEpochMicros)
	w.buf = endKey(w.buf, w.start)
}

// end says that the row is written.
func (w *rowWriter) end() { w.buf = endRow(w.buf, w.start) }

func (w *rowWriter) null() *rowWriter {
	w.column++
	w.buf = appendNullElem(w.buf)
	return w
}

func (w *rowWriter) text(s string) *rowWriter {
	w.column++
	w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(len(s)))
	w.buf = append(w.buf, s...)
	return w
}

// optional writes NULL for "".
func (w *rowWriter) optional(s string) *rowWriter {
	if s == "" {
		return w.null()
	}
	return w.text(s)
}

// json writes a jsonb, NULL for "": a version and the text, as jsonb_recv takes it.
func (w *rowWriter) json(s string) *rowWriter {
	if s == "" {
		return w.null()
	}
	w.column++
	w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(1+len(s)))
	w.buf = append(append(w.buf, 1), s...)
	return w
}

// id writes a venue's id, or where it gives none where the record lies, and which
// of the record's rows it is, from the second on.
func (w *rowWriter) id(given string) *rowWriter {
	if given != "" {
		return w.text(given)
	}
	w.column++
	w.buf = w.sized(func(b []byte) []byte {
		b = append(append(append(b, '@'), w.at.topic...), '/')
		b = append(strconv.AppendInt(b, int64(w.at.partition), 10), '/')
		b = strconv.AppendInt(b, w.at.offset, 10)
		if w.rows > 1 {
			b = strconv.AppendInt(append(b, '/'), int64(w.rows-1), 10)
		}
		return b
	})
	return w
}

// time writes NULL for the zero time.
func (w *rowWriter) time(t time.Time) *rowWriter {
	if t.IsZero() {
		return w.null()
	}
	w.column++
	w.buf = appendInt8Elem(w.buf, t.UnixMicro()-postgresEpochMicros)
	return w
}

// levels writes a side of a book in two columns, its prices and its sizes, NULL
// where it is absent. An array is a text here, as an INSERT takes it; COPY makes
// the binary form of it.
func (w *rowWriter) levels(levels []marketdata.Level) *rowWriter {
	if levels == nil {
		return w.null().null()
	}
	return w.numbers(len(levels), func(b []byte, i int) []byte { return levels[i].Price.Append(b) }).
		numbers(len(levels), func(b []byte, i int) []byte { return levels[i].Size.Append(b) })
}

func (w *rowWriter) numbers(n int, at func(b []byte, i int) []byte) *rowWriter {
	w.column++
	w.buf = w.sized(func(b []byte) []byte {
		b = append(b, '{')
		for i := range n {
			if i > 0 {
				b = append(b, ',')
			}
			b = at(b, i)
		}
		return append(b, '}')
	})
	return w
}

// sized appends what write appends, after its length.
func (w *rowWriter) sized(write func([]byte) []byte) []byte {
	start := len(w.buf)
	b := write(append(w.buf, 0, 0, 0, 0))
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-4))
	return b
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
	w.column++
	start := len(w.buf)
	w.buf = appendNumeric(append(w.buf, 0, 0, 0, 0), d)
	binary.BigEndian.PutUint32(w.buf[start:], uint32(len(w.buf)-start-4))
	return w
}

func (w *rowWriter) integer(v marketdata.Optional[int64]) *rowWriter {
	if !v.Set {
		return w.null()
	}
	w.column++
	w.buf = appendInt8Elem(w.buf, v.Value)
	return w
}

func (w *rowWriter) boolean(v marketdata.Optional[bool]) *rowWriter {
	if !v.Set {
		return w.null()
	}
	w.column++
	w.buf = append(w.buf, 0, 0, 0, 1, 0)
	if v.Value {
		w.buf[len(w.buf)-1] = 1
	}
	return w
}

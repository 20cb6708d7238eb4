package timescalesink

import (
	"bytes"
	"encoding/binary"

	"github.com/qicore/tickconnect/marketdata"
)

// A prepared row is a header and a line of COPY's text format without its end:
//
//	kind     1 byte
//	keyLen   4 bytes, big-endian: how much of the line is the natural key
//	time     8 bytes, big-endian: µs since 1970, for finding the row's chunk
//	line     the fields of table.rowColumns with tabs between them
//
// The key's columns come first, each in one canonical form, so that two rows of
// one natural key begin with the same bytes.
const rowHeaderBytes = 1 + 4 + 8

func beginRow(dst []byte, kind marketdata.Kind, timeMicros int64) []byte {
	dst = append(dst, byte(kind), 0, 0, 0, 0)
	return binary.BigEndian.AppendUint64(dst, uint64(timeMicros))
}

// endKey records that the key ends here; the row began at start.
func endKey(dst []byte, start int) []byte {
	binary.BigEndian.PutUint32(dst[start+1:], uint32(len(dst)-start-rowHeaderBytes))
	return dst
}

// row is a prepared row with its origin.
type row struct {
	line   []byte
	keyLen int
	micros int64

	part      int // index of the batch's part
	topicID   int32
	partition int32
	offset    int64
	millis    int64 // the record's Kafka timestamp, -1 for none
}

func (r *row) key() []byte { return r.line[:r.keyLen] }

func parseRow(raw []byte) (marketdata.Kind, row) {
	line := raw[rowHeaderBytes:]
	return marketdata.Kind(raw[0]), row{
		line:   line,
		keyLen: int(binary.BigEndian.Uint32(raw[1:])),
		micros: int64(binary.BigEndian.Uint64(raw[5:])),
	}
}

// newerThan says whether r wins over o, a record of the same key (promise 5).
// merge.go says the same in SQL.
func (r *row) newerThan(o *row) bool {
	if r.topicID == o.topicID && r.partition == o.partition {
		return r.offset > o.offset
	}
	if r.millis != o.millis {
		return r.millis > o.millis
	}
	if r.topicID != o.topicID {
		return r.topicID > o.topicID
	}
	return r.partition > o.partition
}

// nullField is NULL in COPY's text format.
const nullField = `\N`

// appendField appends text as a field of COPY's text format.
func appendField(dst []byte, s string) []byte {
	for i := range len(s) {
		switch c := s[i]; c {
		case '\\':
			dst = append(dst, '\\', '\\')
		case '\t':
			dst = append(dst, '\\', 't')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// fields cuts a line into the fields of an INSERT; NULL is nil. It reuses out.
func fields(line []byte, out [][]byte) [][]byte {
	out = out[:0]
	for {
		field, rest, more := bytes.Cut(line, []byte{'\t'})
		out = append(out, unescape(field))
		if !more {
			return out
		}
		line = rest
	}
}

func unescape(field []byte) []byte {
	i := bytes.IndexByte(field, '\\')
	if i < 0 {
		return field
	}
	if string(field) == nullField {
		return nil
	}
	out := append(make([]byte, 0, len(field)), field[:i]...)
	for ; i < len(field); i++ {
		c := field[i]
		if c == '\\' {
			i++
			switch c = field[i]; c {
			case 't':
				c = '\t'
			case 'n':
				c = '\n'
			case 'r':
				c = '\r'
			}
		}
		out = append(out, c)
	}
	return out
}

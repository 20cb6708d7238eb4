package timescalesink

import (
	"encoding/binary"
	"time"

	"github.com/qicore/tickconnect/connect"
)

// OIDs of the array types that are sent, from pg_type.dat.
const (
	oidText             = 25
	oidInt4             = 23
	oidInt8             = 20
	oidBytea            = 17
	oidTimestamptz      = 1184
	oidNumeric          = 1700
	oidTextArray        = 1009
	oidInt4Array        = 1007
	oidInt8Array        = 1016
	oidByteaArray       = 1001
	oidTimestamptzArray = 1185
)

// oids are those of the types that rows hold, and of their arrays.
var oids = map[string]struct{ element, array uint32 }{
	"text":        {oidText, oidTextArray},
	"numeric":     {oidNumeric, 1231},
	"timestamptz": {oidTimestamptz, oidTimestamptzArray},
	"bigint":      {oidInt8, oidInt8Array},
	"boolean":     {16, 1000},
	"jsonb":       {3802, 3807},
}

// params collects the parameters of one statement in PostgreSQL's binary form,
// so that no value passes through a type that could change it, and an array of
// any length costs one buffer.
type params struct {
	values  [][]byte
	oids    []uint32
	formats []int16
}

func (p *params) add(oid uint32, value []byte) {
	p.values = append(p.values, value)
	p.oids = append(p.oids, oid)
	p.formats = append(p.formats, 1)
}

func (p *params) text(s string) { p.add(oidText, []byte(s)) }
func (p *params) int8(v int64)  { p.add(oidInt8, binary.BigEndian.AppendUint64(nil, uint64(v))) }

// time adds a timestamptz of µs since 1970.
func (p *params) time(micros int64) {
	p.add(oidTimestamptz, binary.BigEndian.AppendUint64(nil, uint64(micros-postgresEpochMicros)))
}

// array begins an array of n elements, in the form of array_recv: dimensions,
// whether there are NULLs, element type, length, lower bound.
func array(elem uint32, n, sizeHint int) []byte {
	buf := make([]byte, 0, 20+sizeHint)
	if n == 0 {
		return appendInt32s(buf, 0, 0, int32(elem))
	}
	return appendInt32s(buf, 1, 1, int32(elem), int32(n), 1)
}

func appendInt32s(buf []byte, vs ...int32) []byte {
	for _, v := range vs {
		buf = binary.BigEndian.AppendUint32(buf, uint32(v))
	}
	return buf
}

func appendBytesElem(buf, v []byte) []byte {
	buf = binary.BigEndian.AppendUint32(buf, uint32(len(v)))
	return append(buf, v...)
}

func appendNullElem(buf []byte) []byte { return appendInt32s(buf, -1) }

func appendInt4Elem(buf []byte, v int32) []byte { return appendInt32s(buf, 4, v) }

func appendInt8Elem(buf []byte, v int64) []byte {
	return binary.BigEndian.AppendUint64(appendInt32s(buf, 8), uint64(v))
}

// postgresEpochMicros is 2000-01-01 in µs since 1970, from which timestamptz counts.
const postgresEpochMicros = 946_684_800_000_000

// millisMax is the last millisecond of the year 9999.
const millisMax = 253_402_300_799_999

// storedMillis gives a record's Kafka timestamp, in ms, as it is stored:
// connect.NoTimestamp where the record has none, or one that is no time in ms.
func storedMillis(millis int64) int64 {
	if millis < 0 || millis > millisMax {
		return connect.NoTimestamp
	}
	return millis
}

// appendTimeElem appends a Kafka timestamp in ms as a timestamptz; NULL where
// storedMillis has none.
func appendTimeElem(buf []byte, millis int64) []byte {
	if millis = storedMillis(millis); millis == connect.NoTimestamp {
		return appendNullElem(buf)
	}
	return appendInt8Elem(buf, millis*1000-postgresEpochMicros)
}

// strings appends a text[]; element i is at(i).
func (p *params) strings(n int, at func(i int) string) {
	buf := array(oidText, n, n*24)
	for i := range n {
		s := at(i)
		buf = binary.BigEndian.AppendUint32(buf, uint32(len(s)))
		buf = append(buf, s...)
	}
	p.add(oidTextArray, buf)
}

// bytes appends a bytea[]; a nil element is NULL.
func (p *params) bytes(n int, at func(i int) []byte) {
	buf := array(oidBytea, n, n*64)
	for i := range n {
		if v := at(i); v == nil {
			buf = appendNullElem(buf)
		} else {
			buf = appendBytesElem(buf, v)
		}
	}
	p.add(oidByteaArray, buf)
}

func (p *params) int4s(n int, at func(i int) int32) {
	buf := array(oidInt4, n, n*8)
	for i := range n {
		buf = appendInt4Elem(buf, at(i))
	}
	p.add(oidInt4Array, buf)
}

func (p *params) int8s(n int, at func(i int) int64) {
	buf := array(oidInt8, n, n*12)
	for i := range n {
		buf = appendInt8Elem(buf, at(i))
	}
	p.add(oidInt8Array, buf)
}

// times appends a timestamptz[] of Kafka timestamps in ms.
func (p *params) times(n int, at func(i int) int64) {
	buf := array(oidTimestamptz, n, n*12)
	for i := range n {
		buf = appendTimeElem(buf, at(i))
	}
	p.add(oidTimestamptzArray, buf)
}

// timeMillis reads back what appendTimeElem wrote.
func timeMillis(t *time.Time) int64 {
	if t == nil {
		return -1
	}
	return t.UnixMilli()
}

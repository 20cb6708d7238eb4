package timescalesink

import (
	"encoding/binary"

	"github.com/qicore/tickconnect/marketdata"
)

// A prepared row is a header and fields in PostgreSQL's binary form, each after
// its length in 4 bytes, -1 for NULL. So a field goes as it is into COPY's binary
// format and into an array of its column, and the server parses no text.
//
//	kind     1 byte
//	flags    2 bytes, big-endian
//	keyLen   4 bytes, big-endian: how many bytes of the fields are the natural key
//	size     4 bytes, big-endian: how many bytes the fields are
//	fields   those of table.rowColumns but for the flags, which COPY and an INSERT
//	         take in different forms
//
// The key's columns come first, so that two rows of one natural key begin with
// the same bytes, and the last of them is the time. A record that gives several
// rows has them one behind the other.
const rowHeaderBytes = 1 + 2 + 4 + 4

func beginRow(dst []byte, kind marketdata.Kind, flags marketdata.Flags) []byte {
	return append(dst, byte(kind), byte(flags>>8), byte(flags), 0, 0, 0, 0, 0, 0, 0, 0)
}

// endKey records that the key ends here; the row began at start.
func endKey(dst []byte, start int) []byte {
	binary.BigEndian.PutUint32(dst[start+3:], uint32(len(dst)-start-rowHeaderBytes))
	return dst
}

// endRow records that the fields end here; the row began at start.
func endRow(dst []byte, start int) []byte {
	binary.BigEndian.PutUint32(dst[start+7:], uint32(len(dst)-start-rowHeaderBytes))
	return dst
}

// row is a prepared row with its origin.
type row struct {
	fields  []byte
	keyLen  int
	flags   marketdata.Flags
	several *several // of a record that gave more rows than this; nil else
	index   int32    // of the row in its record

	part      int // index of the batch's part
	topicID   int32
	partition int32
	offset    int64
	millis    int64 // the record's Kafka timestamp, -1 for none
}

func (r *row) key() []byte { return r.fields[:r.keyLen] }

// micros is the row's time in µs since 1970, for finding its chunk.
func (r *row) micros() int64 {
	return int64(binary.BigEndian.Uint64(r.fields[r.keyLen-8:])) + postgresEpochMicros
}

// parseRow cuts the first row off. ok is false where there is no whole one.
func parseRow(raw []byte) (kind marketdata.Kind, r row, rest []byte, ok bool) {
	if len(raw) < rowHeaderBytes {
		return 0, row{}, nil, false
	}
	end := rowHeaderBytes + int(binary.BigEndian.Uint32(raw[7:]))
	keyLen := int(binary.BigEndian.Uint32(raw[3:]))
	if end > len(raw) || keyLen > end-rowHeaderBytes {
		return 0, row{}, nil, false
	}
	return marketdata.Kind(raw[0]), row{
		fields: raw[rowHeaderBytes:end],
		keyLen: keyLen,
		flags:  marketdata.Flags(binary.BigEndian.Uint16(raw[1:])),
	}, raw[end:], true
}

// cutField cuts the first field off, with its length in front.
func cutField(fields []byte) (field, rest []byte) {
	n := 4 + max(0, int(int32(binary.BigEndian.Uint32(fields))))
	return fields[:n], fields[n:]
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

// sameRecord says whether both rows are of one record.
func (r *row) sameRecord(o *row) bool { return r.several != nil && r.several == o.several }

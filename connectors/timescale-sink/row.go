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
//	fields   those of table.rowColumns but for the flags, which COPY and an INSERT
//	         take in different forms
//
// The key's columns come first, so that two rows of one natural key begin with
// the same bytes, and the last of them is the time.
const rowHeaderBytes = 1 + 2 + 4

func beginRow(dst []byte, kind marketdata.Kind, flags marketdata.Flags) []byte {
	return append(dst, byte(kind), byte(flags>>8), byte(flags), 0, 0, 0, 0)
}

// endKey records that the key ends here; the row began at start.
func endKey(dst []byte, start int) []byte {
	binary.BigEndian.PutUint32(dst[start+3:], uint32(len(dst)-start-rowHeaderBytes))
	return dst
}

// row is a prepared row with its origin.
type row struct {
	fields []byte
	keyLen int
	flags  marketdata.Flags

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

func parseRow(raw []byte) (marketdata.Kind, row) {
	return marketdata.Kind(raw[0]), row{
		fields: raw[rowHeaderBytes:],
		keyLen: int(binary.BigEndian.Uint32(raw[3:])),
		flags:  marketdata.Flags(binary.BigEndian.Uint16(raw[1:])),
	}
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

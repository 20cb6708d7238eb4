package e2e

import (
	"context"
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"math/big"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/marketdata"
)

// position is where a record lies.
type position struct {
	connect.TopicPartition
	offset int64
}

func (p position) String() string { return fmt.Sprintf("%s@%d", p.TopicPartition, p.offset) }

// journal knows what was produced and what must have become of it. Its methods
// may be called concurrently.
type journal struct {
	mu     sync.Mutex
	tape   bool // every record is a row, whatever its key
	rows   map[marketdata.Kind]map[uint64]wantRow
	bad    map[position]poison // the records that must be dead-lettered
	counts struct{ good, bad, filtered int64 }
	errs   []error
}

// poison is a record that must be dead-lettered, for a reason where one is given.
type poison struct{ reason, value string }

// wantRow is the row that a natural key must have, and which record it is from.
type wantRow struct {
	hash uint64
	from position
}

func newJournal() *journal {
	return &journal{rows: map[marketdata.Kind]map[uint64]wantRow{}, bad: map[position]poison{}}
}

// textHash is what rowHash makes of a text in SQL.
func textHash(text string) uint64 {
	sum := md5.Sum([]byte(text))
	return binary.BigEndian.Uint64(sum[:8]) >> 4
}

// rowHash is the SQL for textHash.
func rowHash(text string) string { return "('x' || substr(md5(" + text + "), 1, 15))::bit(60)::bigint" }

// stored notes a good record that the broker has acknowledged. Of two with one
// key, which lie in one partition, the later one counts.
func (j *journal) stored(s *sample, at position) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.counts.good++
	key := s.keyText()
	if j.tape {
		key = at.String()
	}
	rows := j.rows[s.kind]
	if rows == nil {
		rows = map[uint64]wantRow{}
		j.rows[s.kind] = rows
	}
	h := textHash(key)
	if old, there := rows[h]; there && old.from.TopicPartition != at.TopicPartition {
		j.errs = append(j.errs, fmt.Errorf("the key %s lies at %s and at %s: the test is wrong", key, old.from, at))
	} else if !there || old.from.offset < at.offset {
		rows[h] = wantRow{textHash(s.rowText()), at}
	}
}

func (j *journal) sum(kind marketdata.Kind) (rows int64, sum string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	total := new(big.Int)
	for _, w := range j.rows[kind] {
		total.Add(total, new(big.Int).SetUint64(w.hash))
	}
	return int64(len(j.rows[kind])), total.String()
}

func at(r *kgo.Record) position {
	return position{connect.TopicPartition{Topic: r.Topic, Partition: r.Partition}, r.Offset}
}

// produce sends good records to a topic, in order, and waits for the broker.
func (s *stack) produce(topic string, samples ...sample) {
	s.t.Helper()
	if err := s.tryProduce(topic, samples...); err != nil {
		s.t.Fatal(err)
	}
}

// tryProduce is produce for a goroutine that may not end the test.
func (s *stack) tryProduce(topic string, samples ...sample) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), limit)
	defer cancel()
	records := make([]*kgo.Record, len(samples))
	for i := range samples {
		records[i] = samples[i].record(topic)
	}
	if err := s.client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("producing to %s: %w", topic, err)
	}
	for i, r := range records {
		s.journal.stored(&samples[i], at(r))
		if w := s.watching.Load(); w != nil {
			w.produced(r)
		}
	}
	return nil
}

func (s *sample) record(topic string) *kgo.Record {
	return &kgo.Record{Topic: topic, Key: []byte(s.key), Value: []byte(s.value)}
}

// produceBad sends records that must be dead-lettered.
func (s *stack) produceBad(topic string, bad ...poison) {
	s.t.Helper()
	for _, b := range bad {
		if err := s.tryProduceBad(topic, b); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *stack) tryProduceBad(topic string, b poison) error {
	r := &kgo.Record{
		Topic: topic, Key: []byte("bad"), Value: append([]byte{}, b.value...), // not nil where it is empty: that would be a tombstone
		Headers: []kgo.RecordHeader{{Key: "trace", Value: []byte{0xff, 0}}},
	}
	if err := s.tryProduceRaw(r); err != nil {
		return err
	}
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	s.journal.bad[at(r)] = b
	s.journal.counts.bad++
	return nil
}

// produceTombstone sends a record without a value, which must be filtered.
func (s *stack) produceTombstone(topic string) {
	s.t.Helper()
	s.produceRaw(&kgo.Record{Topic: topic, Key: []byte("gone")})
	s.journal.counts.filtered++
}

func (s *stack) produceRaw(r *kgo.Record) {
	s.t.Helper()
	if err := s.tryProduceRaw(r); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stack) tryProduceRaw(r *kgo.Record) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), limit)
	defer cancel()
	if err := s.client.ProduceSync(ctx, r).FirstErr(); err != nil {
		return fmt.Errorf("producing to %s: %w", r.Topic, err)
	}
	return nil
}

// forgetRows leaves the rows of earlier rounds out of what is compared.
func (j *journal) forgetRows() {
	j.mu.Lock()
	defer j.mu.Unlock()
	clear(j.rows)
}

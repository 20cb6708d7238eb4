package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/marketdata"
	"github.com/qicore/tickconnect/publish"
)

// topicSample is what the last records of a topic show of its producers.
type topicSample struct {
	kind       marketdata.Kind
	exchange   string // of the topic's name
	partitions int32
	now        time.Time
	decoder    marketdata.Decoder

	records, tombstones, decoded int
	newest                       time.Time
	// ended is why not all of the sample was read.
	ended error

	bad      tally // undecodable records by reason
	unknown  tally // ignored fields by name
	floats   tally // numbers of more digits than a float64 has, by field
	exponent tally // numbers with an exponent, by field
	foreign  tally // exchanges that are not the topic's

	keyless, byExchange int
	keys                map[string]*sampledKey
	ofKey, keysOf       relation // the symbols of a key, the keys of a symbol
	misplaced           int      // records whose partition is not murmur2 of their key
	// rules are further ways in which all of the misplaced records may have come to
	// their partitions.
	rules []rule

	codecs map[string]int64 // bytes of batches, decompressed, by codec
	// plain are those of batches that would be smaller if they were compressed.
	plain, batched int64
}

// tally counts things by name, and keeps the first example of each.
type tally map[string]*tallied

type tallied struct {
	n       int
	example string
}

func (t *tally) add(name, example string) {
	if *t == nil {
		*t = tally{}
	}
	one := (*t)[name]
	if one == nil {
		one = &tallied{example: example}
		(*t)[name] = one
	}
	one.n++
}

func (t tally) total() (n int) {
	for _, one := range t {
		n += one.n
	}
	return n
}

// names are in the order of their counts, the largest first.
func (t tally) names() []string {
	names := make([]string, 0, len(t))
	for name := range t {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(t[b].n, t[a].n), cmp.Compare(a, b)) })
	return names
}

// counts are for JSON.
func (t tally) counts() map[string]int {
	counts := map[string]int{}
	for name, one := range t {
		counts[name] = one.n
	}
	return counts
}

// sampledKey is one key and where its records lie.
type sampledKey struct {
	n          int
	partitions map[int32]bool
}

// rule is a way to choose a key's partition.
type rule struct {
	name, fix string
	partition func(key []byte) int32
	fewer     int32 // murmur2 over fewer partitions than there are now
}

func newTopicSample(t publish.Topic, now time.Time) *topicSample {
	kind, exchange, _ := marketdata.KindOfTopic(t.Name)
	s := &topicSample{
		kind: kind, exchange: exchange, partitions: t.Partitions, now: now,
		keys: map[string]*sampledKey{}, codecs: map[string]int64{},
	}
	n := t.Partitions
	s.rules = append(s.rules,
		rule{name: "librdkafka's default", fix: "partitioner=murmur2_random", partition: func(key []byte) int32 {
			return int32(crc32.ChecksumIEEE(key) % uint32(n))
		}},
		rule{name: "sarama's default", fix: "a Producer.Partitioner that uses murmur2", partition: func(key []byte) int32 {
			h := fnv.New32a()
			h.Write(key)
			p := int32(h.Sum32()) % n
			return max(p, -p)
		}})
	for fewer := n - 1; fewer >= 1; fewer-- {
		s.rules = append(s.rules, rule{fewer: fewer, partition: func(key []byte) int32 { return marketdata.Partition(key, fewer) }})
	}
	return s
}

// take reads ranges of the topic into the sample. Where ctx ends first, the
// sample is of what was read by then.
func (s *topicSample) take(ctx context.Context, c *cluster, topic string, ranges []logRange, progress func(read, of int64)) {
	var read, of int64
	for _, r := range ranges {
		of += r.to - r.from
	}
	reader := &logReader{client: c.client, topic: topic, record: s.add, batch: s.addBatch}
	for _, r := range ranges {
		progress(read, of)
		if err := reader.read(ctx, r.partition, r.from, r.to); err != nil {
			if ctx.Err() != nil {
				s.ended = errors.Join(s.ended, fmt.Errorf("the time for it was over after %s of %s offsets; give it more with --timeout, or a smaller --sample",
					grouped(read), grouped(of)))
				return
			}
			s.ended = errors.Join(s.ended, fmt.Errorf("partition %d: %w", r.partition, topicError(topic, err, "READ, DESCRIBE")))
		}
		read += r.to - r.from
	}
}

// plainBatchBytes is from where on a batch of JSON is smaller when compressed.
// A client that compresses leaves smaller ones as they are.
const plainBatchBytes = 1 << 10

func (s *topicSample) addBatch(m kgo.FetchBatchMetrics) {
	names := []string{"none", "gzip", "snappy", "lz4", "zstd"}
	name := "unknown"
	if int(m.CompressionType) < len(names) {
		name = names[m.CompressionType]
	}
	size := int64(m.UncompressedBytes)
	s.codecs[name] += size
	if size >= plainBatchBytes {
		s.batched += size
		if m.CompressionType == 0 {
			s.plain += size
		}
	}
}

func (s *topicSample) add(r *kgo.Record) {
	s.records++
	if r.Timestamp.After(s.newest) {
		s.newest = r.Timestamp
	}
	s.addKey(r)
	if r.Value == nil {
		s.tombstones++
		return
	}
	what, err := s.decode(r.Value) // its texts hold until the next record
	if err != nil {
		s.bad.add(err.Reason, fmt.Sprintf("%d/%d: %s", r.Partition, r.Offset, err))
		return
	}
	s.decoded++
	if s.decoder.UnknownFields() > 0 {
		s.addUnknown(r.Value)
	}
	s.addNumbers(r.Value)
	if s.exchange != "" && what.Exchange != "" && what.Exchange != s.exchange {
		s.foreign.add(strings.Clone(what.Exchange), "")
	}
	s.judgeKey(r.Key, what)
}

func (s *topicSample) decode(value []byte) (marketdata.Identity, *marketdata.Error) {
	id, err := s.decoder.Identify(s.kind, value, s.now)
	var bad *marketdata.Error
	if errors.As(err, &bad) {
		return marketdata.Identity{}, bad
	}
	return id, nil
}

func (s *topicSample) addKey(r *kgo.Record) {
	if len(r.Key) == 0 {
		s.keyless++
		return
	}
	k := s.keys[string(r.Key)]
	if k == nil {
		k = &sampledKey{partitions: map[int32]bool{}}
		s.keys[string(r.Key)] = k
	}
	k.n++
	k.partitions[r.Partition] = true
	if r.Partition == marketdata.Partition(r.Key, s.partitions) {
		return
	}
	s.misplaced++
	s.rules = slices.DeleteFunc(s.rules, func(f rule) bool { return f.partition(r.Key) != r.Partition })
}

// judgeKey holds a key against what the record is of: the symbol, with its
// exchange where a topic is of several. Any key that is one to one with that
// keeps the order as well as the kind's own.
func (s *topicSample) judgeKey(key []byte, id marketdata.Identity) {
	layout := marketdata.TopicPerKind
	if s.exchange != "" {
		layout = marketdata.TopicPerExchange
	}
	want, err := marketdata.Key(layout, s.kind, id.Exchange, id.Symbol, id.Source)
	if err != nil || len(key) == 0 {
		return
	}
	if strings.EqualFold(string(key), id.Exchange) && !strings.EqualFold(string(want), string(key)) {
		s.byExchange++
		return
	}
	s.ofKey.add(string(key), string(want))
	s.keysOf.add(string(want), string(key))
}

// relation says which names belong to a name.
type relation map[string]map[string]bool

func (r *relation) add(name, other string) {
	if *r == nil {
		*r = relation{}
	}
	if (*r)[name] == nil {
		(*r)[name] = map[string]bool{}
	}
	(*r)[name][other] = true
}

// several are the names that have more than one, in order.
func (r relation) several() (names []string) {
	for name, others := range r {
		if len(others) > 1 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// quoted shows a text of a record, cut to what a line may hold.
func quoted(text string) string {
	const most = 40
	if len(text) > most {
		text = text[:most] + "..."
	}
	return strconv.Quote(text)
}

// addUnknown names the fields that decoding counted as unknown.
func (s *topicSample) addUnknown(value []byte) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(value, &fields) != nil {
		return
	}
	for name, raw := range fields {
		if _, known := marketdata.FieldName(s.kind, name); !known && !s.isMetric(raw) {
			s.unknown.add(name, "")
		}
	}
}

// isMetric says whether a field of any name is kept: analytics takes further
// numbers, also as text.
func (s *topicSample) isMetric(raw json.RawMessage) bool {
	var d marketdata.Decimal
	return s.kind == marketdata.KindAnalytics && d.UnmarshalJSON(raw) == nil && d.Present()
}

// addNumbers looks for JSON numbers that show that they were a float64: a
// decimal that is sent as text may have any digits.
func (s *topicSample) addNumbers(value []byte) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(value, &fields) != nil {
		return
	}
	s.addNumbersOf(fields)
	for name, raw := range fields {
		var inner map[string]json.RawMessage
		if plainName(name) == "metrics" && json.Unmarshal(raw, &inner) == nil {
			s.addNumbersOf(inner)
		}
	}
}

func (s *topicSample) addNumbersOf(fields map[string]json.RawMessage) {
	for name, raw := range fields {
		text := string(raw)
		if c := text[0]; c != '-' && (c < '0' || c > '9') {
			continue
		}
		switch plainName(name) {
		case "time", "sequence", "tradeid", "trades":
			continue // whole numbers
		}
		digits, exponent := significantDigits(text)
		if digits > float64Digits {
			s.floats.add(name, text)
		}
		if exponent {
			s.exponent.add(name, text)
		}
	}
}

// plainName is a field's name as decoding compares it.
func plainName(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "")) }

// float64Digits is how many decimal digits a float64 always keeps.
const float64Digits = 15

// significantDigits counts the digits of a JSON number without the zeros at both
// ends, which say nothing of how it was made.
func significantDigits(number string) (digits int, exponent bool) {
	mantissa, _, exponent := strings.Cut(strings.ToLower(number), "e")
	mantissa = strings.Trim(strings.NewReplacer("-", "", ".", "").Replace(mantissa), "0")
	return len(mantissa), exponent
}

// roundedDigits says whether digits are those which binary fractions leave:
// 0.30000000000000004, 0.7999999999999999.
func roundedDigits(number string) bool {
	return binaryRest.MatchString(number)
}

var binaryRest = regexp.MustCompile(`[1-9.]0*(0{6,}|9{6,})[0-9]{1,3}(?:[eE].*)?$`)

// busiestKey gives the key that has most of the records.
func (s *topicSample) busiestKey() (key string, n int) {
	for k, one := range s.keys {
		if one.n > n || one.n == n && k < key {
			key, n = k, one.n
		}
	}
	return key, n
}

// scattered counts the keys whose records lie in several partitions.
func (s *topicSample) scattered() (n int) {
	for _, k := range s.keys {
		if len(k.partitions) > 1 {
			n++
		}
	}
	return n
}

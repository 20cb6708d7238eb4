package marketdata

import (
	"fmt"
	"strings"
)

// Layout says how records are spread over topics. The zero value is the default.
type Layout uint8

const (
	// TopicPerExchange has a topic for each kind and exchange, keyed by symbol.
	TopicPerExchange Layout = iota
	// TopicPerKind has one topic for each kind, keyed by exchange|symbol.
	TopicPerKind
)

const exchangeKeyAdvice = "the exchange alone is a poor key: under murmur2 ten large exchanges fill 7 of 12 partitions, " +
	"and the largest one sets the pace; key by symbol in a topic for each exchange (topic-per-exchange) " +
	"or by exchange|symbol (topic-per-kind)"

// String gives the name that configurations use.
func (l Layout) String() string {
	if l == TopicPerKind {
		return "topic-per-kind"
	}
	return "topic-per-exchange"
}

// ParseLayout reads what String gives. It refuses the exchange as a key, with
// advice.
func ParseLayout(s string) (Layout, error) {
	switch s {
	case "topic-per-exchange":
		return TopicPerExchange, nil
	case "topic-per-kind":
		return TopicPerKind, nil
	case "exchange", "key-by-exchange":
		return 0, fmt.Errorf("%q is refused: %s", s, exchangeKeyAdvice)
	}
	return 0, fmt.Errorf("%q is no layout: topic-per-exchange, topic-per-kind", s)
}

// Topic gives the topic of a kind and exchange in this layout.
func (l Layout) Topic(k Kind, exchange string) string {
	if l == TopicPerKind {
		return TopicName(k, "")
	}
	return TopicName(k, exchange)
}

// Key gives the key of a record: its symbol in a topic of one exchange,
// exchange|symbol in the one topic of a kind. Analytics without a symbol are
// keyed by their exchange, or by their source where they have none, and those
// with a symbol and no exchange by the symbol. For every other kind a record
// without a symbol is refused, as its key would be the exchange alone.
func Key(l Layout, k Kind, exchange, symbol, source string) ([]byte, error) {
	exchange = strings.ToLower(exchange)
	if strings.Contains(exchange, "|") {
		return nil, fmt.Errorf("exchange %q holds a |, which separates exchange and symbol in a key", exchange)
	}
	if k == KindAnalytics {
		return analyticsKey(l, exchange, symbol, source)
	}
	if symbol == "" {
		return nil, fmt.Errorf("a %s record without a symbol has no key: %s", k, exchangeKeyAdvice)
	}
	if l == TopicPerExchange {
		return []byte(symbol), nil
	}
	if exchange == "" {
		return nil, fmt.Errorf("a %s record without an exchange has no key in the one topic of its kind", k)
	}
	return []byte(exchange + "|" + symbol), nil
}

func analyticsKey(l Layout, exchange, symbol, source string) ([]byte, error) {
	switch {
	case symbol != "" && exchange != "" && l == TopicPerKind:
		return []byte(exchange + "|" + symbol), nil
	case symbol != "":
		return []byte(symbol), nil
	case exchange != "":
		return []byte(exchange), nil
	case source != "":
		return []byte(source), nil
	}
	return nil, fmt.Errorf("an analytics record needs a symbol, an exchange or a source to be keyed by")
}

// Partition gives the partition of a key in a topic of n partitions, n above 0,
// as the default partitioners of the Java client and of franz-go choose it:
// murmur2 with the sign bit masked off. sarama and librdkafka's default differ.
func Partition(key []byte, n int32) int32 {
	return int32(murmur2(key)&0x7fffffff) % n
}

// murmur2 is org.apache.kafka.common.utils.Utils.murmur2.
func murmur2(b []byte) uint32 {
	const (
		seed = 0x9747b28c
		m    = 0x5bd1e995
		r    = 24
	)
	h := seed ^ uint32(len(b))
	for len(b) >= 4 {
		k := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
		k *= m
		k ^= k >> r
		k *= m
		h *= m
		h ^= k
		b = b[4:]
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h ^= uint32(b[0])
		h *= m
	}
	h ^= h >> 13
	h *= m
	h ^= h >> 15
	return h
}

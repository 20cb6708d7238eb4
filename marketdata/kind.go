package marketdata

import (
	"fmt"
	"strings"
)

// Kind is a kind of market data. The zero value is none.
type Kind uint8

// The five kinds.
const (
	KindPrice Kind = iota + 1
	KindOHLCV
	KindLevel1
	KindTrade
	KindAnalytics
)

var kindNames = [...]string{
	KindPrice:     "price",
	KindOHLCV:     "ohlcv",
	KindLevel1:    "level1",
	KindTrade:     "trade",
	KindAnalytics: "analytics",
}

var kindTopics = [...]string{
	KindPrice:     "crypto-prices",
	KindOHLCV:     "crypto-ohlcv",
	KindLevel1:    "crypto-level1",
	KindTrade:     "crypto-trades",
	KindAnalytics: "crypto-analytics",
}

// Kinds gives the five kinds in their fixed order.
func Kinds() []Kind {
	return []Kind{KindPrice, KindOHLCV, KindLevel1, KindTrade, KindAnalytics}
}

// String gives the name that configurations use: price, ohlcv, level1, trade,
// analytics.
func (k Kind) String() string {
	if k < KindPrice || k > KindAnalytics {
		return fmt.Sprintf("kind(%d)", uint8(k))
	}
	return kindNames[k]
}

// ParseKind reads what String gives.
func ParseKind(s string) (Kind, error) {
	for _, k := range Kinds() {
		if kindNames[k] == s {
			return k, nil
		}
	}
	return 0, fmt.Errorf("%q is no kind of market data: price, ohlcv, level1, trade, analytics", s)
}

// TopicName gives the topic of a kind for one exchange, in lower case, or the
// one topic of the kind where exchange is "". It does not check that the
// exchange has only the characters that Kafka allows in a topic's name.
func TopicName(k Kind, exchange string) string {
	if k < KindPrice || k > KindAnalytics {
		return ""
	}
	if exchange == "" {
		return kindTopics[k]
	}
	return kindTopics[k] + "-" + strings.ToLower(exchange)
}

// KindOfTopic reads what TopicName gives: the kind, and the exchange in lower
// case, "" for the one topic of a kind. ok is false for every other topic.
func KindOfTopic(topic string) (k Kind, exchange string, ok bool) {
	for k := KindPrice; k <= KindAnalytics; k++ {
		rest, found := strings.CutPrefix(topic, kindTopics[k])
		if !found {
			continue
		}
		if rest == "" {
			return k, "", true
		}
		if len(rest) > 1 && rest[0] == '-' {
			return k, strings.ToLower(rest[1:]), true
		}
	}
	return 0, "", false
}

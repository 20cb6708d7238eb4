package marketdata

import (
	"fmt"
	"strings"
)

// Kind is a kind of market data. The zero value is none.
type Kind uint8

// The kinds.
const (
	KindPrice Kind = iota + 1
	KindOHLCV
	KindLevel1
	KindTrade
	KindAnalytics
	KindFunding
	KindOpenInterest
	KindLiquidation
	KindBook
)

// KindCount is how many kinds there are; the last one has this number.
const KindCount = int(KindBook)

var kindNames = [...]string{
	KindPrice:        "price",
	KindOHLCV:        "ohlcv",
	KindLevel1:       "level1",
	KindTrade:        "trade",
	KindAnalytics:    "analytics",
	KindFunding:      "funding",
	KindOpenInterest: "open_interest",
	KindLiquidation:  "liquidation",
	KindBook:         "book",
}

var kindTopics = [...]string{
	KindPrice:        "crypto-prices",
	KindOHLCV:        "crypto-ohlcv",
	KindLevel1:       "crypto-level1",
	KindTrade:        "crypto-trades",
	KindAnalytics:    "crypto-analytics",
	KindFunding:      "crypto-funding",
	KindOpenInterest: "crypto-open-interest",
	KindLiquidation:  "crypto-liquidations",
	KindBook:         "crypto-book",
}

// Kinds gives the kinds in their fixed order.
func Kinds() []Kind {
	kinds := make([]Kind, KindCount)
	for i := range kinds {
		kinds[i] = KindPrice + Kind(i)
	}
	return kinds
}

// KindNames gives what String gives for each kind, with commas between them.
func KindNames() string { return strings.Join(kindNames[KindPrice:], ", ") }

func (k Kind) known() bool { return k >= KindPrice && int(k) <= KindCount }

// String gives the name that configurations use: price, ohlcv, level1, trade,
// analytics, funding, open_interest, liquidation, book.
func (k Kind) String() string {
	if !k.known() {
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
	return 0, fmt.Errorf("%q is no kind of market data: %s", s, KindNames())
}

// TopicName gives the topic of a kind for one exchange, in lower case, or the
// one topic of the kind where exchange is "". It does not check that the
// exchange has only the characters that Kafka allows in a topic's name.
func TopicName(k Kind, exchange string) string {
	if !k.known() {
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
	for k := KindPrice; k.known(); k++ {
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

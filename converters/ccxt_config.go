package converters

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// The parts that a record's envelope, key and topic may tell. A structure of CCXT
// has no exchange, and a bar has none of them.
const (
	ccxtTellExchange = "exchange"
	ccxtTellKind     = "kind"
	ccxtTellSymbol   = "symbol"
	ccxtTellInterval = "interval"
	ccxtTellValue    = "value" // of an envelope alone
)

// The default patterns: topics like ccxt.binance.trades and ccxt.kraken.ohlcv.1m, and
// keys that are a symbol of CCXT and nothing else, plain or as a JSON string.
const (
	ccxtTopicPattern = `^ccxt[.-](?P<exchange>[a-z0-9]+)[.-](?P<kind>[A-Za-z_]+)([.-](?P<interval>[0-9]+[smhdwMy]))?$`
	ccxtKeyPattern   = `^"?(?P<symbol>[^"/|:_\s-]+/[^"/|\s]+)"?$`
)

// CCXTConfig is how unified structures of CCXT are read.
type CCXTConfig struct {
	Exchange     string   `json:"value.converter.ccxt.exchange" jsonschema:"description=The exchange where neither envelope nor key nor topic tells it; CCXT's structures do not name it."`
	TopicPattern string   `json:"value.converter.ccxt.topic.pattern" jsonschema:"description=A regular expression of topics' names whose named groups (?P<exchange>...) and (?P<kind>...) and (?P<symbol>...) and (?P<interval>...) tell what the structures do not. Another than the default must match all topics of the connector. Kinds are trade and ticker and ohlcv and orderbook or names of CCXT's calls."`
	KeyPattern   string   `json:"value.converter.ccxt.key.pattern" jsonschema:"description=The same for the records' keys. It beats the topic. By default a key such as BTC/USDT is the symbol."`
	Envelope     []string `json:"value.converter.ccxt.envelope" jsonschema:"description=Where the records are envelopes: the members that hold the parts as in value=data and exchange=venue and kind=channel and symbol=market and interval=timeframe. value must be there. It beats the key. Not set: the records are the structures."`
	MakerSides   []string `json:"value.converter.ccxt.maker.sides" jsonschema:"description=Exchanges whose trades have the maker's side in CCXT: it is turned into the taker's. In CCXT 4.5.90 coinbase is one and coinbaseexchange is not."`
	OrderBookTop bool     `json:"value.converter.ccxt.orderbook.top" jsonschema:"description=Store the best bid and ask of each order book as a quote too."`
}

// DefaultCCXT gives the defaults.
func DefaultCCXT() CCXTConfig {
	return CCXTConfig{TopicPattern: ccxtTopicPattern, KeyPattern: ccxtKeyPattern, MakerSides: []string{"coinbase"}}
}

// Validate says what is wrong, each message beginning with the key.
func (c *CCXTConfig) Validate() error {
	errs := []error{
		checkPattern("value.converter.ccxt.topic.pattern", c.TopicPattern),
		checkPattern("value.converter.ccxt.key.pattern", c.KeyPattern),
	}
	const key = "value.converter.ccxt.envelope"
	envelope, err := pairs(key, c.Envelope)
	errs = append(errs, err)
	parts := []string{ccxtTellValue, ccxtTellExchange, ccxtTellKind, ccxtTellSymbol, ccxtTellInterval}
	for _, part := range slices.Sorted(maps.Keys(envelope)) {
		if !slices.Contains(parts, part) {
			errs = append(errs, fmt.Errorf("%s: %s=%s: %q is none of %s", key, part, envelope[part], part, strings.Join(parts, ", ")))
		}
	}
	if len(envelope) > 0 && envelope[ccxtTellValue] == "" {
		errs = append(errs, fmt.Errorf("%s: it does not say which member holds the structures, as value=data does", key))
	}
	return errors.Join(errs...)
}

func checkPattern(key, pattern string) error {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	groups := []string{ccxtTellExchange, ccxtTellKind, ccxtTellSymbol, ccxtTellInterval}
	known := pattern == ""
	for _, name := range re.SubexpNames() {
		switch {
		case slices.Contains(groups, name):
			known = true
		case name != "":
			return fmt.Errorf("%s: the group %q is none of %s", key, name, strings.Join(groups, ", "))
		}
	}
	if !known {
		return fmt.Errorf("%s: it names no group, as (?P<exchange>[a-z0-9]+) does; there are %s", key, strings.Join(groups, ", "))
	}
	return nil
}

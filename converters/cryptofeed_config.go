package converters

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// What value.converter.cryptofeed.version may be, beside "" for not known.
const (
	cryptofeed2     = "2"
	cryptofeed3     = "3"
	cryptofeedMixed = "mixed"
)

// CryptofeedConfig is how records of cryptofeed's Kafka backend are read.
type CryptofeedConfig struct {
	Version      string   `json:"value.converter.cryptofeed.version" jsonschema:"description=The version of cryptofeed that writes. It decides the side of COINBASE trades: 2 sends the maker's and 3 the taker's and nothing in a record tells which. mixed: both wrote; the side of these trades is left out. Not set: these trades are bad records.,enum=2,enum=3,enum=mixed"`
	Keys         []string `json:"value.converter.cryptofeed.keys" jsonschema:"description=What the keys that begin the topics' names mean where they are not cryptofeed's own: mytrades=trades says that mytrades-<exchange>-<symbol> holds trades. The kind of a topic with another key follows from each record's fields."`
	Exchanges    []string `json:"value.converter.cryptofeed.exchanges" jsonschema:"description=Exchanges to store under another name as in HUOBI=HTX. By default each has the name that was sent in lower case."`
	QuoteAmounts string   `json:"value.converter.cryptofeed.quote.amounts" jsonschema:"description=The amount of a POLONIEX trade and the volume of a GATE or GATEIO bar are in the quote currency. sent: store them as sent. refuse: such a record is bad.,enum=sent,enum=refuse"`
}

// What value.converter.cryptofeed.quote.amounts may be.
const (
	quoteSent   = "sent"
	quoteRefuse = "refuse"
)

// DefaultCryptofeed gives the defaults.
func DefaultCryptofeed() CryptofeedConfig {
	return CryptofeedConfig{QuoteAmounts: quoteSent}
}

// Validate says what is wrong, each message beginning with the key.
func (c *CryptofeedConfig) Validate() error {
	var errs []error
	if !slices.Contains([]string{"", cryptofeed2, cryptofeed3, cryptofeedMixed}, c.Version) {
		errs = append(errs, fmt.Errorf("value.converter.cryptofeed.version: %q is none of 2, 3, mixed", c.Version))
	}
	if c.QuoteAmounts != quoteSent && c.QuoteAmounts != quoteRefuse {
		errs = append(errs, fmt.Errorf("value.converter.cryptofeed.quote.amounts: %q is neither sent nor refuse", c.QuoteAmounts))
	}
	keys, err := pairs("value.converter.cryptofeed.keys", c.Keys)
	errs = append(errs, err)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if cryptofeedKindOf(keys[key]) == cryptofeedNone {
			errs = append(errs, fmt.Errorf("value.converter.cryptofeed.keys: %s=%s: %q is none of %s",
				key, keys[key], keys[key], strings.Join(cryptofeedKeys(), ", ")))
		}
	}
	_, err = pairs("value.converter.cryptofeed.exchanges", c.Exchanges)
	return errors.Join(append(errs, err)...)
}

// pairs reads a list of from=to. What it could read is there beside an error.
func pairs(key string, list []string) (map[string]string, error) {
	var errs []error
	m := make(map[string]string, len(list))
	for _, item := range list {
		from, to, _ := strings.Cut(item, "=")
		from, to = strings.TrimSpace(from), strings.TrimSpace(to)
		switch other, taken := m[from]; {
		case from == "" || to == "":
			errs = append(errs, fmt.Errorf("%s: %q is not of the form from=to", key, item))
			continue
		case taken && other != to:
			errs = append(errs, fmt.Errorf("%s: %s is both %s and %s", key, from, other, to))
			continue
		}
		m[from] = to
	}
	return m, errors.Join(errs...)
}

package marketdata

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// keyTextBytesMax bounds each text that is part of a natural key: four of them
// fit into an index entry of PostgreSQL, which ends at 2704 bytes.
const keyTextBytesMax = 512

// checker keeps the first rule that a record breaks.
type checker struct{ fault *Error }

func (c *checker) err() error {
	if c.fault == nil {
		return nil
	}
	return c.fault
}

func (c *checker) fail(f field, reason, message string) {
	if c.fault == nil {
		c.fault = &Error{Reason: reason, Field: fieldNames[f], Message: message}
	}
}

// text checks what a record cannot hold that a decoded text is already free of.
func (c *checker) text(f field, s string) {
	plain := 0
	for plain < len(s) && s[plain]-1 < utf8.RuneSelf-1 { // 1 to 127, as nearly all of them
		plain++
	}
	if plain < len(s) && (strings.IndexByte(s[plain:], 0) >= 0 || !utf8.ValidString(s[plain:])) {
		c.fail(f, ReasonInvalidText, "holds NUL or is not UTF-8")
	}
}

// id checks a text that must be there and is part of a key.
func (c *checker) id(f field, s string) {
	if s == "" {
		c.fail(f, ReasonMissingField, "is required")
	}
	c.key(f, s)
}

// key checks a text that is part of a key.
func (c *checker) key(f field, s string) {
	if len(s) > keyTextBytesMax {
		c.fail(f, ReasonOutOfRange, fmt.Sprintf("is longer than %d bytes", keyTextBytesMax))
	}
}

func (c *checker) time(t, now time.Time) {
	switch {
	case t.IsZero():
		c.fail(fieldTime, ReasonMissingField, "is required")
	case t.Before(timeMin) || t.After(now.Add(timeAheadMax)):
		c.fail(fieldTime, ReasonOutOfRange, timeOutOfRange(t.UTC().Format(time.RFC3339Nano)).Message)
	}
}

// price checks a number that must be above 0 where it is there.
func (c *checker) price(f field, d Decimal) {
	if d.Present() && d.Sign() <= 0 {
		c.fail(f, ReasonOutOfRange, clip(d.text)+" is not above 0")
	}
}

// amount checks a number that must not be below 0 where it is there.
func (c *checker) amount(f field, d Decimal) {
	if d.Sign() < 0 {
		c.fail(f, ReasonOutOfRange, clip(d.text)+" is below 0")
	}
}

// integer checks a number that must be an integer where it is there.
func (c *checker) integer(f field, d Decimal) {
	if d.Present() && !isInteger(d.text) {
		c.fail(f, ReasonBadNumber, clip(d.text)+" is not an integer")
	}
}

func (c *checker) required(f field, d Decimal) {
	if !d.Present() {
		c.fail(f, ReasonMissingField, "is required")
	}
}

// Check says which rule the record breaks that decoding would refuse it for, or
// nil, so that a producer learns of it before it sends. now bounds the time.
func (v *Price) Check(now time.Time) error {
	var c checker
	c.text(fieldCoinID, v.CoinID)
	c.text(fieldSymbol, v.Symbol)
	c.text(fieldExchangeID, v.ExchangeID)
	c.text(fieldSource, v.Source)
	c.text(fieldAttribution, v.Attribution)
	v.check(&c, now)
	return c.err()
}

func (v *Price) check(c *checker, now time.Time) {
	c.id(fieldCoinID, v.CoinID)
	c.id(fieldSymbol, v.Symbol)
	c.id(fieldExchangeID, v.ExchangeID)
	c.required(fieldUSDPrice, v.USDPrice)
	c.price(fieldUSDPrice, v.USDPrice)
	c.amount(fieldMarketCap, v.MarketCap)
	c.amount(fieldVolume24h, v.Volume24h)
	c.time(v.Time, now)
}

// Check is as [Price.Check].
func (v *OHLCV) Check(now time.Time) error {
	var c checker
	c.text(fieldExchangeID, v.ExchangeID)
	c.text(fieldSymbol, v.Symbol)
	c.text(fieldInterval, v.Interval)
	c.text(fieldSource, v.Source)
	v.check(&c, now)
	return c.err()
}

func (v *OHLCV) check(c *checker, now time.Time) {
	c.id(fieldExchangeID, v.ExchangeID)
	c.id(fieldSymbol, v.Symbol)
	c.id(fieldInterval, v.Interval)
	c.time(v.Time, now)
	for _, p := range [...]struct {
		field field
		value Decimal
	}{{fieldOpen, v.Open}, {fieldHigh, v.High}, {fieldLow, v.Low}, {fieldClose, v.Close}} {
		c.required(p.field, p.value)
		c.price(p.field, p.value)
	}
	c.required(fieldVolume, v.Volume)
	c.amount(fieldVolume, v.Volume)
	c.amount(fieldQuoteVolume, v.QuoteVolume)
	c.amount(fieldVWAP, v.VWAP)
	if v.Trades.Set && v.Trades.Value < 0 {
		c.fail(fieldTrades, ReasonOutOfRange, "is below 0")
	}
	c.key(fieldSource, v.Source)
}

func (v *OHLCV) flags() Flags {
	if v.High.Cmp(v.Low) < 0 {
		return FlagHighBelowLow
	}
	return 0
}

// Mark implements [Row].
func (v *OHLCV) Mark() { v.Flags = v.flags() }

// Mark implements [Row].
func (v *Level1) Mark() { v.Flags = v.flags() }

// Check is as [Price.Check].
func (v *Level1) Check(now time.Time) error {
	var c checker
	c.text(fieldExchangeID, v.ExchangeID)
	c.text(fieldSymbol, v.Symbol)
	c.text(fieldSource, v.Source)
	v.check(&c, now)
	return c.err()
}

func (v *Level1) check(c *checker, now time.Time) {
	c.id(fieldExchangeID, v.ExchangeID)
	c.id(fieldSymbol, v.Symbol)
	c.time(v.Time, now)
	c.price(fieldBidPrice, v.BidPrice)
	c.amount(fieldBidSize, v.BidSize)
	c.price(fieldAskPrice, v.AskPrice)
	c.amount(fieldAskSize, v.AskSize)
	c.integer(fieldSequence, v.Sequence)
}

func (v *Level1) flags() Flags {
	if v.BidPrice.Present() && v.AskPrice.Present() && v.BidPrice.Cmp(v.AskPrice) > 0 {
		return FlagCrossed
	}
	return 0
}

// Check is as [Price.Check].
func (v *Trade) Check(now time.Time) error {
	var c checker
	c.text(fieldExchangeID, v.ExchangeID)
	c.text(fieldSymbol, v.Symbol)
	c.text(fieldTradeID, v.TradeID)
	c.text(fieldSide, v.Side)
	c.text(fieldSource, v.Source)
	v.check(&c, now)
	return c.err()
}

func (v *Trade) check(c *checker, now time.Time) {
	c.id(fieldExchangeID, v.ExchangeID)
	c.id(fieldSymbol, v.Symbol)
	c.key(fieldTradeID, v.TradeID)
	c.time(v.Time, now)
	c.required(fieldPrice, v.Price)
	c.price(fieldPrice, v.Price)
	c.required(fieldSize, v.Size)
	c.amount(fieldSize, v.Size)
}

// Check is as [Price.Check].
func (v *Analytics) Check(now time.Time) error {
	var c checker
	c.text(fieldExchangeID, v.ExchangeID)
	c.text(fieldSymbol, v.Symbol)
	c.text(fieldSource, v.Source)
	c.text(fieldAttribution, v.Attribution)
	v.check(&c, now)
	if c.fault == nil && v.Metrics != "" {
		c.fault = checkMetrics(v.Metrics)
	}
	return c.err()
}

func (v *Analytics) check(c *checker, now time.Time) {
	c.time(v.Time, now)
	c.key(fieldExchangeID, v.ExchangeID)
	c.key(fieldSymbol, v.Symbol)
	c.amount(fieldTotalMarketCap, v.TotalMarketCap)
	c.amount(fieldTotalVolume, v.TotalVolume)
	c.amount(fieldBTCDominance, v.BTCDominance)
	c.amount(fieldETHDominance, v.ETHDominance)
	c.amount(fieldActiveCryptocurrencies, v.ActiveCryptocurrencies)
	c.amount(fieldMarkets, v.Markets)
	c.key(fieldSource, v.Source)
}

// Check is as [Price.Check].
func (v *Funding) Check(now time.Time) error {
	var c checker
	c.text(fieldExchangeID, v.ExchangeID)
	c.text(fieldSymbol, v.Symbol)
	c.text(fieldSource, v.Source)
	v.check(&c, now)
	return c.err()
}

func (v *Funding) check(c *checker, now time.Time) {
	c.id(fieldExchangeID, v.ExchangeID)
	c.id(fieldSymbol, v.Symbol)
	c.time(v.Time, now)
	if !v.Rate.Present() && !v.PredictedRate.Present() && !v.MarkPrice.Present() && !v.IndexPrice.Present() {
		c.fail(fieldRate, ReasonMissingField, "is required where there is no predicted rate, mark price or index price")
	}
	c.price(fieldMarkPrice, v.MarkPrice)
	c.price(fieldIndexPrice, v.IndexPrice)
	if !v.NextFundingTime.IsZero() && v.NextFundingTime.Before(timeMin) {
		c.fail(fieldNextFundingTime, ReasonOutOfRange, "is before 2009")
	}
	c.key(fieldSource, v.Source)
}

// Check is as [Price.Check].
func (v *OpenInterest) Check(now time.Time) error {
	var c checker
	c.text(fieldExchangeID, v.ExchangeID)
	c.text(fieldSymbol, v.Symbol)
	c.text(fieldSource, v.Source)
	v.check(&c, now)
	return c.err()
}

func (v *OpenInterest) check(c *checker, now time.Time) {
	c.id(fieldExchangeID, v.ExchangeID)
	c.id(fieldSymbol, v.Symbol)
	c.time(v.Time, now)
	c.required(fieldOpenInterest, v.OpenInterest)
	c.amount(fieldOpenInterest, v.OpenInterest)
	c.amount(fieldOpenInterestValue, v.OpenInterestValue)
	c.key(fieldSource, v.Source)
}

// Check is as [Price.Check].
func (v *Liquidation) Check(now time.Time) error {
	var c checker
	c.text(fieldExchangeID, v.ExchangeID)
	c.text(fieldSymbol, v.Symbol)
	c.text(fieldLiquidationID, v.LiquidationID)
	c.text(fieldSide, v.Side)
	c.text(fieldStatus, v.Status)
	c.text(fieldSource, v.Source)
	v.check(&c, now)
	return c.err()
}

func (v *Liquidation) check(c *checker, now time.Time) {
	c.id(fieldExchangeID, v.ExchangeID)
	c.id(fieldSymbol, v.Symbol)
	c.key(fieldLiquidationID, v.LiquidationID)
	c.time(v.Time, now)
	c.price(fieldPrice, v.Price)
	c.required(fieldSize, v.Size)
	c.amount(fieldSize, v.Size)
}

// Check is as [Price.Check].
func (v *Book) Check(now time.Time) error {
	var c checker
	c.text(fieldExchangeID, v.ExchangeID)
	c.text(fieldSymbol, v.Symbol)
	c.text(fieldSource, v.Source)
	v.check(&c, now)
	return c.err()
}

func (v *Book) check(c *checker, now time.Time) {
	c.id(fieldExchangeID, v.ExchangeID)
	c.id(fieldSymbol, v.Symbol)
	c.time(v.Time, now)
	c.integer(fieldEpoch, v.Epoch)
	c.integer(fieldSequence, v.Sequence)
	if v.Bids == nil && v.Asks == nil {
		c.fail(fieldBids, ReasonMissingField, "is required where there are no asks")
	}
	c.levels(fieldBids, v.Bids)
	c.levels(fieldAsks, v.Asks)
}

// Mark implements [Row].
func (v *Book) Mark() { v.Flags = v.flags() }

package marketdata

import "time"

// Buffers above these sizes are given up after the record that needed them.
const (
	scratchBytesMax = 64 << 10
	extrasMax       = 256
)

// Decoder reads records. Its zero value is ready; one goroutine at a time may
// use it.
//
// The texts and decimals of a result refer to the value and to the Decoder's
// buffers, so that a good record costs no allocation: they hold until the value
// changes or the next call. What is kept for longer must be copied
// (strings.Clone, [Decimal.Clone]). After an error the result means nothing, and
// the error itself refers to neither.
//
// The scanner is its own since encoding/json makes several allocations for a
// record, reads a number into a float64 or a copy, and does not tell invalid
// UTF-8 from U+FFFD; BenchmarkDecodePrice measures both.
type Decoder struct {
	scanner
	fields  [fieldCount]token // where the record's fields are, valid for those in seen
	seen    fieldSet
	known   fieldSet // the fields of the kind that is decoded
	unknown int
	numbers Numbers
	extras  []extra // an analytics record's fields that are not its own, numbers or strings
	scratch []byte  // texts that had to be changed
	levels  []Level
	metric  []byte
	rows    *decodedRows // Decode's
	index   *Index       // of the value, where DecodeIndexed has one
}

type extra struct{ key, val token }

// UnknownFields counts the fields of the last record that were ignored.
func (d *Decoder) UnknownFields() int { return d.unknown }

// Numbers counts the decimals of the last record, of its own fields, that were JSON
// numbers.
func (d *Decoder) Numbers() Numbers { return d.numbers }

// Price decodes a price record. now bounds its time.
func (d *Decoder) Price(value []byte, now time.Time, out *Price) error {
	if !d.scan(value, priceFields) {
		return d.fault
	}
	*out = Price{
		CoinID:      d.text(fieldCoinID),
		Symbol:      d.text(fieldSymbol),
		ExchangeID:  d.exchange(),
		USDPrice:    d.decimal(fieldUSDPrice),
		MarketCap:   d.decimal(fieldMarketCap),
		Volume24h:   d.decimal(fieldVolume24h),
		Time:        d.time(),
		Source:      d.presentText(fieldSource),
		Attribution: d.presentText(fieldAttribution),
	}
	c := checker{d.fault}
	out.check(&c, now)
	return c.err()
}

// OHLCV decodes a bar. now bounds its time.
func (d *Decoder) OHLCV(value []byte, now time.Time, out *OHLCV) error {
	if !d.scan(value, ohlcvFields) {
		return d.fault
	}
	*out = OHLCV{
		ExchangeID:  d.exchange(),
		Symbol:      d.text(fieldSymbol),
		Interval:    d.text(fieldInterval),
		Time:        d.time(),
		Open:        d.decimal(fieldOpen),
		High:        d.decimal(fieldHigh),
		Low:         d.decimal(fieldLow),
		Close:       d.decimal(fieldClose),
		Volume:      d.decimal(fieldVolume),
		QuoteVolume: d.decimal(fieldQuoteVolume),
		Trades:      d.integer(fieldTrades),
		VWAP:        d.decimal(fieldVWAP),
		Closed:      d.boolean(fieldClosed),
		Source:      d.text(fieldSource),
	}
	c := checker{d.fault}
	out.check(&c, now)
	out.Flags = out.flags()
	return c.err()
}

// Level1 decodes a best bid and ask. now bounds its time.
func (d *Decoder) Level1(value []byte, now time.Time, out *Level1) error {
	if !d.scan(value, level1Fields) {
		return d.fault
	}
	*out = Level1{
		ExchangeID: d.exchange(),
		Symbol:     d.text(fieldSymbol),
		Time:       d.time(),
		BidPrice:   d.decimal(fieldBidPrice),
		BidSize:    d.decimal(fieldBidSize),
		AskPrice:   d.decimal(fieldAskPrice),
		AskSize:    d.decimal(fieldAskSize),
		Sequence:   d.decimal(fieldSequence),
		Source:     d.text(fieldSource),
	}
	c := checker{d.fault}
	out.check(&c, now)
	out.Flags = out.flags()
	return c.err()
}

// Trade decodes a trade. now bounds its time.
func (d *Decoder) Trade(value []byte, now time.Time, out *Trade) error {
	if !d.scan(value, tradeFields) {
		return d.fault
	}
	*out = Trade{
		ExchangeID: d.exchange(),
		Symbol:     d.text(fieldSymbol),
		TradeID:    d.id(fieldTradeID),
		Time:       d.time(),
		Price:      d.decimal(fieldPrice),
		Size:       d.decimal(fieldSize),
		Side:       d.text(fieldSide),
		Source:     d.text(fieldSource),
	}
	c := checker{d.fault}
	out.check(&c, now)
	return c.err()
}

// Analytics decodes a record of figures. Its fields that are not its own are
// metrics where they are numbers, or strings that hold one, and unknown fields
// else. now bounds its time.
func (d *Decoder) Analytics(value []byte, now time.Time, out *Analytics) error {
	if !d.scan(value, analyticsFields) {
		return d.fault
	}
	*out = Analytics{
		Time:                   d.time(),
		ExchangeID:             d.exchange(),
		Symbol:                 d.text(fieldSymbol),
		TotalMarketCap:         d.decimal(fieldTotalMarketCap),
		TotalVolume:            d.decimal(fieldTotalVolume),
		BTCDominance:           d.decimal(fieldBTCDominance),
		ETHDominance:           d.decimal(fieldETHDominance),
		ActiveCryptocurrencies: d.decimal(fieldActiveCryptocurrencies),
		Markets:                d.decimal(fieldMarkets),
		MarketCapChange24h:     d.decimal(fieldMarketCapChange24h),
		Source:                 d.text(fieldSource),
		Attribution:            d.text(fieldAttribution),
		Metrics:                d.metrics(d.token(fieldMetrics)),
	}
	c := checker{d.fault}
	out.check(&c, now)
	return c.err()
}

// Funding decodes a funding rate. now bounds its time.
func (d *Decoder) Funding(value []byte, now time.Time, out *Funding) error {
	if !d.scan(value, fundingFields) {
		return d.fault
	}
	*out = Funding{
		ExchangeID:      d.exchange(),
		Symbol:          d.text(fieldSymbol),
		Time:            d.time(),
		Rate:            d.decimal(fieldRate),
		PredictedRate:   d.decimal(fieldPredictedRate),
		NextFundingTime: d.timeOf(fieldNextFundingTime),
		MarkPrice:       d.decimal(fieldMarkPrice),
		IndexPrice:      d.decimal(fieldIndexPrice),
		Source:          d.text(fieldSource),
	}
	c := checker{d.fault}
	out.check(&c, now)
	return c.err()
}

// OpenInterest decodes an open interest. now bounds its time.
func (d *Decoder) OpenInterest(value []byte, now time.Time, out *OpenInterest) error {
	if !d.scan(value, openInterestFields) {
		return d.fault
	}
	*out = OpenInterest{
		ExchangeID:        d.exchange(),
		Symbol:            d.text(fieldSymbol),
		Time:              d.time(),
		OpenInterest:      d.decimal(fieldOpenInterest),
		OpenInterestValue: d.decimal(fieldOpenInterestValue),
		Source:            d.text(fieldSource),
	}
	c := checker{d.fault}
	out.check(&c, now)
	return c.err()
}

// Liquidation decodes a liquidation. now bounds its time.
func (d *Decoder) Liquidation(value []byte, now time.Time, out *Liquidation) error {
	if !d.scan(value, liquidationFields) {
		return d.fault
	}
	*out = Liquidation{
		ExchangeID:    d.exchange(),
		Symbol:        d.text(fieldSymbol),
		LiquidationID: d.id(fieldLiquidationID),
		Time:          d.time(),
		Price:         d.decimal(fieldPrice),
		Size:          d.decimal(fieldSize),
		Side:          d.text(fieldSide),
		Status:        d.text(fieldStatus),
		Source:        d.text(fieldSource),
	}
	c := checker{d.fault}
	out.check(&c, now)
	return c.err()
}

// Book decodes a snapshot of an order book or a change of it. now bounds its time.
func (d *Decoder) Book(value []byte, now time.Time, out *Book) error {
	if !d.scan(value, bookFields) {
		return d.fault
	}
	*out = Book{
		ExchangeID: d.exchange(),
		Symbol:     d.text(fieldSymbol),
		Time:       d.time(),
		Epoch:      d.decimal(fieldEpoch),
		Sequence:   d.decimal(fieldSequence),
		Source:     d.text(fieldSource),
	}
	snapshot := d.boolean(fieldSnapshot)
	if !snapshot.Set {
		d.blame(fieldSnapshot, ReasonMissingField, "is required: true for a snapshot, false for a change")
	}
	out.Snapshot = snapshot.Value
	out.Bids, out.Asks = d.bothLevels()
	c := checker{d.fault}
	out.check(&c, now)
	if c.fault == nil {
		out.Flags = out.flags()
	}
	return c.err()
}

// scan finds the record's fields. It returns false where the value is not one
// JSON object.
func (d *Decoder) scan(value []byte, known fieldSet) bool {
	d.data, d.fault, d.known = value, nil, known
	d.seen, d.unknown, d.numbers = 0, 0, Numbers{}
	d.scratch = d.scratch[:0]
	if cap(d.scratch) > scratchBytesMax {
		d.scratch = nil
	}
	d.extras = d.extras[:0]
	if cap(d.extras) > extrasMax {
		d.extras = nil
	}
	if d.take(d.index) {
		return true
	}
	if len(value) == 0 {
		return d.blame(fieldNone, ReasonEmptyValue, "the value is empty")
	}
	i := d.space(0)
	if d.at(i) != '{' {
		return d.notAnObject(i)
	}
	i = d.object(i, 0, d.member)
	if i < 0 {
		return false
	}
	return d.end(i)
}

func (d *Decoder) end(i int) bool {
	if i = d.space(i); i < len(d.data) {
		d.fail(i, "more text after the record")
		return false
	}
	return true
}

func (d *Decoder) notAnObject(i int) bool {
	if _, next := d.value(i, 0); next < 0 || !d.end(next) {
		return false
	}
	return d.blame(fieldNone, ReasonNotAnObject, "the value is JSON but not an object")
}

// member takes one of the record's own fields.
func (d *Decoder) member(key, val token) {
	name := d.bytes(key)
	if key.marks&escaped != 0 {
		n := len(d.scratch)
		d.scratch, _ = unescape(d.scratch, name)
		name = d.scratch[n:]
	}
	f := fieldOf(name)
	switch {
	case f != fieldNone && d.known.has(f):
		d.fields[f] = val
		d.seen |= 1 << f
	case d.known.has(fieldMetrics) && (val.kind == tokenNumber || val.kind == tokenString):
		d.extras = append(d.extras, extra{key, val})
	default:
		d.unknown++
	}
}

// blame keeps the record's first fault. It returns false.
func (d *Decoder) blame(f field, reason, message string) bool {
	if d.fault == nil {
		d.fault = &Error{Reason: reason, Field: fieldNames[f], Message: message}
	}
	return false
}

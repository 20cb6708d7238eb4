package converters

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/marketdata"
)

// cryptofeedSource is the source of the bars and all other rows: part of their
// natural key, so it never changes.
const cryptofeedSource = "cryptofeed"

// exchangesMax and exchangeBytesMax bound the names of exchanges that are kept.
const (
	exchangesMax     = 256
	exchangeBytesMax = 64
)

// cryptofeed reads the records of cryptofeed's Kafka backend, versions 2 and 3.
type cryptofeed struct {
	cfg       CryptofeedConfig
	keys      []cryptofeedKey   // the longest first
	exchanges map[string]string // from and to in lower case
	filtered  [cryptofeedKinds]error
	states    sync.Pool // of *cryptofeedRecord
}

// cryptofeedKey is a key that begins names of topics.
type cryptofeedKey struct {
	key  string
	kind cryptofeedKind
}

var _ Observer = (*cryptofeed)(nil)

// NewCryptofeed makes the converter of a configuration that is valid.
func NewCryptofeed(cfg CryptofeedConfig) Converter {
	c := &cryptofeed{cfg: cfg, exchanges: map[string]string{}}
	keys, _ := pairs("", cfg.Keys)
	for k := cryptofeedNone + 1; k < cryptofeedKinds; k++ {
		form := &cryptofeedForms[k]
		if _, taken := keys[form.key]; !taken {
			keys[form.key] = form.key
		}
		c.filtered[k] = fmt.Errorf("cryptofeed: %s records are not stored: %w", form.key, connect.ErrFiltered)
	}
	for key, means := range keys {
		c.keys = append(c.keys, cryptofeedKey{key, cryptofeedKindOf(means)})
	}
	slices.SortFunc(c.keys, func(a, b cryptofeedKey) int {
		return cmp.Or(len(b.key)-len(a.key), strings.Compare(a.key, b.key))
	})
	exchanges, _ := pairs("", cfg.Exchanges)
	for from, to := range exchanges {
		c.exchanges[strings.ToLower(from)] = strings.ToLower(to)
	}
	c.states.New = func() any {
		rec := &cryptofeedRecord{c: c, names: map[string]string{}}
		rec.take = rec.member
		return rec
	}
	return c
}

// told gives the kind that a topic's name tells; false where its key is unknown.
func (c *cryptofeed) told(topic string) (cryptofeedKind, bool) {
	for i := range c.keys {
		k := &c.keys[i]
		if strings.HasPrefix(topic, k.key) && (len(topic) == len(k.key) || topic[len(k.key)] == '-') {
			return k.kind, true
		}
	}
	return cryptofeedNone, false
}

// Kinds implements [Converter]. A topic with an unknown key may hold any of the
// stored kinds, unless it is named as this product's own topics are.
func (c *cryptofeed) Kinds(topic string) []marketdata.Kind {
	kind, known := c.told(topic)
	if _, _, own := marketdata.KindOfTopic(topic); own && !known {
		return nil
	}
	return kind.stored()
}

// Convert implements [Converter].
func (c *cryptofeed) Convert(topic string, r *connect.Record, now time.Time, rows Rows) error {
	return c.Observe(topic, r, now, rows, nil)
}

// Observe implements [Observer].
func (c *cryptofeed) Observe(topic string, r *connect.Record, _ time.Time, rows Rows, seen *Noticed) error {
	if r.Value == nil {
		return connect.ErrFiltered
	}
	rec := c.states.Get().(*cryptofeedRecord)
	defer c.states.Put(rec)
	err := rec.convert(topic, r.Value, rows)
	if seen != nil {
		*seen = rec.noticed
	}
	return err
}

// cryptofeedRecord is one record while it is converted.
type cryptofeedRecord struct {
	c       *cryptofeed
	reader  marketdata.ObjectReader
	take    func(name string, v marketdata.JSONValue) // member, made once
	values  [cfFieldCount]marketdata.JSONValue        // valid for those in seen
	seen    cryptofeedSet
	noticed Noticed
	fault   *marketdata.Error
	name    string            // the exchange as sent
	names   map[string]string // exchanges as sent and as stored

	trade  marketdata.Trade
	level1 marketdata.Level1
	ohlcv  marketdata.OHLCV

	funding      marketdata.Funding
	openInterest marketdata.OpenInterest
	liquidation  marketdata.Liquidation
	book         marketdata.Book
	levels       []marketdata.Level // of both sides of a book
}

func (rec *cryptofeedRecord) convert(topic string, value []byte, rows Rows) error {
	rec.seen, rec.fault, rec.noticed, rec.levels = 0, nil, Noticed{}, rec.levels[:0]
	if fault := rec.reader.Read(value, rec.take); fault != nil {
		if fault.Reason == marketdata.ReasonNotJSON && (bytes.Contains(value, []byte("NaN")) || bytes.Contains(value, []byte("Infinity"))) {
			fault.Message += ": cryptofeed 2 writes numbers that it does not know so; version 3 writes null"
		}
		return fault
	}
	kind, fault := rec.kind(topic)
	if fault != nil {
		return fault
	}
	switch kind {
	case cryptofeedTrades:
		return rec.convertTrade(rows)
	case cryptofeedTicker:
		return rec.convertQuote(rows, cfBid, cfUnknown, cfAsk, cfUnknown)
	case cryptofeedL1Book:
		return rec.convertQuote(rows, cfBidPrice, cfBidSize, cfAskPrice, cfAskSize)
	case cryptofeedCandles:
		return rec.convertCandle(rows)
	case cryptofeedFunding:
		return rec.convertFunding(rows)
	case cryptofeedOpenInterest:
		return rec.convertOpenInterest(rows)
	case cryptofeedLiquidations:
		return rec.convertLiquidation(rows)
	case cryptofeedBook:
		return rec.convertBook(rows)
	}
	return rec.c.filtered[kind]
}

func (rec *cryptofeedRecord) member(name string, v marketdata.JSONValue) {
	f := cryptofeedFieldOf(name)
	if f == cfUnknown {
		rec.noticed.UnknownFields++
		return
	}
	rec.values[f] = v
	rec.seen |= 1 << f
}

// kind is what both the topic and the fields say. A topic of a kind that is not
// stored may hold other records where the user replaced the keys: were the topic
// believed, these would be filtered and gone.
func (rec *cryptofeedRecord) kind(topic string) (cryptofeedKind, *marketdata.Error) {
	told, known := rec.c.told(topic)
	kind := rec.seen.kind()
	switch {
	case kind == cryptofeedNone && known:
		form := &cryptofeedForms[told]
		return kind, &marketdata.Error{
			Reason:  marketdata.ReasonMissingField,
			Message: fmt.Sprintf("the value is no record of cryptofeed's %s, which have %s", form.key, form.fields),
		}
	case kind == cryptofeedNone:
		return kind, &marketdata.Error{
			Reason: marketdata.ReasonMissingField,
			Message: "the value has the fields of no kind that cryptofeed sends: " + strings.Join(cryptofeedKeys(), ", ") +
				"; trades have " + cryptofeedForms[cryptofeedTrades].fields,
		}
	case known && told != kind:
		is, says := &cryptofeedForms[kind], &cryptofeedForms[told]
		return kind, &marketdata.Error{
			Reason: marketdata.ReasonMissingField,
			Message: fmt.Sprintf("the value has the fields of %s, but the topic's name says %s, which have %s: "+
				"where the producer's key was replaced, name it in value.converter.cryptofeed.keys", is.key, says.key, says.fields),
		}
	}
	return kind, nil
}

func (rec *cryptofeedRecord) convertTrade(rows Rows) error {
	v := &rec.trade
	*v = marketdata.Trade{
		ExchangeID: rec.exchange(),
		Symbol:     rec.text(cfSymbol),
		TradeID:    rec.id(),
		Time:       rec.time(cfTimestamp),
		Price:      rec.decimal(cfPrice),
		Size:       rec.decimal(cfAmount),
		Side:       rec.side(),
		Source:     cryptofeedSource,
	}
	rec.noteReceiveTime()
	if rec.sent("POLONIEX") {
		rec.quoteAmount(cfAmount)
	}
	if rec.fault != nil {
		return rec.fault
	}
	return rows.Row(v)
}

// convertQuote makes a best bid and ask; cfUnknown stands for a size that the kind
// does not have. A price of 0 is no order, or one that cryptofeed does not know.
func (rec *cryptofeedRecord) convertQuote(rows Rows, bid, bidSize, ask, askSize cryptofeedField) error {
	v := &rec.level1
	*v = marketdata.Level1{
		ExchangeID: rec.exchange(),
		Symbol:     rec.text(cfSymbol),
		Time:       rec.quoteTime(),
		BidPrice:   rec.decimal(bid),
		BidSize:    rec.decimal(bidSize),
		AskPrice:   rec.decimal(ask),
		AskSize:    rec.decimal(askSize),
		Source:     cryptofeedSource,
	}
	if v.BidPrice.Sign() == 0 {
		v.BidPrice, v.BidSize = marketdata.Decimal{}, marketdata.Decimal{}
	}
	if v.AskPrice.Sign() == 0 {
		v.AskPrice, v.AskSize = marketdata.Decimal{}, marketdata.Decimal{}
	}
	if rec.fault != nil {
		return rec.fault
	}
	return rows.Row(v)
}

func (rec *cryptofeedRecord) convertCandle(rows Rows) error {
	v := &rec.ohlcv
	*v = marketdata.OHLCV{
		ExchangeID: rec.exchange(),
		Symbol:     rec.text(cfSymbol),
		Interval:   rec.text(cfInterval),
		Time:       rec.time(cfStart),
		Open:       rec.decimal(cfOpen),
		High:       rec.decimal(cfHigh),
		Low:        rec.decimal(cfLow),
		Close:      rec.decimal(cfClose),
		Volume:     rec.decimal(cfVolume),
		Closed:     rec.boolean(cfClosed),
		Source:     cryptofeedSource,
	}
	// On BYBIT version 2 has the flag where the number of trades should be, and
	// false in closed.
	if rec.value(cfTrades).Kind == marketdata.JSONBool {
		v.Closed = rec.boolean(cfTrades)
	} else {
		v.Trades = rec.count(cfTrades)
	}
	if rec.sent("GATE") || rec.sent("GATEIO") {
		rec.quoteAmount(cfVolume)
	}
	if rec.fault != nil {
		return rec.fault
	}
	return rows.Row(v)
}

// value gives a field's value, null where there is none.
func (rec *cryptofeedRecord) value(f cryptofeedField) marketdata.JSONValue {
	if !rec.seen.has(f) {
		return marketdata.JSONValue{}
	}
	return rec.values[f]
}

// blame keeps the record's first fault.
func (rec *cryptofeedRecord) blame(f cryptofeedField, reason, message string) {
	if rec.fault == nil {
		rec.fault = &marketdata.Error{Reason: reason, Field: cryptofeedFieldNames[f], Message: message}
	}
}

// written gives the text of a string or number; "" for an absent value, which a
// user's none_to may have made the text None.
func (rec *cryptofeedRecord) written(f cryptofeedField) (s string, kind marketdata.JSONKind) {
	return rec.writtenOf(f, rec.value(f))
}

func (rec *cryptofeedRecord) writtenOf(f cryptofeedField, v marketdata.JSONValue) (s string, kind marketdata.JSONKind) {
	switch v.Kind {
	case marketdata.JSONNull:
	case marketdata.JSONNumber:
		s = v.Raw
	case marketdata.JSONString:
		var fault *marketdata.Error
		if s, fault = rec.reader.Text(v); fault != nil {
			rec.blame(f, fault.Reason, fault.Message)
		}
		if s == "None" {
			s = ""
		}
	default:
		rec.blame(f, marketdata.ReasonWrongType, "is neither a number nor a string")
	}
	return s, v.Kind
}

func (rec *cryptofeedRecord) text(f cryptofeedField) string {
	s, kind := rec.written(f)
	if kind == marketdata.JSONNumber {
		rec.blame(f, marketdata.ReasonWrongType, "is not a string")
	}
	return s
}

// exchange is the exchange's name in lower case, or what the configuration makes
// of it. It is kept, so that it is made once and not for each record.
func (rec *cryptofeedRecord) exchange() string {
	s := rec.text(cfExchange)
	rec.name = s
	if name, ok := rec.names[s]; ok {
		return name
	}
	sent := strings.Clone(s) // what is kept must not refer to the record
	name := strings.ToLower(sent)
	if to, ok := rec.c.exchanges[name]; ok {
		name = to
	}
	if len(sent) > exchangeBytesMax {
		return name
	}
	if len(rec.names) >= exchangesMax {
		clear(rec.names)
	}
	rec.names[sent] = name
	return name
}

// sent says whether the record names this exchange; exchange was called before.
func (rec *cryptofeedRecord) sent(exchange string) bool {
	return len(rec.name) == len(exchange) && strings.EqualFold(rec.name, exchange)
}

// id is absent where it is null. A number 0 is what a none_to of 0 makes of null:
// as an id it would make one row of all trades of an instant.
func (rec *cryptofeedRecord) id() string {
	s, kind := rec.written(cfID)
	if kind == marketdata.JSONNumber {
		if !digits(s) {
			rec.blame(cfID, marketdata.ReasonWrongType, "is neither a string nor an integer")
		}
		if s == "0" {
			return ""
		}
	}
	return s
}

// side is the taker's. On COINBASE version 2 sends the maker's.
func (rec *cryptofeedRecord) side() string {
	s := rec.text(cfSide)
	if s == "" || !rec.sent("COINBASE") {
		return s
	}
	switch version := rec.c.cfg.Version; {
	case version == cryptofeed3:
		return s
	case version == cryptofeedMixed:
		return ""
	case version == cryptofeed2 && s == "buy":
		return "sell"
	case version == cryptofeed2 && s == "sell":
		return "buy"
	case version == cryptofeed2:
		rec.blame(cfSide, marketdata.ReasonOutOfRange, "is neither buy nor sell, and the maker's side must be turned into the taker's")
		return ""
	}
	rec.blame(cfSide, marketdata.ReasonOutOfRange, "is the maker's in COINBASE trades of cryptofeed 2 and the taker's in those of 3, "+
		"and nothing in the record tells which: set value.converter.cryptofeed.version to 2, 3 or mixed, then go back with connector offsets reset")
	return ""
}

// quoteAmount handles an amount in the quote currency.
func (rec *cryptofeedRecord) quoteAmount(f cryptofeedField) {
	rec.noticed.QuoteAmount = true
	if rec.c.cfg.QuoteAmounts == quoteRefuse {
		rec.blame(f, marketdata.ReasonOutOfRange, "is in the quote currency on this exchange, and value.converter.cryptofeed.quote.amounts is refuse")
	}
}

func (rec *cryptofeedRecord) decimal(f cryptofeedField) marketdata.Decimal {
	if f == cfUnknown {
		return marketdata.Decimal{}
	}
	return rec.decimalOf(f, rec.value(f))
}

// decimalOf reads a number of a field's value.
func (rec *cryptofeedRecord) decimalOf(f cryptofeedField, v marketdata.JSONValue) marketdata.Decimal {
	s, kind := rec.writtenOf(f, v)
	if s == "" {
		return marketdata.Decimal{}
	}
	if kind == marketdata.JSONNumber {
		rec.noticed.Floats++
		if marketdata.IsLong(s) {
			rec.noticed.LongFloats++
		}
	}
	d, err := marketdata.ParseDecimal(s)
	if err != nil {
		reason := marketdata.ReasonBadNumber
		if errors.Is(err, marketdata.ErrDecimalRange) {
			reason = marketdata.ReasonOutOfRange
		}
		rec.blame(f, reason, err.Error())
	}
	return d
}

// count is a number of trades. Version 3 may write an integer as 21.0.
func (rec *cryptofeedRecord) count(f cryptofeedField) marketdata.Optional[int64] {
	s, _ := rec.written(f)
	if s == "" {
		return marketdata.Optional[int64]{}
	}
	whole, fraction, _ := strings.Cut(s, ".")
	v, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || strings.Trim(fraction, "0") != "" {
		rec.blame(f, marketdata.ReasonBadNumber, "is not an integer")
	}
	return marketdata.Some(v)
}

func (rec *cryptofeedRecord) boolean(f cryptofeedField) marketdata.Optional[bool] {
	switch v := rec.value(f); {
	case v.Kind == marketdata.JSONBool:
		return marketdata.Some(v.Raw == "true")
	case v.Kind == marketdata.JSONNull, v.Raw == "None":
	default:
		rec.blame(f, marketdata.ReasonWrongType, "is neither true nor false")
	}
	return marketdata.Optional[bool]{}
}

func (rec *cryptofeedRecord) time(f cryptofeedField) time.Time {
	s, _ := rec.written(f)
	if s == "" {
		return time.Time{}
	}
	t, fine, fault := epochTime(s)
	if fault != nil {
		rec.blame(f, fault.Reason, fault.Message)
	}
	if fine {
		rec.noticed.Milliseconds = true
	}
	return t
}

// quoteTime is the exchange's, or the receive time where it gave none: a state at
// a time has no natural key that another time would break.
func (rec *cryptofeedRecord) quoteTime() time.Time {
	rec.noteReceiveTime()
	t := rec.time(cfTimestamp)
	if t.IsZero() {
		t = rec.time(cfReceipt)
		rec.noticed.ReceiveTime = true
	}
	return t
}

// noteReceiveTime notes a timestamp that is a copy of the receive time.
func (rec *cryptofeedRecord) noteReceiveTime() {
	at, receipt := rec.value(cfTimestamp), rec.value(cfReceipt)
	if at.Kind != marketdata.JSONNull && at.Kind == receipt.Kind && at.Raw == receipt.Raw {
		rec.noticed.ReceiveTime = true
	}
}

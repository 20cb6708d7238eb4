package converters

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/marketdata"
)

// ccxtSource is the source of the rows, part of the natural key of bars.
const ccxtSource = "ccxt"

// ccxtKind is what a structure of CCXT is.
type ccxtKind uint8

const (
	ccxtNone ccxtKind = iota
	ccxtTrade
	ccxtTicker
	ccxtOHLCV
	ccxtOrderBook
	ccxtKinds
)

var ccxtKindNames = [ccxtKinds]string{"", "trade", "ticker", "ohlcv", "orderbook"}

// ccxtShapes says what each kind has.
const ccxtShapes = "a trade has price and amount, a ticker bid and ask, an order book bids and asks, " +
	"a bar is an array of six: start, open, high, low, close, volume"

// ccxtKindOf reads a kind as users and CCXT's calls name it: trades, fetchTickers,
// watchOrderBook, watch_ohlcv.
func ccxtKindOf(word string) ccxtKind {
	word = strings.ToLower(strings.ReplaceAll(strings.ReplaceAll(word, "_", ""), "-", ""))
	word = strings.TrimPrefix(strings.TrimPrefix(word, "fetch"), "watch")
	switch strings.TrimSuffix(word, "s") {
	case "trade":
		return ccxtTrade
	case "ticker", "bidsask":
		return ccxtTicker
	case "ohlcv", "candle":
		return ccxtOHLCV
	case "orderbook", "book":
		return ccxtOrderBook
	}
	return ccxtNone
}

// ccxt reads CCXT's unified structures.
type ccxt struct {
	cfg        CCXTConfig
	topic, key *regexp.Regexp    // nil for none
	envelope   map[string]string // members' names by what they tell; nil for none
	makerSides []string
	// Something beside the topic's name may tell the kind, and the exchange.
	kindInside, exchangeInside bool
	states                     sync.Pool // of *ccxtRecord
}

var (
	_ Observer = (*ccxt)(nil)
	_ Refuser  = (*ccxt)(nil)
)

// NewCCXT makes the converter of a configuration that is valid.
func NewCCXT(cfg CCXTConfig) Converter {
	c := &ccxt{cfg: cfg, exchangeInside: cfg.Exchange != ""}
	if cfg.TopicPattern != "" {
		c.topic = regexp.MustCompile(cfg.TopicPattern)
	}
	if cfg.KeyPattern != "" {
		c.key = regexp.MustCompile(cfg.KeyPattern)
		c.kindInside = c.key.SubexpIndex(ccxtTellKind) >= 0
		c.exchangeInside = c.exchangeInside || c.key.SubexpIndex(ccxtTellExchange) >= 0
	}
	if len(cfg.Envelope) > 0 {
		c.envelope, _ = pairs("", cfg.Envelope)
		c.kindInside = c.kindInside || c.envelope[ccxtTellKind] != ""
		c.exchangeInside = c.exchangeInside || c.envelope[ccxtTellExchange] != ""
	}
	for _, exchange := range cfg.MakerSides {
		c.makerSides = append(c.makerSides, strings.ToLower(exchange))
	}
	c.states.New = func() any {
		rec := &ccxtRecord{c: c, reading: newReading(ccxtFields, ccxtIndex)}
		rec.topics = ccxtTeller{c.topic, map[string]ccxtTold{}}
		rec.keys = ccxtTeller{c.key, map[string]ccxtTold{}}
		rec.takeInfo = rec.infoMember
		return rec
	}
	return c
}

// Refusal implements [Refuser]: of which topics no record could be stored is known
// before they become dead letters.
func (c *ccxt) Refusal(topic string) (reason, advice string) {
	told := tell(c.topic, topic)
	switch {
	case !told.matched && c.topic != nil && c.cfg.TopicPattern != ccxtTopicPattern:
		return "value.converter.ccxt.topic.pattern does not match its name", "narrow topics or topics.regex, or widen the pattern"
	case told.kindText != "" && told.kind == ccxtNone && !c.kindInside:
		return fmt.Sprintf("its name tells the kind %q, which is not stored", told.kindText), "narrow topics or topics.regex"
	case told.exchange == "" && !c.exchangeInside:
		return "nothing tells the exchange of its records, which CCXT's structures do not name", "name topics as ccxt.binance.trades, " +
			"or set value.converter.ccxt.exchange, or name the exchange in value.converter.ccxt.topic.pattern, key.pattern or envelope"
	}
	return "", ""
}

// Kinds implements [Converter].
func (c *ccxt) Kinds(topic string) []marketdata.Kind {
	if reason, _ := c.Refusal(topic); reason != "" {
		return nil
	}
	kind := tell(c.topic, topic).kind
	switch {
	case c.kindInside:
		// Each record tells.
	case kind == ccxtTrade:
		return []marketdata.Kind{marketdata.KindTrade}
	case kind == ccxtTicker:
		return []marketdata.Kind{marketdata.KindLevel1}
	case kind == ccxtOHLCV:
		return []marketdata.Kind{marketdata.KindOHLCV}
	case kind == ccxtOrderBook && c.cfg.OrderBookTop:
		return []marketdata.Kind{marketdata.KindLevel1, marketdata.KindBook}
	case kind == ccxtOrderBook:
		return []marketdata.Kind{marketdata.KindBook}
	}
	return []marketdata.Kind{marketdata.KindOHLCV, marketdata.KindLevel1, marketdata.KindTrade, marketdata.KindBook}
}

// Convert implements [Converter].
func (c *ccxt) Convert(topic string, r *connect.Record, now time.Time, rows Rows) error {
	return c.Observe(topic, r, now, rows, nil)
}

// Observe implements [Observer].
func (c *ccxt) Observe(topic string, r *connect.Record, _ time.Time, rows Rows, seen *Noticed) error {
	if r.Value == nil {
		return connect.ErrFiltered
	}
	rec := c.states.Get().(*ccxtRecord)
	defer c.states.Put(rec)
	rec.received = r.Time()
	err := rec.convert(topic, r, rows)
	if seen != nil {
		*seen = rec.noticed
	}
	return err
}

// ccxtRecord is one record while it is converted: a structure, or an array of them.
type ccxtRecord struct {
	c *ccxt
	*reading
	received time.Time // the record's Kafka timestamp
	topics   ccxtTeller
	keys     ccxtTeller
	told     ccxtTold // by the envelope, the key, the topic and the configuration
	count    int      // of rows
	empty    int      // structures that hold nothing which is stored

	exchange string
	exact    map[string]ccxtRole // the members of the exchange's info that are known
	info     [ccxtRoles]marketdata.JSONValue
	takeInfo func(name string, v marketdata.JSONValue)

	trade  marketdata.Trade
	level1 marketdata.Level1
	ohlcv  marketdata.OHLCV
	book   marketdata.Book
}

var (
	errCCXTEmptyCall = fmt.Errorf("ccxt: the call returned nothing: %w", connect.ErrFiltered)
	errCCXTNoQuote   = fmt.Errorf("ccxt: a ticker without a bid and an ask is not stored: %w", connect.ErrFiltered)
)

func (rec *ccxtRecord) convert(topic string, r *connect.Record, rows Rows) error {
	rec.reset()
	rec.told, rec.count, rec.empty = ccxtTold{}, 0, 0
	top, fault := rec.reader.ReadValue(r.Value)
	if fault != nil {
		return fault
	}
	if rec.c.envelope != nil {
		if top, fault = rec.open(top); fault != nil {
			return fault
		}
	}
	if r.Key != nil {
		rec.told.or(rec.keys.tell(r.Key))
	}
	rec.told.or(rec.topics.tell([]byte(topic)))
	rec.told.exchange = cmp.Or(rec.told.exchange, rec.c.cfg.Exchange)
	rec.exchange = strings.ToLower(rec.told.exchange)
	rec.exact = ccxtInfo[rec.exchange]
	if rec.told.kindText != "" && rec.told.kind == ccxtNone {
		return &marketdata.Error{
			Reason: marketdata.ReasonOutOfRange, Field: ccxtTellKind,
			Message: fmt.Sprintf("is %.64q, which is none of those that are stored: %s", rec.told.kindText, strings.Join(ccxtKindNames[1:], ", ")),
		}
	}
	if err := rec.structures(top, rows); err != nil {
		return err
	}
	switch {
	case rec.count > 0:
		return nil
	case rec.empty > 0:
		return errCCXTNoQuote
	}
	return errCCXTEmptyCall
}

// structures converts what one call of CCXT returned: a structure, an array of
// them, or an object of tickers by their symbols.
func (rec *ccxtRecord) structures(v marketdata.JSONValue, rows Rows) error {
	switch v.Kind {
	case marketdata.JSONObject:
		kind := rec.read(v)
		if kind == ccxtNone && rec.isByName(v) {
			var err error
			rec.reader.Members(v, func(_ string, v marketdata.JSONValue) {
				if err == nil {
					err = rec.structure(v, rows)
				}
			})
			return err
		}
		return rec.structureOf(kind, v, rows)
	case marketdata.JSONArray:
		if rec.isBar(v) {
			return rec.structureOf(ccxtOHLCV, v, rows)
		}
		var err error
		rec.reader.Elements(v, func(v marketdata.JSONValue) {
			if err == nil {
				err = rec.structure(v, rows)
			}
		})
		return err
	}
	return &marketdata.Error{Reason: marketdata.ReasonNotAnObject, Message: "the value is neither a structure of CCXT nor an array of them"}
}

// isByName says whether an object's members are objects, at least one.
func (rec *ccxtRecord) isByName(v marketdata.JSONValue) bool {
	n, objects := 0, 0
	rec.reader.Members(v, func(_ string, v marketdata.JSONValue) {
		if n++; v.Kind == marketdata.JSONObject {
			objects++
		}
	})
	return n > 0 && n == objects
}

// isBar says whether an array begins with a number, as a bar does.
func (rec *ccxtRecord) isBar(v marketdata.JSONValue) bool {
	n, bar := 0, false
	rec.reader.Elements(v, func(v marketdata.JSONValue) {
		bar = bar || n == 0 && v.Kind != marketdata.JSONObject && v.Kind != marketdata.JSONArray
		n++
	})
	return bar
}

// read reads a structure's members and tells its kind by them.
func (rec *ccxtRecord) read(v marketdata.JSONValue) ccxtKind {
	rec.begin()
	if v.Kind == marketdata.JSONArray {
		return ccxtOHLCV
	}
	unknown := rec.noticed.UnknownFields
	rec.reader.Members(v, rec.take)
	switch {
	case rec.has(ccxtFieldBids) && rec.has(ccxtFieldAsks):
		return ccxtOrderBook
	case rec.has(ccxtFieldFilled) || rec.has(ccxtFieldRemaining) || rec.has(ccxtFieldStatus): // an order
	case rec.has(ccxtFieldPrice) && rec.has(ccxtFieldAmount):
		return ccxtTrade
	case rec.has(ccxtFieldBid) || rec.has(ccxtFieldAsk):
		return ccxtTicker
	}
	rec.noticed.UnknownFields = unknown
	return ccxtNone
}

func (rec *ccxtRecord) structure(v marketdata.JSONValue, rows Rows) error {
	return rec.structureOf(rec.read(v), v, rows)
}

func (rec *ccxtRecord) structureOf(kind ccxtKind, v marketdata.JSONValue, rows Rows) error {
	told := rec.told.kind
	if kind == ccxtNone {
		return &marketdata.Error{
			Reason:  marketdata.ReasonMissingField,
			Message: "the value holds no structure of CCXT that is stored: " + ccxtShapes,
		}
	}
	if told != ccxtNone && told != kind {
		return &marketdata.Error{
			Reason: marketdata.ReasonMissingField,
			Message: fmt.Sprintf("the value is of the kind %s, but the topic's name, the key or the envelope says %s: %s",
				ccxtKindNames[kind], ccxtKindNames[told], ccxtShapes),
		}
	}
	if rec.exchange == "" {
		return rec.untold(ccxtTellExchange, "in no structure of CCXT", "set value.converter.ccxt.exchange where all records are of one; else ")
	}
	switch kind {
	case ccxtTrade:
		return rec.convertTrade(rows)
	case ccxtTicker:
		return rec.convertTicker(rows)
	case ccxtOHLCV:
		return rec.convertBar(v, rows)
	}
	return rec.convertOrderBook(rows)
}

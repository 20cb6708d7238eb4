package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/qicore/tickconnect/marketdata"
)

// recorder collects messages by topic, in the order in which they are given.
type recorder struct {
	now    time.Time // what is later by a day is bad
	source *source
	topics map[string]*tape

	trades map[string]string // natural key to message, of trades that have an id
	quotes map[string]bool   // messages of quotes that carry the venue's own time
	bars   map[string]string // natural key to the newest message
	prices map[string]string
}

// tape is one topic.
type tape struct {
	messages    []message
	first, last time.Time // the earliest and the latest event time
}

type message struct{ key, value []byte }

func newRecorder() *recorder {
	return &recorder{
		now:    time.Now(),
		topics: make(map[string]*tape), trades: make(map[string]string), quotes: make(map[string]bool),
		bars: make(map[string]string), prices: make(map[string]string),
	}
}

func (r *recorder) begin(s *source) {
	r.source = s
	s.records = make(map[string]int)
}

// trade takes one execution. Venues send the same trade several times: in
// snapshots, on several connections, in two kinds of message.
func (r *recorder) trade(t marketdata.Trade) error {
	t.Side, t.Time = strings.ToLower(t.Side), wholeMicros(t.Time)
	if err := t.Check(r.now); err != nil {
		r.source.bad++
		return nil //nolint:nilerr // counted, and left out
	}
	value := marketdata.AppendJSON(nil, &t)
	if t.TradeID != "" {
		key := fmt.Sprintf("%s|%s|%s|%d", t.ExchangeID, t.Symbol, t.TradeID, t.Time.UnixMicro())
		if before, ok := r.trades[key]; ok {
			if before != string(value) {
				return fmt.Errorf("two trades have the key %s: %s and %s", key, before, value)
			}
			r.source.repeats++
			return nil
		}
		r.trades[key] = string(value)
	}
	return r.add(marketdata.KindTrade, t.ExchangeID, t.Symbol, t.Time, value)
}

// quote takes one best bid and ask. ownTime says that the time is the venue's:
// then an equal quote is the same one, received on another connection.
func (r *recorder) quote(q marketdata.Level1, ownTime bool) error {
	if !q.BidPrice.Present() && !q.AskPrice.Present() {
		return nil
	}
	q.Time = wholeMicros(q.Time)
	if err := q.Check(r.now); err != nil {
		r.source.bad++
		return nil //nolint:nilerr // counted, and left out
	}
	value := marketdata.AppendJSON(nil, &q)
	if ownTime {
		if r.quotes[string(value)] {
			r.source.repeats++
			return nil
		}
		r.quotes[string(value)] = true
	}
	return r.add(marketdata.KindLevel1, q.ExchangeID, q.Symbol, q.Time, value)
}

// bar takes one state of a bar. An open bar comes again with each change, and
// so it is recorded; a state that is equal to the one before is left out.
func (r *recorder) bar(b marketdata.OHLCV) error {
	if err := b.Check(r.now); err != nil {
		r.source.bad++
		return nil //nolint:nilerr // counted, and left out
	}
	value := marketdata.AppendJSON(nil, &b)
	key := fmt.Sprintf("%s|%s|%s|%s|%d", b.ExchangeID, b.Symbol, b.Interval, b.Source, b.Time.UnixMicro())
	if r.bars[key] == string(value) {
		r.source.repeats++
		return nil
	}
	r.bars[key] = string(value)
	return r.add(marketdata.KindOHLCV, b.ExchangeID, b.Symbol, b.Time, value)
}

// price takes what one unit of base was last traded at in US dollars.
func (r *recorder) price(exchange, base string, last marketdata.Decimal, at time.Time, how string) error {
	if !last.Present() {
		return nil
	}
	at = wholeMicros(at)
	p := marketdata.Price{
		CoinID: strings.ToLower(base), Symbol: base, ExchangeID: exchange, USDPrice: last, Time: at,
		Source: how, Attribution: "recorded with cryptofeed",
	}
	if err := p.Check(r.now); err != nil {
		r.source.bad++
		return nil //nolint:nilerr // counted, and left out
	}
	value := marketdata.AppendJSON(nil, &p)
	key := fmt.Sprintf("%s|%s|%d", p.CoinID, exchange, at.UnixMicro())
	if r.prices[key] == string(value) {
		r.source.repeats++
		return nil
	}
	r.prices[key] = string(value)
	return r.add(marketdata.KindPrice, exchange, base, at, value)
}

// add puts a message on its topic's tape.
func (r *recorder) add(kind marketdata.Kind, exchange, symbol string, at time.Time, value []byte) error {
	key, err := marketdata.Key(marketdata.TopicPerExchange, kind, exchange, symbol, "")
	if err != nil {
		return err
	}
	topic := marketdata.TopicName(kind, exchange)
	t := r.topics[topic]
	if t == nil {
		t = &tape{first: at, last: at}
		r.topics[topic] = t
	}
	if at.Before(t.first) {
		t.first = at
	}
	if at.After(t.last) {
		t.last = at
	}
	t.messages = append(t.messages, message{key, value})
	r.source.records[kind.String()]++
	return nil
}

// wholeMicros cuts a time as the decoder would.
func wholeMicros(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

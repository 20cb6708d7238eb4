package publish

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/qicore/tickconnect/marketdata"
)

// PublishPrice publishes a price and waits for the brokers.
func (p *Publisher) PublishPrice(ctx context.Context, v marketdata.Price) (Result, error) {
	return one(p.PublishPrices(ctx, []marketdata.Price{v}))
}

// PublishPrices publishes prices and waits for the brokers. Results are in the
// order of the records; a *[BatchError] says that some have an error.
func (p *Publisher) PublishPrices(ctx context.Context, vs []marketdata.Price) ([]Result, error) {
	return p.publish(ctx, len(vs), func(i int) (*record, error) { return p.price(&vs[i]) })
}

// PublishOHLCV is PublishPrices for bars.
func (p *Publisher) PublishOHLCV(ctx context.Context, vs []marketdata.OHLCV) ([]Result, error) {
	return p.publish(ctx, len(vs), func(i int) (*record, error) { return p.ohlcv(&vs[i]) })
}

// PublishLevel1 is PublishPrices for best bids and asks.
func (p *Publisher) PublishLevel1(ctx context.Context, vs []marketdata.Level1) ([]Result, error) {
	return p.publish(ctx, len(vs), func(i int) (*record, error) { return p.level1(&vs[i]) })
}

// PublishTrades is PublishPrices for trades.
func (p *Publisher) PublishTrades(ctx context.Context, vs []marketdata.Trade) ([]Result, error) {
	return p.publish(ctx, len(vs), func(i int) (*record, error) { return p.trade(&vs[i]) })
}

// PublishAnalytics is PublishPrices for analytics.
func (p *Publisher) PublishAnalytics(ctx context.Context, vs []marketdata.Analytics) ([]Result, error) {
	return p.publish(ctx, len(vs), func(i int) (*record, error) { return p.analytics(&vs[i]) })
}

// PublishFunding is PublishPrices for funding rates.
func (p *Publisher) PublishFunding(ctx context.Context, vs []marketdata.Funding) ([]Result, error) {
	return p.publish(ctx, len(vs), func(i int) (*record, error) { return p.funding(&vs[i]) })
}

// PublishOpenInterest is PublishPrices for open interest.
func (p *Publisher) PublishOpenInterest(ctx context.Context, vs []marketdata.OpenInterest) ([]Result, error) {
	return p.publish(ctx, len(vs), func(i int) (*record, error) { return p.openInterest(&vs[i]) })
}

// PublishLiquidations is PublishPrices for liquidations.
func (p *Publisher) PublishLiquidations(ctx context.Context, vs []marketdata.Liquidation) ([]Result, error) {
	return p.publish(ctx, len(vs), func(i int) (*record, error) { return p.liquidation(&vs[i]) })
}

// PublishBooks is PublishPrices for order books.
func (p *Publisher) PublishBooks(ctx context.Context, vs []marketdata.Book) ([]Result, error) {
	return p.publish(ctx, len(vs), func(i int) (*record, error) { return p.book(&vs[i]) })
}

// EnqueuePrice publishes a price and does not wait for the brokers. An error says
// that the record was not taken; of one that was taken, done, which may be nil,
// is called with the result, in the order in which the brokers answer. done must
// not block. v may be used again at once. What was taken is sent, also once ctx
// has ended.
//
// It waits where the buffer is full, unless WithFullBuffer says otherwise, and at
// the first record of a topic, which is looked at and may have to be made.
func (p *Publisher) EnqueuePrice(ctx context.Context, v *marketdata.Price, done func(Result)) error {
	r, err := p.price(v)
	return p.enqueue(ctx, r, err, done)
}

// EnqueueOHLCV is EnqueuePrice for a bar.
func (p *Publisher) EnqueueOHLCV(ctx context.Context, v *marketdata.OHLCV, done func(Result)) error {
	r, err := p.ohlcv(v)
	return p.enqueue(ctx, r, err, done)
}

// EnqueueLevel1 is EnqueuePrice for a best bid and ask.
func (p *Publisher) EnqueueLevel1(ctx context.Context, v *marketdata.Level1, done func(Result)) error {
	r, err := p.level1(v)
	return p.enqueue(ctx, r, err, done)
}

// EnqueueTrade is EnqueuePrice for a trade.
func (p *Publisher) EnqueueTrade(ctx context.Context, v *marketdata.Trade, done func(Result)) error {
	r, err := p.trade(v)
	return p.enqueue(ctx, r, err, done)
}

// EnqueueAnalytics is EnqueuePrice for analytics.
func (p *Publisher) EnqueueAnalytics(ctx context.Context, v *marketdata.Analytics, done func(Result)) error {
	r, err := p.analytics(v)
	return p.enqueue(ctx, r, err, done)
}

// EnqueueFunding is EnqueuePrice for a funding rate.
func (p *Publisher) EnqueueFunding(ctx context.Context, v *marketdata.Funding, done func(Result)) error {
	r, err := p.funding(v)
	return p.enqueue(ctx, r, err, done)
}

// EnqueueOpenInterest is EnqueuePrice for an open interest.
func (p *Publisher) EnqueueOpenInterest(ctx context.Context, v *marketdata.OpenInterest, done func(Result)) error {
	r, err := p.openInterest(v)
	return p.enqueue(ctx, r, err, done)
}

// EnqueueLiquidation is EnqueuePrice for a liquidation.
func (p *Publisher) EnqueueLiquidation(ctx context.Context, v *marketdata.Liquidation, done func(Result)) error {
	r, err := p.liquidation(v)
	return p.enqueue(ctx, r, err, done)
}

// EnqueueBook is EnqueuePrice for an order book.
func (p *Publisher) EnqueueBook(ctx context.Context, v *marketdata.Book, done func(Result)) error {
	r, err := p.book(v)
	return p.enqueue(ctx, r, err, done)
}

func (p *Publisher) price(v *marketdata.Price) (*record, error) {
	return finish(p, marketdata.KindPrice, v.ExchangeID, v.Symbol, v.Source, v.Check, v)
}

func (p *Publisher) ohlcv(v *marketdata.OHLCV) (*record, error) {
	return finish(p, marketdata.KindOHLCV, v.ExchangeID, v.Symbol, v.Source, v.Check, v)
}

func (p *Publisher) level1(v *marketdata.Level1) (*record, error) {
	return finish(p, marketdata.KindLevel1, v.ExchangeID, v.Symbol, v.Source, v.Check, v)
}

func (p *Publisher) trade(v *marketdata.Trade) (*record, error) {
	return finish(p, marketdata.KindTrade, v.ExchangeID, v.Symbol, v.Source, v.Check, v)
}

func (p *Publisher) analytics(v *marketdata.Analytics) (*record, error) {
	return finish(p, marketdata.KindAnalytics, v.ExchangeID, v.Symbol, v.Source, v.Check, v)
}

func (p *Publisher) funding(v *marketdata.Funding) (*record, error) {
	return finish(p, marketdata.KindFunding, v.ExchangeID, v.Symbol, v.Source, v.Check, v)
}

func (p *Publisher) openInterest(v *marketdata.OpenInterest) (*record, error) {
	return finish(p, marketdata.KindOpenInterest, v.ExchangeID, v.Symbol, v.Source, v.Check, v)
}

func (p *Publisher) liquidation(v *marketdata.Liquidation) (*record, error) {
	return finish(p, marketdata.KindLiquidation, v.ExchangeID, v.Symbol, v.Source, v.Check, v)
}

func (p *Publisher) book(v *marketdata.Book) (*record, error) {
	return finish(p, marketdata.KindBook, v.ExchangeID, v.Symbol, v.Source, v.Check, v)
}

// finish checks a value and makes its record.
func finish[T marketdata.Record](
	p *Publisher, kind marketdata.Kind, exchange, symbol, source string, check func(time.Time) error, v *T,
) (*record, error) {
	if err := p.clock.check(check); err != nil {
		return &record{kind: kind}, err
	}
	r, key, err := p.address(kind, exchange, symbol, source)
	if err == nil {
		r.fill(key, func(b []byte) []byte { return marketdata.AppendJSON(b, v) })
	}
	return r, err
}

// fill makes key and value in one piece of memory.
func (r *record) fill(key string, value func([]byte) []byte) {
	both := buffer(func(b []byte) []byte { return value(append(b, key...)) })
	r.Key, r.Value = both[:len(key):len(key)], both[len(key):]
}

// clock is behind: reading the time for each record is a tenth of the work.
type clock struct {
	now  func() time.Time
	last atomic.Int64 // ns since 1970
}

// check checks a record that may lie too far ahead of now. Only where it seems
// to is the clock looked at.
func (c *clock) check(check func(now time.Time) error) error {
	if check(time.Unix(0, c.last.Load())) == nil {
		return nil
	}
	now := c.now()
	c.last.Store(now.UnixNano())
	return check(now)
}

// address finds the topic and the key.
func (p *Publisher) address(kind marketdata.Kind, exchange, symbol, source string) (*record, string, error) {
	r := &record{p: p, kind: kind}
	var err error
	if r.topic, err = p.topics.of(p.opts.layout, kind, exchange); err != nil {
		return r, "", err
	}
	r.Topic = r.topic.name
	if p.opts.layout == marketdata.TopicPerExchange && symbol != "" {
		return r, symbol, nil
	}
	key, err := marketdata.Key(p.opts.layout, kind, exchange, symbol, source)
	if err != nil {
		return r, "", &marketdata.Error{Reason: marketdata.ReasonMissingField, Message: err.Error()}
	}
	return r, string(key), nil
}

// fitsTopic says whether a topic's name can take the exchange in: Kafka allows
// letters, digits, '.', '_' and '-', and 249 of them.
func fitsTopic(exchange string) bool {
	for i := range len(exchange) {
		switch c := exchange[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return len(exchange) <= 200
}

func badExchange(exchange string) error {
	if len(exchange) > 100 {
		exchange = exchange[:100] + "..."
	}
	return &marketdata.Error{
		Reason: marketdata.ReasonOutOfRange, Field: "exchangeId",
		Message: fmt.Sprintf("%q cannot be in a topic's name: use 1 to 200 of letters, digits, '.', '_' and '-', or the layout topic-per-kind", exchange),
	}
}

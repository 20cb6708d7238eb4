package timescalesink

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/converters"
	"github.com/qicore/tickconnect/marketdata"
)

// preparer turns records into rows. It is safe for concurrent use.
type preparer struct {
	cfg        *Config
	converter  converters.Converter // nil for the native form
	decoders   sync.Pool            // of *decoding
	converting sync.Pool            // of *convertedRows
	info       *schemaCache
	counters   *Counters
}

// decoding is what decoding one record needs; it is reused so that a record
// allocates nothing here.
type decoding struct {
	marketdata.Decoder
	// now is behind the clock: reading it for each record is a tenth of the work.
	now time.Time
}

func newPreparer(cfg *Config, converter converters.Converter, info *schemaCache, counters *Counters) *preparer {
	p := &preparer{cfg: cfg, converter: converter, info: info, counters: counters}
	p.decoders.New = func() any { return &decoding{now: time.Now()} }
	p.converting.New = func() any { return &convertedRows{now: time.Now(), preparer: p} }
	return p
}

// prepare implements connect.Preparer.
func (p *preparer) prepare(dst []byte, topic string, partition int32, r *connect.Record) ([]byte, error) {
	if p.converter != nil {
		return p.convert(dst, topic, partition, r)
	}
	kind, exchange, ok := marketdata.KindOfTopic(topic)
	switch {
	case ok && p.cfg.ignored(kind), !ok && p.cfg.ignoredTopic(topic), r.Value == nil:
		return dst, connect.ErrFiltered
	case !ok: // Open refuses such a topic, so that none of its records comes here.
		return dst, &connect.RecordError{
			Stage: connect.StageValueConverter, Reason: "unknown_kind",
			Message: "the topic's name tells no kind of market data",
		}
	}
	d := p.decoders.Get().(*decoding)
	defer p.decoders.Put(d)
	w := rowWriter{buf: dst, kind: kind, limits: p.info.limits(kind), topicExchange: exchange, at: recordAt{topic, partition, r.Offset}}
	row, err := d.Decode(kind, r.Value, d.now)
	if err != nil {
		// A time may only look as if it lay too far ahead.
		d.now = time.Now()
		row, err = d.Decode(kind, r.Value, d.now)
	}
	defer d.Release(row)
	if err == nil {
		w.row(row)
		err = w.err
	}
	if err != nil {
		return dst, recordError(err)
	}
	numbers := d.Numbers()
	p.counters.noticed(&converters.Noticed{UnknownFields: d.UnknownFields(), Floats: numbers.All, LongFloats: numbers.Long})
	if w.mismatch {
		p.counters.ExchangeMismatches.Add(1)
	}
	return w.buf, nil
}

func recordError(err error) error {
	if errors.Is(err, connect.ErrFiltered) || connect.IsRetriable(err) {
		return err
	}
	var bad *marketdata.Error
	if errors.As(err, &bad) {
		return &connect.RecordError{
			Stage: connect.StageValueConverter, Reason: bad.Reason, Column: bad.Field, Message: bad.Message,
		}
	}
	var rec *connect.RecordError
	if errors.As(err, &rec) {
		return rec
	}
	return &connect.RecordError{Stage: connect.StageValueConverter, Reason: "undecodable", Message: err.Error()}
}

// row writes a row. The flags, of the last column, are in its header.
func (w *rowWriter) row(v marketdata.Row) {
	switch v := v.(type) {
	case *marketdata.Price:
		w.price(v)
	case *marketdata.OHLCV:
		w.ohlcv(v)
	case *marketdata.Level1:
		w.level1(v)
	case *marketdata.Trade:
		w.trade(v)
	case *marketdata.Analytics:
		w.analytics(v)
	case *marketdata.Funding:
		w.funding(v)
	case *marketdata.OpenInterest:
		w.openInterest(v)
	case *marketdata.Liquidation:
		w.liquidation(v)
	case *marketdata.Book:
		w.book(v)
	}
}

// The fields of a row are written in the order of its table's columns.

func (w *rowWriter) price(v *marketdata.Price) {
	w.begin(v.Flags, v.ExchangeID).text(v.CoinID).text(v.ExchangeID).endKey(v.Time)
	w.text(v.Symbol).decimal(v.USDPrice).decimal(v.MarketCap).decimal(v.Volume24h)
	w.text(v.Source).text(v.Attribution).end()
}

func (w *rowWriter) ohlcv(v *marketdata.OHLCV) {
	w.begin(v.Flags, v.ExchangeID).text(v.ExchangeID).text(v.Symbol).text(v.Interval).text(v.Source).endKey(v.Time)
	w.decimal(v.Open).decimal(v.High).decimal(v.Low).decimal(v.Close).decimal(v.Volume).decimal(v.QuoteVolume)
	w.integer(v.Trades).decimal(v.VWAP).boolean(v.Closed).end()
}

func (w *rowWriter) level1(v *marketdata.Level1) {
	w.begin(v.Flags, v.ExchangeID).text(v.ExchangeID).text(v.Symbol).endKey(v.Time)
	w.decimal(v.BidPrice).decimal(v.BidSize).decimal(v.AskPrice).decimal(v.AskSize).decimal(v.Sequence)
	w.optional(v.Source).end()
}

func (w *rowWriter) trade(v *marketdata.Trade) {
	w.begin(v.Flags, v.ExchangeID).text(v.ExchangeID).text(v.Symbol).id(v.TradeID).endKey(v.Time)
	w.decimal(v.Price).decimal(v.Size).optional(v.Side).optional(v.Source).end()
}

func (w *rowWriter) analytics(v *marketdata.Analytics) {
	exchange := v.ExchangeID
	if exchange == "" {
		exchange = w.topicExchange
	}
	w.begin(v.Flags, exchange).text(exchange).text(v.Symbol).text(v.Source).endKey(v.Time)
	w.decimal(v.TotalMarketCap).decimal(v.TotalVolume).decimal(v.BTCDominance).decimal(v.ETHDominance)
	w.decimal(v.ActiveCryptocurrencies).decimal(v.Markets).decimal(v.MarketCapChange24h)
	w.json(v.Metrics).optional(v.Attribution).end()
}

func (w *rowWriter) funding(v *marketdata.Funding) {
	w.begin(v.Flags, v.ExchangeID).text(v.ExchangeID).text(v.Symbol).text(v.Source).endKey(v.Time)
	w.decimal(v.Rate).decimal(v.PredictedRate).time(v.NextFundingTime).decimal(v.MarkPrice).decimal(v.IndexPrice).end()
}

func (w *rowWriter) openInterest(v *marketdata.OpenInterest) {
	w.begin(v.Flags, v.ExchangeID).text(v.ExchangeID).text(v.Symbol).text(v.Source).endKey(v.Time)
	w.decimal(v.OpenInterest).decimal(v.OpenInterestValue).end()
}

func (w *rowWriter) liquidation(v *marketdata.Liquidation) {
	w.begin(v.Flags, v.ExchangeID).text(v.ExchangeID).text(v.Symbol).id(v.LiquidationID).endKey(v.Time)
	w.decimal(v.Price).decimal(v.Size).optional(v.Side).optional(v.Status).optional(v.Source).end()
}

func (w *rowWriter) book(v *marketdata.Book) {
	w.begin(v.Flags, v.ExchangeID).text(v.ExchangeID).text(v.Symbol).endKey(v.Time)
	w.boolean(marketdata.Some(v.Snapshot)).decimal(v.Epoch).decimal(v.Sequence)
	w.levels(v.Bids).levels(v.Asks).optional(v.Source).end()
}

// misfit says that a value has more digits than its column keeps: PostgreSQL
// would round it in silence (promise 7).
func misfit(name string, d marketdata.Decimal, l numericLimit) error {
	return &connect.RecordError{
		Stage: connect.StageTaskPut, Reason: "numeric_does_not_fit", Column: name,
		Message: fmt.Sprintf("%s: %s does not fit numeric(%d,%d) without being changed",
			name, shorten(d.String()), l.precision, l.scale),
	}
}

func shorten(s string) string {
	if len(s) > 100 {
		return s[:100] + "..."
	}
	return s
}

// fits says whether the column keeps the value unchanged. Zeros at either end
// carry no value. A scale above the precision holds fractions alone: of
// numeric(3,5) each value is below 0.01.
func (l numericLimit) fits(d marketdata.Decimal) bool {
	if integer, scale := d.Digits(); scale <= l.scale && integer <= l.precision-l.scale {
		return true
	}
	// The value is digits * 10^-scale.
	text, exponent := strings.TrimLeft(d.String(), "+-"), 0
	if e := strings.IndexAny(text, "eE"); e >= 0 {
		exponent, _ = strconv.Atoi(text[e+1:]) // a Decimal's exponent is a small integer
		text = text[:e]
	}
	whole, fraction, _ := strings.Cut(text, ".")
	scale := len(fraction) - exponent
	digits := strings.TrimLeft(whole+fraction, "0")
	significant := strings.TrimRight(digits, "0")
	scale -= len(digits) - len(significant)
	return significant == "" || scale <= l.scale && len(significant)-scale <= l.precision-l.scale
}

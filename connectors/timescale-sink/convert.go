package timescalesink

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/converters"
	"github.com/qicore/tickconnect/marketdata"
)

// kindsOf gives the kinds of a topic's records that are stored; ok is false
// where the topic is none of this connector's.
func (c *Connector) kindsOf(topic string) (kinds []marketdata.Kind, ok bool) {
	return c.cfg.kindsOf(c.converter, topic)
}

func (c *Config) kindsOf(converter converters.Converter, topic string) (kinds []marketdata.Kind, ok bool) {
	if converter == nil {
		kind, _, known := marketdata.KindOfTopic(topic)
		if !known {
			return nil, c.ignoredTopic(topic)
		}
		kinds = []marketdata.Kind{kind}
	} else if kinds = converter.Kinds(topic); kinds == nil {
		return nil, false
	}
	return slices.DeleteFunc(slices.Clone(kinds), c.ignored), true
}

// refusal says why a topic is none of this connector's, and what to do.
func (c *Connector) refusal(topic string) (reason, advice string) {
	if r, ok := c.converter.(converters.Refuser); ok {
		return r.Refusal(topic)
	}
	return "its name tells no kind of market data",
		"narrow topics or topics.regex, name the kind in kinds.ignore, or say in value.converter who wrote it"
}

// StoresTape says whether rows of a topic go into a table without a natural key.
func (c *Config) StoresTape(topic string) bool {
	kinds, _ := c.kindsOf(c.Converter(), topic)
	return slices.ContainsFunc(kinds, func(kind marketdata.Kind) bool { return c.isTape(tableOf(kind)) })
}

// convertedRows writes the rows that a converter gives of one record.
type convertedRows struct {
	rowWriter
	cfg     *Config
	info    *schemaCache
	now     time.Time
	ignored bool // a row was of an ignored kind
}

var _ converters.Rows = (*convertedRows)(nil)

// write checks a row and writes it, unless its kind is ignored.
func (w *convertedRows) write(kind marketdata.Kind, check func(time.Time) error, row func()) error {
	if w.cfg.ignored(kind) {
		w.ignored = true
		return nil
	}
	if err := check(w.now); err != nil {
		return err
	}
	w.kind, w.limits = kind, w.info.limits(kind)
	row()
	return w.err
}

// Price implements converters.Rows.
func (w *convertedRows) Price(v *marketdata.Price) error {
	return w.write(marketdata.KindPrice, v.Check, func() { w.price(v) })
}

// OHLCV implements converters.Rows.
func (w *convertedRows) OHLCV(v *marketdata.OHLCV) error {
	v.Mark()
	return w.write(marketdata.KindOHLCV, v.Check, func() { w.ohlcv(v) })
}

// Level1 implements converters.Rows.
func (w *convertedRows) Level1(v *marketdata.Level1) error {
	v.Mark()
	return w.write(marketdata.KindLevel1, v.Check, func() { w.level1(v) })
}

// Trade implements converters.Rows.
func (w *convertedRows) Trade(v *marketdata.Trade) error {
	return w.write(marketdata.KindTrade, v.Check, func() { w.trade(v) })
}

// Analytics implements converters.Rows.
func (w *convertedRows) Analytics(v *marketdata.Analytics) error {
	return w.write(marketdata.KindAnalytics, v.Check, func() { w.analytics(v) })
}

// Funding implements converters.Rows.
func (w *convertedRows) Funding(v *marketdata.Funding) error {
	return w.write(marketdata.KindFunding, v.Check, func() { w.funding(v) })
}

// OpenInterest implements converters.Rows.
func (w *convertedRows) OpenInterest(v *marketdata.OpenInterest) error {
	return w.write(marketdata.KindOpenInterest, v.Check, func() { w.openInterest(v) })
}

// Liquidation implements converters.Rows.
func (w *convertedRows) Liquidation(v *marketdata.Liquidation) error {
	return w.write(marketdata.KindLiquidation, v.Check, func() { w.liquidation(v) })
}

// Book implements converters.Rows.
func (w *convertedRows) Book(v *marketdata.Book) error {
	v.Mark()
	return w.write(marketdata.KindBook, v.Check, func() { w.book(v) })
}

// convert prepares a record that another producer wrote.
func (p *preparer) convert(dst []byte, topic string, partition int32, r *connect.Record) ([]byte, error) {
	if r.Value == nil {
		return dst, connect.ErrFiltered
	}
	w := convertedRows{
		rowWriter: rowWriter{buf: dst, at: recordAt{topic, partition, r.Offset}},
		cfg:       p.cfg, info: p.info, now: time.Now(),
	}
	var seen converters.Noticed
	var err error
	if observer, ok := p.converter.(converters.Observer); ok {
		err = observer.Observe(topic, r, w.now, &w, &seen)
	} else {
		err = p.converter.Convert(topic, r, w.now, &w)
	}
	p.counters.noticed(&seen)
	if err != nil {
		return dst, recordError(err)
	}
	if w.rows == 0 {
		if w.ignored {
			return dst, connect.ErrFiltered
		}
		return dst, &connect.RecordError{
			Stage: connect.StageValueConverter, Reason: "no_rows", Message: "the record holds nothing that could be stored",
		}
	}
	return w.buf, nil
}

func (c *Counters) noticed(seen *converters.Noticed) {
	add := func(to *atomic.Int64, n int) {
		if n > 0 {
			to.Add(int64(n))
		}
	}
	one := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	add(&c.UnknownFields, seen.UnknownFields)
	add(&c.FloatDecimals, seen.Floats)
	add(&c.LongFloats, seen.LongFloats)
	add(&c.ReceiveTimes, one(seen.ReceiveTime))
	add(&c.MillisTimes, one(seen.Milliseconds))
	add(&c.QuoteAmounts, one(seen.QuoteAmount))
	add(&c.ProducerGaps, one(seen.Gap))
}

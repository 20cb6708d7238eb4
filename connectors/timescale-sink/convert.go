package timescalesink

import (
	"errors"
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

// convertedRows writes the rows that a converter gives of one record. It is reused,
// so that a record allocates nothing here.
type convertedRows struct {
	rowWriter
	now     time.Time // behind the clock, as decoding.now
	ignored bool      // a row was of an ignored kind
	seen    converters.Noticed
	*preparer
}

// Row implements converters.Rows: it checks a row and writes it, unless its kind is
// ignored.
func (w *convertedRows) Row(v marketdata.Row) error {
	kind := v.Kind()
	if w.cfg.ignored(kind) {
		w.ignored = true
		return nil
	}
	if err := v.Check(w.now); err != nil {
		return err
	}
	v.Mark()
	w.kind, w.limits = kind, w.info.limits(kind)
	w.row(v)
	return w.err
}

// convert prepares a record that another producer wrote.
func (p *preparer) convert(dst []byte, topic string, partition int32, r *connect.Record) ([]byte, error) {
	if r.Value == nil {
		return dst, connect.ErrFiltered
	}
	w := p.converting.Get().(*convertedRows)
	defer p.converting.Put(w)
	defer w.release()
	err := w.convert(dst, topic, partition, r)
	if isBad(err) {
		// A time may only look as if it lay too far ahead.
		w.now = time.Now()
		err = w.convert(dst, topic, partition, r)
	}
	p.counters.noticed(&w.seen)
	switch {
	case err != nil:
		return dst, recordError(err)
	case w.rows == 0 && w.ignored:
		return dst, connect.ErrFiltered
	case w.rows == 0:
		return dst, &connect.RecordError{
			Stage: connect.StageValueConverter, Reason: "no_rows", Message: "the record holds nothing that could be stored",
		}
	}
	return w.buf, nil
}

func isBad(err error) bool {
	if err == nil { // before bad is allocated
		return false
	}
	var bad *marketdata.Error
	return errors.As(err, &bad)
}

// convert writes the rows of a record.
func (w *convertedRows) convert(dst []byte, topic string, partition int32, r *connect.Record) error {
	w.rowWriter = rowWriter{buf: dst, at: recordAt{topic, partition, r.Offset}}
	w.ignored, w.seen = false, converters.Noticed{}
	if observer, ok := w.converter.(converters.Observer); ok {
		return observer.Observe(topic, r, w.now, w, &w.seen)
	}
	return w.converter.Convert(topic, r, w.now, w)
}

// release lets go of the record.
func (w *convertedRows) release() { w.rowWriter = rowWriter{} }

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

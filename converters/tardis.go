package converters

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/marketdata"
)

// tardisSource is the source of the rows. It is part of the natural key of bars and
// of funding, so it never changes.
const tardisSource = "tardis"

// tardis reads the messages of Tardis' normalised streams.
type tardis struct {
	kinds    []marketdata.Kind
	stored   [tardisTypes]bool
	filtered [tardisTypes]error
	states   sync.Pool // of *tardisRecord
}

var _ Observer = (*tardis)(nil)

// NewTardis makes the converter of a configuration that is valid.
func NewTardis(cfg TardisConfig) Converter {
	c := &tardis{}
	for t := tardisNone + 1; t < tardisTypes; t++ {
		form := &tardisForms[t]
		c.filtered[t] = fmt.Errorf("tardis: %s messages are not stored: %w", form.name, connect.ErrFiltered)
		if c.stored[t] = t < tardisStored && slices.Contains(cfg.Types, form.name); c.stored[t] {
			c.kinds = append(c.kinds, form.kinds...)
		}
	}
	slices.Sort(c.kinds)
	c.kinds = slices.Compact(c.kinds)
	c.states.New = func() any { return &tardisRecord{c: c, reading: newReading(tardisFields, tardisIndex)} }
	return c
}

// Kinds implements [Converter]. Users name the topics, and any may hold messages of
// any type.
func (c *tardis) Kinds(string) []marketdata.Kind { return c.kinds }

// Convert implements [Converter].
func (c *tardis) Convert(topic string, r *connect.Record, now time.Time, rows Rows) error {
	return c.Observe(topic, r, now, rows, nil)
}

// Observe implements [Observer].
func (c *tardis) Observe(_ string, r *connect.Record, _ time.Time, rows Rows, seen *Noticed) error {
	if r.Value == nil {
		return connect.ErrFiltered
	}
	rec := c.states.Get().(*tardisRecord)
	defer c.states.Put(rec)
	err := rec.convert(r.Value, rows)
	if seen != nil {
		*seen = rec.noticed
	}
	return err
}

// tardisRecord is one message while it is converted.
type tardisRecord struct {
	c *tardis
	*reading

	trade        marketdata.Trade
	level1       marketdata.Level1
	ohlcv        marketdata.OHLCV
	funding      marketdata.Funding
	openInterest marketdata.OpenInterest
	liquidation  marketdata.Liquidation
	book         marketdata.Book
}

func (rec *tardisRecord) convert(value []byte, rows Rows) error {
	rec.reset()
	if fault := rec.reader.Read(value, rec.take); fault != nil {
		return fault
	}
	t := rec.messageType()
	switch {
	case rec.fault != nil:
		return rec.fault
	case t == tardisDisconnect:
		rec.noticed.Gap = true
		return rec.c.filtered[t]
	case !rec.c.stored[t]:
		return rec.c.filtered[t]
	}
	rec.noteReceiveTime()
	switch t {
	case tardisTrade:
		return rec.convertTrade(rows)
	case tardisBookTicker:
		return rec.convertBookTicker(rows)
	case tardisQuote:
		return rec.convertQuote(rows)
	case tardisTradeBar:
		return rec.convertTradeBar(rows)
	case tardisDerivativeTicker:
		return rec.convertDerivativeTicker(rows)
	case tardisLiquidation:
		return rec.convertLiquidation(rows)
	}
	return rec.convertBook(t, rows)
}

// messageType tells the type; a snapshot of depth 1 is a quote, whatever its name.
func (rec *tardisRecord) messageType() tardisType {
	name := rec.text(tardisFieldType)
	for t := tardisNone + 1; t < tardisTypes; t++ {
		if tardisForms[t].name != name {
			continue
		}
		if t == tardisBookSnapshot {
			if depth, _ := rec.integer(tardisFieldDepth); depth == 1 {
				return tardisQuote
			}
		}
		return t
	}
	if name == "" {
		rec.blame(tardisFieldType, marketdata.ReasonMissingField, "is required: without a type the value is no normalised message of Tardis")
		return tardisNone
	}
	names := make([]string, 0, tardisTypes)
	for t := tardisNone + 1; t < tardisTypes; t++ {
		names = append(names, tardisForms[t].name)
	}
	rec.blame(tardisFieldType, marketdata.ReasonOutOfRange, "is none of those that Tardis sends: "+strings.Join(names, ", "))
	return tardisNone
}

// noteReceiveTime notes a timestamp that is a copy of the receive time.
func (rec *tardisRecord) noteReceiveTime() {
	at, local := rec.value(tardisFieldTimestamp), rec.value(tardisFieldLocalTimestamp)
	rec.noticed.ReceiveTime = at.Kind == marketdata.JSONString && local.Kind == marketdata.JSONString && at.Raw == local.Raw
}

// What Tardis cannot read becomes NaN or an invalid date in it, and JSON.stringify
// makes null of both. What is absent is no member at all.
const (
	tardisNullNumber = "is null: Tardis writes so a number that it could not read"
	tardisNullTime   = "is null: Tardis writes so a date that it could not read"
)

func (rec *tardisRecord) number(f field) marketdata.Decimal {
	if rec.isNull(f) {
		rec.blame(f, marketdata.ReasonBadNumber, tardisNullNumber)
	}
	return rec.decimal(f)
}

func (rec *tardisRecord) date(f field) time.Time {
	if rec.isNull(f) {
		rec.blame(f, marketdata.ReasonBadTime, tardisNullTime)
	}
	return rec.time(f)
}

func (rec *tardisRecord) exchange() string { return strings.ToLower(rec.text(tardisFieldExchange)) }

// side is the taker's, or that of the order which closed a position.
func (rec *tardisRecord) side() string {
	if s := rec.text(tardisFieldSide); s != "unknown" {
		return s
	}
	return ""
}

// computedSource is the source of what Tardis computed under a name, as quote_10s or
// book_snapshot_25_1s: rows of several names lie in one table.
func (rec *tardisRecord) computedSource() string {
	if name := rec.text(tardisFieldName); name != "" {
		return tardisSource + "/" + name
	}
	return tardisSource
}

package converters

import (
	"fmt"
	"strconv"
	"time"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/marketdata"
)

func (rec *tardisRecord) convertTrade(rows Rows) error {
	v := &rec.trade
	*v = marketdata.Trade{
		ExchangeID: rec.exchange(),
		Symbol:     rec.text(tardisFieldSymbol),
		TradeID:    rec.id(tardisFieldID),
		Time:       rec.date(tardisFieldTimestamp),
		Price:      rec.number(tardisFieldPrice),
		Size:       rec.number(tardisFieldAmount),
		Side:       rec.side(),
		Source:     tardisSource,
	}
	if rec.fault != nil {
		return rec.fault
	}
	return rows.Row(v)
}

func (rec *tardisRecord) convertBookTicker(rows Rows) error {
	v := &rec.level1
	*v = marketdata.Level1{
		ExchangeID: rec.exchange(),
		Symbol:     rec.text(tardisFieldSymbol),
		Time:       rec.date(tardisFieldTimestamp),
		BidPrice:   rec.number(tardisFieldBidPrice),
		BidSize:    rec.number(tardisFieldBidAmount),
		AskPrice:   rec.number(tardisFieldAskPrice),
		AskSize:    rec.number(tardisFieldAskAmount),
		Source:     tardisSource,
	}
	withoutOrder(v)
	if rec.fault != nil {
		return rec.fault
	}
	return rows.Row(v)
}

func (rec *tardisRecord) convertQuote(rows Rows) error {
	bids, asks := rec.sides(tardisFieldBids, tardisFieldAsks, rec.appendKnownLevel)
	v := &rec.level1
	*v = marketdata.Level1{
		ExchangeID: rec.exchange(),
		Symbol:     rec.text(tardisFieldSymbol),
		Time:       rec.date(tardisFieldTimestamp),
		Source:     rec.computedSource(),
	}
	if len(bids) > 0 {
		v.BidPrice, v.BidSize = bids[0].Price, bids[0].Size
	}
	if len(asks) > 0 {
		v.AskPrice, v.AskSize = asks[0].Price, asks[0].Size
	}
	if bids == nil && asks == nil {
		rec.blame(tardisFieldBids, marketdata.ReasonMissingField, "is required where there are no asks")
	}
	if rec.fault != nil {
		return rec.fault
	}
	return rows.Row(v)
}

func (rec *tardisRecord) convertBook(t tardisType, rows Rows) error {
	level := rec.appendLevel
	v := &rec.book
	*v = marketdata.Book{
		ExchangeID: rec.exchange(),
		Symbol:     rec.text(tardisFieldSymbol),
		Time:       rec.date(tardisFieldTimestamp),
		Snapshot:   true,
		Source:     tardisSource,
	}
	if t == tardisBookSnapshot {
		level, v.Source = rec.appendKnownLevel, rec.computedSource()
	} else {
		flag := rec.value(tardisFieldIsSnapshot)
		if flag.Kind != marketdata.JSONBool {
			rec.blame(tardisFieldIsSnapshot, marketdata.ReasonWrongType, "is neither true nor false")
		}
		v.Snapshot = flag.Raw == "true"
	}
	v.Bids, v.Asks = rec.sides(tardisFieldBids, tardisFieldAsks, level)
	if rec.fault != nil {
		return rec.fault
	}
	return rows.Row(v)
}

func (rec *tardisRecord) appendLevel(f field, v marketdata.JSONValue) {
	var level marketdata.Level
	if v.Kind != marketdata.JSONObject {
		rec.blame(f, marketdata.ReasonWrongType, "holds a level that is no object of a price and an amount")
	}
	rec.reader.Members(v, func(name string, v marketdata.JSONValue) {
		if v.Kind == marketdata.JSONNull {
			rec.blame(f, marketdata.ReasonBadNumber, "holds a number that "+tardisNullNumber)
		}
		switch name {
		case "price":
			level.Price = rec.decimalOf(f, v)
		case "amount":
			level.Size = rec.decimalOf(f, v)
		default:
			rec.noticed.UnknownFields++
		}
	})
	rec.levels = append(rec.levels, level)
}

// appendKnownLevel leaves out the levels without members with which Tardis fills a
// snapshot up to its depth.
func (rec *tardisRecord) appendKnownLevel(f field, v marketdata.JSONValue) {
	rec.appendLevel(f, v)
	if last := len(rec.levels) - 1; v.Kind == marketdata.JSONObject && !rec.levels[last].Price.Present() && !rec.levels[last].Size.Present() {
		rec.levels = rec.levels[:last]
	}
}

// tardisIntervalMax is far longer than any bar.
const tardisIntervalMax = 366 * 24 * time.Hour

// convertTradeBar stores bars of time. Those of a volume or of a number of trades
// have no interval, which is part of a bar's key.
func (rec *tardisRecord) convertTradeBar(rows Rows) error {
	switch kind := rec.text(tardisFieldKind); kind {
	case "time":
	case "":
		rec.blame(tardisFieldKind, marketdata.ReasonMissingField, "is required")
	default:
		rec.blame(tardisFieldKind, marketdata.ReasonOutOfRange, fmt.Sprintf(
			"is %.32q: such a bar has no interval of time, which is part of a bar's key; only bars of kind time are stored: "+
				"keep the others in a topic that this connector does not read", kind))
	}
	ms, ok := rec.integer(tardisFieldInterval)
	if !ok || ms <= 0 || ms > tardisIntervalMax.Milliseconds() {
		rec.blame(tardisFieldInterval, marketdata.ReasonOutOfRange, "is no number of milliseconds from 1 to those of a year")
	}
	if rec.fault != nil {
		return rec.fault
	}
	v := &rec.ohlcv
	*v = marketdata.OHLCV{
		ExchangeID: rec.exchange(),
		Symbol:     rec.text(tardisFieldSymbol),
		Interval:   intervalName(ms),
		Time:       rec.date(tardisFieldTimestamp), // the end of the bar
		Open:       rec.number(tardisFieldOpen),
		High:       rec.number(tardisFieldHigh),
		Low:        rec.number(tardisFieldLow),
		Close:      rec.number(tardisFieldClose),
		Volume:     rec.number(tardisFieldVolume),
		VWAP:       rec.number(tardisFieldVWAP),
		Closed:     marketdata.Some(true), // it is sent once, when a later bar has begun
		Source:     tardisSource,
	}
	if !v.Time.IsZero() {
		v.Time = v.Time.Add(-time.Duration(ms) * time.Millisecond)
	}
	if rec.isNull(tardisFieldTrades) {
		rec.blame(tardisFieldTrades, marketdata.ReasonBadNumber, tardisNullNumber)
	}
	if n, ok := rec.integer(tardisFieldTrades); ok {
		v.Trades = marketdata.Some(n)
	}
	if rec.fault != nil {
		return rec.fault
	}
	return rows.Row(v)
}

// intervalName names an interval as exchanges do: 10s, 1m, 4h, 1d.
func intervalName(ms int64) string {
	for _, unit := range []struct {
		name string
		ms   int64
	}{{"d", 86_400_000}, {"h", 3_600_000}, {"m", 60_000}, {"s", 1000}} {
		if ms%unit.ms == 0 {
			return strconv.FormatInt(ms/unit.ms, 10) + unit.name
		}
	}
	return strconv.FormatInt(ms, 10) + "ms"
}

// convertDerivativeTicker gives a row of funding, one of open interest, or both. A
// ticker of which only the last price is known gives none.
func (rec *tardisRecord) convertDerivativeTicker(rows Rows) error {
	f := &rec.funding
	*f = marketdata.Funding{
		ExchangeID:      rec.exchange(),
		Symbol:          rec.text(tardisFieldSymbol),
		Time:            rec.date(tardisFieldTimestamp),
		Rate:            rec.number(tardisFieldFundingRate),
		PredictedRate:   rec.number(tardisFieldPredictedRate),
		NextFundingTime: rec.date(tardisFieldFundingTimestamp),
		MarkPrice:       rec.number(tardisFieldMarkPrice),
		IndexPrice:      rec.number(tardisFieldIndexPrice),
		Source:          tardisSource,
	}
	if f.MarkPrice.Sign() == 0 { // not known
		f.MarkPrice = marketdata.Decimal{}
	}
	if f.IndexPrice.Sign() == 0 {
		f.IndexPrice = marketdata.Decimal{}
	}
	o := &rec.openInterest
	*o = marketdata.OpenInterest{
		ExchangeID:   f.ExchangeID,
		Symbol:       f.Symbol,
		Time:         f.Time,
		OpenInterest: rec.number(tardisFieldOpenInterest),
		Source:       tardisSource,
	}
	hasFunding := f.Rate.Present() || f.PredictedRate.Present() || f.MarkPrice.Present() || f.IndexPrice.Present()
	if !hasFunding && !o.OpenInterest.Present() {
		if !rec.number(tardisFieldLastPrice).Present() {
			rec.blame(tardisFieldFundingRate, marketdata.ReasonMissingField, "is required where there is no other number")
		}
		if rec.fault != nil {
			return rec.fault
		}
		return errTardisOnlyLastPrice
	}
	if rec.fault != nil {
		return rec.fault
	}
	if hasFunding {
		if err := rows.Row(f); err != nil {
			return err
		}
	}
	if o.OpenInterest.Present() {
		return rows.Row(o)
	}
	return nil
}

var errTardisOnlyLastPrice = fmt.Errorf("tardis: a derivative_ticker with a last price alone is not stored: %w", connect.ErrFiltered)

func (rec *tardisRecord) convertLiquidation(rows Rows) error {
	v := &rec.liquidation
	*v = marketdata.Liquidation{
		ExchangeID:    rec.exchange(),
		Symbol:        rec.text(tardisFieldSymbol),
		LiquidationID: rec.id(tardisFieldID),
		Time:          rec.date(tardisFieldTimestamp),
		Price:         rec.number(tardisFieldPrice),
		Size:          rec.number(tardisFieldAmount),
		Side:          rec.side(),
		Source:        tardisSource,
	}
	if rec.fault != nil {
		return rec.fault
	}
	return rows.Row(v)
}

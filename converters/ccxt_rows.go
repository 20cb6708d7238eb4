package converters

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/qicore/tickconnect/marketdata"
)

// symbol is the structure's own, or what is told. It is null in no structure that
// has one.
func (rec *ccxtRecord) symbol() string { return cmp.Or(rec.text(ccxtFieldSymbol), rec.told.symbol) }

// stored ends a structure whose row was given.
func (rec *ccxtRecord) stored(err error) error {
	if err == nil {
		rec.count++
	}
	return err
}

func (rec *ccxtRecord) convertTrade(rows Rows) error {
	rec.readInfo()
	v := &rec.trade
	*v = marketdata.Trade{
		ExchangeID: rec.exchange,
		Symbol:     rec.symbol(),
		TradeID:    rec.id(ccxtFieldID),
		Time:       rec.fineTime(),
		Price:      rec.number(ccxtFieldPrice, ccxtRolePrice),
		Size:       rec.number(ccxtFieldAmount, ccxtRoleAmount),
		Side:       rec.side(),
		Source:     ccxtSource,
	}
	switch {
	case rec.fault != nil:
		return rec.fault
	case v.Symbol == "":
		return rec.untold(ccxtTellSymbol, "absent", "")
	}
	return rec.stored(rows.Row(v))
}

// side is the taker's. Of some exchanges CCXT passes on the maker's.
func (rec *ccxtRecord) side() string {
	s := rec.text(ccxtFieldSide)
	if s == "" || !slices.Contains(rec.c.makerSides, rec.exchange) {
		return s
	}
	switch s {
	case "buy":
		return "sell"
	case "sell":
		return "buy"
	}
	rec.blame(ccxtFieldSide, marketdata.ReasonOutOfRange, "is neither buy nor sell, and value.converter.ccxt.maker.sides says that the maker's side must be turned into the taker's")
	return ""
}

// convertTicker stores a ticker's best bid and ask. Its other figures are of the last
// 24 hours, or computed by CCXT.
func (rec *ccxtRecord) convertTicker(rows Rows) error {
	rec.readInfo()
	v := &rec.level1
	*v = marketdata.Level1{
		ExchangeID: rec.exchange,
		Symbol:     rec.symbol(),
		Time:       rec.stateTime(),
		BidPrice:   rec.number(ccxtFieldBid, ccxtRoleBid),
		BidSize:    rec.number(ccxtFieldBidVolume, ccxtRoleBidVolume),
		AskPrice:   rec.number(ccxtFieldAsk, ccxtRoleAsk),
		AskSize:    rec.number(ccxtFieldAskVolume, ccxtRoleAskVolume),
		Source:     ccxtSource,
	}
	withoutOrder(v)
	switch {
	case rec.fault != nil:
		return rec.fault
	case v.Symbol == "":
		return rec.untold(ccxtTellSymbol, "absent", "")
	case !v.BidPrice.Present() && !v.AskPrice.Present():
		rec.empty++
		return nil
	}
	return rec.stored(rows.Row(v))
}

// convertBar stores an array [start, open, high, low, close, volume]. Nothing in it
// tells whether the bar has ended, and the last one of a call has not.
func (rec *ccxtRecord) convertBar(bar marketdata.JSONValue, rows Rows) error {
	fields := [...]field{ccxtFieldTimestamp, ccxtFieldOpen, ccxtFieldHigh, ccxtFieldLow, ccxtFieldClose, ccxtFieldVolume}
	n := 0
	rec.reader.Elements(bar, func(v marketdata.JSONValue) {
		if n < len(fields) {
			rec.values[fields[n]] = v
			rec.seen |= 1 << fields[n]
		}
		n++
	})
	if n < len(fields) {
		return &marketdata.Error{
			Reason:  marketdata.ReasonWrongType,
			Message: fmt.Sprintf("the value holds an array of %d elements; a bar of CCXT has six: start, open, high, low, close, volume", n),
		}
	}
	rec.noticed.UnknownFields += n - len(fields)
	v := &rec.ohlcv
	*v = marketdata.OHLCV{
		ExchangeID: rec.exchange,
		Symbol:     rec.told.symbol,
		Interval:   rec.told.interval,
		Time:       rec.time(ccxtFieldTimestamp),
		Open:       rec.decimal(ccxtFieldOpen),
		High:       rec.decimal(ccxtFieldHigh),
		Low:        rec.decimal(ccxtFieldLow),
		Close:      rec.decimal(ccxtFieldClose),
		Volume:     rec.decimal(ccxtFieldVolume),
		Source:     ccxtSource,
	}
	switch {
	case rec.fault != nil:
		return rec.fault
	case v.Symbol == "":
		return rec.untold(ccxtTellSymbol, "in no bar of CCXT", "make it the record's key, as BTC/USDT; or ")
	case v.Interval == "":
		return rec.untold(ccxtTellInterval, "in no bar of CCXT", "")
	}
	return rec.stored(rows.Row(v))
}

func (rec *ccxtRecord) convertOrderBook(rows Rows) error {
	v := &rec.book
	*v = marketdata.Book{
		ExchangeID: rec.exchange,
		Symbol:     rec.symbol(),
		Time:       rec.stateTime(),
		Snapshot:   true,
		Sequence:   rec.sequence(),
		Source:     ccxtSource,
	}
	v.Bids, v.Asks = rec.sides(ccxtFieldBids, ccxtFieldAsks, rec.appendLevel)
	switch {
	case rec.fault != nil:
		return rec.fault
	case v.Symbol == "":
		return rec.untold(ccxtTellSymbol, "absent", "make it the record's key, as BTC/USDT; or ")
	}
	if err := rec.stored(rows.Row(v)); err != nil || !rec.c.cfg.OrderBookTop || len(v.Bids)+len(v.Asks) == 0 {
		return err
	}
	top := &rec.level1
	*top = marketdata.Level1{ExchangeID: v.ExchangeID, Symbol: v.Symbol, Time: v.Time, Sequence: v.Sequence, Source: ccxtSource}
	if len(v.Bids) > 0 {
		top.BidPrice, top.BidSize = v.Bids[0].Price, v.Bids[0].Size
	}
	if len(v.Asks) > 0 {
		top.AskPrice, top.AskSize = v.Asks[0].Price, v.Asks[0].Size
	}
	return rows.Row(top)
}

// appendLevel takes the first two elements of a level. Some exchanges have a third,
// as a time or a number of orders.
func (rec *ccxtRecord) appendLevel(f field, v marketdata.JSONValue) {
	var level marketdata.Level
	n := 0
	rec.reader.Elements(v, func(v marketdata.JSONValue) {
		switch n++; n {
		case 1:
			level.Price = rec.decimalOf(f, v)
		case 2:
			level.Size = rec.decimalOf(f, v)
		}
	})
	if n < 2 {
		rec.blame(f, marketdata.ReasonWrongType, "holds a level that is no array of a price and an amount")
	}
	rec.levels = append(rec.levels, level)
}

// sequence is the book's number, an integer that is no amount.
func (rec *ccxtRecord) sequence() marketdata.Decimal {
	floats, long := rec.noticed.Floats, rec.noticed.LongFloats
	d := rec.decimal(ccxtFieldNonce)
	rec.noticed.Floats, rec.noticed.LongFloats = floats, long
	return d
}

// stateTime is the exchange's, or where it gave none, as Binance with the best bid
// and ask of spot markets, the record's own: when the producer sent it.
func (rec *ccxtRecord) stateTime() time.Time {
	t := rec.fineTime()
	if t.IsZero() {
		rec.noticed.ReceiveTime = true
		return rec.received
	}
	return t
}

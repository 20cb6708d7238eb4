package converters

import (
	"github.com/qicore/tickconnect/marketdata"
)

func (rec *cryptofeedRecord) convertFunding(rows Rows) error {
	v := &rec.funding
	*v = marketdata.Funding{
		ExchangeID:      rec.exchange(),
		Symbol:          rec.text(cfSymbol),
		Time:            rec.quoteTime(),
		Rate:            rec.decimal(cfRate),
		PredictedRate:   rec.decimal(cfPredictedRate),
		NextFundingTime: rec.time(cfNextFunding),
		MarkPrice:       rec.decimal(cfMarkPrice),
		Source:          cryptofeedSource,
	}
	if v.MarkPrice.Sign() == 0 { // not known
		v.MarkPrice = marketdata.Decimal{}
	}
	if rec.fault != nil {
		return rec.fault
	}
	return rows.Row(v)
}

func (rec *cryptofeedRecord) convertOpenInterest(rows Rows) error {
	v := &rec.openInterest
	*v = marketdata.OpenInterest{
		ExchangeID:   rec.exchange(),
		Symbol:       rec.text(cfSymbol),
		Time:         rec.quoteTime(),
		OpenInterest: rec.decimal(cfOpenInterest),
		Source:       cryptofeedSource,
	}
	if rec.fault != nil {
		return rec.fault
	}
	return rows.Row(v)
}

func (rec *cryptofeedRecord) convertLiquidation(rows Rows) error {
	v := &rec.liquidation
	*v = marketdata.Liquidation{
		ExchangeID:    rec.exchange(),
		Symbol:        rec.text(cfSymbol),
		LiquidationID: rec.id(),
		Time:          rec.time(cfTimestamp),
		Price:         rec.decimal(cfPrice),
		Size:          rec.decimal(cfQuantity),
		Side:          rec.text(cfSide),
		Status:        rec.text(cfStatus),
		Source:        cryptofeedSource,
	}
	rec.noteReceiveTime()
	if rec.fault != nil {
		return rec.fault
	}
	return rows.Row(v)
}

// convertBook reads a whole book, an object of sizes by price for each side, or
// what changed in it, an array of prices and sizes.
func (rec *cryptofeedRecord) convertBook(rows Rows) error {
	v := &rec.book
	*v = marketdata.Book{
		ExchangeID: rec.exchange(),
		Symbol:     rec.text(cfSymbol),
		Time:       rec.quoteTime(),
		Source:     cryptofeedSource,
	}
	f := cfDelta
	if v.Snapshot = rec.value(cfBook).Kind != marketdata.JSONNull; v.Snapshot {
		f = cfBook
	}
	sides := rec.value(f)
	if sides.Kind != marketdata.JSONObject {
		rec.blame(f, marketdata.ReasonWrongType, "is no object of bid and ask")
	}
	var bid, ask marketdata.JSONValue
	rec.reader.Members(sides, func(name string, side marketdata.JSONValue) {
		switch name {
		case "bid":
			bid = side
		case "ask":
			ask = side
		default:
			rec.noticed.UnknownFields++
		}
	})
	bids, hasBids := rec.appendSide(f, bid)
	asks, hasAsks := rec.appendSide(f, ask)
	if hasBids {
		v.Bids = rec.levels[:bids:bids]
	}
	if hasAsks {
		v.Asks = rec.levels[bids:asks:asks]
	}
	if rec.fault != nil {
		return rec.fault
	}
	return rows.Row(v)
}

// appendSide appends the levels of one side; present is false for a null and where
// there is none.
func (rec *cryptofeedRecord) appendSide(f cryptofeedField, side marketdata.JSONValue) (end int, present bool) {
	switch side.Kind {
	case marketdata.JSONNull:
		return len(rec.levels), false
	case marketdata.JSONObject:
		rec.reader.Members(side, func(price string, size marketdata.JSONValue) {
			rec.appendLevel(f, marketdata.JSONValue{Kind: marketdata.JSONString, Raw: price}, size)
		})
	case marketdata.JSONArray:
		rec.reader.Elements(side, func(level marketdata.JSONValue) {
			var pair [2]marketdata.JSONValue
			n := 0
			rec.reader.Elements(level, func(v marketdata.JSONValue) {
				if n < len(pair) {
					pair[n] = v
				}
				n++
			})
			if n != len(pair) {
				rec.blame(f, marketdata.ReasonWrongType, "holds a level that is no array of a price and a size")
			}
			rec.appendLevel(f, pair[0], pair[1])
		})
	default:
		rec.blame(f, marketdata.ReasonWrongType, "holds a side that is neither an object nor an array")
	}
	if rec.levels == nil {
		rec.levels = []marketdata.Level{} // a side that is there and empty
	}
	return len(rec.levels), true
}

func (rec *cryptofeedRecord) appendLevel(f cryptofeedField, price, size marketdata.JSONValue) {
	rec.levels = append(rec.levels, marketdata.Level{Price: rec.decimalOf(f, price), Size: rec.decimalOf(f, size)})
}

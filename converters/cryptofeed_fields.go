package converters

import (
	"github.com/qicore/tickconnect/marketdata"
)

// cryptofeedKind is what a record of cryptofeed holds.
type cryptofeedKind uint8

const (
	cryptofeedNone cryptofeedKind = iota
	cryptofeedTrades
	cryptofeedTicker
	cryptofeedL1Book
	cryptofeedCandles
	cryptofeedBook
	cryptofeedFunding
	cryptofeedOpenInterest
	cryptofeedLiquidations
	cryptofeedIndex
	cryptofeedOrderInfo
	cryptofeedFills
	cryptofeedBalances
	cryptofeedTransactions
	cryptofeedKinds
)

// cryptofeedForms has the key that begins the topics of a kind, and the fields
// that its records have.
var cryptofeedForms = [cryptofeedKinds]struct{ key, fields string }{
	cryptofeedTrades:       {"trades", "exchange, symbol, side, amount, price, id, type, timestamp, receipt_timestamp"},
	cryptofeedTicker:       {"ticker", "exchange, symbol, bid, ask, timestamp, receipt_timestamp"},
	cryptofeedL1Book:       {"l1_book", "exchange, symbol, bid_price, bid_size, ask_price, ask_size, timestamp, receipt_timestamp"},
	cryptofeedCandles:      {"candles", "exchange, symbol, start, stop, interval, trades, open, close, high, low, volume, closed, timestamp, receipt_timestamp"},
	cryptofeedBook:         {"book", "exchange, symbol, book or delta, timestamp, receipt_timestamp"},
	cryptofeedFunding:      {"funding", "exchange, symbol, mark_price, rate, next_funding_time, predicted_rate, timestamp, receipt_timestamp"},
	cryptofeedOpenInterest: {"open_interest", "exchange, symbol, open_interest, timestamp, receipt_timestamp"},
	cryptofeedLiquidations: {"liquidations", "exchange, symbol, side, quantity, price, id, status, timestamp, receipt_timestamp"},
	cryptofeedIndex:        {"index", "exchange, symbol, price, timestamp, receipt_timestamp"},
	cryptofeedOrderInfo:    {"order_info", "exchange, symbol, id, side, status, type, price, amount, remaining, account, timestamp"},
	cryptofeedFills:        {"fills", "exchange, symbol, side, amount, price, fee, liquidity, id, order_id, type, account, timestamp"},
	cryptofeedBalances:     {"balances", "exchange, currency, balance, reserved, timestamp"},
	cryptofeedTransactions: {"transactions", "exchange, currency, type, status, amount, timestamp"},
}

// cryptofeedKeys gives cryptofeed's own keys.
func cryptofeedKeys() []string {
	var keys []string
	for k := cryptofeedNone + 1; k < cryptofeedKinds; k++ {
		keys = append(keys, cryptofeedForms[k].key)
	}
	return keys
}

// cryptofeedKindOf finds a kind by its key.
func cryptofeedKindOf(key string) cryptofeedKind {
	for k := cryptofeedNone + 1; k < cryptofeedKinds; k++ {
		if cryptofeedForms[k].key == key {
			return k
		}
	}
	return cryptofeedNone
}

// stored gives the kinds of market data that become rows.
func (k cryptofeedKind) stored() []marketdata.Kind {
	switch k {
	case cryptofeedTrades:
		return []marketdata.Kind{marketdata.KindTrade}
	case cryptofeedCandles:
		return []marketdata.Kind{marketdata.KindOHLCV}
	case cryptofeedTicker, cryptofeedL1Book:
		return []marketdata.Kind{marketdata.KindLevel1}
	case cryptofeedFunding:
		return []marketdata.Kind{marketdata.KindFunding}
	case cryptofeedOpenInterest:
		return []marketdata.Kind{marketdata.KindOpenInterest}
	case cryptofeedLiquidations:
		return []marketdata.Kind{marketdata.KindLiquidation}
	case cryptofeedBook:
		return []marketdata.Kind{marketdata.KindBook}
	case cryptofeedNone:
		return []marketdata.Kind{
			marketdata.KindOHLCV, marketdata.KindLevel1, marketdata.KindTrade, marketdata.KindFunding, marketdata.KindOpenInterest,
			marketdata.KindLiquidation, marketdata.KindBook,
		}
	}
	return []marketdata.Kind{}
}

// cryptofeedField names a field of cryptofeed's records.
type cryptofeedField uint8

const (
	cfExchange cryptofeedField = iota
	cfSymbol
	cfSide
	cfAmount
	cfPrice
	cfID
	cfType
	cfTimestamp
	cfReceipt
	cfBid
	cfAsk
	cfBidPrice
	cfBidSize
	cfAskPrice
	cfAskSize
	cfStart
	cfStop
	cfInterval
	cfTrades
	cfOpen
	cfClose
	cfHigh
	cfLow
	cfVolume
	cfClosed
	cfBook
	cfDelta
	cfMarkPrice
	cfRate
	cfNextFunding
	cfPredictedRate
	cfOpenInterest
	cfQuantity
	cfStatus
	cfRemaining
	cfOrderID
	cfFee
	cfLiquidity
	cfCurrency
	cfBalance
	cfReserved
	cfAccount
	cfClientOrderID
	cfFieldCount
	cfUnknown = cfFieldCount
)

var cryptofeedFieldNames = [cfFieldCount]string{
	"exchange", "symbol", "side", "amount", "price", "id", "type", "timestamp", "receipt_timestamp", "bid", "ask",
	"bid_price", "bid_size", "ask_price", "ask_size", "start", "stop", "interval", "trades", "open", "close", "high", "low",
	"volume", "closed", "book", "delta", "mark_price", "rate", "next_funding_time", "predicted_rate", "open_interest",
	"quantity", "status", "remaining", "order_id", "fee", "liquidity", "currency", "balance", "reserved", "account",
	"client_order_id",
}

// cryptofeedFieldOf finds a field by its name. A switch is faster than a map.
func cryptofeedFieldOf(name string) cryptofeedField {
	switch name {
	case "exchange":
		return cfExchange
	case "symbol":
		return cfSymbol
	case "side":
		return cfSide
	case "amount":
		return cfAmount
	case "price":
		return cfPrice
	case "id":
		return cfID
	case "type":
		return cfType
	case "timestamp":
		return cfTimestamp
	case "receipt_timestamp":
		return cfReceipt
	case "bid":
		return cfBid
	case "ask":
		return cfAsk
	case "bid_price":
		return cfBidPrice
	case "bid_size":
		return cfBidSize
	case "ask_price":
		return cfAskPrice
	case "ask_size":
		return cfAskSize
	case "start":
		return cfStart
	case "stop":
		return cfStop
	case "interval":
		return cfInterval
	case "trades":
		return cfTrades
	case "open":
		return cfOpen
	case "close":
		return cfClose
	case "high":
		return cfHigh
	case "low":
		return cfLow
	case "volume":
		return cfVolume
	case "closed":
		return cfClosed
	}
	for f := cfBook; f < cfFieldCount; f++ {
		if cryptofeedFieldNames[f] == name {
			return f
		}
	}
	return cfUnknown
}

// cryptofeedSet is a set of fields, a bit for each.
type cryptofeedSet uint64

func (s cryptofeedSet) has(f cryptofeedField) bool { return s&(1<<f) != 0 }

// kind tells a record's kind by its fields, cryptofeedNone where they are those
// of none. Fills have all that trades have, and trades all that an index has: the
// kind with more fields comes first.
func (s cryptofeedSet) kind() cryptofeedKind {
	switch {
	case s.has(cfBalance) || s.has(cfReserved):
		return cryptofeedBalances
	case s.has(cfCurrency):
		return cryptofeedTransactions
	case s.has(cfRemaining):
		return cryptofeedOrderInfo
	case s.has(cfOrderID) || s.has(cfLiquidity) || s.has(cfFee) || s.has(cfAccount):
		return cryptofeedFills
	case s.has(cfBook) || s.has(cfDelta):
		return cryptofeedBook
	case s.has(cfBidPrice) || s.has(cfAskPrice):
		return cryptofeedL1Book
	case s.has(cfBid) || s.has(cfAsk):
		return cryptofeedTicker
	case s.has(cfStart) && s.has(cfInterval) && s.has(cfOpen) && s.has(cfClose):
		return cryptofeedCandles
	case s.has(cfRate) || s.has(cfNextFunding) || s.has(cfPredictedRate):
		return cryptofeedFunding
	case s.has(cfOpenInterest):
		return cryptofeedOpenInterest
	case s.has(cfQuantity) && s.has(cfPrice):
		return cryptofeedLiquidations
	case s.has(cfAmount) && s.has(cfPrice):
		return cryptofeedTrades
	case s.has(cfPrice) && !s.has(cfSide) && !s.has(cfID):
		return cryptofeedIndex
	}
	return cryptofeedNone
}

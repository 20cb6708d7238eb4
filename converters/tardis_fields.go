package converters

import (
	"github.com/qicore/tickconnect/marketdata"
)

// tardisType is the type of a message.
type tardisType uint8

const (
	tardisNone tardisType = iota
	tardisTrade
	tardisBookTicker
	tardisQuote
	tardisTradeBar
	tardisDerivativeTicker
	tardisBookChange
	tardisBookSnapshot
	tardisLiquidation
	tardisOptionSummary
	tardisDisconnect
	tardisError
	tardisTypes
	tardisStored = tardisOptionSummary // those before it become rows
)

// tardisForms has each type's name and the kinds of its rows.
var tardisForms = [tardisTypes]struct {
	name  string
	kinds []marketdata.Kind
}{
	tardisTrade:            {"trade", []marketdata.Kind{marketdata.KindTrade}},
	tardisBookTicker:       {"book_ticker", []marketdata.Kind{marketdata.KindLevel1}},
	tardisQuote:            {"quote", []marketdata.Kind{marketdata.KindLevel1}},
	tardisTradeBar:         {"trade_bar", []marketdata.Kind{marketdata.KindOHLCV}},
	tardisDerivativeTicker: {"derivative_ticker", []marketdata.Kind{marketdata.KindFunding, marketdata.KindOpenInterest}},
	tardisBookChange:       {"book_change", []marketdata.Kind{marketdata.KindBook}},
	tardisBookSnapshot:     {"book_snapshot", []marketdata.Kind{marketdata.KindBook}},
	tardisLiquidation:      {"liquidation", []marketdata.Kind{marketdata.KindLiquidation}},
	tardisOptionSummary:    {name: "option_summary"},
	tardisDisconnect:       {name: "disconnect"},
	tardisError:            {name: "error"},
}

// The fields of the messages.
const (
	tardisFieldType field = iota
	tardisFieldSymbol
	tardisFieldExchange
	tardisFieldTimestamp
	tardisFieldLocalTimestamp
	tardisFieldID
	tardisFieldPrice
	tardisFieldAmount
	tardisFieldSide
	tardisFieldAskAmount
	tardisFieldAskPrice
	tardisFieldBidPrice
	tardisFieldBidAmount
	tardisFieldName
	tardisFieldDepth
	tardisFieldInterval
	tardisFieldKind
	tardisFieldBids
	tardisFieldAsks
	tardisFieldIsSnapshot
	tardisFieldOpen
	tardisFieldHigh
	tardisFieldLow
	tardisFieldClose
	tardisFieldVolume
	tardisFieldTrades
	tardisFieldVWAP
	tardisFieldLastPrice
	tardisFieldOpenInterest
	tardisFieldFundingRate
	tardisFieldFundingTimestamp
	tardisFieldPredictedRate
	tardisFieldIndexPrice
	tardisFieldMarkPrice
)

// tardisFields has the fields' names, and those of the ones that no column takes.
var (
	tardisFields = []string{
		"type", "symbol", "exchange", "timestamp", "localTimestamp", "id", "price", "amount", "side", "askAmount", "askPrice",
		"bidPrice", "bidAmount", "name", "depth", "interval", "kind", "bids", "asks", "isSnapshot", "open", "high", "low", "close",
		"volume", "trades", "vwap", "lastPrice", "openInterest", "fundingRate", "fundingTimestamp", "predictedFundingRate",
		"indexPrice", "markPrice", "buyVolume", "sellVolume", "openTimestamp", "closeTimestamp", "grouping", "uid", "symbols",
	}
	tardisIndex = fieldIndex(tardisFields)
)

package marketdata

// field names a field of any of the kinds.
type field uint8

const (
	fieldNone field = iota
	fieldCoinID
	fieldSymbol
	fieldExchangeID
	fieldUSDPrice
	fieldMarketCap
	fieldVolume24h
	fieldTime
	fieldSource
	fieldAttribution
	fieldInterval
	fieldOpen
	fieldHigh
	fieldLow
	fieldClose
	fieldVolume
	fieldQuoteVolume
	fieldTrades
	fieldVWAP
	fieldClosed
	fieldBidPrice
	fieldBidSize
	fieldAskPrice
	fieldAskSize
	fieldSequence
	fieldTradeID
	fieldPrice
	fieldSize
	fieldSide
	fieldTotalMarketCap
	fieldTotalVolume
	fieldBTCDominance
	fieldETHDominance
	fieldActiveCryptocurrencies
	fieldMarkets
	fieldMarketCapChange24h
	fieldMetrics
	fieldRate
	fieldPredictedRate
	fieldNextFundingTime
	fieldMarkPrice
	fieldIndexPrice
	fieldOpenInterest
	fieldOpenInterestValue
	fieldLiquidationID
	fieldStatus
	fieldSnapshot
	fieldEpoch
	fieldBids
	fieldAsks
	fieldCount
)

// fieldNames are the names as they are written.
var fieldNames = [fieldCount]string{
	fieldCoinID:                 "coinId",
	fieldSymbol:                 "symbol",
	fieldExchangeID:             "exchangeId",
	fieldUSDPrice:               "usdPrice",
	fieldMarketCap:              "marketCap",
	fieldVolume24h:              "volume24h",
	fieldTime:                   "time",
	fieldSource:                 "source",
	fieldAttribution:            "attribution",
	fieldInterval:               "interval",
	fieldOpen:                   "open",
	fieldHigh:                   "high",
	fieldLow:                    "low",
	fieldClose:                  "close",
	fieldVolume:                 "volume",
	fieldQuoteVolume:            "quoteVolume",
	fieldTrades:                 "trades",
	fieldVWAP:                   "vwap",
	fieldClosed:                 "closed",
	fieldBidPrice:               "bidPrice",
	fieldBidSize:                "bidSize",
	fieldAskPrice:               "askPrice",
	fieldAskSize:                "askSize",
	fieldSequence:               "sequence",
	fieldTradeID:                "tradeId",
	fieldPrice:                  "price",
	fieldSize:                   "size",
	fieldSide:                   "side",
	fieldTotalMarketCap:         "totalMarketCap",
	fieldTotalVolume:            "totalVolume",
	fieldBTCDominance:           "btcDominance",
	fieldETHDominance:           "ethDominance",
	fieldActiveCryptocurrencies: "activeCryptocurrencies",
	fieldMarkets:                "markets",
	fieldMarketCapChange24h:     "marketCapChange24h",
	fieldMetrics:                "metrics",
	fieldRate:                   "rate",
	fieldPredictedRate:          "predictedRate",
	fieldNextFundingTime:        "nextFundingTime",
	fieldMarkPrice:              "markPrice",
	fieldIndexPrice:             "indexPrice",
	fieldOpenInterest:           "openInterest",
	fieldOpenInterestValue:      "openInterestValue",
	fieldLiquidationID:          "liquidationId",
	fieldStatus:                 "status",
	fieldSnapshot:               "snapshot",
	fieldEpoch:                  "epoch",
	fieldBids:                   "bids",
	fieldAsks:                   "asks",
}

// fieldNameMax is above the length of the longest name.
const fieldNameMax = 32

// fieldSet is a set of fields, a bit for each.
type fieldSet uint64

func fields(list ...field) fieldSet {
	var s fieldSet
	for _, f := range list {
		s |= 1 << f
	}
	return s
}

func (s fieldSet) has(f field) bool { return s&(1<<f) != 0 }

// The fields of each kind.
var (
	priceFields = fields(fieldCoinID, fieldSymbol, fieldExchangeID, fieldUSDPrice, fieldMarketCap, fieldVolume24h,
		fieldTime, fieldSource, fieldAttribution)
	ohlcvFields = fields(fieldExchangeID, fieldSymbol, fieldInterval, fieldTime, fieldOpen, fieldHigh, fieldLow,
		fieldClose, fieldVolume, fieldQuoteVolume, fieldTrades, fieldVWAP, fieldClosed, fieldSource)
	level1Fields = fields(fieldExchangeID, fieldSymbol, fieldTime, fieldBidPrice, fieldBidSize, fieldAskPrice,
		fieldAskSize, fieldSequence, fieldSource)
	tradeFields = fields(fieldExchangeID, fieldSymbol, fieldTradeID, fieldTime, fieldPrice, fieldSize, fieldSide,
		fieldSource)
	analyticsFields = fields(fieldTime, fieldExchangeID, fieldSymbol, fieldTotalMarketCap, fieldTotalVolume,
		fieldBTCDominance, fieldETHDominance, fieldActiveCryptocurrencies, fieldMarkets, fieldMarketCapChange24h,
		fieldMetrics, fieldSource, fieldAttribution)
	fundingFields = fields(fieldExchangeID, fieldSymbol, fieldTime, fieldRate, fieldPredictedRate, fieldNextFundingTime,
		fieldMarkPrice, fieldIndexPrice, fieldSource)
	openInterestFields = fields(fieldExchangeID, fieldSymbol, fieldTime, fieldOpenInterest, fieldOpenInterestValue, fieldSource)
	liquidationFields  = fields(fieldExchangeID, fieldSymbol, fieldLiquidationID, fieldTime, fieldPrice, fieldSize, fieldSide,
		fieldStatus, fieldSource)
	bookFields = fields(fieldExchangeID, fieldSymbol, fieldTime, fieldSnapshot, fieldEpoch, fieldSequence, fieldBids,
		fieldAsks, fieldSource)
)

// decimalFields are those that are decimals in the kinds that have them.
var decimalFields = fields(fieldUSDPrice, fieldMarketCap, fieldVolume24h, fieldOpen, fieldHigh, fieldLow, fieldClose, fieldVolume,
	fieldQuoteVolume, fieldVWAP, fieldBidPrice, fieldBidSize, fieldAskPrice, fieldAskSize, fieldPrice, fieldSize,
	fieldTotalMarketCap, fieldTotalVolume, fieldBTCDominance, fieldETHDominance, fieldActiveCryptocurrencies, fieldMarkets,
	fieldMarketCapChange24h, fieldRate, fieldPredictedRate, fieldMarkPrice, fieldIndexPrice, fieldOpenInterest,
	fieldOpenInterestValue)

// fieldOf finds a field by its name, whatever its ASCII case and underscores;
// fieldNone where there is none.
func fieldOf(name []byte) field {
	var buf [fieldNameMax]byte
	n := 0
	for _, c := range name {
		if c == '_' {
			continue
		}
		if n == len(buf) {
			return fieldNone
		}
		if c-'A' <= 'Z'-'A' {
			c |= 0x20
		}
		buf[n] = c
		n++
	}
	switch string(buf[:n]) {
	case "coinid":
		return fieldCoinID
	case "symbol":
		return fieldSymbol
	case "exchangeid":
		return fieldExchangeID
	case "usdprice":
		return fieldUSDPrice
	case "marketcap":
		return fieldMarketCap
	case "volume24h":
		return fieldVolume24h
	case "time":
		return fieldTime
	case "source":
		return fieldSource
	case "attribution":
		return fieldAttribution
	case "interval":
		return fieldInterval
	case "open":
		return fieldOpen
	case "high":
		return fieldHigh
	case "low":
		return fieldLow
	case "close":
		return fieldClose
	case "volume":
		return fieldVolume
	case "quotevolume":
		return fieldQuoteVolume
	case "trades":
		return fieldTrades
	case "vwap":
		return fieldVWAP
	case "closed":
		return fieldClosed
	case "bidprice":
		return fieldBidPrice
	case "bidsize":
		return fieldBidSize
	case "askprice":
		return fieldAskPrice
	case "asksize":
		return fieldAskSize
	case "sequence":
		return fieldSequence
	case "tradeid":
		return fieldTradeID
	case "price":
		return fieldPrice
	case "size":
		return fieldSize
	case "side":
		return fieldSide
	case "totalmarketcap":
		return fieldTotalMarketCap
	case "totalvolume":
		return fieldTotalVolume
	case "btcdominance":
		return fieldBTCDominance
	case "ethdominance":
		return fieldETHDominance
	case "activecryptocurrencies":
		return fieldActiveCryptocurrencies
	case "markets":
		return fieldMarkets
	case "marketcapchange24h":
		return fieldMarketCapChange24h
	case "metrics":
		return fieldMetrics
	case "rate":
		return fieldRate
	case "predictedrate":
		return fieldPredictedRate
	case "nextfundingtime":
		return fieldNextFundingTime
	case "markprice":
		return fieldMarkPrice
	case "indexprice":
		return fieldIndexPrice
	case "openinterest":
		return fieldOpenInterest
	case "openinterestvalue":
		return fieldOpenInterestValue
	case "liquidationid":
		return fieldLiquidationID
	case "status":
		return fieldStatus
	case "snapshot":
		return fieldSnapshot
	case "epoch":
		return fieldEpoch
	case "bids":
		return fieldBids
	case "asks":
		return fieldAsks
	}
	return fieldNone
}

package marketdata

import "time"

// Optional is a value that may be absent. The zero value is absent.
type Optional[T any] struct {
	Value T
	Set   bool
}

// Some gives a value that is there.
func Some[T any](v T) Optional[T] { return Optional[T]{Value: v, Set: true} }

// Price is what one unit of a coin was worth in US dollars on an exchange.
type Price struct {
	CoinID, Symbol, ExchangeID string
	USDPrice                   Decimal // above 0
	MarketCap, Volume24h       Decimal // in US dollars; optional
	Time                       time.Time
	Source, Attribution        string // required in a record, may be ""
	Flags                      Flags
}

// OHLCV is a bar of trades. Its Time is where the bar starts.
type OHLCV struct {
	ExchangeID, Symbol, Interval string // the interval as the sender names it: "1m"
	Time                         time.Time
	Open, High, Low, Close       Decimal // above 0
	Volume                       Decimal
	QuoteVolume                  Decimal         // optional
	Trades                       Optional[int64] // number of trades
	VWAP                         Decimal         // optional; 0 is what venues send for a bar without trades
	Closed                       Optional[bool]  // as the sender says; venues' flags lie
	Source                       string          // optional
	Flags                        Flags
}

// Level1 is the best bid and ask. A side without an order is absent; a size may
// be 0.
type Level1 struct {
	ExchangeID, Symbol string
	Time               time.Time
	BidPrice, BidSize  Decimal
	AskPrice, AskSize  Decimal
	Sequence           Decimal // an integer of any size, also above 2^63; optional
	Source             string  // optional
	Flags              Flags
}

// Trade is one execution.
type Trade struct {
	ExchangeID, Symbol string
	TradeID            string // optional: digits, a UUID, anything; a JSON integer becomes its digits
	Time               time.Time
	Price              Decimal // above 0
	Size               Decimal
	Side               string // the taker's, as sent; optional
	Source             string // optional
	Flags              Flags
}

// Analytics are figures of a market, an exchange or a symbol. All but the time
// is optional.
type Analytics struct {
	Time                        time.Time
	ExchangeID, Symbol          string
	TotalMarketCap, TotalVolume Decimal
	BTCDominance, ETHDominance  Decimal
	ActiveCryptocurrencies      Decimal
	Markets                     Decimal
	MarketCapChange24h          Decimal // may be below 0
	// Metrics is a JSON object of further numbers with their exact digits, "" for
	// none. Its members are those of the record's metrics object and the record's
	// other numeric fields, names as sent. Where a name occurs twice the last one
	// counts, as in PostgreSQL's jsonb.
	Metrics             string
	Source, Attribution string
	Flags               Flags
}

package marketdata

import "time"

// Optional is a value that may be absent. The zero value is absent.
type Optional[T any] struct {
	Value T
	Set   bool
}

// Some gives a value that is there.
func Some[T any](v T) Optional[T] { return Optional[T]{Value: v, Set: true} }

// Record is a record of any kind.
type Record interface {
	Price | OHLCV | Level1 | Trade | Analytics | Funding | OpenInterest | Liquidation | Book
}

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

// Funding is the funding rate of a perpetual contract at a time, and the prices
// that it follows from. At least one of its four numbers is there.
type Funding struct {
	ExchangeID, Symbol    string
	Time                  time.Time
	Rate                  Decimal   // of the interval that runs, or that was settled, as the venue says; may be below 0; optional
	PredictedRate         Decimal   // of the next interval; optional, may be below 0
	NextFundingTime       time.Time // optional
	MarkPrice, IndexPrice Decimal   // above 0; optional
	Source                string    // optional
	Flags                 Flags
}

// OpenInterest is how much of a contract is open at a time.
type OpenInterest struct {
	ExchangeID, Symbol string
	Time               time.Time
	OpenInterest       Decimal // contracts or units of the base, as the venue counts
	OpenInterestValue  Decimal // in the quote currency; optional
	Source             string  // optional
	Flags              Flags
}

// Liquidation is a position that the venue closed.
type Liquidation struct {
	ExchangeID, Symbol string
	LiquidationID      string // optional, as Trade.TradeID
	Time               time.Time
	Price              Decimal // above 0; optional
	Size               Decimal
	Side               string // of the order that closed it: buy closed a short; optional
	Status             string // as the venue says: filled, unfilled; optional
	Source             string // optional
	Flags              Flags
}

// Book is a snapshot of a level-2 order book, or what changed in it.
type Book struct {
	ExchangeID, Symbol string
	Time               time.Time
	Snapshot           bool
	// Epoch says which snapshot a change belongs to, where the producer numbers them:
	// an integer of any size; optional.
	Epoch    Decimal
	Sequence Decimal // an integer of any size; optional
	// Bids and Asks are levels in the order of the sender. A side that is nil is
	// absent; at least one is there. In a change a size of 0 takes a level away.
	Bids, Asks []Level
	Source     string // optional
	Flags      Flags
}

// Level is what is bid or asked at one price.
type Level struct{ Price, Size Decimal }

package marketdata

import (
	"fmt"
	"time"
)

// Identity is what a record's topic and key are made of, and its time. What a
// kind does not have is "".
type Identity struct {
	Exchange, Symbol, Source string
	Time                     time.Time
}

// Identify decodes a record as the method of its kind does, with the same
// errors. After an error the Identity holds what could be read.
func (d *Decoder) Identify(k Kind, value []byte, now time.Time) (Identity, error) {
	switch k {
	case KindPrice:
		var v Price
		err := d.Price(value, now, &v)
		return Identity{v.ExchangeID, v.Symbol, v.Source, v.Time}, err
	case KindOHLCV:
		var v OHLCV
		err := d.OHLCV(value, now, &v)
		return Identity{v.ExchangeID, v.Symbol, v.Source, v.Time}, err
	case KindLevel1:
		var v Level1
		err := d.Level1(value, now, &v)
		return Identity{v.ExchangeID, v.Symbol, v.Source, v.Time}, err
	case KindTrade:
		var v Trade
		err := d.Trade(value, now, &v)
		return Identity{v.ExchangeID, v.Symbol, v.Source, v.Time}, err
	case KindAnalytics:
		var v Analytics
		err := d.Analytics(value, now, &v)
		return Identity{v.ExchangeID, v.Symbol, v.Source, v.Time}, err
	case KindFunding:
		var v Funding
		err := d.Funding(value, now, &v)
		return Identity{v.ExchangeID, v.Symbol, v.Source, v.Time}, err
	case KindOpenInterest:
		var v OpenInterest
		err := d.OpenInterest(value, now, &v)
		return Identity{v.ExchangeID, v.Symbol, v.Source, v.Time}, err
	case KindLiquidation:
		var v Liquidation
		err := d.Liquidation(value, now, &v)
		return Identity{v.ExchangeID, v.Symbol, v.Source, v.Time}, err
	case KindBook:
		var v Book
		err := d.Book(value, now, &v)
		return Identity{v.ExchangeID, v.Symbol, v.Source, v.Time}, err
	}
	return Identity{}, fmt.Errorf("%d is no kind of market data", k)
}

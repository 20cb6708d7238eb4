package marketdata

import (
	"fmt"
	"time"
)

// Row is a record of any kind: a pointer to its type.
type Row interface {
	// Kind gives the record's kind.
	Kind() Kind
	// Identity says what the record is of.
	Identity() Identity
	// Check says which rule the record breaks that decoding would refuse it for, or
	// nil. now bounds the time.
	Check(now time.Time) error
	// Mark sets the flags, as decoding does, of a record that was not decoded.
	Mark()
	// clear lets go of what the record refers to.
	clear()
}

// Identity is what a record is of: its exchange, symbol and source as it says, and
// its time.
type Identity struct {
	Exchange, Symbol, Source string
	Time                     time.Time
}

// decodedRows has room for a record of each kind.
type decodedRows struct {
	price        Price
	ohlcv        OHLCV
	level1       Level1
	trade        Trade
	analytics    Analytics
	funding      Funding
	openInterest OpenInterest
	liquidation  Liquidation
	book         Book
}

// Decode decodes a record of a kind as that kind's method does. The row is the
// Decoder's own and holds until the next call. After an error it means nothing; it is
// nil where the kind is none.
func (d *Decoder) Decode(k Kind, value []byte, now time.Time) (Row, error) {
	if d.rows == nil {
		d.rows = new(decodedRows)
	}
	switch rows := d.rows; k {
	case KindPrice:
		return &rows.price, d.Price(value, now, &rows.price)
	case KindOHLCV:
		return &rows.ohlcv, d.OHLCV(value, now, &rows.ohlcv)
	case KindLevel1:
		return &rows.level1, d.Level1(value, now, &rows.level1)
	case KindTrade:
		return &rows.trade, d.Trade(value, now, &rows.trade)
	case KindAnalytics:
		return &rows.analytics, d.Analytics(value, now, &rows.analytics)
	case KindFunding:
		return &rows.funding, d.Funding(value, now, &rows.funding)
	case KindOpenInterest:
		return &rows.openInterest, d.OpenInterest(value, now, &rows.openInterest)
	case KindLiquidation:
		return &rows.liquidation, d.Liquidation(value, now, &rows.liquidation)
	case KindBook:
		return &rows.book, d.Book(value, now, &rows.book)
	}
	return nil, fmt.Errorf("%d is no kind of market data", k)
}

// DecodeIndexed is Decode for a value of which x says where its members are, which is
// believed.
func (d *Decoder) DecodeIndexed(k Kind, value []byte, x *Index, now time.Time) (Row, error) {
	d.index = x
	defer func() { d.index = nil }()
	return d.Decode(k, value, now)
}

// Identify decodes a record as the method of its kind does, with the same errors, and
// gives what it is of. After an error it gives what of that could be read.
func (d *Decoder) Identify(k Kind, value []byte, now time.Time) (Identity, error) {
	r, err := d.Decode(k, value, now)
	if r == nil {
		return Identity{}, err
	}
	defer d.Release(r) // what cannot be read at all leaves the row as it was
	return r.Identity(), err
}

// Release lets go of the record that Decode gave last, so that a Decoder that waits
// for its next record keeps none alive.
func (d *Decoder) Release(r Row) {
	r.clear()
	d.data = nil
}

// The rows' methods, which differ in the type alone.

// Kind implements [Row].
func (v *Price) Kind() Kind { return KindPrice }

// Kind implements [Row].
func (v *OHLCV) Kind() Kind { return KindOHLCV }

// Kind implements [Row].
func (v *Level1) Kind() Kind { return KindLevel1 }

// Kind implements [Row].
func (v *Trade) Kind() Kind { return KindTrade }

// Kind implements [Row].
func (v *Analytics) Kind() Kind { return KindAnalytics }

// Kind implements [Row].
func (v *Funding) Kind() Kind { return KindFunding }

// Kind implements [Row].
func (v *OpenInterest) Kind() Kind { return KindOpenInterest }

// Kind implements [Row].
func (v *Liquidation) Kind() Kind { return KindLiquidation }

// Kind implements [Row].
func (v *Book) Kind() Kind { return KindBook }

// Identity implements [Row].
func (v *Price) Identity() Identity {
	return Identity{v.ExchangeID, v.Symbol, v.Source, v.Time}
}

// Identity implements [Row].
func (v *OHLCV) Identity() Identity {
	return Identity{v.ExchangeID, v.Symbol, v.Source, v.Time}
}

// Identity implements [Row].
func (v *Level1) Identity() Identity {
	return Identity{v.ExchangeID, v.Symbol, v.Source, v.Time}
}

// Identity implements [Row].
func (v *Trade) Identity() Identity {
	return Identity{v.ExchangeID, v.Symbol, v.Source, v.Time}
}

// Identity implements [Row].
func (v *Analytics) Identity() Identity {
	return Identity{v.ExchangeID, v.Symbol, v.Source, v.Time}
}

// Identity implements [Row].
func (v *Funding) Identity() Identity {
	return Identity{v.ExchangeID, v.Symbol, v.Source, v.Time}
}

// Identity implements [Row].
func (v *OpenInterest) Identity() Identity {
	return Identity{v.ExchangeID, v.Symbol, v.Source, v.Time}
}

// Identity implements [Row].
func (v *Liquidation) Identity() Identity {
	return Identity{v.ExchangeID, v.Symbol, v.Source, v.Time}
}

// Identity implements [Row].
func (v *Book) Identity() Identity {
	return Identity{v.ExchangeID, v.Symbol, v.Source, v.Time}
}

// Mark implements [Row].
func (v *Price) Mark() {}

// Mark implements [Row].
func (v *Trade) Mark() {}

// Mark implements [Row].
func (v *Analytics) Mark() {}

// Mark implements [Row].
func (v *Funding) Mark() {}

// Mark implements [Row].
func (v *OpenInterest) Mark() {}

// Mark implements [Row].
func (v *Liquidation) Mark() {}

func (v *Price) clear() { *v = Price{} }

func (v *OHLCV) clear() { *v = OHLCV{} }

func (v *Level1) clear() { *v = Level1{} }

func (v *Trade) clear() { *v = Trade{} }

func (v *Analytics) clear() { *v = Analytics{} }

func (v *Funding) clear() { *v = Funding{} }

func (v *OpenInterest) clear() { *v = OpenInterest{} }

func (v *Liquidation) clear() { *v = Liquidation{} }

func (v *Book) clear() { *v = Book{} }

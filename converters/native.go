package converters

import (
	"fmt"
	"time"

	"github.com/qicore/tickconnect/marketdata"
)

// nativeRecord reads a record in this product's own form.
type nativeRecord struct {
	marketdata.Decoder
	price        marketdata.Price
	ohlcv        marketdata.OHLCV
	level1       marketdata.Level1
	trade        marketdata.Trade
	analytics    marketdata.Analytics
	funding      marketdata.Funding
	openInterest marketdata.OpenInterest
	liquidation  marketdata.Liquidation
	book         marketdata.Book
}

// convert decodes a record and gives its row.
func (n *nativeRecord) convert(kind marketdata.Kind, value []byte, now time.Time, rows Rows) error {
	switch kind {
	case marketdata.KindPrice:
		return give(n.Price(value, now, &n.price), rows.Price, &n.price)
	case marketdata.KindOHLCV:
		return give(n.OHLCV(value, now, &n.ohlcv), rows.OHLCV, &n.ohlcv)
	case marketdata.KindLevel1:
		return give(n.Level1(value, now, &n.level1), rows.Level1, &n.level1)
	case marketdata.KindTrade:
		return give(n.Trade(value, now, &n.trade), rows.Trade, &n.trade)
	case marketdata.KindAnalytics:
		return give(n.Analytics(value, now, &n.analytics), rows.Analytics, &n.analytics)
	case marketdata.KindFunding:
		return give(n.Funding(value, now, &n.funding), rows.Funding, &n.funding)
	case marketdata.KindOpenInterest:
		return give(n.OpenInterest(value, now, &n.openInterest), rows.OpenInterest, &n.openInterest)
	case marketdata.KindLiquidation:
		return give(n.Liquidation(value, now, &n.liquidation), rows.Liquidation, &n.liquidation)
	case marketdata.KindBook:
		return give(n.Book(value, now, &n.book), rows.Book, &n.book)
	}
	return fmt.Errorf("%s is no kind of market data", kind)
}

// give gives a row that could be decoded.
func give[T marketdata.Record](err error, row func(*T) error, v *T) error {
	if err != nil {
		return err
	}
	return row(v)
}

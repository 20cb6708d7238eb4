package marketdata

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

var testNow = time.Date(2026, 2, 3, 12, 0, 0, 0, time.UTC)

// goodRecords has one full record of each kind.
var goodRecords = map[Kind]string{
	KindPrice: `{"coinId":"bitcoin","symbol":"BTC","exchangeId":"binance","usdPrice":"67123.4500","marketCap":1322334455667.12,` +
		`"volume24h":"0","time":"2026-02-03T04:05:06.789012Z","source":"feed","attribution":""}`,
	KindOHLCV: `{"exchangeId":"kraken","symbol":"XBT/USD","interval":"1m","time":1770091200000,"open":"1.10","high":1.30,"low":"1.00",` +
		`"close":1.2,"volume":"1E-7","quoteVolume":"3.50","trades":7,"vwap":"1.15","closed":true,"source":"ws"}`,
	KindLevel1: `{"exchangeId":"okx","symbol":"BTC-USDT","time":1770091200000000,"bidPrice":"1.10","bidSize":"0","askPrice":"1.20",` +
		`"askSize":"3","sequence":18446744073709551616,"source":"bbo"}`,
	KindTrade: `{"exchangeId":"bitmex","symbol":"XBTUSD","tradeId":"f3a1","time":1770091200000000123,"price":"1.10","size":"3",` +
		`"side":"sell","source":"ws"}`,
	KindAnalytics: `{"time":1770091200,"exchangeId":"global","symbol":"","totalMarketCap":"2.5e12","totalVolume":"9","btcDominance":"51.20",` +
		`"ethDominance":17,"activeCryptocurrencies":9000,"markets":800,"marketCapChange24h":"-1.50","metrics":{"fearGreed":55.50},` +
		`"altSeason":"0.10","source":"gecko","attribution":"x"}`,
	KindFunding: `{"exchangeId":"bybit","symbol":"BTCUSDT","time":1770091200,"rate":"-0.000100","predictedRate":1E-5,` +
		`"nextFundingTime":"2026-02-03T08:00:00Z","markPrice":"67000.10","indexPrice":67001,"source":"ws"}`,
	KindOpenInterest: `{"exchangeId":"okx","symbol":"BTC-USDT-SWAP","time":1770091200,"openInterest":"2500000.10","openInterestValue":"0","source":"ws"}`,
	KindLiquidation: `{"exchangeId":"binance","symbol":"BTCUSDT","liquidationId":77,"time":1770091200,"price":"66000.10","size":"0.500",` +
		`"side":"sell","status":"filled","source":"ws"}`,
	KindBook: `{"exchangeId":"kraken","symbol":"XBT/USD","time":1770091200,"snapshot":true,"epoch":18446744073709551616,"sequence":9,` +
		`"bids":[["1.10","2.00"],[1.09,0]],"asks":[["1.20","1E-7"]],"source":"ws"}`,
}

// anyRecord holds a record of whichever kind was decoded.
type anyRecord struct {
	kind      Kind
	price     Price
	ohlcv     OHLCV
	level1    Level1
	trade     Trade
	analytics Analytics

	funding      Funding
	openInterest OpenInterest
	liquidation  Liquidation
	book         Book
}

func (r *anyRecord) decode(d *Decoder, k Kind, value []byte) error {
	r.kind = k
	switch k {
	case KindPrice:
		return d.Price(value, testNow, &r.price)
	case KindOHLCV:
		return d.OHLCV(value, testNow, &r.ohlcv)
	case KindLevel1:
		return d.Level1(value, testNow, &r.level1)
	case KindTrade:
		return d.Trade(value, testNow, &r.trade)
	case KindAnalytics:
		return d.Analytics(value, testNow, &r.analytics)
	case KindFunding:
		return d.Funding(value, testNow, &r.funding)
	case KindOpenInterest:
		return d.OpenInterest(value, testNow, &r.openInterest)
	case KindLiquidation:
		return d.Liquidation(value, testNow, &r.liquidation)
	case KindBook:
		return d.Book(value, testNow, &r.book)
	}
	return errors.New("no such kind")
}

func (r *anyRecord) appendJSON(dst []byte) []byte {
	switch r.kind {
	case KindPrice:
		return AppendJSON(dst, &r.price)
	case KindOHLCV:
		return AppendJSON(dst, &r.ohlcv)
	case KindLevel1:
		return AppendJSON(dst, &r.level1)
	case KindTrade:
		return AppendJSON(dst, &r.trade)
	case KindFunding:
		return AppendJSON(dst, &r.funding)
	case KindOpenInterest:
		return AppendJSON(dst, &r.openInterest)
	case KindLiquidation:
		return AppendJSON(dst, &r.liquidation)
	case KindBook:
		return AppendJSON(dst, &r.book)
	}
	return AppendJSON(dst, &r.analytics)
}

func (r *anyRecord) check() error {
	switch r.kind {
	case KindPrice:
		return r.price.Check(testNow)
	case KindOHLCV:
		return r.ohlcv.Check(testNow)
	case KindLevel1:
		return r.level1.Check(testNow)
	case KindTrade:
		return r.trade.Check(testNow)
	case KindFunding:
		return r.funding.Check(testNow)
	case KindOpenInterest:
		return r.openInterest.Check(testNow)
	case KindLiquidation:
		return r.liquidation.Check(testNow)
	case KindBook:
		return r.book.Check(testNow)
	}
	return r.analytics.Check(testNow)
}

// values gives the record's fields by their names: texts and numbers as they are
// held, times in microseconds.
func (r *anyRecord) values() map[string]any {
	switch v := r; r.kind {
	case KindPrice:
		p := &v.price
		return map[string]any{
			"coinid": p.CoinID, "symbol": p.Symbol, "exchangeid": p.ExchangeID, "usdprice": p.USDPrice,
			"marketcap": p.MarketCap, "volume24h": p.Volume24h, "time": p.Time, "source": p.Source,
			"attribution": p.Attribution,
		}
	case KindOHLCV:
		o := &v.ohlcv
		return map[string]any{
			"exchangeid": o.ExchangeID, "symbol": o.Symbol, "interval": o.Interval, "time": o.Time, "open": o.Open,
			"high": o.High, "low": o.Low, "close": o.Close, "volume": o.Volume, "quotevolume": o.QuoteVolume,
			"trades": o.Trades, "vwap": o.VWAP, "closed": o.Closed, "source": o.Source,
		}
	case KindLevel1:
		l := &v.level1
		return map[string]any{
			"exchangeid": l.ExchangeID, "symbol": l.Symbol, "time": l.Time, "bidprice": l.BidPrice,
			"bidsize": l.BidSize, "askprice": l.AskPrice, "asksize": l.AskSize, "sequence": l.Sequence,
			"source": l.Source,
		}
	case KindTrade:
		t := &v.trade
		return map[string]any{
			"exchangeid": t.ExchangeID, "symbol": t.Symbol, "tradeid": t.TradeID, "time": t.Time, "price": t.Price,
			"size": t.Size, "side": t.Side, "source": t.Source,
		}
	}
	switch r.kind {
	case KindFunding:
		f := &r.funding
		return map[string]any{
			"exchangeid": f.ExchangeID, "symbol": f.Symbol, "time": f.Time, "rate": f.Rate, "predictedrate": f.PredictedRate,
			"nextfundingtime": f.NextFundingTime, "markprice": f.MarkPrice, "indexprice": f.IndexPrice, "source": f.Source,
		}
	case KindOpenInterest:
		o := &r.openInterest
		return map[string]any{
			"exchangeid": o.ExchangeID, "symbol": o.Symbol, "time": o.Time, "openinterest": o.OpenInterest,
			"openinterestvalue": o.OpenInterestValue, "source": o.Source,
		}
	case KindLiquidation:
		l := &r.liquidation
		return map[string]any{
			"exchangeid": l.ExchangeID, "symbol": l.Symbol, "liquidationid": l.LiquidationID, "time": l.Time, "price": l.Price,
			"size": l.Size, "side": l.Side, "status": l.Status, "source": l.Source,
		}
	case KindBook:
		b := &r.book
		return map[string]any{
			"exchangeid": b.ExchangeID, "symbol": b.Symbol, "time": b.Time, "snapshot": Some(b.Snapshot), "epoch": b.Epoch,
			"sequence": b.Sequence, "bids": textOf(b.Bids), "asks": textOf(b.Asks), "source": b.Source,
		}
	}
	a := &r.analytics
	return map[string]any{
		"time": a.Time, "exchangeid": a.ExchangeID, "symbol": a.Symbol, "totalmarketcap": a.TotalMarketCap,
		"totalvolume": a.TotalVolume, "btcdominance": a.BTCDominance, "ethdominance": a.ETHDominance,
		"activecryptocurrencies": a.ActiveCryptocurrencies, "markets": a.Markets,
		"marketcapchange24h": a.MarketCapChange24h, "source": a.Source, "attribution": a.Attribution,
	}
}

// levelsText is levels in a form that can be compared.
type levelsText string

func textOf(levels []Level) levelsText {
	if levels == nil {
		return "none"
	}
	return levelsText(fmt.Sprint(levels))
}

func dec(t testing.TB, s string) Decimal {
	t.Helper()
	d, err := ParseDecimal(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// wantReason fails unless err is an *Error with that reason and field.
func wantReason(t *testing.T, err error, reason, field string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an *Error with reason %s", err, reason)
	}
	if e.Reason != reason || e.Field != field {
		t.Fatalf("got reason %s, field %q (%s), want %s, %q", e.Reason, e.Field, e.Message, reason, field)
	}
	if e.Message == "" {
		t.Fatal("the error has no message")
	}
}

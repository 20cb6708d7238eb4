package marketdata

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// AppendJSON appends the record as JSON: decimals as strings, times as RFC 3339
// with the precision that they have, absent fields left out. A record that Check
// finds good decodes to the same record.
func AppendJSON[T Price | OHLCV | Level1 | Trade | Analytics](dst []byte, v *T) []byte {
	o := objectWriter{append(dst, '{')}
	switch v := any(v).(type) {
	case *Price:
		v.encode(&o)
	case *OHLCV:
		v.encode(&o)
	case *Level1:
		v.encode(&o)
	case *Trade:
		v.encode(&o)
	case *Analytics:
		v.encode(&o)
	}
	return o.end()
}

// MarshalJSON gives what AppendJSON does.
func (v Price) MarshalJSON() ([]byte, error) { return AppendJSON(nil, &v), nil }

// MarshalJSON gives what AppendJSON does.
func (v OHLCV) MarshalJSON() ([]byte, error) { return AppendJSON(nil, &v), nil }

// MarshalJSON gives what AppendJSON does.
func (v Level1) MarshalJSON() ([]byte, error) { return AppendJSON(nil, &v), nil }

// MarshalJSON gives what AppendJSON does.
func (v Trade) MarshalJSON() ([]byte, error) { return AppendJSON(nil, &v), nil }

// MarshalJSON gives what AppendJSON does.
func (v Analytics) MarshalJSON() ([]byte, error) { return AppendJSON(nil, &v), nil }

func (v *Price) encode(o *objectWriter) {
	o.text(fieldCoinID, v.CoinID)
	o.text(fieldSymbol, v.Symbol)
	o.text(fieldExchangeID, v.ExchangeID)
	o.decimal(fieldUSDPrice, v.USDPrice)
	o.decimal(fieldMarketCap, v.MarketCap)
	o.decimal(fieldVolume24h, v.Volume24h)
	o.time(v.Time)
	o.presentText(fieldSource, v.Source)
	o.presentText(fieldAttribution, v.Attribution)
}

func (v *OHLCV) encode(o *objectWriter) {
	o.text(fieldExchangeID, v.ExchangeID)
	o.text(fieldSymbol, v.Symbol)
	o.text(fieldInterval, v.Interval)
	o.time(v.Time)
	o.decimal(fieldOpen, v.Open)
	o.decimal(fieldHigh, v.High)
	o.decimal(fieldLow, v.Low)
	o.decimal(fieldClose, v.Close)
	o.decimal(fieldVolume, v.Volume)
	o.decimal(fieldQuoteVolume, v.QuoteVolume)
	if v.Trades.Set {
		o.name(fieldTrades)
		o.b = append(strconv.AppendInt(o.b, v.Trades.Value, 10), ',')
	}
	o.decimal(fieldVWAP, v.VWAP)
	if v.Closed.Set {
		o.name(fieldClosed)
		o.b = append(strconv.AppendBool(o.b, v.Closed.Value), ',')
	}
	o.text(fieldSource, v.Source)
}

func (v *Level1) encode(o *objectWriter) {
	o.text(fieldExchangeID, v.ExchangeID)
	o.text(fieldSymbol, v.Symbol)
	o.time(v.Time)
	o.decimal(fieldBidPrice, v.BidPrice)
	o.decimal(fieldBidSize, v.BidSize)
	o.decimal(fieldAskPrice, v.AskPrice)
	o.decimal(fieldAskSize, v.AskSize)
	o.decimal(fieldSequence, v.Sequence)
	o.text(fieldSource, v.Source)
}

func (v *Trade) encode(o *objectWriter) {
	o.text(fieldExchangeID, v.ExchangeID)
	o.text(fieldSymbol, v.Symbol)
	o.text(fieldTradeID, v.TradeID)
	o.time(v.Time)
	o.decimal(fieldPrice, v.Price)
	o.decimal(fieldSize, v.Size)
	o.text(fieldSide, v.Side)
	o.text(fieldSource, v.Source)
}

func (v *Analytics) encode(o *objectWriter) {
	o.time(v.Time)
	o.text(fieldExchangeID, v.ExchangeID)
	o.text(fieldSymbol, v.Symbol)
	o.decimal(fieldTotalMarketCap, v.TotalMarketCap)
	o.decimal(fieldTotalVolume, v.TotalVolume)
	o.decimal(fieldBTCDominance, v.BTCDominance)
	o.decimal(fieldETHDominance, v.ETHDominance)
	o.decimal(fieldActiveCryptocurrencies, v.ActiveCryptocurrencies)
	o.decimal(fieldMarkets, v.Markets)
	o.decimal(fieldMarketCapChange24h, v.MarketCapChange24h)
	if v.Metrics != "" {
		o.name(fieldMetrics)
		o.b = append(append(o.b, v.Metrics...), ',')
	}
	o.text(fieldSource, v.Source)
	o.text(fieldAttribution, v.Attribution)
}

// objectWriter appends the fields of an object, each with a comma after it.
type objectWriter struct{ b []byte }

// end closes the object, over its last comma.
func (o *objectWriter) end() []byte {
	if o.b[len(o.b)-1] == ',' {
		o.b = o.b[:len(o.b)-1]
	}
	return append(o.b, '}')
}

func (o *objectWriter) name(f field) {
	o.b = append(o.b, '"')
	o.b = append(o.b, fieldNames[f]...)
	o.b = append(o.b, '"', ':')
}

func (o *objectWriter) text(f field, s string) {
	if s != "" {
		o.presentText(f, s)
	}
}

func (o *objectWriter) presentText(f field, s string) {
	o.name(f)
	o.b = append(appendString(o.b, s), ',')
}

func (o *objectWriter) decimal(f field, d Decimal) {
	if d.Present() {
		o.name(f)
		o.b = append(o.b, '"')
		o.b = append(d.Append(o.b), '"', ',')
	}
}

func (o *objectWriter) time(t time.Time) {
	if !t.IsZero() {
		o.name(fieldTime)
		o.b = append(o.b, '"')
		o.b = append(t.UTC().AppendFormat(o.b, time.RFC3339Nano), '"', ',')
	}
}

// appendString appends s as a JSON string. What is not UTF-8 in it becomes
// U+FFFD, as encoding/json has it: Check refuses it before.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
			i++
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			i++
		case c < utf8.RuneSelf:
			dst = append(dst, c)
			i++
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			dst = utf8.AppendRune(dst, r)
			i += n
		}
	}
	return append(dst, '"')
}

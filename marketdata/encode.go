package marketdata

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// AppendJSON appends the record as JSON: decimals as strings, times as RFC 3339
// with the precision that they have, absent fields left out. A record that Check
// finds good decodes to the same record.
func AppendJSON[T Record](dst []byte, v *T) []byte { return appendJSON(dst, v) }

// AppendRow is AppendJSON for a record of any kind.
func AppendRow(dst []byte, v Row) []byte { return appendJSON(dst, v) }

func appendJSON(dst []byte, v any) []byte {
	dst = append(dst, '{')
	switch v := v.(type) {
	case *Price:
		dst = v.appendFields(dst)
	case *OHLCV:
		dst = v.appendFields(dst)
	case *Level1:
		dst = v.appendFields(dst)
	case *Trade:
		dst = v.appendFields(dst)
	case *Analytics:
		dst = v.appendFields(dst)
	case *Funding:
		dst = v.appendFields(dst)
	case *OpenInterest:
		dst = v.appendFields(dst)
	case *Liquidation:
		dst = v.appendFields(dst)
	case *Book:
		dst = v.appendFields(dst)
	}
	// The last comma makes room for the brace.
	if dst[len(dst)-1] == ',' {
		dst = dst[:len(dst)-1]
	}
	return append(dst, '}')
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

// MarshalJSON gives what AppendJSON does.
func (v Funding) MarshalJSON() ([]byte, error) { return AppendJSON(nil, &v), nil }

// MarshalJSON gives what AppendJSON does.
func (v OpenInterest) MarshalJSON() ([]byte, error) { return AppendJSON(nil, &v), nil }

// MarshalJSON gives what AppendJSON does.
func (v Liquidation) MarshalJSON() ([]byte, error) { return AppendJSON(nil, &v), nil }

// MarshalJSON gives what AppendJSON does.
func (v Book) MarshalJSON() ([]byte, error) { return AppendJSON(nil, &v), nil }

func (v *Price) appendFields(b []byte) []byte {
	b = appendText(b, fieldCoinID, v.CoinID)
	b = appendText(b, fieldSymbol, v.Symbol)
	b = appendText(b, fieldExchangeID, v.ExchangeID)
	b = appendDecimal(b, fieldUSDPrice, v.USDPrice)
	b = appendDecimal(b, fieldMarketCap, v.MarketCap)
	b = appendDecimal(b, fieldVolume24h, v.Volume24h)
	b = appendTime(b, v.Time)
	b = appendPresentText(b, fieldSource, v.Source)
	b = appendPresentText(b, fieldAttribution, v.Attribution)
	return b
}

func (v *OHLCV) appendFields(b []byte) []byte {
	b = appendText(b, fieldExchangeID, v.ExchangeID)
	b = appendText(b, fieldSymbol, v.Symbol)
	b = appendText(b, fieldInterval, v.Interval)
	b = appendTime(b, v.Time)
	b = appendDecimal(b, fieldOpen, v.Open)
	b = appendDecimal(b, fieldHigh, v.High)
	b = appendDecimal(b, fieldLow, v.Low)
	b = appendDecimal(b, fieldClose, v.Close)
	b = appendDecimal(b, fieldVolume, v.Volume)
	b = appendDecimal(b, fieldQuoteVolume, v.QuoteVolume)
	if v.Trades.Set {
		b = append(strconv.AppendInt(appendName(b, fieldTrades), v.Trades.Value, 10), ',')
	}
	b = appendDecimal(b, fieldVWAP, v.VWAP)
	if v.Closed.Set {
		b = append(strconv.AppendBool(appendName(b, fieldClosed), v.Closed.Value), ',')
	}
	b = appendText(b, fieldSource, v.Source)
	return b
}

func (v *Level1) appendFields(b []byte) []byte {
	b = appendText(b, fieldExchangeID, v.ExchangeID)
	b = appendText(b, fieldSymbol, v.Symbol)
	b = appendTime(b, v.Time)
	b = appendDecimal(b, fieldBidPrice, v.BidPrice)
	b = appendDecimal(b, fieldBidSize, v.BidSize)
	b = appendDecimal(b, fieldAskPrice, v.AskPrice)
	b = appendDecimal(b, fieldAskSize, v.AskSize)
	b = appendDecimal(b, fieldSequence, v.Sequence)
	b = appendText(b, fieldSource, v.Source)
	return b
}

func (v *Trade) appendFields(b []byte) []byte {
	b = appendText(b, fieldExchangeID, v.ExchangeID)
	b = appendText(b, fieldSymbol, v.Symbol)
	b = appendText(b, fieldTradeID, v.TradeID)
	b = appendTime(b, v.Time)
	b = appendDecimal(b, fieldPrice, v.Price)
	b = appendDecimal(b, fieldSize, v.Size)
	b = appendText(b, fieldSide, v.Side)
	b = appendText(b, fieldSource, v.Source)
	return b
}

func (v *Analytics) appendFields(b []byte) []byte {
	b = appendTime(b, v.Time)
	b = appendText(b, fieldExchangeID, v.ExchangeID)
	b = appendText(b, fieldSymbol, v.Symbol)
	b = appendDecimal(b, fieldTotalMarketCap, v.TotalMarketCap)
	b = appendDecimal(b, fieldTotalVolume, v.TotalVolume)
	b = appendDecimal(b, fieldBTCDominance, v.BTCDominance)
	b = appendDecimal(b, fieldETHDominance, v.ETHDominance)
	b = appendDecimal(b, fieldActiveCryptocurrencies, v.ActiveCryptocurrencies)
	b = appendDecimal(b, fieldMarkets, v.Markets)
	b = appendDecimal(b, fieldMarketCapChange24h, v.MarketCapChange24h)
	if v.Metrics != "" {
		b = append(append(appendName(b, fieldMetrics), v.Metrics...), ',')
	}
	b = appendText(b, fieldSource, v.Source)
	b = appendText(b, fieldAttribution, v.Attribution)
	return b
}

func (v *Funding) appendFields(b []byte) []byte {
	b = appendText(b, fieldExchangeID, v.ExchangeID)
	b = appendText(b, fieldSymbol, v.Symbol)
	b = appendTime(b, v.Time)
	b = appendDecimal(b, fieldRate, v.Rate)
	b = appendDecimal(b, fieldPredictedRate, v.PredictedRate)
	b = appendTimeOf(b, fieldNextFundingTime, v.NextFundingTime)
	b = appendDecimal(b, fieldMarkPrice, v.MarkPrice)
	b = appendDecimal(b, fieldIndexPrice, v.IndexPrice)
	b = appendText(b, fieldSource, v.Source)
	return b
}

func (v *OpenInterest) appendFields(b []byte) []byte {
	b = appendText(b, fieldExchangeID, v.ExchangeID)
	b = appendText(b, fieldSymbol, v.Symbol)
	b = appendTime(b, v.Time)
	b = appendDecimal(b, fieldOpenInterest, v.OpenInterest)
	b = appendDecimal(b, fieldOpenInterestValue, v.OpenInterestValue)
	b = appendText(b, fieldSource, v.Source)
	return b
}

func (v *Liquidation) appendFields(b []byte) []byte {
	b = appendText(b, fieldExchangeID, v.ExchangeID)
	b = appendText(b, fieldSymbol, v.Symbol)
	b = appendText(b, fieldLiquidationID, v.LiquidationID)
	b = appendTime(b, v.Time)
	b = appendDecimal(b, fieldPrice, v.Price)
	b = appendDecimal(b, fieldSize, v.Size)
	b = appendText(b, fieldSide, v.Side)
	b = appendText(b, fieldStatus, v.Status)
	b = appendText(b, fieldSource, v.Source)
	return b
}

func (v *Book) appendFields(b []byte) []byte {
	b = appendText(b, fieldExchangeID, v.ExchangeID)
	b = appendText(b, fieldSymbol, v.Symbol)
	b = appendTime(b, v.Time)
	b = append(strconv.AppendBool(appendName(b, fieldSnapshot), v.Snapshot), ',')
	b = appendDecimal(b, fieldEpoch, v.Epoch)
	b = appendDecimal(b, fieldSequence, v.Sequence)
	b = appendLevels(b, fieldBids, v.Bids)
	b = appendLevels(b, fieldAsks, v.Asks)
	b = appendText(b, fieldSource, v.Source)
	return b
}

func appendLevels(b []byte, f field, levels []Level) []byte {
	if levels == nil {
		return b
	}
	b = append(appendName(b, f), '[')
	for i := range levels {
		b = append(levels[i].Price.Append(append(b, '[', '"')), '"', ',', '"')
		b = append(levels[i].Size.Append(b), '"', ']', ',')
	}
	if len(levels) > 0 {
		b = b[:len(b)-1]
	}
	return append(b, ']', ',')
}

// names are the fields' names as JSON has them, with quotes and colon.
var names = func() (out [len(fieldNames)]string) {
	for f, name := range fieldNames {
		out[f] = `"` + name + `":`
	}
	return out
}()

func appendName(b []byte, f field) []byte { return append(b, names[f]...) }

// The fields that follow are appended with a comma each.

func appendText(b []byte, f field, s string) []byte {
	if s == "" {
		return b
	}
	return appendPresentText(b, f, s)
}

func appendPresentText(b []byte, f field, s string) []byte {
	return append(appendString(appendName(b, f), s), ',')
}

func appendDecimal(b []byte, f field, d Decimal) []byte {
	if !d.Present() {
		return b
	}
	return append(d.Append(append(appendName(b, f), '"')), '"', ',')
}

func appendTime(b []byte, t time.Time) []byte { return appendTimeOf(b, fieldTime, t) }

func appendTimeOf(b []byte, f field, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	return append(t.UTC().AppendFormat(append(appendName(b, f), '"'), time.RFC3339Nano), '"', ',')
}

// AppendText appends s as a JSON string. s is UTF-8.
func AppendText(dst []byte, s string) []byte { return appendString(dst, s) }

// AppendPlain appends text as a JSON string where it holds ASCII alone and nothing that
// JSON escapes; else it appends nothing and returns false.
func AppendPlain(dst, text []byte) ([]byte, bool) {
	for _, c := range text {
		if textBreaks[c] {
			return dst, false
		}
	}
	return append(append(append(dst, '"'), text...), '"'), true
}

// appendString appends s as a JSON string. What is not UTF-8 in it becomes
// U+FFFD, as encoding/json has it: Check refuses it before.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	plain := 0
	for plain < len(s) && !textBreaks[s[plain]] {
		plain++
	}
	dst = append(dst, s[:plain]...)
	for i := plain; i < len(s); {
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

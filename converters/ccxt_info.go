package converters

import (
	"strconv"
	"time"

	"github.com/qicore/tickconnect/marketdata"
)

// The fields of the structures.
const (
	ccxtFieldSymbol field = iota
	ccxtFieldTimestamp
	ccxtFieldDatetime
	ccxtFieldID
	ccxtFieldSide
	ccxtFieldPrice
	ccxtFieldAmount
	ccxtFieldInfo
	ccxtFieldBid
	ccxtFieldBidVolume
	ccxtFieldAsk
	ccxtFieldAskVolume
	ccxtFieldBids
	ccxtFieldAsks
	ccxtFieldNonce
	ccxtFieldOpen
	ccxtFieldHigh
	ccxtFieldLow
	ccxtFieldClose
	ccxtFieldVolume
	ccxtFieldFilled // of an order, as the next two
	ccxtFieldRemaining
	ccxtFieldStatus
)

// ccxtFields has the fields' names, and those of the ones that no column takes.
var (
	ccxtFields = []string{
		"symbol", "timestamp", "datetime", "id", "side", "price", "amount", "info", "bid", "bidVolume", "ask", "askVolume", "bids",
		"asks", "nonce", "open", "high", "low", "close", "volume", "filled", "remaining", "status", "order", "type", "takerOrMaker",
		"cost", "fee", "fees", "vwap", "last", "previousClose", "change", "percentage", "average", "baseVolume", "quoteVolume",
		"markPrice", "indexPrice",
	}
	ccxtIndex = fieldIndex(ccxtFields)
)

// ccxtRole is what a member of info is.
type ccxtRole uint8

const (
	ccxtRolePrice ccxtRole = iota
	ccxtRoleAmount
	ccxtRoleTime
	ccxtRoleBid
	ccxtRoleBidVolume
	ccxtRoleAsk
	ccxtRoleAskVolume
	ccxtRoles
)

// ccxtInfo has the members of info, the exchange's own message, that are known to be
// a structure's numbers, by exchange. An array's members are named by their index.
// They are used where they are strings and the same binary float as CCXT's number, so
// that another meaning of a name changes no value.
var ccxtInfo = func() map[string]map[string]ccxtRole {
	binance := map[string]ccxtRole{
		"p": ccxtRolePrice, "q": ccxtRoleAmount, "price": ccxtRolePrice, "qty": ccxtRoleAmount,
		"b": ccxtRoleBid, "B": ccxtRoleBidVolume, "a": ccxtRoleAsk, "A": ccxtRoleAskVolume,
		"bidPrice": ccxtRoleBid, "bidQty": ccxtRoleBidVolume, "askPrice": ccxtRoleAsk, "askQty": ccxtRoleAskVolume,
	}
	okx := map[string]ccxtRole{
		"px": ccxtRolePrice, "sz": ccxtRoleAmount,
		"bidPx": ccxtRoleBid, "bidSz": ccxtRoleBidVolume, "askPx": ccxtRoleAsk, "askSz": ccxtRoleAskVolume,
	}
	return map[string]map[string]ccxtRole{
		"binance": binance, "binanceusdm": binance, "binancecoinm": binance, "binanceus": binance,
		"okx": okx, "okxus": okx, "myokx": okx,
		"bybit": {
			"p": ccxtRolePrice, "v": ccxtRoleAmount, "price": ccxtRolePrice, "size": ccxtRoleAmount,
			"bid1Price": ccxtRoleBid, "bid1Size": ccxtRoleBidVolume, "ask1Price": ccxtRoleAsk, "ask1Size": ccxtRoleAskVolume,
		},
		"coinbase":         {"price": ccxtRolePrice, "size": ccxtRoleAmount},
		"coinbaseexchange": {"price": ccxtRolePrice, "size": ccxtRoleAmount, "time": ccxtRoleTime},
		"kraken":           {"0": ccxtRolePrice, "1": ccxtRoleAmount, "2": ccxtRoleTime},
		"bitstamp":         {"bid": ccxtRoleBid, "ask": ccxtRoleAsk},
	}
}()

// readInfo looks for the exchange's own digits.
func (rec *ccxtRecord) readInfo() {
	rec.info = [ccxtRoles]marketdata.JSONValue{}
	if rec.exact == nil {
		return
	}
	v := rec.value(ccxtFieldInfo)
	rec.reader.Members(v, rec.takeInfo)
	n := 0
	rec.reader.Elements(v, func(v marketdata.JSONValue) {
		rec.infoMember(strconv.Itoa(n), v)
		n++
	})
}

func (rec *ccxtRecord) infoMember(name string, v marketdata.JSONValue) {
	if role, known := rec.exact[name]; known {
		rec.info[role] = v
	}
}

// number gives the exchange's own digits of a number that CCXT had as a binary float,
// or CCXT's. Floats only tell whether both are the same number; neither becomes the
// value (promise 7).
func (rec *ccxtRecord) number(f field, role ccxtRole) marketdata.Decimal {
	v, exact := rec.value(f), rec.info[role]
	if v.Kind == marketdata.JSONNumber && exact.Kind == marketdata.JSONString {
		a, errA := strconv.ParseFloat(v.Raw, 64)
		b, errB := strconv.ParseFloat(exact.Raw, 64)
		if _, err := marketdata.ParseDecimal(exact.Raw); err == nil && errA == nil && errB == nil && a == b {
			v = exact
		}
	}
	return rec.decimalOf(f, v)
}

// fineTime is the exchange's time. CCXT has it in milliseconds; where the text beside
// it or info has the same one to the microsecond, that is taken.
func (rec *ccxtRecord) fineTime() time.Time {
	t := rec.time(ccxtFieldTimestamp)
	if t.IsZero() {
		return rec.time(ccxtFieldDatetime)
	}
	millis := t
	for _, v := range [...]marketdata.JSONValue{rec.value(ccxtFieldDatetime), rec.info[ccxtRoleTime]} {
		if v.Kind != marketdata.JSONString {
			continue
		}
		if fine, _, fault := epochTime(v.Raw); fault == nil && fine.Truncate(time.Millisecond).Equal(millis) && fine.After(t) {
			t = fine
		}
	}
	return t
}

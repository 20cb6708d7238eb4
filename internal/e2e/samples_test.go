package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/qicore/tickconnect/marketdata"
)

// sample is a good record with the row that it must become.
type sample struct {
	kind       marketdata.Kind
	key, value string
	columns    []string // the row's, in the order of tableColumns; absent for NULL
}

// absent stands for NULL in a row's text.
const absent = "~"

// tableColumns are the columns that are compared. The first of them, up to the
// number in keyColumns, are the natural key.
var tableColumns = map[marketdata.Kind][]string{
	marketdata.KindPrice:  {"coin_id", "exchange_id", "time", "symbol", "usd_price", "market_cap", "volume_24h", "source", "attribution", "flags"},
	marketdata.KindOHLCV:  {"exchange_id", "symbol", "interval", "source", "time", "open", "high", "low", "close", "volume", "quote_volume", "trades", "vwap", "closed", "flags"},
	marketdata.KindLevel1: {"exchange_id", "symbol", "time", "bid_price", "bid_size", "ask_price", "ask_size", "sequence", "source", "flags"},
	marketdata.KindTrade:  {"exchange_id", "symbol", "trade_id", "time", "price", "size", "side", "source", "flags"},
	marketdata.KindAnalytics: {
		"exchange_id", "symbol", "source", "time", "total_market_cap", "total_volume", "btc_dominance", "eth_dominance",
		"active_cryptocurrencies", "markets", "market_cap_change_24h", "metrics", "attribution", "flags",
	},
	marketdata.KindFunding: {
		"exchange_id", "symbol", "source", "time", "rate", "predicted_rate", "next_funding_time", "mark_price", "index_price", "flags",
	},
	marketdata.KindOpenInterest: {"exchange_id", "symbol", "source", "time", "open_interest", "open_interest_value", "flags"},
	marketdata.KindLiquidation:  {"exchange_id", "symbol", "liquidation_id", "time", "price", "size", "side", "status", "source", "flags"},
	marketdata.KindBook: {
		"exchange_id", "symbol", "time", "snapshot", "epoch", "sequence", "bid_prices", "bid_sizes", "ask_prices", "ask_sizes", "source", "flags",
	},
}

var keyColumns = map[marketdata.Kind]int{
	marketdata.KindPrice: 3, marketdata.KindOHLCV: 5, marketdata.KindTrade: 4, marketdata.KindAnalytics: 4,
	marketdata.KindFunding: 4, marketdata.KindOpenInterest: 4, marketdata.KindLiquidation: 4,
	// A tape has no key: its rows are told apart by all that they hold.
	marketdata.KindLevel1: 10, marketdata.KindBook: 12,
}

var tableNames = map[marketdata.Kind]string{
	marketdata.KindPrice: "crypto_prices", marketdata.KindOHLCV: "crypto_ohlcv", marketdata.KindLevel1: "crypto_level1",
	marketdata.KindTrade: "crypto_trades", marketdata.KindAnalytics: "crypto_analytics",
	marketdata.KindFunding: "crypto_funding", marketdata.KindOpenInterest: "crypto_open_interest",
	marketdata.KindLiquidation: "crypto_liquidations", marketdata.KindBook: "crypto_book",
}

// rowText is the SQL that makes a row the text which Sprint makes of columns.
func rowText(kind marketdata.Kind) string {
	parts := make([]string, 0, len(tableColumns[kind]))
	for _, c := range tableColumns[kind] {
		text := fmt.Sprintf("%q::text", c)
		switch c {
		case "time", "next_funding_time":
			text = fmt.Sprintf(`(extract(epoch FROM %q) * 1000000)::bigint::text`, c)
		case "flags":
			text = `array_to_string(flags, ',')`
		}
		parts = append(parts, "coalesce("+text+", '"+absent+"')")
	}
	return "concat_ws('|', " + strings.Join(parts, ", ") + ")"
}

// samplesBegin is the time of sample 0; each further one is a millisecond later.
var samplesBegin = time.Date(2024, 1, 5, 0, 0, 0, 0, time.UTC)

func sampleTime(seq int) time.Time { return samplesBegin.Add(time.Duration(seq) * time.Millisecond) }

// digits makes a decimal with many digits, of which each depends on both numbers.
func digits(seq, revision int) string {
	return fmt.Sprintf("%d.%012d%06d%d0", 1+seq%99_991, seq, revision, seq%7)
}

// newSample makes the record number seq of a kind for an exchange. Another
// revision has the same natural key and other values.
func newSample(kind marketdata.Kind, exchange string, seq, revision int) sample {
	symbol := fmt.Sprintf("S%02d-USD", seq%23)
	at := sampleTime(seq)
	micros := fmt.Sprint(at.UnixMicro())
	iso := at.Format(time.RFC3339Nano)
	n := digits(seq, revision)
	s := sample{kind: kind, key: symbol}
	switch kind {
	case marketdata.KindPrice:
		s.value = fmt.Sprintf(`{"coinId":"coin-%d","symbol":%q,"exchangeId":%q,"usdPrice":"%s","marketCap":12345678901234567890%d,"time":"%s","source":"e2e","attribution":""}`,
			seq%23, symbol, exchange, n, seq, iso)
		s.columns = []string{
			fmt.Sprintf("coin-%d", seq%23), exchange, micros, symbol, n, fmt.Sprintf("12345678901234567890%d", seq),
			absent, "e2e", "", absent,
		}
	case marketdata.KindOHLCV:
		s.value = fmt.Sprintf(`{"exchange_id":%q,"symbol":%q,"interval":"1m","time":%d,"open":"1","high":"%s","low":"0.5","close":%s,"volume":"0","trades":%d,"closed":%t,"source":"e2e"}`,
			exchange, symbol, at.UnixMilli(), n, n, revision, revision > 0)
		s.columns = []string{exchange, symbol, "1m", "e2e", micros, "1", n, "0.5", n, "0", absent, fmt.Sprint(revision), absent, strconv.FormatBool(revision > 0), absent}
	case marketdata.KindLevel1:
		// A tape has no revisions: the sequence makes each record another.
		sequence := fmt.Sprintf("18446744073709551616%09d%03d", seq, revision)
		s.value = fmt.Sprintf(`{"exchangeId":%q,"symbol":%q,"time":%d,"bidPrice":"%s","askPrice":"1000000","askSize":"0","sequence":%s}`,
			exchange, symbol, at.UnixMicro(), n, sequence)
		s.columns = []string{exchange, symbol, micros, n, absent, "1000000", "0", sequence, absent, absent}
	case marketdata.KindTrade:
		s.value = fmt.Sprintf(`{"exchangeId":%q,"symbol":%q,"tradeId":%d,"time":%d,"price":"%s","size":"0.%09d","side":"buy"}`,
			exchange, symbol, seq, at.UnixNano(), n, 1+seq)
		s.columns = []string{exchange, symbol, fmt.Sprint(seq), micros, n, fmt.Sprintf("0.%09d", 1+seq), "buy", absent, absent}
	case marketdata.KindAnalytics:
		s.value = fmt.Sprintf(`{"exchangeId":%q,"symbol":%q,"time":"%s","totalMarketCap":"%s","marketCapChange24h":"-0.50","fear":12.50,"source":"e2e"}`,
			exchange, symbol, iso, n)
		s.columns = []string{exchange, symbol, "e2e", micros, n, absent, absent, absent, absent, absent, "-0.50", `{"fear": 12.50}`, absent, absent}
	case marketdata.KindFunding:
		s.value = fmt.Sprintf(`{"exchangeId":%q,"symbol":%q,"time":"%s","rate":"-0.000100","markPrice":"%s","nextFundingTime":%d,"source":"e2e"}`,
			exchange, symbol, iso, n, at.UnixMilli())
		s.columns = []string{exchange, symbol, "e2e", micros, "-0.000100", absent, micros, n, absent, absent}
	case marketdata.KindOpenInterest:
		s.value = fmt.Sprintf(`{"exchangeId":%q,"symbol":%q,"time":"%s","openInterest":%s,"openInterestValue":"0"}`, exchange, symbol, iso, n)
		s.columns = []string{exchange, symbol, "", micros, n, "0", absent}
	case marketdata.KindLiquidation:
		s.value = fmt.Sprintf(`{"exchangeId":%q,"symbol":%q,"liquidationId":%d,"time":"%s","size":"%s","side":"sell"}`, exchange, symbol, seq, iso, n)
		s.columns = []string{exchange, symbol, fmt.Sprint(seq), micros, absent, n, "sell", absent, absent, absent}
	case marketdata.KindBook:
		sequence := fmt.Sprintf("18446744073709551616%09d%03d", seq, revision)
		s.value = fmt.Sprintf(`{"exchangeId":%q,"symbol":%q,"time":%d,"snapshot":%t,"sequence":%s,"bids":[["%s","1.500"],[0.50,1E-3]],"asks":[]}`,
			exchange, symbol, at.UnixMicro(), seq%10 == 0, sequence, n)
		s.columns = []string{
			exchange, symbol, micros, strconv.FormatBool(seq%10 == 0), absent, sequence, "{" + n + ",0.50}", "{1.500,0.001}", "{}", "{}", absent, absent,
		}
	}
	return s
}

func (s *sample) rowText() string { return strings.Join(s.columns, "|") }

func (s *sample) keyText() string { return strings.Join(s.columns[:keyColumns[s.kind]], "|") }

package marketdata

import (
	"bufio"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// These tests turn real recordings into records and read them back. The
// recordings lie in TICKCONNECT_DATA, by default beside the repository.

// realRows bounds what one test takes of a recording.
const realRows = 20_000

// openData opens a recording, or skips the test where there is none.
func openData(t *testing.T, name string) io.Reader {
	t.Helper()
	dir := os.Getenv("TICKCONNECT_DATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "data")
	}
	f, err := os.Open(filepath.Join(dir, name))
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("no recording %s; set TICKCONNECT_DATA", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if !strings.HasSuffix(name, ".gz") {
		return f
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func TestRealTrades(t *testing.T) {
	t.Parallel()
	var rows []struct {
		Symbol, Side string
		Info         struct {
			A    json.Number
			P, Q string
			T    int64
		}
	}
	if err := json.NewDecoder(openData(t, "trades/binance_XRP_ETH_aggTrades.json.gz")).Decode(&rows); err != nil {
		t.Fatal(err)
	}
	var d Decoder
	for _, row := range rows {
		value := fmt.Sprintf(`{"exchange_id":"BINANCE","symbol":%q,"trade_id":%s,"time":%d,"price":%s,"size":%q,"side":%q,"takerOrMaker":null}`,
			row.Symbol, row.Info.A, row.Info.T, row.Info.P, row.Info.Q, row.Side)
		r := anyRecord{kind: KindTrade}
		if err := d.Trade([]byte(value), testNow, &r.trade); err != nil {
			t.Fatalf("%s: %v", value, err)
		}
		got := r.trade
		if got.ExchangeID != "binance" || got.TradeID != row.Info.A.String() || got.Price.String() != row.Info.P ||
			got.Size.String() != row.Info.Q || got.Time.UnixMilli() != row.Info.T || got.Side != row.Side || d.UnknownFields() != 1 {
			t.Fatalf("%s became %+v", value, got)
		}
		roundTrip(t, &r)
	}
	if len(rows) < 10_000 {
		t.Errorf("%d trades", len(rows))
	}
}

// TestRealFaultyTrades reads a recording with a repeated id that its authors put
// in: it is a record like any other here, the table's key decides.
func TestRealFaultyTrades(t *testing.T) {
	t.Parallel()
	rows, err := csv.NewReader(openData(t, "pathological/negative_binance_trade_stream_spot_trxusdt_04-03-2025.csv.gz")).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	column := map[string]int{}
	for i, name := range rows[0] {
		column[name] = i
	}
	var d Decoder
	var got Trade
	ids := map[string]bool{}
	for _, row := range rows[1:] {
		value := fmt.Sprintf(`{"exchangeId":"binance","symbol":%q,"tradeId":%q,"time":%s,"price":%s,"size":%s}`,
			row[column["Symbol"]], row[column["TradeId"]], row[column["TransactionTime"]], row[column["Price"]], row[column["Quantity"]])
		if err := d.Trade([]byte(value), testNow, &got); err != nil {
			t.Fatalf("%s: %v", value, err)
		}
		if us, _ := strconv.ParseInt(row[column["TransactionTime"]], 10, 64); got.Time.UnixMicro() != us {
			t.Fatalf("%s has the time %v", value, got.Time)
		}
		ids[strings.Clone(got.TradeID)] = true
	}
	if want := len(rows) - 2; len(ids) != want || want < 9_000 {
		t.Errorf("%d ids, want %d", len(ids), want)
	}
}

func TestRealQuotes(t *testing.T) {
	t.Parallel()
	lines := bufio.NewScanner(openData(t, "raw/binance_spot_btcusdt_20240808.gz"))
	lines.Buffer(nil, 16<<20)
	var d Decoder
	quotes := 0
	for quotes < realRows && lines.Scan() {
		received, frame, _ := strings.Cut(lines.Text(), " ")
		if !strings.Contains(frame, "@bookTicker") {
			continue
		}
		var f struct{ Data map[string]json.RawMessage }
		if err := json.Unmarshal([]byte(frame), &f); err != nil {
			t.Fatal(err)
		}
		text := func(name string) string { return strings.Trim(string(f.Data[name]), `"`) }
		value := fmt.Sprintf(`{"exchangeId":"binance","symbol":%s,"time":%s,"bidPrice":%s,"bidSize":%s,"askPrice":%s,"askSize":%s,"sequence":%s,"frame":%s}`,
			f.Data["s"], received, f.Data["b"], text("B"), text("a"), f.Data["A"], f.Data["u"], frame)
		r := anyRecord{kind: KindLevel1}
		if err := d.Level1([]byte(value), testNow, &r.level1); err != nil {
			t.Fatalf("%s: %v", value, err)
		}
		got := r.level1
		ns, _ := strconv.ParseInt(received, 10, 64)
		if got.BidPrice.String() != text("b") || got.BidSize.String() != text("B") || got.AskPrice.String() != text("a") ||
			got.AskSize.String() != text("A") || got.Sequence.String() != text("u") || got.Time.UnixMicro() != ns/1000 || got.Flags != 0 {
			t.Fatalf("%s became %+v", value, got)
		}
		roundTrip(t, &r)
		quotes++
	}
	if err := lines.Err(); err != nil || quotes < realRows {
		t.Errorf("%d quotes, %v", quotes, err)
	}
}

func TestRealBars(t *testing.T) {
	t.Parallel()
	rows := csv.NewReader(openData(t, "ohlcv/bitfinex_BTCUSD_1m_2014.csv.gz"))
	var d Decoder
	for range realRows {
		// start ms, open, close, high, low, volume: Bitfinex's order
		row, err := rows.Read()
		if err != nil {
			t.Fatal(err)
		}
		value := fmt.Sprintf(`{"exchangeId":"bitfinex","symbol":"BTCUSD","interval":"1m","time":%s,"open":%s,"close":%q,"high":%s,"low":%s,"volume":%q}`,
			row[0], row[1], row[2], row[3], row[4], row[5])
		r := anyRecord{kind: KindOHLCV}
		if err := d.OHLCV([]byte(value), testNow, &r.ohlcv); err != nil {
			t.Fatalf("%s: %v", value, err)
		}
		got := r.ohlcv
		if got.Open.String() != row[1] || got.Close.String() != row[2] || got.High.String() != row[3] || got.Low.String() != row[4] ||
			got.Volume.String() != row[5] || strconv.FormatInt(got.Time.UnixMilli(), 10) != row[0] || got.Flags != 0 {
			t.Fatalf("%s became %+v", value, got)
		}
		roundTrip(t, &r)
	}
}

// TestRealBarsWithoutTrades has bars whose vwap and volume are 0, as Kraken sends
// them.
func TestRealBarsWithoutTrades(t *testing.T) {
	t.Parallel()
	var reply struct {
		Result map[string]json.RawMessage
	}
	if err := json.NewDecoder(openData(t, "rest/kraken_ohlc_XBTUSDT_2025-11.json.gz")).Decode(&reply); err != nil {
		t.Fatal(err)
	}
	var rows [][]json.RawMessage
	if err := json.Unmarshal(reply.Result["XBTUSDT"], &rows); err != nil {
		t.Fatal(err)
	}
	var d Decoder
	empty := 0
	for _, row := range rows {
		value := fmt.Sprintf(`{"exchangeId":"kraken","symbol":"XBTUSDT","interval":"1m","time":%s,"open":%s,"high":%s,"low":%s,"close":%s,"vwap":%s,"volume":%s,"trades":%s}`,
			row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7])
		r := anyRecord{kind: KindOHLCV}
		if err := d.OHLCV([]byte(value), testNow, &r.ohlcv); err != nil {
			t.Fatalf("%s: %v", value, err)
		}
		if !r.ohlcv.VWAP.Present() || !r.ohlcv.Trades.Set {
			t.Fatalf("%s lost its zeros", value)
		}
		if r.ohlcv.Trades.Value == 0 {
			empty++
		}
		roundTrip(t, &r)
	}
	if empty == 0 {
		t.Error("no bar is without trades")
	}
}

// TestRealFrames carries odd frames of real exchanges as unknown fields, and
// reads all their numbers as decimals.
func TestRealFrames(t *testing.T) {
	t.Parallel()
	lines := bufio.NewScanner(openData(t, "pathological/frames.jsonl"))
	lines.Buffer(nil, 16<<20)
	var d Decoder
	var got Trade
	frames, numbers, longest := 0, 0, 0
	for lines.Scan() {
		var line struct{ Data string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		valid := json.Valid([]byte(line.Data))
		value := strings.TrimSuffix(goodRecords[KindTrade], "}") + `,"info":` + line.Data + "}"
		err := d.Trade([]byte(value), testNow, &got)
		if (err == nil) != valid {
			t.Errorf("encoding/json says %v: %v: %.200s", valid, err, line.Data)
		}
		if !valid {
			continue
		}
		if d.UnknownFields() != 1 {
			t.Errorf("%d unknown fields: %.200s", d.UnknownFields(), line.Data)
		}
		frames++
		var tree any
		dec := json.NewDecoder(strings.NewReader(line.Data))
		dec.UseNumber()
		if err := dec.Decode(&tree); err != nil {
			t.Fatal(err)
		}
		walk(tree, func(s string) {
			want, ok := new(big.Rat).SetString(s)
			n, err := ParseDecimal(s)
			if err != nil {
				return
			}
			back, _ := new(big.Rat).SetString(n.String())
			if !ok || want.Cmp(back) != 0 {
				t.Errorf("%s became %s", s, n)
			}
			_, scale := n.Digits()
			numbers, longest = numbers+1, max(longest, scale)
		})
	}
	if err := lines.Err(); err != nil || frames < 40 || numbers < 100 || longest < 37 {
		t.Errorf("%d frames, %d numbers, the longest fraction has %d digits, %v", frames, numbers, longest, err)
	}
}

// walk calls f for each number and string in a decoded JSON value.
func walk(tree any, f func(string)) {
	switch v := tree.(type) {
	case json.Number:
		f(v.String())
	case string:
		f(v)
	case []any:
		for _, e := range v {
			walk(e, f)
		}
	case map[string]any:
		for _, e := range v {
			walk(e, f)
		}
	}
}

// TestRealPrices makes prices of real minute bars, dated to the minute.
func TestRealPrices(t *testing.T) {
	t.Parallel()
	var rows [][]json.Number
	dec := json.NewDecoder(openData(t, "ohlcv/UNITTEST_BTC-1m.json.gz"))
	dec.UseNumber()
	if err := dec.Decode(&rows); err != nil {
		t.Fatal(err)
	}
	var d Decoder
	for _, row := range rows {
		ms, err := row[0].Int64()
		if err != nil {
			t.Fatal(err)
		}
		at := time.UnixMilli(ms).UTC()
		value := fmt.Sprintf(`{"coinId":"unittest","symbol":"UNITTEST","exchangeId":"x","usdPrice":%s,"volume_24h":%s,"time":%q,"source":"bars","attribution":"a"}`,
			row[4], row[5], at.Format(time.RFC3339))
		r := anyRecord{kind: KindPrice}
		if err := d.Price([]byte(value), testNow, &r.price); err != nil {
			t.Fatalf("%s: %v", value, err)
		}
		if r.price.USDPrice.String() != row[4].String() || r.price.Volume24h.String() != row[5].String() || !r.price.Time.Equal(at) {
			t.Fatalf("%s became %+v", value, r.price)
		}
		roundTrip(t, &r)
	}
	if len(rows) < 10_000 {
		t.Errorf("%d bars", len(rows))
	}
}

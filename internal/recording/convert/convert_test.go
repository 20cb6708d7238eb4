package main

import (
	"slices"
	"testing"
	"time"
)

// TestFrames gives each venue frames as it sent them.
func TestFrames(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		read   func(*recorder, []frame) error
		frames []string
		topic  string
		want   []string
	}{
		"binance: the buyer was the maker": {
			readBinance("binance"),
			[]string{`{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}`},
			"crypto-trades-binance",
			[]string{`{"exchangeId":"binance","symbol":"BTCUSDT","tradeId":"3735683259","time":"2024-08-08T23:54:15.342Z","price":"61837.63000000","size":"0.02000000","side":"sell"}`},
		},
		"binance: a spot quote has the time of its arrival": {
			readBinance("binance"),
			[]string{`{"stream":"btcusdt@bookTicker","data":{"u":50093239212,"s":"BTCUSDT","b":"61837.63000000","B":"3.78826000","a":"61837.64000000","A":"1.54698000"}}`},
			"crypto-level1-binance",
			[]string{`{"exchangeId":"binance","symbol":"BTCUSDT","time":"2024-08-08T00:00:00Z","bidPrice":"61837.63000000","bidSize":"3.78826000","askPrice":"61837.64000000","askSize":"1.54698000","sequence":"50093239212"}`},
		},
		"coinbase: the maker's side inverted, the oldest first, a snapshot's trade once": {
			readCoinbase,
			[]string{
				`{"channel":"market_trades","timestamp":"2026-08-09T21:05:48.228568804Z","sequence_num":0,"events":[{"type":"snapshot","trades":[{"product_id":"BTC-USD","trade_id":"2","price":"65083.67","size":"0.002186","time":"2026-08-09T21:05:47.1234567Z","side":"SELL"},{"product_id":"BTC-USD","trade_id":"1","price":"65083.66","size":"1","time":"2026-08-09T21:05:46Z","side":"BUY"}]}]}`,
				`{"channel":"market_trades","timestamp":"2026-08-09T21:05:49Z","sequence_num":1,"events":[{"type":"update","trades":[{"product_id":"BTC-USD","trade_id":"2","price":"65083.67","size":"0.002186","time":"2026-08-09T21:05:47.1234567Z","side":"SELL"}]}]}`,
			},
			"crypto-trades-coinbase",
			[]string{
				`{"exchangeId":"coinbase","symbol":"BTC-USD","tradeId":"1","time":"2026-08-09T21:05:46Z","price":"65083.66","size":"1","side":"sell"}`,
				`{"exchangeId":"coinbase","symbol":"BTC-USD","tradeId":"2","time":"2026-08-09T21:05:47.123456Z","price":"65083.67","size":"0.002186","side":"buy"}`,
			},
		},
		"coinbase: a price in US dollars": {
			readCoinbase,
			[]string{`{"channel":"ticker","timestamp":"2026-08-09T21:05:48.229198328Z","sequence_num":6,"events":[{"type":"snapshot","tickers":[{"type":"ticker","product_id":"BTC-USD","price":"65086.18","best_bid":"65083.66","best_ask":"65083.67","best_bid_quantity":"0.20371215","best_ask_quantity":"0.24290402"}]}]}`},
			"crypto-prices-coinbase",
			[]string{`{"coinId":"btc","symbol":"BTC","exchangeId":"coinbase","usdPrice":"65086.18","time":"2026-08-09T21:05:48.229198Z","source":"coinbase ticker","attribution":"recorded with cryptofeed"}`},
		},
		"bybit: a delta keeps what it does not name, and one without a bid or ask makes no quote": {
			readBybit,
			[]string{
				`{"topic":"tickers.BTCUSDT","type":"snapshot","data":{"symbol":"BTCUSDT","lastPrice":"65114.30","bid1Price":"65114.20","bid1Size":"5.954","ask1Price":"65114.30","ask1Size":"10.470"}}`,
				`{"topic":"tickers.BTCUSDT","type":"delta","data":{"symbol":"BTCUSDT","markPrice":"65117.43"},"cs":753843915208,"ts":1786310818100}`,
				`{"topic":"tickers.BTCUSDT","type":"delta","data":{"symbol":"BTCUSDT","ask1Price":"65114.40","ask1Size":"10.488"},"cs":753843915209,"ts":1786310818183}`,
			},
			"crypto-level1-bybit-linear",
			[]string{
				`{"exchangeId":"bybit-linear","symbol":"BTCUSDT","time":"2024-08-08T00:00:00Z","bidPrice":"65114.20","bidSize":"5.954","askPrice":"65114.30","askSize":"10.470"}`,
				`{"exchangeId":"bybit-linear","symbol":"BTCUSDT","time":"2026-08-09T21:26:58.183Z","bidPrice":"65114.20","bidSize":"5.954","askPrice":"65114.40","askSize":"10.488","sequence":"753843915209"}`,
			},
		},
		"bitfinex: a sale's amount is negative, tu repeats te": {
			readBitfinex,
			[]string{
				`{"event":"subscribed","channel":"trades","chanId":232959,"symbol":"tBFTUSD","pair":"BFTUSD"}`,
				`[232959,"te",[633000001,1618677543000,-1.3E-4,0.077],5]`,
				`[232959,"tu",[633000001,1618677543000,-1.3E-4,0.077],6]`,
			},
			"crypto-trades-bitfinex",
			[]string{`{"exchangeId":"bitfinex","symbol":"tBFTUSD","tradeId":"633000001","time":"2021-04-17T16:39:03Z","price":"0.077","size":"1.3E-4","side":"sell"}`},
		},
		"kraken: equal trades without an id are two": {
			readKraken,
			[]string{`[1921,[["0.042980","8500.00000000","1618678155.718950","b","m",""],["0.042980","8500.00000000","1618678155.718950","b","m",""]],"trade","SC/EUR"]`},
			"crypto-trades-kraken",
			slices.Repeat([]string{`{"exchangeId":"kraken","symbol":"SC/EUR","time":"2021-04-17T16:49:15.71895Z","price":"0.042980","size":"8500.00000000","side":"buy"}`}, 2),
		},
		"kucoin: the close comes before the high": {
			readKucoin,
			[]string{`{"data":{"symbol":"DAPPT-BTC","candles":["1619378280","0.0000001117","0.0000001120","0.0000001123","0.0000001116","3437.9375","0.00038556424505"],"time":1619378328806720268},"subject":"trade.candles.add","topic":"/market/candles:DAPPT-BTC_1min","type":"message"}`},
			"crypto-ohlcv-kucoin",
			[]string{`{"exchangeId":"kucoin","symbol":"DAPPT-BTC","interval":"1m","time":"2021-04-25T19:18:00Z","open":"0.0000001117","high":"0.0000001123","low":"0.0000001116","close":"0.0000001120","volume":"3437.9375","quoteVolume":"0.00038556424505"}`},
		},
		"bitget: an update that the snapshot held already": {
			readBitget,
			[]string{
				`{"action":"snapshot","arg":{"instType":"sp","channel":"trade","instId":"HOTUSDT"},"data":[["1649290077777","0.005613","890.8","buy"]]}`,
				`{"action":"update","arg":{"instType":"sp","channel":"trade","instId":"HOTUSDT"},"data":[["1649290077777","0.005613","890.8","buy"]]}`,
				`pong`,
			},
			"crypto-trades-bitget",
			[]string{`{"exchangeId":"bitget","symbol":"HOTUSDT","time":"2022-04-07T00:07:57.777Z","price":"0.005613","size":"890.8","side":"buy"}`},
		},
		"okx: no order on the bid side": {
			readOKX,
			[]string{`{"arg":{"channel":"tickers","instId":"ETH-USD-220624-20000-C"},"data":[{"instType":"OPTION","instId":"ETH-USD-220624-20000-C","last":"0.0025","askPx":"0.002","askSz":"20","bidPx":"","bidSz":"","ts":"1646003643199"}]}`},
			"crypto-level1-okx",
			[]string{`{"exchangeId":"okx","symbol":"ETH-USD-220624-20000-C","time":"2022-02-27T23:14:03.199Z","askPrice":"0.002","askSize":"20"}`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRecorder()
			r.begin(&source{})
			var frames []frame
			for _, data := range test.frames {
				frames = append(frames, frame{
					addr: "wss://example.invalid/linear", data: []byte(data),
					at: time.Date(2024, 8, 8, 0, 0, 0, 0, time.UTC),
				})
			}
			if err := test.read(r, frames); err != nil {
				t.Fatal(err)
			}
			var got []string
			if tape := r.topics[test.topic]; tape != nil {
				for _, m := range tape.messages {
					got = append(got, string(m.value))
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("%s holds\n%q\nwant\n%q", test.topic, got, test.want)
			}
		})
	}
}

func TestUnixTime(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		text string
		unit int
		want string
	}{
		{"1619093543708.2642", inMillis, "2021-04-22T12:12:23.708264Z"},
		{"1633998514.6462898", inSeconds, "2021-10-12T00:28:34.646289Z"},
		{"1619378327739050725", inNanos, "2021-04-25T19:18:47.73905Z"},
		{"1641343699596000", inMicros, "2022-01-05T00:48:19.596Z"},
		{"1786279500", inSeconds, "2026-08-09T12:45:00Z"},
	} {
		got, err := unixTime(test.text, test.unit)
		if err != nil || got.Format(time.RFC3339Nano) != test.want {
			t.Errorf("unixTime(%s, %d) = %s, %v, want %s", test.text, test.unit, got.Format(time.RFC3339Nano), err, test.want)
		}
	}
	if _, err := unixTime("soon", inMillis); err == nil {
		t.Error(`unixTime("soon") gives a time`)
	}
}

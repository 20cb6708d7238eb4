package main

// licence says under which terms a source's author published it.
type licence struct{ name, terms, from string }

var (
	cryptofeed = licence{
		name:  "XFree86-1.1 style, (c) 2017-2018 Bryant Moscon (its text is in NOTICE)",
		terms: "This product includes software developed by Bryant Moscon (http://www.bryantmoscon.com/)",
		from:  "github.com/bmoscon/cryptofeed, sample_data",
	}
	hftbacktest = licence{
		name: "MIT, (c) 2022 nkaz001 (its text is in NOTICE)",
		from: "github.com/nkaz001/hftbacktest, examples",
	}
	binanceDataProcessor = licence{
		name: `"do whatever you want"`,
		from: "github.com/DanielLasota/Binance-Data-Processor, binance_data_processor/test/test_csvs",
	}
	lean = licence{
		name: "Apache-2.0, (c) QuantConnect Corporation",
		from: "github.com/QuantConnect/Lean, Data",
	}
)

// source is one recording. Sources are read in the order of this list, which is
// the order of the records within a topic.
type source struct {
	file    string
	licence licence
	what    string
	read    func(r *recorder, path string) error

	records map[string]int // by kind, filled while it is read
	repeats int            // records that were left out since they were there before
	bad     int            // records that were left out since they break a rule
}

var sources = []source{
	leanSource("crypto_coinbase_minute_btcusd_20161007_trade.zip", "coinbase", "BTC-USD", "1m"),
	leanSource("crypto_coinbase_minute_btcusd_20161008_trade.zip", "coinbase", "BTC-USD", "1m"),
	leanSource("crypto_coinbase_minute_btcusd_20180404_trade.zip", "coinbase", "BTC-USD", "1m"),
	leanSource("crypto_coinbase_minute_ethusd_20180404_trade.zip", "coinbase", "ETH-USD", "1m"),
	leanSource("crypto_coinbase_minute_ltcusd_20180404_trade.zip", "coinbase", "LTC-USD", "1m"),
	leanSource("crypto_coinbase_minute_btceur_20180404_trade.zip", "coinbase", "BTC-EUR", "1m"),
	leanSource("crypto_coinbase_minute_btcusd_20180405_trade.zip", "coinbase", "BTC-USD", "1m"),
	leanSource("crypto_coinbase_minute_ethusd_20180405_trade.zip", "coinbase", "ETH-USD", "1m"),
	leanSource("crypto_coinbase_minute_ltcusd_20180405_trade.zip", "coinbase", "LTC-USD", "1m"),
	leanSource("crypto_coinbase_minute_btceur_20180405_trade.zip", "coinbase", "BTC-EUR", "1m"),
	leanSource("crypto_coinbase_minute_btcusd_20180406_trade.zip", "coinbase", "BTC-USD", "1m"),
	leanSource("crypto_coinbase_minute_ltcusd_20180406_trade.zip", "coinbase", "LTC-USD", "1m"),
	leanSource("crypto_coinbase_minute_btceur_20180406_trade.zip", "coinbase", "BTC-EUR", "1m"),
	leanSource("crypto_binance_hour_btcusdt_trade.zip", "binance", "BTCUSDT", "1h"),
	captureSource("COINBASE_PRO.2021-04.part1", "trades, quotes, prices of Coinbase Exchange", readCoinbasePro),
	captureSource("BITFINEX.2021-04.a", "trades, quotes, prices", readBitfinex),
	captureSource("KRAKEN.2021-04.a", "trades, quotes", readKraken),
	captureSource("KUCOIN.2021-04-25", "trades, quotes, bars", readKucoin),
	captureSource("GEMINI.2021-06", "trades, and prices made of those in US dollars", readGemini),
	captureSource("BINANCE_FUTURES.2021-07", "trades, quotes, bars of the USD-M futures", readBinance("binance-usdm")),
	captureSource("BITMEX.2021-07", "trades, quotes", readBitmex),
	captureSource("OKEX.2021-07", "trades, quotes", readOKX),
	captureSource("BINANCE.2021-10", "trades, quotes, bars", readBinance("binance")),
	captureSource("BITSTAMP.2022-01", "trades, and prices made of those in US dollars", readBitstamp),
	captureSource("OKX.2022-02", "trades, quotes", readOKX),
	captureSource("BITGET.2022-04-06", "trades, quotes, bars of the spot markets", readBitget),
	leanSource("crypto_binance_minute_btcbusd_20221213_trade.zip", "binance", "BTCBUSD", "1m"),
	leanSource("cryptofuture_bybit_minute_btcusdt_20221213_trade.zip", "bybit-linear", "BTCUSDT", "1m"),
	rawSource("binance_spot_btcusdt_20240808.gz", "binance", "trades, quotes", true),
	rawSource("binance_spot_ethusdt_20240808.gz", "binance", "trades, quotes", true),
	rawSource("binance_usdm_btcusdt_20240808.gz", "binance-usdm", "trades", false),
	{
		file: "trades/binance_trade_stream_spot_trxusdt_04-03-2025.csv.gz", licence: binanceDataProcessor,
		what: "trades", read: readTradeStreamCSV,
	},
	captureSource("COINBASE.2026-08.part1", "trades, quotes, prices, bars of Coinbase Advanced Trade", readCoinbase),
	captureSource("BYBIT.2026-08.part1", "trades, quotes, bars of the linear contracts", readBybit),
}

func captureSource(name, what string, read func(*recorder, []frame) error) source {
	return source{
		file: "captures/" + name + ".jsonl.zst", licence: cryptofeed, what: what,
		read: func(r *recorder, path string) error {
			frames, err := readCapture(path)
			if err != nil {
				return err
			}
			return read(r, frames)
		},
	}
}

func leanSource(name, exchange, symbol, interval string) source {
	return source{
		file: "ohlcv/lean/" + name, licence: lean, what: interval + " bars of " + symbol,
		read: func(r *recorder, path string) error { return readLean(r, path, exchange, symbol, interval) },
	}
}

func rawSource(name, exchange, what string, quotes bool) source {
	return source{
		file: "raw/" + name, licence: hftbacktest, what: what,
		read: func(r *recorder, path string) error { return readRaw(r, path, exchange, quotes) },
	}
}

package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/qicore/tickconnect/marketdata"
)

// takerSide turns the maker's side, which both of Coinbase's feeds send, into
// the taker's.
func takerSide(makerSide string) (string, error) {
	switch strings.ToLower(makerSide) {
	case "buy":
		return "sell", nil
	case "sell":
		return "buy", nil
	}
	return "", fmt.Errorf("%q is no side", makerSide)
}

// readCoinbase reads Advanced Trade. Trades come newest first within a frame.
func readCoinbase(r *recorder, frames []frame) error {
	const exchange = "coinbase"
	for i := range frames {
		var m struct {
			Channel   string
			Timestamp time.Time
			Sequence  marketdata.Decimal `json:"sequence_num"`
			Events    []struct {
				Trades []struct {
					Product string `json:"product_id"`
					ID      string `json:"trade_id"`
					Price   marketdata.Decimal
					Size    marketdata.Decimal
					Time    time.Time
					Side    string
				}
				Tickers []struct {
					Product string `json:"product_id"`
					Price   marketdata.Decimal
					Bid     marketdata.Decimal `json:"best_bid"`
					BidSize marketdata.Decimal `json:"best_bid_quantity"`
					Ask     marketdata.Decimal `json:"best_ask"`
					AskSize marketdata.Decimal `json:"best_ask_quantity"`
				}
				Candles []struct {
					Start                          string
					High, Low, Open, Close, Volume marketdata.Decimal
					Product                        string `json:"product_id"`
				}
			}
		}
		if err := json.Unmarshal(frames[i].data, &m); err != nil {
			return err
		}
		if m.Channel != "market_trades" && m.Channel != "ticker" && m.Channel != "candles" {
			continue
		}
		for _, event := range m.Events {
			for _, t := range slices.Backward(event.Trades) {
				side, err := takerSide(t.Side)
				if err != nil {
					return err
				}
				err = r.trade(marketdata.Trade{
					ExchangeID: exchange, Symbol: t.Product, TradeID: t.ID, Time: t.Time,
					Price: t.Price, Size: t.Size, Side: side,
				})
				if err != nil {
					return err
				}
			}
			for _, t := range event.Tickers {
				err := r.quote(marketdata.Level1{
					ExchangeID: exchange, Symbol: t.Product, Time: m.Timestamp, Sequence: m.Sequence,
					BidPrice: t.Bid, BidSize: t.BidSize, AskPrice: t.Ask, AskSize: t.AskSize,
				}, true)
				if err != nil {
					return err
				}
				if base, ok := strings.CutSuffix(t.Product, "-USD"); ok {
					if err := r.price(exchange, base, t.Price, m.Timestamp, "coinbase ticker"); err != nil {
						return err
					}
				}
			}
			for _, c := range event.Candles {
				start, err := unixTime(c.Start, inSeconds)
				if err != nil {
					return err
				}
				err = r.bar(marketdata.OHLCV{
					ExchangeID: exchange, Symbol: c.Product, Interval: "5m", Time: start,
					Open: c.Open, High: c.High, Low: c.Low, Close: c.Close, Volume: c.Volume,
				})
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// readCoinbasePro reads Coinbase Exchange. last_match is the trade before the
// subscription.
func readCoinbasePro(r *recorder, frames []frame) error {
	const exchange = "coinbase"
	for i := range frames {
		var m struct {
			Type     string
			ID       json.Number `json:"trade_id"`
			Side     string
			Size     marketdata.Decimal
			Price    marketdata.Decimal
			Product  string `json:"product_id"`
			Sequence marketdata.Decimal
			Time     time.Time
			Bid      marketdata.Decimal `json:"best_bid"`
			Ask      marketdata.Decimal `json:"best_ask"`
		}
		if err := json.Unmarshal(frames[i].data, &m); err != nil {
			return err
		}
		switch m.Type {
		case "match", "last_match":
			side, err := takerSide(m.Side)
			if err != nil {
				return err
			}
			err = r.trade(marketdata.Trade{
				ExchangeID: exchange, Symbol: m.Product, TradeID: m.ID.String(), Time: m.Time,
				Price: m.Price, Size: m.Size, Side: side,
			})
			if err != nil {
				return err
			}
		case "ticker":
			err := r.quote(marketdata.Level1{
				ExchangeID: exchange, Symbol: m.Product, Time: m.Time, Sequence: m.Sequence,
				BidPrice: m.Bid, AskPrice: m.Ask,
			}, true)
			if err != nil {
				return err
			}
			if base, ok := strings.CutSuffix(m.Product, "-USD"); ok {
				if err := r.price(exchange, base, m.Price, m.Time, "coinbase ticker"); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

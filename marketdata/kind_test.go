package marketdata

import (
	"strings"
	"testing"
)

func TestKindNames(t *testing.T) {
	t.Parallel()
	for _, k := range Kinds() {
		got, err := ParseKind(k.String())
		if err != nil || got != k {
			t.Errorf("ParseKind(%s) = %v, %v", k, got, err)
		}
	}
	if len(Kinds()) != 9 || KindCount != 9 || !strings.HasPrefix(KindNames(), "price, ohlcv, ") {
		t.Errorf("%d kinds", len(Kinds()))
	}
	for _, s := range []string{"", "Price", "prices", "kind(0)"} {
		if _, err := ParseKind(s); err == nil {
			t.Errorf("ParseKind(%q) gave no error", s)
		}
	}
	if got := Kind(0).String(); got != "kind(0)" {
		t.Errorf("the zero Kind is %q", got)
	}
}

func TestTopicNames(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		topic    string
		kind     Kind
		exchange string
		ok       bool
	}{
		{"crypto-prices", KindPrice, "", true},
		{"crypto-prices-binance", KindPrice, "binance", true},
		{"crypto-ohlcv-binance-futures", KindOHLCV, "binance-futures", true},
		{"crypto-level1-crypto.com", KindLevel1, "crypto.com", true},
		{"crypto-trades-Kraken", KindTrade, "kraken", true},
		{"crypto-analytics", KindAnalytics, "", true},
		{"crypto-funding-okx", KindFunding, "okx", true},
		{"crypto-open-interest-binance-futures", KindOpenInterest, "binance-futures", true},
		{"crypto-liquidations", KindLiquidation, "", true},
		{"crypto-book-kraken", KindBook, "kraken", true},
		{"crypto-prices-", 0, "", false},
		{"crypto-pricesbinance", 0, "", false},
		{"crypto-price", 0, "", false},
		{"crypto-books-binance", 0, "", false},
		{"xcrypto-prices", 0, "", false},
		{"", 0, "", false},
	} {
		k, exchange, ok := KindOfTopic(tt.topic)
		if k != tt.kind || exchange != tt.exchange || ok != tt.ok {
			t.Errorf("KindOfTopic(%q) = %v, %q, %v", tt.topic, k, exchange, ok)
		}
	}
	for _, k := range Kinds() {
		for _, exchange := range []string{"", "binance", "binance-us"} {
			gotKind, gotExchange, ok := KindOfTopic(TopicName(k, exchange))
			if gotKind != k || gotExchange != exchange || !ok {
				t.Errorf("%s does not come back: %v %q", TopicName(k, exchange), gotKind, gotExchange)
			}
		}
	}
	if got := TopicName(KindPrice, "BINANCE"); got != "crypto-prices-binance" {
		t.Errorf("an upper-case exchange gives %q", got)
	}
	if got := TopicName(0, "binance"); got != "" {
		t.Errorf("no kind gives %q", got)
	}
}

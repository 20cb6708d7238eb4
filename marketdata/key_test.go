package marketdata

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestKey(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		layout                   Layout
		kind                     Kind
		exchange, symbol, source string
		want                     string // "" for refused
	}{
		{TopicPerExchange, KindPrice, "binance", "BTC-USDT", "", "BTC-USDT"},
		{TopicPerKind, KindPrice, "Binance", "BTC-USDT", "", "binance|BTC-USDT"},
		{TopicPerKind, KindTrade, "kraken", "XBT/USD", "ws", "kraken|XBT/USD"},
		{TopicPerExchange, KindTrade, "kraken", "", "", ""},
		{TopicPerKind, KindOHLCV, "kraken", "", "x", ""},
		{TopicPerKind, KindLevel1, "", "BTC", "", ""},
		{TopicPerKind, KindLevel1, "a|b", "BTC", "", ""},
		{TopicPerExchange, KindAnalytics, "Kraken", "", "gecko", "kraken"},
		{TopicPerKind, KindAnalytics, "kraken", "", "gecko", "kraken"},
		{TopicPerKind, KindAnalytics, "", "", "gecko", "gecko"},
		{TopicPerKind, KindAnalytics, "kraken", "BTC", "", "kraken|BTC"},
		{TopicPerExchange, KindAnalytics, "kraken", "BTC", "", "BTC"},
		{TopicPerKind, KindAnalytics, "", "BTC", "", "BTC"},
		{TopicPerKind, KindAnalytics, "", "", "", ""},
	} {
		got, err := Key(tt.layout, tt.kind, tt.exchange, tt.symbol, tt.source)
		if string(got) != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("Key(%v, %v, %q, %q, %q) = %q, %v", tt.layout, tt.kind, tt.exchange, tt.symbol, tt.source, got, err)
		}
	}
}

func TestLayout(t *testing.T) {
	t.Parallel()
	for _, l := range []Layout{TopicPerExchange, TopicPerKind} {
		if got, err := ParseLayout(l.String()); err != nil || got != l {
			t.Errorf("ParseLayout(%s) = %v, %v", l, got, err)
		}
	}
	if _, err := ParseLayout("exchange"); err == nil || !strings.Contains(err.Error(), "exchange|symbol") {
		t.Errorf("the exchange as a key is not refused with advice: %v", err)
	}
	if _, err := ParseLayout("other"); err == nil {
		t.Error("an unknown layout is accepted")
	}
	if got := TopicPerExchange.Topic(KindTrade, "okx"); got != "crypto-trades-okx" {
		t.Error(got)
	}
	if got := TopicPerKind.Topic(KindTrade, "okx"); got != "crypto-trades" {
		t.Error(got)
	}
}

// TestMurmur2 has the vectors of Kafka's own UtilsTest.testMurmur2.
func TestMurmur2(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]int32{
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		if got := int32(murmur2([]byte(key))); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", key, got, want)
		}
		if got, want := Partition([]byte(key), 12), (want&0x7fffffff)%12; got != want {
			t.Errorf("Partition(%q, 12) = %d, want %d", key, got, want)
		}
	}
}

// TestPartitionAsFranz compares with the partitioner that franz-go uses by
// default for records with a key.
func TestPartitionAsFranz(t *testing.T) {
	t.Parallel()
	franz := kgo.StickyKeyPartitioner(nil).ForTopic("t")
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		key := make([]byte, 1+rng.IntN(40))
		for i := range key {
			key[i] = byte(rng.Uint32())
		}
		n := 1 + rng.IntN(300)
		if got, want := Partition(key, int32(n)), franz.Partition(&kgo.Record{Key: key}, n); int(got) != want {
			t.Fatalf("Partition(%x, %d) = %d, franz-go has %d", key, n, got, want)
		}
	}
}

package recording

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/qicore/tickconnect/marketdata"
)

func readAll(t *testing.T) (*Reader, []Record) {
	t.Helper()
	r, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	var records []Record
	for {
		record, err := r.Next()
		if errors.Is(err, io.EOF) {
			return r, records
		}
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, record)
	}
}

// TestEveryRecordIsGood decodes the whole recording as the sink would.
func TestEveryRecordIsGood(t *testing.T) {
	t.Parallel()
	_, records := readAll(t)
	now := time.Now()
	var decoder marketdata.Decoder
	kinds, exchanges, keys := make(map[marketdata.Kind]int), make(map[string]int), make(map[string]bool)
	for i := range records {
		r := &records[i]
		kind, exchange, ok := marketdata.KindOfTopic(r.Topic)
		if !ok {
			t.Fatalf("%s is no topic of market data", r.Topic)
		}
		var err error
		var at time.Time
		var gotExchange, symbol, natural string
		switch kind {
		case marketdata.KindPrice:
			var v marketdata.Price
			err = decoder.Price(r.Value, now, &v)
			at, gotExchange, symbol = v.Time, v.ExchangeID, v.Symbol
			natural = fmt.Sprintf("%s|%s|%s|%d", r.Topic, v.CoinID, v.USDPrice, v.Time.UnixMicro())
		case marketdata.KindOHLCV:
			var v marketdata.OHLCV
			err = decoder.OHLCV(r.Value, now, &v)
			at, gotExchange, symbol = v.Time, v.ExchangeID, v.Symbol
		case marketdata.KindLevel1:
			var v marketdata.Level1
			err = decoder.Level1(r.Value, now, &v)
			at, gotExchange, symbol = v.Time, v.ExchangeID, v.Symbol
		case marketdata.KindTrade:
			var v marketdata.Trade
			err = decoder.Trade(r.Value, now, &v)
			at, gotExchange, symbol = v.Time, v.ExchangeID, v.Symbol
			if v.TradeID != "" {
				natural = fmt.Sprintf("%s|%s|%s|%d", r.Topic, v.Symbol, v.TradeID, v.Time.UnixMicro())
			}
			if v.Side != "buy" && v.Side != "sell" {
				t.Fatalf("%s: side %q: %s", r.Topic, v.Side, r.Value)
			}
		case marketdata.KindAnalytics:
			t.Fatalf("%s: no analytics were recorded", r.Topic)
		}
		if err != nil {
			t.Fatalf("%s: %v: %s", r.Topic, err, r.Value)
		}
		if n := decoder.UnknownFields(); n != 0 {
			t.Fatalf("%s: %d unknown fields: %s", r.Topic, n, r.Value)
		}
		if !at.Equal(r.Time) || gotExchange != exchange || symbol != string(r.Key) {
			t.Fatalf("%s: key %s and time %s beside %s", r.Topic, r.Key, r.Time, r.Value)
		}
		if natural != "" && keys[natural] {
			t.Fatalf("%s: the natural key %s occurs twice", r.Topic, natural)
		}
		keys[natural] = true
		kinds[kind]++
		exchanges[exchange]++
	}
	if len(kinds) != 4 || len(exchanges) < 6 || len(records) < 50_000 {
		t.Errorf("%d records of %d kinds and %d exchanges: too little for a demo", len(records), len(kinds), len(exchanges))
	}
}

// TestManifest: the totals and the version are those of the records.
func TestManifest(t *testing.T) {
	t.Parallel()
	r, records := readAll(t)
	got := make(map[string]*Total)
	lines := make(map[string]*strings.Builder)
	for i := range records {
		record := &records[i]
		total := got[record.Topic]
		if total == nil {
			total = &Total{Topic: record.Topic, First: record.Time, Last: record.Time}
			got[record.Topic], lines[record.Topic] = total, &strings.Builder{}
		}
		total.Records++
		if record.Time.Before(total.First) {
			total.First = record.Time
		}
		if record.Time.After(total.Last) {
			total.Last = record.Time
		}
		fmt.Fprintf(lines[record.Topic], "%s\t%s\n", record.Key, record.Value)
	}
	if len(got) != len(r.Totals()) || r.Records() != len(records) {
		t.Errorf("the manifest has %d topics and %d records, the files %d and %d",
			len(r.Totals()), r.Records(), len(got), len(records))
	}
	hash := sha256.New()
	for _, want := range r.Totals() {
		total := got[want.Topic]
		if total == nil || total.Records != want.Records || !total.First.Equal(want.First) || !total.Last.Equal(want.Last) {
			t.Errorf("the manifest says %+v, the file %+v", want, total)
			continue
		}
		fmt.Fprintln(hash, want.Topic)
		io.WriteString(hash, lines[want.Topic].String())
	}
	if version := hex.EncodeToString(hash.Sum(nil))[:16]; version != r.Version() {
		t.Errorf("the manifest's version is %s, that of the records %s", r.Version(), version)
	}
}

// TestOrder: two readers give the same order, in which all topics end together.
func TestOrder(t *testing.T) {
	t.Parallel()
	r, records := readAll(t)
	_, again := readAll(t)
	if !slices.EqualFunc(records, again, func(a, b Record) bool {
		return a.Topic == b.Topic && string(a.Key) == string(b.Key) && string(a.Value) == string(b.Value)
	}) {
		t.Error("two readers give two orders")
	}
	half := make(map[string]int)
	for _, record := range records[:len(records)/2] {
		half[record.Topic]++
	}
	for _, total := range r.Totals() {
		if n, slack := half[total.Topic], 1+total.Records/100; n < total.Records/2-slack || n > total.Records/2+slack {
			t.Errorf("%s: %d of %d records are in the first half", total.Topic, n, total.Records)
		}
	}
}

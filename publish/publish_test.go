package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/qicore/tickconnect/internal/devstack/testenv"
	"github.com/qicore/tickconnect/marketdata"
)

// TestKinds: a record of each kind, in both layouts, lies where its result says,
// under its key, and decodes to what was published.
func TestKinds(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		ctx := f.ctx()
		p := f.publisher()
		price := marketdata.Price{CoinID: "bitcoin", Symbol: "BTC", ExchangeID: strings.ToUpper(f.exchange), USDPrice: decimal("65000.10"), Time: when, Source: "s"}
		bar := marketdata.OHLCV{
			ExchangeID: f.exchange, Symbol: "BTC-USD", Interval: "1m", Time: when,
			Open: decimal("1"), High: decimal("2"), Low: decimal("1"), Close: decimal("1.50"), Volume: decimal("0"),
		}
		quote := marketdata.Level1{ExchangeID: f.exchange, Symbol: "BTC-USD", Time: when, BidPrice: decimal("1"), AskPrice: decimal("2")}
		figures := marketdata.Analytics{Time: when, ExchangeID: f.exchange, Metrics: `{"mine":1.10}`}
		trade := f.trade(1)
		type published struct {
			kind   marketdata.Kind
			key    string
			value  []byte
			result func() ([]Result, error)
		}
		for _, one := range []published{
			{marketdata.KindPrice, "BTC", marketdata.AppendJSON(nil, &price), func() ([]Result, error) {
				r, err := p.PublishPrice(ctx, price)
				return []Result{r}, err
			}},
			{marketdata.KindOHLCV, "BTC-USD", marketdata.AppendJSON(nil, &bar), func() ([]Result, error) {
				return p.PublishOHLCV(ctx, []marketdata.OHLCV{bar})
			}},
			{marketdata.KindLevel1, "BTC-USD", marketdata.AppendJSON(nil, &quote), func() ([]Result, error) {
				return p.PublishLevel1(ctx, []marketdata.Level1{quote})
			}},
			{marketdata.KindTrade, "S1-USD", marketdata.AppendJSON(nil, &trade), func() ([]Result, error) {
				return p.PublishTrades(ctx, []marketdata.Trade{trade})
			}},
			{marketdata.KindAnalytics, f.exchange, marketdata.AppendJSON(nil, &figures), func() ([]Result, error) {
				return p.PublishAnalytics(ctx, []marketdata.Analytics{figures})
			}},
		} {
			results, err := one.result()
			if err != nil || len(results) != 1 {
				t.Errorf("%s: %v, %v", one.kind, results, err)
				continue
			}
			records := f.read(f.topic(one.kind))
			if len(records) != 1 {
				t.Errorf("%s: %d records", one.kind, len(records))
				continue
			}
			r, at := records[0], results[0]
			want := Result{Kind: one.kind, Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}
			if at != want || string(r.Key) != one.key || !bytes.Equal(r.Value, one.value) || r.Partition != marketdata.Partition(r.Key, 12) {
				t.Errorf("%s: the result is %+v; the log holds %s/%d@%d %s %s", one.kind, at, r.Topic, r.Partition, r.Offset, r.Key, r.Value)
			}
		}
		topics, err := p.Admin().Describe(ctx, f.topic(marketdata.KindTrade))
		if err != nil {
			t.Fatal(err)
		}
		if d := DefaultTopicSettings(marketdata.KindTrade).Differences(topics[0]); len(d) > 0 || topics[0].Configs == nil {
			t.Errorf("the topic was made with other settings: %+v", d)
		}
	})
}

// TestTopicPerKind needs a cluster of its own: its topics' names are everyone's.
func TestTopicPerKind(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Broker(t))
	p := f.publisher(WithLayout(marketdata.TopicPerKind))
	trade := f.trade(7)
	trade.ExchangeID = "a|b"
	if _, err := p.PublishTrades(f.ctx(), []marketdata.Trade{trade}); !IsBadRecord(err) {
		t.Errorf("an exchange that would split the key in two gives %v", err)
	}
	trade.ExchangeID = "Any Exchange"
	if _, err := p.PublishTrades(f.ctx(), []marketdata.Trade{trade}); err != nil {
		t.Fatal(err)
	}
	r := f.read("crypto-trades")[0]
	if string(r.Key) != "any exchange|S7-USD" {
		t.Errorf("the key is %q", r.Key)
	}
}

// TestOneBadRecordCostsNoOther in a batch, nor does it reach the log.
func TestOneBadRecordCostsNoOther(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Broker(t))
	p := f.publisher()
	trades := []marketdata.Trade{f.trade(0), f.trade(1), f.trade(2), f.trade(3), f.trade(4)}
	trades[1].Price = decimal("-1")
	trades[2].ExchangeID = "not a topic's name"
	trades[3].Symbol = "NUL\x00"
	results, err := p.PublishTrades(f.ctx(), trades)
	var failed *BatchError
	if !errors.As(err, &failed) || failed.Failed != 3 || failed.Index != 1 || failed.Records != 5 {
		t.Fatalf("%v, want 3 of 5 failed, the first at 1", err)
	}
	for i, r := range results {
		var bad *marketdata.Error
		if isBad := i >= 1 && i <= 3; isBad != errors.As(r.Err, &bad) || isBad != IsBadRecord(r.Err) || isBad != (r.Offset < 0) {
			t.Errorf("record %d: %+v", i, r)
		}
	}
	if n := f.end(f.topic(marketdata.KindTrade)); n != 2 {
		t.Errorf("the log holds %d records, want 2", n)
	}
	trade := f.trade(9)
	trade.Time = time.Time{}
	if err := p.EnqueueTrade(f.ctx(), &trade, func(Result) { t.Error("done was called for a record that was not taken") }); !IsBadRecord(err) {
		t.Errorf("EnqueueTrade gave %v", err)
	}
}

// TestCloseLosesNothing of what was enqueued, and takes nothing after.
func TestCloseLosesNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		p := f.publisher(WithLinger(time.Second))
		const n = 5000
		var done, failed atomic.Int64
		var wg sync.WaitGroup
		for g := range 5 {
			wg.Go(func() {
				for i := range n / 5 {
					v := f.trade(g*n + i)
					err := p.EnqueueTrade(f.ctx(), &v, func(r Result) {
						done.Add(1)
						if r.Err != nil {
							failed.Add(1)
						}
					})
					v.Symbol = "used again"
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if err := p.Close(f.ctx()); err != nil {
			t.Fatal(err)
		}
		if done.Load() != n || failed.Load() != 0 || p.BufferedRecords() != 0 {
			t.Errorf("%d of %d records have a result, %d failed, %d wait", done.Load(), n, failed.Load(), p.BufferedRecords())
		}
		seen := map[string]bool{}
		for _, r := range f.read(f.topic(marketdata.KindTrade)) {
			seen[string(r.Value)] = true
			if bytes.Contains(r.Value, []byte("used again")) {
				t.Error("a record changed after it was enqueued")
			}
		}
		if len(seen) != n {
			t.Errorf("the log holds %d different records, want %d", len(seen), n)
		}
		v := f.trade(0)
		if err := p.EnqueueTrade(f.ctx(), &v, nil); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		if err := p.Close(f.ctx()); err != nil {
			t.Errorf("a second Close: %v", err)
		}
	})
}

// TestOnceThroughBrokenConnections: connections that break at any moment lose
// nothing, double nothing and change no order within a key.
func TestOnceThroughBrokenConnections(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		net := network{cutEvery: 13} // enough to be connected, and to send a few requests
		p := f.publisher(net.option(), WithLinger(0))
		const n = 4000
		var failed atomic.Int64
		for i := range n {
			v := f.trade(i)
			if err := p.EnqueueTrade(f.ctx(), &v, func(r Result) {
				if r.Err != nil {
					failed.Add(1)
					t.Log(r.Err)
				}
			}); err != nil {
				t.Fatal(err)
			}
			if i%100 == 99 { // so that the cuts meet many requests
				if err := p.Flush(f.ctx()); err != nil {
					t.Fatal(err)
				}
			}
		}
		if failed.Load() > 0 {
			t.Errorf("%d records failed", failed.Load())
		}
		last, seen := map[string]int{}, map[string]int{}
		for _, r := range f.read(f.topic(marketdata.KindTrade)) {
			var d marketdata.Decoder
			var v marketdata.Trade
			if err := d.Trade(r.Value, time.Now(), &v); err != nil {
				t.Fatal(err)
			}
			seen[strings.Clone(v.TradeID)]++
			var id int
			if _, err := fmt.Sscan(v.TradeID, &id); err != nil {
				t.Fatal(err)
			}
			if before, ok := last[string(r.Key)]; ok && id <= before {
				t.Errorf("key %s: %d comes after %d", r.Key, id, before)
			}
			last[string(r.Key)] = id
		}
		for id, times := range seen {
			if times != 1 {
				t.Errorf("record %s is there %d times", id, times)
			}
		}
		if len(seen) != n {
			t.Errorf("%d records, want %d", len(seen), n)
		}
	})
}

// TestSilentBroker: whoever waits gets an answer when its context ends, and what
// was taken is written once the brokers answer again.
func TestSilentBroker(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Broker(t))
	var net network
	p := f.publisher(net.option())
	if _, err := p.PublishTrades(f.ctx(), []marketdata.Trade{f.trade(0)}); err != nil {
		t.Fatal(err)
	}
	net.freeze()
	ctx, cancel := context.WithTimeout(f.ctx(), 200*time.Millisecond)
	defer cancel()
	results, err := p.PublishTrades(ctx, []marketdata.Trade{f.trade(1), f.trade(2)})
	if !errors.Is(err, ErrUnknownOutcome) || !errors.Is(err, context.DeadlineExceeded) || len(results) != 2 {
		t.Fatalf("%+v, %v; want an unknown outcome", results, err)
	}
	if err := p.Flush(ctx); err == nil || !strings.Contains(err.Error(), "still wait") {
		t.Errorf("Flush gave %v", err)
	}
	other := f.trade(3)
	other.ExchangeID += "-other" // of a topic that nobody knows yet
	if _, err := p.PublishTrades(ctx, []marketdata.Trade{other}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a new topic gives %v", err)
	}
	net.thaw()
	if err := p.Close(f.ctx()); err != nil {
		t.Fatal(err)
	}
}

// TestBrokersAway: without any broker the answer says so, within the context.
func TestBrokersAway(t *testing.T) {
	t.Parallel()
	p, err := New(WithBrokers("127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	f := &fixture{TB: t, exchange: "x"}
	if _, err := p.PublishTrades(ctx, []marketdata.Trade{f.trade(0)}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestFullBuffer refuses or blocks, as was asked for.
func TestFullBuffer(t *testing.T) {
	t.Parallel()
	for _, full := range []FullBuffer{Refuse, Block} {
		t.Run(fmt.Sprint(full), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, testenv.Broker(t))
			var net network
			p := f.publisher(net.option(), WithBufferBytes(2000), WithFullBuffer(full))
			if _, err := p.PublishTrades(f.ctx(), []marketdata.Trade{f.trade(0)}); err != nil {
				t.Fatal(err)
			}
			net.freeze()
			var trades []marketdata.Trade
			for i := range 50 {
				trades = append(trades, f.trade(i))
			}
			ctx, cancel := context.WithTimeout(f.ctx(), 300*time.Millisecond)
			defer cancel()
			results, err := p.PublishTrades(ctx, trades)
			refused := 0
			for _, r := range results {
				if errors.Is(r.Err, ErrBufferFull) {
					refused++
				}
			}
			if err == nil || (full == Refuse) != (refused > 30) {
				t.Errorf("%v; %d records were refused", err, refused)
			}
			if p.BufferedBytes() > 2000 {
				t.Errorf("%d bytes are buffered", p.BufferedBytes())
			}
			net.thaw()
			if err := p.Close(f.ctx()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestGivingUpCostsNoOther: whose wait ends takes nobody else's records along,
// and Close does not wait for those that wait for room.
func TestGivingUpCostsNoOther(t *testing.T) {
	t.Parallel()
	for _, full := range []FullBuffer{Refuse, Block} {
		t.Run(fmt.Sprint(full), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, testenv.Broker(t))
			var net network
			p := f.publisher(net.option(), WithBufferBytes(2000), WithFullBuffer(full))
			if _, err := p.PublishTrades(f.ctx(), []marketdata.Trade{f.trade(0)}); err != nil {
				t.Fatal(err)
			}
			net.freeze()
			ctx, giveUp := context.WithCancel(f.ctx())
			results := make(chan Result, 2)
			first, second := f.trade(50), f.trade(50) // of one key
			for c, v := range map[context.Context]*marketdata.Trade{ctx: &first, f.ctx(): &second} {
				if err := p.EnqueueTrade(c, v, func(r Result) { results <- r }); err != nil {
					t.Fatal(err)
				}
			}
			giveUp()
			large := f.trade(51)
			large.Source = strings.Repeat("x", 1800)
			waiting := make(chan error, 1)
			go func() { waiting <- p.EnqueueTrade(f.ctx(), &large, nil) }()
			soon, cancel := context.WithTimeout(f.ctx(), 100*time.Millisecond)
			defer cancel()
			if full == Block {
				if err := p.EnqueueTrade(soon, &large, nil); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("a full buffer gives %v", err)
				}
			}
			closed := make(chan error, 1)
			go func() { closed <- p.Close(f.ctx()) }()
			net.thaw()
			for range 2 {
				if r := <-results; r.Err != nil {
					t.Errorf("a record failed since somebody gave up: %v", r.Err)
				}
			}
			if err := <-closed; err != nil {
				t.Error(err)
			}
			if err := <-waiting; full == Refuse && !errors.Is(err, ErrBufferFull) && !errors.Is(err, ErrClosed) || full == Block && err != nil && !errors.Is(err, ErrClosed) {
				t.Errorf("who waited for room got %v", err)
			}
		})
	}
}

// TestTooLarge: a record above the bound is refused with advice, those beside it
// are published.
func TestTooLarge(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		p := f.publisher()
		large := f.trade(0)
		large.Source = strings.Repeat("x", 1<<20)
		results, err := p.PublishTrades(f.ctx(), []marketdata.Trade{f.trade(1), large, f.trade(2)})
		if !errors.Is(err, ErrTooLarge) || !errors.Is(results[1].Err, ErrTooLarge) || results[0].Err != nil || results[2].Err != nil || !IsBadRecord(err) {
			t.Fatalf("%v: %+v", err, results)
		}
		if !strings.Contains(err.Error(), "max.message.bytes") {
			t.Errorf("no advice in: %v", err)
		}
	})
}

// TestOwnPartitioner decides.
func TestOwnPartitioner(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Broker(t))
	p := f.publisher(WithPartitioner(func(topic string, key []byte, partitions int) int {
		if topic != f.topic(marketdata.KindTrade) || partitions != 12 || string(key) == "" {
			t.Errorf("asked for %s %s %d", topic, key, partitions)
		}
		return partitions - 1
	}))
	results, err := p.PublishTrades(f.ctx(), []marketdata.Trade{f.trade(0), f.trade(1), f.trade(2)})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if r.Partition != 11 || r.Offset != int64(i) {
			t.Errorf("record %d lies at %d@%d", i, r.Partition, r.Offset)
		}
	}
}

// TestJSONStaysAsItIs, fields that nobody knows too; the exchange may be given
// beside it.
func TestJSONStaysAsItIs(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Broker(t))
	p := f.publisher()
	full := fmt.Sprintf(`{ "exchange_id":%q,"symbol":"BTC","mine":[1.10],"time":1714979289,"price":1.50,"size":"2"}`, f.exchange)
	const bare = `{"symbol":"BTC","time":1714979289,"price":1,"size":2,"exchangeId":null}` + "\n"
	results, err := p.PublishJSON(f.ctx(), []JSON{
		{Kind: marketdata.KindTrade, Exchange: "another", Value: []byte(full)},
		{Kind: marketdata.KindTrade, Exchange: f.exchange, Value: []byte(bare)},
		{Kind: marketdata.KindTrade, Value: []byte(bare)},
		{Kind: marketdata.KindTrade, Exchange: f.exchange, Value: []byte(`{"symbol":`)},
		{Kind: marketdata.KindTrade, Exchange: `"`, Value: []byte(bare)},
		{Kind: 99, Value: []byte(full)},
		{Kind: marketdata.KindAnalytics, Exchange: f.exchange, Value: []byte(`{"time":1714979289}`)},
	})
	for i, good := range []bool{true, true, false, false, false, false, true} {
		if (results[i].Err == nil) != good {
			t.Errorf("record %d: %v", i, results[i].Err)
		}
	}
	var failed *BatchError
	if !errors.As(err, &failed) || failed.Failed != 4 {
		t.Errorf("%v", err)
	}
	want := []string{full, `{"symbol":"BTC","time":1714979289,"price":1,"size":2,"exchangeId":null,"exchangeId":"` + f.exchange + `"}`}
	for i, r := range f.read(f.topic(marketdata.KindTrade)) {
		if string(r.Value) != want[i] || string(r.Key) != "BTC" {
			t.Errorf("the log holds %s %s, want %s", r.Key, r.Value, want[i])
		}
	}
	if r := f.read(f.topic(marketdata.KindAnalytics))[0]; string(r.Value) != `{"time":1714979289,"exchangeId":"`+f.exchange+`"}` {
		t.Errorf("the log holds %s", r.Value)
	}
}

// TestHooks: each record is counted once, whatever became of it.
func TestHooks(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Broker(t))
	var good, bad atomic.Int64
	p := f.publisher(WithHooks(Hooks{Done: func(r Result, size int, took time.Duration) {
		if r.Err == nil && size > 50 && took > 0 {
			good.Add(1)
		} else {
			bad.Add(1)
		}
	}}))
	wrong := f.trade(1)
	wrong.Symbol = ""
	if _, err := p.PublishTrades(f.ctx(), []marketdata.Trade{f.trade(0), wrong, f.trade(2)}); err == nil {
		t.Fatal("no error")
	}
	if good.Load() != 2 || bad.Load() != 1 {
		t.Errorf("%d good, %d bad", good.Load(), bad.Load())
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Option{
		"WithBrokers": WithBrokers(), "WithBufferBytes": WithBufferBytes(1), "WithMaxRecordBytes": WithMaxRecordBytes(0),
		"WithLinger": WithLinger(-1), "WithDeliveryTimeout": WithDeliveryTimeout(0),
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCloseGivesUp: a record that was on its way may have been written; one that
// comes later was not, whatever its topic.
func TestCloseGivesUp(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Broker(t))
	var net network
	p := f.publisher(net.option())
	if _, err := p.PublishTrades(f.ctx(), []marketdata.Trade{f.trade(0)}); err != nil {
		t.Fatal(err)
	}
	net.freeze()
	defer net.thaw()
	result := make(chan Result, 1)
	v := f.trade(1)
	if err := p.EnqueueTrade(f.ctx(), &v, func(r Result) { result <- r }); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(f.ctx(), 200*time.Millisecond) // longer than the linger
	defer cancel()
	if err := p.Close(ctx); err == nil {
		t.Error("Close does not say that a record still waits")
	}
	if r := <-result; !errors.Is(r.Err, ErrClosed) || !errors.Is(r.Err, ErrUnknownOutcome) {
		t.Errorf("a record on its way gets %v", r.Err)
	}
	v.ExchangeID += "-other" // of a topic that nobody knows yet
	for _, v := range []marketdata.Trade{v, f.trade(2)} {
		if err := p.EnqueueTrade(f.ctx(), &v, nil); !errors.Is(err, ErrClosed) || errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("after Close: %v", err)
		}
	}
}

// TestEndedContextSendsNothing: its records are not written, and known not to be.
func TestEndedContextSendsNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Broker(t))
	p := f.publisher()
	if _, err := p.PublishTrades(f.ctx(), []marketdata.Trade{f.trade(0)}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(f.ctx())
	cancel()
	results, err := p.PublishTrades(ctx, []marketdata.Trade{f.trade(1), f.trade(2)})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	for _, r := range results {
		if errors.Is(r.Err, ErrUnknownOutcome) || !errors.Is(r.Err, ErrUnavailable) {
			t.Errorf("%v", r.Err)
		}
	}
	if err := p.Flush(f.ctx()); err != nil {
		t.Fatal(err)
	}
	if n := f.end(f.topic(marketdata.KindTrade)); n != 1 {
		t.Errorf("%d records are there", n)
	}
}

// TestTopicWithSmallBatches: small records are published, however many come at
// once, also where the topic takes no large batch.
func TestTopicWithSmallBatches(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Broker(t))
	limit := "3000"
	if _, err := f.admin.CreateTopic(f.ctx(), 1, 1, map[string]*string{"max.message.bytes": &limit}, f.topic(marketdata.KindTrade)); err != nil {
		t.Fatal(err)
	}
	var vs []marketdata.Trade
	for i := range 1000 {
		v := f.trade(i)
		v.TradeID = fmt.Sprintf("%x-%d", i*7919*104729, i) // hardly to be compressed
		vs = append(vs, v)
	}
	if _, err := f.publisher().PublishTrades(f.ctx(), vs); err != nil {
		t.Error(err)
	}
	if n := f.end(f.topic(marketdata.KindTrade)); n != 1000 {
		t.Errorf("%d of 1000 records are there", n)
	}
}

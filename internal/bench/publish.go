package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/marketdata"
	"github.com/qicore/tickconnect/publish"
)

// publishing is one part: how fast the library and the HTTP ingest publish,
// against franz-go alone with the same settings.
type publishing struct {
	*bench
	brokers string
	broker  *child
	ingest  *child
	url     string // of the ingest
	prices  []marketdata.Price
	values  [][]byte // the same records as JSON
	topics  int
}

func (b *bench) publishing(ctx context.Context) error {
	broker, brokers, err := b.startBroker()
	if err != nil {
		return err
	}
	defer broker.kill()
	p := &publishing{bench: b, brokers: brokers, broker: broker}
	if err := p.makeRecords(); err != nil {
		return err
	}
	if _, _, err := p.raw(ctx, readyMade); err != nil { // warms up
		return err
	}
	if p.ingest, p.url, err = p.startIngest(ctx); err != nil {
		return err
	}
	defer p.ingest.kill()
	for round := range b.rounds {
		if err := p.round(ctx, round); err != nil {
			return fmt.Errorf("round %d: %w", round+1, err)
		}
	}
	return p.acked(ctx)
}

func (p *publishing) makeRecords() error {
	f := p.newFeed("binance")
	for range p.records {
		f.next()
		value := f.appendJSON(make([]byte, 0, 256))
		var d marketdata.Decoder
		var price marketdata.Price
		// The texts refer to the value, which stays as it is.
		if err := d.Price(value, time.Now(), &price); err != nil {
			return err
		}
		p.prices, p.values = append(p.prices, price), append(p.values, value)
	}
	return nil
}

func (p *publishing) round(ctx context.Context, round int) error {
	runs := []struct {
		name string
		run  func(context.Context) (float64, reading, error)
	}{
		{"franz-go, ready-made values", func(ctx context.Context) (float64, reading, error) { return p.raw(ctx, readyMade) }},
		{"franz-go, records encoded", func(ctx context.Context) (float64, reading, error) { return p.raw(ctx, ourEncoder) }},
		{"franz-go, encoding/json", func(ctx context.Context) (float64, reading, error) { return p.raw(ctx, standardEncoder) }},
		{"library, records", func(ctx context.Context) (float64, reading, error) { return p.library(ctx, false) }},
		{"library, JSON", func(ctx context.Context) (float64, reading, error) { return p.library(ctx, true) }},
		{httpName, func(ctx context.Context) (float64, reading, error) { return p.http(ctx, p.ingest, p.url) }},
	}
	rates := map[string]float64{}
	var last reading
	for i := range runs {
		run := runs[(i+round)%len(runs)]
		rate, m, err := run.run(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", run.name, err)
		}
		rates[run.name], last = rate, m
		p.report.add(figure{Part: "publish", Name: run.name, Unit: "k records/s", Goal: goalOf(run.name)}, rate/1000, m)
		cpu := m.self
		if run.name == httpName {
			cpu = m.cpu["ingest"]
		}
		p.report.add(figure{Part: "publish", Name: run.name + ": CPU for a record", Unit: "µs"},
			float64(cpu.Nanoseconds())/1000/float64(p.records), m)
	}
	for _, ratio := range []struct {
		ours, baseline string
		goal           float64
	}{
		{"library, records", "franz-go, encoding/json", 90},
		{"library, records", "franz-go, records encoded", 90},
		{"library, JSON", "franz-go, ready-made values", 90},
		{httpName, "library, JSON", 40},
	} {
		p.report.add(figure{Part: "publish", Name: ratio.ours + " / " + ratio.baseline, Unit: "%", Goal: &ratio.goal},
			100*rates[ratio.ours]/rates[ratio.baseline], last)
	}
	return nil
}

const httpName = "HTTP, NDJSON of 500"

func goalOf(run string) *float64 {
	if run == "library, records" {
		goal := 50.0
		return &goal
	}
	return nil
}

// exchange gives each run topics of its own.
func (p *publishing) exchange() string {
	p.topics++
	return fmt.Sprintf("binance%d", p.topics)
}

// encoder makes a record's value in a run without the library.
type encoder uint8

const (
	readyMade       encoder = iota // it is there already
	ourEncoder                     // marketdata.AppendJSON, as the library has it
	standardEncoder                // encoding/json of a struct, as a program without the library has it
)

// plainPrice is a price as a program without the library declares it.
type plainPrice struct {
	CoinID      string    `json:"coinId"`
	Symbol      string    `json:"symbol"`
	ExchangeID  string    `json:"exchangeId"`
	USDPrice    string    `json:"usdPrice"`
	MarketCap   string    `json:"marketCap,omitempty"`
	Volume24h   string    `json:"volume24h,omitempty"`
	Time        time.Time `json:"time"`
	Source      string    `json:"source"`
	Attribution string    `json:"attribution"`
}

func (p *publishing) value(i int, how encoder) []byte {
	switch v := &p.prices[i]; how {
	case ourEncoder:
		return marketdata.AppendJSON(make([]byte, 0, 256), v)
	case standardEncoder:
		value, err := json.Marshal(plainPrice{
			v.CoinID, v.Symbol, v.ExchangeID, v.USDPrice.String(), v.MarketCap.String(), v.Volume24h.String(), v.Time, v.Source, v.Attribution,
		})
		if err != nil {
			panic(err) // of such a struct it gives none
		}
		return value
	case readyMade:
	}
	return p.values[i]
}

// raw produces with franz-go alone: the settings of package publish, nothing
// checked.
func (p *publishing) raw(ctx context.Context, how encoder) (float64, reading, error) {
	topic := marketdata.TopicName(marketdata.KindPrice, p.exchange())
	if err := createTopics(ctx, p.brokers, throughputPartitions, topic); err != nil {
		return 0, reading{}, err
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(p.brokers), kgo.ProducerBatchCompression(kgo.Lz4Compression()),
		kgo.ProducerLinger(publish.DefaultLinger), kgo.ProducerBatchMaxBytes(publish.DefaultMaxRecordBytes),
		kgo.MaxBufferedBytes(publish.DefaultBufferBytes), kgo.MaxBufferedRecords(1<<31-1), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
	if err != nil {
		return 0, reading{}, err
	}
	defer client.Close()
	var failed firstError
	return p.measure(func() error {
		for i := range p.prices {
			client.Produce(ctx, &kgo.Record{Topic: topic, Key: []byte(p.prices[i].Symbol), Value: p.value(i, how)}, func(_ *kgo.Record, err error) { failed.set(err) })
		}
		if err := client.Flush(ctx); err != nil {
			return err
		}
		return failed.get()
	})
}

func (p *publishing) library(ctx context.Context, asJSON bool) (float64, reading, error) {
	publisher, err := publish.New(publish.WithBrokers(p.brokers))
	if err != nil {
		return 0, reading{}, err
	}
	var failed firstError
	done := func(r publish.Result) { failed.set(r.Err) }
	return p.measure(func() error {
		for i := range p.prices {
			var err error
			if asJSON {
				err = publisher.EnqueueJSON(ctx, publish.JSON{Kind: marketdata.KindPrice, Value: p.values[i]}, done)
			} else {
				err = publisher.EnqueuePrice(ctx, &p.prices[i], done)
			}
			if err != nil {
				return err
			}
		}
		if err := publisher.Close(ctx); err != nil {
			return err
		}
		return failed.get()
	})
}

// measure runs f and gives records a second.
func (p *publishing) measure(f func() error) (float64, reading, error) {
	m, err := startMeter(map[string]cpuOf{"broker": p.broker.cpu})
	if err != nil {
		return 0, reading{}, err
	}
	if err := f(); err != nil {
		return 0, reading{}, err
	}
	r, err := m.read()
	return float64(p.records) / r.wall.Seconds(), r, err
}

// acked publishes 2,000 records a second and measures how long the brokers'
// answers take.
func (p *publishing) acked(ctx context.Context) error {
	const rate = 2000
	var mu sync.Mutex
	var waits []float64
	var failed firstError
	publisher, err := publish.New(publish.WithBrokers(p.brokers), publish.WithHooks(publish.Hooks{
		Done: func(r publish.Result, _ int, took time.Duration) {
			failed.set(r.Err)
			mu.Lock()
			defer mu.Unlock()
			waits = append(waits, float64(took.Microseconds())/1000)
		},
	}))
	if err != nil {
		return err
	}
	m, err := startMeter(map[string]cpuOf{"broker": p.broker.cpu})
	if err != nil {
		return err
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for n, began := 0, time.Now(); time.Since(began) < p.duration; {
		for due := int(time.Since(began).Seconds() * rate); n < due; n++ {
			if err := publisher.EnqueuePrice(ctx, &p.prices[n%len(p.prices)], nil); err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := publisher.Close(ctx); err != nil {
		return err
	}
	r, err := m.read()
	if err != nil {
		return err
	}
	if err := failed.get(); err != nil {
		return err
	}
	goal := 50.0
	p.report.add(figure{Part: "publish", Name: "2000 records/s: published to acknowledged, p50", Unit: "ms", AtMost: true}, quantile(waits, 0.5), r)
	p.report.add(figure{Part: "publish", Name: "2000 records/s: published to acknowledged, p99", Unit: "ms", AtMost: true, Goal: &goal}, quantile(waits, 0.99), r)
	return nil
}

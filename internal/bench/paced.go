package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// pacedProducer produces at a steady rate, round the partitions, without
// lingering, and remembers when it sent the records of the watched partitions.
type pacedProducer struct {
	client *kgo.Client
	topics []string
	feeds  []*feed
	rate   int
	sent   atomic.Int64
	failed firstError
	cancel context.CancelFunc
	done   chan struct{}

	mu    sync.Mutex
	times [][]sending // by topic, then by offset of its watched partition
}

// sending is when a record was given to the producer, and when the broker had
// acknowledged it.
type sending struct{ sent, acked time.Time }

func startPacedProducer(ctx context.Context, brokers string, topics []string, rate int, seed uint64) (*pacedProducer, error) {
	client, err := newProducer(brokers, kgo.ProducerLinger(0))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	p := &pacedProducer{
		client: client, topics: topics, rate: rate, cancel: cancel, done: make(chan struct{}), times: make([][]sending, len(topics)),
	}
	for i, topic := range topics {
		p.feeds = append(p.feeds, newFeed(seed+uint64(i), topic[len("crypto-prices-"):], time.Now(), time.Millisecond))
	}
	go p.run(ctx)
	return p, nil
}

func (p *pacedProducer) run(ctx context.Context) {
	defer close(p.done)
	began := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		due := int64(time.Since(began).Seconds() * float64(p.rate))
		for n := p.sent.Load(); n < due; n++ {
			p.produce(int(n))
			p.sent.Add(1)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// produce sends record n. Consecutive records go to different topics.
func (p *pacedProducer) produce(n int) {
	topic := n % len(p.topics)
	partition := int32(n / len(p.topics) % loadPartitions)
	f := p.feeds[topic]
	now := time.Now()
	// Of one symbol no two records share a microsecond.
	if !now.Truncate(time.Microsecond).After(f.moment.Truncate(time.Microsecond)) {
		f.make(f.moment.Add(time.Microsecond))
	} else {
		f.make(now)
	}
	record := &kgo.Record{
		Topic: p.topics[topic], Partition: partition, Key: []byte(f.current.ticker), Value: f.appendJSON(make([]byte, 0, 256)),
	}
	watched := partition == watchedPartition(topic)
	sent := time.Now()
	// Its own context: what was accepted is sent, also while stopping.
	p.client.Produce(context.Background(), record, func(r *kgo.Record, err error) {
		acked := time.Now()
		p.failed.set(err)
		if err != nil || !watched {
			return
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		for int64(len(p.times[topic])) <= r.Offset {
			p.times[topic] = append(p.times[topic], sending{})
		}
		p.times[topic][r.Offset] = sending{sent, acked}
	})
}

// sending gives the record of a topic's watched partition.
func (p *pacedProducer) sending(topic int, offset int64) (sending, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if offset < 0 || offset >= int64(len(p.times[topic])) || p.times[topic][offset].sent.IsZero() {
		return sending{}, false
	}
	return p.times[topic][offset], true
}

// stop ends the producing and says how many records were acknowledged.
func (p *pacedProducer) stop() (int64, error) {
	p.cancel()
	<-p.done
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	err := p.client.Flush(ctx)
	p.client.Close()
	if err == nil {
		err = p.failed.get()
	}
	return p.sent.Load(), err
}

package e2e

import (
	"sync/atomic"
	"time"

	"github.com/qicore/tickconnect/marketdata"
)

// stream produces records of three kinds to topics of a stack until it is
// stopped: revisions of earlier keys and bad records among them.
type stream struct {
	s        *stack
	exchange string
	topics   map[marketdata.Kind]string
	pause    time.Duration // between batches
	batch    int
	seq      int
	batches  int
	burst    atomic.Int64 // records that the next batch has in addition
	stopped  atomic.Bool
	done     chan struct{}
}

var streamKinds = []marketdata.Kind{marketdata.KindPrice, marketdata.KindTrade, marketdata.KindLevel1}

// newStream makes the topics of a stream.
func (s *stack) newStream(partitions int32) *stream {
	p := &stream{s: s, exchange: "kraken", topics: map[marketdata.Kind]string{}, pause: 20 * time.Millisecond, batch: 30}
	for _, kind := range streamKinds {
		p.topics[kind] = s.createTopic(kind, p.exchange, partitions)
	}
	return p
}

// send produces one batch of each kind and waits for the broker.
func (p *stream) send(records int) {
	p.s.t.Helper()
	if err := p.trySend(records); err != nil {
		p.s.t.Fatal(err)
	}
}

func (p *stream) trySend(records int) error {
	exchange := p.s.exchange(p.exchange)
	for _, kind := range streamKinds {
		samples := make([]sample, 0, records+1)
		for i := range records {
			samples = append(samples, newSample(kind, exchange, p.seq+i, 0))
		}
		samples = append(samples, newSample(kind, exchange, p.seq, 1))
		if err := p.s.tryProduce(p.topics[kind], samples...); err != nil {
			return err
		}
	}
	p.seq += records
	if p.batches++; p.batches%7 == 0 {
		return p.s.tryProduceBad(p.topics[marketdata.KindTrade], poison{"", `{"price":"-1"}`})
	}
	return nil
}

// run produces until stop is called.
func (p *stream) run() {
	p.stopped.Store(false)
	p.done = make(chan struct{})
	go func() {
		defer close(p.done)
		tick := time.NewTicker(p.pause)
		defer tick.Stop()
		for !p.stopped.Load() {
			if err := p.trySend(p.batch + int(p.burst.Swap(0))); err != nil {
				p.s.t.Error(err)
				return
			}
			<-tick.C
		}
	}()
}

func (p *stream) stop() {
	p.stopped.Store(true)
	<-p.done
}

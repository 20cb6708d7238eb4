package worker

import (
	"strconv"
	"sync"

	"github.com/qicore/tickconnect/connect"
)

// lagGauge shows the lag of each partition that this replica owns, and of no
// other: a partition that has moved to another replica disappears here.
type lagGauge struct {
	m    *Metrics
	name string
	mu   sync.Mutex
	had  map[connect.TopicPartition]bool
}

// set renews the lag. It lies between the ledger and the last stable offset,
// never below 0, and counts from the log's start where the ledger lies before. It
// returns the ends of the logs of partitions that move, and their lag in all.
func (g *lagGauge) set(w *Worker, tps []connect.TopicPartition, bounds map[connect.TopicPartition]connect.Bounds) (ends map[connect.TopicPartition]int64, total int64) {
	next := map[connect.TopicPartition]int64{}
	stuck := map[connect.TopicPartition]bool{}
	for _, t := range w.tasks() {
		for _, p := range t.Partitions {
			tp := connect.TopicPartition{Topic: p.Topic, Partition: p.Partition}
			next[tp], stuck[tp] = p.Next, p.Error != ""
		}
	}
	ends = map[connect.TopicPartition]int64{}
	g.mu.Lock()
	defer g.mu.Unlock()
	has := map[connect.TopicPartition]bool{}
	for _, tp := range tps {
		b, ok := bounds[tp]
		n, known := next[tp]
		if !ok || !known || n < 0 {
			continue
		}
		has[tp] = true
		lag := max(0, b.Stable-max(n, b.Start))
		g.m.lag.WithLabelValues(g.name, tp.Topic, strconv.Itoa(int(tp.Partition))).Set(float64(lag))
		if !stuck[tp] {
			ends[tp] = b.Stable
			total += lag
		}
	}
	for tp := range g.had {
		if !has[tp] {
			g.m.lag.DeleteLabelValues(g.name, tp.Topic, strconv.Itoa(int(tp.Partition)))
		}
	}
	g.had = has
	return ends, total
}

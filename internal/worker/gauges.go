package worker

import (
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/qicore/tickconnect/connect"
)

// partitionGauges show how each partition stands that this replica owns, and of no
// other: a partition that has moved to another replica disappears here.
type partitionGauges struct {
	m           *Metrics
	name        string
	mu          sync.Mutex
	lag, ledger map[connect.TopicPartition]bool // those that are shown
}

// set renews the gauges. The lag lies between the ledger and the last stable
// offset, never below 0, and counts from the log's start where the ledger lies
// before. What the ledger does not account for is shown without the log, too. It returns
// the ends of the logs of partitions that move, and their lag in all.
func (g *partitionGauges) set(w *Worker, tps []connect.TopicPartition, bounds map[connect.TopicPartition]connect.Bounds) (
	ends map[connect.TopicPartition]int64, total int64,
) {
	ends = map[connect.TopicPartition]int64{}
	known := map[connect.TopicPartition]PartitionStatus{}
	for _, t := range w.tasks() {
		for _, p := range t.Partitions {
			if p.Next >= 0 {
				known[connect.TopicPartition{Topic: p.Topic, Partition: p.Partition}] = p
			}
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	lag, ledger := map[connect.TopicPartition]float64{}, map[connect.TopicPartition]float64{}
	for _, tp := range tps {
		p, ok := known[tp]
		if !ok {
			continue
		}
		ledger[tp] = float64(p.Unaccounted)
		if b, ok := bounds[tp]; ok {
			waits := max(0, b.Stable-max(p.Next, b.Start))
			lag[tp] = float64(waits)
			if p.Error == "" {
				ends[tp] = b.Stable
				total += waits
			}
		}
	}
	g.lag = g.show(g.m.lag, lag, g.lag)
	g.ledger = g.show(g.m.ledger, ledger, g.ledger)
	return ends, total
}

// show gives the gauge these values and no others, and returns whose they are.
func (g *partitionGauges) show(gauge *prometheus.GaugeVec, values map[connect.TopicPartition]float64, had map[connect.TopicPartition]bool) map[connect.TopicPartition]bool {
	has := map[connect.TopicPartition]bool{}
	for tp, v := range values {
		has[tp] = true
		gauge.WithLabelValues(g.name, tp.Topic, partitionLabel(tp.Partition)).Set(v)
	}
	for tp := range had {
		if !has[tp] {
			gauge.DeleteLabelValues(g.name, tp.Topic, partitionLabel(tp.Partition))
		}
	}
	return has
}

func partitionLabel(partition int32) string { return strconv.Itoa(int(partition)) }

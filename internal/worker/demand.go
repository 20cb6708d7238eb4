package worker

import (
	"sync"
	"time"

	"github.com/qicore/tickconnect/connect"
)

const (
	// drainWithin is how soon what lies behind should be stored.
	drainWithin = time.Minute
	// dearer is by how much the known cost of a record grows between two looks, so that
	// a database that has become slow for good is believed in the end: it doubles in
	// about half an hour.
	dearer = 1.001
)

// demand says how many replicas' time the records of this replica's partitions take.
type demand struct {
	mu sync.Mutex
	// cost is the least time that a Put took for each of its records, in seconds. The
	// least, and not the average: a database at its limit takes longer for each record
	// when it is asked by more replicas, which would then ask for more of them.
	cost float64
	ends map[connect.TopicPartition]int64
	at   time.Time
}

// put notes a Put that stored records.
func (d *demand) put(records int, took time.Duration) {
	if records == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if cost := took.Seconds() / float64(records); d.cost == 0 || cost < d.cost {
		d.cost = cost
	}
}

// look gives the demand, in replicas, of the partitions whose logs end at ends, of
// which lag offsets are not stored yet. away: the target is, and no replica more would
// store what waits. A partition cannot be divided, so that each is worth one at most.
func (d *demand) look(now time.Time, ends map[connect.TopicPartition]int64, lag int64, lanes int, away bool) float64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	var arrived int64
	for tp, end := range ends {
		if before, known := d.ends[tp]; known {
			arrived += max(0, end-before)
		}
	}
	perSecond := 0.0
	if took := now.Sub(d.at).Seconds(); d.ends != nil && took > 0 {
		perSecond = float64(arrived) / took
	}
	if !away {
		perSecond += float64(lag) / drainWithin.Seconds()
	}
	d.ends, d.at = ends, now
	d.cost *= dearer
	return min(perSecond*d.cost/float64(lanes), float64(len(ends)))
}

package worker

import (
	"math"
	"testing"
	"time"

	"github.com/qicore/tickconnect/connect"
)

// TestDemand: what is worth a replica, and what is not.
func TestDemand(t *testing.T) {
	t.Parallel()
	type look struct {
		ends []int64
		lag  int64
		away bool
		want float64
	}
	for name, tt := range map[string]struct {
		puts  []time.Duration // of 1,000 records each
		looks []look          // every 10 s, of a replica with 4 lanes
	}{
		"nothing is stored yet": {nil, []look{{[]int64{0}, 100, false, 0}}},
		// 20,000 records/s at 100 µs are 2 s of Put in each second: half of four lanes.
		"records come": {[]time.Duration{100 * time.Millisecond}, []look{
			{[]int64{500, 500}, 0, false, 0}, {[]int64{100_500, 100_500}, 0, false, 0.5},
		}},
		"what lies behind counts": {[]time.Duration{100 * time.Millisecond}, []look{{[]int64{0, 0}, 2_400_000, false, 1}}},
		"of an outage it does not": {[]time.Duration{100 * time.Millisecond}, []look{
			{[]int64{500, 500}, 2_400_000, true, 0}, {[]int64{100_500, 100_500}, 2_400_000, true, 0.5},
		}},
		"a slow database asks for no more": {[]time.Duration{100 * time.Millisecond, time.Second}, []look{
			{[]int64{500, 500}, 0, false, 0}, {[]int64{100_500, 100_500}, 0, false, 0.5},
		}},
		"a partition cannot be divided":   {[]time.Duration{100 * time.Millisecond}, []look{{[]int64{0, 0}, 240_000_000, false, 2}}},
		"partitions that came count next": {[]time.Duration{100 * time.Millisecond}, []look{{[]int64{0}, 0, false, 0}, {[]int64{0, 1_000_000}, 0, false, 0}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var d demand
			d.put(0, time.Nanosecond) // offsets alone say nothing
			for _, took := range tt.puts {
				d.put(1000, took)
			}
			now := time.Unix(0, 0)
			for i, l := range tt.looks {
				ends := map[connect.TopicPartition]int64{}
				for p, end := range l.ends {
					ends[connect.TopicPartition{Topic: "t", Partition: int32(p)}] = end
				}
				if got := d.look(now, ends, l.lag, 4, l.away); math.Abs(got-l.want) > 0.01 {
					t.Errorf("look %d: %v, want %v", i, got, l.want)
				}
				now = now.Add(10 * time.Second)
			}
		})
	}
}

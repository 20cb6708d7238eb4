package timescalesink

import (
	"fmt"
	"testing"

	"github.com/qicore/tickconnect/connect"
)

// BenchmarkPut stores batches of fresh trades that are spread over the
// partitions of one lane; prepared rows, one connection.
func BenchmarkPut(b *testing.B) {
	for _, size := range []int{1, 10, 100, 1000, 5000} {
		for name, copyMin := range map[string]int{"copy": 1, "insert": 1_000_000} {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) { benchmarkPut(b, size, copyMin) })
		}
	}
}

func benchmarkPut(b *testing.B, size, copyMin int) {
	f := setup(b, func(c *Config) { c.CopyMin = copyMin })
	c := f.connector()
	partitions := min(size, 20)
	var tps []connect.TopicPartition
	for i := range partitions {
		tps = append(tps, tp(trades, int32(i)))
	}
	s := f.opened(c, tps...)
	next := make([]int64, partitions)
	for b.Loop() {
		b.StopTimer()
		parts := make([]connect.Part, partitions)
		for i := range parts {
			var records []connect.Record
			for range size / partitions {
				o := next[i]
				records = append(records, trade(o, o, fmt.Sprintf("%d-%d", i, o), "65000.10"))
				next[i]++
			}
			parts[i] = part(c, tps[i], records...)
		}
		b.StartTimer()
		f.put(s, parts...)
	}
	b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "rows/s")
}

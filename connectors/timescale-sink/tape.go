package timescalesink

import (
	"fmt"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/marketdata"
)

// replaceSteps delete what former generations stored in a tape for the offsets
// that a batch passes again, after a reset went back: a tape has no key that
// would find the doubles. The index on the origin serves them.
func (s *Sink) replaceSteps(b *connect.Batch) []step {
	byKind := map[marketdata.Kind][]*connect.Part{}
	for i := range b.Parts {
		part := &b.Parts[i]
		kind, _, ok := marketdata.KindOfTopic(part.Topic)
		if ok && s.connector.cfg.isTape(tableOf(kind)) && part.Start < s.open[part.TopicPartition].storedBelow {
			byKind[kind] = append(byKind[kind], part)
		}
	}
	var steps []step
	for _, t := range tables {
		parts, g := byKind[t.kind], s.connector.schema.target(t.kind)
		if len(parts) == 0 || g == nil {
			continue
		}
		var p params
		p.int4s(len(parts), func(i int) int32 { return s.open[parts[i].TopicPartition].topicID })
		p.int4s(len(parts), func(i int) int32 { return parts[i].Partition })
		p.int8s(len(parts), func(i int) int64 { return parts[i].Start })
		p.int8s(len(parts), func(i int) int64 { return parts[i].Next })
		steps = append(steps, step{
			doing: "replacing rows of " + g.name,
			sql: fmt.Sprintf(`DELETE FROM %s AS t USING unnest($1::int4[], $2::int4[], $3::int8[], $4::int8[]) AS w(topic, partition, start_offset, next_offset)
				WHERE t.origin_topic = w.topic AND t.origin_partition = w.partition
				AND t.origin_offset >= w.start_offset AND t.origin_offset < w.next_offset`, g.name),
			params: p,
		})
	}
	return steps
}

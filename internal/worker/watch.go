package worker

import (
	"context"
	"time"

	"github.com/qicore/tickconnect/connect"
)

// watchLogs reads the ends of the logs now and then: for the lag, and so that
// what stands at a log's end without ever arriving is accounted for.
func (w *Worker) watchLogs(ctx context.Context) {
	tick := time.NewTicker(w.settings.LagInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		byLane := map[*lane][]connect.TopicPartition{}
		var all []connect.TopicPartition
		w.sessions.Range(func(_, v any) bool {
			sb := v.(*sessionBoxes)
			sb.mu.RLock()
			defer sb.mu.RUnlock()
			for _, b := range sb.boxes {
				byLane[b.lane] = append(byLane[b.lane], b.TopicPartition)
				all = append(all, b.TopicPartition)
			}
			return true
		})
		if len(all) == 0 {
			w.metrics.watched(w, nil, nil)
			continue
		}
		bounds, err := w.source.Log().Bounds(ctx, all)
		if err != nil && ctx.Err() == nil {
			w.log.Debug("reading the ends of the logs", "err", w.redact(err))
		}
		for l, tps := range byLane {
			l.post(func() {
				for _, tp := range tps {
					if b, ok := bounds[tp]; ok {
						l.task.logEnd(tp, b.TopicID, b.Stable)
					}
				}
			})
		}
		w.metrics.watched(w, all, bounds)
	}
}

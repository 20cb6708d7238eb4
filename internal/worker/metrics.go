package worker

import (
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sony/gobreaker/v2"

	"github.com/qicore/tickconnect/connect"
)

// Metrics are the instruments of all connectors of a process. Kafka Connect's
// names are used where it has one; no label is ever a symbol.
type Metrics struct {
	records   *prometheus.CounterVec
	putTime   *prometheus.HistogramVec
	batchRows *prometheus.HistogramVec
	failures  *prometheus.CounterVec
	dead      *prometheus.CounterVec
	deadAt    *prometheus.GaugeVec
	expired   *prometheus.CounterVec
	expiredAt *prometheus.GaugeVec
	lag       *prometheus.GaugeVec
	ledger    *prometheus.GaugeVec
	eventLag  *prometheus.GaugeVec
	queue     *prometheus.GaugeVec
	breaker   *prometheus.GaugeVec
	proofs    *prometheus.CounterVec
	recovered *prometheus.CounterVec
	useful    *prometheus.GaugeVec

	taskStatus *prometheus.GaugeVec
	partitions *prometheus.GaugeVec
	sent       *prometheus.CounterVec
	putAvg     *prometheus.GaugeVec
	putMax     *prometheus.GaugeVec
	dlqReq     *prometheus.CounterVec
	dlqFail    *prometheus.CounterVec

	mu      sync.Mutex
	workers []*Worker
}

// NewMetrics makes the instruments and registers them; with nil they only count.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{}
	var all []prometheus.Collector
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		all = append(all, v)
		return v
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
		all = append(all, v)
		return v
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
		all = append(all, v)
		return v
	}
	m.records = counter("tickconnect_records_total", "Offsets by fate; inserted is the part of written that made a new row.", "connector", "topic", "fate")
	m.putTime = histogram("tickconnect_put_seconds", "Duration of Put calls.", prometheus.ExponentialBuckets(0.001, 2, 15), "connector", "task")
	m.batchRows = histogram("tickconnect_batch_records", "Records in a Put.", prometheus.ExponentialBuckets(1, 4, 9), "connector", "task")
	m.failures = counter("tickconnect_put_failures_total", "Put calls that failed, by what the error asks for.", "connector", "task", "kind")
	m.dead = counter("tickconnect_dead_letters_total", "Records dead-lettered, by reason.", "connector", "topic", "reason")
	m.deadAt = gauge("tickconnect_dead_letters_last_timestamp_seconds", "When the last record was dead-lettered for the reason, in Unix time.", "connector", "topic", "reason")
	m.expired = counter("tickconnect_expired_offsets_total", "Offsets that retention deleted before they were read.", "connector", "topic", "partition")
	m.expiredAt = gauge("tickconnect_expired_offsets_last_timestamp_seconds", "When offsets were last found to be deleted before they were read, in Unix time.", "connector", "topic", "partition")
	m.lag = gauge("tickconnect_lag_offsets", "Offsets between the ledger and the log's last stable offset.", "connector", "topic", "partition")
	m.useful = gauge("tickconnect_useful_replicas", "Replicas' time that the records of this replica's partitions take, at the least cost of a record and with a minute for what lies behind. The sum over all replicas is what the connector needs.", "connector")
	m.ledger = gauge("tickconnect_ledger_unaccounted_offsets", "Offsets to which the ledger gives no fate, or below 0 one too many; 0 in a ledger that adds up.", "connector", "topic", "partition")
	m.eventLag = gauge("tickconnect_event_lag_seconds", "Age of the oldest record that waits in memory, by its Kafka timestamp; 0 where none waits.", "connector", "task")
	m.queue = gauge("tickconnect_queue_bytes", "Memory held by records that wait to be stored.", "connector", "task")
	m.breaker = gauge("tickconnect_breaker_state", "Circuit breaker of the target: 0 closed, 1 half-open, 2 open.", "connector")
	m.proofs = counter("tickconnect_log_reads_total", "Direct reads of a log that explained offsets.", "connector", "topic")
	m.recovered = counter("tickconnect_log_read_records_total", "Records that direct reads of a log brought.", "connector", "topic")
	m.taskStatus = gauge("kafka_connect_connector_task_status", "1 for the status that the task has.", "connector", "task", "status")
	m.partitions = gauge("kafka_connect_sink_task_partition_count", "Partitions of the task.", "connector", "task")
	m.sent = counter("kafka_connect_sink_task_sink_record_send_total", "Records handed to the target.", "connector", "task")
	m.putAvg = gauge("kafka_connect_sink_task_put_batch_avg_time_ms", "Average duration of Put calls since the task started.", "connector", "task")
	m.putMax = gauge("kafka_connect_sink_task_put_batch_max_time_ms", "Longest Put call since the task started.", "connector", "task")
	m.dlqReq = counter("kafka_connect_task_error_deadletterqueue_produce_requests", "Dead letters sent to the topic.", "connector")
	m.dlqFail = counter("kafka_connect_task_error_deadletterqueue_produce_failures", "Attempts to send dead letters to the topic that failed.", "connector")
	if reg != nil {
		for i, c := range all {
			switch c {
			case m.eventLag, m.queue, m.breaker, m.taskStatus, m.partitions:
				all[i] = mirror{c.(*prometheus.GaugeVec), m}
			}
		}
		reg.MustRegister(all...)
	}
	return m
}

// mirror is a gauge that shows a status. It brings that up to date before it is
// collected: a registry collects in any order, and several at the same time.
type mirror struct {
	*prometheus.GaugeVec
	m *Metrics
}

// Collect implements prometheus.Collector.
func (g mirror) Collect(out chan<- prometheus.Metric) {
	g.m.refresh()
	g.GaugeVec.Collect(out)
}

func (m *Metrics) refresh() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, w := range m.workers {
		s := w.Status()
		m.breaker.WithLabelValues(w.name).Set(float64(w.breaker.State()))
		for _, t := range s.Tasks {
			label := taskLabel(t.ID)
			for _, st := range []string{StateRunning, StateFailed, StateUnassigned} {
				v := 0.0
				if st == t.State {
					v = 1
				}
				m.taskStatus.WithLabelValues(w.name, label, statusLabel(st)).Set(v)
			}
			var bytes int64
			for _, p := range t.Partitions {
				bytes += p.QueuedBytes
			}
			age := 0.0
			if t.Oldest > 0 {
				age = max(0, time.Since(time.UnixMilli(t.Oldest)).Seconds())
			}
			m.eventLag.WithLabelValues(w.name, label).Set(age)
			m.queue.WithLabelValues(w.name, label).Set(float64(bytes))
			m.partitions.WithLabelValues(w.name, label).Set(float64(len(t.Partitions)))
		}
	}
}

func statusLabel(state string) string {
	switch state {
	case StateRunning:
		return "running"
	case StateFailed:
		return "failed"
	}
	return "unassigned"
}

// connectorMetrics are the instruments of one connector.
type connectorMetrics struct {
	m           *Metrics
	name        string
	partitions  partitionGauges
	demand      demand
	dlqRequests prometheus.Counter
	dlqFailures prometheus.Counter
	tasks       []taskTimes
}

// taskTimes are used on the goroutine of their lane alone.
type taskTimes struct {
	n        int64
	sum, max time.Duration
}

func (m *Metrics) connector(w *Worker) *connectorMetrics {
	m.mu.Lock()
	m.workers = append(m.workers, w)
	m.mu.Unlock()
	// They begin at 0: one that first shows with a value has no increase before it.
	for task := range w.settings.TasksMax {
		for _, kind := range errorKinds {
			m.failures.WithLabelValues(w.name, taskLabel(task), kind)
		}
	}
	return &connectorMetrics{
		m: m, name: w.name, tasks: make([]taskTimes, w.settings.TasksMax),
		partitions:  partitionGauges{m: m, name: w.name},
		dlqRequests: m.dlqReq.WithLabelValues(w.name), dlqFailures: m.dlqFail.WithLabelValues(w.name),
	}
}

// Forget takes the worker out of the metrics that show a status. Call it when the
// connector goes away, or before another is made in its place; its counters stay.
func (w *Worker) Forget() {
	m := w.opts.Metrics
	m.mu.Lock()
	defer m.mu.Unlock()
	m.workers = slices.DeleteFunc(m.workers, func(o *Worker) bool { return o == w })
	for _, g := range []*prometheus.GaugeVec{m.taskStatus, m.partitions, m.eventLag, m.queue, m.breaker, m.lag, m.ledger, m.useful, m.putAvg, m.putMax} {
		g.DeletePartialMatch(prometheus.Labels{"connector": w.name})
	}
}

func (c *connectorMetrics) put(task int, b *connect.Batch, d time.Duration, err error) {
	label := taskLabel(task)
	c.m.putTime.WithLabelValues(c.name, label).Observe(d.Seconds())
	t := &c.tasks[task]
	t.n++
	t.sum += d
	t.max = max(t.max, d)
	c.m.putAvg.WithLabelValues(c.name, label).Set(float64(t.sum.Microseconds()) / 1000 / float64(t.n))
	c.m.putMax.WithLabelValues(c.name, label).Set(float64(t.max.Microseconds()) / 1000)
	if err != nil {
		c.m.failures.WithLabelValues(c.name, label, errorKind(err)).Inc()
		return
	}
	n := b.Records()
	c.demand.put(n, d)
	c.m.batchRows.WithLabelValues(c.name, label).Observe(float64(n))
	c.m.sent.WithLabelValues(c.name, label).Add(float64(n))
}

// watched renews what follows from the ends of the logs. An end that could not be read
// leaves its lag as it is not known.
func (c *connectorMetrics) watched(w *Worker, tps []connect.TopicPartition, bounds map[connect.TopicPartition]connect.Bounds) {
	ends, lag := c.partitions.set(w, tps, bounds)
	away := w.breaker.State() != gobreaker.StateClosed
	c.m.useful.WithLabelValues(c.name).Set(c.demand.look(time.Now(), ends, lag, w.settings.TasksMax, away))
}

// claimed begins the counters of a topic at 0. One that first shows with a value has
// no increase before it.
func (c *connectorMetrics) claimed(claims []connect.Claim) {
	for _, claim := range claims {
		for _, fate := range []string{"written", "dead_lettered", "expired"} {
			c.m.records.WithLabelValues(c.name, claim.Topic, fate)
		}
		c.m.expired.WithLabelValues(c.name, claim.Topic, partitionLabel(claim.Partition))
	}
}

func (c *connectorMetrics) stored(tp connect.TopicPartition, n connect.Counts, bad []connect.Record) {
	for fate, v := range map[string]int64{
		"written": n.Written, "inserted": n.Inserted, "unchanged": n.Unchanged, "merged": n.Merged, "stale": n.Stale,
		"dead_lettered": n.DeadLettered, "filtered": n.Filtered, "absent": n.Absent, "expired": n.Expired,
	} {
		if v > 0 {
			c.m.records.WithLabelValues(c.name, tp.Topic, fate).Add(float64(v))
		}
	}
	for i := range bad {
		c.m.dead.WithLabelValues(c.name, tp.Topic, bad[i].Err.Reason).Inc()
		c.m.deadAt.WithLabelValues(c.name, tp.Topic, bad[i].Err.Reason).SetToCurrentTime()
	}
	if n.Expired > 0 {
		c.m.expired.WithLabelValues(c.name, tp.Topic, partitionLabel(tp.Partition)).Add(float64(n.Expired))
		c.m.expiredAt.WithLabelValues(c.name, tp.Topic, partitionLabel(tp.Partition)).SetToCurrentTime()
	}
}

func (c *connectorMetrics) proved(topic string, s connect.Span) {
	c.m.proofs.WithLabelValues(c.name, topic).Inc()
	c.m.recovered.WithLabelValues(c.name, topic).Add(float64(len(s.Records)))
}

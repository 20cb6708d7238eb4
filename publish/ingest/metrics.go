package ingest

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/qicore/tickconnect/marketdata"
)

// Metrics are the instruments of the HTTP ingest. No label is ever a symbol, nor
// anything else that a client makes up.
type Metrics struct {
	requests *prometheus.CounterVec
	records  *prometheus.CounterVec
	bytes    *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	inFlight prometheus.Gauge
}

// NewMetrics makes the instruments and registers them; with nil they only count.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &Metrics{
		requests: counter("tickconnect_ingest_requests_total", "Requests to publish over HTTP, by status; 499 is a client that went away.", "kind", "code"),
		records:  counter("tickconnect_ingest_records_total", "Records that came over HTTP: accepted, rejected, unsent or unknown.", "kind", "outcome"),
		bytes:    counter("tickconnect_ingest_bytes_total", "Bytes of bodies that came over HTTP, decompressed.", "kind"),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tickconnect_ingest_seconds", Help: "Duration of requests to publish over HTTP.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 16),
		}, []string{"kind"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tickconnect_ingest_requests_in_flight", Help: "Requests to publish over HTTP that are under way.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.requests, m.records, m.bytes, m.seconds, m.inFlight)
	}
	return m
}

// request counts one that has been answered. kind is 0 where it names none.
func (m *Metrics) request(kind marketdata.Kind, code int, took time.Duration) {
	m.requests.WithLabelValues(label(kind), strconv.Itoa(code)).Inc()
	m.seconds.WithLabelValues(label(kind)).Observe(took.Seconds())
}

func (m *Metrics) answered(kind marketdata.Kind, a *Answer) {
	for outcome, n := range map[string]int{
		"accepted": a.Accepted, "rejected": len(a.Rejected), "unsent": len(a.Unsent), "unknown": len(a.Unknown),
	} {
		if n > 0 {
			m.records.WithLabelValues(kind.String(), outcome).Add(float64(n))
		}
	}
}

func label(kind marketdata.Kind) string {
	if kind == 0 {
		return "none"
	}
	return kind.String()
}

package main

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/qicore/tickconnect/connect"
	timescalesink "github.com/qicore/tickconnect/connectors/timescale-sink"
	"github.com/qicore/tickconnect/internal/rest"
)

// newRegistry holds the metrics of the process itself; workers add theirs.
func newRegistry() *prometheus.Registry {
	b := thisBuild()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "tickconnect_build_info",
		Help:        "Always 1; the labels say which version runs.",
		ConstLabels: prometheus.Labels{"version": b.Version, "commit": b.Commit, "go": b.Go},
	})
	info.Set(1)
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), info)
	return registry
}

// registerHealth adds what /health says: alerts scrape one address.
func registerHealth(registry prometheus.Registerer, health func() rest.Health) {
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tickconnect_healthy", Help: "1 where /health answers 200, 0 where it answers 503.",
	}, func() float64 {
		if health().Healthy {
			return 1
		}
		return 0
	}))
}

// registerCounters adds what a timescale-sink counts beside its ledger. What it gives
// takes that away again.
func registerCounters(registry prometheus.Registerer, connector string, target connect.Connector) (unregister func()) {
	counting, ok := target.(interface {
		Counters() *timescalesink.Counters
	})
	if !ok {
		return func() {}
	}
	c := counting.Counters()
	var all []prometheus.Collector
	for _, m := range []struct {
		name, help string
		value      *atomic.Int64
	}{
		{"tickconnect_exchange_mismatches_total", "Records whose exchange is not the one in their topic's name; the record's is stored.", &c.ExchangeMismatches},
		{"tickconnect_unknown_fields_total", "Fields of records that no column takes.", &c.UnknownFields},
		{"tickconnect_backends_ended_total", "Database backends that were ended since they held ledger rows longer than fence.timeout.ms.", &c.BackendsEnded},
		{"tickconnect_chunks_made_total", "Chunks that were made ahead of the transactions which need them.", &c.ChunksMade},
		{"tickconnect_put_retries_total", "Transactions that were tried again at once, after a deadlock or a failed COPY.", &c.PutRetries},
		{"tickconnect_float_decimals_total", "Decimals that were sent as JSON numbers: their producer may have had them as binary floats.", &c.FloatDecimals},
		{"tickconnect_long_floats_total", "Those of them with more than 15 digits, whose last ones may not be the exchange's.", &c.LongFloats},
		{"tickconnect_receive_times_total", "Records whose time is when their producer received them.", &c.ReceiveTimes},
		{"tickconnect_millisecond_times_total", "Records with times in milliseconds where their producer's rule is seconds.", &c.MillisTimes},
		{"tickconnect_quote_amounts_total", "Records with an amount that is in the quote currency.", &c.QuoteAmounts},
		{"tickconnect_producer_gaps_total", "Records in which a producer says that messages before them may be missing.", &c.ProducerGaps},
	} {
		all = append(all, prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: m.name, Help: m.help, ConstLabels: prometheus.Labels{"connector": connector},
		}, func() float64 { return float64(m.value.Load()) }))
	}
	registry.MustRegister(all...)
	return func() {
		for _, c := range all {
			registry.Unregister(c)
		}
	}
}

package tables

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	applied      prometheus.Counter
	unchanged    prometheus.Counter
	older        prometheus.Counter
	malformed    *prometheus.CounterVec
	regressions  prometheus.Counter
	disconnects  prometheus.Counter
	applySeconds prometheus.Histogram
}

func newMetrics(registerer prometheus.Registerer, staleness func() time.Duration, streams func() int) *metrics {
	factory := promauto.With(registerer)
	factory.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "nagi_tables_staleness_seconds",
		Help: "Time since a live manager replica last vouched for its tables; 0 while one does.",
	}, func() float64 { return staleness().Seconds() })
	factory.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "nagi_tables_streams",
		Help: "Live streams to manager replicas.",
	}, func() float64 { return float64(streams()) })
	return &metrics{
		applied: factory.NewCounter(prometheus.CounterOpts{
			Name: "nagi_tables_applied_total",
			Help: "Tables that were applied.",
		}),
		unchanged: factory.NewCounter(prometheus.CounterOpts{
			Name: "nagi_tables_unchanged_total",
			Help: "Tables that were acknowledged without being applied, because they hold the pauses that act already.",
		}),
		older: factory.NewCounter(prometheus.CounterOpts{
			Name: "nagi_tables_older_total",
			Help: "Tables that were not applied, because a newer one acts.",
		}),
		malformed: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "nagi_tables_malformed_total",
			Help: "Messages of manager replicas that were dropped, by reason.",
		}, []string{"reason"}),
		regressions: factory.NewCounter(prometheus.CounterOpts{
			Name: "nagi_tables_regressions_total",
			Help: "Tables that were replaced by older ones, because every replica had stayed below their version (a restored backup).",
		}),
		disconnects: factory.NewCounter(prometheus.CounterOpts{
			Name: "nagi_tables_disconnects_total",
			Help: "Streams to manager replicas that ended or could not be opened.",
		}),
		applySeconds: factory.NewHistogram(prometheus.HistogramOpts{
			Name:    "nagi_tables_apply_seconds",
			Help:    "Time from a table's being chosen to its being enforced.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2.5, 12),
		}),
	}
}

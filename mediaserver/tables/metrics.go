package tables

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	applied      prometheus.Counter
	unchanged    prometheus.Counter
	older        prometheus.Counter
	malformed    *prometheus.CounterVec
	resends      *prometheus.CounterVec
	refusals     prometheus.Counter
	questions    prometheus.Counter
	regressions  prometheus.Counter
	disconnects  prometheus.Counter
	applySeconds prometheus.Histogram
}

func newMetrics(registerer prometheus.Registerer, s *Subscriber) *metrics {
	factory := promauto.With(registerer)
	gauge := func(name, help string, value func() float64) {
		factory.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	gauge("nagi_tables_staleness_seconds",
		"Time since a live manager replica last vouched for its tables; 0 while one does.",
		func() float64 { return s.staleness().Seconds() })
	gauge("nagi_tables_streams",
		"Live streams to manager replicas.",
		func() float64 { return float64(s.streamCount()) })
	gauge("nagi_tables_refused_channels",
		"Channels of which a manager replica takes nothing now, counted for each replica; the log names them.",
		func() float64 { return float64(len(s.Refusals())) })
	counter := func(name, help string) prometheus.Counter {
		return factory.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}

	return &metrics{
		applied: counter("nagi_tables_applied_total",
			"Tables, or changes of one, that were applied."),
		unchanged: counter("nagi_tables_unchanged_total",
			"Tables that were acknowledged without being applied, because they hold the pauses that act already."),
		older: counter("nagi_tables_older_total",
			"Tables that were not applied, because a newer one acts."),
		malformed: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "nagi_tables_malformed_total",
			Help: "Messages of manager replicas, or pauses within them, that were dropped, by reason.",
		}, []string{"reason"}),
		resends: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "nagi_tables_resends_total",
			Help: "Channels that were asked to be said anew because a difference did not fit, by who asked: " +
				"media_server or replica.",
		}, []string{"by"}),
		refusals: counter("nagi_tables_refusals_total",
			"Times that a manager replica said to take nothing of a channel."),
		questions: counter("nagi_tables_questions_total",
			"Questions of manager replicas."),
		regressions: counter("nagi_tables_regressions_total",
			"Tables that were replaced by older ones, because every fresh replica had stayed below their version (a "+
				"restored backup)."),
		disconnects: counter("nagi_tables_disconnects_total",
			"Streams to manager replicas that ended or could not be opened."),
		applySeconds: factory.NewHistogram(prometheus.HistogramOpts{
			Name:    "nagi_tables_apply_seconds",
			Help:    "Time from a table's being chosen to its being enforced.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2.5, 12),
		}),
	}
}

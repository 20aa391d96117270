package sora

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts what the API does. No label carries an id of a channel or of a
// connection.
type metrics struct {
	requests    *prometheus.CounterVec
	durations   *prometheus.HistogramVec
	enforcement prometheus.Histogram
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	buckets := []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nagi_shim_requests_total",
			Help: "Requests answered, by operation and result: ok, or the error's name.",
		}, []string{"operation", "result"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "nagi_shim_request_duration_seconds",
			Help:    "Time from a request's header to its response, by operation.",
			Buckets: buckets,
		}, []string{"operation"}),
		enforcement: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "nagi_shim_pause_enforcement_seconds",
			Help:    "Time from the committed pause to the media servers' acknowledgement, of pauses that were confirmed.",
			Buckets: buckets,
		}),
	}
	registerer.MustRegister(m.requests, m.durations, m.enforcement)

	return m
}

func (m *metrics) request(operation, result string, duration time.Duration) {
	m.requests.WithLabelValues(operation, result).Inc()
	m.durations.WithLabelValues(operation).Observe(duration.Seconds())
}

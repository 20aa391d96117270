package claims

import "github.com/prometheus/client_golang/prometheus"

// Why a claim passed on, or was collected: values of the label reason.
const (
	becauseReleased = "released"
	becausePodGone  = "pod_gone"
	becauseSilent   = "silent"
	becauseUnused   = "unused"
	becauseUnserved = "namespace_not_served"
)

type metrics struct {
	made, released, refused, failures prometheus.Counter
	takenOver, collected              *prometheus.CounterVec
}

func newMetrics(registerer prometheus.Registerer, count func() int) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		made:     counter("nagi_claims_made_total", "Claims of channels that this replica made for media servers."),
		released: counter("nagi_claims_released_total", "Claims that media servers gave up by this replica."),
		refused: counter("nagi_claims_refused_total",
			"Claims that were not made because the media server drains or has no room, or a bound is reached."),
		failures: counter("nagi_claim_request_failures_total",
			"Requests about claims that the API server did not answer, or denied."),
		takenOver: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nagi_claims_taken_over_total", Help: "Claims that passed on to another media server, by reason.",
		}, []string{"reason"}),
		collected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nagi_claims_collected_total", Help: "Claims that were left over and deleted, by reason.",
		}, []string{"reason"}),
	}
	for _, reason := range []string{becauseReleased, becausePodGone, becauseSilent} {
		m.takenOver.WithLabelValues(reason)
	}
	for _, reason := range []string{becausePodGone, becauseSilent, becauseUnused, becauseUnserved} {
		m.collected.WithLabelValues(reason)
	}
	if registerer != nil {
		known := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "nagi_claims", Help: "Claims of channels that are known here.",
		}, func() float64 { return float64(count()) })
		registerer.MustRegister(m.made, m.released, m.refused, m.failures, m.takenOver, m.collected, known)
	}

	return m
}

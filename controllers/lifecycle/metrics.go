package lifecycle

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	statusWrites, failures, panics, expired prometheus.Counter
	collected                               *prometheus.CounterVec
	events, eventsDropped                   prometheus.Counter
	inOffice                                prometheus.Gauge
	gaveUp                                  prometheus.Counter
	waiting                                 *prometheus.GaugeVec
}

// Why a pause was deleted: values of the label reason.
const (
	afterExpiry     = "expired"
	afterDisconnect = "disconnected"
)

func newMetrics(registerer prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		statusWrites: counter("nagi_pause_status_writes_total", "Statuses written."),
		failures: counter("nagi_pause_write_failures_total",
			"Statuses and deletions that the API server refused or that did not reach it."),
		panics:  counter("nagi_pause_reconcile_panics_total", "Panics while a pause was looked at."),
		expired: counter("nagi_pause_expired_total", "Pauses whose expiry was written."),
		collected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nagi_pause_collected_total",
			Help: "Pauses deleted, by reason: some time after they expired, or after a disconnect.",
		}, []string{"reason"}),
		events: counter("nagi_pause_events_total", "Events handed to the recorder."),
		eventsDropped: counter("nagi_pause_events_dropped_total",
			"Events beyond the rate of their namespace, or beyond what may wait, which nobody gets to see."),
		inOffice: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "nagi_manager_in_office", Help: "1 while this replica is the one that writes.",
		}),
		gaveUp: counter("nagi_manager_gave_up_total",
			"Terms that this replica ended by itself because it could not do the work."),
		waiting: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "nagi_pause_status_queue", Help: "Pauses that wait for a look of the writer, by priority.",
		}, []string{"priority"}),
	}
	registerer.MustRegister(m.statusWrites, m.failures, m.panics, m.expired, m.collected, m.events, m.eventsDropped,
		m.inOffice, m.gaveUp, m.waiting)
	for _, reason := range []string{afterExpiry, afterDisconnect} {
		m.collected.WithLabelValues(reason)
	}
	m.observe(newQueue())

	return m
}

func (m *metrics) observe(q *queue) {
	for l, priority := range map[level]string{live: "live", due: "due", mass: "mass"} {
		m.waiting.WithLabelValues(priority).Set(float64(q.depth(l)))
	}
}

func unelectable(why func() error) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "nagi_manager_unelectable",
		Help: "1 while this replica cannot be elected, as requests for the lease have failed for as long as it lasts.",
	}, func() float64 {
		if why() != nil {
			return 1
		}

		return 0
	})
}

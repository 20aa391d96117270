package lifecycle

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	statusWrites, expired, collected prometheus.Counter
	inOffice                         prometheus.Gauge
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		statusWrites: counter("nagi_pause_status_writes_total", "Statuses written."),
		expired:      counter("nagi_pause_expired_total", "Pauses whose expiry was written."),
		collected:    counter("nagi_pause_collected_total", "Pauses deleted after a disconnect."),
		inOffice:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "nagi_manager_in_office", Help: "1 while this replica is the one that writes."}),
	}
	registerer.MustRegister(m.statusWrites, m.expired, m.collected, m.inOffice)

	return m
}

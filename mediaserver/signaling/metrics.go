package signaling

import "github.com/prometheus/client_golang/prometheus"

// metrics of one Server.
type metrics struct {
	connections       prometheus.Gauge
	closes            *prometheus.CounterVec
	reoffers          prometheus.Counter
	candidatesDropped prometheus.Counter
	refused           *prometheus.CounterVec
	passed            prometheus.Gauge
	passes            *prometheus.CounterVec
	redirects         prometheus.Counter
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	m := &metrics{
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "nagi_signaling_connections",
			Help: "Open signalling WebSockets, those without a connect message among them.",
		}),
		closes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nagi_signaling_closes_total",
			Help: "Signalling WebSockets that ended, by close reason.",
		}, []string{"reason"}),
		reoffers: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "nagi_signaling_reoffers_total",
			Help: "Re-offers sent.",
		}),
		candidatesDropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "nagi_signaling_candidates_dropped_total",
			Help: "ICE candidates of clients that were malformed or too many.",
		}),
		refused: newRefused(),
		passed: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "nagi_signaling_passed_sockets",
			Help: "Open signalling WebSockets that are passed on to the media server that hosts their channel.",
		}),
		passes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nagi_signaling_passes_total",
			Help: "Attempts to pass a signalling WebSocket on, by what came of them: passed, not_owner or unreachable.",
		}, []string{"outcome"}),
		redirects: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "nagi_signaling_redirects_total",
			Help: "Clients redirected to the media server that hosts their channel.",
		}),
	}
	if registerer != nil {
		registerer.MustRegister(m.connections, m.closes, m.reoffers, m.candidatesDropped, m.refused,
			m.passed, m.passes, m.redirects)
	}

	return m
}

// closed counts an end. Reasons come from this package's constants and, through
// Client.Close, from the server's own code; never from a client, so that the
// label stays bounded.
func (m *metrics) closed(reason string) { m.closes.WithLabelValues(reason).Inc() }

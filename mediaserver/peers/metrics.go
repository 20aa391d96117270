package peers

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	withoutClaim prometheus.Counter
	handOvers    *prometheus.CounterVec
}

func newMetrics(registerer prometheus.Registerer, p *Peers) *metrics {
	m := &metrics{
		withoutClaim: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "nagi_peers_opened_without_claim_total",
			Help: "Channels opened without a claim, since no manager could say whose they are.",
		}),
		handOvers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nagi_peers_hand_overs_total",
			Help: "Channels handed over to another media server, by why: this one drains, or lost the claim.",
		}, []string{"why"}),
	}
	hosted := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "nagi_peers_channels", Help: "Channels that are hosted, or opened or ended just now.",
	}, func() float64 { return float64(p.Hosted()) })
	unclaimed := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "nagi_peers_channels_without_claim", Help: "Channels that are hosted without a claim.",
	}, func() float64 { return float64(p.unclaimed()) })
	if registerer != nil {
		registerer.MustRegister(m.withoutClaim, m.handOvers, hosted, unclaimed)
	}

	return m
}

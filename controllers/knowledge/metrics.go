package knowledge

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	pushes, refused prometheus.Counter
	latency         prometheus.Histogram
}

func newMetrics(registerer prometheus.Registerer, k *Knowledge) *metrics {
	m := &metrics{
		pushes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "nagi_table_pushes_total", Help: "Channels in which a change of pauses was marked for sending.",
		}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "nagi_mediaserver_channel_refusals_total",
			Help: "Channels of which nothing was taken because a bound was reached.",
		}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "nagi_pause_acknowledgement_seconds",
			Help:    "Time from learning of a pause's content to a media server's acknowledgement of it.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15),
		}),
	}
	gauge := func(name, help string, value func() float64) prometheus.GaugeFunc {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	if registerer != nil {
		registerer.MustRegister(m.pushes, m.refused, m.latency,
			gauge("nagi_mediaserver_streaming", "Media servers connected to this replica.", k.streaming),
			gauge("nagi_mediaserver_out_of_touch",
				"Media servers that are lost, or have not reported everything yet, and are not given up.", k.outOfTouch),
			gauge("nagi_mediaserver_clock_skew_seconds", "By how much the clock of a connected media server differs from "+
				"this one's at most, in either direction.", k.skew),
		)
	}

	return m
}

func (k *Knowledge) streaming() float64 {
	streaming := 0
	for _, t := range k.tenants {
		streaming += t.Streaming()
	}

	return float64(streaming)
}

func (k *Knowledge) outOfTouch() float64 {
	out := 0
	for _, t := range k.tenants {
		t.mu.Lock()
		out += len(t.out.servers)
		t.mu.Unlock()
	}

	return float64(out)
}

func (k *Knowledge) skew() float64 {
	largest := 0.0
	for _, t := range k.tenants {
		t.mu.Lock()
		for _, server := range t.servers {
			if server.session != nil {
				largest = max(largest, server.session.skew.Abs().Seconds())
			}
		}
		t.mu.Unlock()
	}

	return largest
}

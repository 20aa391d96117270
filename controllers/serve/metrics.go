package serve

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	pushes, tables, acknowledgements prometheus.Counter
	refused                          *prometheus.CounterVec
	latency                          prometheus.Histogram
}

func newMetrics(registerer prometheus.Registerer, streaming func() float64) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		pushes:           counter("nagi_table_pushes_total", "Changes of pauses that marked a channel for sending."),
		tables:           counter("nagi_table_sent_total", "Tables sent to media servers."),
		acknowledgements: counter("nagi_table_acknowledgements_total", "Acknowledgements taken from media servers."),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nagi_mediaserver_stream_errors_total", Help: "Streams of media servers that this replica ended with an error, by gRPC code.",
		}, []string{"code"}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "nagi_pause_acknowledgement_seconds",
			Help:    "Time from learning of a pause's generation to a media server's first acknowledgement of it.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15),
		}),
	}
	gauge := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "nagi_mediaserver_streaming", Help: "Media servers connected to this replica."}, streaming)
	registerer.MustRegister(m.pushes, m.tables, m.acknowledgements, m.refused, m.latency, gauge)

	return m
}

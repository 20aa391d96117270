package serve

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	tables, acknowledgements, questions, unclaimed prometheus.Counter
	ended                                          *prometheus.CounterVec
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		tables: counter("nagi_table_sent_total", "Tables, whole or as differences, sent to media servers."),
		acknowledgements: counter("nagi_table_acknowledgements_total",
			"Acknowledgements taken from media servers, counted by their parts."),
		questions: counter("nagi_mediaserver_questions_total", "Questions put to media servers."),
		unclaimed: counter("nagi_claims_missing_total",
			"Times that a media server was told that a channel that it reports is not its own by claim."),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nagi_mediaserver_stream_errors_total",
			Help: "Streams of media servers that this replica ended with an error, by gRPC code.",
		}, []string{"code"}),
	}
	if registerer != nil {
		registerer.MustRegister(m.tables, m.acknowledgements, m.questions, m.unclaimed, m.ended)
	}

	return m
}

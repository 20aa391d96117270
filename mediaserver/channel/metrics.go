package channel

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nagi-rtc/nagi/mediaserver/fanout"
)

type metrics struct {
	connections  prometheus.Gauge
	withoutTable *prometheus.CounterVec
	focusChanges prometheus.Counter
	congestions  prometheus.Counter
	probesProved prometheus.Counter
	fanout       *fanout.Counters
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	m := &metrics{
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "nagi_channel_connections",
			Help: "Connections in all channels of this media server.",
		}),
		withoutTable: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nagi_channel_without_table_total",
			Help: "Channels whose wait for the first table ended without one, by what was done then.",
		}, []string{"policy"}),
		focusChanges: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "nagi_channel_focus_changes_total",
			Help: "Senders that came into focus in a spotlight channel, or went out of it.",
		}),
		congestions: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "nagi_channel_congestions_total",
			Help: "Times that a receiver told that what it is sent is too much.",
		}),
		probesProved: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "nagi_channel_probes_proved_total",
			Help: "Probes that have shown that a receiver can be sent more.",
		}),
		fanout: &fanout.Counters{},
	}
	for _, policy := range []WithoutTable{Forward, Hold} {
		m.withoutTable.WithLabelValues(string(policy)) // What is not there does not grow.
	}
	registerer.MustRegister(m.connections, m.withoutTable, m.focusChanges, m.congestions, m.probesProved)
	for _, counter := range fanoutCounters(m.fanout) {
		registerer.MustRegister(counter)
	}

	return m
}

// fanoutCounters shows the counters of the packet path, which count without
// labels or locks.
func fanoutCounters(c *fanout.Counters) []prometheus.Collector {
	var collectors []prometheus.Collector
	for _, counter := range []struct {
		name, help string
		value      *atomic.Uint64
	}{
		{"packets_forwarded", "RTP packets sent to receivers, retransmissions not among them.", &c.Forwarded},
		{"packets_withheld", "RTP packets that met an edge in the moment of its cut; a paused edge costs no packet.",
			&c.Withheld},
		{"packets_held", "RTP packets not sent because the receiver waits for a keyframe.", &c.Held},
		{"packets_replayed", "RTP packets sent after the keyframe start that they had overtaken.", &c.Replayed},
		{"packets_padded", "RTP packets of senders made as long as the others of their frame, so that they leave as one.",
			&c.Padded},
		{"bursts_handed_over", "Bursts of senders that another worker sends to its receivers.", &c.HandedOver},
		{"packets_before_start", "RTP packets not sent because they are older than the receiver's start.", &c.BeforeStart},
		{"send_errors", "RTP packets and sender reports that a receiver's transport refused.", &c.SinkErrors},
		{"duplicates", "RTP packets that a sender sent twice, or too late to tell.", &c.Duplicates},
		{"source_restarts", "New runs of sequence numbers begun by senders.", &c.SourceRestarts},
		{"keyframe_requests", "Keyframe requests sent to senders.", &c.KeyframeRequests},
		{"keyframe_requests_coalesced", "Wishes for a keyframe that an earlier request served too.",
			&c.KeyframeRequestsCoalesced},
		{"keyframe_requests_deferred", "Wishes for a keyframe that waited for the minimum interval.",
			&c.KeyframeRequestsDeferred},
		{"pli_ignored", "Keyframe requests of receivers that the stream is withheld from.", &c.PLIIgnored},
		{"nack_answered", "RTP packets sent again.", &c.NACKAnswered},
		{"nack_ignored", "Sequence numbers asked for and not sent again.", &c.NACKIgnored},
		{"padding_bytes", "Bytes of padding sent to find out whether receivers can be sent more.", &c.Padding},
		{"resends_exhausted", "NACKs for a packet that was sent again too often; a keyframe is wished for instead.",
			&c.ResendsExhausted},
	} {
		collectors = append(collectors, prometheus.NewCounterFunc(
			prometheus.CounterOpts{Name: "nagi_fanout_" + counter.name + "_total", Help: counter.help},
			func() float64 { return float64(counter.value.Load()) },
		))
	}

	return collectors
}

package rtc

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// counters are the engine's, of all peers together.
type counters struct {
	strangeDatagrams atomic.Uint64
	malformedRTP     atomic.Uint64
	malformedRTCP    atomic.Uint64
	streamFloods     atomic.Uint64
	candidates       atomic.Uint64
}

// Stats are an engine's counts since its start.
type Stats struct {
	// StrangeDatagrams came from addresses that no peer is known at, and were dropped.
	StrangeDatagrams uint64
	// MalformedRTP are decrypted RTP packets that could not be parsed, and were dropped.
	MalformedRTP uint64
	// MalformedRTCP are decrypted RTCP packets that could not be parsed, and were dropped.
	MalformedRTCP uint64
	// StreamFloods are peers that were ended with ErrTooManyStreams.
	StreamFloods uint64
	// CandidatesDropped stood in answers, or came before them, and were malformed or too many.
	CandidatesDropped uint64
}

// Stats reads the counts.
func (e *Engine) Stats() Stats {
	return Stats{
		StrangeDatagrams: e.counters.strangeDatagrams.Load(),
		MalformedRTP:     e.counters.malformedRTP.Load(),
		MalformedRTCP:    e.counters.malformedRTCP.Load(),
		StreamFloods:     e.counters.streamFloods.Load(),

		CandidatesDropped: e.counters.candidates.Load(),
	}
}

// register exports the counts.
func (e *Engine) register(registerer prometheus.Registerer) {
	for _, c := range []struct {
		name, help string
		count      *atomic.Uint64
	}{
		{"nagi_rtc_strange_datagrams_total", "Datagrams from addresses that no peer is known at, dropped.", &e.counters.strangeDatagrams},
		{"nagi_rtc_malformed_rtp_packets_total", "Decrypted RTP packets that could not be parsed, dropped.", &e.counters.malformedRTP},
		{"nagi_rtc_malformed_rtcp_packets_total", "Decrypted RTCP packets that could not be parsed, dropped.", &e.counters.malformedRTCP},
		{"nagi_rtc_stream_floods_total", "Peers ended because their packets named too many SSRCs.", &e.counters.streamFloods},
		{"nagi_rtc_candidates_dropped_total", "ICE candidates in or before answers that were malformed or too many.", &e.counters.candidates},
	} {
		registerer.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: c.name, Help: c.help},
			func() float64 { return float64(c.count.Load()) }))
	}
}

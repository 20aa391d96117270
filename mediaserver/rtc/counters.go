package rtc

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// counters are the engine's, of all peers together.
type counters struct {
	strangeDatagrams  atomic.Uint64
	malformedRTP      atomic.Uint64
	malformedRTCP     atomic.Uint64
	undeclaredRTP     atomic.Uint64
	unnegotiatedRTP   atomic.Uint64
	outOfRunRTP       atomic.Uint64
	unprovenPaths     atomic.Uint64
	unreadableStreams atomic.Uint64
}

// Stats are an engine's counts since its start.
type Stats struct {
	// StrangeDatagrams came from addresses that no peer is known at, and were dropped.
	StrangeDatagrams uint64
	// MalformedRTP are RTP packets that were forged, repeated or malformed, and were dropped.
	MalformedRTP uint64
	// MalformedRTCP are RTCP packets that were forged, repeated or malformed, and were dropped.
	MalformedRTCP uint64
	// UndeclaredRTP are RTP packets of SSRCs that their client's answer does not have, and that do not say which of its
	// encodings they are of; they were dropped unopened.
	UndeclaredRTP uint64
	// UnnegotiatedRTP are RTP packets of payload types that their client's answer does not have for them, and were
	// dropped unopened.
	UnnegotiatedRTP uint64
	// OutOfRunRTP are RTP packets far off the sequence numbers of their stream, dropped.
	OutOfRunRTP uint64
	// UnprovenPaths were chosen by a client, and nobody there answered a check: its media stayed where it was.
	UnprovenPaths uint64
	// UnreadableStreams are streams of clients of which packets came and none could be opened, so that the client was
	// dismissed.
	UnreadableStreams uint64
}

// Stats reads the counts.
func (e *Engine) Stats() Stats {
	return Stats{
		StrangeDatagrams:  e.counters.strangeDatagrams.Load(),
		MalformedRTP:      e.counters.malformedRTP.Load(),
		MalformedRTCP:     e.counters.malformedRTCP.Load(),
		UndeclaredRTP:     e.counters.undeclaredRTP.Load(),
		UnnegotiatedRTP:   e.counters.unnegotiatedRTP.Load(),
		OutOfRunRTP:       e.counters.outOfRunRTP.Load(),
		UnprovenPaths:     e.counters.unprovenPaths.Load(),
		UnreadableStreams: e.counters.unreadableStreams.Load(),
	}
}

// register exports the counts, and the socket's.
func (e *Engine) register(registerer prometheus.Registerer) {
	for _, c := range []struct {
		name, help string
		count      func(Stats, udp.Stats) uint64
	}{
		{"rtc_strange_datagrams", "Datagrams from addresses that no peer is known at, dropped.",
			func(s Stats, _ udp.Stats) uint64 { return s.StrangeDatagrams }},
		{"rtc_malformed_rtp_packets", "RTP packets that were forged, repeated or malformed, dropped.",
			func(s Stats, _ udp.Stats) uint64 { return s.MalformedRTP }},
		{"rtc_malformed_rtcp_packets", "RTCP packets that were forged, repeated or malformed, dropped.",
			func(s Stats, _ udp.Stats) uint64 { return s.MalformedRTCP }},
		{"rtc_undeclared_rtp_packets",
			"RTP packets of SSRCs that neither their client's answer nor they themselves explain, dropped unopened.",
			func(s Stats, _ udp.Stats) uint64 { return s.UndeclaredRTP }},
		{"rtc_unnegotiated_rtp_packets",
			"RTP packets of payload types that their client's answer does not have for them, dropped unopened.",
			func(s Stats, _ udp.Stats) uint64 { return s.UnnegotiatedRTP }},
		{"rtc_out_of_run_rtp_packets", "RTP packets far off the sequence numbers of their stream, dropped.",
			func(s Stats, _ udp.Stats) uint64 { return s.OutOfRunRTP }},
		{"rtc_unproven_paths", "Paths that a client chose and where nobody answered a check: no media went there.",
			func(s Stats, _ udp.Stats) uint64 { return s.UnprovenPaths }},
		{"rtc_unreadable_streams",
			"Streams of clients of which packets came and none could be decrypted; the client was dismissed.",
			func(s Stats, _ udp.Stats) uint64 { return s.UnreadableStreams }},
		{"udp_datagrams_received", "Datagrams received.", func(_ Stats, s udp.Stats) uint64 { return s.DatagramsReceived }},
		{"udp_datagrams_discarded", "Datagrams received empty or too long, dropped.",
			func(_ Stats, s udp.Stats) uint64 { return s.DatagramsDiscarded }},
		{"udp_receive_calls", "System calls that returned datagrams.",
			func(_ Stats, s udp.Stats) uint64 { return s.ReceiveCalls }},
		{"udp_datagrams_sent", "Datagrams that the kernel took.",
			func(_ Stats, s udp.Stats) uint64 { return s.DatagramsSent }},
		{"udp_datagrams_refused", "Datagrams that the kernel did not take.",
			func(_ Stats, s udp.Stats) uint64 { return s.DatagramsRefused }},
		{"udp_messages_sent", "Passes through the kernel's network stack for the datagrams sent: one for each train of them.",
			func(_ Stats, s udp.Stats) uint64 { return s.MessagesSent }},
		{"udp_send_calls", "System calls made to send datagrams.", func(_ Stats, s udp.Stats) uint64 { return s.SendCalls }},
	} {
		registerer.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "nagi_" + c.name + "_total",
			Help: c.help},
			func() float64 { return float64(c.count(e.Stats(), e.socket.Stats())) }))
	}
}

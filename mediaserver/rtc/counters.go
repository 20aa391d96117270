package rtc

import "sync/atomic"

// counters are the engine's, of all peers together.
type counters struct {
	strangeDatagrams atomic.Uint64
	malformedRTP     atomic.Uint64
	malformedRTCP    atomic.Uint64
}

// Stats are an engine's counts since its start.
type Stats struct {
	// StrangeDatagrams came from addresses that no peer is known at, and were dropped.
	StrangeDatagrams uint64
	// MalformedRTP are decrypted RTP packets that could not be parsed, and were dropped.
	MalformedRTP uint64
	// MalformedRTCP are decrypted RTCP packets that could not be parsed, and were dropped.
	MalformedRTCP uint64
}

// Stats reads the counts.
func (e *Engine) Stats() Stats {
	return Stats{
		StrangeDatagrams: e.counters.strangeDatagrams.Load(),
		MalformedRTP:     e.counters.malformedRTP.Load(),
		MalformedRTCP:    e.counters.malformedRTCP.Load(),
	}
}

package rtc

import (
	"sync"
	"time"

	"github.com/pion/stun/v4"

	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// maxMeasurements is how many round trips of one client are measured at a time: each 60 ms, on ways of 1.9 s.
const maxMeasurements = 32

// measurements are the checks of ours by which round trips are measured on a client's path. Reports of the client's
// tell of one each second or so, and of the one that their sender report made, a while ago.
type measurements struct {
	mu   sync.Mutex
	sent []measurement // made when the first one leaves: few clients have any
	next int
}

// measurement is one check that has left; the zero value is none.
type measurement struct {
	id [stun.TransactionIDSize]byte
	at time.Duration
}

// MeasureRoundTrip has the client's worker send it a check, which full agents answer at once (RFC 8445 section 7.3).
// When the answer comes, Reports hears how long it took. Either may be lost, as it is where the worker is behind. It
// waits for nothing, since its callers hold a channel's lock.
func (p *Peer) MeasureRoundTrip() { p.engine.socket.TryPost(p.worker, roundTripJob{p}) }

// roundTripJob measures one client's round trip.
type roundTripJob struct{ peer *Peer }

// Run puts the check into the batch, which is flushed next.
func (j roundTripJob) Run(batch *udp.Batch) { j.peer.measure(batch) }

func (p *Peer) measure(batch *udp.Batch) {
	destination, remote := p.selected.Load(), p.remote.Load()
	if destination == nil || remote == nil {
		return
	}
	check, err := p.newCheck(remote)
	if err != nil {
		p.log.Error("no check can be made, so no round trip is measured", "error", err)

		return
	}
	datagram := batch.Append(destination, len(check.Raw))
	if datagram == nil {
		return // As if it had been lost.
	}
	copy(datagram, check.Raw)
	m := &p.measurements
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sent == nil {
		m.sent = make([]measurement, maxMeasurements)
	}
	m.sent[m.next] = measurement{check.TransactionID, p.engine.since(time.Now())}
	m.next = (m.next + 1) % maxMeasurements
}

// measured hands on how long a round trip took; false: the answer is not one to a check that measures one.
func (p *Peer) measured(answer *stun.Message, path udp.Path, now time.Duration) bool {
	sent := p.measurements.take(answer.TransactionID)
	if sent == 0 {
		return false
	}
	selected := p.selected.Load()
	if p.config.Reports != nil && selected != nil && selected.Path() == path {
		p.config.Reports.ReceiveMeasured(now-sent, p.engine.at(now))
	}

	return true
}

// take is when a check has left, once; 0: it has not.
func (m *measurements) take(id [stun.TransactionIDSize]byte) (sent time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.sent {
		if m.sent[i].at != 0 && m.sent[i].id == id {
			sent, m.sent[i] = m.sent[i].at, measurement{}

			return sent
		}
	}

	return 0
}

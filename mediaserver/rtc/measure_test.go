package rtc

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pion/stun/v4"

	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// A full agent answers at once, so how long that takes is how long a round trip does.
func TestRoundTripIsMeasured(t *testing.T) {
	c := connect(t, newEngine(t), true)
	h := &heard{}
	c.peer.config.Reports = h
	c.peer.MeasureRoundTrip()
	for end := time.Now().Add(10 * time.Second); len(h.said()) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no answer")
		}
	}
	if got := h.said(); !slices.Equal(got, []string{"measured, positive true"}) {
		t.Errorf("heard %q", got)
	}
}

// held is a job that holds its worker up.
type held struct{ begun, goOn chan struct{} }

func (h held) Run(*udp.Batch) {
	close(h.begun)
	<-h.goOn
}

// Whoever wants a round trip measured waits neither for the socket nor for the worker that sends the check.
func TestMeasuringWaitsForNobody(t *testing.T) {
	c := connect(t, newEngine(t), true)
	h := &heard{}
	c.peer.config.Reports = h
	worker := held{make(chan struct{}), make(chan struct{})}
	c.peer.engine.socket.Post(c.peer.worker, worker)
	<-worker.begun
	c.peer.MeasureRoundTrip()
	c.peer.measurements.mu.Lock()
	sent := len(c.peer.measurements.sent)
	c.peer.measurements.mu.Unlock()
	if sent > 0 {
		t.Error("the check was sent by the caller")
	}
	close(worker.goOn)
	for end := time.Now().Add(10 * time.Second); len(h.said()) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no answer")
		}
	}
}

// Only who was sent a check, on the path that the client is sent everything on, can answer it, once; a check beyond
// maxMeasurements is measured in place of the oldest one.
func TestMeasurementsAreTheClients(t *testing.T) {
	c := connect(t, newEngine(t), true)
	h := &heard{}
	c.peer.config.Reports = h
	// It has moved to where nobody else answers.
	before, here := c.peer.selected.Load().Path(), netip.MustParseAddrPort("192.0.2.9:1000")
	integrity := c.peer.remote.Load().integrity
	arrivesFrom(t, c.peer, here, answered(t, chooses(t, c.peer, here)[1].TransactionID, integrity))
	h.says = nil
	nowhere := udp.NewBatch(0, func([]byte, *udp.Destination) {})
	var ids [][stun.TransactionIDSize]byte
	for range maxMeasurements + 1 {
		c.peer.measure(nowhere)
		m := &c.peer.measurements
		ids = append(ids, m.sent[(m.next+maxMeasurements-1)%maxMeasurements].id)
	}
	last := len(ids) - 1
	wrong := ids[last]
	wrong[0]++
	arrivesFrom(t, c.peer, here, answered(t, wrong, integrity))
	arrivesFrom(t, c.peer, here, answered(t, ids[last], stun.NewShortTermIntegrity("wrong")))
	arrivesFrom(t, c.peer, here, answered(t, ids[0], integrity))
	arrivesFrom(t, c.peer, before.Remote, answered(t, ids[last-1], integrity))
	if got := h.said(); len(got) > 0 {
		t.Errorf("heard %q", got)
	}
	for range 2 {
		arrivesFrom(t, c.peer, here, answered(t, ids[last], integrity))
	}
	if got := h.said(); len(got) != 1 {
		t.Errorf("heard %q of one answer", got)
	}
}

// Where round trips take seconds, each of those of a probe is measured.
func TestLongRoundTripsAreMeasured(t *testing.T) {
	c := connect(t, newEngine(t), true)
	h := &heard{}
	c.peer.config.Reports = h
	here, m := netip.MustParseAddrPort("192.0.2.9:1000"), &c.peer.measurements // Nobody else answers there.
	integrity := c.peer.remote.Load().integrity
	arrivesFrom(t, c.peer, here, answered(t, chooses(t, c.peer, here)[1].TransactionID, integrity))
	h.says = nil
	nowhere := udp.NewBatch(0, func([]byte, *udp.Destination) {})
	c.peer.measure(nowhere)
	first := m.sent[(m.next+maxMeasurements-1)%maxMeasurements].id
	for range 3*time.Second/(100*time.Millisecond) - 1 {
		c.peer.measure(nowhere)
	}
	if arrivesFrom(t, c.peer, here, answered(t, first, integrity)); len(h.said()) != 1 {
		t.Errorf("heard %q of the first one", h.said())
	}
}

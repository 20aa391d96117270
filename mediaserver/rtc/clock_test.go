package rtc

import (
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// stepped is the same moment after somebody has set the wall clock: its monotonic reading is what it was. The layout
// is that of package time, which the first test below checks.
func stepped(at time.Time, by time.Duration) time.Time {
	const secondsShift = 30 // Below the seconds are the nanoseconds.
	*(*uint64)(unsafe.Pointer(&at)) += uint64(by/time.Second) << secondsShift

	return at
}

const step = 31 * time.Second

func TestStepped(t *testing.T) {
	now := time.Now()
	after := stepped(now, step)
	if after.Sub(now) != 0 || after.Round(0).Sub(now.Round(0)) != step {
		t.Fatalf("%v became %v: package time's layout has changed", now, after)
	}
}

// A step of the wall clock ends nobody who is well, and lets nobody take another's address.
func TestStepOfTheWallClock(t *testing.T) {
	victimsAddress := netip.MustParseAddrPort("192.0.2.1:1000")
	engine := newEngine(t)
	c, thief := newConnection(t, engine, true), newConnection(t, engine, true)
	d := &demuxer{engine: engine}
	arrives := func(c *connection, at time.Time) {
		datagram := check(t, c.peer.ufrag+":client", c.peer.password, useCandidate)
		d.receiveFrom(udp.NewBatch(0, nil), []udp.Datagram{{Payload: datagram, Source: victimsAddress}}, at)
	}
	arrives(c, time.Now())
	now := stepped(time.Now(), step)
	err := c.peer.liveness.look(engine.since(now), time.Second, engine.silenceTimeout, engine.mediaTimeout)
	if err != nil {
		t.Errorf("a client that was just heard is given up: %v", err)
	}
	arrives(thief, now)
	if engine.paths.at(udp.Path{Remote: victimsAddress}) != c.peer {
		t.Error("a step of the clock takes a client's address from it")
	}
}

// The interarrival jitter is of arrivals, whatever the wall clock says.
func TestStepOfTheWallClockIsNoJitter(t *testing.T) {
	r := newReception()
	at := time.Now()
	for i := range uint16(200) {
		r.receive(i, uint32(i)*3000, false, at)
		at = stepped(at, time.Second*time.Duration(i%2)).Add(time.Second / 30)
	}
	if r.jitter > 2 {
		t.Errorf("jitter %v of an even stream", r.jitter)
	}
}

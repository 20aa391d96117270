package rtc

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// lossWindow is what losses are counted over, lossyShare of what was sent from which on a window counts as one with
	// losses, if they are lossyPackets at least.
	lossWindow   = time.Second
	lossyShare   = 0.01
	lossyPackets = 3
	// windowsWith losses in a row have a client wait, as many as windowsWithout them end it.
	windowsWith, windowsWithout = 2, 10
	// takingBack is for how long packets say that it has ended.
	takingBack = 2 * time.Second
	// askAgain is how long libwebrtc waits for a packet that it has asked for until it asks again: 100 ms where it knows
	// of no round trip, which is so in clients that send nothing, and it looks every 20.
	askAgain = 120 * time.Millisecond
	// overflow is for how long after too much was sent losses may be reported that came of that.
	overflow = 2 * time.Second
	// queue is how much longer than the shortest round trip one is when packets are lost because a queue is full: then
	// what is sent is too much, and to wait would be of no use.
	queue = 100 * time.Millisecond
	// playoutMargin is a frame, at 25 a second, and a little.
	playoutMargin   = 60 * time.Millisecond
	maxPlayoutDelay = 500 * time.Millisecond
	// playoutUnit is what the extension counts in, and mostPlayoutDelay what it has as the longest delay, which is
	// libwebrtc's own.
	playoutUnit      = 10 * time.Millisecond
	mostPlayoutDelay = 10 * time.Second / playoutUnit
)

// playout has a client that loses packets keep pictures for as long as it takes to ask twice for a packet, so that a
// picture does not stand still when the first request, or the answer to it, is lost as well. A client's own buffer
// grows by how late packets are, not by how late those are that it had to ask for.
type playout struct {
	// value is what packets say: the extension's, or 0: they say nothing.
	value atomic.Uint32

	mu             sync.Mutex    // guards what follows; a leaf: readers take it
	began          time.Time     // the window
	lost, expected int           // in it
	trip           time.Duration // the shortest in it, or in the last in which there was one; 0: none is known
	tripped        bool          // it is of this window
	with, without  int           // windows in a row
	shortest       time.Duration // round trip on the path; 0: none is known
	delay          time.Duration
	ended          time.Time // zero: it has not ended just now
	overflowed     time.Time // when more was sent last than the path takes; zero: never
}

// receive takes in what a client reports about a stream of video: losses since the report before, and how long a round
// trip took; 0: unknown.
func (p *playout) receive(lost, expected int, trip time.Duration, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lost += lost
	p.expected += expected
	if p.began.IsZero() {
		p.began = now
	}
	if trip > 0 && (!p.tripped || trip < p.trip) {
		p.trip, p.tripped = trip, true
	}
	if p.trip > 0 && (p.shortest == 0 || p.trip < p.shortest) {
		p.shortest = p.trip
	}
	if now.Sub(p.began) >= lossWindow {
		p.look(now)
		p.began, p.lost, p.expected, p.tripped = now, 0, 0, false
	}
}

// moves notes that the client is reached on another path, on which round trips may be longer.
func (p *playout) moves() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shortest, p.trip = 0, 0
}

// overflows notes that more was sent than the path takes. What is lost by that is no reason to keep pictures for
// longer: they would stand still once more, when the smaller ones have just begun.
func (p *playout) overflows(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.overflowed, p.with = now, 0
}

// Congested notes that more was sent than the client's path takes.
func (p *Peer) Congested(now time.Time) { p.playout.overflows(now) }

// look draws the conclusions of a window. Call with mu held.
func (p *playout) look(now time.Time) {
	switch {
	case p.expected == 0: // Nothing was sent.
	case p.trip > p.shortest+queue, !p.overflowed.IsZero() && now.Sub(p.overflowed) < overflow:
		p.with = 0
	case p.lost >= lossyPackets && float64(p.lost) >= lossyShare*float64(p.expected):
		p.with, p.without = p.with+1, 0
	default:
		p.with, p.without = 0, p.without+1
	}
	switch wanted := min(askAgain+p.trip+playoutMargin, maxPlayoutDelay); {
	case p.with >= windowsWith && wanted > p.delay:
		p.delay, p.ended = wanted, time.Time{}
	case p.without >= windowsWithout && p.delay > 0:
		p.delay, p.ended = 0, now
	case !p.ended.IsZero() && now.Sub(p.ended) >= takingBack:
		p.ended = time.Time{}
	}
	value := uint32(0)
	if p.delay > 0 || !p.ended.IsZero() {
		value = uint32(p.delay/playoutUnit)<<12 | uint32(mostPlayoutDelay)
	}
	p.value.Store(value)
}

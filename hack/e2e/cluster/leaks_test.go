//go:build linux && cluster

package cluster

import (
	"errors"
	"sync"
	"testing"
	"time"
)

// paused is what a receiver gets, of a kind that is paused, from one sender while a pause of it exists.
type paused struct {
	mu       sync.Mutex
	exists   bool
	arrivals []arrival
	cuts     map[stream]uint16 // The last number that left on the streams that there were before the pause.
	claims   []claim           // In the order of their times.
}

// stream is what one connection gets from another: the receiver's number of it is another one in each connection.
type stream struct {
	ssrc   uint32
	sender string
}

type arrival struct {
	of       stream
	sequence uint16
	at       time.Time
}

// claim says from when on the object's status said, or did not say, that it is enforced at its present generation.
type claim struct {
	at       time.Time
	enforced bool
}

// begin forgets what was before, since an object is about to be made.
func (p *paused) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.exists, p.arrivals, p.claims, p.cuts = true, nil, nil, map[stream]uint16{}
}

// end says that the object is about to be deleted: what arrives from now on may.
func (p *paused) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.exists = false
}

// arrived notes a packet.
func (p *paused) arrived(a arrival) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.exists {
		p.arrivals = append(p.arrivals, a)
	}
}

// cut notes the last number that left on a stream before it was paused.
func (p *paused) cut(of stream, number uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cuts[of] = number
}

// claimed notes what the status says from now on.
func (p *paused) claimed(enforced bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if last := len(p.claims) - 1; p.exists && (last < 0 || p.claims[last].enforced != enforced) {
		p.claims = append(p.claims, claim{time.Now(), enforced})
	}
}

// told tells whether the last that was noted of the status is that it is enforced.
func (p *paused) told() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.enforcedAt(time.Now()) {
		return errors.New("the watch has not said that it is enforced")
	}

	return nil
}

// leaks counts what arrived though it should not: what has a number beyond its stream's cut, and everything of streams
// that began after the pause. leaked are those packets while the status said that it is enforced, unclaimed those while
// it did not.
func (p *paused) leaks() (leaked, unclaimed int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.arrivals {
		if cut, before := p.cuts[a.of]; before && int16(a.sequence-cut) <= 0 {
			continue
		}
		if p.enforcedAt(a.at) {
			leaked++
		} else {
			unclaimed++
		}
	}

	return leaked, unclaimed
}

func (p *paused) enforcedAt(moment time.Time) bool {
	enforced := false
	for _, c := range p.claims {
		if c.at.After(moment) {
			break
		}
		enforced = c.enforced
	}

	return enforced
}

// TestLeaks: what counts as a leak is counted, and nothing else.
func TestLeaks(t *testing.T) {
	old, recent := stream{1, "bob"}, stream{2, "bob"}
	begin := time.Now()
	after := func(seconds int) time.Time { return begin.Add(time.Duration(seconds) * time.Second) }
	p := paused{
		exists: true, cuts: map[stream]uint16{old: 65535},
		claims: []claim{{after(2), true}, {after(6), false}, {after(8), true}},
	}
	for _, a := range []arrival{
		{old, 65534, after(1)}, {old, 65535, after(3)}, // They had left before.
		{old, 0, after(4)},    // Leaked.
		{old, 1, after(7)},    // Not claimed.
		{recent, 7, after(1)}, // Not claimed.
		{recent, 8, after(5)}, // Leaked.
		{recent, 9, after(9)}, // Leaked.
	} {
		p.arrived(a)
	}
	if leaked, unclaimed := p.leaks(); leaked != 3 || unclaimed != 2 {
		t.Errorf("%d leaked, %d unclaimed, want 3 and 2", leaked, unclaimed)
	}
	p.end()
	p.arrived(arrival{recent, 10, after(10)})
	if leaked, _ := p.leaks(); leaked != 3 {
		t.Errorf("%d leaked: what arrives after the end may", leaked)
	}
}

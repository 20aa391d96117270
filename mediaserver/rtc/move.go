package rtc

import (
	"sync"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/stun/v4"

	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// A client can send its checks with a source that is forged, and so choose a path to somebody who wants nothing: all
// that it is sent would hit that one. So media moves to another path only when a check of ours has been answered there
// (RFC 7675): under its transaction id, which only those know who see what arrives there, and by the client's
// password. Until then the path before is the path. A lite agent need not send checks (RFC 8445 section 2.5), but full
// agents, which clients are, answer every one (section 7.3).
//
// A move takes one round trip from the check by which the client chooses the path. The first path needs no proof: DTLS
// alone passes on it until its handshake, which nobody can do who does not see what arrives, is done.

const (
	// firstRecheck is how long a check of ours may go unanswered before it is sent again; each time it is twice as
	// long.
	firstRecheck = 50 * time.Millisecond
	// maxChecks is how often it is sent in all: for 6.4 s. A client that goes on choosing the path has it begun anew.
	maxChecks = 7
)

// pathSilence is how long the path that a client has chosen may go without a check before another one, which is
// checked, takes its place. The client's choice is in its checks (USE-CANDIDATE). But when a NAT gives the client
// another address, or it changes its network, some clients go on with checks that choose nothing.
const pathSilence = 10 * time.Second

// credentials are those of a client's ICE agent.
type credentials struct {
	ufrag     string
	integrity stun.MessageIntegrity
}

// move is the change of one client's path that is under way, if any.
type move struct {
	mu          sync.Mutex
	destination *udp.Destination // nil: none is under way
	request     *stun.Message    // the check of ours; its last one when none is
	checks      int              // how often it has been sent
}

// selectPath makes a path the one that the client is sent everything on. It is called with move.mu held.
func (p *Peer) selectPath(destination *udp.Destination, now time.Duration) {
	p.move.destination = nil
	p.checked.Store(int64(now))
	if p.selected.Swap(destination) == nil {
		close(p.reachable)

		return
	}
	p.playout.moves()
	if p.config.Reports != nil {
		p.config.Reports.Moved(p.engine.at(now))
	}
}

// checkedOn notes a check of the client on a path, nominated if it chooses that path, and returns a check of ours that
// is to be sent back on it; nil: none.
func (p *Peer) checkedOn(destination *udp.Destination, nominated bool, now time.Duration) []byte {
	p.move.mu.Lock()
	defer p.move.mu.Unlock()
	selected, remote := p.selected.Load(), p.remote.Load()
	switch {
	case selected == nil:
		p.selectPath(destination, now)
	case selected.Path() == destination.Path():
		p.checked.Store(int64(now))
		if nominated {
			p.move.destination = nil
		}
	case !nominated && now-time.Duration(p.checked.Load()) <= pathSilence:
	case remote == nil: // Before the answer nothing is sent on any path.
		p.selectPath(destination, now)
	case p.move.destination == nil || p.move.destination.Path() != destination.Path():
		return p.beginMove(destination, remote)
	}

	return nil
}

// beginMove makes the check of ours that is to prove a path. It is called with move.mu held.
func (p *Peer) beginMove(destination *udp.Destination, remote *credentials) []byte {
	request, err := p.newCheck(remote)
	if err != nil {
		p.log.Error("no check of a client's path can be made, so its media stays where it is", "error", err)

		return nil
	}
	p.move.destination, p.move.request, p.move.checks = destination, request, 1
	signal(p.moving)

	return request.Raw
}

// newCheck makes a check of ours.
func (p *Peer) newCheck(remote *credentials) (*stun.Message, error) {
	return stun.Build(stun.BindingRequest, stun.TransactionID,
		stun.NewUsername(remote.ufrag+":"+p.ufrag), ice.AttrControlled(p.sessionID), ice.PriorityAttr(checkPriority),
		remote.integrity, stun.Fingerprint)
}

// checkPriority is that of the peer-reflexive candidate that a check of ours might be from (RFC 8445 section 5.1.2).
const checkPriority = 110<<24 | 65535<<8 | 255

// recheck sends the check of ours again, and says when to look again; 0: there is none, or not any more.
func (p *Peer) recheck() time.Duration {
	p.move.mu.Lock()
	destination, request, checks := p.move.destination, p.move.request, p.move.checks
	if destination != nil && checks == maxChecks {
		p.move.destination = nil
		p.engine.counters.unprovenPaths.Add(1)
		destination = nil
	}
	p.move.checks++
	p.move.mu.Unlock()
	if destination == nil {
		return 0
	}
	if err := p.engine.socket.Send(request.Raw, destination); err != nil {
		p.log.Debug("a check of a client's path is not sent", "error", err)
	}

	return firstRecheck << checks
}

// checkAnswered moves to the path on which a check of ours has been answered, or notes how long that took; false: it
// is no answer to one.
func (p *Peer) checkAnswered(answer *stun.Message, path udp.Path, now time.Duration) bool {
	remote := p.remote.Load()
	if remote == nil || remote.integrity.Check(answer) != nil {
		return false
	}
	if p.measured(answer, path, now) {
		return true
	}
	p.move.mu.Lock()
	defer p.move.mu.Unlock()
	request := p.move.request
	if request == nil || request.TransactionID != answer.TransactionID {
		return false
	}
	if p.move.destination == nil { // It was sent more than once, or the client has changed its mind.
		return true
	}
	if p.move.destination.Path() != path {
		return false
	}
	p.liveness.hear(now)
	p.selectPath(p.move.destination, now)

	return true
}

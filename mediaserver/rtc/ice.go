package rtc

import (
	"bytes"
	"crypto/rand"
	"slices"
	"sync"
	"time"

	"github.com/pion/stun/v4"

	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// The server is a lite agent (RFC 8445 section 2.5): whoever runs it says at which addresses it can be reached, so it
// never has to find out. It answers the clients' checks, and the client chooses the path. A full agent of a library
// would send and answer checks with a few goroutines and timers for each client, which cost more than forwarding to
// nobody does.

// maxPaths is how many paths of one client are remembered: as many as eight addresses of its and eight of ours make.
const maxPaths = 64

// addressHold is how long a client that is not heard keeps its addresses from others. A source can be forged: without
// it, any participant could take another's address, and what that one sends, with a single check of its own. But a NAT
// may give the address of a client that is gone to the next one. Clients that live are heard each 6 s at least (RFC
// 7675 section 5.1).
const addressHold = 10 * time.Second

// paths finds peers by what their clients say and whence.
type paths struct {
	mu      *sync.RWMutex
	byUfrag map[string]*Peer
	byPath  map[udp.Path]*Peer
}

func newPaths() paths {
	return paths{mu: &sync.RWMutex{}, byUfrag: make(map[string]*Peer), byPath: make(map[udp.Path]*Peer)}
}

// at is the peer whose client has proved, by the password, to be at a path's other end; nil: nobody's.
func (p *paths) at(path udp.Path) *Peer {
	p.mu.RLock()
	peer := p.byPath[path]
	p.mu.RUnlock()

	return peer
}

// named is the peer that a check is meant for: its user name is our fragment, a colon and the client's (RFC 8445
// section 7.2.2).
func (p *paths) named(username []byte) *Peer {
	ours, _, ok := bytes.Cut(username, []byte{':'})
	if !ok {
		return nil
	}
	p.mu.RLock()
	defer p.mu.RUnlock()

	return p.byUfrag[string(ours)]
}

func (p *paths) expect(peer *Peer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.byUfrag[peer.ufrag] = peer
}

// learn remembers that a peer's client is at a path's other end; false if it is another's, or the peer is closed.
// Beyond maxPaths the oldest one that is not in use is forgotten, until the client checks it again.
func (p *paths) learn(peer *Peer, path udp.Path, now time.Duration) bool {
	if p.at(path) == peer {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.byPath[path]
	switch {
	case p.byUfrag[peer.ufrag] != peer, before != nil && before != peer && before.liveness.silent(now) < addressHold:
		return false
	case before == peer:
		return true
	case before != nil:
		before.paths = slices.DeleteFunc(before.paths, func(of udp.Path) bool { return of == path })
	}
	p.byPath[path] = peer
	peer.paths = append(peer.paths, path)
	if len(peer.paths) > maxPaths {
		oldest := 0
		if selected := peer.selected.Load(); selected != nil && selected.Path() == peer.paths[0] {
			oldest = 1
		}
		delete(p.byPath, peer.paths[oldest])
		peer.paths = slices.Delete(peer.paths, oldest, oldest+1)
	}

	return true
}

func (p *paths) forget(peer *Peer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.byUfrag, peer.ufrag)
	for _, path := range peer.paths {
		delete(p.byPath, path)
	}
	peer.paths = nil
}

// newCredentials makes an ICE user name fragment and password: at least 24 and 128 bits of randomness (RFC 8445
// section 5.3), of characters that SDP allows.
func newCredentials() (ufrag, password string) { return rand.Text(), rand.Text() + rand.Text() }

// receiveSTUN takes in the checks of clients that know the password, and their answers to ours; anything else is a
// stranger's.
func (d *demuxer) receiveSTUN(batch *udp.Batch, datagram udp.Datagram, at time.Time) {
	now, path, known := d.engine.since(at), datagram.Path(), false
	d.stun.Raw = append(d.stun.Raw[:0], datagram.Payload...)
	if d.stun.Decode() == nil {
		switch d.stun.Type {
		case stun.BindingRequest:
			known = d.receiveCheck(batch, path, now)
		case stun.BindingSuccess:
			peer := d.engine.paths.at(path)
			known = peer != nil && peer.checkAnswered(&d.stun, path, now)
		}
	}
	if !known {
		d.engine.counters.strangeDatagrams.Add(1)
	}
}

// receiveCheck answers a check of a client that knows the password; false: it does not.
func (d *demuxer) receiveCheck(batch *udp.Batch, path udp.Path, now time.Duration) bool {
	peer := d.authentic()
	if peer == nil || !d.engine.paths.learn(peer, path, now) {
		return false
	}
	peer.liveness.hear(now)
	destination := peer.selected.Load()
	if destination == nil || destination.Path() != path {
		destination = d.engine.socket.DestinationOn(path)
	}
	ours := peer.checkedOn(destination, d.stun.Contains(stun.AttrUseCandidate), now)
	d.answerCheck(batch, destination, peer)
	if ours != nil {
		appendTo(batch, destination, ours)
	}

	return true
}

// authentic is the peer that a binding request names, if it knows the password.
func (d *demuxer) authentic() *Peer {
	username, err := d.stun.Get(stun.AttrUsername)
	if err != nil {
		return nil
	}
	peer := d.engine.paths.named(username)
	if peer == nil || peer.integrity.Check(&d.stun) != nil {
		return nil
	}

	return peer
}

// answerCheck tells the client where its request came from (RFC 8445 section 7.3.1).
func (d *demuxer) answerCheck(batch *udp.Batch, destination *udp.Destination, peer *Peer) {
	source := destination.AddrPort()
	id := d.stun.TransactionID
	if err := d.stun.Build(stun.BindingSuccess, stun.NewTransactionIDSetter(id),
		stun.XORMappedAddress{IP: source.Addr().AsSlice(),
			Port: int(source.Port())}, peer.integrity, stun.Fingerprint); err != nil {
		return // It would be a mistake of ours; the client asks again.
	}
	appendTo(batch, destination, d.stun.Raw)
}

func appendTo(batch *udp.Batch, destination *udp.Destination, message []byte) {
	batch.Room(1)
	if room := batch.Append(destination, len(message)); room != nil {
		copy(room, message)
	}
}

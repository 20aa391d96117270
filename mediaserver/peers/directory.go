package peers

import (
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/internal/bounds"
)

const (
	// keptFor is how long the keys of a replica that is away are good once another's have
	// come: for as long as its peers may take to have them too.
	keptFor = time.Minute
	// maxKeys bounds the replicas that are remembered.
	maxKeys = 16
)

// directory is who the media servers of the namespace are, as each replica says, and the
// keys by which they know each other. What was heard last stays when nobody is heard.
type directory struct {
	self string

	mu       sync.Mutex
	replicas map[string]*replica
	// networks are those that peers come from.
	networks map[netip.Prefix]struct{}
}

// replica is what one replica said.
type replica struct {
	members map[string]*forwardingv1.Member
	key     []byte
	live    bool
	// ends is when it is forgotten; zero: not yet.
	ends time.Time
	// at orders what replicas said.
	at time.Time
}

func newDirectory(self string) *directory {
	return &directory{self: self, replicas: make(map[string]*replica)}
}

// update takes what a replica says. A key of another process at the same address comes
// beside the old one.
func (d *directory) update(address string, said *forwardingv1.Members, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.replicas[address]
	if said.GetWhole() {
		if r != nil && !slices.Equal(r.key, said.GetKey()) {
			r.live = false
			d.replicas[address+" before"] = r
		}
		r = &replica{members: make(map[string]*forwardingv1.Member), key: said.GetKey(), live: true}
		d.replicas[address] = r
		d.forget(now)
	}
	if r == nil {
		return // A difference to nothing; the stream's first Members is whole.
	}
	r.at = now
	for _, member := range said.GetSet() {
		r.members[member.GetName()] = member
	}
	for _, name := range said.GetRemoved() {
		delete(r.members, name)
	}
	d.networks = make(map[netip.Prefix]struct{})
	for _, r := range d.replicas {
		for _, member := range r.members {
			d.networks[bounds.NetworkOf(member.GetPeerAddress())] = struct{}{}
		}
	}
	delete(d.networks, netip.Prefix{})
}

// forget lets go of replicas that are away while another's word has come in their place.
func (d *directory) forget(now time.Time) {
	for _, r := range d.replicas {
		if !r.live && r.ends.IsZero() {
			r.ends = now.Add(keptFor)
		}
	}
	maps.DeleteFunc(d.replicas, func(_ string, r *replica) bool { return !r.live && now.After(r.ends) })
	for len(d.replicas) > maxKeys {
		delete(d.replicas, slices.MinFunc(slices.Collect(maps.Keys(d.replicas)), func(a, b string) int {
			return d.replicas[a].at.Compare(d.replicas[b].at)
		}))
	}
}

// leave notes that a replica is heard no longer, and tells whether any still is.
func (d *directory) leave(address string) (heard bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r := d.replicas[address]; r != nil {
		r.live = false
	}
	for _, r := range d.replicas {
		heard = heard || r.live
	}

	return heard
}

// keys are all that are good.
func (d *directory) keys() [][]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	keys := make([][]byte, 0, len(d.replicas))
	for _, address := range slices.Sorted(maps.Keys(d.replicas)) {
		if key := d.replicas[address].key; len(key) > 0 {
			keys = append(keys, key)
		}
	}

	return keys
}

// others are the media servers but this one, ordered by name: those that live replicas
// name, or that were named last when none is heard.
func (d *directory) others() []*forwardingv1.Member {
	d.mu.Lock()
	defer d.mu.Unlock()
	replicas := slices.SortedFunc(maps.Values(d.replicas), func(a, b *replica) int { return a.at.Compare(b.at) })
	if slices.ContainsFunc(replicas, func(r *replica) bool { return r.live }) {
		replicas = slices.DeleteFunc(replicas, func(r *replica) bool { return !r.live })
	}
	byName := make(map[string]*forwardingv1.Member)
	for _, r := range replicas {
		maps.Copy(byName, r.members)
	}
	delete(byName, d.self)

	return slices.SortedFunc(maps.Values(byName), func(a, b *forwardingv1.Member) int {
		return strings.Compare(a.GetName(), b.GetName())
	})
}

// takes tells whether there is another media server that channels may be opened at.
func (d *directory) takes() bool {
	return slices.ContainsFunc(d.others(), func(member *forwardingv1.Member) bool { return !member.GetDraining() })
}

// known tells whether any replica has ever said who there is.
func (d *directory) known() bool {
	d.mu.Lock()
	defer d.mu.Unlock()

	return len(d.replicas) > 0
}

// tellsDraining tells whether every replica that is heard knows that this media server drains.
func (d *directory) tellsDraining() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.replicas {
		if r.live && !r.members[d.self].GetDraining() {
			return false
		}
	}

	return true
}

func (d *directory) has(from netip.Prefix) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.networks[from]

	return ok
}

// Place is another media server by its name; nil: none is known.
func (p *Peers) Place(name string) *Place {
	for _, member := range p.directory.others() {
		if member.GetName() == name {
			return placeOf(member)
		}
	}

	return nil
}

// Known tells whether a network is one that peers come from.
func (p *Peers) Known(from netip.Prefix) bool { return p.directory.has(from) }

// urlOf is what to ask a peer at.
func urlOf(scheme, peerAddress, path string) string {
	host, port, err := net.SplitHostPort(peerAddress)
	if err != nil {
		return ""
	}

	return scheme + "://" + net.JoinHostPort(host, port) + path
}

package knowledge

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/controllers/claims"
)

var (
	// ErrNoRoom is returned where no media server can be given a channel.
	ErrNoRoom = errors.New("no media server of the namespace has room, is reached by the others and does not drain: " +
		"start another, or raise its bounds")
	// ErrMayNotOwn is wrapped where a media server may own no further channel.
	ErrMayNotOwn = errors.New("the media server may own no further channel")
	// ErrNotHeard is wrapped where a media server has no stream here.
	ErrNotHeard = errors.New("the media server has no stream here, or has not reported everything on it")
)

// lapse is how long nobody may have looked at the time before this process counts as
// having stood still.
const lapse = 2 * time.Second

// attend notes that this process listens. One that was stopped and woken has heard nothing
// meanwhile, and does not take that for the silence of others. The caller holds the lock.
func (t *Tenant) attend(now time.Time) {
	// By the wall clock too, which goes on while a machine sleeps.
	if gap := max(now.Sub(t.attended), now.Round(0).Sub(t.attended.Round(0))); gap >= lapse {
		t.listens = now
	}
	t.attended = now
}

// Silence is for how long this replica has listened to the media server and heard nothing;
// 0 while it has a stream.
func (t *Tenant) Silence(of claims.Holder, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.attend(now)
	since := t.listens
	if t.synced.After(since) {
		since = t.synced
	}
	if server := t.servers[of.Name]; server != nil && server.introduction.PodUID == of.PodUID {
		if server.session != nil {
			return 0
		}
		if server.heard.After(since) {
			since = server.heard
		}
	}
	if t.synced.IsZero() {
		since = now // Nobody has been let in yet.
	}

	return max(now.Sub(since), 1)
}

// Ended is when the media server said farewell and its stream ended; zero: it has not, or
// has come back since.
func (t *Tenant) Ended(holder claims.Holder) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()

	return t.farewells.at[podKey(holder)]
}

// Unused tells that the media server has reported all that it hosts, and does not host the
// channel.
func (t *Tenant) Unused(holder claims.Holder, channelID string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	server := t.servers[holder.Name]

	if server == nil || server.introduction.PodUID != holder.PodUID || server.complete.IsZero() || server.untold {
		return false
	}

	return server.channels[channelID] == nil
}

// Others are the streams of all media servers but those named.
func (t *Tenant) Others(but ...string) (sessions []*Session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, server := range t.servers {
		if server.session != nil && !slices.Contains(but, name) {
			sessions = append(sessions, server.session)
		}
	}

	return sessions
}

// Member is the media server as others need to know it: by its name and pod alone where
// nothing else is known of it here.
func (t *Tenant) Member(holder claims.Holder) *forwardingv1.Member {
	t.mu.Lock()
	defer t.mu.Unlock()
	if server := t.servers[holder.Name]; server != nil && server.introduction.PodUID == holder.PodUID {
		return server.member
	}

	return &forwardingv1.Member{Name: holder.Name, PodUid: holder.PodUID}
}

// Place chooses the media server that a channel is to be opened at, which the caller is
// about to reach: the least loaded, and of those the one that every replica would choose.
// It fails with ErrNoRoom or ErrNotHeard.
func (t *Tenant) Place(channelID, caller string, unreachable []string) (*forwardingv1.Member, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var best *mediaServer
	var least, heaviest uint64
	heard := false
	for name, server := range t.servers {
		if server.session == nil || server.complete.IsZero() {
			continue
		}
		heard = true
		reached := name == caller || server.introduction.PeerAddress != "" && !slices.Contains(unreachable, name)
		if !reached || server.draining || t.full(server) != "" {
			continue
		}
		load, _ := t.load(server)
		if best != nil && load > least {
			continue
		}
		if w := weight(channelID, name); best == nil || load < least || w > heaviest {
			best, least, heaviest = server, load, w
		}
	}
	switch {
	case best != nil:
		return best.member, nil
	case heard:
		return nil, ErrNoRoom
	default:
		return nil, fmt.Errorf("%w: no media server of the namespace has", ErrNotHeard)
	}
}

// weight orders media servers for a channel alike on all replicas, and otherwise for
// another channel (rendezvous hashing).
func weight(channelID, name string) uint64 {
	sum := sha256.Sum256([]byte(name + "\x00" + channelID))

	return binary.BigEndian.Uint64(sum[:])
}

// load is how many connections the media server has, and channels. A channel that it
// owns and has not reported yet is about to have a connection: or all channels that are
// opened at once would go to the same one.
func (t *Tenant) load(server *mediaServer) (connections, channels uint64) {
	hosts, owns := len(server.channels), len(t.claims.owned[server.introduction.holder()])

	return uint64(server.connections + max(owns-hosts, 0)), uint64(max(hosts, owns))
}

// full tells which of its bounds the media server has reached; empty: none.
func (t *Tenant) full(server *mediaServer) string {
	connections, channels := t.load(server)
	switch i := &server.introduction; {
	case i.MaxChannels > 0 && channels >= i.MaxChannels:
		return fmt.Sprintf("it has %d channels, which is its bound", channels)
	case i.MaxConnections > 0 && connections >= i.MaxConnections:
		return fmt.Sprintf("it has %d connections, which is its bound", connections)
	default:
		return ""
	}
}

// MayOwn tells why the media server may not own a channel that nobody owns, which wraps
// ErrMayNotOwn or ErrNotHeard; nil: it may. What it hosts already fills nothing.
func (t *Tenant) MayOwn(holder claims.Holder, channelID string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	server := t.servers[holder.Name]
	if server == nil || server.session == nil || server.complete.IsZero() || server.introduction.PodUID != holder.PodUID {
		return fmt.Errorf("%w: subscribe first", ErrNotHeard)
	}
	if server.draining {
		return fmt.Errorf("%w: it drains", ErrMayNotOwn)
	}
	if full := t.full(server); full != "" && server.channels[channelID] == nil {
		return fmt.Errorf("%w: %s", ErrMayNotOwn, full)
	}

	return nil
}

package knowledge

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/controllers/held"
)

var (
	// ErrDeleted is returned for a pause that was deleted.
	ErrDeleted = errors.New("the pause was deleted: create it again")
	// ErrCannotAct is wrapped for a pause that cannot come to act.
	ErrCannotAct = errors.New("the pause cannot come to act")
)

// Enforcement is who enforces a pause.
type Enforcement struct {
	// MediaServers are sorted.
	MediaServers []string
	// Latency is from learning of the content to its last acknowledgement; 0 where
	// that was known before.
	Latency time.Duration
}

// Enforced tells whether every media server that hosts the pause's channel has
// acknowledged its present content, and, of an edge, at an epoch at which both
// connections were known and with the word that it matches; nil: not yet. It fails
// with ErrCannotAct when waiting is in vain.
//
// A channel that nobody hosts is not enough: a media server may not have reached
// this replica yet.
func (t *Tenant) Enforced(object *held.Pause, edge *forwardingv1.EdgeName, now time.Time) (*Enforcement, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.byUID[object.UID]
	switch {
	case e == nil || e.object.Deletion != nil:
		return nil, ErrDeleted
	case !e.rule():
		return nil, fmt.Errorf(
			"%w: it asks for what this version does not know: name receivers, senders and kinds in another way", ErrCannotAct,
		)
	case e.beyond:
		return nil, fmt.Errorf("%w: its channel has more pauses than act, and older ones do: delete some", ErrCannotAct)
	}
	j := judgement{t: t, pause: e.object, now: now, digest: e.digest}
	j.hear()
	expired := e.object.Spec.ExpiresAt != nil && !now.Before(e.object.Spec.ExpiresAt.Time)
	switch {
	case j.hosting > 0 && j.expired == j.hosting, expired && j.hosting == 0 && len(j.Lost) == 0:
		return nil, fmt.Errorf("%w: it has expired: move its expiresAt, or delete it", ErrCannotAct)
	case j.notUnderstood > 0:
		return nil,
			fmt.Errorf("%w: a media server does not know what it asks for: run the same version everywhere", ErrCannotAct)
	}
	if edge != nil {
		if host, err := t.hostOf(e, edge); host == nil || err != nil {
			return nil, err
		}
	}
	if j.hosting == 0 || len(j.Waiting)+j.unsure > 0 || !t.heardAnew(e) {
		return nil, nil //nolint:nilnil // Neither an answer nor a failure: wait on.
	}

	return t.enforcement(e), nil
}

// hostOf is the media server that hosts both ends of the edge and has acknowledged
// the pause for them; nil: not yet.
func (t *Tenant) hostOf(e *entry, edge *forwardingv1.EdgeName) (*hosted, error) {
	receiver, atReceiver := t.find(e.object.Spec.ChannelID, edge.GetRecvConnectionId())
	sender, atSender := t.find(e.object.Spec.ChannelID, edge.GetSendConnectionId())
	for id, c := range map[string]*known{edge.GetRecvConnectionId(): receiver, edge.GetSendConnectionId(): sender} {
		if _, left := t.departed.at[id]; c == nil && left {
			return nil, fmt.Errorf("%w: connection %q has left channel %q", ErrCannotAct, id, e.object.Spec.ChannelID)
		}
	}
	switch {
	case receiver == nil || sender == nil:
		return nil, nil //nolint:nilnil // Wait on.
	case atReceiver != atSender:
		return nil, fmt.Errorf("%w on this edge: the receiver is on media server %q and the sender on %q: "+
			"connect both to the same one", ErrCannotAct, atReceiver.server.name, atSender.server.name)
	case !forwardingv1.LiveEdge(receiver.Connection, sender.Connection):
		return nil, fmt.Errorf("%w on this edge: the roles or bundles of the connections allow no stream from %q to %q",
			ErrCannotAct, edge.GetSendConnectionId(), edge.GetRecvConnectionId())
	}
	said := atSender.acknowledged[string(e.object.UID)]
	if said.digest != e.digest || !atSender.heard() || atSender.acknowledgedEpoch < max(receiver.epoch, sender.epoch) {
		return nil, nil //nolint:nilnil // Wait on.
	}
	switch said.state {
	case forwardingv1.State_STATE_NOT_MATCHING:
		return nil, fmt.Errorf("%w on this edge: media server %q finds no live edge that it matches", ErrCannotAct,
			atSender.server.name)
	case forwardingv1.State_STATE_EXPIRED:
		return nil, fmt.Errorf("%w on this edge: it has expired by the clock of media server %q: move its expiresAt, "+
			"or delete it", ErrCannotAct, atSender.server.name)
	default:
		return atSender, nil
	}
}

// heardAnew tells that every media server in touch that hosts the pause's channel
// has been heard.
func (t *Tenant) heardAnew(e *entry) bool {
	return !slices.ContainsFunc(t.channels[e.object.Spec.ChannelID].hosts, func(h *hosted) bool {
		return h.inTouch() && !h.heard()
	})
}

// heard tells that the media server has acknowledged on its present stream. What it
// said on an earlier one may be so no longer: another replica may have told it of
// another content since, and after that, or by a restored backup, the content of
// that time is back.
func (h *hosted) heard() bool { return h.inTouch() && h.acknowledgedBy == h.session }

func (t *Tenant) enforcement(e *entry) *Enforcement {
	result := &Enforcement{}
	known := true
	for _, h := range t.channels[e.object.Spec.ChannelID].hosts {
		if !h.inTouch() {
			continue
		}
		after := h.acknowledged[string(e.object.UID)].after
		known = known && after > 0
		result.MediaServers = append(result.MediaServers, h.server.name)
		result.Latency = max(result.Latency, after)
	}
	if !known {
		result.Latency = 0
	}
	slices.SortFunc(result.MediaServers, strings.Compare)

	return result
}

// find looks a connection up; nil: it is not there. One in touch goes before one
// that is not.
func (t *Tenant) find(channelID, connectionID string) (c *known, at *hosted) {
	channel := t.channels[channelID]
	if channel == nil {
		return nil, nil
	}
	for _, h := range channel.hosts {
		if found := h.connections[connectionID]; found != nil && (c == nil || h.inTouch()) {
			c, at = found, h
		}
	}

	return c, at
}

// Placed is a connection, and where it is.
type Placed struct {
	*forwardingv1.Connection
	MediaServer string
	OutOfTouch  bool
}

// Presence is who is in a channel.
type Presence struct {
	// Connections are the oldest first.
	Connections []Placed
	// Missing tells that one of the connection ids asked for is not known.
	Missing bool
	// Occupied tells that anybody is in the channel.
	Occupied bool
	// OutOfTouch tells that a media server of the namespace is out of touch.
	OutOfTouch bool
}

// Connections tells who is in a channel: everybody, or those that are named.
// Those of a media server that is out of touch count until it is given up.
func (t *Tenant) Connections(channelID string, connectionIDs, clientIDs []string) Presence {
	t.mu.Lock()
	presence := Presence{OutOfTouch: len(t.out.servers)+len(t.unheard) > 0 || t.turnedAway.name != ""}
	var hosts []*hosted
	if c := t.channels[channelID]; c != nil {
		hosts = c.hosts
	}
	everybody := len(connectionIDs)+len(clientIDs) == 0
	clients := set(clientIDs)
	taken := map[*known]bool{}
	for _, h := range hosts {
		presence.Occupied = presence.Occupied || len(h.connections) > 0 || h.refused != ""
		if !everybody && len(clients) == 0 {
			continue
		}
		for _, c := range h.connections {
			if everybody || clients[c.GetClientId()] {
				presence.add(h, c)
				taken[c] = true
			}
		}
	}
	for _, id := range connectionIDs {
		c, h := t.find(channelID, id)
		if c == nil {
			presence.Missing = true
		} else if !taken[c] {
			presence.add(h, c)
			taken[c] = true
		}
	}
	t.mu.Unlock()
	slices.SortFunc(presence.Connections, func(a, b Placed) int {
		return cmp.Or(a.GetCreatedTime().AsTime().Compare(b.GetCreatedTime().AsTime()),
			strings.Compare(a.GetConnectionId(), b.GetConnectionId()))
	})

	return presence
}

func (p *Presence) add(h *hosted, c *known) {
	p.Connections = append(p.Connections, Placed{
		Connection: c.Connection, MediaServer: h.server.name, OutOfTouch: !h.inTouch(),
	})
}

func set(of []string) map[string]bool {
	result := make(map[string]bool, len(of))
	for _, s := range of {
		result[s] = true
	}

	return result
}

// Hosts are the streams of the media servers that host the channel and are in
// touch, and the names of those that may host it and are not, or of whose channels
// more than the bound are not known, sorted.
func (t *Tenant) Hosts(channelID string) (sessions []*Session, outOfTouch []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.channels[channelID]; c != nil {
		for _, h := range c.hosts {
			if h.inTouch() {
				sessions = append(sessions, h.session)
			} else {
				outOfTouch = append(outOfTouch, h.server.name)
			}
		}
	}
	owners := t.formerOwnersOf(channelID)
	if owner, out := t.ownerOutOfTouch(channelID); out {
		owners = append(owners, owner)
	}
	for _, owner := range owners {
		if !slices.Contains(outOfTouch, owner.name) {
			outOfTouch = append(outOfTouch, owner.name)
		}
	}
	if len(sessions)+len(outOfTouch) == 0 {
		out := &t.out
		if t.claims.known {
			out = &t.anywhere
		}
		names, _ := out.lost()
		outOfTouch = slices.Concat(names, slices.Collect(maps.Keys(t.unheard)), t.untoldOf())
		if t.turnedAway.name != "" {
			outOfTouch = append(outOfTouch, t.turnedAway.name)
		}
	}
	slices.SortFunc(outOfTouch, strings.Compare)

	return sessions, outOfTouch
}

// ClaimsListed tells whether it has been known who owns each channel.
func (t *Tenant) ClaimsListed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()

	return t.claims.listed
}

// Listened tells since when the namespace's pauses are known, and with them media
// servers are heard; zero: they are not.
func (t *Tenant) Listened() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()

	return t.synced
}

// listening is since when somebody in office since then has heard media servers.
func (t *Tenant) listening(inOffice time.Time) time.Time {
	if listened := t.Listened(); listened.After(inOffice) {
		return listened
	}

	return inOffice
}

// Channel is the channel of the pause of that uid; empty: it is not known.
func (t *Tenant) Channel(uid string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.byUID[types.UID(uid)]; e != nil {
		return e.object.Spec.ChannelID
	}

	return ""
}

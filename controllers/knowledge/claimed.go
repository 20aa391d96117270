package knowledge

import (
	"slices"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/controllers/claims"
)

const (
	// claimGrace is how long a channel may be reported whose claim is not known to be the
	// media server's: the claim and the report come on different ways.
	claimGrace = time.Second
	// unclaimedEvery is how often it is told that of a channel.
	unclaimedEvery = 10 * time.Second
)

// claimed are the channels that media servers own, as far as it is known.
type claimed struct {
	known  bool // to be all there are
	owners map[string]claims.Holder
	owned  map[claims.Holder]map[string]struct{}
	// doubts are the channels that are reported by another than their owner, and when
	// that is to be looked at.
	doubts   map[*hosted]time.Time
	lookedAt time.Time
}

func newClaimed() claimed {
	return claimed{
		owners: map[string]claims.Holder{}, owned: map[claims.Holder]map[string]struct{}{}, doubts: map[*hosted]time.Time{},
	}
}

// set notes the owner of a channel; zero: nobody.
func (c *claimed) set(channelID string, owner claims.Holder) {
	if before, ok := c.owners[channelID]; ok {
		delete(c.owners, channelID)
		delete(c.owned[before], channelID)
		if len(c.owned[before]) == 0 {
			delete(c.owned, before)
		}
	}
	if owner == (claims.Holder{}) {
		return
	}
	c.owners[channelID] = owner
	if c.owned[owner] == nil {
		c.owned[owner] = map[string]struct{}{}
	}
	c.owned[owner][channelID] = struct{}{}
}

// doubt has the hosting of a channel be looked at in a while.
func (c *claimed) doubt(h *hosted, now time.Time) { c.doubts[h] = now.Add(claimGrace) }

// Claimed takes that a channel has another owner.
func (k *Knowledge) Claimed(change claims.Change) {
	if t := k.tenants[change.Namespace]; t != nil {
		t.claim(change.ChannelID, change.Owner, time.Now())
	}
}

// ClaimsKnown takes whether the claims that were told are all there are.
func (k *Knowledge) ClaimsKnown(known bool) {
	for _, t := range k.tenants {
		t.claimsKnown(known)
	}
}

func (t *Tenant) claim(channelID string, owner claims.Holder, now time.Time) {
	t.mu.Lock()
	defer t.unlock()
	t.claims.set(channelID, owner)
	c := t.channels[channelID]
	if c == nil {
		return
	}
	for _, h := range c.hosts {
		t.claims.doubt(h, now)
	}
	_, out := t.ownerOutOfTouch(channelID)
	t.notifyChannel(channelID, func(e *entry) bool { return out || e.lost })
}

func (t *Tenant) claimsKnown(known bool) {
	t.mu.Lock()
	defer t.unlock()
	if t.claims.known == known {
		return
	}
	t.claims.known = known
	if len(t.out.servers) > 0 || len(t.judgedLost) > 0 {
		t.notifyAll()
	}
}

// notifyChannel tells watchers of those pauses of the channel that which picks.
func (t *Tenant) notifyChannel(channelID string, which func(*entry) bool) {
	c := t.channels[channelID]
	if c == nil {
		return
	}
	picked := slices.DeleteFunc(slices.Clone(c.entries), func(e *entry) bool { return !which(e) })
	t.notify(len(picked) > many, picked...)
}

// notifyOwned tells watchers of those pauses that which picks of the channels that the
// media server owns.
func (t *Tenant) notifyOwned(server *mediaServer, which func(*entry) bool) {
	for channelID := range t.claims.owned[server.introduction.holder()] {
		t.notifyChannel(channelID, which)
	}
}

// ownerOutOfTouch is the name of the channel's owner where that is out of touch, so that
// it may host the channel; since is zero where nothing has been heard of it.
func (t *Tenant) ownerOutOfTouch(channelID string) (owner lostOwner, out bool) {
	holder, owned := t.claims.owners[channelID]
	if !owned {
		return lostOwner{}, false
	}
	server := t.servers[holder.Name]
	if server == nil {
		// Farewell or silence for too long: either way it hosts nothing.
		_, givenUp := t.givenUp.at[holder.Name]

		return lostOwner{name: holder.Name}, !givenUp
	}
	// Where another pod has its name, it has come to its end.
	return lostOwner{holder.Name, server.lostSince}, server.introduction.PodUID == holder.PodUID && t.out.servers[server]
}

type lostOwner struct {
	name  string
	since time.Time
}

// lookAtDoubts tells those who report a channel that is not theirs by claim. The caller
// holds the lock.
func (t *Tenant) lookAtDoubts(now time.Time) {
	c := &t.claims
	if now.Sub(c.lookedAt) < claimGrace/4 {
		return
	}
	c.lookedAt = now
	for h, due := range c.doubts {
		s := h.session
		switch {
		case h.gone || !h.inTouch() || c.owners[h.channel.id] == h.server.introduction.holder():
			delete(c.doubts, h)
		case !c.known || now.Before(due) || len(s.notes) >= notes/2:
		default:
			if _, waiting := s.noted[h.channel.id]; !waiting {
				s.note(h.channel.id, Outgoing{Unclaimed: &forwardingv1.Unclaimed{ChannelId: h.channel.id}})
				c.doubts[h] = now.Add(unclaimedEvery)
			}
		}
	}
}

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
	// claimLag is for how much longer where nobody is known to own it: the watch of claims
	// of an API server that is busy may be behind, and whoever is told makes work for it.
	claimLag = 4 * time.Second
	// unclaimedEvery is how often it is told that of a channel.
	unclaimedEvery = 10 * time.Second
)

// claimed are the channels that media servers own, as far as it is known.
type claimed struct {
	known bool // to be all there are
	// listed tells that they have been known: who owned what then is remembered.
	listed bool
	owners map[string]ownership
	owned  map[claims.Holder]map[string]struct{}
	// doubts are the channels that are reported by another than their owner, and when
	// that is to be looked at.
	doubts   map[*hosted]time.Time
	lookedAt time.Time
	former   formerOwners
}

// ownership is a channel's owner, and since when it is known here as that.
type ownership struct {
	claims.Holder
	since time.Time
}

// podKey is by what a media server is remembered where another of its name is another one.
func podKey(holder claims.Holder) string { return holder.Name + "/" + holder.PodUID }

func newClaimed() claimed {
	return claimed{
		owners: map[string]ownership{}, owned: map[claims.Holder]map[string]struct{}{}, doubts: map[*hosted]time.Time{},
		former: newFormerOwners(),
	}
}

// set notes the owner of a channel; zero: nobody.
func (c *claimed) set(channelID string, owner claims.Holder, now time.Time) {
	if before, ok := c.owners[channelID]; ok {
		delete(c.owners, channelID)
		delete(c.owned[before.Holder], channelID)
		if len(c.owned[before.Holder]) == 0 {
			delete(c.owned, before.Holder)
		}
	}
	if owner == (claims.Holder{}) {
		return
	}
	c.owners[channelID] = ownership{owner, now}
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

// ClaimsKnown takes whether the claims that were told of a namespace are all there are.
func (k *Knowledge) ClaimsKnown(namespace string, known bool) {
	if t := k.tenants[namespace]; t != nil {
		t.claimsKnown(known)
	}
}

func (t *Tenant) claim(channelID string, owner claims.Holder, now time.Time) {
	t.mu.Lock()
	defer t.unlock()
	t.passOn(channelID, owner, now)
	t.claims.set(channelID, owner, now)
	c := t.channels[channelID]
	if c == nil {
		return
	}
	for _, h := range c.hosts {
		t.claims.doubt(h, now)
	}
	_, out := t.ownerOutOfTouch(channelID)
	out = out || len(t.formerOwnersOf(channelID)) > 0
	t.notifyChannel(channelID, func(e *entry) bool { return out || e.lost })
}

func (t *Tenant) claimsKnown(known bool) {
	t.mu.Lock()
	defer t.unlock()
	if t.claims.known == known {
		return
	}
	t.claims.known = known
	first := known && !t.claims.listed
	t.claims.listed = t.claims.listed || known
	if first || len(t.out.servers) > 0 || len(t.judgedLost) > 0 {
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

// ownerOutOfTouch is the channel's owner where that is out of touch, so that it may host
// the channel.
func (t *Tenant) ownerOutOfTouch(channelID string) (owner lostOwner, out bool) {
	o, owned := t.claims.owners[channelID]
	if !owned {
		return lostOwner{}, false
	}

	return t.outOfTouch(o)
}

// lostOwner is the name of an owner that is out of touch, and since when: since it has been
// heard last, or, where nothing has been heard of it, since its claim has.
type lostOwner struct {
	name    string
	since   time.Time
	unheard bool
}

// outOfTouch tells whether an owner is out of touch. One that has come to its end, or has
// been silent for too long, is not: it hosts nothing. That has to be of after it came to own
// the channel: names come again, and another replica may have heard it first.
func (t *Tenant) outOfTouch(o ownership) (lost lostOwner, out bool) {
	server := t.servers[o.Name]
	switch {
	case server == nil:
		at, gone := t.gone.at[podKey(o.Holder)]

		return lostOwner{o.Name, o.since, true}, !gone || at.Before(o.since)
	case server.introduction.PodUID != o.PodUID:
		// The newer pod of a name is the one that lives.
		return lostOwner{o.Name, o.since, true}, server.began.Before(o.since)
	default:
		return lostOwner{o.Name, server.lostSince, false}, t.out.servers[server]
	}
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
		s, owner := h.session, c.owners[h.channel.id].Holder
		if owner == (claims.Holder{}) {
			due = due.Add(claimLag)
		}
		switch {
		case h.gone || !h.inTouch() || owner == h.server.introduction.holder():
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

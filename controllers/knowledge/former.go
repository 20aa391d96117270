package knowledge

import (
	"time"

	"github.com/nagi-rtc/nagi/controllers/claims"
)

// formerOwners are media servers whose claims passed on to others while they were out of
// touch. Cut off as they are they may host the channels still, whether or not they have
// been heard here to host them.
type formerOwners struct {
	// channels have them by channel, each since its claim passed on.
	channels map[string]map[claims.Holder]time.Time
	owned    map[claims.Holder]*former
}

// former is what one of them owned.
type former struct {
	channels map[string]struct{}
	last     time.Time // when the last of them passed on
}

func newFormerOwners() formerOwners {
	return formerOwners{channels: map[string]map[claims.Holder]time.Time{}, owned: map[claims.Holder]*former{}}
}

// passOn notes who loses a channel that is about to have another owner. A claim that is
// deleted was given up by its owner, or is left over. The caller holds the lock.
func (t *Tenant) passOn(channelID string, to claims.Holder, now time.Time) {
	from, owned := t.claims.owners[channelID]
	if !owned || to == (claims.Holder{}) || to == from.Holder {
		return
	}
	if _, out := t.outOfTouch(from); !out {
		return
	}
	all := &t.claims.former
	if all.channels[channelID] == nil {
		all.channels[channelID] = map[claims.Holder]time.Time{}
	}
	all.channels[channelID][from.Holder] = now
	if all.owned[from.Holder] == nil {
		all.owned[from.Holder] = &former{channels: map[string]struct{}{}}
	}
	all.owned[from.Holder].channels[channelID] = struct{}{}
	all.owned[from.Holder].last = now
}

// formerOwnersOf are those that are out of touch still.
func (t *Tenant) formerOwnersOf(channelID string) (lost []lostOwner) {
	for holder, since := range t.claims.former.channels[channelID] {
		owner, out := t.outOfTouch(ownership{holder, since})
		if out && t.claims.owners[channelID].Holder != holder {
			lost = append(lost, owner)
		}
	}

	return lost
}

// forgetFormer forgets what a media server owned, which is in touch again, has ended, or
// was given up, and tells watchers of it. The caller holds the lock.
func (t *Tenant) forgetFormer(holder claims.Holder) {
	all := &t.claims.former
	f := all.owned[holder]
	if f == nil {
		return
	}
	delete(all.owned, holder)
	for channelID := range f.channels {
		delete(all.channels[channelID], holder)
		if len(all.channels[channelID]) == 0 {
			delete(all.channels, channelID)
		}
		t.notifyChannel(channelID, func(e *entry) bool { return e.lost })
	}
}

// forgetLongFormer forgets what passed on so long ago that whoever owned it has been given
// up since. The caller holds the lock.
func (t *Tenant) forgetLongFormer(now time.Time) {
	for holder, f := range t.claims.former.owned {
		if now.Sub(f.last) >= t.config.MediaServerLost {
			t.forgetFormer(holder)
		}
	}
}

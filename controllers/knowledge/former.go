package knowledge

import (
	"time"

	"github.com/nagi-rtc/nagi/controllers/claims"
)

// formerOwners are media servers whose claims passed on to others while they were out of
// touch. Cut off as they are they may host the channels still, whether or not they have
// been heard here to host them.
type formerOwners map[claims.Holder]*former

// former is what one of them owned.
type former struct {
	channels map[string]ownership // since they passed on
	last     time.Time            // when the last of them did
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
	f := t.claims.former[from.Holder]
	if f == nil {
		f = &former{channels: map[string]ownership{}}
		t.claims.former[from.Holder] = f
	}
	f.channels[channelID], f.last = ownership{from.Holder, now}, now
}

// formerOwnersOf are those that are out of touch still.
func (t *Tenant) formerOwnersOf(channelID string) (lost []lostOwner) {
	for holder, f := range t.claims.former {
		from, owned := f.channels[channelID]
		if !owned || t.claims.owners[channelID].Holder == holder {
			continue
		}
		if owner, out := t.outOfTouch(from); out {
			lost = append(lost, owner)
		}
	}

	return lost
}

// forgetFormer forgets what a media server owned, which is in touch again, has ended, or
// was given up, and tells watchers of it. The caller holds the lock.
func (t *Tenant) forgetFormer(holder claims.Holder) {
	f := t.claims.former[holder]
	if f == nil {
		return
	}
	delete(t.claims.former, holder)
	for channelID := range f.channels {
		t.notifyChannel(channelID, func(e *entry) bool { return e.lost })
	}
}

// forgetLongFormer forgets what passed on so long ago that whoever owned it has been given
// up since. The caller holds the lock.
func (t *Tenant) forgetLongFormer(now time.Time) {
	for holder, f := range t.claims.former {
		if now.Sub(f.last) >= t.config.MediaServerLost {
			t.forgetFormer(holder)
		}
	}
}

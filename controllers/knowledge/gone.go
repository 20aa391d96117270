package knowledge

import (
	"maps"
	"slices"
	"time"

	"github.com/nagi-rtc/nagi/controllers/claims"
)

// OutOfTouch are the pods that are out of touch and host channels, or may; by name alone those
// that a status names, and of which nothing is heard here.
func (t *Tenant) OutOfTouch() []claims.Holder {
	t.mu.Lock()
	defer t.mu.Unlock()
	holders := map[claims.Holder]bool{}
	for server := range t.out.servers {
		if server.session == nil {
			holders[server.introduction.holder()] = true
		}
	}
	for holder := range t.claims.former.owned {
		holders[holder] = true
	}
	maps.DeleteFunc(holders, func(holder claims.Holder, _ bool) bool { return holder.PodUID == "" })
	for name := range t.unheard {
		holders[claims.Holder{Name: name}] = true
	}

	return slices.Collect(maps.Keys(holders))
}

// PodGone takes that the pod of a media server is no more, or, without a uid, that none of its
// name is: it hosts nothing.
func (t *Tenant) PodGone(holder claims.Holder, now time.Time) {
	t.mu.Lock()
	defer t.unlock()
	if holder.PodUID == "" {
		if _, unheard := t.unheard[holder.Name]; unheard {
			t.giveUpUnheard(holder.Name, now)
		}

		return
	}
	server := t.servers[holder.Name]
	if server == nil || server.introduction.holder() != holder {
		t.forgetFormer(holder)

		return
	}
	if server.session != nil {
		return // It is heard, so that whoever says it is behind.
	}
	for _, h := range server.channels {
		t.leave(h, now)
	}
	t.forget(server, now)
	t.inTouchAgain(server)
}

package knowledge

import (
	"slices"
	"strings"
	"time"
)

// settles is how long the pauses of a channel that a media server has just opened
// may stay unacknowledged before watchers are told: its table is on its way, and
// until it is there the media server forwards nothing.
const settles = time.Second

// outOfTouch are the media servers that have no stream, or have not reported
// everything on it, and have not been given up.
type outOfTouch struct {
	servers map[*mediaServer]bool
	told    int
	// Of the servers; made when it is asked for.
	names []string
	since time.Time // the oldest loss
}

type unsettled struct {
	host *hosted
	at   time.Time
}

func newOutOfTouch() outOfTouch { return outOfTouch{servers: map[*mediaServer]bool{}} }

func (o *outOfTouch) add(server *mediaServer) {
	o.servers[server], o.names = true, nil
}

func (o *outOfTouch) remove(server *mediaServer) {
	delete(o.servers, server)
	o.names = nil
}

// lost are the names of those out of touch, sorted, and the oldest loss. The
// names must not be changed.
func (o *outOfTouch) lost() ([]string, time.Time) {
	if len(o.servers) > 0 && o.names == nil {
		o.since = time.Time{}
		for server := range o.servers {
			o.names = append(o.names, server.name)
			if o.since.IsZero() || server.lostSince.Before(o.since) {
				o.since = server.lostSince
			}
		}
		slices.SortFunc(o.names, strings.Compare)
	}

	return o.names, o.since
}

// goneOut counts a media server as out of touch.
func (t *Tenant) goneOut(server *mediaServer) {
	t.out.add(server)
	if server.introduction.ServesWithoutClaim {
		t.anywhere.add(server)
	}
}

// inTouchAgain takes a media server out of those that are lost.
func (t *Tenant) inTouchAgain(server *mediaServer) {
	t.out.remove(server)
	t.anywhere.remove(server)
	t.forgetFormer(server.introduction.holder())
	if server.told {
		server.told = false
		t.out.told--
		if server.toldAnywhere {
			server.toldAnywhere = false
			t.anywhere.told--
		}
	}
	if len(t.out.servers) == 0 ||
		t.claims.known && len(t.anywhere.servers) == 0 && server.introduction.ServesWithoutClaim {
		t.notifyLost()
	} else {
		t.notifyOwned(server, func(e *entry) bool { return e.lost })
	}
}

// notifyLost tells watchers of what was judged MediaServerLost.
func (t *Tenant) notifyLost() {
	for e := range t.judgedLost {
		t.notify(true, e)
	}
}

// turnedAway is a media server that was refused, and when. It goes on without
// tables, and nobody knows what it hosts.
type turnedAway struct {
	name string
	at   time.Time
}

// turnAway notes a media server that is one too many.
func (t *Tenant) turnAway(name string, now time.Time) {
	first := t.turnedAway.name == ""
	t.turnedAway = turnedAway{name, now}
	if first {
		t.notifyAll()
	}
}

// mentioned takes a media server that a status names for out of touch if nothing
// has been heard of it.
func (t *Tenant) mentioned(name string) {
	if _, givenUp := t.givenUp.at[name]; !givenUp && t.servers[name] == nil {
		t.unheard[name] = time.Now()
	}
}

// heardOf takes a media server out of those of which nothing has been heard.
func (t *Tenant) heardOf(name string) {
	if _, unheard := t.unheard[name]; !unheard {
		return
	}
	delete(t.unheard, name)
	if len(t.unheard) == 0 {
		t.notifyLost()
	}
}

// giveUpUnheard counts a media server of which nothing has been heard as gone.
func (t *Tenant) giveUpUnheard(name string, now time.Time) {
	t.givenUp.note(name, now)
	t.heardOf(name)
	for e := range t.mentions[name] {
		t.notify(true, e)
	}
}

// pass looks at what the passing of time changes.
func (t *Tenant) pass(now time.Time) {
	t.mu.Lock()
	defer t.unlock()
	t.attend(now)
	t.showMembers(now)
	t.lookAtDoubts(now)
	t.forgetLongFormer(now)
	for server := range t.out.servers {
		if now.Sub(server.lostSince) >= LossGrace && !server.told {
			t.tellLoss(server)
		}
		if now.Sub(server.lostSince) >= t.config.MediaServerLost {
			t.giveUp(server, now)
		}
	}
	for name, since := range t.unheard {
		if now.Sub(since) >= t.config.MediaServerLost {
			t.giveUpUnheard(name, now)
		}
	}
	if t.turnedAway.name != "" && now.Sub(t.turnedAway.at) >= t.config.MediaServerLost {
		t.turnedAway = turnedAway{}
		t.notifyLost()
	}
	t.farewells.forget(now.Add(-t.config.MediaServerLost - remembered))
	t.departed.forget(now.Add(-t.config.MediaServerLost - remembered))
	t.givenUp.forget(now.Add(-t.config.MediaServerLost - remembered))
	t.gone.forget(now.Add(-t.config.MediaServerLost - remembered))
	for len(t.unsettled) > 0 && now.Sub(t.unsettled[0].at) >= settles {
		h := t.unsettled[0].host
		t.unsettled = t.unsettled[1:]
		if !h.gone {
			t.tell(h, func(e *entry) bool { return h.acknowledged[string(e.object.UID)].digest != e.digest })
		}
	}
}

// tellLoss tells watchers of the pauses that the loss concerns: those of the
// channels hosted, and owned, and, for the first loss of one that may host any channel,
// all that may be armed.
func (t *Tenant) tellLoss(server *mediaServer) {
	server.told = true
	t.out.told++
	if server.introduction.ServesWithoutClaim {
		server.toldAnywhere = true
		t.anywhere.told++
	}
	if !t.claims.known && t.out.told == 1 || server.toldAnywhere && t.anywhere.told == 1 {
		t.notifyAll()

		return
	}
	t.notifyOwned(server, func(*entry) bool { return true })
	for _, h := range server.channels {
		if !h.inTouch() {
			t.tell(h, func(*entry) bool { return true })
		}
	}
}

// giveUp counts what a media server hosted that was lost for too long as gone.
func (t *Tenant) giveUp(server *mediaServer, now time.Time) {
	lately := false
	for _, h := range server.channels {
		switch lost := h.lostSince(); {
		case lost.IsZero():
		case now.Sub(lost) >= t.config.MediaServerLost:
			t.leave(h, lost.Add(t.config.MediaServerLost))
		default:
			lately = true
		}
	}
	if lately {
		return
	}
	// One with a stream that never reports everything has told what it would.
	if server.session == nil {
		t.forget(server, now)
	}
	t.inTouchAgain(server)
}

// forget takes a media server for gone.
func (t *Tenant) forget(server *mediaServer, now time.Time) {
	delete(t.servers, server.name)
	t.givenUp.note(server.name, now)
	t.gone.note(podKey(server.introduction.holder()), now)
	for e := range t.mentions[server.name] {
		t.notify(true, e)
	}
}

// untoldOf are the media servers with channels that nothing is known of.
func (t *Tenant) untoldOf() (names []string) {
	if t.untold == 0 {
		return nil
	}
	for _, server := range t.servers {
		if server.untold {
			names = append(names, server.name)
		}
	}

	return names
}

package channel

import (
	"cmp"
	"slices"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// kinds is a set of media kinds.
type kinds uint8

func kindsOf(list ...forwardingv1.Kind) kinds {
	var set kinds
	for _, kind := range list {
		set |= 1 << kind
	}

	return set
}

func (k kinds) has(kind forwardingv1.Kind) bool { return k&(1<<kind) != 0 }

// list returns the kinds of the set in the protocol's order.
func (k kinds) list() []forwardingv1.Kind {
	var list []forwardingv1.Kind
	for _, kind := range []forwardingv1.Kind{forwardingv1.Kind_KIND_AUDIO, forwardingv1.Kind_KIND_VIDEO} {
		if k.has(kind) {
			list = append(list, kind)
		}
	}

	return list
}

// pair names an edge by the connection ids of its receiver and its sender.
type pair struct {
	receiver, sender string
}

// pauseEffect is what one pause does now: the edges that it acts on.
type pauseEffect struct {
	pause *forwardingv1.Pause
	edges []pair
}

// roster is who is in a channel, as far as pauses look at it.
type roster struct {
	byConnection map[string]*forwardingv1.Connection
	byClient     map[string][]*forwardingv1.Connection
	all          []*forwardingv1.Connection
}

func newRoster(connections []*forwardingv1.Connection) roster {
	r := roster{
		byConnection: make(map[string]*forwardingv1.Connection, len(connections)),
		byClient:     make(map[string][]*forwardingv1.Connection, len(connections)),
		all:          connections,
	}
	for _, c := range connections {
		r.byConnection[c.GetConnectionId()] = c
		r.byClient[c.GetClientId()] = append(r.byClient[c.GetClientId()], c)
	}

	return r
}

// side returns the connections that one side of a pause names.
func (r roster) side(connectionID, clientID string) []*forwardingv1.Connection {
	switch {
	case connectionID != "":
		if c, ok := r.byConnection[connectionID]; ok {
			return []*forwardingv1.Connection{c}
		}

		return nil
	case clientID != "":
		return r.byClient[clientID]
	default:
		return r.all
	}
}

// effects tells what each pause of a table does at the time now, in the table's
// order, and the union over all of them: the kinds paused on each edge.
func (r roster) effects(table *forwardingv1.Table, now time.Time) ([]pauseEffect, map[pair]kinds) {
	effects := make([]pauseEffect, 0, len(table.GetPauses()))
	union := make(map[pair]kinds)

	for _, pause := range table.GetPauses() {
		effect := pauseEffect{pause: pause}
		if !pause.ExpiredAt(now) {
			effect.edges = r.liveEdges(pause)
		}
		for _, edge := range effect.edges {
			union[edge] |= kindsOf(pause.GetKinds()...)
		}
		effects = append(effects, effect)
	}

	return effects, union
}

func (r roster) liveEdges(pause *forwardingv1.Pause) []pair {
	var edges []pair
	senders := r.side(pause.GetSendConnectionId(), pause.GetSendClientId())
	for _, receiver := range r.side(pause.GetRecvConnectionId(), pause.GetRecvClientId()) {
		for _, sender := range senders {
			if forwardingv1.LiveEdge(receiver, sender) {
				edges = append(edges, pair{receiver: receiver.GetConnectionId(), sender: sender.GetConnectionId()})
			}
		}
	}

	slices.SortFunc(edges, func(a, b pair) int {
		return cmp.Or(cmp.Compare(a.receiver, b.receiver), cmp.Compare(a.sender, b.sender))
	})

	return edges
}

// nextExpiry is the first instant after now at which a pause of the table stops
// acting.
func nextExpiry(table *forwardingv1.Table, now time.Time) (time.Time, bool) {
	var next time.Time
	for _, pause := range table.GetPauses() {
		if pause.GetExpiresAt() == nil || pause.ExpiredAt(now) {
			continue
		}
		if at := pause.GetExpiresAt().AsTime(); next.IsZero() || at.Before(next) {
			next = at
		}
	}

	return next, !next.IsZero()
}

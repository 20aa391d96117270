package matching_test

import (
	"cmp"
	"slices"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/mediaserver/matching"
)

// naive asks every pause about every pair of connections.
type naive struct {
	connections map[string]*forwardingv1.Connection
	pauses      map[string]*forwardingv1.Pause
	now         time.Time
}

func newNaive() *naive {
	return &naive{connections: map[string]*forwardingv1.Connection{}, pauses: map[string]*forwardingv1.Pause{}}
}

func names(side *forwardingv1.Side, c *forwardingv1.Connection) bool {
	switch names := side.GetNames().(type) {
	case *forwardingv1.Side_ConnectionIds:
		return slices.Contains(names.ConnectionIds.GetIds(), c.GetConnectionId())
	case *forwardingv1.Side_ClientIds:
		return slices.Contains(names.ClientIds.GetIds(), c.GetClientId())
	case *forwardingv1.Side_Everyone:
		return true
	case *forwardingv1.Side_EveryoneExcept:
		return !slices.Contains(names.EveryoneExcept.GetConnectionIds(), c.GetConnectionId()) &&
			!slices.Contains(names.EveryoneExcept.GetClientIds(), c.GetClientId())
	default:
		return false
	}
}

func understood(p *forwardingv1.Pause) bool {
	for _, side := range []*forwardingv1.Side{p.GetReceivers(), p.GetSenders()} {
		switch names := side.GetNames().(type) {
		case *forwardingv1.Side_ConnectionIds:
			if len(names.ConnectionIds.GetIds()) == 0 {
				return false
			}
		case *forwardingv1.Side_ClientIds:
			if len(names.ClientIds.GetIds()) == 0 {
				return false
			}
		case *forwardingv1.Side_EveryoneExcept:
			if len(names.EveryoneExcept.GetConnectionIds())+len(names.EveryoneExcept.GetClientIds()) == 0 {
				return false
			}
		case nil:
			return false
		}
	}
	for _, kind := range p.GetKinds() {
		if kind != forwardingv1.Kind_KIND_AUDIO && kind != forwardingv1.Kind_KIND_VIDEO {
			return false
		}
	}

	return len(p.GetKinds()) > 0
}

func (n *naive) acts(p *forwardingv1.Pause) bool { return understood(p) && !p.ExpiredAt(n.now) }

func (n *naive) matches(p *forwardingv1.Pause, e matching.Edge) bool {
	receiver, sender := n.connections[e.Receiver], n.connections[e.Sender]

	return n.acts(p) && forwardingv1.LiveEdge(receiver, sender) && names(p.GetReceivers(), receiver) &&
		names(p.GetSenders(), sender)
}

func (n *naive) live() []matching.Edge {
	var edges []matching.Edge
	for _, receiver := range n.connections {
		for _, sender := range n.connections {
			if forwardingv1.LiveEdge(receiver, sender) {
				edges = append(edges, matching.Edge{Receiver: receiver.GetConnectionId(), Sender: sender.GetConnectionId()})
			}
		}
	}
	slices.SortFunc(edges, func(a, b matching.Edge) int {
		return cmp.Or(cmp.Compare(a.Receiver, b.Receiver), cmp.Compare(a.Sender, b.Sender))
	})

	return edges
}

// matching returns the pauses that match an edge, oldest first.
func (n *naive) matching(e matching.Edge) []*forwardingv1.Pause {
	pauses := []*forwardingv1.Pause{}
	for _, p := range n.pauses {
		if n.matches(p, e) {
			pauses = append(pauses, p)
		}
	}
	slices.SortFunc(pauses, func(a, b *forwardingv1.Pause) int {
		return cmp.Or(a.GetCreatedTime().AsTime().Compare(b.GetCreatedTime().AsTime()), cmp.Compare(a.GetUid(), b.GetUid()))
	})

	return pauses
}

// told is what a receiver is told of one edge.
type told struct {
	audio, video             bool
	audioReason, videoReason string
}

func (n *naive) told(e matching.Edge) told {
	var t told
	for _, p := range n.matching(e) {
		if p.PausesKind(forwardingv1.Kind_KIND_AUDIO) && !t.audio {
			t.audio, t.audioReason = true, p.GetReason()
		}
		if p.PausesKind(forwardingv1.Kind_KIND_VIDEO) && !t.video {
			t.video, t.videoReason = true, p.GetReason()
		}
	}

	return t
}

func toldOf(w matching.Withheld) told {
	return told{
		audio: w.Kinds().Has(forwardingv1.Kind_KIND_AUDIO), audioReason: w.Reason(forwardingv1.Kind_KIND_AUDIO),
		video: w.Kinds().Has(forwardingv1.Kind_KIND_VIDEO), videoReason: w.Reason(forwardingv1.Kind_KIND_VIDEO),
	}
}

// state is a pause's state with its content's digest.
type state struct {
	digest string
	state  forwardingv1.State
}

func (n *naive) states() map[string]state {
	states := map[string]state{}
	for uid, p := range n.pauses {
		s := state{string(p.GetDigest()), forwardingv1.State_STATE_NOT_MATCHING}
		switch {
		case !understood(p):
			s.state = forwardingv1.State_STATE_NOT_UNDERSTOOD
		case p.ExpiredAt(n.now):
			s.state = forwardingv1.State_STATE_EXPIRED
		case slices.ContainsFunc(n.live(), func(e matching.Edge) bool { return n.matches(p, e) }):
			s.state = forwardingv1.State_STATE_MATCHING
		}
		states[uid] = s
	}

	return states
}

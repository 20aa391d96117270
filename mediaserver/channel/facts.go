package channel

import (
	"slices"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/matching"
	"github.com/nagi-rtc/nagi/mediaserver/media"
)

// facts tells what is so with an edge, and by which pauses; nil for one that is
// not live.
func (ch *channel) facts(names matching.Edge) (*forwardingv1.Edge, []*forwardingv1.Pause) {
	if !ch.matcher.Live(names) {
		return nil, nil
	}
	receiver, sender := ch.byID[names.Receiver], ch.byID[names.Sender]
	pauses := ch.matcher.Matching(names)
	facts := &forwardingv1.Edge{
		RecvConnectionId: names.Receiver,
		SendConnectionId: names.Sender,
		RecvRole:         receiver.connection.GetRole(),
		PauseUids:        make([]string, len(pauses)),
	}
	var paused matching.Kinds
	for i, pause := range pauses {
		facts.PauseUids[i] = pause.GetUid()
		paused |= matching.KindsOf(pause.GetKinds()...)
	}

	var streams map[media.Kind]*stream
	if e := receiver.incoming[sender]; e != nil {
		streams = e.streams
	}
	for _, kind := range media.Kinds {
		switch s := streams[kind]; {
		case s != nil:
			facts.Streams = append(facts.Streams, s.facts(kind))
		case paused.Has(protocolKind(kind)):
			// Nothing is negotiated. As soon as something is, it is withheld.
			facts.Streams = append(facts.Streams, &forwardingv1.Stream{
				Kind: protocolKind(kind),
				Withheld: []forwardingv1.Withheld{forwardingv1.Withheld_WITHHELD_PAUSED,
					forwardingv1.Withheld_WITHHELD_UNNEGOTIATED},
			})
		}
	}

	return facts, pauses
}

// facts tells what is so with one stream.
func (s *stream) facts(kind media.Kind) *forwardingv1.Stream {
	facts := &forwardingv1.Stream{Kind: protocolKind(kind), Ssrc: s.projection.SSRC()}
	if last, ok := s.projection.LastSequenceNumber(); ok {
		number := uint32(last)
		facts.LastSequenceNumber = &number
	}
	ssrc, again, sent := s.downlink.Retransmissions()
	if facts.RetransmissionSsrc = ssrc; sent {
		number := uint32(again)
		facts.LastRetransmissionSequenceNumber = &number
	}
	reasons, awaitsKeyframe := s.projection.Withheld()
	for _, why := range []struct {
		so   bool
		told forwardingv1.Withheld
	}{
		{reasons&forwarding.Paused != 0, forwardingv1.Withheld_WITHHELD_PAUSED},
		{reasons&forwarding.NoTable != 0, forwardingv1.Withheld_WITHHELD_NO_TABLE},
		{reasons&(forwarding.Unnegotiated|forwarding.Unreceived) != 0, forwardingv1.Withheld_WITHHELD_UNNEGOTIATED},
		{reasons&forwarding.Unfocused != 0, forwardingv1.Withheld_WITHHELD_UNFOCUSED},
		{reasons&forwarding.Unrequested != 0, forwardingv1.Withheld_WITHHELD_UNREQUESTED},
		{reasons&forwarding.Bandwidth != 0, forwardingv1.Withheld_WITHHELD_BANDWIDTH},
		{awaitsKeyframe, forwardingv1.Withheld_WITHHELD_AWAITING_KEYFRAME},
	} {
		if why.so {
			facts.Withheld = append(facts.Withheld, why.told)
		}
	}

	return facts
}

// named are the members that are to be dismissed.
func (ch *channel) named(dismissal *forwardingv1.Dismissal) []*member {
	var members []*member
	switch whom := dismissal.GetWhom().(type) {
	case *forwardingv1.Dismissal_ConnectionId:
		if m := ch.byID[whom.ConnectionId]; m != nil {
			members = append(members, m)
		}
	case *forwardingv1.Dismissal_ClientId:
		for _, m := range ch.members {
			if m.connection.GetClientId() == whom.ClientId {
				members = append(members, m)
			}
		}
	case *forwardingv1.Dismissal_Everyone:
		members = slices.Clone(ch.members)
	}

	return members
}

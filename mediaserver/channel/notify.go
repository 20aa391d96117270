package channel

import (
	"maps"
	"slices"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/signaling"
)

// connected tells everybody whose transport is up, the newcomer too, that the
// newcomer's is.
func (ch *channel) connected(newcomer *member) {
	if newcomer.connected || ch.closed || !ch.has(newcomer) {
		return
	}

	described, err := signaling.Encode(newcomer.describe())
	if err != nil {
		ch.log.Error("nobody is told of a connection", "connection", newcomer.id(), "error", err)

		return
	}
	before := []signaling.Encoded{}
	for _, m := range ch.members {
		if m.connected {
			before = append(before, m.described)
		}
	}
	newcomer.connected, newcomer.described = true, described

	now := time.Now()
	created := signaling.ConnectionCreated{Timestamp: now, ConnectionState: ch.state(newcomer, now)}
	ch.notifyOthers(newcomer, created)
	created.Data = before
	newcomer.client.Notify(created)
	ch.tellFocused(newcomer)
	for _, e := range newcomer.edges() {
		e.tell(ch.id)
	}
}

// tellLeft tells the others that a member, whose coming they were told of, has
// left.
func (ch *channel) tellLeft(gone *member) {
	if !gone.connected {
		return
	}
	gone.connected = false

	now := time.Now()
	ch.notifyOthers(gone, signaling.ConnectionDestroyed{Timestamp: now, ConnectionState: ch.state(gone, now)})
}

// notifyOthers tells those who are connected of somebody.
func (ch *channel) notifyOthers(about *member, message any) {
	encoded, err := signaling.Encode(message)
	if err != nil {
		ch.log.Error("nobody is told of a connection", "connection", about.id(), "error", err)

		return
	}
	for _, m := range ch.members {
		if m.connected && m != about {
			m.client.Notify(encoded)
		}
	}
}

// state describes a member with the counts of those who are connected now.
func (ch *channel) state(m *member, now time.Time) signaling.ConnectionState {
	state := signaling.ConnectionState{
		Member:    m.describe(),
		ChannelID: ch.id,
		SessionID: m.connection.GetSessionId(),
		Minutes:   int(now.Sub(m.created) / time.Minute),
	}
	for _, other := range ch.members {
		if other.connected {
			state.Add(other.connection.GetRole())
		}
	}

	return state
}

func (m *member) describe() signaling.Member {
	return signaling.Member{
		Role:         signaling.Role(m.connection.GetRole()),
		ClientID:     m.connection.GetClientId(),
		BundleID:     m.connection.GetBundleId(),
		ConnectionID: m.id(),
		Audio:        m.request.Audio != nil,
		Video:        m.request.Video != nil,
		Metadata:     m.request.NotifyMetadata,
	}
}

// tell brings what the receiver was told about the edge to what is so. Nobody is
// told of a connection that it has not been told to exist. When a kind is withheld
// for another reason than before, as after an edit or when the oldest of several
// pauses goes, it is told again: the last reason told is the one that holds.
func (e *edge) tell(channelID string) {
	if !e.receiver.connected || !e.sender.connected {
		return
	}
	about := signaling.RTPStream{
		Timestamp:        time.Now(),
		ChannelID:        channelID,
		RecvConnectionID: e.receiver.id(),
		SendConnectionID: e.sender.id(),
		StreamID:         e.sender.id(),
	}
	e.tellRejected(about)
	if e.withheld == e.told {
		return
	}

	var resumed []forwardingv1.Kind
	paused := make(map[string][]forwardingv1.Kind) // by reason
	for _, kind := range (e.withheld.Kinds() | e.told.Kinds()).List() {
		is, was, reason := e.withheld.Kinds().Has(kind), e.told.Kinds().Has(kind), e.withheld.Reason(kind)
		switch {
		case !is:
			resumed = append(resumed, kind)
		case !was || reason != e.told.Reason(kind):
			paused[reason] = append(paused[reason], kind)
		}
	}
	e.told = e.withheld

	for _, reason := range slices.Sorted(maps.Keys(paused)) {
		about.Kinds, about.Reason = spelled(paused[reason]), reason
		e.receiver.client.Notify(signaling.RTPStreamPaused(about))
	}
	if len(resumed) > 0 {
		about.Kinds, about.Reason = spelled(resumed), ""
		e.receiver.client.Notify(signaling.RTPStreamResumed(about))
	}
}

// tellRejected tells of each kind, once, that it does not come since the receiver does not take it.
func (e *edge) tellRejected(about signaling.RTPStream) {
	for _, kind := range media.Kinds {
		if e.rejected.Has(protocolKind(kind)) && !e.rejectionTold.Has(protocolKind(kind)) {
			about.Kinds = spelled([]forwardingv1.Kind{protocolKind(kind)})
			codec := e.sender.formats[kind].Codec
			e.receiver.client.Notify(signaling.RTPStreamRejected{RTPStream: about, CodecType: codec.String()})
		}
	}
	e.rejectionTold = e.rejected
}

func spelled(list []forwardingv1.Kind) []signaling.Kind {
	spelled := make([]signaling.Kind, len(list))
	for i, kind := range list {
		spelled[i] = signaling.Kind(kind)
	}

	return spelled
}

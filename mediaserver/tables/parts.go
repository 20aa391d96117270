package tables

import (
	"google.golang.org/protobuf/proto"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

const (
	// envelopeBytes is room for what a part has beyond its header and entries: the
	// request around it and the mark that another part follows.
	envelopeBytes = 16
	// entryBytes is room for an entry's tag and length.
	entryBytes = 6
)

// cutter tells where a message is cut into parts.
type cutter struct {
	room, left int
	next       func()
}

// newCutter cuts at limit bytes, in each of which the header stands. next begins the
// next part.
func newCutter(limit int, header proto.Message, next func()) *cutter {
	room := limit - proto.Size(header) - envelopeBytes

	return &cutter{room: room, left: room, next: next}
}

// fit makes room for an entry, in the next part where this one is full, and tells
// whether that was so. An entry that is larger than a part goes into a part of its own.
func (c *cutter) fit(size int) (next bool) {
	size += entryBytes
	if size > c.left && c.left < c.room {
		c.left = c.room
		c.next()
		next = true
	}
	c.left -= size

	return next
}

// cutReport returns the parts of a report.
func cutReport(limit int, channelID string, m Membership) []*forwardingv1.ChannelReport {
	part := func() *forwardingv1.ChannelReport {
		return &forwardingv1.ChannelReport{ChannelId: channelID, Instance: m.Instance, Epoch: m.Epoch, BaseEpoch: m.Base}
	}
	last := part()
	parts := []*forwardingv1.ChannelReport{last}
	cut := newCutter(limit, last, func() {
		last.More, last = true, part()
		parts = append(parts, last)
	})
	for _, id := range m.Left {
		cut.fit(len(id))
		last.Left = append(last.Left, id)
	}
	for _, connection := range m.Joined {
		cut.fit(proto.Size(connection))
		last.Joined = append(last.Joined, connection)
	}

	return parts
}

// cutAcknowledgement returns the parts of an acknowledgement.
func cutAcknowledgement(limit int, channelID string, states States) []*forwardingv1.Acknowledgement {
	part := func() *forwardingv1.Acknowledgement {
		return &forwardingv1.Acknowledgement{
			ChannelId: channelID, Instance: states.Instance, Epoch: states.Epoch, Whole: states.Whole, Version: states.Version,
		}
	}
	last := part()
	parts := []*forwardingv1.Acknowledgement{last}
	cut := newCutter(limit, last, func() {
		last.More, last = true, part()
		parts = append(parts, last)
	})
	for _, uid := range states.Removed {
		cut.fit(len(uid))
		last.Removed = append(last.Removed, uid)
	}
	for _, state := range states.Set {
		cut.fit(proto.Size(state))
		last.Set = append(last.Set, state)
	}

	return parts
}

// cutAnswer returns the parts of an answer. The count stands in the last one.
func cutAnswer(limit int, whole *forwardingv1.Answer) []*forwardingv1.Answer {
	part := func() *forwardingv1.Answer {
		return &forwardingv1.Answer{QuestionId: whole.GetQuestionId()}
	}
	last := part()
	parts := []*forwardingv1.Answer{last}
	cut := newCutter(limit, &forwardingv1.Answer{QuestionId: whole.GetQuestionId(), Count: whole.GetCount()}, func() {
		last.More, last = true, part()
		parts = append(parts, last)
	})
	for _, edge := range whole.GetEdges() {
		cut.fit(proto.Size(edge))
		last.Edges = append(last.Edges, edge)
	}
	for _, receiver := range whole.GetReceivers() {
		cutReceiver(cut, receiver, func(piece *forwardingv1.ReceiverEdges) {
			last.Receivers = append(last.Receivers, piece)
		})
	}
	for _, pause := range whole.GetPauses() {
		cut.fit(proto.Size(pause))
		last.Pauses = append(last.Pauses, pause)
	}
	last.Count, last.Error = whole.GetCount(), whole.GetError()

	return parts
}

// cutReceiver adds the edges of a receiver, to each part as many as have room there.
func cutReceiver(cut *cutter, whole *forwardingv1.ReceiverEdges, add func(*forwardingv1.ReceiverEdges)) {
	header := len(whole.GetRecvConnectionId()) + 3*entryBytes
	var piece *forwardingv1.ReceiverEdges
	begin := func() {
		piece = &forwardingv1.ReceiverEdges{RecvConnectionId: whole.GetRecvConnectionId(), RecvRole: whole.GetRecvRole()}
		add(piece)
	}
	for i, sender := range whole.GetSendConnectionIds() {
		switch {
		case i == 0:
			cut.fit(header + len(sender))
			begin()
		case cut.fit(len(sender)):
			cut.left -= header
			begin()
		}
		piece.SendConnectionIds = append(piece.SendConnectionIds, sender)
	}
}

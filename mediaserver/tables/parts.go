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
type cutter struct{ room, left int }

// newCutter cuts at limit bytes, in each of which the header stands.
func newCutter(limit int, header proto.Message) *cutter {
	room := limit - proto.Size(header) - envelopeBytes
	return &cutter{room: room, left: room}
}

// full counts an entry and tells whether it goes into the next part. One that is
// larger than a part goes into a part of its own.
func (c *cutter) full(size int) bool {
	size += entryBytes
	if size > c.left && c.left < c.room {
		c.left = c.room - size
		return true
	}
	c.left -= size
	return false
}

// cutReport returns the parts of a report.
func cutReport(limit int, channelID string, m Membership) []*forwardingv1.ChannelReport {
	part := func() *forwardingv1.ChannelReport {
		return &forwardingv1.ChannelReport{ChannelId: channelID, Instance: m.Instance, Epoch: m.Epoch, BaseEpoch: m.Base}
	}
	last := part()
	parts, cut := []*forwardingv1.ChannelReport{last}, newCutter(limit, last)
	for _, id := range m.Left {
		if cut.full(len(id)) {
			last.More, last = true, part()
			parts = append(parts, last)
		}
		last.Left = append(last.Left, id)
	}
	for _, connection := range m.Joined {
		if cut.full(proto.Size(connection)) {
			last.More, last = true, part()
			parts = append(parts, last)
		}
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
	parts, cut := []*forwardingv1.Acknowledgement{last}, newCutter(limit, last)
	for _, uid := range states.Removed {
		if cut.full(len(uid)) {
			last.More, last = true, part()
			parts = append(parts, last)
		}
		last.Removed = append(last.Removed, uid)
	}
	for _, state := range states.Set {
		if cut.full(proto.Size(state)) {
			last.More, last = true, part()
			parts = append(parts, last)
		}
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
	parts, cut := []*forwardingv1.Answer{last}, newCutter(limit, &forwardingv1.Answer{QuestionId: whole.GetQuestionId(), Count: whole.GetCount()})
	for _, edge := range whole.GetEdges() {
		if cut.full(proto.Size(edge)) {
			last.More, last = true, part()
			parts = append(parts, last)
		}
		last.Edges = append(last.Edges, edge)
	}
	for _, pause := range whole.GetPauses() {
		if cut.full(proto.Size(pause)) {
			last.More, last = true, part()
			parts = append(parts, last)
		}
		last.Pauses = append(last.Pauses, pause)
	}
	last.Count, last.Error = whole.GetCount(), whole.GetError()
	return parts
}

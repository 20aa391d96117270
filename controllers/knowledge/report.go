package knowledge

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// report is one whose parts are coming in.
type report struct {
	instance, epoch, base uint64
	joined                map[string]*forwardingv1.Connection
	joinedBytes           int // on the wire
	left                  []string
	size                  int
	bytes                 int  // that it takes, as the stream counts them
	over                  bool // it was too large, and nothing of it is kept
}

// Report takes a part of what changed in the membership of a channel. What cannot
// be taken is answered on the stream: a difference to what is not held here with
// Resend, what is beyond a bound with Refusal.
func (s *Session) Report(r *forwardingv1.ChannelReport, now time.Time) error {
	t := s.tenant
	s.lock()
	defer t.unlock()
	if s.server.session != s {
		return nil
	}
	if s.farewell {
		return fmt.Errorf("%w: a report came after Farewell: say farewell last", ErrInvalid)
	}
	if r.GetClosed() {
		s.dropReport(r.GetChannelId())

		return s.closed(r, now)
	}
	part := s.reports[r.GetChannelId()]
	if part != nil && (part.instance != r.GetInstance() || part.epoch != r.GetEpoch() || part.base != r.GetBaseEpoch()) {
		return fmt.Errorf("%w: report.epoch: a report of channel %q began while another had not ended: "+
			"send the parts of one report after each other", ErrInvalid, r.GetChannelId())
	}
	if part == nil {
		part = &report{
			instance: r.GetInstance(),
			epoch:    r.GetEpoch(),
			base:     r.GetBaseEpoch(),
			joined:   map[string]*forwardingv1.Connection{},
		}
		if r.GetMore() {
			if len(s.reports) >= assemblies {
				return fmt.Errorf("%w: report.more: %d reports have begun and not ended: send the parts of one report "+
					"after each other", ErrInvalid, assemblies)
			}
			s.reports[r.GetChannelId()] = part
		}
	}
	s.addConnections(part, r)
	if r.GetMore() {
		return nil
	}
	s.partBytes -= part.bytes
	delete(s.reports, r.GetChannelId())

	return s.reported(r.GetChannelId(), part, now)
}

// addConnections keeps no more than what is refused in the end anyhow, when the last
// part is there.
func (s *Session) addConnections(p *report, r *forwardingv1.ChannelReport) {
	p.size += len(r.GetJoined())
	joinedBytes, leftBytes := 0, 0
	for _, c := range r.GetJoined() {
		joinedBytes += proto.Size(c)
	}
	for _, id := range r.GetLeft() {
		leftBytes += len(id)
	}
	if !s.keep(&p.bytes, &p.over, joinedBytes+leftBytes+entryBytes*(len(r.GetJoined())+len(r.GetLeft()))) {
		p.joined, p.joinedBytes, p.left = nil, 0, nil

		return
	}
	p.joinedBytes += joinedBytes
	limit := s.tenant.config.Limits.Connections
	if p.size > limit {
		clear(p.joined)

		return
	}
	for _, c := range r.GetJoined() {
		p.joined[c.GetConnectionId()] = c
	}
	if len(p.left) <= limit {
		p.left = append(p.left, r.GetLeft()...)
	}
}

// dropReport forgets the parts of a report that will not end.
func (s *Session) dropReport(channelID string) {
	if part := s.reports[channelID]; part != nil {
		s.partBytes -= part.bytes
		delete(s.reports, channelID)
	}
}

func (s *Session) closed(r *forwardingv1.ChannelReport, now time.Time) error {
	h := s.server.channels[r.GetChannelId()]
	if h != nil && (h.session != s || h.instance <= r.GetInstance()) {
		s.tenant.leave(h, now)
	}

	return nil
}

// reported applies a report that is there in all its parts.
func (s *Session) reported(channelID string, r *report, now time.Time) error {
	h := s.server.channels[channelID]
	if r.base == 0 {
		return s.whole(h, channelID, r, now)
	}
	if h == nil || h.session != s || h.instance != r.instance || h.refused == "" && h.epoch != r.base {
		s.askAgain(channelID)

		return nil
	}
	if h.refused != "" {
		return nil
	}
	s.difference(h, r, now)

	return nil
}

// whole replaces what was known of the channel.
func (s *Session) whole(h *hosted, channelID string, r *report, now time.Time) error {
	t := s.tenant
	if h != nil && h.session == s && (r.instance < h.instance || r.instance == h.instance && r.epoch < h.epoch) {
		return fmt.Errorf("%w: report.epoch: channel %q was at epoch %d of instance %d, and is reported at epoch %d of "+
			"instance %d: neither goes back",
			ErrInvalid, channelID, h.epoch, h.instance, r.epoch, r.instance)
	}
	if r.size == 0 {
		return fmt.Errorf("%w: report.joined is empty in a whole report of channel %q: report a channel that nobody is "+
			"in as closed", ErrInvalid, channelID)
	}
	if reason := s.boundChannels(); h == nil && reason != "" {
		t.setUntold(s.server, true)
		s.refuse(channelID, reason)

		return nil
	}
	fresh := h == nil
	if fresh {
		h = t.host(s, channelID)
	}
	returning := !h.inTouch()
	h.session = s
	if h.instance != r.instance || r.epoch < h.epoch {
		// Another instance, or a media server that does not count: either way nothing
		// of before holds.
		t.forgetStates(h)
		for _, c := range h.connections {
			c.epoch = 0
		}
		fresh = true
	}
	h.instance = r.instance
	if reason := s.bound(h, r, len(r.joined), r.joinedBytes); reason != "" {
		s.overflow(h, r.instance, r.epoch, reason)

		return nil
	}
	lifted := h.refused != ""
	h.refused = ""
	for id := range h.connections {
		if r.joined[id] == nil {
			t.depart(h, id, now)
		}
	}
	s.merge(h, r)
	if fresh || returning || lifted {
		h.sendWhole()
		t.claims.doubt(h, now)
	}
	if fresh {
		t.unsettled = append(t.unsettled, unsettled{h, now})
	} else if returning {
		t.tell(h, func(e *entry) bool { return e.lost || h.server.told })
	}

	return nil
}

// merge takes those who are there at the report's epoch. Who was there before
// stays known since then.
func (s *Session) merge(h *hosted, r *report) {
	for id, c := range r.joined {
		if before := h.connections[id]; before == nil || before.epoch == 0 || !proto.Equal(before.Connection, c) {
			s.tenant.join(h, c, r.epoch)
		}
	}
	h.epoch = r.epoch
	s.tenant.bells.ring(channelBell(h.channel.id))
}

func (s *Session) difference(h *hosted, r *report, now time.Time) {
	t := s.tenant
	for _, id := range r.left {
		t.depart(h, id, now)
	}
	connections, bytes := len(h.connections), h.connectionBytes+r.joinedBytes
	for id := range r.joined {
		if before := h.connections[id]; before != nil {
			bytes -= proto.Size(before.Connection)
		} else {
			connections++
		}
	}
	if reason := s.bound(h, r, connections, bytes); reason != "" {
		s.overflow(h, r.instance, r.epoch, reason)

		return
	}
	s.merge(h, r)
}

// boundChannels names the bound that one more channel would break.
func (s *Session) boundChannels() string {
	t, limits := s.tenant, s.tenant.config.Limits
	switch {
	case len(s.server.channels) >= limits.Channels:
		return fmt.Sprintf("media server %q hosts more than %d channels, which is the bound: "+
			"spread them over more media servers", s.server.name, limits.Channels)
	case t.hosted >= limits.NamespaceChannels:
		return fmt.Sprintf("the media servers of namespace %q host more than %d channels, which is the bound: "+
			"use more namespaces", t.namespace, limits.NamespaceChannels)
	default:
		return ""
	}
}

// bound names the bound that the channel would break with so many connections, of
// so many bytes on the wire.
func (s *Session) bound(h *hosted, r *report, connections, bytes int) string {
	t, limits := s.tenant, s.tenant.config.Limits
	more, moreBytes := connections-len(h.connections), bytes-h.connectionBytes
	switch {
	case r.over:
		return s.tooManyBytes("reports", h.channel.id)
	case connections > limits.Connections || r.size > limits.Connections:
		return fmt.Sprintf("channel %q has more than %d connections, which is the bound: nothing of it is taken until "+
			"fewer are reported", h.channel.id, limits.Connections)
	case s.server.connections+more > limits.MediaServerConnections:
		return fmt.Sprintf("media server %q has more than %d connections, which is the bound: "+
			"nothing of channel %q is taken; spread the channels over more media servers",
			s.server.name, limits.MediaServerConnections, h.channel.id)
	case t.connections+more > limits.NamespaceConnections:
		return fmt.Sprintf("namespace %q has more than %d connections, which is the bound: "+
			"nothing of channel %q is taken; use more namespaces", t.namespace, limits.NamespaceConnections, h.channel.id)
	case s.server.connectionBytes+moreBytes > limits.ConnectionBytes:
		return fmt.Sprintf("the connections of media server %q have more than %d bytes, which is the bound: "+
			"nothing of channel %q is taken; spread the channels over more media servers",
			s.server.name, limits.ConnectionBytes, h.channel.id)
	case t.connectionBytes+moreBytes > limits.NamespaceConnectionBytes:
		return fmt.Sprintf("the connections of namespace %q have more than %d bytes, which is the bound: "+
			"nothing of channel %q is taken; use more namespaces", t.namespace, limits.NamespaceConnectionBytes, h.channel.id)
	default:
		return ""
	}
}

// overflow takes nothing of the channel, but that it is hosted: no pause of it
// counts as acknowledged.
func (s *Session) overflow(h *hosted, instance, epoch uint64, reason string) {
	t := s.tenant
	// Nobody has left: no departure is noted.
	t.count(h, -len(h.connections), -h.connectionBytes)
	clear(h.connections)
	t.forgetStates(h)
	t.tell(h, func(*entry) bool { return true })
	h.instance, h.epoch, h.refused = instance, epoch, reason
	h.stop()
	s.refuse(h.channel.id, reason)
	t.bells.ring(channelBell(h.channel.id))
}

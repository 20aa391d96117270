package rtc

import (
	"slices"
	"strings"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/sdp/v3"

	"github.com/nagi-rtc/nagi/mediaserver/media"
)

// Encoding is one of the sizes in which a client is to send the same picture at a time (RFC 8853).
type Encoding struct {
	// RID names it (RFC 8851): letters and digits.
	RID string
	// Paused: it is not to be sent for now.
	Paused bool
}

// The extensions by which a client tells what an SSRC is (RFC 8843 section 15, RFC 8852). They are asked for where
// there is simulcast alone: elsewhere the answer has the SSRCs. Not one is ever forwarded: a receiver would tie its
// stream to another m-line by the sender's MID.
var (
	midExtension         = extension{4, "urn:ietf:params:rtp-hdrext:sdes:mid"}
	ridExtension         = extension{10, "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"}
	repairedRIDExtension = extension{11, "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"}
)

// maxRIDs of an answer are looked at.
const maxRIDs = 16

// maxLearned is how many SSRCs are learned of one encoding, and of its retransmissions, in a session. Browsers have
// one; each is remembered, against replays.
const maxLearned = 8

// layer is one of the encodings that a client sends on an m-line; an m-line without simulcast has one. It is guarded by
// inbound.mu.
type layer struct {
	reception
	// rtx is the SSRC of its retransmissions that was learned last, 0: none. learned is how many were, of the layer and
	// of these.
	rtx     uint32
	learned [2]int
}

// identifiers are those by which a client tells what its packets are, 0 those that it does not send.
type identifiers struct{ mid, rid, repairedRID uint8 }

// describeSimulcast asks for the encodings. Clients choose the first m-line that fits for their camera, so it is this
// one.
func (u *uplink) describeSimulcast(section *sdp.MediaDescription) {
	if len(u.config.Encodings) == 0 {
		return
	}
	for _, e := range []extension{midExtension, ridExtension, repairedRIDExtension} {
		e.describe(section)
	}
	var list []string
	for _, e := range u.config.Encodings {
		section.WithValueAttribute("rid", e.RID+" recv")
		if e.Paused {
			list = append(list, "~"+e.RID)
		} else {
			list = append(list, e.RID)
		}
	}
	section.WithValueAttribute("simulcast", "recv "+strings.Join(list, ";"))
}

// hasSimulcast tells whether the client answers the encodings by some of them, and its packets tell which.
func (u *uplink) hasSimulcast(answer answeredMedia) bool {
	return answer.ids.rid != 0 && slices.ContainsFunc(u.config.Encodings, func(e Encoding) bool {
		return slices.Contains(answer.rids, e.RID)
	})
}

// readRIDs are the encodings that an answer says are sent, paused or not (RFC 8853 section 5.1), and how its packets
// tell.
func readRIDs(section *sdp.MediaDescription) (rids []string, ids identifiers) {
	for _, attribute := range section.Attributes { // Pion writes one for each direction.
		if attribute.Key != "simulcast" {
			continue
		}
		fields := strings.Fields(attribute.Value)
		for i := 0; i+1 < len(fields); i += 2 {
			if fields[i] == "send" {
				rids = appendRIDs(rids, fields[i+1])
			}
		}
	}

	return rids, identifiers{midExtension.sentIn(section), ridExtension.sentIn(section),
		repairedRIDExtension.sentIn(section)}
}

// appendRIDs reads a list of encodings, of which some have alternatives.
func appendRIDs(rids []string, list string) []string {
	for _, rid := range strings.FieldsFunc(list, func(r rune) bool { return r == ';' || r == ',' }) {
		if len(rids) < maxRIDs {
			rids = append(rids, strings.Clone(strings.TrimPrefix(rid, "~"))) // The answer shall not be kept for it.
		}
	}

	return rids
}

// expectLayers makes the streams of an answered m-line with simulcast: two of each encoding that is sent, most of them
// without an SSRC for now. Lines of a=ssrc are not looked at: they do not say which encoding is which.
func (u *uplink) expectLayers(rids []string, types payloadTypes) (streams []inboundStream) {
	for i, e := range u.config.Encodings {
		if !slices.Contains(rids, e.RID) {
			continue
		}
		l := &u.layers[i]
		stream := inboundStream{ssrc: l.ssrc, payloadType: types.media, uplink: u, layer: media.Layer(i)}
		again := stream
		again.ssrc, again.payloadType, again.retransmissions = l.rtx, types.rtx, true
		streams = append(streams, stream, again)
	}

	return streams
}

// said is the stream that a packet of an unknown SSRC says it is of; nil: it does not say, or what it says cannot be.
// The SSRC 0 stands for one that is not known yet.
func (in *inbound) said(datagram []byte) *inboundStream {
	if ssrcOfRTP(datagram) == 0 {
		return nil
	}
	for i := range in.streams {
		if s := &in.streams[i]; s.simulcast() && s.isOf(datagram) {
			return s
		}
	}

	return nil
}

// sending tells whether anything has come of any of the encodings. It is called with inbound.mu held.
func (u *uplink) sending() bool {
	return slices.ContainsFunc(u.layers, func(l layer) bool { return l.started })
}

// simulcast tells whether the SSRC is learned from packets.
func (s *inboundStream) simulcast() bool { return s.uplink.ids != identifiers{} }

// isOf tells whether a packet says that it is of the stream. A MID is not needed, since one m-line alone has simulcast.
func (s *inboundStream) isOf(datagram []byte) bool {
	ids := s.uplink.ids
	named := false
	for rest := extensionsOf(datagram); ; {
		id, value, ok := rest.next()
		switch {
		case !ok:
			return named
		case id == ids.mid && string(value) != s.uplink.mid:
			return false
		case id == ids.rid && !s.retransmissions, id == ids.repairedRID && s.retransmissions:
			if string(value) != s.uplink.config.Encodings[s.layer].RID {
				return false
			}
			named = true
		}
	}
}

// learn opens a packet of an unknown SSRC in place, as one of the stream that it says it is of. If that succeeds the
// stream has the SSRC from now on; if not, nothing is left of it. An SSRC that a stream had before does not come back:
// what is late of it would take the stream away from the present one. It is called with inbound.mu held.
func (p *Peer) learn(stream *inboundStream, datagram []byte, header *rtp.Header, now time.Time) ([]byte, error) {
	in, ssrc := &p.inbound, ssrcOfRTP(datagram)
	l, sort := &stream.uplink.layers[stream.layer], 0
	if stream.retransmissions {
		sort = 1
	}
	if _, had := in.authenticated[ssrc]; had || l.learned[sort] >= maxLearned {
		return nil, errStrangeSSRC
	}
	plain, err := p.decryptStrange(ssrc, datagram, header)
	if err != nil {
		if !stream.uplink.sending() { // Else the keys are right, and the packet is forged.
			p.unreadable(stream, now)
		}

		return nil, err
	}
	l.learned[sort]++
	in.authenticated[ssrc] = struct{}{}
	stream.ssrc, stream.authenticated, stream.failures = ssrc, true, 0
	if stream.retransmissions {
		l.rtx = ssrc
	} else {
		l.restart(ssrc)
	}

	return plain, nil
}

// decryptStrange is decryptFirst for an SSRC that the context shall not know of unless a packet of it can be opened.
// The context takes a roll-over counter of 0 for granted; 1 is tried in a context of its own.
func (p *Peer) decryptStrange(ssrc uint32, datagram []byte, header *rtp.Header) ([]byte, error) {
	context := p.inbound.context
	sealed := slices.Clone(datagram)
	plain, err := context.DecryptRTP(datagram[:0], datagram, header)
	if err == nil {
		return plain, nil
	}
	keys := p.keys.Load()
	if keys == nil {
		return nil, ErrNotBound
	}
	other, err := keys.opening()
	if err != nil {
		return nil, err
	}
	other.SetROC(ssrc, 1)
	copy(datagram, sealed)
	if _, err := other.DecryptRTP(datagram[:0], datagram, header); err != nil {
		return nil, err
	}
	context.SetROC(ssrc, 1)
	copy(datagram, sealed)

	return context.DecryptRTP(datagram[:0], datagram, header)
}

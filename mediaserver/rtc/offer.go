package rtc

import (
	"fmt"
	"strconv"

	"github.com/pion/sdp/v3"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// format is one codec as offers have it.
type format struct {
	payloadType uint8
	name        string // and clock rate, as in a=rtpmap
	parameters  string // as in a=fmtp; those of Opus are the client's (PeerConfig.Opus)
	feedback    []string
}

// formats are what the server forwards: VP8 with retransmissions on a stream of their own (RFC 4588), and Opus. No header
// extensions are offered: a forwarded MID extension would tie a stream to a wrong m-line.
func formats(kind forwardingv1.Kind) []format {
	if kind == forwardingv1.Kind_KIND_AUDIO {
		return []format{{payloadType: 111, name: "opus/48000/2"}}
	}

	return []format{
		{payloadType: 96, name: "VP8/90000", feedback: []string{"goog-remb", "ccm fir", "nack", "nack pli"}},
		{payloadType: 97, name: "rtx/90000", parameters: "apt=96"},
	}
}

func mediaName(kind forwardingv1.Kind) string {
	if kind == forwardingv1.Kind_KIND_AUDIO {
		return "audio"
	}

	return "video"
}

// describe makes an offer of the peer as it is now: uplinks, then downlinks (RFC 8829 section 5.2). All of it is bundled on
// one transport (RFC 9143).
func (p *Peer) describe() *sdp.SessionDescription {
	p.version++
	offer := &sdp.SessionDescription{
		Origin: sdp.Origin{
			Username: "-", SessionID: p.sessionID, SessionVersion: p.version,
			NetworkType: "IN", AddressType: "IP4", UnicastAddress: "0.0.0.0",
		},
		SessionName:      "-",
		TimeDescriptions: []sdp.TimeDescription{{}},
	}
	for _, u := range p.uplinks() {
		media := p.describeMedia(u.kind, u.mid, true).WithPropertyAttribute("recvonly")
		offer.MediaDescriptions = append(offer.MediaDescriptions, media)
	}
	for _, l := range p.lines {
		media := p.describeMedia(l.kind, l.mid, false).WithPropertyAttribute(l.direction())
		if l.downlink != nil {
			l.downlink.describe(media)
		}
		offer.MediaDescriptions = append(offer.MediaDescriptions, media)
	}
	group := "BUNDLE"
	for i := range offer.MediaDescriptions {
		group += " " + strconv.Itoa(i)
	}
	if len(offer.MediaDescriptions) > 0 {
		p.describeCandidates(offer.MediaDescriptions[0])
	}

	return offer.WithValueAttribute("group", group).
		WithPropertyAttribute("ice-lite").
		WithPropertyAttribute("extmap-allow-mixed").
		WithValueAttribute("msid-semantic", "WMS *").
		WithValueAttribute("fingerprint", "sha-256 "+p.engine.identity.fingerprint)
}

// describeMedia describes an m-line; sends: the client sends on it.
func (p *Peer) describeMedia(kind forwardingv1.Kind, mid string, sends bool) *sdp.MediaDescription {
	media := &sdp.MediaDescription{
		MediaName: sdp.MediaName{
			Media: mediaName(kind), Port: sdp.RangedPort{Value: 9}, Protos: []string{"UDP", "TLS", "RTP", "SAVPF"},
		},
		ConnectionInformation: &sdp.ConnectionInformation{NetworkType: "IN", AddressType: "IP4", Address: &sdp.Address{Address: "0.0.0.0"}},
	}
	media.WithValueAttribute("setup", "actpass").
		WithValueAttribute("mid", mid).
		WithValueAttribute("ice-ufrag", p.ufrag).
		WithValueAttribute("ice-pwd", p.password).
		WithPropertyAttribute("rtcp-mux").
		WithPropertyAttribute("rtcp-rsize")
	for _, f := range formats(kind) {
		payloadType := strconv.Itoa(int(f.payloadType))
		media.MediaName.Formats = append(media.MediaName.Formats, payloadType)
		media.WithValueAttribute("rtpmap", payloadType+" "+f.name)
		parameters := f.parameters
		if kind == forwardingv1.Kind_KIND_AUDIO {
			parameters = p.config.Opus.parameters(sends)
		}
		if parameters != "" {
			media.WithValueAttribute("fmtp", payloadType+" "+parameters)
		}
		for _, feedback := range f.feedback {
			media.WithValueAttribute("rtcp-fb", payloadType+" "+feedback)
		}
	}
	if ptime := p.config.Opus.PTime; ptime > 0 && kind == forwardingv1.Kind_KIND_AUDIO {
		media.WithValueAttribute("ptime", strconv.Itoa(ptime)) // RFC 8866 section 6.4
	}

	return media
}

// describe tells the client whose stream it gets, and by which SSRCs (RFC 5576, RFC 8830).
func (d *Downlink) describe(media *sdp.MediaDescription) {
	msid := d.streamID + " " + d.trackID
	media.WithValueAttribute("msid", msid)
	ssrcs := []uint32{d.ssrc}
	if d.kind == forwardingv1.Kind_KIND_VIDEO {
		media.WithValueAttribute("ssrc-group", fmt.Sprintf("FID %d %d", d.ssrc, d.rtxSSRC))
		ssrcs = append(ssrcs, d.rtxSSRC)
	}
	for _, ssrc := range ssrcs {
		media.WithValueAttribute("ssrc", fmt.Sprintf("%d cname:%s", ssrc, d.streamID))
		media.WithValueAttribute("ssrc", fmt.Sprintf("%d msid:%s", ssrc, msid))
	}
}

// describeCandidates lists the addresses at which the server is reached: host candidates, those of one family in the order
// of preference (RFC 8445 section 5.1.2.1), RTP and RTCP on one port.
func (p *Peer) describeCandidates(media *sdp.MediaDescription) {
	for i, address := range p.engine.announced {
		priority := 126<<24 | (65535-i)<<8 | 255
		media.WithValueAttribute("candidate", fmt.Sprintf("%d 1 udp %d %s %d typ host", i+1, priority, address.Addr(), address.Port()))
	}
	media.WithPropertyAttribute("end-of-candidates")
}

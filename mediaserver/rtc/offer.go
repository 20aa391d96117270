package rtc

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/pion/sdp/v3"

	"github.com/nagi-rtc/nagi/mediaserver/media"
)

// format is one codec as offers have it.
type format struct {
	payloadType uint8
	name        string // and clock rate, as in a=rtpmap
	parameters  string // as in a=fmtp; those of Opus are the client's (PeerConfig.Opus)
	feedback    []string
}

// formats are what the server forwards: VP8 with retransmissions on a stream of their own (RFC 4588), and Opus.
func formats(kind media.Kind) []format {
	if kind == media.Audio {
		return []format{{payloadType: 111, name: "opus/48000/2"}}
	}

	return []format{
		{payloadType: 96, name: "VP8/90000", feedback: []string{"goog-remb", "ccm fir", "nack", "nack pli"}},
		{payloadType: 97, name: "rtx/90000", parameters: "apt=96"},
	}
}

// describe makes an offer of the peer as it is now: uplinks, then downlinks (RFC 8829 section 5.2). All of it is bundled on
// one transport (RFC 9143).
func (p *Peer) describe() (string, error) {
	if err := p.describeSections(); err != nil {
		return "", err
	}
	sections := p.sections()
	p.offeredSections = len(sections)
	p.version++
	group := []byte("BUNDLE")
	for i := range sections {
		group = strconv.AppendInt(append(group, ' '), int64(i), 10)
	}
	session := &sdp.SessionDescription{
		Origin: sdp.Origin{
			Username: "-", SessionID: p.sessionID, SessionVersion: p.version,
			NetworkType: "IN", AddressType: "IP4", UnicastAddress: "0.0.0.0",
		},
		SessionName:      "-",
		TimeDescriptions: []sdp.TimeDescription{{}},
	}
	head, err := session.WithValueAttribute("group", string(group)).
		WithPropertyAttribute("ice-lite").
		WithPropertyAttribute("extmap-allow-mixed").
		WithValueAttribute("msid-semantic", "WMS *").
		WithValueAttribute("fingerprint", "sha-256 "+p.engine.identity.fingerprint).
		Marshal()

	return joinSections(string(head), sections), err
}

// describeSections makes the text of each m-line that is new or says something else than in the last offer. The first one has
// the candidates.
func (p *Peer) describeSections() error {
	for i, u := range p.uplinks() {
		if u.text != "" {
			continue
		}
		media := p.describeMedia(u.kind, u.mid, true).WithPropertyAttribute("recvonly")
		u.describeCongestion(media)
		if i == 0 {
			p.describeCandidates(media)
		}
		if err := u.offer(media); err != nil {
			return err
		}
	}
	for i, l := range p.lines {
		state := lineState{l.downlink, l.direction()}
		if l.said == state {
			continue
		}
		media := p.describeMedia(l.kind, l.mid, false).WithPropertyAttribute(state.direction)
		if l.downlink != nil {
			l.downlink.describe(media)
		}
		if i == 0 && len(p.uplinks()) == 0 {
			p.describeCandidates(media)
		}
		if err := l.offer(media); err != nil {
			return err
		}
		l.said = state
	}

	return nil
}

// describeMedia describes an m-line; sends: the client sends on it.
func (p *Peer) describeMedia(kind media.Kind, mid string, sends bool) *sdp.MediaDescription {
	section := &sdp.MediaDescription{
		MediaName: sdp.MediaName{
			Media: kind.String(), Port: sdp.RangedPort{Value: 9}, Protos: []string{"UDP", "TLS", "RTP", "SAVPF"},
		},
		ConnectionInformation: &sdp.ConnectionInformation{NetworkType: "IN", AddressType: "IP4", Address: &sdp.Address{Address: "0.0.0.0"}},
	}
	section.WithValueAttribute("setup", "actpass").
		WithValueAttribute("mid", mid).
		WithValueAttribute("ice-ufrag", p.ufrag).
		WithValueAttribute("ice-pwd", p.password).
		WithPropertyAttribute("rtcp-mux").
		WithPropertyAttribute("rtcp-rsize")
	for _, f := range formats(kind) {
		payloadType := strconv.Itoa(int(f.payloadType))
		section.MediaName.Formats = append(section.MediaName.Formats, payloadType)
		section.WithValueAttribute("rtpmap", payloadType+" "+f.name)
		parameters := f.parameters
		if kind == media.Audio {
			parameters = p.config.Opus.parameters(sends)
		}
		if parameters != "" {
			section.WithValueAttribute("fmtp", payloadType+" "+parameters)
		}
		for _, feedback := range f.feedback {
			section.WithValueAttribute("rtcp-fb", payloadType+" "+feedback)
		}
		if sends && !strings.HasPrefix(f.name, "rtx/") {
			section.WithValueAttribute("rtcp-fb", payloadType+" "+transportCC)
		}
	}
	if ptime := p.config.Opus.PTime; ptime > 0 && kind == media.Audio {
		section.WithValueAttribute("ptime", strconv.Itoa(ptime)) // RFC 8866 section 6.4
	}

	return section
}

// describe tells the client whose stream it gets, and by which SSRCs (RFC 5576, RFC 8830).
func (d *Downlink) describe(section *sdp.MediaDescription) {
	msid := d.streamID + " " + d.trackID
	section.WithValueAttribute("msid", msid)
	ssrcs := []uint32{d.ssrc}
	if d.kind == media.Video {
		section.WithValueAttribute("ssrc-group", fmt.Sprintf("FID %d %d", d.ssrc, d.rtxSSRC))
		ssrcs = append(ssrcs, d.rtxSSRC)
	}
	for _, ssrc := range ssrcs {
		section.WithValueAttribute("ssrc", fmt.Sprintf("%d cname:%s", ssrc, d.streamID))
		section.WithValueAttribute("ssrc", fmt.Sprintf("%d msid:%s", ssrc, msid))
	}
}

// describeCandidates lists the addresses at which the server is reached: host candidates, those of one family in the order
// of preference (RFC 8445 section 5.1.2.1), RTP and RTCP on one port.
func (p *Peer) describeCandidates(section *sdp.MediaDescription) {
	for i, address := range p.engine.announced {
		priority := 126<<24 | (65535-i)<<8 | 255
		section.WithValueAttribute("candidate", fmt.Sprintf("%d 1 udp %d %s %d typ host", i+1, priority, address.Addr(), address.Port()))
	}
	section.WithPropertyAttribute("end-of-candidates")
}

package rtc

import (
	"fmt"
	"strconv"

	"github.com/pion/sdp/v3"

	"github.com/nagi-rtc/nagi/mediaserver/codecs"
	"github.com/nagi-rtc/nagi/mediaserver/media"
)

// describe makes an offer of the peer as it is now: uplinks, then downlinks (RFC 8829 section 5.2). All of it is
// bundled on one transport (RFC 9143).
func (p *Peer) describe() (string, error) {
	if err := p.describeSections(); err != nil {
		return "", err
	}
	sections := p.sections()
	p.offeredSections = len(sections)
	p.version++
	group := []byte("BUNDLE")
	for i := range sections {
		if line := i - len(p.uplinks()); line >= 0 && p.lines[line].rejected {
			continue
		}
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

// describeSections makes the text of each m-line that is new or says something else than in the last offer. The first
// one has the candidates.
func (p *Peer) describeSections() error {
	for i, u := range p.uplinks() {
		if u.text != "" {
			continue
		}
		media := p.describeMedia(u.config.Format, u.mid, true).WithPropertyAttribute("recvonly")
		u.describeCongestion(media)
		u.describeSimulcast(media)
		u.describeLevels(media)
		if i == 0 {
			p.describeCandidates(media)
		}
		if err := u.offer(media); err != nil {
			return err
		}
	}
	for i, l := range p.lines {
		state := lineState{l.downlink, l.direction(), l.rejected}
		if l.said == state {
			continue
		}
		media := p.describeLine(l)
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

// describeMedia describes an m-line, which carries one format alone and its retransmissions; sends: the client
// sends on it. RED is not offered: it would be forwarded to who does not know it.
func (p *Peer) describeMedia(format codecs.Format, mid string, sends bool) *sdp.MediaDescription {
	section := newSection(format, mid, 9)
	section.WithValueAttribute("setup", "actpass").
		WithValueAttribute("ice-ufrag", p.ufrag).
		WithValueAttribute("ice-pwd", p.password).
		WithPropertyAttribute("rtcp-mux").
		WithPropertyAttribute("rtcp-rsize")
	types := p.formats.payloadTypes(format)
	payloadType := strconv.Itoa(int(types.media))
	parameters := format.Parameters()
	if format.Codec == codecs.Opus {
		parameters = p.config.Opus.FMTP(sends)
		if p.config.Opus.PTime > 0 {
			section.WithValueAttribute("ptime", strconv.Itoa(p.config.Opus.PTime)) // RFC 8866 section 6.4
		}
	}
	describeFormat(section, payloadType, format.Name(), parameters)
	for _, feedback := range format.Feedback() {
		section.WithValueAttribute("rtcp-fb", payloadType+" "+feedback)
	}
	if sends {
		section.WithValueAttribute("rtcp-fb", payloadType+" "+transportCC)
	}
	if format.Retransmitted() {
		describeFormat(section, strconv.Itoa(int(types.rtx)), "rtx/90000", "apt="+payloadType)
	}

	return section
}

// describeLine describes an m-line for downlinks.
func (p *Peer) describeLine(l *line) *sdp.MediaDescription {
	if l.rejected {
		return p.describeRejected(l)
	}
	section := p.describeMedia(l.format, l.mid, false).WithPropertyAttribute(l.direction())
	if l.downlink != nil {
		l.downlink.describe(section)
	}
	if l.format.Codec.Kind() == media.Video {
		absoluteSendTime.describe(section)
		playoutDelay.describe(section)
	}

	return section
}

// describeRejected describes an m-line that the client has rejected: it stays in its place and is not used any
// more (RFC 3264 section 8.2).
func (p *Peer) describeRejected(l *line) *sdp.MediaDescription {
	section := newSection(l.format, l.mid, 0)
	payloadType := strconv.Itoa(int(p.formats.payloadTypes(l.format).media))
	describeFormat(section, payloadType, l.format.Name(), "")

	return section.WithPropertyAttribute("inactive")
}

func newSection(format codecs.Format, mid string, port int) *sdp.MediaDescription {
	section := &sdp.MediaDescription{
		MediaName: sdp.MediaName{
			Media: format.Codec.Kind().String(), Port: sdp.RangedPort{Value: port},
			Protos: []string{"UDP", "TLS", "RTP", "SAVPF"},
		},
		ConnectionInformation: &sdp.ConnectionInformation{
			NetworkType: "IN", AddressType: "IP4", Address: &sdp.Address{Address: "0.0.0.0"},
		},
	}

	return section.WithValueAttribute("mid", mid)
}

// describeFormat adds a format to an m-line, the wanted ones first.
func describeFormat(section *sdp.MediaDescription, payloadType, name, parameters string) {
	section.MediaName.Formats = append(section.MediaName.Formats, payloadType)
	section.WithValueAttribute("rtpmap", payloadType+" "+name)
	if parameters != "" {
		section.WithValueAttribute("fmtp", payloadType+" "+parameters)
	}
}

// describe tells the client whose stream it gets, and by which SSRCs (RFC 5576, RFC 8830).
func (d *Downlink) describe(section *sdp.MediaDescription) {
	msid := d.streamID + " " + d.trackID
	section.WithValueAttribute("msid", msid)
	ssrcs := []uint32{d.ssrc}
	if d.format.Retransmitted() {
		section.WithValueAttribute("ssrc-group", fmt.Sprintf("FID %d %d", d.ssrc, d.rtxSSRC))
		ssrcs = append(ssrcs, d.rtxSSRC)
	}
	for _, ssrc := range ssrcs {
		section.WithValueAttribute("ssrc", fmt.Sprintf("%d cname:%s", ssrc, d.streamID))
		section.WithValueAttribute("ssrc", fmt.Sprintf("%d msid:%s", ssrc, msid))
	}
}

// describeCandidates lists the addresses at which the server is reached: host candidates, those of one family
// in the order of preference (RFC 8445 section 5.1.2.1), RTP and RTCP on one port.
func (p *Peer) describeCandidates(section *sdp.MediaDescription) {
	for i, address := range p.engine.announced {
		priority := 126<<24 | (65535-i)<<8 | 255
		section.WithValueAttribute("candidate", fmt.Sprintf("%d 1 udp %d %s %d typ host", i+1, priority, address.Addr(),
			address.Port()))
	}
	section.WithPropertyAttribute("end-of-candidates")
}

package rtc

import (
	"errors"

	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"
)

// line is an m-line for downlinks. An m-line can never leave a session (RFC 3264 section 8), so one that has become
// free serves the next downlink of its kind; else the description would grow with everyone who ever joined.
type line struct {
	transceiver *webrtc.RTPTransceiver
	kind        webrtc.RTPCodecType
	transport   *webrtc.DTLSTransport

	occupied bool
	offered  bool // the client may have seen an offer in which the line is in use
	clearing bool // the outstanding offer says inactive
}

// free: nothing is sent, and the client knows it. A line that went from one stream to another without having been
// inactive between would not look like a new stream to every browser.
func (l *line) free() bool { return !l.occupied && !l.offered }

// place finds or makes an m-line for a downlink. It is called with the negotiation locked.
func (p *Peer) place(d *Downlink, kind webrtc.RTPCodecType) error {
	t := &track{downlink: d, kind: kind}
	for _, l := range p.lines {
		if l.kind == kind && l.free() {
			return p.reuse(l, d, t)
		}
	}

	// AddTrack is of no use here: it would take over the uplinks' transceivers.
	transceiver, err := p.pc.AddTransceiverFromTrack(t, webrtc.RTPTransceiverInit{
		Direction: webrtc.RTPTransceiverDirectionSendonly,
	})
	if err != nil {
		return err
	}
	d.sender = transceiver.Sender()
	p.expectFeedback(d.sender)
	d.line = &line{transceiver: transceiver, kind: kind, transport: d.sender.Transport(), occupied: true}
	p.lines = append(p.lines, d.line)

	return nil
}

// reuse gives a free m-line a new sender, and so a new SSRC: what is late of the stream before must not be taken for
// this one's.
func (p *Peer) reuse(l *line, d *Downlink, t *track) error {
	sender, err := p.api.NewRTPSender(t, l.transport)
	if err != nil {
		return err
	}
	p.expectFeedback(sender)
	if err := l.transceiver.SetSender(sender, t); err != nil {
		return errors.Join(err, sender.Stop())
	}
	d.sender = sender
	d.line = l
	l.occupied = true

	return nil
}

// expectFeedback says that the client may send RTCP about a stream of ours.
func (p *Peer) expectFeedback(sender *webrtc.RTPSender) {
	for _, encoding := range sender.GetParameters().Encodings {
		p.incoming.expect(uint32(encoding.SSRC))
	}
}

// vacate stops sending on a line. It is called with the negotiation locked.
func (p *Peer) vacate(l *line) error {
	if err := p.pc.RemoveTrack(l.transceiver.Sender()); err != nil {
		return err
	}
	l.occupied = false

	return nil
}

// markFreeLines says recvonly of the lines that the client knows to be free, where inactive would be expected. Both mean
// that nothing comes, and both are answered by inactive. But a client made with Pion stops a line's receiver for good when
// it hears inactive a second time, and would never see the stream that the line serves next.
func (p *Peer) markFreeLines(offer *sdp.SessionDescription) {
	free := make(map[string]bool)
	for _, l := range p.lines {
		if l.free() {
			free[l.transceiver.Mid()] = true
		}
	}
	for _, media := range offer.MediaDescriptions {
		if mid, _ := media.Attribute(sdp.AttrKeyMID); !free[mid] {
			continue
		}
		for i := range media.Attributes {
			if media.Attributes[i].Key == sdp.AttrKeyInactive {
				media.Attributes[i].Key = sdp.AttrKeyRecvOnly
			}
		}
	}
}

// linesOffered notes what an offer being made tells the client.
func (p *Peer) linesOffered() {
	for _, l := range p.lines {
		l.clearing = !l.occupied
		if l.occupied {
			l.offered = true
		}
	}
}

// linesAnswered notes what the client has accepted.
func (p *Peer) linesAnswered() {
	for _, l := range p.lines {
		if l.clearing {
			l.offered = false
			l.clearing = false
		}
	}
}

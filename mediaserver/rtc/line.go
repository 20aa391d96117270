package rtc

import (
	"strconv"

	"github.com/nagi-rtc/nagi/mediaserver/media"
)

// line is an m-line for downlinks. An m-line can never leave a session (RFC 3264 section 8), so one that has become
// free serves the next downlink of its kind; else the description would grow with everyone who ever joined.
type line struct {
	section
	mid  string
	kind media.Kind

	unused   bool      // no stream is ever sent here
	downlink *Downlink // nil: vacant
	inOffer  *Downlink // what the outstanding offer says is sent here
	offered  bool      // the client may have seen an offer in which the line is in use
	clearing bool      // the outstanding offer says inactive
	said     lineState // what section.text says
}

// lineState is what may change of what an offer says of a line.
type lineState struct {
	downlink  *Downlink
	direction string
}

// free: nothing is sent, and the client knows it. A line that went from one stream to another without having been
// inactive between would not look like a new stream to every browser.
func (l *line) free() bool { return l.downlink == nil && !l.offered && !l.unused }

func (l *line) vacate() { l.downlink = nil }

// place finds or makes an m-line for a downlink. It is called with the negotiation locked.
func (p *Peer) place(d *Downlink) {
	for _, l := range p.lines {
		if l.kind == d.kind && l.free() {
			l.downlink, d.line = d, l

			return
		}
	}
	d.line = p.addLine(d.kind)
	d.line.downlink = d
}

func (p *Peer) addLine(kind media.Kind) *line {
	l := &line{mid: strconv.Itoa(len(p.uplinks()) + len(p.lines)), kind: kind}
	p.lines = append(p.lines, l)

	return l
}

// direction is what an offer says of the line. Of a line that the client knows to be free it says recvonly, where inactive
// would be expected. Both mean that nothing comes, and both are answered by inactive. But a client made with Pion stops a
// line's receiver for good when it hears inactive a second time, and would never see the stream that the line serves next.
func (l *line) direction() string {
	switch {
	case l.downlink != nil:
		return "sendonly"
	case l.free():
		return "recvonly"
	default:
		return "inactive"
	}
}

// linesOffered notes what an offer being made tells the client.
func (p *Peer) linesOffered() {
	for _, l := range p.lines {
		l.inOffer = l.downlink
		l.clearing = l.downlink == nil
		if l.downlink != nil {
			l.offered = true
		}
	}
}

// linesAnswered notes what the client has accepted, and gives the downlinks that it receives from now on and did not before.
func (p *Peer) linesAnswered(answered []answeredMedia) map[*Downlink]payloadTypes {
	accepted := make(map[*Downlink]payloadTypes)
	for i, answer := range answered[len(p.uplinks()):] { // Lines that were made since the offer stand behind those in it.
		l := p.lines[i]
		if l.clearing {
			l.offered, l.clearing = false, false
		}
		if l.inOffer != nil && answer.receives && !answer.known {
			accepted[l.inOffer] = answer.types
		}
		l.inOffer = nil
	}

	return accepted
}

package rtc

import (
	"slices"
	"strconv"

	"github.com/nagi-rtc/nagi/mediaserver/codecs"
)

// line is an m-line for downlinks. An m-line can never leave a session (RFC 3264 section 8), so one that has become
// free serves the next downlink of its format; else the description would grow with everyone who ever joined.
type line struct {
	section
	mid    string
	format codecs.Format

	unused   bool      // no stream is ever sent here
	rejected bool      // nor here any more: the client does not take the m-line
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
	rejected  bool
}

// free: nothing is sent, and the client knows it. A line that went from one stream to another without having been
// inactive between would not look like a new stream to every browser.
func (l *line) free() bool { return l.downlink == nil && !l.offered && !l.unused && !l.rejected }

// vacate ends the use of a line. One that no client has seen yet goes: it would be offered without a stream, and a
// client made with Pion never receives on what brought nothing at first.
func (p *Peer) vacate(l *line) {
	l.downlink = nil
	seen := max(p.offeredSections-len(p.uplinks()), 0)
	at := slices.Index(p.lines, l)
	if at < seen {
		return
	}
	p.lines = slices.Delete(p.lines, at, at+1)
	for i := at; i < len(p.lines); i++ { // Nobody has seen their mids either.
		p.lines[i].mid = p.midOf(i)
	}
}

// midOf is the mid of the line at an index.
func (p *Peer) midOf(index int) string { return strconv.Itoa(len(p.uplinks()) + index) }

// place finds or makes an m-line for a downlink. It is called with the negotiation locked.
func (p *Peer) place(d *Downlink) {
	for _, l := range p.lines {
		if l.format == d.format && l.free() {
			l.downlink, d.line = d, l

			return
		}
	}
	d.line = p.addLine(d.format)
	d.line.downlink = d
}

func (p *Peer) addLine(format codecs.Format) *line {
	l := &line{mid: p.midOf(len(p.lines)), format: format}
	p.lines = append(p.lines, l)

	return l
}

// ensureTransport gives the first offer an m-line that every client takes, and puts it first. ICE and DTLS
// start with the first m-line, which has the candidates: without any, or with one that the client rejects, it
// would hang. Opus is known to everybody (RFC 7874 section 3). No stream can take a line that is added for
// this: a client made with Pion never receives on what was inactive at first.
func (p *Peer) ensureTransport() {
	if p.offered || len(p.uplinks()) > 0 || len(p.lines) > 0 && p.lines[0].format.Codec == codecs.Opus {
		return
	}
	first := p.addLine(codecs.Opus.Format(""))
	first.unused = true
	p.lines = append([]*line{first}, p.lines[:len(p.lines)-1]...)
	for i, l := range p.lines { // Nobody has seen their mids yet.
		l.mid = p.midOf(i)
	}
}

// direction is what an offer says of the line. Of a line that the client knows to be free it says recvonly,
// where inactive would be expected. Both mean that nothing comes, and both are answered by inactive. But a
// client made with Pion stops a line's receiver for good when it hears inactive a second time, and would never
// see the stream that the line serves next.
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

// noteRefusal notes whether an answer refuses a stream, for those who ask what the last answer has changed.
func (p *Peer) noteRefusal(d *Downlink, refused bool) {
	switch {
	case refused == d.refused:
	case refused:
		p.refused = append(p.refused, d)
	default:
		p.again = append(p.again, d)
	}
	d.refused = refused
}

// linesAnswered notes what the client has accepted, and gives the downlinks that it receives from now on and did not
// before.
func (p *Peer) linesAnswered(answered []answeredMedia) map[*Downlink]agreed {
	accepted := make(map[*Downlink]agreed)
	p.refused, p.again = nil, nil
	for i, answer := range answered[len(p.uplinks()):] { // Lines that were made since the offer stand behind those in it.
		l := p.lines[i]
		if l.clearing {
			l.offered, l.clearing = false, false
		}
		if l.inOffer != nil && !l.rejected && !answer.known {
			p.formats.answered(l.format, !answer.rejected)
			l.rejected = answer.rejected
			if answer.receives {
				accepted[l.inOffer] = agreed{answer.types, answer.sendTime, answer.delay}
			}
			p.noteRefusal(l.inOffer, !answer.receives)
		}
		l.inOffer = nil
	}
	if len(p.formats.rejected) > 0 {
		for _, l := range p.lines { // Those that were made since the offer too.
			l.rejected = l.rejected || slices.Contains(p.formats.rejected, l.format)
		}
	}

	return accepted
}

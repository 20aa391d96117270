package rtc

import (
	"cmp"
	"encoding/binary"
	"strconv"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/sdp/v3"

	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/transportcc"
)

const (
	// feedbackInterval is how long what came may wait until its sender is told (libwebrtc's: 50 to 250 ms, by the rate).
	feedbackInterval = 100 * time.Millisecond
	// feedbackPackets wait at most: at high rates a sender learns of a queue before it is long.
	feedbackPackets = 50
	// transportCC is the feedback's name in a=rtcp-fb.
	transportCC = "transport-cc"
)

// describeCongestion asks for transport-wide numbers on an m-line on which the client sends, and says how much of it
// may come: how much can come, the client finds out by the feedback (RFC 3890 section 6.2).
func (u *uplink) describeCongestion(section *sdp.MediaDescription) {
	transportWideNumber.describe(section)
	if u.config.MaxBitRate > 0 {
		section.Bandwidth = append(section.Bandwidth, sdp.Bandwidth{Type: "TIAS", Bandwidth: uint64(u.config.MaxBitRate)})
	}
}

// readTransportCC is the identifier of transport-wide numbers on an m-line where the client wants feedback on them; 0:
// it does not.
func readTransportCC(section *sdp.MediaDescription, payloadType uint8) uint8 {
	format := strconv.Itoa(int(payloadType)) + " " + transportCC
	for _, attribute := range section.Attributes {
		if attribute.Key == "rtcp-fb" && (attribute.Value == format || attribute.Value == "* "+transportCC) {
			return transportWideNumber.sentIn(section)
		}
	}

	return 0
}

// congestion is what the client is told of all the packets that it numbered, whatever stream they are of.
type congestion struct {
	// arrivals are nil before the first packet that has a number. They are guarded by inbound.mu, as is about, the SSRC of
	// the stream that the last was of.
	arrivals *transportcc.Arrivals
	about    uint32
	// plain and sealed are memory of the goroutine that sends.
	plain, sealed []byte
}

// arrived notes a packet that has been opened. It is called with inbound.mu held.
func (p *Peer) arrived(stream *inboundStream, packet []byte, now time.Time) {
	if stream.uplink.transportCC == 0 {
		return
	}
	number := extensionsOf(packet).find(stream.uplink.transportCC)
	if len(number) < 2 {
		return
	}
	c := &p.congestion
	if c.arrivals == nil {
		c.arrivals = new(transportcc.Arrivals)
	}
	c.about = stream.ssrc
	before := c.arrivals.Waiting()
	waiting := c.arrivals.Record(binary.BigEndian.Uint16(number), p.engine.since(now))
	if waiting > before && (before == 0 || waiting == feedbackPackets) {
		signal(p.feedbackWanted)
	}
}

// feedbackDue is how long the feedback of what waits may still take.
func (p *Peer) feedbackDue() time.Duration {
	p.inbound.mu.Lock()
	defer p.inbound.mu.Unlock()
	if p.congestion.arrivals.Waiting() >= feedbackPackets {
		return 0
	}

	return feedbackInterval
}

// sendFeedback tells the client what came of what it numbered.
func (p *Peer) sendFeedback() {
	c := &p.congestion
	for {
		p.inbound.mu.Lock()
		c.plain = c.arrivals.AppendFeedback(c.plain[:0], p.ssrc, c.about)
		p.inbound.mu.Unlock()
		if len(c.plain) == 0 {
			return
		}
		var err error
		c.sealed, err = p.reports.sealBytes(c.sealed[:0], c.plain)
		p.sendRTCP(c.sealed, err)
	}
}

// estimate is for a client that knows no transport-wide feedback: how much it may send in all
// (draft-alvestrand-rmcat-remb-03). Browsers start at some 300 kbit/s, and without either they stay there. Nil: the
// client finds its rate itself. It is called with inbound.mu held.
func (p *Peer) estimate() *rtcp.ReceiverEstimatedMaximumBitrate {
	estimate := &rtcp.ReceiverEstimatedMaximumBitrate{SenderSSRC: p.ssrc}
	itself := false
	for _, u := range p.uplinks() {
		estimate.Bitrate += float32(cmp.Or(u.config.MaxBitRate, defaultBitRates[u.kind()]))
		for i := range u.layers {
			if ssrc := u.layers[i].ssrc; ssrc != 0 {
				estimate.SSRCs = append(estimate.SSRCs, ssrc)
				itself = u.transportCC != 0 // Video, where there is any, decides: it is what takes up the room.
			}
		}
	}
	if itself {
		return nil
	}

	return estimate
}

// defaultBitRates are what clients are told to send at most that know no transport-wide feedback and name no rate, in
// bit/s: enough for a browser to reach the rate that its picture size asks for.
var defaultBitRates = [...]int{media.Audio: 128_000, media.Video: 5_000_000}

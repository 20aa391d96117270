package rtc

import (
	"encoding/binary"
	"sync"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

const (
	rtpHeaderBytes  = 12 // without CSRCs and extensions
	rtcpHeaderBytes = 8  // with the sender's SSRC
	// maxPayloadBytes fits into a datagram however it leaves: with GCM's tag, what RTX puts before it, and the time. A
	// packet that a downlink cannot send uses a sequence number up without SRTP's learning of it; of enough of them in a
	// row, the roll-over counter (RFC 3711 section 3.3.1) does not follow, and an index, which is GCM's nonce, comes a
	// second time.
	maxPayloadBytes = udp.MaxDatagram - rtpHeaderBytes - sendTimeBytes - 2 - 16
	// maxReporters is how many SSRCs a client may send RTCP as. Each one is remembered, against replays, with some 200
	// bytes: browsers have one for each stream that they send or receive, or one in all.
	maxReporters = 1024
)

// inbound opens what the client sends. Its lock is held while packets are opened, never while they are handed on.
type inbound struct {
	mu      sync.Mutex
	context *srtp.Context   // nil: DTLS is not up
	streams []inboundStream // the answer's
	// SSRCs of which a packet has been opened, so that the context knows their roll-over counters
	authenticated map[uint32]struct{}
	reporters     map[uint32]struct{} // SSRCs of RTCP seen
	// scratch: of the packet that is being opened
	header     rtp.Header
	rtcpHeader rtcp.Header
}

// ssrcOfRTP is that of an RTP packet.
func ssrcOfRTP(datagram []byte) uint32 { return binary.BigEndian.Uint32(datagram[8:]) }

// stream finds an SSRC. Packets of others are dropped before they are opened, so that they cost no more than this, and
// leave no trace in the SRTP context, unless they say that they are of an encoding that is expected.
func (in *inbound) stream(ssrc uint32) *inboundStream {
	for i := range in.streams {
		if in.streams[i].ssrc == ssrc && ssrc != 0 {
			return &in.streams[i]
		}
	}

	return nil
}

// open opens packets in place, and tells for each that is good whose it is.
func (p *Peer) open(burst []udp.Datagram, packets []media.Received, owners []*uplink, now time.Time) (n int) {
	in := &p.inbound
	in.mu.Lock()
	defer in.mu.Unlock()
	for i := range burst {
		datagram := burst[i].Payload
		stream := in.stream(ssrcOfRTP(datagram))
		if stream == nil {
			stream = in.said(datagram)
		}
		switch {
		case stream == nil:
			p.engine.counters.undeclaredRTP.Add(1)
		case datagram[1]&0x7f != stream.payloadType:
			// Another codec's bytes would reach receivers as what they negotiated.
			p.engine.counters.unnegotiatedRTP.Add(1)
		case in.context == nil:
			p.engine.counters.malformedRTP.Add(1)
		case p.openPacket(datagram, &packets[n], stream, now):
			owners[n] = stream.uplink
			n++
		}
	}
	if n > 0 {
		p.liveness.hearMedia(p.engine.since(now))
	}

	return n
}

// openPacket decrypts one packet in place and takes off what is not payload; false: there is nothing to hand on. It is
// called with inbound.mu held.
func (p *Peer) openPacket(datagram []byte, packet *media.Received, stream *inboundStream, now time.Time) bool {
	header := &p.inbound.header
	plain, err := p.decrypt(stream, datagram, header, now)
	reception := stream.reception()
	payload, ok := []byte(nil), false
	if err == nil {
		p.arrived(stream, plain, now)
		payload, ok = rtpPayload(plain)
	}
	switch {
	case !ok, len(payload) > maxPayloadBytes, stream.retransmissions && len(payload) == 1:
		p.engine.counters.malformedRTP.Add(1)

		return false
	case stream.retransmissions && len(payload) == 0:
		return false // Padding, with which browsers probe the bandwidth.
	case stream.retransmissions:
		// The original sequence number, then the original payload (RFC 4588 section 4).
		header.SequenceNumber = binary.BigEndian.Uint16(payload)
		payload = payload[2:]
		if reception.ssrc == 0 || !reception.near(header.SequenceNumber) {
			return false // Too late to be of use. Two of them in order would look like a new run of numbers.
		}
	}
	number, gap, ok := reception.receive(header.SequenceNumber, header.Timestamp, stream.retransmissions, now)
	if !ok {
		p.engine.counters.outOfRunRTP.Add(1)

		return false
	}
	if gap && stream.uplink == p.video {
		signal(p.gap) // Audio that is asked for again would come too late.
	}
	*packet = media.Received{
		SequenceNumber: number, Timestamp: header.Timestamp, SSRC: reception.ssrc, Layer: stream.layer,
		Marker: header.Marker, Payload: payload,
	}
	packet.Level, packet.HasLevel = stream.uplink.levelOf(plain)

	return true
}

// rtpPayload is what lies between header and padding (RFC 3550 section 5.1); false if it is not where they say.
func rtpPayload(packet []byte) ([]byte, bool) {
	start := rtpHeaderBytes + 4*int(packet[0]&0x0f)
	if packet[0]&0x10 != 0 {
		if len(packet) < start+4 {
			return nil, false
		}
		start += 4 + 4*int(binary.BigEndian.Uint16(packet[start+2:]))
	}
	end := len(packet)
	if packet[0]&0x20 != 0 {
		padding := int(packet[end-1])
		if padding == 0 {
			return nil, false
		}
		end -= padding
	}
	if end < start {
		return nil, false
	}

	return packet[start:end], true
}

// receiveRTCP opens a compound packet in place and hands on what it says. A part that is malformed is no reason to lose
// the others.
func (p *Peer) receiveRTCP(batch *udp.Batch, datagram []byte, now time.Time) {
	compound, err := p.openRTCP(datagram, now)
	if err != nil || len(compound) == 0 {
		p.engine.counters.malformedRTCP.Add(1)

		return
	}
	for len(compound) > 0 {
		first, rest, ok := firstPart(compound)
		if !ok || !p.dispatch(batch, first, now) {
			p.engine.counters.malformedRTCP.Add(1)
		}
		compound = rest
	}
}

func (p *Peer) openRTCP(datagram []byte, now time.Time) ([]byte, error) {
	in := &p.inbound
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.context == nil {
		return nil, ErrNotBound
	}
	reporter := binary.BigEndian.Uint32(datagram[4:])
	_, known := in.reporters[reporter]
	if !known && len(in.reporters) >= maxReporters {
		return nil, errTooManyReporters
	}
	plain, err := in.context.DecryptRTCP(datagram[:0], datagram, &in.rtcpHeader)
	if err != nil {
		return nil, err
	}
	if !known {
		in.reporters[reporter] = struct{}{}
	}
	p.liveness.hearMedia(p.engine.since(now))

	return plain, nil
}

// dispatch brings one RTCP packet to whom it concerns: sender reports to the uplink, feedback to the downlink. false:
// it could not be read.
func (p *Peer) dispatch(batch *udp.Batch, packet part, now time.Time) bool {
	switch packet.kind() {
	case rtcp.TypeReceiverReport:
		blocks, ok := packet.reportBlocks()
		p.receiveReports(blocks, now)

		return ok
	case rtcp.TypeSenderReport:
		blocks, ok := packet.reportBlocks()
		if !ok {
			return false
		}
		p.receiveReports(blocks, now)
		ssrc, ntpTime, rtpTime := packet.senderTimes()
		if u, layer := p.reported(ssrc, ntpTime, now); u != nil {
			u.config.Receiver.ReceiveSenderReport(batch, layer, ntpTime, rtpTime)
		}

		return true
	case rtcp.TypePayloadSpecificFeedback:
		if packet.count() == rtcp.FormatREMB {
			return p.receiveEstimate(packet)
		}

		return p.dispatchFeedback(batch, packet)
	case rtcp.TypeTransportSpecificFeedback:
		return p.dispatchFeedback(batch, packet)
	default:
		return true // Nothing that we go by.
	}
}

// dispatchFeedback brings what a client needs of one stream, which is rare, to that.
func (p *Peer) dispatchFeedback(batch *udp.Batch, packet part) bool {
	packets, err := rtcp.Unmarshal(packet)
	for _, packet := range packets {
		switch packet := packet.(type) {
		case *rtcp.TransportLayerNack:
			if feedback := p.feedbackOf(packet.MediaSSRC); feedback != nil {
				var missing []uint16
				for _, pair := range packet.Nacks {
					missing = append(missing, pair.PacketList()...)
				}
				feedback.ReceiveNACK(batch, missing)
			}
		case *rtcp.PictureLossIndication:
			if feedback := p.feedbackOf(packet.MediaSSRC); feedback != nil {
				feedback.ReceivePLI()
			}
		case *rtcp.FullIntraRequest:
			for _, entry := range packet.FIR {
				if feedback := p.feedbackOf(entry.SSRC); feedback != nil {
					feedback.ReceivePLI()
				}
			}
		}
	}

	return err == nil
}

// receiveEstimate hands on how much the client holds to be possible.
func (p *Peer) receiveEstimate(packet part) bool {
	bitsPerSecond, ok := packet.estimate()
	if ok && p.config.Reports != nil {
		p.config.Reports.ReceiveREMB(bitsPerSecond)
	}

	return ok
}

// reported notes a sender report for the reports that go back, and tells whose it is; nil: nobody's.
func (p *Peer) reported(ssrc uint32, ntpTime uint64, now time.Time) (*uplink, media.Layer) {
	p.inbound.mu.Lock()
	defer p.inbound.mu.Unlock()
	stream := p.inbound.stream(ssrc)
	if stream == nil || stream.retransmissions || !stream.reception().reported(ntpTime, now) {
		return nil, 0
	}

	return stream.uplink, stream.layer
}

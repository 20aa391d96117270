package rtc

import (
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// Feedback is what a client says about a stream it is sent. Its functions must not block and may still be running when
// Remove returns.
type Feedback interface {
	// Bound is called once: the stream is negotiated, DTLS is up, packets can leave.
	Bound()
	// ReceiveNACK gets the sequence numbers, as sent, that the client misses (RFC 4585 section 6.2.1).
	ReceiveNACK(sequenceNumbers []uint16)
	// ReceivePLI is called when the client needs a keyframe (PLI or FIR).
	ReceivePLI()
}

// Downlink is one stream that a client is sent. Writes are synchronous and may come from any goroutine: on return the
// packet has been handed to the kernel.
type Downlink struct {
	peer     *Peer
	line     *line
	sender   *webrtc.RTPSender
	streamID string
	trackID  string

	negotiated chan struct{} // closed when pending is set
	pending    binding

	binding atomic.Pointer[binding] // nil: packets cannot leave

	mu       sync.Mutex
	feedback Feedback
	bound    bool
	removed  bool
}

// binding is what negotiation has settled.
type binding struct {
	stream      webrtc.TrackLocalWriter
	ssrc        uint32
	payloadType uint8
}

// maxMSIDBytes is RFC 8830 section 2's limit of either part of an msid.
const maxMSIDBytes = 64

// AddDownlink adds a stream to send to the client: streamID, the sender's connection id, is what the client sees as the id
// of its MediaStream. The client learns of it with the next offer.
func (p *Peer) AddDownlink(streamID string, kind forwardingv1.Kind) (*Downlink, error) {
	if streamID == "" || len(streamID) > maxMSIDBytes || strings.ContainsAny(streamID, " \t\r\n") {
		return nil, fmt.Errorf("stream id %q cannot stand in an msid; use 1 to %d bytes without spaces", streamID, maxMSIDBytes)
	}
	codecType, err := rtcKind(kind)
	if err != nil {
		return nil, err
	}
	d := &Downlink{peer: p, streamID: streamID, trackID: rand.Text(), negotiated: make(chan struct{})}

	p.negotiation.Lock()
	if p.isClosing() {
		err = ErrClosed
	} else {
		err = p.place(d, codecType)
	}
	offered := p.offered
	p.negotiation.Unlock()
	if err != nil {
		return nil, fmt.Errorf("add a downlink: %w", err)
	}
	if !p.start(d.receiveFeedback) {
		return nil, fmt.Errorf("add a downlink: %w", ErrClosed)
	}
	p.negotiationNeeded(offered)

	return d, nil
}

// Remove ends the stream. Its m-line becomes inactive with the next offer, and serves a later downlink of the same kind
// once that is answered.
func (d *Downlink) Remove() error {
	d.mu.Lock()
	removed := d.removed
	d.removed = true
	d.mu.Unlock()
	if removed {
		return nil
	}

	p := d.peer
	p.negotiation.Lock()
	var err error
	if p.isClosing() {
		err = ErrClosed
	} else {
		err = p.vacate(d.line)
	}
	offered := p.offered
	p.negotiation.Unlock()
	if err != nil {
		return fmt.Errorf("remove a downlink: %w", err)
	}
	p.negotiationNeeded(offered)

	return nil
}

// Attach says who gets the client's feedback. If packets can leave already, Bound is called before Attach returns.
func (d *Downlink) Attach(feedback Feedback) {
	d.mu.Lock()
	d.feedback = feedback
	bound := d.bound
	d.mu.Unlock()
	if bound {
		feedback.Bound()
	}
}

// SSRC is the stream's; 0 before it is bound and after it is removed.
func (d *Downlink) SSRC() uint32 {
	if b := d.binding.Load(); b != nil {
		return b.ssrc
	}

	return 0
}

// WriteRTP sends one packet: ErrNotBound before the stream is bound and after it is removed.
func (d *Downlink) WriteRTP(sequenceNumber uint16, timestamp uint32, marker bool, payload []byte) error {
	b := d.binding.Load()
	if b == nil {
		return ErrNotBound
	}
	header, ok := d.peer.engine.headers.Get().(*rtp.Header)
	if !ok {
		header = new(rtp.Header)
	}
	*header = rtp.Header{
		Version: 2, Marker: marker, PayloadType: b.payloadType,
		SequenceNumber: sequenceNumber, Timestamp: timestamp, SSRC: b.ssrc,
	}
	_, err := b.stream.WriteRTP(header, payload)
	d.peer.engine.headers.Put(header)

	return err
}

// WriteSenderReport sends a report about the stream with the CNAME that its SDP has (RFC 3550 sections 6.4.1 and 6.5.1).
// All streams of one sender share the CNAME, so that the client plays them in step.
func (d *Downlink) WriteSenderReport(ntpTime uint64, rtpTime uint32, packetCount, octetCount uint32) error {
	b := d.binding.Load()
	if b == nil {
		return ErrNotBound
	}

	return d.peer.pc.WriteRTCP([]rtcp.Packet{
		&rtcp.SenderReport{
			SSRC: b.ssrc, NTPTime: ntpTime, RTPTime: rtpTime, PacketCount: packetCount, OctetCount: octetCount,
		},
		rtcp.NewCNAMESourceDescription(b.ssrc, d.streamID),
	})
}

// receiveFeedback waits until packets can leave, then reads the client's RTCP about the stream until it is removed.
func (d *Downlink) receiveFeedback() {
	select {
	case <-d.negotiated:
	case <-d.peer.closing:
		return
	}
	// Pion has no event for SRTP being up on a sender; setting a deadline returns then, or when the sender is stopped.
	if err := d.sender.SetReadDeadline(time.Time{}); err != nil {
		return
	}
	if !d.open() {
		return
	}
	d.peer.readRTCP(d.sender, d.dispatch)
}

// open lets packets leave, unless the stream has been removed meanwhile.
func (d *Downlink) open() bool {
	d.mu.Lock()
	if d.removed {
		d.mu.Unlock()

		return false
	}
	d.binding.Store(&d.pending)
	d.bound = true
	feedback := d.feedback
	d.mu.Unlock()
	if feedback != nil {
		feedback.Bound()
	}

	return true
}

func (d *Downlink) dispatch(packet rtcp.Packet) {
	d.mu.Lock()
	feedback, removed := d.feedback, d.removed
	d.mu.Unlock()
	if feedback == nil || removed {
		return
	}

	switch packet := packet.(type) {
	case *rtcp.TransportLayerNack:
		if packet.MediaSSRC == d.pending.ssrc {
			var missing []uint16
			for _, pair := range packet.Nacks {
				missing = append(missing, pair.PacketList()...)
			}
			feedback.ReceiveNACK(missing)
		}
	case *rtcp.PictureLossIndication:
		if packet.MediaSSRC == d.pending.ssrc {
			feedback.ReceivePLI()
		}
	case *rtcp.FullIntraRequest:
		for _, entry := range packet.FIR {
			if entry.SSRC == d.pending.ssrc {
				feedback.ReceivePLI()
			}
		}
	}
}

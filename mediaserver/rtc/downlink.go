package rtc

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

	"github.com/nagi-rtc/nagi/mediaserver/codecs"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// Feedback is what a client says about a stream it is sent. Its functions must not wait for anything, and may still be
// running when Remove returns.
type Feedback interface {
	// Bound is called once: the stream is negotiated, DTLS is up, packets can leave.
	Bound()
	// ReceiveNACK gets the sequence numbers, as sent, that the client misses (RFC 4585 section 6.2.1). What is sent again
	// goes into the batch.
	ReceiveNACK(batch *udp.Batch, sequenceNumbers []uint16)
	// ReceivePLI is called when the client needs a keyframe (PLI or FIR).
	ReceivePLI()
}

// Downlink is one stream that a client is sent. WriteRTP, ResendRTP and WritePadding may be called from any goroutine,
// one call at a time; the other methods at any time.
type Downlink struct {
	peer     *Peer
	format   codecs.Format
	streamID string
	trackID  string
	ssrc     uint32
	rtxSSRC  uint32
	line     *line
	refused  bool // by the last answer; guarded by the peer's negotiation, as line is

	binding atomic.Pointer[binding] // nil: packets cannot leave
	again   atomic.Uint32           // 1<<16 | the last number of the RTX stream that left; 0: none

	mu         sync.Mutex
	feedback   Feedback
	negotiated *agreed // as the client calls them
	bound      bool
	removed    bool
	reported   reported
}

// binding is a stream that can leave.
type binding struct {
	media, rtx outgoing // rtx.ssrc 0: retransmissions go out on the stream itself
	overhead   int      // what sealing adds, in bytes
	rtxNumber  uint16   // of the next packet on the RTX stream
}

// outgoing is one SSRC that packets are sealed for.
type outgoing struct {
	context     *srtp.Context
	ssrc        uint32
	payloadType uint8
	sendTime    uint8      // see agreed
	delay       uint8      // as well; 0 where sendTime is
	header      rtp.Header // scratch of the context's
}

// maxMSIDBytes is RFC 8830 section 2's limit of either part of an msid.
const maxMSIDBytes = 64

// AddDownlink adds a stream to send to the client: streamID, the sender's connection id, is what the client sees as
// the id of its MediaStream. The client learns of it with the next offer. ErrFormatNotTaken: the client has rejected
// the format, or has been offered as many as a session can have.
func (p *Peer) AddDownlink(streamID string, format codecs.Format) (*Downlink, error) {
	if streamID == "" || len(streamID) > maxMSIDBytes || strings.ContainsAny(streamID, " \t\r\n") {
		return nil, fmt.Errorf("stream id %q cannot stand in an msid; use 1 to %d bytes without spaces", streamID,
			maxMSIDBytes)
	}
	d := &Downlink{peer: p, format: format, streamID: streamID, trackID: rand.Text()}

	p.negotiation.Lock()
	if p.isClosing() {
		p.negotiation.Unlock()

		return nil, fmt.Errorf("add a downlink: %w", ErrClosed)
	}
	if !p.formats.offer(format) {
		p.negotiation.Unlock()

		return nil, fmt.Errorf("add a downlink of %v: %w", format, ErrFormatNotTaken)
	}
	d.ssrc, d.rtxSSRC = p.newSSRC(), p.newSSRC()
	p.place(d)
	needed := p.differs()
	p.negotiation.Unlock()
	p.feedbackTo(d)
	p.negotiationNeeded(needed)

	return d, nil
}

// Remove ends the stream. Its m-line becomes inactive with the next offer, and serves a later downlink of the same
// format once that is answered.
func (d *Downlink) Remove() error {
	d.mu.Lock()
	removed := d.removed
	d.removed = true
	d.binding.Store(nil)
	d.mu.Unlock()
	if removed {
		return nil
	}

	p := d.peer
	p.noFeedbackTo(d)
	p.negotiation.Lock()
	if p.isClosing() {
		p.negotiation.Unlock()

		return fmt.Errorf("remove a downlink: %w", ErrClosed)
	}
	p.vacate(d.line)
	needed := !d.line.rejected && p.differs()
	p.negotiation.Unlock()
	p.negotiationNeeded(needed)

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

// StreamID is the id of the MediaStream that the client sees.
func (d *Downlink) StreamID() string { return d.streamID }

// SSRC is the stream's; 0 before it is bound and after it is removed.
func (d *Downlink) SSRC() uint32 {
	if b := d.binding.Load(); b != nil {
		return b.media.ssrc
	}

	return 0
}

// Retransmissions are the SSRC of the RTX stream, 0 where there is none or nothing can leave, and the last number that
// left on it.
func (d *Downlink) Retransmissions() (ssrc uint32, last uint16, sent bool) {
	if b := d.binding.Load(); b != nil {
		ssrc = b.rtx.ssrc
	}
	again := d.again.Load()

	return ssrc, uint16(again), again != 0
}

// Worker is the worker that the client's packets are to be sent by.
func (d *Downlink) Worker() int { return d.peer.worker }

// WriteRTP seals one packet into the batch: ErrNotBound before the stream is bound and after it is removed.
func (d *Downlink) WriteRTP(batch *udp.Batch, packet *media.Outgoing) error {
	b := d.binding.Load()
	if b == nil {
		return ErrNotBound
	}

	return d.seal(batch, &b.media, b.overhead, packet, false)
}

// ResendRTP sends a packet once more: on the RTX stream if the client knows RTX (RFC 4588), else as it was. The packet
// is as it was the first time.
func (d *Downlink) ResendRTP(batch *udp.Batch, packet *media.Outgoing) error {
	b := d.binding.Load()
	if b == nil {
		return ErrNotBound
	}
	if b.rtx.ssrc == 0 {
		return d.seal(batch, &b.media, b.overhead, packet, false)
	}

	return d.sealAgain(batch, b, packet, true)
}

// WritePadding seals a packet of padding alone, on the RTX stream: of that, packets may be missing or nothing in
// themselves without a receiver's waiting for the rest of a frame. It is for clients that are told when packets leave,
// which estimate what they can be sent by all that arrives.
func (d *Downlink) WritePadding(batch *udp.Batch, packet *media.Outgoing, size uint8) error {
	b := d.binding.Load()
	if b == nil || b.rtx.sendTime == 0 {
		return ErrNotBound
	}
	padding := media.Outgoing{Timestamp: packet.Timestamp, SendTime: packet.SendTime, Padding: size}

	return d.sealAgain(batch, b, &padding, false)
}

// TakesPadding tells whether WritePadding can send any.
func (d *Downlink) TakesPadding() bool {
	b := d.binding.Load()

	return b != nil && b.rtx.sendTime != 0
}

// sealAgain seals a packet into the RTX stream, whose numbers are given as they leave.
func (d *Downlink) sealAgain(batch *udp.Batch, b *binding, packet *media.Outgoing, retransmission bool) error {
	if b.rtx.context == nil {
		// Made when something is lost: it takes 2 KB, as much as all else of a stream, and most streams of a big
		// channel lose nothing for long.
		context, err := d.peer.keys.Load().sealing()
		if err != nil {
			return err
		}
		b.rtx.context = context
	}
	b.rtx.header.SequenceNumber = b.rtxNumber
	if !retransmission {
		packet.SequenceNumber = b.rtxNumber
	}
	err := d.seal(batch, &b.rtx, b.overhead, packet, retransmission)
	if err == nil {
		d.again.Store(1<<16 | uint32(b.rtxNumber))
		b.rtxNumber++
	}

	return err
}

// seal builds a packet in the batch's memory and encrypts it there: the one copy that is made of a payload for a
// receiver. retransmission: the packet's own number stands in the payload, behind the number of the RTX stream that
// rtxNumber counts.
func (d *Downlink) seal(
	batch *udp.Batch, out *outgoing, overhead int, packet *media.Outgoing, retransmission bool,
) error {
	destination := d.peer.selected.Load()
	if destination == nil {
		return ErrNotBound
	}
	start := rtpHeaderBytes
	if out.sendTime != 0 {
		start += sendTimeBytes
	}
	size := start + len(packet.Payload) + int(packet.Padding)
	if retransmission {
		size += 2
	}
	delay := uint32(0)
	if out.delay != 0 && size+playoutDelayBytes+overhead <= udp.MaxDatagram {
		delay = d.peer.playout.value.Load()
	}
	if delay != 0 {
		start += playoutDelayBytes
		size += playoutDelayBytes
	}
	if size+overhead > udp.MaxDatagram {
		return ErrPacketTooLarge
	}
	datagram := batch.Append(destination, size+overhead)
	if datagram == nil {
		return ErrBatchFull
	}
	datagram[0] = 2 << 6
	datagram[1] = out.payloadType
	if packet.Marker {
		datagram[1] |= 0x80
	}
	binary.BigEndian.PutUint16(datagram[2:], packet.SequenceNumber)
	binary.BigEndian.PutUint32(datagram[4:], packet.Timestamp)
	binary.BigEndian.PutUint32(datagram[8:], out.ssrc)
	if out.sendTime != 0 {
		datagram[0] |= 0x10
		binary.BigEndian.PutUint32(datagram[rtpHeaderBytes:], 0xbede<<16|1) // one word of elements
		binary.BigEndian.PutUint32(datagram[rtpHeaderBytes+4:], uint32(out.sendTime)<<28|2<<24|packet.SendTime)
	}
	if delay != 0 {
		datagram[rtpHeaderBytes+3] = 2 // words
		binary.BigEndian.PutUint32(datagram[rtpHeaderBytes+sendTimeBytes:], uint32(out.delay)<<28|2<<24|delay)
	}
	body := datagram[start:size]
	if retransmission {
		binary.BigEndian.PutUint16(datagram[2:], out.header.SequenceNumber)
		binary.BigEndian.PutUint16(body, packet.SequenceNumber)
		body = body[2:]
	}
	copy(body, packet.Payload)
	packet.Patch.Apply(body)
	if packet.Padding > 0 {
		datagram[0] |= 0x20
		clear(body[len(packet.Payload):])
		body[len(body)-1] = packet.Padding
	}
	if _, err := out.context.EncryptRTP(datagram[:0], datagram[:size], &out.header); err != nil {
		clear(datagram) // It is in the batch; what leaves then is nothing that a client takes for a packet.

		return err
	}
	d.peer.liveness.sending()

	return nil
}

// WriteSenderReport seals a report about the stream with the CNAME that its SDP has (RFC 3550 sections 6.4.1 and
// 6.5.1). All streams of one sender share the CNAME, so that the client plays them in step.
func (d *Downlink) WriteSenderReport(
	batch *udp.Batch, ntpTime uint64, rtpTime uint32, packetCount, octetCount uint32,
) error {
	b, destination := d.binding.Load(), d.peer.selected.Load()
	if b == nil || destination == nil {
		return ErrNotBound
	}
	sealed, err := d.peer.reports.seal(
		&rtcp.SenderReport{SSRC: b.media.ssrc, NTPTime: ntpTime, RTPTime: rtpTime, PacketCount: packetCount,
			OctetCount: octetCount},
		rtcp.NewCNAMESourceDescription(b.media.ssrc, d.streamID),
	)
	if err != nil {
		return err
	}
	packet := batch.Append(destination, len(sealed))
	if packet == nil {
		return ErrBatchFull
	}
	copy(packet, sealed)
	d.mu.Lock()
	d.reported.leaves(ntpTime, time.Now())
	d.mu.Unlock()

	return nil
}

// negotiate notes what the client calls the stream's formats, once its offer is answered.
func (d *Downlink) negotiate(how agreed) {
	d.mu.Lock()
	if d.negotiated == nil {
		d.negotiated = &how
	}
	d.mu.Unlock()
	d.bind()
}

// bind lets packets leave as soon as the stream is negotiated and DTLS is up, unless it has been removed meanwhile.
func (d *Downlink) bind() {
	k := d.peer.keys.Load()
	d.mu.Lock()
	if k == nil || d.negotiated == nil || d.bound || d.removed {
		d.mu.Unlock()

		return
	}
	b, err := d.newBinding(k)
	if err != nil {
		d.mu.Unlock()
		d.peer.fail(fmt.Errorf("%w: %w", ErrICEFailed, err))

		return
	}
	d.binding.Store(b)
	d.bound = true
	feedback := d.feedback
	d.mu.Unlock()
	if feedback != nil {
		feedback.Bound()
	}
}

// newBinding is called with mu held.
func (d *Downlink) newBinding(k *keys) (*binding, error) {
	sealing, err := k.sealing()
	if err != nil {
		return nil, err
	}
	how := d.negotiated
	b := &binding{overhead: k.overhead}
	delay := how.delay
	if how.sendTime == 0 {
		delay = 0
	}
	b.media = outgoing{context: sealing, ssrc: d.ssrc, payloadType: how.media, sendTime: how.sendTime, delay: delay}
	if how.rtx != 0 {
		b.rtx = outgoing{ssrc: d.rtxSSRC, payloadType: how.rtx, sendTime: how.sendTime, delay: delay}
	}

	return b, nil
}

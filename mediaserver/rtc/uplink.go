package rtc

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// Uplink is what a client sends of one kind.
type Uplink struct {
	// MaxBitRate is what the client is told it may send, in bit/s.
	MaxBitRate int
	Receiver   UplinkReceiver
}

// UplinkReceiver takes what a client sends of one kind.
type UplinkReceiver interface {
	// ReceiveRTP gets packets in the order of their arrival, one call at a time. Padding is stripped, so a packet that was
	// nothing but padding has an empty payload. Packets and payloads are valid only during the call.
	ReceiveRTP(burst []*rtp.Packet)
	// ReceiveSenderReport gets the clock pair of each sender report (RFC 3550 section 6.4.1).
	ReceiveSenderReport(ntpTime uint64, rtpTime uint32)
}

// receiveBytes is more than any datagram that a path of the Internet carries.
const receiveBytes = 1600

// persistentErrors is how many reads in a row may fail before a stream is given up, so that an error that does not go
// away cannot keep a goroutine spinning.
const persistentErrors = 100

type uplink struct {
	config      Uplink
	transceiver *webrtc.RTPTransceiver
	ssrc        atomic.Uint32 // of the stream being received; 0: none yet

	mu      sync.Mutex
	reading chan struct{} // closed when the goroutine that reads the stream before has ended
}

func (p *Peer) newUplink(kind webrtc.RTPCodecType, config *Uplink) (*uplink, error) {
	if config == nil {
		return nil, nil //nolint:nilnil // No uplink is no error.
	}
	transceiver, err := p.pc.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{
		Direction: webrtc.RTPTransceiverDirectionRecvonly,
	})
	if err != nil {
		return nil, fmt.Errorf("add the %s uplink: %w", kind, err)
	}

	return &uplink{config: *config, transceiver: transceiver}, nil
}

// receive reads a stream until it ends. Pion calls it on a goroutine of its own.
func (p *Peer) receive(track *webrtc.TrackRemote, receiver *webrtc.RTPReceiver) {
	u := p.audio
	if track.Kind() == webrtc.RTPCodecTypeVideo {
		u = p.video
	}
	if u == nil || u.transceiver.Receiver() != receiver || !p.enter() {
		return
	}
	defer p.running.Done()

	// A client that changes its SSRC gets a new stream while the old one's reader may still hold a packet.
	done := make(chan struct{})
	defer close(done)
	u.mu.Lock()
	before := u.reading
	u.reading = done
	u.mu.Unlock()
	if before != nil {
		<-before
	}

	ssrc := uint32(track.SSRC())
	u.ssrc.Store(ssrc)
	if p.start(func() { p.readReports(u, receiver, ssrc) }) {
		p.readPackets(u, track)
	}
}

func (p *Peer) readPackets(u *uplink, track *webrtc.TrackRemote) {
	buffer := make([]byte, receiveBytes)
	packet := &rtp.Packet{}
	burst := []*rtp.Packet{packet}

	for failures := 0; failures < persistentErrors; {
		n, _, err := track.Read(buffer)
		if err == nil {
			*packet = rtp.Packet{Header: rtp.Header{CSRC: packet.CSRC[:0], Extensions: packet.Extensions[:0]}}
			err = packet.Unmarshal(buffer[:n])
		}
		switch {
		case err == nil:
			failures = 0
			packet.Padding, packet.PaddingSize = false, 0 //nolint:staticcheck // Header's field moved; both are cleared.
			u.config.Receiver.ReceiveRTP(burst)
		case ended(err):
			return
		default:
			failures++
			p.engine.counters.malformedRTP.Add(1)
		}
	}
}

func (p *Peer) readReports(u *uplink, receiver *webrtc.RTPReceiver, ssrc uint32) {
	p.readRTCP(receiver, func(packet rtcp.Packet) {
		if report, ok := packet.(*rtcp.SenderReport); ok && report.SSRC == ssrc {
			u.config.Receiver.ReceiveSenderReport(report.NTPTime, report.RTPTime)
		}
	})
}

// rtcpReader is a sender or receiver of Pion's.
type rtcpReader interface {
	Read(b []byte) (int, interceptor.Attributes, error)
}

// readRTCP hands the RTCP packets of one stream to receive until the stream ends.
func (p *Peer) readRTCP(from rtcpReader, receive func(rtcp.Packet)) {
	buffer := make([]byte, receiveBytes)
	for failures := 0; failures < persistentErrors; {
		n, _, err := from.Read(buffer)
		if ended(err) {
			return
		}
		var packets []rtcp.Packet
		if err == nil {
			packets, err = rtcp.Unmarshal(buffer[:n])
		}
		if err != nil {
			failures++
			p.engine.counters.malformedRTCP.Add(1)

			continue
		}
		failures = 0
		for _, packet := range packets {
			receive(packet)
		}
	}
}

func ended(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe)
}

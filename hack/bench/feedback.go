//go:build linux

package main

import (
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
)

const (
	// feedbackInterval is how often who receives tells what came, as browsers do.
	feedbackInterval = 100 * time.Millisecond
	// feedbackKind is that in a line's words. No server that is measured here asks receivers for
	// transport-wide feedback, unless told to: they go by these two.
	feedbackKind = "RR+REMB/100ms"
	// plenty is what receivers say that they can be sent, in bit/s: nobody is to be sent less.
	plenty = 50_000_000
	// maxReportBlocks are in one reception report (RFC 3550 section 6.4.2).
	maxReportBlocks = 31
)

// reception is what came on one connection, for the reports of it. A filter in the kernel may keep
// packets from it (sinks): then the streams stand still in its reports.
type reception struct {
	mu      sync.Mutex
	streams map[uint32]*receivedStream
}

// receivedStream is one SSRC's, in the words of RFC 3550 appendix A.3.
type receivedStream struct {
	first, highest                uint32 // extended
	received                      uint32
	expectedPrior, receivedPrior  uint32
	lastReport, lastReportArrived uint32 // of the sender, 0: none; in 1/65536 s
}

// note takes in an RTP packet, sealed as it is.
func (r *reception) note(packet []byte) {
	ssrc, number := binary.BigEndian.Uint32(packet[8:]), uint32(binary.BigEndian.Uint16(packet[2:]))
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.streams == nil {
		r.streams = map[uint32]*receivedStream{}
	}
	s := r.streams[ssrc]
	if s == nil {
		s = &receivedStream{first: number, highest: number}
		r.streams[ssrc] = s
	}
	if ahead := int16(number - s.highest); ahead > 0 { //nolint:gosec // The low 16 bits tell.
		s.highest += uint32(ahead)
	}
	s.received++
}

// noteReport takes in the time of a sender's report.
func (r *reception) noteReport(report *rtcp.SenderReport) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.streams[report.SSRC]; s != nil {
		s.lastReport, s.lastReportArrived = uint32(report.NTPTime>>16), shortTime() //nolint:gosec // Its middle.
	}
}

// shortTime is a time in 1/65536 s (RFC 3550 section 4).
func shortTime() uint32 {
	return uint32(time.Now().UnixMilli() << 16 / 1000) //nolint:gosec // Differences count.
}

// feedback is a report of all that came, and what may come; nil while nothing has.
func (r *reception) feedback() []rtcp.Packet {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.streams) == 0 {
		return nil
	}
	report := &rtcp.ReceiverReport{SSRC: 1}
	estimate := &rtcp.ReceiverEstimatedMaximumBitrate{SenderSSRC: 1, Bitrate: plenty}
	for ssrc, s := range r.streams {
		if len(report.Reports) == maxReportBlocks {
			break
		}
		report.Reports = append(report.Reports, s.report(ssrc))
		estimate.SSRCs = append(estimate.SSRCs, ssrc)
	}

	return []rtcp.Packet{report, estimate}
}

// report is the block of one stream, and the beginning of its next interval.
func (s *receivedStream) report(ssrc uint32) rtcp.ReceptionReport {
	expected := s.highest - s.first + 1
	block := rtcp.ReceptionReport{
		SSRC: ssrc, LastSequenceNumber: s.highest, TotalLost: expected - min(expected, s.received),
		LastSenderReport: s.lastReport,
	}
	inInterval, came := expected-s.expectedPrior, s.received-s.receivedPrior
	if inInterval > came {
		block.FractionLost = uint8((inInterval - came) << 8 / inInterval) //nolint:gosec // Below 256.
	}
	if s.lastReport != 0 {
		block.Delay = shortTime() - s.lastReportArrived
	}
	s.expectedPrior, s.receivedPrior = expected, s.received

	return block
}

// send reports until the connection ends, which it does with the process, and counts reports.
func (r *reception) send(count *atomic.Uint64, write func([]rtcp.Packet) error) {
	for range time.Tick(feedbackInterval) {
		if packets := r.feedback(); packets != nil && write(packets) == nil {
			count.Add(1)
		}
	}
}

// follow takes the sender's reports of what a receiver gets.
func (r *reception) follow(receiver *webrtc.RTPReceiver) {
	for {
		packets, _, err := receiver.ReadRTCP()
		if err != nil {
			return
		}
		for _, packet := range packets {
			if report, ok := packet.(*rtcp.SenderReport); ok {
				r.noteReport(report)
			}
		}
	}
}

// sealFloorFeedback makes SRTCP as AEAD_AES_128_GCM does (RFC 7714 section 9): the header in the clear
// but authenticated, the rest sealed, and behind it the index with the bit of what is encrypted.
func sealFloorFeedback(aead cipher.AEAD, packets []rtcp.Packet, index uint32) ([]byte, error) {
	plain, err := rtcp.Marshal(packets)
	if err != nil {
		return nil, fmt.Errorf("write a report: %w", err)
	}
	trailer := binary.BigEndian.AppendUint32(nil, 1<<31|index)
	associated := append(plain[:rtcpHeaderBytes:rtcpHeaderBytes], trailer...)
	sealed := aead.Seal(plain[:rtcpHeaderBytes:rtcpHeaderBytes], feedbackNonce(index), plain[rtcpHeaderBytes:], associated)

	return append(sealed, trailer...), nil
}

// rtcpHeaderBytes stay in the clear, rtcpIndexBytes follow.
const (
	rtcpHeaderBytes = 8
	rtcpIndexBytes  = 4
)

// openFloorFeedback opens it in place and returns what was sealed.
func openFloorFeedback(aead cipher.AEAD, packet []byte) ([]byte, error) {
	end := len(packet) - rtcpIndexBytes
	if end < rtcpHeaderBytes {
		return nil, fmt.Errorf("open a report of %d bytes: too short", len(packet))
	}
	index := binary.BigEndian.Uint32(packet[end:]) &^ (1 << 31)
	associated := append(packet[:rtcpHeaderBytes:rtcpHeaderBytes], packet[end:]...)
	plain, err := aead.Open(packet[rtcpHeaderBytes:rtcpHeaderBytes], feedbackNonce(index),
		packet[rtcpHeaderBytes:end], associated)
	if err != nil {
		return nil, fmt.Errorf("open a report: %w", err)
	}

	return plain, nil
}

// feedbackNonce is another than any packet's.
func feedbackNonce(index uint32) []byte {
	nonce := make([]byte, 12)
	nonce[0] = 1
	binary.BigEndian.PutUint32(nonce[8:], index)

	return nonce
}

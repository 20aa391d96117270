package rtc

import (
	"encoding/binary"

	"github.com/pion/rtcp"
)

const (
	rtcpPartBytes    = 4  // of the header that every packet of a compound one has
	senderInfoBytes  = 20 // of a sender report, between its SSRC and its blocks
	reportBlockBytes = 24
	rembBytes        = 20 // without the SSRCs
	rembWord         = 'R'<<24 | 'E'<<16 | 'M'<<8 | 'B'
	rembMantissaBits = 18
	rtcpPadding      = 0x20
)

// part is one packet of a compound RTCP packet (RFC 3550 section 6.1), as it came: as long as it says, of version 2.
// What clients send all the time, several times a second each, is read where it lies: pion's rtcp.Unmarshal makes
// objects and slices of all that a packet has, six for a report with an estimate. The rest is rare, and left to it.
type part []byte

// firstPart is the first packet of a compound one, and what follows it. Not ok: it is none; what follows it may be.
func firstPart(compound []byte) (first part, rest []byte, ok bool) {
	if len(compound) < rtcpPartBytes {
		return nil, nil, false
	}
	size := rtcpPartBytes + 4*int(binary.BigEndian.Uint16(compound[2:]))
	if size > len(compound) {
		return nil, nil, false
	}

	return compound[:size:size], compound[size:], compound[0]>>6 == 2
}

func (p part) kind() rtcp.PacketType { return rtcp.PacketType(p[1]) }

// count is how many blocks the packet has, or which format of feedback it is.
func (p part) count() uint8 { return p[0] & 0x1f }

// reportBlocks are those of a sender's or receiver's report, one after the other (RFC 3550 section 6.4). What
// extensions there are follows them.
func (p part) reportBlocks() (blocks []byte, ok bool) {
	start := rtcpHeaderBytes
	if p.kind() == rtcp.TypeSenderReport {
		start += senderInfoBytes
	}
	end := start + reportBlockBytes*int(p.count())
	if len(p) < end {
		return nil, false
	}

	return p[start:end], true
}

// senderTimes are the one time of a sender report in its sender's two clocks. It is for parts that have reportBlocks.
func (p part) senderTimes() (ssrc uint32, ntpTime uint64, rtpTime uint32) {
	return binary.BigEndian.Uint32(p[4:]), binary.BigEndian.Uint64(p[8:]), binary.BigEndian.Uint32(p[16:])
}

// estimate is the bitrate of a REMB packet, in bit/s (draft-alvestrand-rmcat-remb-03 section 2.2).
func (p part) estimate() (bitsPerSecond float64, ok bool) {
	switch {
	case len(p) < rembBytes, p[0]&rtcpPadding != 0:
		return 0, false
	case binary.BigEndian.Uint32(p[8:]) != 0, binary.BigEndian.Uint32(p[12:]) != rembWord:
		return 0, false
	case len(p) != rembBytes+4*int(p[16]):
		return 0, false
	}
	exponent := p[17] >> 2
	mantissa := binary.BigEndian.Uint32(p[16:]) & (1<<rembMantissaBits - 1)

	return float64(mantissa) * float64(uint64(1)<<exponent), true
}

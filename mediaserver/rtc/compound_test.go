package rtc

import (
	"testing"
	"time"

	"github.com/pion/rtcp"

	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// FuzzCompound: what is read of a compound packet is what pion reads of it.
func FuzzCompound(f *testing.F) {
	block := rtcp.ReceptionReport{SSRC: 3, FractionLost: 7, TotalLost: 9, LastSequenceNumber: 1 << 17, Jitter: 5,
		LastSenderReport: 11, Delay: 13}
	estimate := &rtcp.ReceiverEstimatedMaximumBitrate{SenderSSRC: 1, Bitrate: 50_000_000, SSRCs: []uint32{3, 4}}
	for _, packets := range [][]rtcp.Packet{
		{&rtcp.ReceiverReport{SSRC: 1}},
		{&rtcp.ReceiverReport{SSRC: 1, Reports: []rtcp.ReceptionReport{block, {SSRC: 4}}}, estimate},
		{&rtcp.SenderReport{SSRC: 1, NTPTime: 1<<63 | 5, RTPTime: 17, Reports: []rtcp.ReceptionReport{block},
			ProfileExtensions: []byte{1, 2, 3, 4}}, rtcp.NewCNAMESourceDescription(1, "name")},
		{estimate, &rtcp.PictureLossIndication{SenderSSRC: 1, MediaSSRC: 3}, estimate},
		{&rtcp.ReceiverEstimatedMaximumBitrate{Bitrate: 1 << 70}},
	} {
		plain, err := rtcp.Marshal(packets)
		must(f, err)
		f.Add(plain)
		f.Add(plain[:len(plain)-1])
		f.Add(plain[:len(plain)-4])
	}
	f.Fuzz(func(t *testing.T, compound []byte) {
		for len(compound) > 0 {
			first, rest, ok := firstPart(compound)
			packets, err := rtcp.Unmarshal(compound[:len(compound)-len(rest)])
			switch {
			case !ok && err == nil:
				t.Fatalf("%x is no packet, but pion reads it", compound)
			case ok:
				compare(t, first, packets, err)
			}
			compound = rest
		}
	})
}

// compare compares what is read of one packet with what pion has made of it.
func compare(t *testing.T, packet part, packets []rtcp.Packet, err error) {
	t.Helper()
	switch {
	case packet.kind() == rtcp.TypeReceiverReport:
		blocks, ok := packet.reportBlocks()
		if ok != (err == nil) {
			t.Fatalf("%x: read %v, by pion %v", packet, ok, err)
		}
		if ok {
			compareBlocks(t, blocks, packets[0].(*rtcp.ReceiverReport).Reports)
		}
	case packet.kind() == rtcp.TypeSenderReport:
		blocks, ok := packet.reportBlocks()
		if ok != (err == nil) {
			t.Fatalf("%x: read %v, by pion %v", packet, ok, err)
		}
		if !ok {
			return
		}
		report := packets[0].(*rtcp.SenderReport)
		compareBlocks(t, blocks, report.Reports)
		ssrc, ntpTime, rtpTime := packet.senderTimes()
		if ssrc != report.SSRC || ntpTime != report.NTPTime || rtpTime != report.RTPTime {
			t.Errorf("%x: %d, %d, %d, by pion %+v", packet, ssrc, ntpTime, rtpTime, report)
		}
	case packet.kind() == rtcp.TypePayloadSpecificFeedback && packet.count() == rtcp.FormatREMB:
		estimate, ok := packet.estimate()
		if ok != (err == nil) {
			t.Fatalf("%x: read %v, by pion %v", packet, ok, err)
		}
		if !ok || estimate == 0 { // Of which pion makes a power of two.
			return
		}
		if want := float64(packets[0].(*rtcp.ReceiverEstimatedMaximumBitrate).Bitrate); estimate != want {
			t.Errorf("%x: %g bit/s, by pion %g", packet, estimate, want)
		}
	}
}

func compareBlocks(t *testing.T, blocks []byte, want []rtcp.ReceptionReport) {
	t.Helper()
	if len(blocks) != reportBlockBytes*len(want) {
		t.Fatalf("%d bytes of blocks, by pion %d blocks", len(blocks), len(want))
	}
	for _, report := range want {
		var got rtcp.ReceptionReport
		must(t, got.Unmarshal(blocks))
		if got != report {
			t.Errorf("block %+v, by pion %+v", got, report)
		}
		blocks = blocks[reportBlockBytes:]
	}
}

// A client that reports costs no memory, however often it does: neither opening a report nor reading it.
func TestReportsTakeNoMemory(t *testing.T) {
	const runs = 100
	c := connect(t, newEngine(t), true)
	h := &counted{}
	c.peer.config.Reports = h
	d, _ := bind(t, c, "SENDER")
	context := ofClient(t, c.peer)
	var sealed [][]byte
	for n := range uint32(runs) {
		plain, err := rtcp.Marshal([]rtcp.Packet{
			&rtcp.ReceiverReport{SSRC: 1, Reports: []rtcp.ReceptionReport{{SSRC: d.SSRC(), LastSequenceNumber: 100 + 10*n}}},
			&rtcp.ReceiverEstimatedMaximumBitrate{SenderSSRC: 1, Bitrate: 50_000_000, SSRCs: []uint32{d.SSRC()}},
		})
		must(t, err)
		datagram, err := context.EncryptRTCP(nil, plain, nil)
		must(t, err)
		sealed = append(sealed, datagram)
	}
	batch, now, next := udp.NewBatch(0, func([]byte, *udp.Destination) {}), time.Now(), 0
	allocs := allocations(runs, func() {
		c.peer.receiveRTCP(batch, sealed[next], now)
		next++
	})
	if h.estimates != runs || h.expected != 10*(runs-1) {
		t.Errorf("heard of %d estimates and %d packets, want %d and %d", h.estimates, h.expected, runs, 10*(runs-1))
	}
	if allocs != 0 {
		t.Errorf("a report takes %v allocations, want none", allocs)
	}
}

// counted counts what is reported.
type counted struct{ estimates, expected int }

func (c *counted) ReceiveREMB(float64)                      { c.estimates++ }
func (c *counted) ReceiveMeasured(time.Duration, time.Time) {}
func (c *counted) ReceiveLoss(_, expected int, _ time.Time) { c.expected += expected }
func (*counted) ReceiveRoundTrip(time.Duration, time.Time)  {}
func (*counted) Moved(time.Time)                            {}

package rtc

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/pion/rtcp"

	"github.com/nagi-rtc/nagi/mediaserver/codecs"
	"github.com/nagi-rtc/nagi/mediaserver/fanout"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/numbers"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// boundProjection is told what a client says.
type boundProjection struct{ *fanout.Projection }

func (boundProjection) Bound() {}

// FuzzFeedback: whatever a client says of what it sends and is sent, encrypted well, it is sent no more than what left
// before, each packet the 10 times that are allowed.
func FuzzFeedback(f *testing.F) {
	const left = 20
	engine := newEngine(f)
	c := connect(f, engine, true)
	d, _ := bind(f, c, "SENDER")
	track := fanout.NewTrack(fanout.Config{Kind: media.Video, Inspect: codecs.VP8.Inspect,
		RequestKeyframe: func(media.Layers) {}})
	f.Cleanup(track.Close)
	projection := track.Project(d, 0)
	d.Attach(boundProjection{projection})
	sent := 0
	batch := udp.NewBatch(0, func([]byte, *udp.Destination) { sent++ })
	for n := range uint64(left) {
		track.ReceiveRTP(batch, []media.Received{{SequenceNumber: numbers.Apart + n, SSRC: 1, Marker: true,
			Payload: []byte{0x10, byte(n)}}})
	}
	batch.Flush()
	last, _ := projection.LastSequenceNumber()
	if sent != left {
		f.Fatalf("%d packets have left, want %d", sent, left)
	}
	// The streams' numbers are not known beforehand: these stand for them.
	const downlink, uplink = 0xd0d0d0d0, 0xe0e0e0e0
	actual := map[uint32]uint32{downlink: d.SSRC(), uplink: ssrcOf(c.client.senders[1])}
	var nack []byte
	for _, packet := range []rtcp.Packet{
		&rtcp.TransportLayerNack{SenderSSRC: 1, MediaSSRC: downlink,
			Nacks: []rtcp.NackPair{{PacketID: last - 16, LostPackets: 0xffff}}},
		&rtcp.PictureLossIndication{SenderSSRC: 1, MediaSSRC: downlink},
		&rtcp.FullIntraRequest{SenderSSRC: 1, MediaSSRC: downlink,
			FIR: []rtcp.FIREntry{{SSRC: downlink, SequenceNumber: 1}, {SSRC: uplink}}},
		&rtcp.SenderReport{SSRC: uplink, NTPTime: 1 << 40,
			Reports: []rtcp.ReceptionReport{{SSRC: downlink, TotalLost: 1 << 20}}},
		&rtcp.ReceiverReport{SSRC: 1, Reports: []rtcp.ReceptionReport{{SSRC: downlink, FractionLost: 255}}},
		&rtcp.ReceiverEstimatedMaximumBitrate{SenderSSRC: 1, Bitrate: 1, SSRCs: []uint32{downlink, uplink}},
		&rtcp.TransportLayerCC{MediaSSRC: downlink, PacketStatusCount: 1, PacketChunks: []rtcp.PacketStatusChunk{
			&rtcp.RunLengthChunk{PacketStatusSymbol: 1, RunLength: 1}}, RecvDeltas: []*rtcp.RecvDelta{{Type: 1}}},
		&rtcp.Goodbye{Sources: []uint32{uplink}},
	} {
		plain, err := packet.Marshal()
		must(f, err)
		f.Add(plain)
		if nack == nil {
			nack = plain
		}
	}
	context := ofClient(f, c.peer)
	answer := func(compound []byte) (packets int) {
		compound = bytes.Clone(compound)
		if len(compound) >= 8 && binary.BigEndian.Uint32(compound[4:]) != uplink {
			binary.BigEndian.PutUint32(compound[4:], 1) // There may not be any number of reporters.
		}
		for i := 4; i+4 <= len(compound); i += 4 {
			if ssrc, is := actual[binary.BigEndian.Uint32(compound[i:])]; is {
				binary.BigEndian.PutUint32(compound[i:], ssrc)
			}
		}
		datagram, err := context.EncryptRTCP(nil, compound, nil)
		if err != nil || len(datagram) > udp.MaxDatagram {
			return 0
		}
		before := sent
		arrive(c.peer, batch, datagram)
		batch.Flush()

		return sent - before
	}
	if n := answer(nack); n != 17 {
		f.Fatalf("%d packets are sent again, want the 17 that are asked for", n)
	}
	f.Fuzz(func(t *testing.T, compound []byte) {
		if n := answer(compound); n > 10*left {
			t.Errorf("%d packets are sent in answer to one", n)
		}
	})
}

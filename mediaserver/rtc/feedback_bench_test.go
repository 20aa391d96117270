package rtc

import (
	"testing"
	"time"

	"github.com/pion/rtcp"

	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// BenchmarkFeedback tells what it costs to take what a receiver of one stream reports each 100 ms.
func BenchmarkFeedback(b *testing.B) {
	const made = 10_000
	c := connect(b, newEngine(b), true)
	d, _ := bind(b, c, "SENDER")
	context := ofClient(b, c.peer)
	var sealed [][]byte
	number := uint32(1)
	more := func() {
		sealed = sealed[:0]
		for range made {
			number += 100
			plain, err := rtcp.Marshal([]rtcp.Packet{
				&rtcp.ReceiverReport{SSRC: 1, Reports: []rtcp.ReceptionReport{{SSRC: d.SSRC(), LastSequenceNumber: number}}},
				&rtcp.ReceiverEstimatedMaximumBitrate{SenderSSRC: 1, Bitrate: 50_000_000, SSRCs: []uint32{d.SSRC()}},
			})
			must(b, err)
			datagram, err := context.EncryptRTCP(nil, plain, nil)
			must(b, err)
			sealed = append(sealed, datagram)
		}
	}
	more()
	batch, now, next := udp.NewBatch(0, func([]byte, *udp.Destination) {}), time.Now(), 0
	b.ReportAllocs()
	for b.Loop() {
		if next == len(sealed) {
			b.StopTimer()
			more()
			next = 0
			b.StartTimer()
		}
		c.peer.receiveRTCP(batch, sealed[next], now)
		next++
	}
	if malformed := c.peer.engine.Stats().MalformedRTCP; malformed != 0 {
		b.Errorf("%d reports could not be read", malformed)
	}
}

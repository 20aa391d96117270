package rtc

import (
	"time"

	"github.com/pion/stun/v4"

	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// demuxer takes in what one worker's reader receives. It is that goroutine's own, so its memory is used again and
// again.
type demuxer struct {
	engine *Engine
	stun   stun.Message
	// packets and owners are those of the RTP in hand; their slices' memory is used again too.
	packets [udp.MaxBurst]media.Received
	owners  [udp.MaxBurst]*uplink
}

// receive tells the datagrams of a burst apart, those that came one after the other on one path together.
func (d *demuxer) receive(batch *udp.Batch, burst []udp.Datagram) {
	now := time.Now()
	for len(burst) > 0 {
		n := 1
		for n < len(burst) && burst[n].Path() == burst[0].Path() {
			n++
		}
		d.receiveFrom(batch, burst[:n], now)
		burst = burst[n:]
	}
}

// receiveFrom takes in datagrams on one path. Their first byte tells what they are (RFC 7983 section 7). A stranger's
// cost a look-up and a count: only STUN may come on a path that no peer is known at.
func (d *demuxer) receiveFrom(batch *udp.Batch, burst []udp.Datagram, now time.Time) {
	path := burst[0].Path()
	peer := d.engine.paths.at(path)
	for i := 0; i < len(burst); i++ {
		datagram := burst[i].Payload
		switch {
		case isSTUN(datagram):
			d.receiveSTUN(batch, burst[i], now)
			peer = d.engine.paths.at(path)
		case peer == nil:
			d.engine.counters.strangeDatagrams.Add(1)
		case isRTCP(datagram):
			peer.receiveRTCP(batch, datagram, now)
		case isRTP(datagram):
			end := i + 1
			for end < len(burst) && isRTP(burst[end].Payload) && !isRTCP(burst[end].Payload) {
				end++
			}
			d.receiveRTP(batch, peer, burst[i:end], now)
			i = end - 1
		case isDTLS(datagram):
			peer.wire.receive(datagram)
		default:
			d.engine.counters.strangeDatagrams.Add(1)
		}
	}
}

// receiveRTP opens packets that came one after the other, and hands each uplink's to its receiver, with no lock held.
func (d *demuxer) receiveRTP(batch *udp.Batch, peer *Peer, burst []udp.Datagram, now time.Time) {
	n := peer.open(burst, d.packets[:], d.owners[:], now)
	for first := 0; first < n; {
		next := first + 1
		for next < n && d.owners[next] == d.owners[first] {
			next++
		}
		d.owners[first].config.Receiver.ReceiveRTP(batch, d.packets[first:next])
		first = next
	}
}

func isSTUN(datagram []byte) bool { return len(datagram) > 0 && datagram[0] < 4 }

func isDTLS(datagram []byte) bool { return len(datagram) > 0 && datagram[0] >= 20 && datagram[0] <= 63 }

func isRTP(datagram []byte) bool {
	return len(datagram) >= rtpHeaderBytes && datagram[0] >= 128 && datagram[0] <= 191
}

// isRTCP goes by the packet type (RFC 5761 section 4).
func isRTCP(datagram []byte) bool {
	return len(datagram) >= rtcpHeaderBytes && datagram[0] >= 128 && datagram[0] <= 191 && datagram[1] >= 192 &&
		datagram[1] <= 223
}

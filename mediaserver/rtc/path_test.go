package rtc

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
	"github.com/pion/webrtc/v4"

	"github.com/nagi-rtc/nagi/mediaserver/codecs"
	"github.com/nagi-rtc/nagi/mediaserver/fanout"
	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// path is everything below the receive call: a sender's frames as they arrive, and what they become for its receivers.
type path struct {
	sender   *Peer
	frames   [][][]byte // sealed by the sender
	burst    []udp.Datagram
	memory   [][]byte
	client   *srtp.Context
	packets  uint16 // sealed so far
	demuxer  *demuxer
	batch    *udp.Batch
	received int
}

// videoSSRC is that of a client's only video.
func (p *Peer) videoSSRC() uint32 { return p.videoSSRCs()[0] }

// newPath connects a sender and receivers, all with DTLS and their own keys, and seals frames of so many packets.
func newPath(t testing.TB, receivers, frames, packets int) *path {
	t.Helper()
	engine := newEngine(t)
	track := fanout.NewTrack(fanout.Config{Kind: videoKind, Inspect: codecs.VP8.Inspect,
		RequestKeyframe: func(media.Layers) {}})
	t.Cleanup(track.Close)
	client := newClientWith(t, nil, func(media *webrtc.MediaEngine) { numbering(t, media) }, false, true)
	connected := make(chan struct{})
	sender, err := engine.NewPeer(PeerConfig{Video: &Uplink{Format: vp8, MaxBitRate: 1, Receiver: track},
		OnConnected: func() { close(connected) }})
	if err != nil {
		t.Fatal(err)
	}
	negotiate(t, sender, client)
	within(t, "connection", connected)

	p := &path{sender: sender, demuxer: &demuxer{engine: engine}}
	p.batch = udp.NewBatch(0, func([]byte, *udp.Destination) { p.received++ })
	for i := range receivers {
		receiver := newClientWith(t, nil, func(media *webrtc.MediaEngine) { timing(t, media) }, false, false)
		peer, err := engine.NewPeer(PeerConfig{})
		if err != nil {
			t.Fatal(err)
		}
		d, err := peer.AddDownlink("SENDER", vp8)
		if err != nil {
			t.Fatal(err)
		}
		projection := track.Project(d, forwarding.Unnegotiated)
		f := newFed()
		d.Attach(f)
		negotiate(t, peer, receiver)
		within(t, fmt.Sprint("Bound of receiver ", i), f.bound)
		fanout.Apply([]fanout.Change{{Projection: projection, Release: forwarding.Unnegotiated}})
	}
	p.client = ofClient(t, sender)
	for range packets {
		p.memory = append(p.memory, make([]byte, udp.MaxDatagram))
	}
	p.burst = make([]udp.Datagram, packets)
	p.seal(t, frames, packets)

	return p
}

// seal makes the next frames of the sender, instead of those that have arrived.
func (p *path) seal(t testing.TB, frames, packets int) {
	t.Helper()
	ssrc := p.sender.videoSSRC()
	p.frames = p.frames[:0]
	for range frames {
		var datagrams [][]byte
		for i := range packets {
			payload := make([]byte, 1100-i%2) // sizes one apart, as libwebrtc's packetizer makes them
			if i == 0 {
				payload[0] = 0x10 // the first packet of a VP8 keyframe
			}
			p.packets++
			packet := &rtp.Packet{Payload: payload, Header: rtp.Header{
				SequenceNumber: p.packets, Timestamp: uint32(p.packets-uint16(i)) * 1000, SSRC: ssrc, PayloadType: 96,
				Marker: i == packets-1,
			}}
			must(t, packet.SetExtension(transportWideNumber.id, binary.BigEndian.AppendUint16(nil, p.packets)))
			datagrams = append(datagrams, sealed(t, p.client, packet))
		}
		p.frames = append(p.frames, datagrams)
	}
}

// arrive takes in one frame as a burst and flushes what it has become.
func (p *path) arrive(frame int) {
	source := p.sender.selected.Load().AddrPort()
	for i, datagram := range p.frames[frame] {
		// Packets are opened in place, so each frame can arrive only once in one memory.
		p.burst[i] = udp.Datagram{Payload: p.memory[i][:copy(p.memory[i], datagram)], Source: source}
	}
	p.demuxer.receive(p.batch, p.burst)
	p.batch.Flush()
}

// TestWholePathDoesNotAllocate covers everything below the receive call: telling datagrams apart, opening, deciding,
// rewriting, padding, sealing, batching.
func TestWholePathDoesNotAllocate(t *testing.T) {
	const receivers, packets, runs = 5, 20, 250
	p := newPath(t, receivers, 98+runs, packets)
	frame := 0
	for range 98 { // Until the store's memory is there.
		p.arrive(frame)
		frame++
	}
	p.received = 0
	warm := frame
	if allocs := allocations(runs, func() {
		p.arrive(frame)
		frame++
	}); allocs != 0 {
		t.Errorf("%v allocations for a frame of %d packets to %d receivers", allocs, packets, receivers)
	}
	if want := receivers * packets * (frame - warm); p.received != want {
		t.Errorf("%d packets left, want %d", p.received, want)
	}
}

// allocations is how many a function makes that is run so often, an even number: in the middle of all runs, since what
// a connected client allocates meanwhile is counted too.
func allocations(runs int, function func()) float64 {
	counts := make([]float64, runs/2)
	for i := range counts {
		counts[i] = testing.AllocsPerRun(1, function) // It runs it once before.
	}
	slices.Sort(counts)

	return counts[len(counts)/2]
}

// BenchmarkWholePath tells what a forwarded packet costs without the kernel.
func BenchmarkWholePath(b *testing.B) {
	for _, c := range []struct{ receivers, packets int }{{1, 4}, {10, 4}, {10, 20}, {10, 60}} {
		b.Run(fmt.Sprintf("receivers=%d/packets=%d", c.receivers, c.packets), func(b *testing.B) {
			p := newPath(b, c.receivers, 2000, c.packets)
			b.ReportAllocs()
			frame := 0
			for b.Loop() {
				if frame == len(p.frames) {
					b.StopTimer()
					p.seal(b, 2000, c.packets)
					frame = 0
					b.StartTimer()
				}
				p.arrive(frame)
				frame++
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(p.received), "ns/packet")
		})
	}
}

package rtc

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
	"go.uber.org/goleak"

	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/numbers"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 15 * time.Second

func newEngine(t testing.TB) *Engine {
	t.Helper()
	socket, err := udp.Listen("127.0.0.1:0", 2)
	if err != nil {
		t.Fatal(err)
	}
	engine, err := New(Config{Socket: socket})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Errorf("close the engine: %v", err)
		}
	})

	return engine
}

// client is the other end: Pion with its own settings, no interceptors, so that the tests see and send every packet.
type client struct {
	pc           *webrtc.PeerConnection
	audio, video *webrtc.TrackLocalStaticRTP
	senders      []*webrtc.RTPSender
	early        []*webrtc.TrackLocalStaticRTP // added with the first offer
	streams      chan stream
	connected    chan struct{}
}

type stream struct {
	track    *webrtc.TrackRemote
	receiver *webrtc.RTPReceiver
}

func newClient(t testing.TB, audio, video bool) *client {
	t.Helper()

	return newClientOn(t, nil, audio, video)
}

// newClientOn makes a client on a socket of the test's, or on its own ones.
func newClientOn(t testing.TB, mux ice.UDPMux, audio, video bool) *client {
	t.Helper()

	return newClientWith(t, func(settings *webrtc.SettingEngine) {
		if mux != nil {
			settings.SetICEUDPMux(mux)
		}
	}, nil, audio, video)
}

// newClientWith makes a client with settings of the test's, and media; nil: as they are.
func newClientWith(
	t testing.TB, set func(*webrtc.SettingEngine), know func(*webrtc.MediaEngine), audio, video bool,
) *client {
	t.Helper()
	media := &webrtc.MediaEngine{}
	if err := media.RegisterDefaultCodecs(); err != nil {
		t.Fatal(err)
	}
	if know != nil {
		know(media)
	}
	settings := webrtc.SettingEngine{LoggerFactory: loggers{quiet()}}
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	settings.DisableCloseByDTLS(true) // See bot.ClosePeer.
	if set != nil {
		set(&settings)
	}
	api := webrtc.NewAPI(webrtc.WithMediaEngine(media), webrtc.WithSettingEngine(settings),
		webrtc.WithInterceptorRegistry(&interceptor.Registry{}))
	pc, err := api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = bot.ClosePeer(pc) })

	c := &client{pc: pc, streams: make(chan stream, 200), connected: make(chan struct{})}
	if audio {
		c.audio = c.localTrack(t, webrtc.MimeTypeOpus, "audio")
	}
	if video {
		c.video = c.localTrack(t, webrtc.MimeTypeVP8, "video")
	}
	pc.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		if state == webrtc.PeerConnectionStateConnected {
			close(c.connected)
		}
	})
	pc.OnTrack(func(track *webrtc.TrackRemote, receiver *webrtc.RTPReceiver) { c.streams <- stream{track, receiver} })

	return c
}

func (c *client) localTrack(t testing.TB, mime, id string) *webrtc.TrackLocalStaticRTP {
	t.Helper()
	track, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: mime}, id, "local")
	if err != nil {
		t.Fatal(err)
	}
	c.early = append(c.early, track)

	return track
}

// answer applies an offer as the browser SDKs do: tracks are added after the remote description is set.
func (c *client) answer(t testing.TB, offer string) string {
	t.Helper()
	c.prepare(t, offer)

	return c.finish(t)
}

// prepare is the first half of answer; the client has its senders after it.
func (c *client) prepare(t testing.TB, offer string) {
	t.Helper()
	if err := c.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
		t.Fatalf("client: apply the offer: %v\n%s", err, offer)
	}
	for _, track := range c.early {
		sender, err := c.pc.AddTrack(track)
		if err != nil {
			t.Fatal(err)
		}
		c.senders = append(c.senders, sender)
	}
	c.early = nil
}

func (c *client) finish(t testing.TB) string {
	t.Helper()
	answer, err := c.pc.CreateAnswer(nil)
	if err != nil {
		t.Fatal(err)
	}
	gathered := webrtc.GatheringCompletePromise(c.pc)
	if err := c.pc.SetLocalDescription(answer); err != nil {
		t.Fatal(err)
	}
	<-gathered

	return c.pc.LocalDescription().SDP
}

// negotiate does one offer and answer, and returns the offer.
func negotiate(t testing.TB, peer *Peer, c *client) string {
	t.Helper()
	offer, err := peer.Offer()
	if err != nil {
		t.Fatal(err)
	}
	if err := peer.Answer(c.answer(t, offer)); err != nil {
		t.Fatal(err)
	}

	return offer
}

// recorder is an uplink's receiver.
type recorder struct {
	mu      sync.Mutex
	packets []media.Received
	reports chan clockPair
}

// clockPair is what a sender report says of a layer.
type clockPair struct {
	layer   media.Layer
	ntpTime uint64
	rtpTime uint32
}

func newRecorder() *recorder { return &recorder{reports: make(chan clockPair, 100)} }

func (r *recorder) ReceiveRTP(_ *udp.Batch, burst []media.Received) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range burst {
		p := burst[i]
		p.Payload = slices.Clone(p.Payload)
		r.packets = append(r.packets, p)
	}
}

func (r *recorder) ReceiveSenderReport(_ *udp.Batch, layer media.Layer, ntpTime uint64, rtpTime uint32) {
	r.reports <- clockPair{layer, ntpTime, rtpTime}
}

func (r *recorder) received() []media.Received {
	r.mu.Lock()
	defer r.mu.Unlock()

	return slices.Clone(r.packets)
}

// fed records a downlink's feedback.
type fed struct {
	bound chan struct{}
	nacks chan []uint16
	plis  chan struct{}
}

func newFed() *fed {
	return &fed{make(chan struct{}), make(chan []uint16, 100), make(chan struct{}, 100)}
}

func (f *fed) Bound()                               { close(f.bound) }
func (f *fed) ReceiveNACK(_ *udp.Batch, n []uint16) { f.nacks <- n }
func (f *fed) ReceivePLI()                          { f.plis <- struct{}{} }

// newBatch is one that the test flushes.
func newBatch(d *Downlink) *udp.Batch {
	return udp.NewBatch(0, func(datagram []byte, destination *udp.Destination) {
		_ = d.peer.engine.socket.Send(datagram, destination)
	})
}

// numbered makes a packet of a client.
func numbered(sequenceNumber uint16) *rtp.Packet {
	return &rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: sequenceNumber}, Payload: []byte{1}}
}

// arrived is a packet as it is handed on.
func arrived(p *rtp.Packet) media.Received {
	return media.Received{
		SequenceNumber: numbers.Apart + uint64(p.SequenceNumber), Timestamp: p.Timestamp, SSRC: p.SSRC, Marker: p.Marker,
		Payload: p.Payload,
	}
}

// write sends one packet.
func write(d *Downlink, sequenceNumber uint16, timestamp uint32, marker bool, payload []byte) error {
	batch := newBatch(d)
	defer batch.Flush()

	return d.WriteRTP(batch, &media.Outgoing{SequenceNumber: sequenceNumber, Timestamp: timestamp, Marker: marker,
		Payload: payload})
}

func within[T any](t testing.TB, what string, from <-chan T) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(patience):
		t.Fatalf("no %s within %v", what, patience)
	}
	panic("unreachable")
}

// until repeats an action, for what may be lost on the way, until a condition holds.
func until(t testing.TB, what string, holds func() bool, again func()) {
	t.Helper()
	deadline := time.After(patience)
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !holds() {
		again()
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// readStream gets the next stream the client is sent, while the downlink sends numbered packets.
func readStream(t testing.TB, c *client, d *Downlink, first uint16) (stream, []*rtp.Packet) {
	t.Helper()
	const count = 20
	for i := range uint16(count) {
		if err := write(d, first+i, 3000*uint32(i), true, []byte(fmt.Sprintf("\x10payload %d", i))); err != nil {
			t.Fatal(err)
		}
	}
	s := within(t, "stream at the client", c.streams)
	packets := make([]*rtp.Packet, 0, count)
	_ = s.track.SetReadDeadline(time.Now().Add(patience))
	for range count {
		packet, _, err := s.track.ReadRTP()
		if err != nil {
			t.Fatalf("client reads packet %d: %v", len(packets), err)
		}
		packets = append(packets, packet)
	}

	return s, packets
}

// rtcpOf gives the client's incoming RTCP about a stream it sends.
func rtcpOf(c *client, sender *webrtc.RTPSender) <-chan rtcp.Packet {
	packets := make(chan rtcp.Packet, 1000)
	go func() {
		defer close(packets)
		for {
			batch, _, err := sender.ReadRTCP()
			if err != nil {
				return
			}
			for _, packet := range batch {
				packets <- packet
			}
		}
	}()

	return packets
}

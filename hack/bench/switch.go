//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/webrtc/v4"
	"github.com/spf13/pflag"

	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
	"github.com/nagi-rtc/nagi/mediaserver/codecs"
	"github.com/nagi-rtc/nagi/mediaserver/fanout"
	core "github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/rtc"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// switchResult is one run of `bench switch`. Times are in ms.
type switchResult struct {
	Switches int `json:"switches"`
	FPS      int `json:"fps"`
	// First is from the choice of a layer to its first packet at the receiver; Gap is the longest time without a packet
	// around a switch.
	FirstP50 float64 `json:"first_packet_p50_ms"`
	FirstP99 float64 `json:"first_packet_p99_ms"`
	FirstMax float64 `json:"first_packet_max_ms"`
	GapP50   float64 `json:"gap_p50_ms"`
	GapMax   float64 `json:"gap_max_ms"`
	// KeyframeRequests is what the sender was asked for, of all layers together.
	KeyframeRequests uint64 `json:"keyframe_requests"`
}

// switchLayers measures how fast a receiver of a simulcast sender changes over to another layer: real transports on
// loopback in this process, a sender that answers a request for a keyframe with its next frame, and switches far enough
// apart that nobody's budget of keyframes is touched.
func switchLayers(ctx context.Context, arguments []string) error {
	flags := pflag.NewFlagSet("bench switch", pflag.ContinueOnError)
	switches := flags.Int("switches", 60, "how many")
	apart := flags.Duration("apart", 2*time.Second, "time between two")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	s, err := newSwitchRig(ctx)
	if err != nil {
		cancel()

		return err
	}
	defer s.close()
	defer cancel() // The sender has to end before the rig can be closed.
	r := switchResult{Switches: *switches, FPS: s.sender.FPS}
	var firsts, gaps []time.Duration
	present := media.Layer(media.MaxLayers - 1)
	if _, err := s.switchTo(ctx, present); err != nil {
		return err
	}
	for range *switches {
		until := rand.N(time.Second / time.Duration(s.sender.FPS)) //nolint:gosec // No secret.
		if err := sleep(ctx, *apart+until); err != nil {
			return err
		}
		present = (present + 1 + media.Layer(rand.N(2))) % media.MaxLayers //nolint:gosec // No secret.
		first, err := s.switchTo(ctx, present)
		if err != nil {
			return err
		}
		firsts, gaps = append(firsts, first), append(gaps, s.seen.gap())
	}
	slices.Sort(firsts)
	slices.Sort(gaps)
	r.FirstP50, r.FirstP99, r.FirstMax = percentile(firsts, 50), percentile(firsts, 99), percentile(firsts, 100)
	r.GapP50, r.GapMax = percentile(gaps, 50), percentile(gaps, 100)
	r.KeyframeRequests = s.sender.keyframes.Load()

	return json.NewEncoder(os.Stdout).Encode(r)
}

// percentile is that of sorted times, in ms.
func percentile(sorted []time.Duration, percent int) float64 {
	at := min((len(sorted)*percent+99)/100, len(sorted)) - 1

	return *rounded(sorted[max(at, 0)].Seconds() * 1000)
}

// switchRig is one sender and one receiver of its layers.
type switchRig struct {
	engine     *rtc.Engine
	track      *fanout.Track
	peers      []*rtc.Peer
	projection *fanout.Projection
	sender     participant
	seen       *layerWatch
	closing    []func()
}

func newSwitchRig(ctx context.Context) (*switchRig, error) {
	socket, err := udp.Listen("127.0.0.1:0", 1)
	if err != nil {
		return nil, err
	}
	engine, err := rtc.New(rtc.Config{Socket: socket})
	if err != nil {
		return nil, err
	}
	s := &switchRig{engine: engine, seen: &layerWatch{waited: make(chan time.Time, 1)}}
	s.sender = participant{
		loadConfig: loadConfig{FPS: 30, Layers: [][]int{equal(1, 625), equal(2, 940), equal(5, 1000)}},
		lifetime:   ctx, keyframes: &atomic.Uint64{}, profiles: &profiles{},
	}
	for _, frame := range s.sender.Layers {
		source := newSource(loadConfig{Frame: frame, FPS: s.sender.FPS})
		source.quiet = true
		s.sender.layers = append(s.sender.layers, source)
	}
	if err := s.connect(ctx); err != nil {
		s.close()

		return nil, err
	}

	return s, nil
}

func (s *switchRig) connect(ctx context.Context) error {
	format := codecs.VP8.Format("")
	var from *rtc.Peer
	s.track = fanout.NewTrack(fanout.Config{
		Kind: media.Video, Inspect: codecs.VP8.Inspect, Workers: s.engine.Socket(),
		RequestKeyframe: func(layers media.Layers) { from.RequestKeyframe(layers) },
	})
	uplink := &rtc.Uplink{Format: format, Receiver: s.track}
	for i := range s.sender.Layers {
		uplink.Encodings = append(uplink.Encodings, rtc.Encoding{RID: rid(i)})
	}
	var err error
	from, err = s.join(ctx, rtc.PeerConfig{Video: uplink}, s.sender,
		func(connection *webrtc.PeerConnection, _ *rtc.Peer) error {
			return addSources(connection, s.sender)
		})
	if err != nil {
		return err
	}
	for _, source := range s.sender.layers {
		s.run(func() { _ = source.run(ctx, 0) })
	}
	receiver := participant{lifetime: ctx, profiles: s.sender.profiles}
	_, err = s.join(ctx, rtc.PeerConfig{}, receiver, func(connection *webrtc.PeerConnection, peer *rtc.Peer) error {
		connection.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { s.seen.watch(track) })
		downlink, err := peer.AddDownlink("SENDER", format)
		if err != nil {
			return err
		}
		s.projection = s.track.Project(downlink, core.Unnegotiated)
		downlink.Attach(bound{s.projection})

		return nil
	})

	return err
}

// bound lets a projection begin once it is negotiated.
type bound struct{ *fanout.Projection }

func (b bound) Bound() {
	fanout.Apply([]fanout.Change{{Projection: b.Projection, Release: core.Unnegotiated}})
}

// join connects a client with a peer of the engine's.
func (s *switchRig) join(
	ctx context.Context, config rtc.PeerConfig, p participant, prepare func(*webrtc.PeerConnection, *rtc.Peer) error,
) (*rtc.Peer, error) {
	connected := make(chan struct{})
	config.OnConnected = func() { close(connected) }
	peer, err := s.engine.NewPeer(config)
	if err != nil {
		return nil, err
	}
	s.peers = append(s.peers, peer)
	connection, err := newPeer(p)
	if err != nil {
		return nil, err
	}
	s.closing = append(s.closing, func() { _ = bot.ClosePeer(connection) })
	if err := prepare(connection, peer); err != nil {
		return nil, err
	}
	offer, err := peer.Offer()
	if err != nil {
		return nil, err
	}
	answer, err := answerOffer(ctx, connection, offer)
	if err == nil {
		answer, err = p.identify(answer)
	}
	if err == nil {
		err = peer.Answer(answer)
	}
	if err != nil {
		return nil, err
	}

	return peer, wait(ctx, "a connection", connected)
}

func (s *switchRig) run(task func()) {
	var running sync.WaitGroup
	running.Go(task)
	s.closing = append(s.closing, running.Wait)
}

func (s *switchRig) close() {
	for _, end := range slices.Backward(s.closing) {
		end()
	}
	for _, peer := range s.peers {
		_ = peer.Close()
	}
	if s.track != nil {
		s.track.Close()
	}
	_ = s.engine.Close()
}

// switchTo chooses a layer and returns how long its first packet took.
func (s *switchRig) switchTo(ctx context.Context, layer media.Layer) (time.Duration, error) {
	s.seen.await(s.sender.Layers[layer][0])
	began := time.Now()
	s.projection.Choose(layer)
	select {
	case at := <-s.seen.waited:
		return at.Sub(began), nil
	case <-time.After(10 * time.Second):
		return 0, fmt.Errorf("no packet of layer %d within 10 s", layer)
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// layerWatch tells layers apart by the sizes of their packets.
type layerWatch struct {
	waited chan time.Time

	mu      sync.Mutex
	size    int // Of the packets that are waited for; 0: none are.
	last    time.Time
	longest time.Duration // Between two packets, since await.
}

func (w *layerWatch) await(size int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.size, w.longest = size, 0
}

func (w *layerWatch) gap() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()

	return w.longest
}

func (w *layerWatch) watch(track *webrtc.TrackRemote) {
	buffer := make([]byte, 1500)
	for {
		n, _, err := track.Read(buffer)
		if err != nil {
			return
		}
		w.take(len(payloadOf(buffer[:n])), time.Now())
	}
}

func (w *layerWatch) take(size int, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.last.IsZero() {
		w.longest = max(w.longest, now.Sub(w.last))
	}
	w.last = now
	if w.size != 0 && size == w.size {
		w.size = 0
		w.waited <- now
	}
}

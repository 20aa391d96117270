//go:build network

package browser

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
	"github.com/nagi-rtc/nagi/mediaserver/codecs"
	"github.com/nagi-rtc/nagi/mediaserver/fanout"
	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/rtc"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

const (
	// switchesWatched are the changes of layer in a run, and switchesApart is the time between two.
	switchesWatched = 25
	switchesApart   = 2 * time.Second
)

// switchesResult is one JSON line.
type switchesResult struct {
	Case     string `json:"case"`
	Run      int    `json:"run"`
	Switches int    `json:"switches"`
	// P50 and P99 are from the choice of a layer to its first frame, whole, in Chromium.
	P50  float64 `json:"firstFrameP50Ms,omitempty"`
	P99  float64 `json:"firstFrameP99Ms,omitempty"`
	All  quality `json:"all"`
	Load string  `json:"load"` // of the machine, before and after
}

// TestSwitches measures what Chromium sees of changes of layer, beside as much time without, and prints JSON lines:
// real transports on loopback in this process, which knows when a layer is chosen. RUNS is how often, 5 if it is not
// set.
func TestSwitches(t *testing.T) {
	for run := range runs() {
		for name, switches := range map[string]int{"switches": switchesWatched, "no-switches": 0} {
			t.Run(fmt.Sprintf("%s/%d", name, run), func(t *testing.T) { measureSwitches(t, name, run, switches) })
		}
	}
}

func measureSwitches(t *testing.T, name string, run, switches int) {
	rig := newSwitchRig(t)
	rig.viewer.settles(t, 960)
	r := switchesResult{Case: name, Run: run, Switches: switches, Load: load()}
	before := rig.viewer.quality(t)
	var took []time.Duration
	present := media.Layer(media.MaxLayers - 1)
	for range switchesWatched {
		time.Sleep(switchesApart + rand.N(40*time.Millisecond)) // At any time within a frame.
		if switches > 0 {
			present = (present + 1 + media.Layer(rand.N(2))) % media.MaxLayers
			took = append(took, rig.switchTo(t, present))
		}
	}
	r.All = rig.viewer.quality(t).since(before)
	if slices.Sort(took); len(took) > 0 {
		r.P50, r.P99 = took[len(took)/2].Seconds()*1000, took[len(took)*99/100].Seconds()*1000
	}
	r.Load += " " + load()
	printLine(t, r)
}

// switchRig is a sender of three layers, and Chromium, which receives one.
type switchRig struct {
	engine     *rtc.Engine
	track      *fanout.Track
	projection *fanout.Projection
	viewer     viewer
}

func newSwitchRig(t *testing.T) *switchRig {
	t.Helper()
	socket, err := udp.Listen("127.0.0.1:0", 1)
	if err != nil {
		t.Fatal(err)
	}
	s := &switchRig{}
	if s.engine, err = rtc.New(rtc.Config{Socket: socket}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.engine.Close() })
	var from *rtc.Peer
	s.track = fanout.NewTrack(fanout.Config{
		Kind: media.Video, Inspect: codecs.VP8.Inspect, Workers: socket,
		RequestKeyframe: func(layers media.Layers) { from.RequestKeyframe(layers) },
	})
	t.Cleanup(s.track.Close)
	publication, err := bot.NewPublication(t.Context(), pictures(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = publication.Close() })
	uplink := &rtc.Uplink{Format: codecs.VP8.Format(""), Receiver: s.track}
	for _, layer := range layers {
		uplink.Encodings = append(uplink.Encodings, rtc.Encoding{RID: layer.rid})
	}
	from = s.newPeer(t, rtc.PeerConfig{Video: uplink}, func(peer *rtc.Peer) (string, error) {
		offer, err := peer.Offer()
		if err != nil {
			return "", err
		}

		return publication.Answer(offer)
	})
	s.viewer = viewer{
		openReady(t, newBrowser(t), servePage(t, "switch.html", map[string]string{"quality.js": "quality.js"})),
	}
	s.newPeer(t, rtc.PeerConfig{}, func(peer *rtc.Peer) (answer string, err error) {
		downlink, err := peer.AddDownlink("SENDER", codecs.VP8.Format(""))
		if err != nil {
			return "", err
		}
		s.projection = s.track.Project(downlink, forwarding.Unnegotiated)
		downlink.Attach(negotiated{s.projection})
		offer, err := peer.Offer()
		if err != nil {
			return "", err
		}

		return answer, evaluate(t, s.viewer.tab, fmt.Sprintf("answer(%q)", offer), &answer)
	})

	return s
}

// negotiated lets a projection begin once it is.
type negotiated struct{ *fanout.Projection }

func (n negotiated) Bound() {
	fanout.Apply([]fanout.Change{{Projection: n.Projection, Release: forwarding.Unnegotiated}})
}

// newPeer connects a client, which answer has answer the peer's offer.
func (s *switchRig) newPeer(t *testing.T, config rtc.PeerConfig, answer func(*rtc.Peer) (string, error)) *rtc.Peer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	connected := context.CancelFunc(cancel)
	config.OnConnected = connected
	peer, err := s.engine.NewPeer(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = peer.Close() })
	sdp, err := answer(peer)
	if err == nil {
		err = peer.Answer(sdp)
	}
	if err != nil {
		t.Fatal(err)
	}
	if <-ctx.Done(); !errors.Is(ctx.Err(), context.Canceled) {
		t.Fatal("a client does not connect")
	}

	return peer
}

// switchTo chooses a layer and returns how long its first frame took.
func (s *switchRig) switchTo(t *testing.T, layer media.Layer) time.Duration {
	t.Helper()
	began := time.Now()
	s.projection.Choose(layer)
	first := fmt.Sprintf("first(%d, %d)", layers[layer].width, began.UnixMilli())
	for {
		var at *float64 // in ms since 1970
		if err := evaluate(t, s.viewer.tab, first, &at); err != nil {
			t.Fatal(err)
		}
		if at != nil {
			return time.Duration((*at - float64(began.UnixNano())/1e6) * float64(time.Millisecond))
		}
		if time.Since(began) > deadline {
			t.Fatalf("no frame of layer %d", layer)
		}
		time.Sleep(50 * time.Millisecond) // It tells itself when it came.
	}
}

package forwarding_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/media"
)

// What is promised of layers that come and go.
const (
	goneAfter  = 500 * time.Millisecond // of silence,
	goneFrames = 5                      // while another layer has that many frames
	steadily   = time.Second            // is how long one that was gone comes before it counts again,
	backWithin = 2 * time.Second        // so that by then it is used
)

// picture is a sender of some layers, on the test's clock, and a receiver of it.
type picture struct {
	*receiver
	presence forwarding.Presence
	layers   []source
	random   *rand.Rand
	lossy    bool
	muted    bool
	chosen   media.Layer

	now       time.Time
	heard     time.Time // when a frame, or a part of one, came of any layer
	forwarded time.Time // when anything was, last
	disturbed time.Time // when it changed what is sent or withheld, lost or chosen
}

// source is one layer at the sender, and the model of what came of it.
type source struct {
	sends bool
	every time.Duration // between two frames
	due   time.Time     // the next one
	next  uint64        // sequence number

	ever    bool // something came
	first   bool // the last that came was the first
	last    time.Time
	steady  time.Time            // since when there was no silence in it
	base    time.Time            // since when its absence counts: last, or the end of the first mute after that
	muted   bool                 // there was one
	missing [media.MaxLayers]int // frames of each other layer since base
}

// pass has time go by.
func (p *picture) pass(t *rapid.T, d time.Duration) {
	for end := p.now.Add(d); ; {
		next := -1
		for i := range p.layers {
			if l := &p.layers[i]; l.sends && !p.muted && (next < 0 || l.due.Before(p.layers[next].due)) {
				next = i
			}
		}
		if next < 0 || p.layers[next].due.After(end) {
			p.now = end

			return
		}
		p.now = p.layers[next].due
		p.frame(t, media.Layer(next))
		p.layers[next].due = p.now.Add(p.layers[next].every)
	}
}

// goOn has a layer send again, at some time within its rhythm.
func (p *picture) goOn(l *source) { l.due = p.now.Add(time.Duration(p.random.Int64N(int64(l.every)))) }

// frame sends a frame. A sender answers the wish for a keyframe with its next one.
func (p *picture) frame(t *rapid.T, layer media.Layer) {
	l := &p.layers[layer]
	key := p.projection.NeedsKeyframe() && p.projection.Wanted() == layer || p.random.IntN(20) == 0
	var packets []forwarding.Packet
	for n, i := 1+p.random.IntN(3), 0; i < n; i++ {
		l.next++
		if p.lossy && p.random.IntN(4) == 0 {
			continue
		}
		packets = append(packets, forwarding.Packet{
			SequenceNumber: l.next, Timestamp: p.time(), Layer: layer, Marker: i == n-1, KeyframeStart: key && i == 0,
		})
	}
	if p.random.IntN(4) == 0 {
		p.random.Shuffle(len(packets), func(i, j int) { packets[i], packets[j] = packets[j], packets[i] })
	}
	for _, packet := range packets {
		p.arrive(t, packet)
	}
}

// time is the timestamp of this instant; it wraps after a few seconds.
func (p *picture) time() uint32 { return uint32(p.now.UnixMilli()*90) - 1<<18 }

// arrive takes a packet in, and has the projection want the layer that is nearest to the
// chosen one.
func (p *picture) arrive(t *rapid.T, packet forwarding.Packet) {
	before := p.presence.There()
	if !packet.Empty {
		p.note(packet)
	}
	changed := p.presence.Receive(&packet, p.now)
	if there := p.presence.There(); changed != (there != before) {
		t.Fatalf("%03b, then %03b, changed: %v", before, there, changed)
	}
	p.judge(t, packet, before)
	if changed {
		p.aim()
	}
	if packet.Layer == p.present && p.sent && packet.SequenceNumber >= p.lastIn+1<<15 {
		p.cut = true // It is of a new SSRC.
	}
	last, _ := p.projection.LastSequenceNumber()
	p.decide(t, packet)
	if now, _ := p.projection.LastSequenceNumber(); now != last {
		p.forwarded = p.now
	}
}

func (p *picture) aim() {
	if layer, ok := p.presence.There().Nearest(p.chosen); ok {
		p.wanted = layer
		p.projection.Want(layer)
	}
}

// note keeps the model.
func (p *picture) note(packet forwarding.Packet) {
	muted := p.now.Sub(p.heard) >= goneAfter
	for i := range p.layers {
		if l := &p.layers[i]; media.Layer(i) != packet.Layer {
			if muted && !l.muted {
				l.base, l.missing, l.muted = p.now, [media.MaxLayers]int{}, true
			}
			if packet.Marker {
				l.missing[packet.Layer]++
			}
		}
	}
	l := &p.layers[packet.Layer]
	l.first = !l.ever
	if l.first || p.now.Sub(l.last) >= goneAfter {
		l.steady = p.now
	}
	l.ever, l.last, l.base, l.missing, l.muted, p.heard = true, p.now, p.now, [media.MaxLayers]int{}, false, p.now
}

// judge holds what has become of the layers that there are against what came.
func (p *picture) judge(t *rapid.T, packet forwarding.Packet, before media.Layers) {
	there := p.presence.There()
	for i := range p.layers {
		layer, l := media.Layer(i), &p.layers[i]
		silent, frames := p.now.Sub(l.base), 0
		for _, n := range l.missing {
			frames = max(frames, n)
		}
		switch left := before.Has(layer) && !there.Has(layer); {
		case there.Has(layer) && !l.ever:
			t.Fatalf("layer %d is there, of which nothing came", i)
		case left && (silent < goneAfter || frames < goneFrames):
			t.Fatalf("layer %d is gone after %v and %d frames of another", i, silent, frames)
		case !packet.Empty && there.Has(layer) && silent >= goneAfter && l.missing[packet.Layer] >= goneFrames:
			t.Fatalf("layer %d is there after %v and %d frames of layer %d",
				i, silent, l.missing[packet.Layer], packet.Layer)
		case layer != packet.Layer || packet.Empty:
			if !before.Has(layer) && there.Has(layer) {
				t.Fatalf("layer %d is there, of which nothing comes", i)
			}
		case !before.Has(layer) && there.Has(layer) && !l.first && p.now.Sub(l.steady) < steadily && there.Len() > 1:
			t.Fatalf("layer %d is there again after %v", i, p.now.Sub(l.steady))
		case !there.Has(layer) && p.now.Sub(l.steady) >= steadily:
			t.Fatalf("layer %d is gone, though it has come for %v", i, p.now.Sub(l.steady))
		}
	}
	if p.heard.Equal(p.now) && there == 0 {
		t.Fatal("no layer is there, though one comes")
	}
}

// check looks at what the receiver gets some time after the last disturbance.
func (p *picture) check(t *rapid.T) {
	var sent media.Layers
	var slowest time.Duration
	for i, l := range p.layers {
		if l.sends {
			sent |= media.LayersOf(media.Layer(i))
			slowest = max(slowest, l.every)
		}
	}
	quiet := p.now.Sub(p.disturbed)
	if p.muted || p.lossy || p.reasons != 0 || sent == 0 {
		return
	}
	// The other's first frame comes, the absence is noticed, the sender is asked, and answers with its next frame.
	if most := max(goneAfter, goneFrames*slowest) + 3*slowest; quiet > most && p.now.Sub(p.forwarded) > most {
		t.Fatalf("nothing was forwarded for %v, while layers %03b come", p.now.Sub(p.forwarded), sent)
	}
	if want, _ := sent.Nearest(p.chosen); quiet >= backWithin {
		if got, flows := p.projection.Layer(); got != want || !flows {
			t.Fatalf("layer %d is forwarded (%v) after %v, want %d of %03b", got, flows, quiet, want, sent)
		}
	}
}

// TestVanishingLayers has layers vanish, return, and fall silent all at once, while a network, users
// and the sender do what they do, and checks what a receiver relies on.
func TestVanishingLayers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first := uint16(rapid.SampledFrom([]int{1, 32767, 65530}).Draw(t, "first"))
		p := &picture{
			receiver: &receiver{
				sending: &sending{projection: forwarding.NewProjection(media.Video, first)}, kind: media.Video,
				byNumber: make(map[uint64]left), last: 1<<16 + uint64(first) - 1, whole: true, cut: true,
			},
			random: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)),
			layers: make([]source, rapid.IntRange(2, media.MaxLayers).Draw(t, "layers")),
			now:    time.Unix(0, 0), disturbed: time.Unix(0, 0), chosen: media.MaxLayers - 1,
		}
		for i := range p.layers {
			l := &p.layers[i]
			l.sends = true
			l.every = time.Duration(rapid.SampledFrom([]int{33, 66, 200}).Draw(t, "every")) * time.Millisecond
			l.next = rapid.SampledFrom([]uint64{1<<16 + 1, 1<<17 - 5}).Draw(t, "sender's first")
			p.goOn(l)
		}
		anyLayer := func(t *rapid.T) media.Layer {
			return media.Layer(rapid.IntRange(0, len(p.layers)-1).Draw(t, "layer"))
		}
		pass := func(t *rapid.T) {
			ms := rapid.SampledFrom([]int{1, 100, 450, 550, 1100, 2100}).Draw(t, "ms")
			p.pass(t, time.Duration(ms)*time.Millisecond)
			p.check(t)
		}
		disturb := func(what func(*rapid.T)) func(*rapid.T) {
			return func(t *rapid.T) {
				what(t)
				p.disturbed = p.now
				pass(t)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"time passes": pass,
			"a layer vanishes, or returns": disturb(func(t *rapid.T) {
				l := &p.layers[anyLayer(t)]
				l.sends = !l.sends
				p.goOn(l)
			}),
			"a mute of all, or its end": disturb(func(*rapid.T) {
				p.muted = !p.muted
				for i := range p.layers {
					p.goOn(&p.layers[i])
				}
			}),
			"the network loses packets, or no longer": disturb(func(*rapid.T) { p.lossy = !p.lossy }),
			"choose": disturb(func(t *rapid.T) {
				p.chosen = anyLayer(t)
				p.aim()
			}),
			"pause": disturb(func(t *rapid.T) {
				reasons := forwarding.Reasons(rapid.IntRange(1, 127).Draw(t, "reasons"))
				p.projection.Withhold(reasons)
				p.reasons, p.cut = p.reasons|reasons, true
			}),
			"resume": disturb(func(t *rapid.T) {
				reasons := forwarding.Reasons(rapid.SampledFrom([]int{1, 127, 127}).Draw(t, "reasons"))
				p.projection.Release(reasons)
				p.reasons &^= reasons
			}),
			"a new SSRC of a layer": disturb(func(t *rapid.T) {
				layer := anyLayer(t)
				l := &p.layers[layer]
				l.next = (l.next>>16+2)<<16 + uint64(rapid.SampledFrom([]int{0, 65530}).Draw(t, "number"))
			}),
			"padding, with which a sender probes": func(t *rapid.T) {
				layer := anyLayer(t)
				p.layers[layer].next++
				p.arrive(t, forwarding.Packet{
					SequenceNumber: p.layers[layer].next, Timestamp: p.time(), Layer: layer, Empty: true,
				})
			},
		})
	})
}

package forwarding_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/media"
)

// left is what left under one number.
type left struct {
	layer     media.Layer
	in        uint64
	timestamp uint32
}

// receiver is a projection and what its receiver knows of it: the model that decisions
// are held against.
type receiver struct {
	*sending
	kind    media.Kind
	reasons forwarding.Reasons
	wanted  media.Layer

	byNumber map[uint64]left
	last     uint64 // the highest number
	lastAt   uint32
	sent     bool
	whole    bool              // it ended a frame
	cut      bool              // what comes next is a start
	answers  uint64            // numbers from here on can be asked for
	spans    int               // since the cut
	start    map[string]uint64 // of the present span: in, out
	present  media.Layer
	lastIn   uint64 // of the present layer, the highest forwarded
}

// decide has the projection decide upon a packet, and checks what comes of it.
func (r *receiver) decide(t *rapid.T, p forwarding.Packet) {
	d := r.sending.decide(p)
	present := !r.cut && p.Layer == r.present
	if d.Action != forwarding.Forward && d.Action != forwarding.Start {
		if r.reasons == 0 && present && p.SequenceNumber >= r.start["in"] && p.SequenceNumber < r.lastIn+1<<15 {
			t.Fatalf("%+v was not forwarded: %+v", p, d)
		}

		return
	}
	switch before, again := r.byNumber[d.SequenceNumber]; {
	case r.reasons != 0:
		t.Fatalf("%+v was forwarded though withheld by %b", p, r.reasons)
	case d.Marker != p.Marker:
		t.Fatalf("%+v became %+v", p, d)
	case again && before != left{p.Layer, p.SequenceNumber, d.Timestamp}:
		t.Fatalf("number %d carries %+v after %+v", d.SequenceNumber, p, before)
	}
	if d.Action == forwarding.Start {
		r.begin(t, p, d)
	} else if !present {
		t.Fatalf("%+v was forwarded without a start: %+v", p, d)
	}
	if d.SequenceNumber-r.start["out"] != p.SequenceNumber-r.start["in"] {
		t.Fatalf("%d became %d, while %d became %d", p.SequenceNumber, d.SequenceNumber, r.start["in"], r.start["out"])
	}
	r.byNumber[d.SequenceNumber] = left{p.Layer, p.SequenceNumber, d.Timestamp}
	if d.SequenceNumber >= r.last {
		r.last, r.lastAt, r.lastIn, r.sent = d.SequenceNumber, d.Timestamp, p.SequenceNumber, true
		if !p.Empty {
			r.whole = p.Marker
		}
	}
	r.checkHistory(t)
}

// begin checks a start.
func (r *receiver) begin(t *rapid.T, p forwarding.Packet, d forwarding.Decision) {
	want := r.last + 1
	if r.sent && r.kind == media.Video && !r.whole {
		want++
	}
	switch {
	case d.SequenceNumber != want:
		t.Fatalf("start with %+v as %d, want %d", p, d.SequenceNumber, want)
	case p.Layer != r.wanted || !p.KeyframeStart || p.Empty:
		t.Fatalf("start with %+v while layer %d is wanted", p, r.wanted)
	case r.sent && p.Layer == r.present && p.SequenceNumber <= r.lastIn:
		t.Fatalf("start with %+v, from before the cut", p)
	case r.sent && int32(d.Timestamp-r.lastAt) <= 0:
		t.Fatalf("start with %+v at %d, not after %d", p, d.Timestamp, r.lastAt)
	case d.Timestamp != p.Timestamp+p.Offset && d.Timestamp != r.lastAt+1:
		t.Fatalf("start with %+v at %d", p, d.Timestamp)
	}
	if r.cut || p.Layer == r.present {
		r.answers, r.spans = d.SequenceNumber, 0
	}
	r.spans++
	r.start = map[string]uint64{"in": p.SequenceNumber, "out": d.SequenceNumber}
	r.cut, r.present, r.lastIn = false, p.Layer, 0
}

// checkHistory asks for everything that left lately, and for what was cut.
func (r *receiver) checkHistory(t *rapid.T) {
	for number, what := range r.byNumber {
		if r.last-number >= 1<<15 || number > r.last || r.spans > 4 {
			continue
		}
		origin, ok := r.find(uint16(number))
		if ok != (number >= r.answers) || ok && (origin.Layer != what.layer || origin.SequenceNumber != what.in ||
			origin.Number != number) {
			t.Fatalf("Find(%d) = %+v, %v; it was %+v, and %d is the first since the cut", number, origin, ok, what, r.answers)
		}
	}
}

// TestProjectionInvariants drives a projection with whatever a network, its users and a
// choice of layers do, near every kind of wrap, and checks what receivers rely on.
func TestProjectionInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom([]media.Kind{media.Audio, media.Video}).Draw(t, "kind")
		first := uint16(rapid.SampledFrom([]int{0, 1, 32767, 65530, 65535}).Draw(t, "first"))
		r := &receiver{
			sending: &sending{projection: forwarding.NewProjection(kind, first)}, kind: kind,
			byNumber: make(map[uint64]left), last: 1<<16 + uint64(first) - 1, whole: true, cut: true,
		}
		var (
			next    [media.MaxLayers]uint64
			now     = rapid.SampledFrom([]uint32{0, 1<<31 - 5000, 1<<32 - 5000}).Draw(t, "time")
			waiting []forwarding.Packet // on their way, to be taken in any order
			past    []forwarding.Packet // taken in, for copies
		)
		for i := range next {
			next[i] = rapid.SampledFrom([]uint64{1<<16 + 1, 1<<17 - 5}).Draw(t, "sender's first")
		}
		layers := rapid.SampledFrom([]int{1, 3}).Draw(t, "layers")
		if kind == media.Audio {
			layers = 1
		}
		anyLayer := func(t *rapid.T) media.Layer { return media.Layer(rapid.IntRange(0, layers-1).Draw(t, "layer")) }
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				if got, ok := r.projection.LastSequenceNumber(); ok != r.sent || ok && got != r.last {
					t.Fatalf("LastSequenceNumber() = %d, %v; want %d, %v", got, ok, r.last, r.sent)
				}
				if r.projection.Withheld() != r.reasons {
					t.Fatalf("withheld by %b, want %b", r.projection.Withheld(), r.reasons)
				}
				needs := kind == media.Video && r.reasons == 0 && (r.cut || r.present != r.wanted)
				if r.projection.NeedsKeyframe() != needs {
					t.Fatalf("needs a keyframe: %v, want %v", !needs, needs)
				}
			},
			"send": func(t *rapid.T) {
				layer := anyLayer(t)
				next[layer] += uint64(rapid.SampledFrom([]int{1, 1, 1, 2, 2900}).Draw(t, "by")) // more than 1: lost
				now += uint32(rapid.SampledFrom([]int{0, 1, 3000}).Draw(t, "ticks"))
				p := forwarding.Packet{
					SequenceNumber: next[layer], Timestamp: now, Layer: layer,
					Offset:        uint32(layer) * uint32(rapid.SampledFrom([]int{0, 10, -9000}).Draw(t, "offset")),
					Marker:        rapid.Bool().Draw(t, "marker"),
					KeyframeStart: kind == media.Audio || rapid.IntRange(0, 3).Draw(t, "key") == 0,
				}
				if rapid.IntRange(0, 5).Draw(t, "empty") == 0 {
					p.Empty, p.KeyframeStart = true, false
				}
				waiting = append(waiting, p)
			},
			"receive": func(t *rapid.T) {
				if len(waiting) == 0 {
					t.Skip("nothing on its way")
				}
				i := min(len(waiting)-1, rapid.SampledFrom([]int{0, 0, 0, 1, 5}).Draw(t, "overtakes"))
				p := waiting[i]
				waiting = append(waiting[:i], waiting[i+1:]...)
				past = append(past, p)
				r.decide(t, p)
			},
			"receive a copy": func(t *rapid.T) {
				if len(past) == 0 {
					t.Skip("nothing received")
				}
				r.decide(t, rapid.SampledFrom(past[max(0, len(past)-8):]).Draw(t, "copy"))
			},
			"withhold": func(t *rapid.T) {
				reasons := forwarding.Reasons(rapid.IntRange(1, 127).Draw(t, "reasons"))
				r.projection.Withhold(reasons)
				r.reasons, r.cut = r.reasons|reasons, true
			},
			"release": func(t *rapid.T) {
				reasons := forwarding.Reasons(rapid.SampledFrom([]int{1, 2, 4, 8, 16, 127, 127}).Draw(t, "reasons"))
				r.projection.Release(reasons)
				r.reasons &^= reasons
			},
			"want": func(t *rapid.T) {
				r.wanted = anyLayer(t)
				r.projection.Want(r.wanted)
			},
			"a new run of a layer, which the projection is not told of": func(t *rapid.T) {
				layer := anyLayer(t)
				next[layer] = (next[layer]>>16 + 2) << 16
				waiting, past = nil, nil // late packets of the old run are none (package numbers)
				if !r.cut && layer == r.present {
					// Until a packet of it comes, which cuts the projection if its own layer is not
					// over.
					r.decide(t, forwarding.Packet{SequenceNumber: next[layer], Timestamp: now, Layer: layer, Empty: true})
					r.cut = true
				}
			},
		})
	})
}

package forwarding_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/media"
)

// TestEdgeInvariants drives an edge with whatever a network and its users do, near
// every kind of wrap, and checks what receivers rely on.
func TestEdgeInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom([]media.Kind{media.Audio, media.Video}).Draw(t, "kind")
		first := uint16(rapid.SampledFrom([]int{0, 1, 32767, 65530, 65535}).Draw(t, "first"))
		next := rapid.SampledFrom([]uint64{1<<16 + 1, 1<<17 - 5}).Draw(t, "sender's first")
		e := forwarding.NewEdge(kind, first)

		var (
			reasons  forwarding.Reasons
			waiting  []forwarding.Packet // on their way, to be taken in any order
			past     []forwarding.Packet // taken in, for copies
			byOut    = map[int64]uint64{}
			last     = int64(first) - 1 // the highest number, extended
			lastIn   uint64
			whole    = true // it ended a frame
			sent     bool
			cut      = true
			startIn  uint64
			startOut int64
		)
		offer := func(p forwarding.Packet) {
			awaited := e.AwaitsKeyframe()
			var d forwarding.Decision
			e, d = e.Decide(p)
			if d.Action != forwarding.Forward {
				if reasons == 0 && !cut && p.SequenceNumber >= startIn {
					t.Fatalf("%+v was not forwarded: %+v", p, d)
				}
				return
			}
			out := last + int64(int16(d.SequenceNumber-uint16(last)))
			switch {
			case reasons != 0:
				t.Fatalf("%+v was forwarded though withheld by %b", p, reasons)
			case d.Timestamp != p.Timestamp || d.Marker != p.Marker:
				t.Fatalf("%+v became %+v", p, d)
			case d.Started != cut:
				t.Fatalf("started %v after a cut %v", d.Started, cut)
			}
			if in, ok := byOut[out]; ok && in != p.SequenceNumber {
				t.Fatalf("number %d carries %d after %d", out, p.SequenceNumber, in)
			}
			if cut {
				want := last + 1
				if sent && kind == media.Video && !whole {
					want++
				}
				if out != want || kind == media.Video && (!awaited || !p.KeyframeStart) || sent && p.SequenceNumber <= lastIn {
					t.Fatalf("start with %+v as %d, want %d", p, out, want)
				}
				startIn, startOut, cut = p.SequenceNumber, out, false
			}
			if out-startOut != int64(p.SequenceNumber-startIn) {
				t.Fatalf("%d became %d, while %d became %d", p.SequenceNumber, out, startIn, startOut)
			}
			if in, ok := e.Source(d.SequenceNumber); !ok || in != p.SequenceNumber {
				t.Fatalf("Source(%d) = %d, %v; want %d", d.SequenceNumber, in, ok, p.SequenceNumber)
			}
			byOut[out] = p.SequenceNumber
			if out >= last {
				last, lastIn, sent = out, p.SequenceNumber, true
				if !p.Empty {
					whole = p.Marker
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				if got, ok := e.LastSequenceNumber(); ok != sent || ok && got != uint16(last) {
					t.Fatalf("LastSequenceNumber() = %d, %v; want %d, %v", got, ok, uint16(last), sent)
				}
				if e.Withheld() != reasons {
					t.Fatalf("withheld by %b, want %b", e.Withheld(), reasons)
				}
			},
			"send": func(t *rapid.T) {
				next += uint64(rapid.SampledFrom([]int{1, 1, 1, 2, 2900}).Draw(t, "by")) // more than 1: lost
				p := forwarding.Packet{
					SequenceNumber: next, Timestamp: rapid.Uint32().Draw(t, "timestamp"),
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
				offer(p)
			},
			"receive a copy": func(t *rapid.T) {
				if len(past) == 0 {
					t.Skip("nothing received")
				}
				offer(rapid.SampledFrom(past[max(0, len(past)-8):]).Draw(t, "copy"))
			},
			"withhold": func(t *rapid.T) {
				r := forwarding.Reasons(rapid.IntRange(1, 7).Draw(t, "reasons"))
				e, reasons, cut = e.Withhold(r), reasons|r, true
			},
			"release": func(t *rapid.T) {
				r := forwarding.Reasons(rapid.SampledFrom([]int{1, 2, 4, 7, 7}).Draw(t, "reasons"))
				e, reasons = e.Release(r), reasons&^r
			},
			"restart": func(t *rapid.T) {
				next = (next>>16 + 2) << 16
				waiting, past = nil, nil // Source takes late packets of the old run for none
				e, cut = e.Restart(), true
			},
		})
	})
}

// TestSourceInvariants: whatever order a network makes of a sender's packets, each
// gets its own extended number, whose low half is the sender's.
func TestSourceInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := forwarding.NewSource(media.Video)
		var highest uint64
		number := rapid.Uint16().Draw(t, "first")
		for range rapid.IntRange(1, 60).Draw(t, "packets") {
			number += uint16(rapid.SampledFrom([]int{1, 1, 1, 2, 2999, 65535, 64600, 30000}).Draw(t, "by"))
			next, a, ok := s.Receive(uint32(rapid.SampledFrom([]int{1, 1, 1, 1, 2}).Draw(t, "ssrc")), number, 0, 0)
			s = next
			switch {
			case !ok:
				continue
			case uint16(a.SequenceNumber) != number:
				t.Fatalf("%d became %d", number, a.SequenceNumber)
			case a.Newest != (a.SequenceNumber > highest):
				t.Fatalf("%d after %d: newest %v", a.SequenceNumber, highest, a.Newest)
			case a.Restarted && a.SequenceNumber <= highest+forwarding.MaxMisorder:
				t.Fatalf("a new run at %d after %d", a.SequenceNumber, highest)
			case !a.Restarted && highest != 0 && a.SequenceNumber+forwarding.MaxMisorder <= highest:
				t.Fatalf("%d is later than allowed after %d", a.SequenceNumber, highest)
			}
			highest = max(highest, a.SequenceNumber)
		}
	})
}

package fanout_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nagi-rtc/nagi/mediaserver/fanout"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// A batch that has to be flushed to make room may wait for the kernel, so no lock is
// held meanwhile: here the flush itself uses everything that locks are for.
func TestNoLockIsHeldAcrossAFlush(t *testing.T) {
	const projections = 10
	long := string(make([]byte, 1300))
	frame := func(first uint64, payload string) []media.Received {
		burst := make([]media.Received, 60)
		for i := range burst {
			burst[i] = packet(first+uint64(i), "d"+long, i == len(burst)-1)
		}
		burst[0].Payload[0] = payload[0]

		return burst
	}
	for name, act := range map[string]func(*udp.Batch, *fanout.Track, *fanout.Projection){
		"a burst": func(b *udp.Batch, track *fanout.Track, _ *fanout.Projection) {
			track.ReceiveRTP(b, frame(120, "d"))
		},
		"a replay": func(b *udp.Batch, track *fanout.Track, pr *fanout.Projection) {
			fanout.Apply([]fanout.Change{pause(pr)})
			fanout.Apply([]fanout.Change{resume(pr)})
			track.ReceiveRTP(b, frame(200, "d")[1:])
			track.ReceiveRTP(b, frame(200, "K")[:1])
		},
		"a storm of NACKs": func(b *udp.Batch, _ *fanout.Track, pr *fanout.Projection) {
			last, _ := pr.LastSequenceNumber()
			var missing []uint16
			for i := range uint16(60) {
				missing = append(missing, last-i)
			}
			fill(b, 40)
			pr.ReceiveNACK(b, missing)
		},
		"sender reports": func(b *udp.Batch, track *fanout.Track, _ *fanout.Projection) {
			for i := range uint64(1000) {
				track.ReceiveSenderReport(b, 0, i, uint32(i))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			track := newVideo(t, func() {})
			var all []*fanout.Projection
			for i := range projections {
				all = append(all, track.Project(&wire{ssrc: uint32(i)}, 0))
			}
			track.ReceiveRTP(batch(), frame(0, "K"))
			track.ReceiveRTP(batch(), frame(60, "d"))

			within, flushes, inner, back := false, 0, batch(), uint64(9000)
			b := udp.NewBatch(0, func([]byte, *udp.Destination) {
				if within {
					return
				}
				within = true
				defer func() { within = false }()
				flushes++
				for _, pr := range all[1:] {
					last, _ := pr.LastSequenceNumber()
					pr.ReceiveNACK(inner, []uint16{last})
					pr.ReceivePLI()
					fanout.Apply([]fanout.Change{pause(pr), resume(pr)})
				}
				all[0].ReceivePLI()
				track.ReceiveRTP(inner, []media.Received{packet(back, "d", true)}) // out of run
				track.ReceiveSenderReport(inner, 0, 1, 1)
				track.Project(discard{}, 0).Remove()
			})
			done := make(chan struct{})
			go func() {
				defer close(done)
				act(b, track, all[0])
			}()
			select {
			case <-done:
			case <-time.After(30 * time.Second):
				panic(fmt.Sprintf("%s: a lock is held across a flush", name))
			}
			if flushes == 0 {
				t.Error("nothing was flushed to make room")
			}
			if n := track.Counters().SinkErrors.Load(); n != 0 {
				t.Errorf("%d packets found no room", n)
			}
		})
	}
}

// fill leaves room for so many datagrams, and returns how many it put in.
func fill(b *udp.Batch, leave int) (filled int) {
	room := 0
	for empty := batch(); empty.Append(nil, udp.MaxDatagram) != nil; {
		room++
	}
	for ; filled < room-leave; filled++ {
		b.Append(nil, udp.MaxDatagram)
	}

	return filled
}

// An answer to a NACK is decided upon after the room for it was made: a flush lets the
// fence pass.
func TestNACKAfterTheFencePassedItsFlush(t *testing.T) {
	track := newVideo(t, func() {})
	pr := track.Project(&wire{ssrc: 1}, 0)
	long := string(make([]byte, 1300))
	for i := range uint64(120) {
		track.ReceiveRTP(batch(), []media.Received{packet(i, "K"+long, true)})
	}
	last, _ := pr.LastSequenceNumber()
	var missing []uint16
	for i := range uint16(60) {
		missing = append(missing, last-i)
	}
	paused, after := false, 0
	b := udp.NewBatch(0, func([]byte, *udp.Destination) {
		if after++; !paused {
			fanout.Apply([]fanout.Change{pause(pr)})
			paused, after = true, 1
		}
	})
	filled := fill(b, 40)
	pr.ReceiveNACK(b, missing)
	left := after // of the batch in which the pause came
	b.Flush()
	if after != left || !paused {
		t.Errorf("%d packets left after the fence", after-left)
	}
	sent := uint64(left - filled)
	answered, ignored := track.Counters().NACKAnswered.Load(), track.Counters().NACKIgnored.Load()
	if sent == 0 || answered != sent || ignored != uint64(len(missing))-sent {
		t.Errorf("%d answered and %d ignored of %d, %d sent", answered, ignored, len(missing), sent)
	}
}

// The same holds for a walk that a flush interrupts: its snapshot is an old one then.
func TestCutWhileAWalkMakesRoom(t *testing.T) {
	track := newVideo(t, func() {})
	var sent network
	var all []*fanout.Projection
	cut := false
	b := udp.NewBatch(0, func(datagram []byte, to *udp.Destination) {
		if !cut {
			fanout.Apply([]fanout.Change{pause(all[8])})
			all[9].Remove()
			cut = true
		}
		sent.send(datagram, to)
	})
	for i := range uint32(10) {
		all = append(all, track.Project(&wire{ssrc: i}, 0))
	}
	burst := make([]media.Received, 60)
	for i := range burst {
		burst[i] = packet(uint64(i), "K"+string(make([]byte, 1300)), true)
	}
	track.ReceiveRTP(b, burst)
	b.Flush()
	if !cut || len(sent.numbers(7)) != 60 {
		t.Fatal("the walk was not interrupted, or not gone on with")
	}
	if n := len(sent.numbers(8)) + len(sent.numbers(9)); n != 0 {
		t.Errorf("%d packets left after the cut", n)
	}
	if n := track.Counters().Withheld.Load(); n != 120 {
		t.Errorf("%d packets counted as withheld, want 120", n)
	}
}

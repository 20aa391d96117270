package fanout_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nagi-rtc/nagi/mediaserver/fanout"
	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/media"
)

// Hazard 13: reports go on during a pause, and count what this receiver got.
func TestSenderReports(t *testing.T) {
	track, sink := newVideo(t, func() {}), &recorder{}
	pr := track.Project(sink, 0)
	track.ReceiveRTP(batch(), []media.Received{packet(1, "K23", true)})
	track.ReceiveSenderReport(batch(), 0, 1, 2)
	fanout.Apply([]fanout.Change{pause(pr)})
	track.ReceiveRTP(batch(), []media.Received{packet(2, "K23", true)})
	track.ReceiveSenderReport(batch(), 0, 3, 4)
	if want := [][2]uint32{{1, 3}, {1, 3}}; !slices.Equal(sink.reports, want) {
		t.Errorf("reports %v, want %v", sink.reports, want)
	}
}

// What is sent again is no more of the stream than was sent before.
func TestSenderReportsDoNotCountResends(t *testing.T) {
	track := newVideo(t, func() {})
	pr, sink, n := begun(t, track, packet(1, "K23", true))
	for range 3 {
		pr.ReceiveNACK(batch(), n)
	}
	track.ReceiveSenderReport(batch(), 0, 1, 2)
	if want := [][2]uint32{{1, 3}}; sink.again != 3 || !slices.Equal(sink.reports, want) {
		t.Errorf("reports %v after %d resends, want %v", sink.reports, sink.again, want)
	}
}

// Reports are moved with the packets when the sender begins anew under another SSRC.
func TestSenderReportsFollowTheSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		track, sink := newVideo(t, func() {}), &recorder{}
		defer track.Close()
		track.Project(sink, 0)
		send := func(ssrc uint32, number uint64, timestamp uint32) {
			p := renumbered(packet(number, "K", true), uint64(ssrc), ssrc)
			p.Timestamp = timestamp
			track.ReceiveRTP(batch(), []media.Received{p})
			track.ReceiveSenderReport(batch(), 0, number, timestamp)
		}
		send(1, 1, 1000)
		time.Sleep(time.Second)
		send(2, 2, 5)
		if want := []uint32{1000, 91_000}; !slices.Equal(sink.times, want) {
			t.Fatalf("packets at %v, want %v", sink.times, want)
		}
		if want := []clock{{1, 1000}, {2, 91_000}}; !slices.Equal(sink.clocks, want) {
			t.Errorf("reports of %v, want %v", sink.clocks, want)
		}
	})
}

// A newcomer has the sender's clocks with the first packet, as the sender last told
// them, and no second time when it resumes.
func TestNewcomerHasTheLastReport(t *testing.T) {
	for name, newTrack := range map[string]func(testing.TB) *fanout.Track{
		"audio": newAudio,
		"video": func(t testing.TB) *fanout.Track { return newVideo(t, func() {}) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				track := newTrack(t)
				defer track.Close()
				track.ReceiveRTP(batch(), []media.Received{packet(1, "K", true)})
				track.ReceiveSenderReport(batch(), 0, 11, 12)
				track.ReceiveSenderReport(batch(), 0, 21, 22)
				time.Sleep(4 * time.Second)
				newcomer, paused := &recorder{}, &recorder{}
				pr := track.Project(newcomer, forwarding.Unnegotiated)
				later := track.Project(paused, forwarding.Paused)
				fanout.Apply([]fanout.Change{{Projection: pr, Release: forwarding.Unnegotiated}})
				track.ReceiveRTP(batch(), []media.Received{packet(2, "K23", true), packet(3, "K", true)})
				if want := []clock{{21, 22}}; !slices.Equal(newcomer.clocks, want) {
					t.Errorf("the newcomer has %v, want %v", newcomer.clocks, want)
				}
				if want := [][2]uint32{{1, 3}}; !slices.Equal(newcomer.reports, want) {
					t.Errorf("the newcomer is told to have been sent %v, want %v", newcomer.reports, want)
				}
				track.ReceiveSenderReport(batch(), 0, 31, 32)
				fanout.Apply([]fanout.Change{pause(pr), resume(later)})
				fanout.Apply([]fanout.Change{resume(pr)})
				track.ReceiveRTP(batch(), []media.Received{packet(4, "K", true)})
				if want := []clock{{21, 22}, {31, 32}}; !slices.Equal(newcomer.clocks, want) {
					t.Errorf("the newcomer has %v, want %v", newcomer.clocks, want)
				}
				if want := []clock{{31, 32}}; !slices.Equal(paused.clocks, want) {
					t.Errorf("who was paused has %v, want %v", paused.clocks, want)
				}
			})
		})
	}
}

// A report from before the sender began anew says nothing of the clock that it has now.
func TestNewcomerHasNoReportOfAnotherRun(t *testing.T) {
	track, sink := newVideo(t, func() {}), &recorder{}
	track.ReceiveRTP(batch(), []media.Received{packet(1, "K", true)})
	track.ReceiveSenderReport(batch(), 0, 1, 2)
	other := renumbered(packet(1, "K", true), 1, 10)
	track.ReceiveRTP(batch(), []media.Received{other})
	track.Project(sink, 0)
	other.SequenceNumber++
	track.ReceiveRTP(batch(), []media.Received{other})
	wantBytes(t, sink, "K")
	if len(sink.clocks) != 0 {
		t.Errorf("a newcomer has %v", sink.clocks)
	}
}

// A receiver's reports are moved as its packets are, since its last start; what reports say of the layers since then
// moves neither.
func TestReportsAreMovedAsThePacketsAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, sink := startSimulcast(fanout.Config{}), &recorder{}
		defer s.track.Close()
		pr := s.track.Project(sink, 0)
		pr.Choose(0)
		s.send(0, "K")
		time.Sleep(100 * time.Millisecond)
		p := s.frame(1, "K")
		p.Timestamp -= 7 * 90 // It has taken the encoder longer, so by its arrival it is placed too late.
		pr.Choose(1)
		s.track.ReceiveRTP(batch(), []media.Received{p})
		for layer := range media.Layer(2) {
			now := uint32(time.Now().UnixMilli())
			s.track.ReceiveSenderReport(batch(), layer, uint64(now)<<32/1000, 1_000_000*uint32(layer)+now*90)
		}
		s.send(1, "x")
		if len(sink.clocks) != 1 || len(sink.times) != 3 || sink.clocks[0].rtpTime != sink.times[2] {
			t.Errorf("reports of %v, packets at %v: the last two are of one instant", sink.clocks, sink.times)
		}
	})
}

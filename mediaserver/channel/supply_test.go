package channel

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/mediaserver/allocation"
	"github.com/nagi-rtc/nagi/mediaserver/bandwidth"
	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/tables"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// sendLayers has a sender's packets of each layer arrive, which take 150, 450 and 1,200
// kbit/s for each of its receivers. They are empty, or what is measured would soon count.
func sendLayers(a *answering, layers ...media.Layer) {
	m := a.session.member
	for _, layer := range layers {
		m.tracks[media.Video].ReceiveRTP(udp.NewBatch(0, nil), []media.Received{{
			SequenceNumber: 1 << 17, SSRC: 1 + uint32(layer), Layer: layer, Marker: true, Payload: make([]byte, 1),
		}})
	}
	ch := a.session.channel
	ch.mu.Lock()
	defer ch.mu.Unlock()
	for _, e := range m.outgoing {
		e.video.rates = [...]int{150_000, 450_000, 1_200_000}
	}
}

// limit has a receiver say how much is possible, after it was sent too much.
func limit(a *answering, bitsPerSecond float64) {
	m, ch, now := a.session.member, a.session.channel, time.Now()
	s := m.supply
	s.mu.Lock()
	s.reported.ReceiveREMB(2 * bitsPerSecond)
	s.reported.Look(1<<30, 0, now)
	s.reported.ReceiveREMB(bitsPerSecond)
	s.reported.Look(1<<30, 0, now)
	s.reported.Look(1<<30, 0, now.Add(time.Minute)) // Nobody answers how long round trips are.
	estimate, _ := s.reported.Estimate()
	s.divided = true
	s.mu.Unlock()
	ch.mu.Lock()
	defer ch.mu.Unlock()
	changed, _ := ch.shareOut(m, ch.supplied(m, now), bandwidth.Sight{Unpadded: true, Congested: true}, estimate, now)
	fence(changed, ch.holding)
}

// shares are what a receiver gets of senders' video: a layer, or -1 for what is withheld for want of bandwidth.
func shares(receiver *answering, senders ...*answering) (shares []int) {
	ch := receiver.session.channel
	ch.mu.Lock()
	defer ch.mu.Unlock()
	for _, sender := range senders {
		e := receiver.session.member.incoming[sender.session.member]
		layer, has := e.video.share.Layer()
		if !has {
			layer = 0
		}
		share := int(layer)
		if e.streams[media.Video].withheld&forwarding.Bandwidth != 0 {
			share = -1
		}
		shares = append(shares, share)
	}

	return shares
}

// withheld is what is told of why video does not come.
func withheld(receiver, sender *answering) []forwardingv1.Withheld {
	ch := receiver.session.channel
	ch.mu.Lock()
	defer ch.mu.Unlock()
	e := receiver.session.member.incoming[sender.session.member]

	return e.streams[media.Video].facts(media.Video).GetWithheld()
}

func wantShares(t *testing.T, what string, got []int, want ...int) {
	t.Helper()
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%s: layers %v, want %v", what, got, want)

			return
		}
	}
}

// Who has little room gets the smallest pictures, or not all of them; nobody else notices.
func TestSupplyIsDivided(t *testing.T) {
	registry := newRegistry(t, 1, nil)
	first := joinAs(t, registry, "sendonly", `,"simulcast":true`, "")
	second := joinAs(t, registry, "sendonly", `,"simulcast":true`, "")
	receiver, other := joinAs(t, registry, "recvonly", "", ""), joinAs(t, registry, "recvonly", "", "")
	small := joinAs(t, registry, "recvonly", `,"simulcast":true,"simulcast_rid":"r0"`, "")
	for _, sender := range []*answering{first, second} {
		sendLayers(sender, 0, 1, 2)
	}
	limit(receiver, 700_000)
	wantShares(t, "700 kbit/s", shares(receiver, first, second), 1, 0)
	limit(receiver, 400_000)
	wantShares(t, "400 kbit/s", shares(receiver, first, second), 0, 0)
	limit(receiver, 200_000)
	wantShares(t, "200 kbit/s", shares(receiver, first, second), 0, -1)
	limit(small, 4_000_000)
	wantShares(t, "no more than is wanted", shares(small, first, second), 0, 0)
	for _, sender := range []*answering{first, second} {
		e := other.session.member.incoming[sender.session.member]
		if e.video != (part{rates: e.video.rates}) || e.streams[media.Video].withheld != 0 {
			t.Errorf("the other receiver gets %+v", e.video)
		}
	}
}

// A pause stands above all this: what is paused is no demand, so that the others get more,
// is told to be paused and not to be short, and resumes with what there is then, in the same
// step.
func TestPausesAndSupply(t *testing.T) {
	registry := newRegistry(t, 1, nil)
	first := joinAs(t, registry, "sendonly", `,"simulcast":true,"client_id":"first"`, "")
	second := joinAs(t, registry, "sendonly", `,"simulcast":true,"client_id":"second"`, "")
	receiver := joinAs(t, registry, "recvonly", "", "")
	for _, sender := range []*answering{first, second} {
		sendLayers(sender, 0, 1, 2)
	}
	limit(receiver, 200_000)
	wantShares(t, "before", shares(receiver, first, second), 0, -1)
	short, paused := forwardingv1.Withheld_WITHHELD_BANDWIDTH, forwardingv1.Withheld_WITHHELD_PAUSED
	if told := withheld(receiver, second); !slices.Contains(told, short) || slices.Contains(told, paused) {
		t.Errorf("for want of bandwidth: %v is told", told)
	}

	pause := &forwardingv1.Pause{
		Uid: "1", Kinds: []forwardingv1.Kind{forwardingv1.Kind_KIND_VIDEO},
		Receivers: &forwardingv1.Side{Names: &forwardingv1.Side_Everyone{Everyone: &forwardingv1.Everyone{}}},
		Senders: &forwardingv1.Side{
			Names: &forwardingv1.Side_ClientIds{ClientIds: &forwardingv1.IDs{Ids: []string{"first"}}},
		},
	}
	sum := pause.Sum()
	pause.Digest = sum[:]
	instance := receiver.session.channel.instance
	registry.Apply(tables.Table{
		ChannelID: "sora", Instance: instance, Version: 1, Whole: true, Set: []*forwardingv1.Pause{pause},
	})
	e := receiver.session.member.incoming[first.session.member]
	if got := e.streams[media.Video].withheld; got != forwarding.Paused {
		t.Errorf("what is paused is withheld for %b", got)
	}
	if told := withheld(receiver, first); !slices.Contains(told, paused) || slices.Contains(told, short) {
		t.Errorf("in a pause: %v is told", told)
	}
	ch := receiver.session.channel
	ch.mu.Lock()
	receiver.session.member.incoming[second.session.member].video.since = time.Time{} // It has been short for long.
	ch.mu.Unlock()
	receiver.session.supplyChanged()
	wantShares(t, "the first is paused", shares(receiver, second), 0)

	registry.Apply(tables.Table{ChannelID: "sora", Instance: instance, Version: 2, Whole: true})
	if got := e.streams[media.Video].withheld; got != forwarding.Bandwidth && got != 0 {
		t.Errorf("what has resumed is withheld for %b", got)
	}
	total := 0
	for _, share := range shares(receiver, first, second) {
		if share > 0 {
			t.Errorf("layer %d is more than there is room for", share)
		}
		if share == 0 {
			total++
		}
	}
	if total != 1 {
		t.Errorf("%d pictures are sent after the resume, there is room for one", total)
	}
}

// Who comes to a receiver with little room gets no more than is left.
func TestNewcomersAndSupply(t *testing.T) {
	registry := newRegistry(t, 1, nil)
	first := joinAs(t, registry, "sendonly", `,"simulcast":true`, "")
	receiver := joinAs(t, registry, "recvonly", "", "")
	sendLayers(first, 0, 1, 2)
	limit(receiver, 400_000)
	second := joinAs(t, registry, "sendonly", `,"simulcast":true`, "")
	receiver.renegotiate(t)
	wantShares(t, "before anything comes of it", shares(receiver, first, second), 0, 0)
	sendLayers(second, 0, 1, 2)
	receiver.session.supplyChanged()
	wantShares(t, "then", shares(receiver, first, second), 0, 0)
	if got := receiver.session.member.incoming[second.session.member].video.share; got != allocation.ShareOf(0) {
		t.Errorf("the newcomer gets %+v", got)
	}
}

// roomForOne has a receiver with room for the first of two senders' pictures.
func roomForOne(t *testing.T) (first, second, receiver *answering) {
	t.Helper()
	registry := newRegistry(t, 1, nil)
	first = joinAs(t, registry, "sendonly", `,"simulcast":true`, "")
	second = joinAs(t, registry, "sendonly", `,"simulcast":true`, "")
	receiver = joinAs(t, registry, "recvonly", "", "")
	sendLayers(first, 0, 1, 2)
	sendLayers(second, 0, 1, 2)
	limit(receiver, 200_000)
	wantShares(t, "200 kbit/s", shares(receiver, first, second), 0, -1)

	return first, second, receiver
}

// Video that its sender ends while there is no room for it begins anew without that.
func TestShortVideoBeginsAnew(t *testing.T) {
	_, second, receiver := roomForOne(t)
	announce := func(sends ...media.Kind) {
		ch := second.session.channel
		ch.mu.Lock()
		defer ch.mu.Unlock()
		ch.announce(second.session.member, sends)
	}
	announce(media.Audio)
	limit(receiver, 9_000_000)
	announce(media.Audio, media.Video)
	if got := shares(receiver, second); got[0] < 0 {
		t.Error("it is withheld for want of room")
	}
}

// Who comes to be reached on another way gets everything again, for of that way nothing is known.
func TestAnotherWayHasNoLimit(t *testing.T) {
	first, second, receiver := roomForOne(t)
	s := receiver.session.member.supply
	s.Moved(time.Now())
	for end := time.Now().Add(10 * time.Second); s.isDivided(); time.Sleep(5 * time.Millisecond) { // Pictures hold still.
		if time.Now().After(end) {
			t.Fatal("what the receiver is sent is still divided")
		}
	}
	wantShares(t, "on the other way", shares(receiver, first, second), 2, 2)
}

// Silence limits nothing and starts no timer; what a client says after it has left does neither.
func TestSupplyWithoutLimit(t *testing.T) {
	registry := newRegistry(t, 1, nil)
	sender := joinAs(t, registry, "sendonly", `,"simulcast":true`, "")
	receiver := joinAs(t, registry, "recvonly", "", "")
	sendLayers(sender, 0, 1, 2)
	receiver.session.supplyChanged()
	s := receiver.session.member.supply
	s.ReceiveLoss(1, 100, time.Now())
	s.ReceiveRoundTrip(time.Second, time.Now())
	if s.isDivided() || s.timer != nil {
		t.Error("there is a limit, or a timer")
	}
	receiver.session.Leave("over")
	s.ReceiveREMB(1000)
	if s.timer != nil {
		t.Error("there is a timer after the client has left")
	}
}

// Focus decides what is wanted, and supply how much of that is sent: who is out of focus
// gets no more than the small picture though there is room, and who comes into focus no more
// than there is room for.
func TestFocusAndSupply(t *testing.T) {
	registry := newRegistry(t, 1, nil)
	spotlight := `,"simulcast":true,"spotlight":true,"spotlight_number":1,` +
		`"spotlight_focus_rid":"r2","spotlight_unfocus_rid":"r0"`
	first := joinAs(t, registry, "sendonly", spotlight, "")
	second := joinAs(t, registry, "sendonly", spotlight, "")
	receiver := joinAs(t, registry, "recvonly", spotlight, "")
	for _, sender := range []*answering{first, second} {
		sendLayers(sender, 0, 1, 2)
	}
	first.session.member.focused = true
	limit(receiver, 5_000_000)
	wantShares(t, "the first is in focus", shares(receiver, first, second), 2, 0)
	limit(receiver, 800_000)
	wantShares(t, "with less room", shares(receiver, first, second), 1, 0)
	limit(receiver, 400_000)
	wantShares(t, "with little room", shares(receiver, first, second), 0, 0)
}

// Audio of who is not heard is neither sent nor wanted, so it leaves its room to pictures.
func TestUnheardAudioIsNoDemand(t *testing.T) {
	registry := newRegistry(t, 1, nil)
	sender := joinAs(t, registry, "sendonly", `,"spotlight":true`, "")
	receiver := joinAs(t, registry, "recvonly", `,"spotlight":true`, "")
	number := uint64(1 << 17)
	for _, said := range []struct {
		level uint8
		takes bool
	}{{127, false}, {20, true}} {
		number++
		sender.session.member.listener.ReceiveRTP(udp.NewBatch(0, nil), []media.Received{{
			SequenceNumber: number, SSRC: 1, HasLevel: true, Level: said.level, Payload: make([]byte, 1000),
		}})
		ch := receiver.session.channel
		ch.mu.Lock()
		s := ch.supplied(receiver.session.member, time.Now().Add(time.Second))
		ch.mu.Unlock()
		if s.audio > 0 != said.takes || s.sent != s.audio {
			t.Errorf("at level %d audio takes %d bit/s of %d that are sent", said.level, s.audio, s.sent)
		}
	}
}

// drain is a receiver's transport that takes everything: nobody shakes hands here.
type drain struct{}

func (drain) Worker() int                                                        { return 0 }
func (drain) WriteRTP(*udp.Batch, *media.Outgoing) error                         { return nil }
func (drain) ResendRTP(*udp.Batch, *media.Outgoing) error                        { return nil }
func (drain) WritePadding(*udp.Batch, *media.Outgoing, uint8) error              { return nil }
func (drain) WriteSenderReport(*udp.Batch, uint64, uint32, uint32, uint32) error { return nil }
func (drain) SSRC() uint32                                                       { return 1 }

// sendKeyframe has one of a sender's layers arrive (RFC 7741 section 4.2, RFC 6386 section 9.1).
func sendKeyframe(a *answering, layer media.Layer) {
	a.session.member.tracks[media.Video].ReceiveRTP(udp.NewBatch(0, nil), []media.Received{{
		SequenceNumber: 1<<17 + 1, SSRC: 1 + uint32(layer), Layer: layer, Marker: true,
		Payload: []byte{0x10, 0x10, 0, 0, 0x9d, 0x01, 0x2a, 0xf0, 0, 0x87, 0},
	}})
}

// Who says that far less passes than is sent gets the smallest picture at once, and nothing more of the larger one,
// though the estimate, which is about a time before the way was full too, has room for the next one; that one comes
// once a probe has shown that it passes. Who says that somewhat less passes gets what the estimate has room for.
func TestAWayThatHasNarrowed(t *testing.T) {
	for name, test := range map[string]struct {
		says float64
		want int
	}{"far less": {850_000, 0}, "somewhat less": {1_000_000, 1}} {
		t.Run(name, func(t *testing.T) {
			registry := newRegistry(t, 1, nil)
			sender := joinAs(t, registry, "sendonly", `,"simulcast":true,"video":{"codec_type":"VP8"}`, "")
			receiver := joinAs(t, registry, "recvonly", "", "")
			m, ch := receiver.session.member, receiver.session.channel
			m.supply.look = func() {} // Only this test looks, for in truth nothing is sent.
			video := sender.session.member.tracks[media.Video].Project(drain{}, 0)
			defer video.Remove()
			m.incoming[sender.session.member].streams[media.Video].projection = video
			sendLayers(sender, 0, 1, 2)
			sendKeyframe(sender, 2)
			flows := func(want bool) {
				t.Helper()
				if _, flows := video.Layer(); flows != want {
					t.Errorf("what was sent goes on: %v", flows)
				}
			}
			flows(true)
			look := func(sent int, now time.Time) {
				ch.mu.Lock()
				defer ch.mu.Unlock()
				s := ch.supplied(m, now)
				s.sent = sent
				fence(ch.divideSupplied(m, s, now), ch.holding)
			}
			now := time.Now().Add(time.Minute) // The stream has long begun.
			m.supply.ReceiveREMB(2_000_000)
			look(1_200_000, now)
			m.supply.ReceiveREMB(test.says)
			look(1_200_000, now)
			now = now.Add(2 * time.Second) // Nobody answers how long round trips are.
			look(1_200_000, now)
			wantShares(t, "at once", shares(receiver, sender), test.want)
			flows(test.want > 0)
			sendKeyframe(sender, media.Layer(test.want))
			flows(true)
			look(150_000, now.Add(time.Second))
			wantShares(t, "after a second", shares(receiver, sender), test.want)
			look(150_000, now.Add(3*time.Second))
			wantShares(t, "after three", shares(receiver, sender), test.want)
			m.supply.reported.Prove(600_000)
			look(150_000, now.Add(4*time.Second))
			wantShares(t, "after a probe", shares(receiver, sender), 1)
		})
	}
}

// Who misses half of what it is sent, and asks for it, is sent less, whatever else it says.
func TestMissingIsALimit(t *testing.T) {
	registry := newRegistry(t, 1, nil)
	sender := joinAs(t, registry, "sendonly", `,"simulcast":true,"video":{"codec_type":"VP8"}`, "")
	receiver := joinAs(t, registry, "recvonly", "", "")
	m := receiver.session.member
	track := sender.session.member.tracks[media.Video]
	video := track.Project(drain{}, 0)
	defer video.Remove()
	f := &feedback{Projection: video, supply: m.supply}
	m.incoming[sender.session.member].streams[media.Video].projection = video
	sendLayers(sender, 0, 1, 2)
	sendKeyframe(sender, 2)
	number := uint64(1<<17 + 1)
	for end := time.Now().Add(10 * time.Second); !m.supply.isDivided(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no limit is known")
		}
		for range 4 {
			number++
			track.ReceiveRTP(udp.NewBatch(0, nil), []media.Received{{
				SequenceNumber: number, SSRC: 3, Layer: 2, Payload: append([]byte{0x10, 1}, make([]byte, 1000)...),
			}})
		}
		last, _ := video.LastSequenceNumber()
		f.ReceiveNACK(udp.NewBatch(0, nil), []uint16{last - 3, last - 1})
	}
}

// A client that says something else each millisecond has nobody look all the time.
func TestFloodOfEstimates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		var s *supply
		s = &supply{look: func() {
			looks++
			s.conclude(1_000_000, time.Now())
		}}
		for i := range 1000 {
			s.ReceiveREMB(500_000 - 100_000*float64(i%2))
			time.Sleep(time.Millisecond)
		}
		s.end()
		synctest.Wait()
		if most := int(time.Second/lookInterval) + 1; looks > most || looks < 10 {
			t.Errorf("%d looks in a second, want %d at most", looks, most)
		}
	})
}

// A sign that was none leaves no limit, and no timer.
func TestDoubtLeavesNoTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks, checks := 0, 0
		var s *supply
		s = &supply{look: func() {
			looks++
			s.conclude(1_000_000, time.Now())
			if s.wantsMeasurement() {
				checks++
				go func() {
					time.Sleep(50 * time.Millisecond)
					s.ReceiveMeasured(50*time.Millisecond, time.Now())
				}()
			}
		}}
		s.ReceiveRoundTrip(50*time.Millisecond, time.Now())
		s.ReceiveRoundTrip(time.Second, time.Now())
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if checks < 2 || checks > 9 {
			t.Errorf("%d checks", checks)
		}
		looks = 0
		time.Sleep(time.Hour)
		synctest.Wait()
		if looks > 0 || s.isDivided() || !s.due.IsZero() {
			t.Errorf("%d looks after it, divided %v", looks, s.isDivided())
		}
		s.end()
	})
}

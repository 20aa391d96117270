package rtc

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// heardFor has a client report for so many seconds, five times in each, and gives the delays that packets tell then, in
// units of the extension; -1: none.
func heardFor(p *playout, now time.Time, seconds, lost int, trip time.Duration) (delays []int, after time.Time) {
	for range seconds {
		for range 5 {
			now = now.Add(200 * time.Millisecond)
			p.receive(lost, 30, trip, now)
		}
		delay := -1
		if value := p.value.Load(); value != 0 {
			delay = int(value >> 12)
		}
		delays = append(delays, delay)
	}

	return delays, now
}

func TestWhoLosesPacketsKeepsPicturesLonger(t *testing.T) {
	const trip = 52 * time.Millisecond
	var p playout
	now := time.Unix(1_000_000, 0)
	last := func(seconds, lost int, trip time.Duration) int {
		t.Helper()
		delays, after := heardFor(&p, now, seconds, lost, trip)
		now = after

		return delays[len(delays)-1]
	}
	if got := last(20, 0, trip); got != -1 {
		t.Errorf("without losses: %d", got)
	}
	if got := last(1, 20, trip); got != -1 {
		t.Errorf("after an outage: %d", got)
	}
	last(20, 0, trip)
	if got := last(4, 2, trip); got != 23 {
		t.Errorf("losses of a fifteenth: %d, want 230 ms", got)
	}
	if got := last(4, 2, 20*time.Millisecond); got != 23 {
		t.Errorf("a shorter round trip: %d, the delay would go up and down", got)
	}
	if got := last(4, 2, 300*time.Millisecond); got != 23 {
		t.Errorf("a queue that is full: %d, want what was before", got)
	}
	p.moves()
	if got := last(4, 2, 2*time.Second); got != 50 {
		t.Errorf("a long round trip: %d, want half a second", got)
	}
	if got := last(5, 0, 2*time.Second); got != 50 {
		t.Errorf("after 5 s without losses: %d", got)
	}
	if delays, _ := heardFor(&p, now, 12, 0, 2*time.Second); delays[6] != 0 || delays[11] != -1 {
		t.Errorf("at the end %v: it is to be taken back, and then nothing is to be said", delays)
	}
}

// What is lost in a queue that overflows is no reason; losses that go on after it are.
func TestOverflowIsNoReasonToKeepPicturesLonger(t *testing.T) {
	var p playout
	_, now := heardFor(&p, time.Unix(1_000_000, 0), 20, 0, 50*time.Millisecond)
	delays, now := heardFor(&p, now, 1, 10, 50*time.Millisecond)
	p.overflows(now)
	after, _ := heardFor(&p, now, 6, 2, 50*time.Millisecond)
	if delays = append(delays, after...); delays[0] != -1 || delays[1] != -1 || delays[2] != -1 || delays[6] != 23 {
		t.Errorf("%v", delays)
	}
}

func TestWhatIsNotSentTellsNothing(t *testing.T) {
	var p playout
	now := time.Unix(1_000_000, 0)
	_, now = heardFor(&p, now, 4, 2, 0)
	for range 100 {
		now = now.Add(time.Second)
		p.receive(0, 0, 0, now)
	}
	if p.value.Load()>>12 != 18 {
		t.Errorf("after a long pause the delay is %d", p.value.Load()>>12)
	}
}

// Packets tell the delay by the client's identifier, those that are sent again too, for as long as there is one, and
// unless they would become too large.
func TestPlayoutDelays(t *testing.T) {
	know := func(engine *webrtc.MediaEngine) {
		timing(t, engine)
		known := webrtc.RTPHeaderExtensionCapability{URI: playoutDelay.uri}
		must(t, engine.RegisterHeaderExtension(known, webrtc.RTPCodecTypeVideo))
	}
	peer, d := timedBy(t, know, func(answer string) string { return strings.ReplaceAll(answer, "extmap:5 ", "extmap:7 ") })
	batch, sent := collect()
	large := make([]byte, maxPayloadBytes)
	for i, value := range []uint32{0, 23<<12 | 1000, 1000, 0} {
		peer.playout.value.Store(value)
		packet := &media.Outgoing{SequenceNumber: uint16(i), SendTime: 0x010203, Payload: []byte("payload")}
		must(t, d.WriteRTP(batch, packet))
		must(t, d.ResendRTP(batch, packet))
		must(t, d.ResendRTP(batch, &media.Outgoing{SequenceNumber: uint16(i), Payload: large}))
	}
	batch.Flush()
	for i, packet := range opened(t, peer, *sent) {
		want := []uint32{0, 23<<12 | 1000, 1000, 0}[i/3]
		if len((*sent)[i]) > 1000 {
			want = 0
			if len((*sent)[i]) > udp.MaxDatagram {
				t.Errorf("packet %d has %d bytes", i, len((*sent)[i]))
			}
		}
		value := packet.GetExtension(7)
		if (len(value) == 3) != (want != 0) {
			t.Errorf("packet %d says %x, want %#x", i, value, want)
		} else if want != 0 && binary.BigEndian.Uint32(append([]byte{0}, value...)) != want {
			t.Errorf("packet %d says %x, want %#x", i, value, want)
		}
		if len(packet.GetExtension(2)) != 3 {
			t.Errorf("packet %d does not say when it left", i)
		}
		if i%3 == 1 && string(packet.Payload[2:]) != "payload" || i%3 == 0 && string(packet.Payload) != "payload" {
			t.Errorf("packet %d has the payload %q", i, packet.Payload)
		}
	}
}

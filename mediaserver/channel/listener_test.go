package channel

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/nagi-rtc/nagi/mediaserver/codecs"
	"github.com/nagi-rtc/nagi/mediaserver/fanout"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// ear is a receiver that keeps what it hears.
type ear struct{ heard []byte }

func (*ear) Worker() int { return 0 }

func (e *ear) WriteRTP(_ *udp.Batch, p *media.Outgoing) error {
	e.heard = append(e.heard, p.Payload...)

	return nil
}

func (*ear) ResendRTP(*udp.Batch, *media.Outgoing) error { return nil }

func (*ear) WritePadding(*udp.Batch, *media.Outgoing, uint8) error { return nil }

func (*ear) WriteSenderReport(*udp.Batch, uint64, uint32, uint32, uint32) error { return nil }

func (*ear) SSRC() uint32 { return 1 }

// newListener makes one with a receiver; another sender is in focus.
func newListener(t testing.TB, look func()) (*listener, *ear) {
	focus := newFocus(1, look)
	t.Cleanup(func() { focus.changed.Stop() })
	track := fanout.NewTrack(fanout.Config{Kind: media.Audio, Inspect: codecs.Opus.Inspect})
	receiver := &ear{}
	track.Project(receiver, 0)

	return &listener{Track: track, focus: focus, sender: focus.spotlight.Add()}, receiver
}

// The first loud packet is heard, and what comes after the last one until a word is
// surely over; who says nothing of levels is heard always.
func TestListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looked := 0
		l, receiver := newListener(t, func() { looked++ })
		batch, number := udp.NewBatch(0, nil), uint64(1<<17)
		say := func(payload string, level uint8, hasLevel bool) {
			number++
			l.ReceiveRTP(batch, []media.Received{{
				SequenceNumber: number, Timestamp: uint32(960 * number), SSRC: 1,
				HasLevel: hasLevel, Level: level, Payload: []byte(payload),
			}})
			time.Sleep(20 * time.Millisecond)
			synctest.Wait()
		}
		say("a", 0, false)
		say("b", 127, true)
		say("c", 90, true)
		say("d", 30, true)
		for range 8 {
			say("e", 100, true)
		}
		time.Sleep(20 * time.Millisecond)
		say("f", 100, true)
		say("g", 127, false) // It has said before how loud it is.
		say("h", 30, true)
		if got := string(receiver.heard); got != "adeeeeeeeeh" {
			t.Errorf("heard %q, want what follows a loud packet within 200 ms", got)
		}
		for range 50 {
			say("", 30, true)
		}
		if looked != 1 || !l.sender.Focused() {
			t.Errorf("the channel was to look %d times, want once, when the speaker came into focus", looked)
		}
	})
}

// A packet of thirty people's audio costs no memory, heard or not.
func TestListenersAllocateNothing(t *testing.T) {
	l, _ := newListener(t, func() {})
	batch, packets := udp.NewBatch(0, nil), make([]media.Received, 1)
	number := uint64(1 << 17)
	for _, level := range []uint8{100, 20} {
		receive := func() {
			number++
			packets[0] = media.Received{SequenceNumber: number, SSRC: 1, HasLevel: true, Level: level}
			l.ReceiveRTP(batch, packets)
		}
		receive()
		if n := testing.AllocsPerRun(1000, receive); n != 0 {
			t.Errorf("%v allocations for a packet at level %d", n, level)
		}
	}
}

package channel_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
	"github.com/nagi-rtc/nagi/mediaserver/channel"
	"github.com/nagi-rtc/nagi/mediaserver/signaling"
)

const (
	speaking = 25
	silent   = 127
)

// spotlightOfOne is a channel in which one is in focus, and the others' video does not come.
func spotlightOfOne(t *testing.T) (s *server, a, b, c *bot.Bot) {
	t.Helper()
	s = newServer(t, time.Hour, channel.Hold)
	wanted := bot.Spotlight{Number: 1, UnfocusRID: "none"}
	a, b = s.joinSpotlight(t, "a", wanted), s.joinSpotlight(t, "b", wanted)
	wanted.Number = 2 // which the first has decided
	c = s.joinSpotlight(t, "c", wanted)
	s.apply()

	return s, a, b, c
}

func (s *server) joinSpotlight(t *testing.T, clientID string, wanted bot.Spotlight) *bot.Bot {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	b, err := bot.Join(ctx, bot.Config{URL: s.url, ChannelID: channelID, ClientID: clientID, Spotlight: &wanted})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Drop)

	return b
}

// reasons are why one kind of an edge is withheld.
func (s *server) reasons(receiver, sender *bot.Bot, kind forwardingv1.Kind) []forwardingv1.Withheld {
	return streamOf(s.edge(receiver, sender), kind).GetWithheld()
}

// unfocused waits until nothing of a sender comes for want of focus.
func (s *server) unfocused(t *testing.T, receiver, sender *bot.Bot) {
	t.Helper()
	why := []forwardingv1.Withheld{forwardingv1.Withheld_WITHHELD_UNFOCUSED}
	eventually(t, "it is out of focus", func() bool {
		return slices.Equal(s.reasons(receiver, sender, forwardingv1.Kind_KIND_AUDIO), why) &&
			slices.Equal(s.reasons(receiver, sender, forwardingv1.Kind_KIND_VIDEO), why)
	})
}

// told waits for a notice about somebody.
func told(t *testing.T, to *bot.Bot, event string, about *bot.Bot) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	if _, err := to.WaitNotification(ctx, func(n bot.Notification) bool {
		return n.EventType == event && n.ConnectionID == about.ConnectionID()
	}); err != nil {
		t.Fatalf("waiting for %s: %v", event, err)
	}
}

// Who speaks is heard, and seen once in focus, by everybody; nobody else is. All of it
// without a re-offer.
func TestSpotlight(t *testing.T) {
	s, a, b, c := spotlightOfOne(t)
	for _, receiver := range []*bot.Bot{b, c} {
		s.unfocused(t, receiver, a)
	}

	a.SetAudioLevel(speaking)
	for _, receiver := range []*bot.Bot{b, c} {
		told(t, receiver, "spotlight.focused", a)
		eventually(t, "the speaker is heard", comes(receiver, a, bot.Audio))
		eventually(t, "the speaker is seen", comes(receiver, a, bot.Video))
	}
	told(t, a, "spotlight.focused", a)
	s.unfocused(t, a, b)

	a.SetAudioLevel(silent)
	b.SetAudioLevel(speaking)
	for _, receiver := range []*bot.Bot{a, c} {
		eventually(t, "the next speaker is heard", comes(receiver, b, bot.Audio))
		told(t, receiver, "spotlight.unfocused", a)
		told(t, receiver, "spotlight.focused", b)
		eventually(t, "the next speaker is seen", comes(receiver, b, bot.Video))
	}
	s.unfocused(t, c, a)
	late := s.joinSpotlight(t, "late", bot.Spotlight{})
	told(t, late, "spotlight.focused", b)
	eventually(t, "a latecomer hears the speaker", comes(late, b, bot.Audio))
	eventually(t, "a latecomer wants to see the others too", comes(late, a, bot.Video))

	b.Drop()
	told(t, c, "spotlight.focused", a) // who spoke before
	eventually(t, "who spoke before is seen", comes(c, a, bot.Video))
}

// A pause is in force whoever is in focus: it withholds nothing else, it is acknowledged
// for what it withholds itself, and no focus lifts it.
func TestPauseInASpotlightChannel(t *testing.T) {
	s, a, b, c := spotlightOfOne(t)
	both := newPause("1", one(b), one(a), func(p *forwardingv1.Pause) {
		p.Kinds = append(p.Kinds,
			forwardingv1.Kind_KIND_AUDIO)
	})
	s.apply(both)
	if state := s.state("1"); state != forwardingv1.State_STATE_MATCHING {
		t.Errorf("a pause of what is out of focus is %v", state)
	}
	for range 2 {
		a.SetAudioLevel(speaking)
		told(t, c, "spotlight.focused", a)
		eventually(t, "who is not paused hears the speaker", comes(c, a, bot.Audio))
		eventually(t, "who is not paused sees the speaker", comes(c, a, bot.Video))
		for _, kind := range []forwardingv1.Kind{forwardingv1.Kind_KIND_AUDIO, forwardingv1.Kind_KIND_VIDEO} {
			if why := s.reasons(b, a, kind); !slices.Equal(why, []forwardingv1.Withheld{forwardingv1.Withheld_WITHHELD_PAUSED}) {
				t.Errorf("%v of a sender in focus that is paused is withheld for %v", kind, why)
			}
		}
		a.SetAudioLevel(silent)
		c.SetAudioLevel(speaking)
		told(t, b, "spotlight.focused", c)
		eventually(t, "the other speaker is seen", comes(b, c, bot.Video))
		c.SetAudioLevel(silent)
	}
	if n := packets(b, a, bot.Audio) + packets(b, a, bot.Video); n != 0 {
		t.Errorf("%d packets came of a sender that was paused all the time", n)
	}

	s.apply()
	s.unfocused(t, b, a) // No resume lifts a lack of focus.
	a.SetAudioLevel(speaking)
	eventually(t, "the resumed speaker is heard", comes(b, a, bot.Audio))
	eventually(t, "the resumed speaker is seen", comes(b, a, bot.Video))

	s.apply(both)
	last := streamOf(s.edge(b, a), forwardingv1.Kind_KIND_VIDEO).GetLastSequenceNumber()
	a.SetAudioLevel(silent)
	c.SetAudioLevel(speaking)
	told(t, b, "spotlight.unfocused", a)
	c.SetAudioLevel(silent)
	a.SetAudioLevel(speaking)
	eventually(t, "the other one sees the speaker", comes(c, a, bot.Video))
	if now := streamOf(s.edge(b, a), forwardingv1.Kind_KIND_VIDEO).GetLastSequenceNumber(); now != last {
		t.Errorf("packets up to %d left of what was paused at %d", now, last)
	}
	s.apply()
	eventually(t, "the resumed speaker is seen again", comes(b, a, bot.Video))
}

// A channel is a spotlight channel for all or for nobody, and as long as anybody is in it.
func TestSpotlightIsTheChannels(t *testing.T) {
	s := newServer(t, time.Hour, channel.Forward)
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	for _, spotlights := range []*bot.Spotlight{{}, nil} {
		config := bot.Config{URL: s.url, ChannelID: channelID, Spotlight: spotlights}
		first, err := bot.Join(ctx, config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(first.Drop)
		if is := s.registry.Membership(channelID, 0, 0).Joined[0].GetSpotlight(); is != (spotlights != nil) {
			t.Errorf("a connection is said to be in a spotlight channel: %v", is)
		}
		other := config
		other.Spotlight = &bot.Spotlight{}
		if spotlights != nil {
			other.Spotlight = nil
		}
		var closed *bot.ClosedError
		if _, err := bot.Join(ctx, other); !errors.As(err, &closed) || closed.Reason != signaling.ReasonSpotlightMismatch {
			t.Errorf("joining otherwise: %v, want %s", err, signaling.ReasonSpotlightMismatch)
		}
		if err := first.Leave(ctx); err != nil {
			t.Fatal(err)
		}
		eventually(t, "nobody is in the channel", func() bool {
			return len(s.registry.Membership(channelID, 0, 0).Joined) == 0
		})
	}
}

// Pauses that come and go while everybody speaks by fits and starts hold every packet from
// their acknowledgement on, and nobody waits for ever.
func TestPausesWhileFocusChanges(t *testing.T) {
	s, a, b, c := spotlightOfOne(t)
	kinds := []forwardingv1.Kind{forwardingv1.Kind_KIND_AUDIO, forwardingv1.Kind_KIND_VIDEO}
	both := newPause("1", one(b), one(a), func(p *forwardingv1.Pause) { p.Kinds = kinds })
	speakers, level := []*bot.Bot{a, b, c}, []uint8{speaking, silent}
	heard := packets(c, a, bot.Audio)
	for round := range 60 {
		speakers[round%3].SetAudioLevel(level[round/3%2])
		s.apply(both)
		var last []uint32
		for _, kind := range kinds {
			last = append(last, streamOf(s.edge(b, a), kind).GetLastSequenceNumber())
		}
		sent := a.Published().AudioPackets
		eventually(t, "time passes", func() bool { return a.Published().AudioPackets > sent+3 })
		for i, kind := range kinds {
			if now := streamOf(s.edge(b, a), kind).GetLastSequenceNumber(); now != last[i] {
				t.Fatalf("%v up to number %d left of what was paused at %d", kind, now, last[i])
			}
		}
		s.apply()
	}
	if packets(c, a, bot.Audio) == heard {
		t.Error("nothing was heard all the time: the test mixes nothing")
	}
}

// sizes keeps how wide the last picture is that came of each sender.
type sizes struct {
	mu    sync.Mutex
	width map[string]int
}

// observe reads the width from a keyframe of VP8 (RFC 6386 section 9.1).
func (s *sizes) observe(p bot.Packet) {
	if at := bytes.Index(p.Payload, []byte{0x9d, 0x01, 0x2a}); p.KeyframeStart && at >= 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.width[p.SenderConnectionID] = int(binary.LittleEndian.Uint16(p.Payload[at+3:]))
	}
}

func (s *sizes) of(sender *bot.Bot) int {
	s.mu.Lock()
	defer s.mu.Unlock()

	return s.width[sender.ConnectionID()]
}

// With simulcast each receiver sees those in focus, and the others, in the size that it
// asks for, a pause or not in between.
func TestSpotlightWithSimulcast(t *testing.T) {
	s := newServer(t, time.Hour, channel.Hold)
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	join := func(clientID string, wanted bot.Spotlight) (*bot.Bot, *sizes) {
		seen := &sizes{width: make(map[string]int)}
		b, err := bot.Join(ctx, bot.Config{
			URL: s.url, ChannelID: channelID, ClientID: clientID, Simulcast: true, RID: "none", Spotlight: &wanted,
			Observer: seen.observe,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Drop)

		return b, seen
	}
	a, _ := join("a", bot.Spotlight{Number: 1})
	b, byB := join("b", bot.Spotlight{FocusRID: "r2"})
	_, byC := join("c", bot.Spotlight{UnfocusRID: "r2", FocusRID: "r0"})
	_, byD := join("d", bot.Spotlight{}) // r1 in focus, r0 else
	s.apply()
	const r0, r1, r2 = 160, 320, 640
	see := func(inB, inC, inD int) {
		t.Helper()
		eventually(t, "the sizes are those asked for", func() bool {
			return byB.of(a) == inB && byC.of(a) == inC && byD.of(a) == inD
		})
	}
	see(r0, r2, r0)
	a.SetAudioLevel(speaking)
	see(r2, r0, r1)
	s.apply(video("1", b, a))
	b.SetAudioLevel(speaking)
	a.SetAudioLevel(silent)
	told(t, a, "spotlight.focused", b)
	eventually(t, "the others see it as one of many", func() bool { return byC.of(a) == r2 && byD.of(a) == r0 })
	if got := byB.of(a); got != r2 {
		t.Errorf("a receiver for which it is paused saw it %d wide", got)
	}
	s.apply()
	see(r0, r2, r0)
}

package browser

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// pairing is a sender and a receiver, and what the sender sends.
type pairing struct {
	sender, receiver string // versions of the SDK
	codec            string
	simulcast        bool
	// sendrecv: both send and receive; else one only sends and the other only receives.
	sendrecv bool
}

func (p pairing) String() string {
	name := fmt.Sprintf("%s to %s %s", p.sender, p.receiver, p.codec)
	if p.simulcast {
		name += " simulcast"
	}
	if p.sendrecv {
		name += " both ways"
	}

	return name
}

// TestClients has each client see and hear another, whichever version of the SDK and codec they
// have. A pause stops the one's video and lets its audio go on; after it the picture is back.
func TestClients(t *testing.T) {
	openTab := newBrowser(t)
	encoded := encodedBy(t, openTab("about:blank"))
	for i, p := range pairings {
		if !slices.Contains(encoded, "video/"+p.codec) { // A Chromium without the licence for H264 cannot encode that one.
			t.Logf("left out: %v", p)

			continue
		}
		t.Run(p.String(), func(t *testing.T) {
			channelID := fmt.Sprint("browser-clients-", i)
			roles := [2]string{"sendonly", "recvonly"}
			if p.sendrecv {
				roles = [2]string{"sendrecv", "sendrecv"}
			}
			options := fmt.Sprintf("{videoCodecType: %q, large: true, simulcast: %v}", p.codec, p.simulcast)
			sender := newSDKIn(t, openTab, p.sender, signalingURL)(channelID, "sender", roles[0], options)
			receiver := newSDKIn(t, openTab, p.receiver, signalingURL)(channelID, "receiver", roles[1], options)
			eventually(t, "the receiver sees the sender", func() error { return receiver.decodes(t, sender, p.codec) })
			if p.sendrecv {
				eventually(t, "the sender sees the receiver", func() error { return sender.decodes(t, receiver, p.codec) })
			}
			pauseStopsExactly(t, channelID, sender, receiver)
			leave(t, sender)
			leave(t, receiver)
		})
	}
}

// pauseStopsExactly pauses what a receiver sees of a sender, and resumes it.
func pauseStopsExactly(t *testing.T, channelID string, sender, receiver sdkTab) {
	t.Helper()
	recoversWithinASecond(t, func() time.Duration { return pauseAndResume(t, channelID, sender, receiver) })
}

// recoversWithinASecond has pauseAndResume tell how long the picture took to be back. The browsers
// share a small machine with the media server and with each other's encoders, so one of three times
// is enough.
func recoversWithinASecond(t *testing.T, pauseAndResume func() time.Duration) {
	t.Helper()
	var took []time.Duration
	for range 3 {
		last := pauseAndResume().Round(time.Millisecond)
		if took = append(took, last); last <= time.Second {
			t.Logf("the picture is back after %v", took)

			return
		}
	}
	t.Errorf("the picture is back after %v, want a second at most", took)
}

func pauseAndResume(t *testing.T, channelID string, sender, receiver sdkTab) (took time.Duration) {
	t.Helper()
	edge := map[string]string{
		"channel_id": channelID, "recv_connection_id": receiver.connectionID, "send_connection_id": sender.connectionID,
	}
	if err := call("Sora_20200401.PauseRtpStream", edge, new(map[string]string)); err != nil {
		t.Fatal(err)
	}
	audioGoesOn := func() map[string]map[string]inbound {
		before := receiver.received(t)
		eventually(t, "audio goes on", func() error {
			return receiver.audioGoesOn(t, sender.connectionID, before, receiver.received(t))
		})

		return receiver.received(t)
	}
	before := audioGoesOn() // So what was on its way when the answer came has been counted.
	for range 3 {
		audioGoesOn()
	}
	paused := audioGoesOn()
	was, is := before[sender.connectionID]["video"], paused[sender.connectionID]["video"]
	if n := is.PacketsReceived - was.PacketsReceived; n != 0 {
		t.Errorf("%d packets of video came while it was paused", n)
	}
	resumed := time.Now()
	if err := call("Sora_20200401.ResumeRtpStream", edge, new(map[string]string)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the picture moves again", func() error { return receiver.goesOn(t, sender.connectionID, paused) })

	return time.Since(resumed)
}

package browser

import (
	"fmt"
	"testing"
	"time"
)

// speak has a tab speak, or be silent.
func (s sdkTab) speak(t *testing.T, on bool) {
	t.Helper()
	if err := evaluate(t, s.tab, fmt.Sprintf("speak(%v)", on), new(any)); err != nil {
		t.Fatal(err)
	}
}

// told tells whether the last of the tab's notices of an event is about a sender.
func (s sdkTab) told(t *testing.T, event string, about sdkTab) error {
	t.Helper()
	var told []map[string]any
	if err := evaluate(t, s.tab, fmt.Sprintf("notified(%q)", event), &told); err != nil {
		return err
	}
	if len(told) == 0 || told[len(told)-1]["connection_id"] != about.connectionID {
		return fmt.Errorf("told %s: %v", event, told)
	}

	return nil
}

// takesTheWord has one tab speak and another be silent, and waits until the others are told
// that the speaker is in focus.
func (s sdkTab) takesTheWord(t *testing.T, from sdkTab, others ...sdkTab) {
	t.Helper()
	from.speak(t, false)
	s.speak(t, true)
	for _, other := range others {
		eventually(t, "the speaker is in focus", func() error { return other.told(t, "spotlight.focused", s) })
	}
}

// stopsAltogether waits until nothing of a sender comes to the tab, while something of
// another does.
func (s sdkTab) stopsAltogether(t *testing.T, sender, other sdkTab) {
	t.Helper()
	eventually(t, "a sender out of focus is neither heard nor seen", func() error {
		before := s.received(t)
		for watched := time.Now(); time.Since(watched) < standstill/3; {
			eventually(t, "another goes on", func() error { return s.goesOn(t, other.connectionID, before) })
		}
		now := s.received(t)
		for _, kind := range []string{"audio", "video"} {
			a, b := before[sender.connectionID][kind], now[sender.connectionID][kind]
			if a.PacketsReceived != b.PacketsReceived {
				return fmt.Errorf("%s went on: %+v, then %+v", kind, a, b)
			}
		}

		return nil
	})
}

// TestSpotlight: of three browsers, one of which has the older SDK, the one that speaks is
// heard and seen by both others; nobody is offered anything for that. A pause stops exactly
// its edge, whoever is in focus, and after it the picture is back.
func TestSpotlight(t *testing.T) {
	const channelID = "browser-spotlight"
	openTab := newBrowser(t)
	join := func(clientID, version string) sdkTab {
		options := `{voice: true, spotlight: true, spotlightNumber: 1, spotlightUnfocusRid: "none"}`

		return newSDKIn(t, openTab, version, signalingURL)(channelID, clientID, "sendrecv", options)
	}
	alice, bob, carol := join("alice", currentSDK), join("bob", currentSDK), join("carol", oldSDK)

	alice.takesTheWord(t, bob, alice, bob, carol)
	for _, receiver := range []sdkTab{bob, carol} {
		eventually(t, "the speaker is heard and seen", func() error { return receiver.goesOn(t, alice.connectionID, nil) })
	}
	var offers int
	if err := evaluate(t, carol.tab, "offers()", &offers); err != nil {
		t.Fatal(err)
	}
	bob.takesTheWord(t, alice, alice, bob, carol)
	for _, receiver := range []sdkTab{alice, carol} {
		eventually(t, "the next speaker is heard and seen", func() error { return receiver.goesOn(t, bob.connectionID, nil) })
		eventually(t, "the receiver is told who was in focus", func() error {
			return receiver.told(t, "spotlight.unfocused", alice)
		})
	}
	carol.stopsAltogether(t, alice, bob)

	edge := map[string]string{
		"channel_id": channelID, "recv_connection_id": carol.connectionID, "send_connection_id": alice.connectionID,
	}
	if err := call("Sora_20200401.PauseRtpStream", edge, new(map[string]string)); err != nil {
		t.Fatal(err)
	}
	carolBefore, bobBefore := carol.received(t), bob.received(t)
	alice.takesTheWord(t, bob, alice, bob, carol)
	eventually(t, "another receiver sees the speaker", func() error {
		return bob.goesOn(t, alice.connectionID, bobBefore)
	})
	eventually(t, "who does not see the speaker hears it", func() error {
		return carol.audioGoesOn(t, alice.connectionID, carolBefore, carol.received(t))
	})
	paused := carol.received(t)
	if got, want := paused[alice.connectionID]["video"], carolBefore[alice.connectionID]["video"]; got != want {
		t.Errorf("the paused video of a speaker went on: %+v, then %+v", want, got)
	}
	if err := call("Sora_20200401.ResumeRtpStream", edge, new(map[string]string)); err != nil {
		t.Fatal(err)
	}
	resumed := time.Now()
	eventually(t, "the speaker is seen again", func() error { return carol.goesOn(t, alice.connectionID, paused) })
	t.Logf("the speaker is seen %v after the resume", time.Since(resumed).Round(time.Millisecond))

	var now int
	if err := evaluate(t, carol.tab, "offers()", &now); err != nil || now != offers {
		t.Errorf("offer %d became %d: %v", offers, now, err)
	}
	carol.takesTheWord(t, alice, alice, bob)
	for _, receiver := range []sdkTab{alice, bob} {
		eventually(t, "the older SDK's speaker is heard and seen", func() error {
			return receiver.goesOn(t, carol.connectionID, nil)
		})
	}
}

// TestSpotlightWithSimulcast: a speaker is seen in the size that the receiver wants of
// those in focus, and as one of many in the other. A pause of a speaker stops the picture alone.
func TestSpotlightWithSimulcast(t *testing.T) {
	const channelID = "browser-spotlight-simulcast"
	join := newSDKWith(t)
	options := `{voice: true, large: true, simulcast: true, videoCodecType: "VP8", videoBitRate: 1500, ` +
		`spotlight: true, spotlightNumber: 1}`
	sender := join(channelID, "sender", "sendonly", options)
	receiver := join(channelID, "receiver", "recvonly",
		`{simulcast: true, spotlight: true, spotlightFocusRid: "r1", spotlightUnfocusRid: "r0"}`)
	sees := func(width int) {
		t.Helper()
		eventually(t, "the receiver sees the size that it wants", func() error {
			before := receiver.received(t)
			if got := before[sender.connectionID]["video"]; got.FrameWidth != width {
				return fmt.Errorf("the receiver gets %+v, want a width of %d", got, width)
			}
			if width == layers[0].width {
				return nil // Nothing is heard.
			}

			return receiver.goesOn(t, sender.connectionID, nil)
		})
	}
	sees(layers[0].width)
	sender.speak(t, true)
	sees(layers[1].width)
	pauseStopsExactly(t, channelID, sender, receiver)
	sees(layers[1].width)
	other := join(channelID, "other", "sendonly", options)
	other.takesTheWord(t, sender, receiver)
	sees(layers[0].width)
}

package browser

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// publicAddress is one that is no loopback address; namespace.sh makes it.
const publicAddress = "198.51.100.1"

// TestFirefoxIsToldThatLoopbackIsOutOfItsReach: what `make run` starts has media on
// loopback alone, where Firefox sends nothing. Its user is told so at once, and how to
// go on.
func TestFirefoxIsToldThatLoopbackIsOutOfItsReach(t *testing.T) {
	query := url.Values{"channel": {"firefox-loopback"}, "client": {"alice"}, "autojoin": {"1"}, "source": {"none"}}
	tab := newFirefox(t).open(t, pageURL+"?"+query.Encode())
	eventually(t, "the page says why it does not join", func() error {
		var shown string
		if err := tab.evaluate(`document.querySelector("#error").textContent`, &shown); err != nil {
			return err
		}
		for _, part := range []string{"Firefox", "127.0.0.1", "Chromium", "--media-listen="} {
			if !strings.Contains(shown, part) {
				return fmt.Errorf("the page shows the error %q, which has no %q", shown, part)
			}
		}

		return nil
	})
	var state string
	if err := tab.evaluate(`document.querySelector("#state").dataset.state`, &state); err != nil || state != "apart" {
		t.Errorf("the page is %q (%v), and offers no new try", state, err)
	}
}

// TestFirefoxMeetsChromium is a channel of both on a media server with an address of its
// own, as the page advises: each sees and hears the other, and a pause stops what it
// names.
func TestFirefoxMeetsChromium(t *testing.T) {
	const api, signaling, channelID = "http://127.0.0.1:6000/", "127.0.0.1:6001", "firefox"
	stop, err := startSystem(api, "--media-listen="+publicAddress+":6004", "--signaling-listen="+signaling,
		"--shim-listen=127.0.0.1:6000", "--manager-listen=127.0.0.1:6002", "--manager-metrics-listen=127.0.0.1:0",
		"--shim-metrics-listen=127.0.0.1:0", "--mediaserver-metrics-listen=127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("stopping nagi: %v", err)
		}
	})
	files := serveSDK(t, currentSDK)
	openTab, fox := newBrowser(t), newFirefox(t).open(t, files)
	join := func(client, role, options string, evaluate func(string, any) error) (id string) {
		t.Helper()
		eventually(t, "the SDK is loaded", func() error {
			var ready bool
			if err := evaluate("window.ready", &ready); err != nil || !ready {
				return fmt.Errorf("not loaded: %w", err)
			}

			return nil
		})
		url := "ws://" + signaling + "/signaling"
		if err := evaluate(fmt.Sprintf("join(%q, %q, %q, %q, %s)", url, channelID, client, role, options), &id); err != nil {
			t.Fatalf("%s cannot join: %v", client, err)
		}

		return id
	}
	joinChromium := func(client, role, options string) (id string, run func(string, any) error) {
		t.Helper()
		tab := openTab(files)
		run = func(expression string, result any) error { return evaluate(t, tab, expression, result) }

		return join(client, role, options, run), run
	}
	foxID := join("firefox", "sendrecv", "{}", fox.evaluate)
	chromiumID, inChromium := joinChromium("chromium", "sendrecv", "{}")

	received := func(evaluate func(string, any) error, sender string) (video, audio media) {
		t.Helper()
		var all map[string]map[string]media
		if err := evaluate("received()", &all); err != nil {
			t.Fatal(err)
		}

		return all[sender]["video"], all[sender]["audio"]
	}
	goesOn := func(evaluate func(string, any) error, sender string, frames, packets int) func() error {
		return func() error {
			video, audio := received(evaluate, sender)
			if video.FramesDecoded < frames || audio.PacketsReceived < packets {
				return fmt.Errorf("of %s: video %+v, audio %+v", sender, video, audio)
			}

			return nil
		}
	}
	eventually(t, "Firefox sees and hears Chromium", goesOn(fox.evaluate, chromiumID, 30, 50))
	eventually(t, "Chromium sees and hears Firefox", goesOn(inChromium, foxID, 30, 50))

	edge := map[string]string{"channel_id": channelID, "recv_connection_id": foxID, "send_connection_id": chromiumID}
	var echo map[string]string
	if err := callAt(api, "Sora_20200401.PauseRtpStream", edge, &echo); err != nil {
		t.Fatal(err)
	}
	last := -1
	eventually(t, "Chromium's picture stands still in Firefox", func() error {
		video, _ := received(fox.evaluate, chromiumID)
		if frames := video.FramesDecoded; frames != last {
			last = frames

			return fmt.Errorf("%d frames decoded", frames)
		}

		return nil
	})
	_, audio := received(fox.evaluate, chromiumID)
	eventually(t, "its sound goes on", goesOn(fox.evaluate, chromiumID, 0, audio.PacketsReceived+100))
	video, _ := received(inChromium, foxID)
	eventually(t, "Firefox's picture goes on", goesOn(inChromium, foxID, video.FramesDecoded+30, 0))
	if video, _ := received(fox.evaluate, chromiumID); video.FramesDecoded != last {
		t.Errorf("%d frames of the paused video were decoded", video.FramesDecoded-last)
	}
	if err := callAt(api, "Sora_20200401.ResumeRtpStream", edge, &echo); err != nil {
		t.Fatal(err)
	}
	eventually(t, "Chromium's picture moves again", goesOn(fox.evaluate, chromiumID, last+30, 0))

	// Of each other codec: what Firefox knows it decodes, and of what it does not it is told.
	var known []string
	capabilities := `RTCRtpReceiver.getCapabilities("video").codecs.map((codec) => codec.mimeType)`
	if err := fox.evaluate(capabilities, &known); err != nil {
		t.Fatal(err)
	}
	t.Logf("Firefox decodes %v", known)
	for _, codec := range []string{"VP8", "AV1", "H264"} {
		id, run := joinChromium(codec, "sendonly", fmt.Sprintf("{videoCodecType: %q}", codec))
		if slices.Contains(known, "video/"+codec) {
			eventually(t, "Firefox sees "+codec, goesOn(fox.evaluate, id, 30, 50))
		} else {
			eventually(t, "Firefox hears who sends "+codec, goesOn(fox.evaluate, id, 0, 50))
			var told []map[string]any
			if err := fox.evaluate(`notified("rtp-stream.rejected")`, &told); err != nil || len(told) == 0 ||
				told[len(told)-1]["send_connection_id"] != id {
				t.Errorf("of who sends %s Firefox was told %v (%v)", codec, told, err)
			}
		}
		if err := run("leave()", new(any)); err != nil {
			t.Fatal(err)
		}
	}
}

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

// TestFirefoxMeetsChromium has channels of both on a media server with an address of its
// own, as the page advises: each sees and hears the other, with the SDK of either year, and
// in a spotlight channel; and a pause stops what it names.
func TestFirefoxMeetsChromium(t *testing.T) {
	b := startBothBrowsers(t)
	for version, codec := range map[string]string{currentSDK: "VP9", oldSDK: "VP8"} {
		t.Run(version+" "+codec, func(t *testing.T) {
			channelID := "firefox-" + version
			options := fmt.Sprintf("{videoCodecType: %q}", codec)
			fox := b.firefoxJoins(t, version, channelID, options)
			chromium := b.chromiumJoins(t, version, channelID, "sendrecv", options)
			eventually(t, "Firefox sees and hears Chromium", fox.goesOn(t, chromium, 30, 50))
			eventually(t, "Chromium sees and hears Firefox", chromium.goesOn(t, fox, 30, 50))
			if video, _ := chromium.received(t, fox); video.Codec != "video/"+codec {
				t.Errorf("Firefox sends %+v, want %s", video, codec)
			}
			b.pauseStopsExactly(t, channelID, fox, chromium)
			fox.leave(t)
			chromium.leave(t)
		})
	}
	t.Run("codecs", func(t *testing.T) {
		const channelID = "firefox-codecs"
		fox := b.firefoxJoins(t, currentSDK, channelID, "{}")
		// What it knows it decodes, and of what it does not it is told.
		var known []string
		capabilities := `RTCRtpReceiver.getCapabilities("video").codecs.map((codec) => codec.mimeType)`
		if err := fox.evaluate(capabilities, &known); err != nil {
			t.Fatal(err)
		}
		t.Logf("Firefox decodes %v", known)
		for _, codec := range []string{"VP8", "AV1", "H264"} {
			chromium := b.chromiumJoins(t, currentSDK, channelID, "sendonly", fmt.Sprintf("{videoCodecType: %q}", codec))
			if slices.Contains(known, "video/"+codec) {
				eventually(t, "Firefox sees "+codec, fox.goesOn(t, chromium, 30, 50))
				b.pauseStopsExactly(t, channelID, fox, chromium)
			} else {
				eventually(t, "Firefox hears who sends "+codec, fox.goesOn(t, chromium, 0, 50))
				eventually(t, "Firefox is told", fox.told("rtp-stream.rejected", "send_connection_id", chromium))
			}
			chromium.leave(t)
		}
		fox.leave(t)
	})
	t.Run("simulcast", func(t *testing.T) {
		const channelID = "firefox-simulcast"
		options := `{simulcast: true, videoCodecType: "VP8", videoBitRate: 1500}`
		chromium := b.chromiumJoins(t, currentSDK, channelID, "sendonly", options)
		fox := b.firefoxJoins(t, currentSDK, channelID, `{simulcastRequestRid: "r0", videoCodecType: "VP8"}`)
		eventually(t, "Firefox sees the size that it asks for", func() error {
			var sent map[string]int
			if err := chromium.evaluate("sizes()", &sent); err != nil {
				return err
			}
			if video, _ := fox.received(t, chromium); len(sent) < 2 || video.FrameWidth != sent["r0"] {
				return fmt.Errorf("of %v it gets %+v", sent, video)
			}

			return nil
		})
		b.pauseStopsExactly(t, channelID, fox, chromium)
		fox.leave(t)
		chromium.leave(t)
	})
	t.Run("spotlight", func(t *testing.T) {
		const channelID = "firefox-spotlight"
		options := `{voice: %v, spotlight: true, spotlightNumber: 2, spotlightUnfocusRid: "none"}`
		fox := b.firefoxJoins(t, currentSDK, channelID, fmt.Sprintf(options, false)) // Its tone never ends.
		chromium := b.chromiumJoins(t, currentSDK, channelID, "sendrecv", fmt.Sprintf(options, true))
		eventually(t, "Firefox is in focus", chromium.told("spotlight.focused", "connection_id", fox))
		eventually(t, "Firefox is seen and heard", chromium.goesOn(t, fox, 30, 50))
		if video, _ := fox.received(t, chromium); video.PacketsReceived > 0 {
			t.Errorf("Firefox gets %+v of who is silent", video)
		}
		if err := chromium.evaluate("speak(true)", new(any)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "Chromium is in focus", fox.told("spotlight.focused", "connection_id", chromium))
		eventually(t, "Chromium is seen and heard", fox.goesOn(t, chromium, 30, 50))
		b.pauseStopsExactly(t, channelID, fox, chromium)
	})
}

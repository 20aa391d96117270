package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// standstill is for how long a paused sender's picture is watched.
const standstill = 3 * time.Second

// fullRate is what a browser sends of a 640x360 picture when nothing holds it
// back, in bit/s; it begins at 300,000.
const fullRate = 1_000_000

// newBrowser starts a headless Chromium with a made-up camera and microphone and
// returns a function that opens a tab.
func newBrowser(t *testing.T) (openTab func(url string) context.Context) {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox,
		chromedp.Flag("use-fake-device-for-media-stream", true),
		chromedp.Flag("use-fake-ui-for-media-stream", true),
		chromedp.Flag("autoplay-policy", "no-user-gesture-required"),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
	)
	allocator, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	browser, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	if _, err := chromedp.Run(browser, chromedp.Navigate("about:blank")); err != nil {
		t.Fatalf("starting Chromium: %v", err)
	}

	return func(url string) context.Context {
		t.Helper()
		tab, cancel := chromedp.NewContext(browser)
		t.Cleanup(cancel)
		if _, err := chromedp.Run(tab, chromedp.Navigate(url)); err != nil {
			t.Fatalf("opening %s: %v", url, err)
		}

		return tab
	}
}

// evaluate runs an expression in a tab, waits for its promise and decodes what
// it gives.
func evaluate(t *testing.T, tab context.Context, expression string, result any) error {
	t.Helper()
	answer, err := chromedp.Run(tab, chromedp.Evaluate[string](
		fmt.Sprintf("(async () => JSON.stringify((await (%s)) ?? null))()", expression), chromedp.EvalAwaitPromise))
	if err != nil {
		return fmt.Errorf("%s: %w", expression, err)
	}

	return json.Unmarshal([]byte(answer), result)
}

// sdkTab is a tab in which the SDK has joined a channel.
type sdkTab struct {
	tab          context.Context
	connectionID string
}

// inbound is what one receiver got of one kind from one sender.
type inbound struct {
	Codec                                                                     string // its MIME type
	PacketsReceived, PacketsLost, FramesDecoded, KeyFramesDecoded, FrameWidth int
}

// received returns what the tab got, by sender and kind.
func (s sdkTab) received(t *testing.T) map[string]map[string]inbound {
	t.Helper()
	var result map[string]map[string]inbound
	if err := evaluate(t, s.tab, "received()", &result); err != nil {
		t.Fatal(err)
	}

	return result
}

// goesOn tells whether the tab decodes more than it had decoded before.
func (s sdkTab) goesOn(t *testing.T, sender string, before map[string]map[string]inbound) error {
	t.Helper()
	now := s.received(t)
	if now[sender]["video"].FramesDecoded <= before[sender]["video"].FramesDecoded {
		return fmt.Errorf("%s decodes no more video of %s: %+v", s.connectionID, sender, now[sender])
	}

	return s.audioGoesOn(t, sender, before, now)
}

func (s sdkTab) audioGoesOn(t *testing.T, sender string, before, now map[string]map[string]inbound) error {
	t.Helper()
	if now[sender]["audio"].PacketsReceived <= before[sender]["audio"].PacketsReceived {
		return fmt.Errorf("%s gets no more audio of %s: %+v", s.connectionID, sender, now[sender])
	}

	return nil
}

// newSDK starts a browser and returns a function that opens a tab and has the
// SDK in it join a channel.
func newSDK(t *testing.T) (join func(channelID, clientID, role string) sdkTab) {
	t.Helper()
	joinWith := newSDKWith(t)

	return func(channelID, clientID, role string) sdkTab {
		t.Helper()

		return joinWith(channelID, clientID, role, "{}")
	}
}

// The SDK of this year, and of the year from which on applications are found that were not brought up to date.
const (
	currentSDK = "2026.1.0"
	oldSDK     = "2023.1.0"
)

// serveSDK serves the page that holds an SDK.
func serveSDK(t *testing.T, version string) (url string) {
	t.Helper()
	bundle := map[string]string{
		currentSDK: "node_modules/sora-js-sdk/dist/sora.js", oldSDK: "node_modules/sora-js-sdk-2023/dist/sora.mjs",
	}[version]

	return servePage(t, "sdk.html",
		map[string]string{"sora.js": bundle, "quality.js": "quality.js", "uplink.js": "uplink.js"})
}

// servePage serves a page and the scripts that it imports, by their names there.
func servePage(t *testing.T, page string, scripts map[string]string) (url string) {
	t.Helper()
	files := http.NewServeMux()
	files.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, page) })
	for name, file := range scripts {
		files.HandleFunc("GET /"+name, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("content-type", "text/javascript")
			http.ServeFile(w, r, file)
		})
	}
	server := httptest.NewServer(files)
	t.Cleanup(server.Close)

	return server.URL
}

// openReady opens a tab and waits until its scripts have run.
func openReady(t *testing.T, openTab func(url string) context.Context, url string) (tab context.Context) {
	t.Helper()
	tab = openTab(url)
	eventually(t, "the scripts are loaded", func() error {
		var ready bool
		if err := evaluate(t, tab, "window.ready", &ready); err != nil || !ready {
			return fmt.Errorf("not loaded: %w", err)
		}

		return nil
	})

	return tab
}

// newSDKWith is newSDK with options of the SDK, a JavaScript object.
func newSDKWith(t *testing.T) (join func(channelID, clientID, role, options string) sdkTab) {
	t.Helper()

	return newSDKOn(t, signalingURL)
}

// newSDKOn is newSDKWith for a media server of the test's.
func newSDKOn(t *testing.T, signalingURL string) (join func(channelID, clientID, role, options string) sdkTab) {
	t.Helper()

	return newSDKIn(t, newBrowser(t), currentSDK, signalingURL)
}

// newSDKIn is newSDKOn for tabs of one browser, and for one version of the SDK.
func newSDKIn(
	t *testing.T, openTab func(url string) context.Context, version, signalingURL string,
) (join func(channelID, clientID, role, options string) sdkTab) {
	t.Helper()
	files := serveSDK(t, version)

	return func(channelID, clientID, role, options string) sdkTab {
		t.Helper()
		s := sdkTab{tab: openReady(t, openTab, files)}
		join := fmt.Sprintf("join(%q, %q, %q, %q, %s)", signalingURL, channelID, clientID, role, options)
		if err := evaluate(t, s.tab, join, &s.connectionID); err != nil {
			t.Fatalf("%s cannot join: %v", clientID, err)
		}

		return s
	}
}

// TestSDKStopsDecodingExactlyThePausedSender is the promise of the API, seen
// with the SDK that its users have.
func TestSDKStopsDecodingExactlyThePausedSender(t *testing.T) {
	const channelID = "browser-sdk"
	join := newSDK(t)
	var tabs []sdkTab
	for _, clientID := range []string{"alice", "bob", "carol"} {
		tabs = append(tabs, join(channelID, clientID, "sendrecv"))
	}
	alice, bob, carol := tabs[0], tabs[1], tabs[2]

	for _, receiver := range tabs {
		for _, sender := range tabs {
			if sender.connectionID != receiver.connectionID {
				eventually(t, "everybody gets everybody", func() error { return receiver.goesOn(t, sender.connectionID, nil) })
			}
		}
	}

	eventually(t, "bob sends at the full rate of his picture", func() error {
		var bitsPerSecond int
		if err := evaluate(t, bob.tab, "allowed()", &bitsPerSecond); err != nil {
			return err
		}
		if bitsPerSecond < fullRate {
			return fmt.Errorf("%d bit/s", bitsPerSecond)
		}

		return nil
	})

	edge := map[string]string{
		"channel_id": channelID, "recv_connection_id": alice.connectionID, "send_connection_id": bob.connectionID,
	}
	for round := range 2 {
		pausedBobResumes(t, round, edge, alice, bob, carol)
	}
}

func pausedBobResumes(t *testing.T, round int, edge map[string]string, alice, bob, carol sdkTab) {
	t.Helper()
	var echo map[string]string
	if err := call("Sora_20200401.PauseRtpStream", edge, &echo); err != nil {
		t.Fatal(err)
	}

	// What was on its way or in the decoder when the answer came may still be
	// decoded; then the picture stands still.
	last := -1
	eventually(t, "the picture stands still", func() error {
		frames := alice.received(t)[bob.connectionID]["video"].FramesDecoded
		if frames != last {
			last = frames

			return fmt.Errorf("round %d: %d frames decoded", round, frames)
		}

		return nil
	})
	before := alice.received(t)
	bobBefore, carolBefore := bob.received(t), carol.received(t)
	watched := time.Now()
	eventually(t, "the others go on", func() error {
		now := alice.received(t)
		if got, want := now[bob.connectionID]["video"], before[bob.connectionID]["video"]; got != want {
			t.Fatalf("round %d: the paused video went on: %+v, then %+v", round, want, got)
		}
		if left := standstill - time.Since(watched); left > 0 {
			return fmt.Errorf("%v left to watch", left)
		}
		if err := alice.audioGoesOn(t, bob.connectionID, before, now); err != nil {
			return err
		}
		if err := alice.goesOn(t, carol.connectionID, before); err != nil {
			return err
		}
		if err := carol.goesOn(t, bob.connectionID, carolBefore); err != nil {
			return err
		}

		return bob.goesOn(t, alice.connectionID, bobBefore)
	})

	if err := call("Sora_20200401.ResumeRtpStream", edge, &echo); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the picture moves again", func() error { return alice.goesOn(t, bob.connectionID, before) })

	for _, event := range []string{"rtp-stream.paused", "rtp-stream.resumed"} {
		var told []map[string]any
		if err := evaluate(t, alice.tab, fmt.Sprintf("notified(%q)", event), &told); err != nil {
			t.Fatal(err)
		}
		if len(told) != round+1 || told[round]["send_connection_id"] != bob.connectionID {
			t.Errorf("round %d: alice was told %s: %v", round, event, told)
		}
	}
}

// TestReceiverWhoComesFirst is a receiver in an empty channel: its first offer has
// nothing but an inactive m-line, and yet it connects, and gets whoever comes. What
// is sent has a retransmission stream on both legs, and the picture survives many
// pauses.
func TestReceiverWhoComesFirst(t *testing.T) {
	const channelID = "browser-first"
	join := newSDK(t)
	receiver := join(channelID, "receiver", "recvonly")
	eventually(t, "the receiver is connected", func() error {
		var state string
		if err := evaluate(t, receiver.tab, "state()", &state); err != nil || state != "connected" {
			return fmt.Errorf("%q: %w", state, err)
		}

		return nil
	})
	sender := join(channelID, "sender", "sendonly")
	eventually(t, "the receiver gets the sender", func() error { return receiver.goesOn(t, sender.connectionID, nil) })

	for tab, stream := range map[sdkTab]string{sender: "outbound-rtp", receiver: "inbound-rtp"} {
		var streams []string
		if err := evaluate(t, tab.tab, "retransmits()", &streams); err != nil || !slices.Contains(streams, stream) {
			t.Errorf("%s: of video with a retransmission stream there is %v, want %s (%v)",
				tab.connectionID, streams, stream, err)
		}
	}

	edge := map[string]string{
		"channel_id": channelID, "recv_connection_id": receiver.connectionID, "send_connection_id": sender.connectionID,
	}
	for range 4 {
		var echo map[string]string
		if err := call("Sora_20200401.PauseRtpStream", edge, &echo); err != nil {
			t.Fatal(err)
		}
		before := receiver.received(t)
		eventually(t, "audio goes on", func() error {
			return receiver.audioGoesOn(t, sender.connectionID, before, receiver.received(t))
		})
		before = receiver.received(t)
		if err := call("Sora_20200401.ResumeRtpStream", edge, &echo); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the picture moves again", func() error {
			now := receiver.received(t)[sender.connectionID]["video"]
			if now.KeyFramesDecoded <= before[sender.connectionID]["video"].KeyFramesDecoded {
				return fmt.Errorf("no keyframe was decoded: %+v", now)
			}

			return receiver.goesOn(t, sender.connectionID, before)
		})
	}
	if lost := receiver.received(t)[sender.connectionID]["video"].PacketsLost; lost > 4 { // one may be missing at each cut
		t.Errorf("%d packets of video lost", lost)
	}

	// Its place in the session serves the next sender.
	if err := evaluate(t, sender.tab, "leave()", new(any)); err != nil {
		t.Fatal(err)
	}
	next := join(channelID, "next", "sendrecv")
	eventually(t, "the receiver gets the next sender", func() error { return receiver.goesOn(t, next.connectionID, nil) })
}

// TestSDKIsDismissed dismisses one client by the HTTP API and proves that the SDK
// tells its page so, as with Sora, and that nobody else is.
func TestSDKIsDismissed(t *testing.T) {
	const channelID = "browser-dismissed"
	join := newSDK(t)
	alice, bob := join(channelID, "alice", "sendrecv"), join(channelID, "bob", "sendrecv")
	eventually(t, "alice gets bob", func() error { return alice.goesOn(t, bob.connectionID, nil) })
	request := map[string]string{"channel_id": channelID, "connection_id": bob.connectionID}
	var echo map[string]string
	if err := call("Sora_20151104.DisconnectConnection", request, &echo); err != nil {
		t.Fatal(err)
	}
	type end struct {
		Code   int
		Reason string
	}
	var told *end
	eventually(t, "bob is told", func() error {
		if err := evaluate(t, bob.tab, "ended()", &told); err != nil || told == nil {
			return fmt.Errorf("not told: %w", err)
		}

		return nil
	})
	if *told != (end{1000, "DISCONNECTED-API"}) {
		t.Errorf("bob was told %+v", *told)
	}
	if err := evaluate(t, alice.tab, "ended()", &told); err != nil || told != nil {
		t.Errorf("alice was told %+v (%v)", told, err)
	}
}

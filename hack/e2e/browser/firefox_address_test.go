package browser

import (
	"maps"
	"net/netip"
	"testing"
)

// TestFirefoxAddressChanges: a NAT gives a Firefox and a Chromium other ports. Each gets its media there within a round
// trip and 50 ms of its choice, and not before it has answered a check of the server's; until then it goes to the port
// before; and each sends on.
func TestFirefoxAddressChanges(t *testing.T) {
	n := newNAT(t, publicAddress)
	signaling, media := startMediaServer(t, n.addr())
	n.serve(media)
	b := &bothBrowsers{signaling: "ws://" + signaling + "/signaling", openTab: newBrowser(t), firefox: newFirefox(t)}
	fox := b.firefoxJoins(t, currentSDK, t.Name(), "{}")
	chromium := b.chromiumJoins(t, currentSDK, t.Name(), "sendrecv", "{}")
	bothGoOn := func() {
		t.Helper()
		for receiver, sender := range map[*party]*party{&fox: &chromium, &chromium: &fox} {
			video, audio := receiver.received(t, *sender)
			eventually(t, "each sees and hears the other",
				receiver.goesOn(t, *sender, video.FramesDecoded+30, audio.PacketsReceived+50))
		}
	}
	bothGoOn()

	// The browsers share a small machine with the media server: one of three times is enough for each.
	var late map[netip.AddrPort]error
	for round := range 3 {
		again := n.moves(t)
		bothGoOn()
		t.Logf("not promptly: %v", again)
		if round == 0 {
			late = again
		}
		maps.DeleteFunc(late, func(browser netip.AddrPort, _ error) bool { return again[browser] == nil })
		if n.onFormerPorts == 0 {
			t.Error("no media came to a port before, until a check was answered")
		}
		if len(late) == 0 {
			return
		}
	}
	t.Errorf("three times: %v", late)
}

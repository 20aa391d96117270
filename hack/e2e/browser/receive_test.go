package browser

import (
	"fmt"
	"testing"
)

// TestReceiverThatStopsReceiving: what a browser makes inactive stops with its next answer, and it is told so; others
// go on. Once it receives again, the picture moves again.
func TestReceiverThatStopsReceiving(t *testing.T) {
	const channelID = "browser-receive"
	join := newSDK(t)
	alice, bob := join(channelID, "alice", "recvonly"), join(channelID, "bob", "sendonly")
	eventually(t, "alice gets bob", func() error { return alice.goesOn(t, bob.connectionID, nil) })
	receive := func(does bool) {
		t.Helper()
		if err := evaluate(t, alice.tab, fmt.Sprintf("receive(%q, %t)", bob.connectionID, does), new(any)); err != nil {
			t.Fatal(err)
		}
	}

	receive(false)
	carol := join(channelID, "carol", "sendonly") // brings alice another offer
	eventually(t, "alice is told", func() error {
		var told []struct {
			SendConnectionID string `json:"send_connection_id"`
		}
		if err := evaluate(t, alice.tab, `notified("rtp-stream.rejected")`, &told); err != nil {
			return err
		}
		if len(told) != 2 || told[0].SendConnectionID != bob.connectionID || told[1] != told[0] {
			return fmt.Errorf("told %v", told)
		}

		return nil
	})
	eventually(t, "alice gets carol", func() error { return alice.goesOn(t, carol.connectionID, nil) })
	before := alice.received(t)
	eventually(t, "carol goes on", func() error { return alice.goesOn(t, carol.connectionID, before) })
	if now := alice.received(t); now[bob.connectionID]["video"] != before[bob.connectionID]["video"] {
		t.Errorf("alice gets %+v of bob, before %+v", now[bob.connectionID], before[bob.connectionID])
	}

	receive(true)
	join(channelID, "dave", "sendonly")
	eventually(t, "alice gets bob again", func() error { return alice.goesOn(t, bob.connectionID, before) })
}

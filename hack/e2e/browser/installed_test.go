//go:build installed

package browser

import (
	"fmt"
	"os"
	"testing"
)

// TestMain starts nothing: somebody has installed the system on a cluster, and says where it is and who we are there.
func TestMain(m *testing.M) {
	apiURL, bearer = os.Getenv("NAGI_API"), os.Getenv("NAGI_API_TOKEN")
	os.Exit(m.Run())
}

// TestInstalled is what TestSDKStopsDecodingExactlyThePausedSender is for `make run`.
func TestInstalled(t *testing.T) {
	const channelID = "browser"
	join := newSDKOn(t, os.Getenv("NAGI_SIGNALING"))
	var tabs []sdkTab
	for _, clientID := range []string{"alice", "bob", "carol"} {
		options := fmt.Sprintf("{metadata: {access_token: %q}}", os.Getenv("NAGI_TOKEN_"+clientID))
		tabs = append(tabs, join(channelID, clientID, "sendrecv", options))
	}
	alice, bob, carol := tabs[0], tabs[1], tabs[2]
	for _, receiver := range tabs {
		for _, sender := range tabs {
			if sender.connectionID != receiver.connectionID {
				eventually(t, "everybody gets everybody", func() error { return receiver.goesOn(t, sender.connectionID, nil) })
			}
		}
	}
	edge := map[string]string{
		"channel_id": channelID, "recv_connection_id": alice.connectionID, "send_connection_id": bob.connectionID,
	}
	for round := range 2 {
		pausedBobResumes(t, round, edge, alice, bob, carol)
	}
}

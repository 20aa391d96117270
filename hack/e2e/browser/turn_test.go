package browser

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/pion/turn/v5"
)

// TestClientsComeThroughTURN: where media servers are behind a TURN gateway, as STUNner is one, the SDK does as the
// offer says, reaches them through it alone, and pauses act as ever.
func TestClientsComeThroughTURN(t *testing.T) {
	const username, credential = "nagi", "of-the-test"
	socket, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gateway, err := turn.NewServer(turn.ServerConfig{
		Realm: "nagi.test",
		AuthHandler: func(r *turn.RequestAttributes) (string, []byte, bool) {
			return r.Username, turn.GenerateAuthKey(r.Username, r.Realm, credential), r.Username == username
		},
		PacketConnConfigs: []turn.PacketConnConfig{{
			PacketConn: socket,
			RelayAddressGenerator: &turn.RelayAddressGeneratorStatic{
				RelayAddress: net.IPv4(127, 0, 0, 1), Address: "127.0.0.1",
			},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := gateway.Close(); err != nil {
			t.Error(err)
		}
	}()
	file := filepath.Join(t.TempDir(), "ice.json")
	config := fmt.Sprintf(`{"iceServers": [{"urls": "turn:%s?transport=udp", "username": %q, "credential": %q}], `+
		`"iceTransportPolicy": "relay"}`,
		socket.LocalAddr(), username, credential)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	signaling, _ := startMediaServer(t, "127.0.0.1", "--ice-servers-file="+file)

	const channelID = "browser-turn"
	join := newSDKOn(t, "ws://"+signaling+"/signaling")
	alice, bob := join(channelID, "alice", "sendrecv", "{}"), join(channelID, "bob", "sendrecv", "{}")
	eventually(t, "alice gets bob", func() error { return alice.goesOn(t, bob.connectionID, nil) })
	if n := gateway.AllocationCount(); n < 2 {
		t.Errorf("the gateway relays for %d clients, want both", n)
	}
	pauseStopsExactly(t, channelID, bob, alice)
}

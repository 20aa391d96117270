package rtc

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/pion/dtls/v3"
	"github.com/pion/stun/v4"
	"github.com/pion/webrtc/v4"

	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// check makes a binding request as a client's.
func check(t *testing.T, username, password string, more ...stun.Setter) []byte {
	t.Helper()
	setters := append([]stun.Setter{stun.BindingRequest, stun.TransactionID, stun.NewUsername(username)}, more...)
	message, err := stun.Build(append(setters, stun.NewShortTermIntegrity(password), stun.Fingerprint)...)
	if err != nil {
		t.Fatal(err)
	}

	return message.Raw
}

var useCandidate = stun.RawAttribute{Type: stun.AttrUseCandidate}

// The client chooses the path, by checks that prove that it knows the password; each is told where it came from.
func TestClientChoosesThePath(t *testing.T) {
	engine := newEngine(t)
	c := newConnection(t, engine, true)
	d := &demuxer{engine: engine}
	var answers []string
	batch := udp.NewBatch(0, func(datagram []byte, destination *udp.Destination) {
		m := &stun.Message{Raw: datagram}
		if err := m.Decode(); err != nil {
			t.Fatal(err)
		}
		var mapped stun.XORMappedAddress
		if err := mapped.GetFrom(m); err != nil {
			t.Fatal(err)
		}
		if err := stun.NewShortTermIntegrity(c.peer.password).Check(m); err != nil {
			t.Fatal(err)
		}
		if err := stun.Fingerprint.Check(m); err != nil {
			t.Fatal(err)
		}
		answers = append(answers, fmt.Sprint(m.Type, " ", mapped, " to ", destination.AddrPort()))
	})
	from := func(address string, datagram []byte) string {
		answers = nil
		d.receive(batch, []udp.Datagram{{Payload: datagram, Source: netip.MustParseAddrPort(address)}})
		batch.Flush()

		return fmt.Sprint(answers)
	}
	selected := func() string {
		if destination := c.peer.selected.Load(); destination != nil {
			return destination.AddrPort().String()
		}

		return "none"
	}
	name := c.peer.ufrag + ":client"
	for _, step := range []struct {
		from     string
		datagram []byte
		answered bool
		selected string
	}{
		{"127.0.0.1:1", check(t, name, "wrong"), false, "none"},
		{"127.0.0.1:1", check(t, c.peer.ufrag, c.peer.password), false, "none"},
		{"127.0.0.1:1", check(t, "nobody:client", c.peer.password), false, "none"},
		{"127.0.0.1:1", check(t, name, c.peer.password), true, "127.0.0.1:1"}, // any path will do at first
		{"127.0.0.1:2", check(t, name, c.peer.password), true, "127.0.0.1:1"},
		{"127.0.0.1:2", check(t, name, c.peer.password, useCandidate), true, "127.0.0.1:2"},
		{"127.0.0.1:3", check(t, name, "wrong", useCandidate), false, "127.0.0.1:2"},
		{"127.0.0.1:1", check(t, name, c.peer.password), true, "127.0.0.1:2"},
		{"[2001:db8::1]:4", check(t, name, c.peer.password), true, "127.0.0.1:2"},
	} {
		want := "[]"
		if step.answered {
			want = fmt.Sprintf("[Binding success response %s to %s]", step.from, step.from)
		}
		if got := from(step.from, step.datagram); got != want || selected() != step.selected {
			t.Errorf("check from %s: answered %s, want %s; path %s, want %s", step.from, got, want, selected(), step.selected)
		}
	}
	// A NAT has given the client another address, and its checks choose nothing.
	c.peer.checked.Add(-int64(2 * pathSilence))
	if from("127.0.0.1:5", check(t, name, c.peer.password)); selected() != "127.0.0.1:5" {
		t.Errorf("path %s after the chosen one has been silent, want 127.0.0.1:5", selected())
	}
	used := c.peer.selected.Load().Path()
	for port := range uint16(3 * maxPaths) {
		from(netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port+1).String(), check(t, name, c.peer.password))
	}
	if got := len(c.peer.paths); got > maxPaths || got != len(engine.paths.byPath) {
		t.Errorf("%d paths of the client are remembered, %d in all, at most %d may be",
			got, len(engine.paths.byPath), maxPaths)
	}
	if engine.paths.at(used) != c.peer {
		t.Error("the path in use is forgotten")
	}
	if err := c.peer.Close(); err != nil {
		t.Fatal(err)
	}
	if len(engine.paths.byPath) != 0 || len(engine.paths.byUfrag) != 0 {
		t.Error("a closed peer is remembered")
	}
	if got := from("127.0.0.1:1", check(t, name, c.peer.password)); got != "[]" {
		t.Errorf("a closed peer answers %s", got)
	}
}

// Whichever end begins DTLS, and whichever SRTP profile both know, media passes both ways.
func TestDTLSRolesAndProfiles(t *testing.T) {
	for name, set := range map[string]func(*webrtc.SettingEngine){
		"client begins": func(s *webrtc.SettingEngine) { must(t, s.SetAnsweringDTLSRole(webrtc.DTLSRoleClient)) },
		"server begins": func(s *webrtc.SettingEngine) { must(t, s.SetAnsweringDTLSRole(webrtc.DTLSRoleServer)) },
		"AES-GCM":       func(s *webrtc.SettingEngine) { s.SetSRTPProtectionProfiles(dtls.SRTP_AEAD_AES_128_GCM) },
		"AES-CM":        func(s *webrtc.SettingEngine) { s.SetSRTPProtectionProfiles(dtls.SRTP_AES128_CM_HMAC_SHA1_80) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newConnection(t, newEngine(t), true)
			c.client = newClientWith(t, set, nil, true, true)
			negotiate(t, c.peer, c.client)
			within(t, "connection", c.connected)
			within(t, "connection at the client", c.client.connected)
			d, _ := bind(t, c, "SENDER")
			if s, _ := readStream(t, c.client, d, 1); s.track.StreamID() != "SENDER" {
				t.Errorf("stream %q", s.track.StreamID())
			}
			if err := d.WriteSenderReport(newBatch(d), 1, 1, 1, 1); err != nil {
				t.Error(err)
			}
			number := uint16(0)
			until(t, "a packet at the uplink", func() bool { return len(c.video.received()) > 0 }, func() {
				number++
				_ = c.client.video.WriteRTP(numbered(number))
			})
		})
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A client whose certificate is not the one of its answer gets no media.
func TestAnotherCertificateIsRefused(t *testing.T) {
	c := newConnection(t, newEngine(t), true)
	offer, err := c.peer.Offer()
	must(t, err)
	forged := attribute(c.client.answer(t, offer), "fingerprint", "sha-256 "+c.peer.engine.identity.fingerprint)
	must(t, c.peer.Answer(forged))
	if err := within(t, "OnClosed", c.closed); err != ErrICEFailed { //nolint:errorlint // This one and no other.
		t.Errorf("closed with %v", err)
	}
	if c.peer.keys.Load() != nil {
		t.Error("there are keys for media")
	}
}

// A check whose source is forged takes no address from a client that lives; what that one sends goes on arriving. The
// address of a client that is gone is free for others, and it comes back to it with its next check.
func TestAddressesStayWithTheirClients(t *testing.T) {
	engine := newEngine(t)
	victim, thief := newConnection(t, engine, true), newConnection(t, engine, true)
	d := &demuxer{engine: engine}
	address := netip.MustParseAddrPort("192.0.2.1:1000")
	checks := func(c *connection) (owner *Peer, answered bool) {
		batch := udp.NewBatch(0, func([]byte, *udp.Destination) { answered = true })
		datagram := check(t, c.peer.ufrag+":client", c.peer.password, useCandidate)
		d.receive(batch, []udp.Datagram{{Payload: datagram, Source: address}})
		batch.Flush()

		return engine.paths.at(udp.Path{Remote: address}), answered
	}
	if owner, answered := checks(victim); owner != victim.peer || !answered {
		t.Fatal("the first check is not believed")
	}
	if owner, answered := checks(thief); owner != victim.peer || answered || thief.peer.selected.Load() != nil {
		t.Error("a forged check takes the address of a client that lives")
	}
	victim.peer.liveness.heard.Add(-int64(2 * addressHold))
	if owner, answered := checks(thief); owner != thief.peer || !answered || len(victim.peer.paths) != 0 {
		t.Error("the address of a client that is gone is not given to the next one")
	}
	thief.peer.liveness.heard.Add(-int64(2 * addressHold))
	if owner, answered := checks(victim); owner != victim.peer || !answered {
		t.Error("a client cannot have its address back")
	}
}

// What follows the integrity attribute may be anybody's, and is ignored (RFC 8489 section 14.5).
func TestAttributesBehindTheIntegrityAreIgnored(t *testing.T) {
	engine := newEngine(t)
	c := newConnection(t, engine, true)
	d := &demuxer{engine: engine}
	arrives := func(address string, message *stun.Message) {
		message.WriteHeader()
		d.receive(udp.NewBatch(0, nil), []udp.Datagram{{Payload: message.Raw, Source: netip.MustParseAddrPort(address)}})
	}
	build := func() *stun.Message {
		m, err := stun.Build(stun.BindingRequest, stun.TransactionID, stun.NewUsername(c.peer.ufrag+":client"),
			stun.NewShortTermIntegrity(c.peer.password))
		must(t, err)

		return m
	}
	arrives("192.0.2.1:1", build())
	changed := build()
	changed.Add(stun.AttrUseCandidate, nil)
	arrives("192.0.2.1:2", changed)
	if got := c.peer.selected.Load().AddrPort().String(); got != "192.0.2.1:1" {
		t.Errorf("the path is %s", got)
	}
}

// The fingerprint is compared in the other role too.
func TestAnotherCertificateIsRefusedByTheClientRole(t *testing.T) {
	c := newConnection(t, newEngine(t), true)
	c.client = newClientWith(t, func(s *webrtc.SettingEngine) { must(t, s.SetAnsweringDTLSRole(webrtc.DTLSRoleServer)) },
		nil, true, true)
	offer, err := c.peer.Offer()
	must(t, err)
	must(t, c.peer.Answer(attribute(c.client.answer(t, offer), "fingerprint",
		"sha-256 "+c.peer.engine.identity.fingerprint)))
	if err := within(t, "OnClosed", c.closed); !errors.Is(err, ErrICEFailed) || c.peer.keys.Load() != nil {
		t.Errorf("closed with %v, keys %v", err, c.peer.keys.Load())
	}
}

// Close ends a handshake that the client does not answer, in both roles, and so does the engine's.
func TestCloseDuringTheHandshake(t *testing.T) {
	for _, setup := range []string{"active", "passive"} {
		for _, whole := range []bool{false, true} {
			engine := newEngine(t)
			c := newConnection(t, engine, true)
			offer, err := c.peer.Offer()
			must(t, err)
			must(t, c.peer.Answer(attribute(c.client.answer(t, offer), "setup", setup)))
			must(t, bot.ClosePeer(c.client.pc))
			// Nobody is at this address: the discard port.
			datagram := check(t, c.peer.ufrag+":client", c.peer.password, useCandidate)
			d := &demuxer{engine: engine}
			d.receive(udp.NewBatch(0, nil), []udp.Datagram{{Payload: datagram, Source: netip.MustParseAddrPort("127.0.0.1:9")}})
			within(t, "path", c.peer.reachable)
			done := make(chan error, 1)
			go func() {
				if whole {
					done <- engine.Close()
				} else {
					done <- c.peer.Close()
				}
			}()
			must(t, within(t, "Close", done))
		}
	}
}

// OnConnected never follows OnClosed.
func TestNothingFollowsOnClosed(t *testing.T) {
	c := newConnection(t, newEngine(t), true)
	c.peer.fail(ErrICEFailed)
	_ = within(t, "OnClosed", c.closed)
	signal(c.peer.connected)
	c.peer.fail(ErrClosedByClient)
	for range 50 { // The peer's goroutine looks at all its channels each time.
		c.peer.RequestKeyframe(media.LayersOf(0))
		until(t, "request taken", func() bool { return len(c.peer.keyframeWanted) == 0 }, func() {})
	}
	select {
	case <-c.connected:
		t.Error("OnConnected after OnClosed")
	case err := <-c.closed:
		t.Errorf("OnClosed twice, now with %v", err)
	default:
	}
}

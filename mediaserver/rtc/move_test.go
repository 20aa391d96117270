package rtc

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pion/stun/v4"

	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// sent is what leaves for an address at once, in order.
type sent struct {
	messages []*stun.Message
	others   int
}

// arrivesFrom has a datagram of the client arrive from an address, and returns what is sent there in the same step.
func arrivesFrom(t *testing.T, p *Peer, address netip.AddrPort, datagram []byte) (back sent) {
	t.Helper()
	batch := udp.NewBatch(0, func(datagram []byte, destination *udp.Destination) {
		if destination.AddrPort() != address {
			t.Errorf("something is sent to %v in answer to %v", destination.AddrPort(), address)
		}
		m := &stun.Message{Raw: datagram}
		if !isSTUN(datagram) || m.Decode() != nil {
			back.others++

			return
		}
		back.messages = append(back.messages, m)
	})
	d := &demuxer{engine: p.engine}
	d.receive(batch, []udp.Datagram{{Payload: datagram, Source: address}})
	batch.Flush()

	return back
}

// chooses has a client choose the path to an address, and returns what is sent there in the same step.
func chooses(t *testing.T, p *Peer, address netip.AddrPort) []*stun.Message {
	t.Helper()

	return arrivesFrom(t, p, address, check(t, p.ufrag+":client", p.password, useCandidate)).messages
}

// answered is a client's answer to a check of ours.
func answered(t *testing.T, id [stun.TransactionIDSize]byte, integrity stun.MessageIntegrity) []byte {
	t.Helper()
	m, err := stun.Build(stun.BindingSuccess, stun.NewTransactionIDSetter(id),
		&stun.XORMappedAddress{IP: net.IPv4(127, 0, 0, 1), Port: 1}, integrity, stun.Fingerprint)
	must(t, err)

	return m.Raw
}

// The client's choice takes effect one round trip after it: our check leaves with the answer to its own, and the path
// changes with the answer to ours, which nobody can make who was not sent it, or does not know the client's password.
func TestMediaMovesWithTheAnswerToACheckOfOurs(t *testing.T) {
	c := connect(t, newEngine(t), true)
	before := c.peer.selected.Load().Path()
	elsewhere, other := netip.MustParseAddrPort("192.0.2.9:1000"), netip.MustParseAddrPort("192.0.2.9:1001")
	client := c.peer.remote.Load()
	h := &heard{}
	c.peer.config.Reports = h
	path := func() udp.Path { return c.peer.selected.Load().Path() }
	checkOn := func(address netip.AddrPort) *stun.Message {
		t.Helper()
		back := chooses(t, c.peer, address)
		if len(back) != 2 || back[0].Type != stun.BindingSuccess || back[1].Type != stun.BindingRequest {
			t.Fatalf("in answer to the choice of %v: %v", address, back)
		}

		return back[1]
	}

	ours := checkOn(elsewhere)
	var username stun.Username
	must(t, username.GetFrom(ours))
	if want := client.ufrag + ":" + c.peer.ufrag; username.String() != want || !ours.Contains(stun.AttrICEControlled) ||
		!ours.Contains(stun.AttrPriority) || client.integrity.Check(ours) != nil || stun.Fingerprint.Check(ours) != nil {
		t.Errorf("our check is %v, of %s", ours, username)
	}
	if again := chooses(t, c.peer, elsewhere); len(again) != 1 {
		t.Errorf("a choice that is repeated is answered with %v", again)
	}
	wrong, id := ours.TransactionID, stun.NewTransactionIDSetter(ours.TransactionID)
	wrong[0]++
	for name, forged := range map[string]struct {
		from     netip.AddrPort
		datagram []byte
	}{
		"of another check":          {elsewhere, answered(t, wrong, client.integrity)},
		"by another password":       {elsewhere, answered(t, ours.TransactionID, stun.NewShortTermIntegrity("wrong"))},
		"by our own password":       {elsewhere, answered(t, ours.TransactionID, c.peer.integrity)},
		"from another path":         {before.Remote, answered(t, ours.TransactionID, client.integrity)},
		"from an unknown address":   {other, answered(t, ours.TransactionID, client.integrity)},
		"an error":                  {elsewhere, stun.MustBuild(stun.BindingError, id, client.integrity).Raw},
		"without any authenticator": {elsewhere, stun.MustBuild(stun.BindingSuccess, id).Raw},
	} {
		if arrivesFrom(t, c.peer, forged.from, forged.datagram); path() != before {
			t.Fatalf("an answer %s moves media to %v", name, path())
		}
	}
	if said := h.said(); len(said) > 0 {
		t.Errorf("before any move: %q is said", said)
	}
	arrivesFrom(t, c.peer, elsewhere, answered(t, ours.TransactionID, client.integrity))
	if want := (udp.Path{Remote: elsewhere}); path() != want {
		t.Errorf("the path is %v after the answer, want %v", path(), want)
	}
	if said := h.said(); !slices.Equal(said, []string{"moved"}) {
		t.Errorf("after the move: %q is said", said)
	}
	strange := c.peer.engine.Stats().StrangeDatagrams
	arrivesFrom(t, c.peer, elsewhere, answered(t, ours.TransactionID, client.integrity))
	if got := c.peer.engine.Stats().StrangeDatagrams; got != strange {
		t.Error("an answer that comes twice is a stranger's")
	}

	// A choice is off when the client chooses again: the path that it has, or another.
	ours = checkOn(other)
	chooses(t, c.peer, elsewhere)
	arrivesFrom(t, c.peer, other, answered(t, ours.TransactionID, client.integrity))
	if path().Remote != elsewhere {
		t.Errorf("the path is %v, though the client has chosen %v again", path(), elsewhere)
	}
	ours = checkOn(other)
	checkOn(before.Remote)
	arrivesFrom(t, c.peer, other, answered(t, ours.TransactionID, client.integrity))
	if path().Remote != elsewhere {
		t.Errorf("the path is %v, which the client chose last but one", path())
	}
}

// A check's source can be forged, and whoever stands in it never gets more than a few small checks: no media, however
// long the client insists. The check is repeated until it is answered, for it may be lost.
func TestMediaIsNotReflected(t *testing.T) {
	c := connect(t, newEngine(t), true)
	d, _ := bind(t, c, "SENDER")
	before := c.peer.selected.Load()
	victim := loopback(t)
	defer victim.Close() //nolint:errcheck // Nothing to lose.
	server := c.peer.engine.socket.Addr()
	_, err := victim.WriteToUDPAddrPort(check(t, c.peer.ufrag+":client", c.peer.password, useCandidate), server)
	must(t, err)

	// Meanwhile media goes where it went.
	if _, packets := readStream(t, c.client, d, 1); len(packets) == 0 {
		t.Error("nothing arrives on the path before")
	}
	buffer := make([]byte, 1500)
	must(t, victim.SetReadDeadline(time.Now().Add(patience)))
	var ours *stun.Message
	for checks := 0; checks < 3; {
		n, _, err := victim.ReadFromUDPAddrPort(buffer)
		must(t, err)
		m := &stun.Message{Raw: append([]byte(nil), buffer[:n]...)}
		if !isSTUN(buffer[:n]) || m.Decode() != nil {
			t.Fatal("something else than STUN reaches an address that nobody has answered from")
		}
		if m.Type == stun.BindingRequest {
			if ours != nil && ours.TransactionID != m.TransactionID {
				t.Error("one check is made of several")
			}
			ours = m
			checks++
		}
	}
	if c.peer.selected.Load() != before {
		t.Fatalf("media has moved to %v", c.peer.selected.Load().Path())
	}

	// The client was there after all, and its answer to any of them does.
	_, err = victim.WriteToUDPAddrPort(answered(t, ours.TransactionID, c.peer.remote.Load().integrity), server)
	must(t, err)
	until(t, "the path has changed", func() bool { return c.peer.selected.Load() != before }, func() {})
	must(t, write(d, 100, 1, true, []byte("here")))
	for {
		n, _, err := victim.ReadFromUDPAddrPort(buffer)
		must(t, err)
		if isRTP(buffer[:n]) && !isRTCP(buffer[:n]) {
			return
		}
	}
}

// Checks that nobody answers end, and are counted.
func TestChecksOfOursEnd(t *testing.T) {
	c := connect(t, newEngine(t), true)
	before := c.peer.selected.Load()
	elsewhere := netip.MustParseAddrPort("127.0.0.1:9") // The discard port: nobody is there.
	if back := chooses(t, c.peer, elsewhere); len(back) != 2 {
		t.Fatalf("the choice is answered with %v", back)
	}
	total := firstRecheck
	for checks := 1; ; checks++ { // The peer's own timer does the same, more slowly.
		next := c.peer.recheck()
		if next == 0 {
			break
		}
		if checks > maxChecks {
			t.Fatalf("the check is sent more than %d times", maxChecks)
		}
		total += next
	}
	if total > 7*time.Second {
		t.Errorf("a check that nobody answers is given up after %v", total)
	}
	if got := c.peer.engine.Stats().UnprovenPaths; got != 1 || c.peer.selected.Load() != before {
		t.Errorf("%d paths are counted, media goes to %v", got, c.peer.selected.Load().Path())
	}
	if back := chooses(t, c.peer, elsewhere); len(back) != 2 {
		t.Errorf("a client that goes on choosing is not checked again: %v", back)
	}
}

// A client that a NAT has given another port, and whose checks choose nothing, gets its media there after the former
// port has been silent: a full agent answers our check by itself.
func TestMediaFollowsANewPort(t *testing.T) {
	engine, relay := newRelayed(t, Config{})
	c := connect(t, engine, true)
	d, _ := bind(t, c, "SENDER")
	port := relay.rebind()
	c.peer.checked.Add(-int64(2 * pathSilence))
	until(t, "the path has changed", func() bool { return c.peer.selected.Load().AddrPort() == port }, func() {})
	if s, packets := readStream(t, c.client, d, 1); s.track.StreamID() != "SENDER" || len(packets) == 0 {
		t.Errorf("stream %q with %d packets", s.track.StreamID(), len(packets))
	}
	number := uint16(0)
	until(t, "a packet at the uplink", func() bool { return len(c.video.received()) > 0 }, func() {
		number++
		must(t, c.client.video.WriteRTP(numbered(number)))
	})
}

// What a client's answer says of its ICE agent is bounded, for it goes into each check of ours.
func TestCredentialsAreBounded(t *testing.T) {
	for _, key := range []string{"ice-ufrag", "ice-pwd"} {
		c := newConnection(t, newEngine(t), true)
		offer, err := c.peer.Offer()
		must(t, err)
		long := fmt.Sprintf("%0*d", maxCredentialBytes+1, 0)
		if err := c.peer.Answer(attribute(c.client.answer(t, offer), key, long)); err == nil {
			t.Errorf("%s of %d bytes is accepted", key, len(long))
		}
	}
}

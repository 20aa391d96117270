package rtc

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/nagi-rtc/nagi/mediaserver/codecs"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

func TestBadAnswersAreRefused(t *testing.T) {
	good := func(answer string) string { return answer }
	for name, c := range map[string]struct {
		change func(answer string) string
		want   error
	}{
		"empty":   {func(string) string { return "" }, ErrInvalidAnswer},
		"no SDP":  {func(string) string { return "{\"a\":1}" }, ErrInvalidAnswer},
		"cut off": {func(a string) string { return a[:len(a)/2] }, ErrInvalidAnswer},
		"too large": {func(a string) string { return a + strings.Repeat("a=x\r\n", descriptionBytes/4) },
			ErrDescriptionTooLarge},
		"an m-line less": {func(a string) string { return a[:strings.LastIndex(a, "m=")] }, ErrInvalidAnswer},
		"wrong mid":      {func(a string) string { return strings.ReplaceAll(a, "a=mid:1", "a=mid:7") }, ErrInvalidAnswer},
		"wrong media":    {func(a string) string { return strings.ReplaceAll(a, "m=video", "m=audio") }, ErrInvalidAnswer},
		"no ICE": {func(a string) string { return strings.ReplaceAll(a, "a=ice-ufrag", "a=x-ufrag") },
			ErrInvalidAnswer},
		"no fingerprint": {func(a string) string { return strings.ReplaceAll(a, "a=fingerprint", "a=x-print") },
			ErrInvalidAnswer},
		"good": {good, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := newConnection(t, newEngine(t), true)
			if err := p.peer.Answer("v=0\r\no=- 0 0 IN IP4 0\r\ns=-\r\nt=0 0\r\n"); !errors.Is(err, ErrNoOffer) {
				t.Errorf("answer to nothing: %v", err)
			}
			offer, err := p.peer.Offer()
			if err != nil {
				t.Fatal(err)
			}
			if err := p.peer.Answer(c.change(p.client.answer(t, offer))); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if err := p.peer.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
}

// The longest answer goes by the offer: what a client answers to a channel of any size is taken, and no more than
// that.
func TestAnswerAsLongAsItsOffer(t *testing.T) {
	p := newConnection(t, newEngine(t), true).peer
	for range 600 {
		for _, format := range []codecs.Format{vp8, opus} {
			_, err := p.AddDownlink("VTGYC92AZX6M72K860BPREFTMC", format)
			must(t, err)
		}
	}
	offer, err := p.Offer()
	must(t, err)
	answer := strings.NewReplacer(
		"a=setup:actpass", "a=setup:active", "a=sendonly", "a=recvonly", "a=recvonly", "a=sendonly",
	).Replace(offer)
	if len(answer) < 2*descriptionBytes {
		t.Fatalf("an answer of %d bytes proves nothing", len(answer))
	}
	long := answer + strings.Repeat("a=x\r\n", (descriptionBytes+timesOffer*len(offer)-len(answer))/5)
	if err := p.Answer(long + "a=x\r\n"); !errors.Is(err, ErrDescriptionTooLarge) {
		t.Errorf("an answer that is too long: %v", err)
	}
	must(t, p.Answer(long))
}

func TestCandidates(t *testing.T) {
	c := newConnection(t, newEngine(t), true)
	offer, err := c.peer.Offer()
	if err != nil {
		t.Fatal(err)
	}
	answer := c.client.answer(t, offer)
	// What the answer has of candidates is trickled instead, before the answer and without a mid.
	var kept []string
	for line := range strings.Lines(answer) {
		candidate, ok := strings.CutPrefix(line, "a=candidate:")
		if !ok {
			kept = append(kept, line)

			continue
		}
		if err := c.peer.AddCandidate("candidate:"+strings.TrimSpace(candidate), nil, nil); err != nil {
			t.Errorf("candidate %q: %v", candidate, err)
		}
	}
	mid, index := "0", uint16(0)
	for _, candidate := range []string{
		"", "candidate:1 1 udp 2113937151 0f0f0f0f-0000-4000-8000-000000000000.local 50000 typ host",
		"candidate:1 1 tcp 1518280447 127.0.0.1 9 typ host tcptype active", "candidate:1 1 sctp 1 127.0.0.1 9 typ strange",
	} {
		if err := c.peer.AddCandidate(candidate, &mid, &index); err != nil {
			t.Errorf("candidate %q: %v", candidate, err)
		}
	}
	for _, candidate := range []string{"garbage", "candidate:", "candidate:1 1 udp x 127.0.0.1 9 typ host",
		strings.Repeat("a ", 5000)} {
		if err := c.peer.AddCandidate(candidate, nil, nil); candidate != "candidate:" &&
			!errors.Is(err, ErrInvalidCandidate) {
			t.Errorf("candidate %.40q: %v", candidate, err)
		}
	}
	if err := c.peer.Answer(strings.Join(kept, "")); err != nil {
		t.Fatal(err)
	}
	within(t, "connection", c.connected)
	if err := c.peer.AddCandidate("", nil, nil); err != nil {
		t.Errorf("empty candidate after the answer: %v", err)
	}
}

func TestStrangeDatagramsAreDropped(t *testing.T) {
	engine := newEngine(t)
	c := connect(t, engine, true)
	d, _ := bind(t, c, "SENDER")

	conn, err := net.Dial("udp", engine.socket.Addr().String()) //nolint:noctx // A datagram socket connects at once.
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // Nothing to lose.
	random := rand.New(rand.NewPCG(1, 2))
	stun := append([]byte{0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42}, make([]byte, 12)...)
	fixed := [][]byte{
		{}, {0}, stun, append(stun, 0, 6, 0, 200, 1, 2, 3, 4), // a username longer than the message
		append(stun, 0, 6, 0, 4, 'x', ':', 'y', 'z'),                               // an unknown one
		{22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 40, 1, 0, 0, 28},                 // DTLS
		{0x80, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 9, 1, 2}, {0x81, 206, 0, 2, 0, 0, 0}, // RTP, RTCP
	}
	send := func() {
		for _, datagram := range fixed {
			_, _ = conn.Write(datagram)
		}
		datagram := make([]byte, random.IntN(1400))
		for i := range datagram {
			datagram[i] = byte(random.Uint32())
		}
		_, _ = conn.Write(datagram)
	}
	until(t, "1000 datagrams dropped", func() bool { return engine.Stats().StrangeDatagrams > 1000 }, func() {
		for range 50 {
			send()
		}
	})
	if s, _ := readStream(t, c.client, d, 1); s.track.StreamID() != "SENDER" {
		t.Errorf("stream %q", s.track.StreamID())
	}
}

func TestAnnouncedAddresses(t *testing.T) {
	for name, c := range map[string]struct {
		listen string
		public []netip.AddrPort
		want   []string
	}{
		"loopback": {"127.0.0.1:0", nil, []string{" 127.0.0.1 "}},
		"public": {
			"[::]:0", []netip.AddrPort{netip.MustParseAddrPort("192.0.2.7:0"), netip.MustParseAddrPort("[2001:db8::7]:0")},
			[]string{" 192.0.2.7 ", " 2001:db8::7 "},
		},
		"every interface": {"0.0.0.0:0", nil, machineAddresses(t, true)},
		"both families":   {"[::]:0", nil, machineAddresses(t, false)},
	} {
		t.Run(name, func(t *testing.T) {
			socket, err := udp.Listen(c.listen, 1)
			if err != nil {
				t.Fatal(err)
			}
			engine, err := New(Config{Socket: socket, PublicAddresses: c.public})
			if err != nil {
				t.Fatal(err)
			}
			defer engine.Close() //nolint:errcheck // The offer is what is looked at.
			offer, err := newConnection(t, engine, true).peer.Offer()
			if err != nil {
				t.Fatal(err)
			}
			for _, address := range c.want {
				if !strings.Contains(offer, "a=candidate") || !strings.Contains(offer, address) {
					t.Errorf("no candidate %q:\n%s", address, offer)
				}
			}
			if got := strings.Count(offer, "a=candidate"); got != len(c.want) {
				t.Errorf("%d candidates for %d addresses:\n%s", got, len(c.want), offer)
			}
			for _, unreachable := range []string{" 0.0.0.0 ", " :: "} {
				for line := range strings.Lines(offer) {
					if strings.HasPrefix(line, "a=candidate") && strings.Contains(line, unreachable) {
						t.Errorf("candidate %s", line)
					}
				}
			}
		})
	}
	socket, err := udp.Listen("127.0.0.1:0", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close() //nolint:errcheck // Nothing was written.
	nobodys := []netip.AddrPort{netip.AddrPortFrom(netip.IPv4Unspecified(), 0)}
	if _, err := New(Config{Socket: socket, PublicAddresses: nobodys}); err == nil {
		t.Error("an unspecified public address was accepted")
	}
}

// machineAddresses are those of this machine that a client may reach, as the offer has them.
func machineAddresses(t *testing.T, onlyIPv4 bool) (addresses []string) {
	t.Helper()
	networks, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	loopback := []string{}
	for _, network := range networks {
		ip, _, err := net.ParseCIDR(network.String())
		switch {
		case err != nil:
			t.Fatal(err)
		case ip.IsLinkLocalUnicast(), onlyIPv4 && ip.To4() == nil:
		case ip.IsLoopback():
			loopback = append(loopback, " "+ip.String()+" ")
		default:
			addresses = append(addresses, " "+ip.String()+" ")
		}
	}
	if len(addresses) == 0 {
		return loopback
	}

	return addresses
}

// Media over IPv6. A machine without IPv6 fails this test: the kernel must have it for the loopback interface at least.
func TestMediaOverIPv6(t *testing.T) {
	socket, err := udp.Listen("[::1]:0", 1)
	if err != nil {
		t.Fatalf("this machine has no IPv6 on its loopback interface, so IPv6 media cannot be tested: %v", err)
	}
	engine, err := New(Config{Socket: socket})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close() //nolint:errcheck // What arrives is what is looked at.
	c := newConnection(t, engine, true)
	if offer := negotiate(t, c.peer, c.client); !strings.Contains(offer, " ::1 ") ||
		strings.Contains(offer, " 127.0.0.1 ") {
		t.Errorf("candidates other than ::1:\n%s", offer)
	}
	within(t, "connection", c.connected)
	d, _ := bind(t, c, "SENDER")
	if s, _ := readStream(t, c.client, d, 1); s.track.StreamID() != "SENDER" {
		t.Errorf("stream %q", s.track.StreamID())
	}
}

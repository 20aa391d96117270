package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
)

func TestParseOptions(t *testing.T) {
	o, err := parseOptions([]string{"--bots=3", "--channel=lobby", "--public-address=192.0.2.1,2001:db8::1"})
	if err != nil || o.bots != 3 || o.channel != "lobby" || len(o.publicAddresses) != 2 ||
		o.listeners.shim != "127.0.0.1:3000" {
		t.Errorf("got %+v, %v", o, err)
	}
	for _, args := range [][]string{
		{"--bots=-1"}, {"--channel="}, {"--channel=" + strings.Repeat("x", 256)}, {"start"}, {"--unknown"},
		{"--signaling-listen=0.0.0.0:5000"}, {"--signaling-listen=:5000"},
	} {
		if _, err := parseOptions(args); err == nil {
			t.Errorf("%v was accepted", args)
		}
	}
}

// Beyond loopback nobody is let in unless that is said.
func TestAnonymousClients(t *testing.T) {
	o, err := parseOptions([]string{"--signaling-listen=0.0.0.0:5000", "--allow-anonymous-clients"})
	if err != nil || !o.anonymous {
		t.Errorf("got %+v, %v", o, err)
	}
	_, err = parseOptions([]string{"--signaling-listen=0.0.0.0:5000"})
	if err == nil || !strings.Contains(err.Error(), "--allow-anonymous-clients") {
		t.Errorf("the error does not tell the mend: %v", err)
	}
}

func TestHold(t *testing.T) {
	l := anyPorts()
	hold(t, l.hold)
	seen := map[string]bool{}
	check := func(address string) {
		if _, port, err := net.SplitHostPort(address); err != nil || port == "0" || seen[address] {
			t.Errorf("%s is given, after %v", address, seen)
		}
		seen[address] = true
	}
	for _, f := range l.flags() {
		if f.network == "tcp" {
			check(*f.address)
		}
	}
	check(l.second.signaling)
	check(l.second.metrics)
	for _, m := range l.mediaServers() {
		if m.media != "127.0.0.1:0" {
			t.Errorf("media is at %s before a media server has picked its port", m.media)
		}
	}
}

// TestHoldTakesWhatListenersTake proves that an address may have a name, or no host.
func TestHoldTakesWhatListenersTake(t *testing.T) {
	for _, host := range []string{"", "localhost", "0.0.0.0", "[::]", "[::1]"} {
		l := new(listeners)
		for _, f := range l.flags() {
			*f.address = host + ":0"
		}
		hold(t, l.hold)
		for _, m := range l.mediaServers() {
			for _, address := range []string{m.signaling, m.media, m.metrics} {
				if _, err := netip.ParseAddrPort(address); err != nil {
					t.Errorf("%s:0 became %s: %v", host, address, err)
				}
			}
		}
	}
}

func anyPorts() *listeners {
	l := new(listeners)
	for _, f := range l.flags() {
		*f.address = "127.0.0.1:0"
	}

	return l
}

// hold holds addresses until the test ends.
func hold(t *testing.T, addresses func(context.Context) ([]io.Closer, error)) {
	t.Helper()
	held, err := addresses(t.Context())
	t.Cleanup(func() {
		for _, h := range held {
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestSecondMediaServer proves that it listens where the first one does, at the next port, or
// at another where somebody has that one.
func TestSecondMediaServer(t *testing.T) {
	l := anyPorts()
	hold(t, l.hold)
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", l.second.signaling)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	l.manager = l.second.metrics
	before := l.second
	hold(t, l.holdSecond)
	if l.second.signaling == before.signaling || l.second.metrics == before.metrics ||
		!strings.HasPrefix(l.second.signaling, "127.0.0.1:") {
		t.Errorf("it has %+v, of which others have some: %+v", l.second, before)
	}
}

func TestTakenIsTold(t *testing.T) {
	tcp, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tcp.Close() }()
	udp, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = udp.Close() }()

	l := listeners{
		signaling: "nonsense", media: udp.LocalAddr().String(), shim: tcp.Addr().String(), manager: "127.0.0.1:0",
		managerMetrics: "127.0.0.1:0", shimMetrics: "127.0.0.1:0", mediaServerMetrics: "127.0.0.1:0",
	}
	_, udpPort, _ := net.SplitHostPort(l.media)
	_, tcpPort, _ := net.SplitHostPort(l.shim)
	held, err := l.hold(t.Context())
	for _, h := range held {
		err = errors.Join(err, h.Close())
	}
	if err == nil {
		t.Fatal("taken ports are held")
	}
	for _, want := range []string{
		"udp port " + udpPort, "--media-listen", "tcp port " + tcpPort, "--shim-listen", "--signaling-listen=nonsense",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not tell %q: %v", want, err)
		}
	}
}

package main

import (
	"net"
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

func TestResolve(t *testing.T) {
	o, err := parseOptions(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range o.listeners.flags() {
		*f.address = "127.0.0.1:0"
	}
	if err := o.listeners.resolve(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, f := range o.listeners.flags() {
		if _, port, err := net.SplitHostPort(*f.address); err != nil || port == "0" {
			t.Errorf("--%s became %s", f.flag, *f.address)
		}
	}
	seen := map[string]bool{}
	for _, m := range o.listeners.mediaServers() {
		for _, address := range []string{m.signaling, m.metrics, m.media + "/udp"} {
			if seen[address] {
				t.Errorf("%s is given twice", address)
			}
			seen[address] = true
		}
	}
}

// TestSecondMediaServer proves that it listens where the first one does, at the next port, or
// at another where somebody has that one.
func TestSecondMediaServer(t *testing.T) {
	o, err := parseOptions([]string{
		"--signaling-listen=127.0.0.1:0", "--media-listen=127.0.0.1:0", "--manager-listen=127.0.0.1:0",
		"--shim-listen=127.0.0.1:0",
		"--manager-metrics-listen=127.0.0.1:0", "--shim-metrics-listen=127.0.0.1:0",
		"--mediaserver-metrics-listen=127.0.0.1:0",
	})
	if err != nil {
		t.Fatal(err)
	}
	l := &o.listeners
	if err := l.resolve(t.Context()); err != nil {
		t.Fatal(err)
	}
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", l.second.signaling)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	l.manager = l.second.metrics
	before := l.second
	if err := l.resolveSecond(t.Context()); err != nil {
		t.Fatal(err)
	}
	if l.second.signaling == before.signaling || l.second.metrics == before.metrics ||
		!strings.HasPrefix(l.second.signaling, "127.0.0.1:") {
		t.Errorf("it has %+v, of which others have some: %+v", l.second, before)
	}
}

func TestResolveTellsWhatIsTaken(t *testing.T) {
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
	err = l.resolve(t.Context())
	if err == nil {
		t.Fatal("taken ports are resolved")
	}
	for _, want := range []string{
		"udp port " + udpPort, "--media-listen", "tcp port " + tcpPort, "--shim-listen", "--signaling-listen=nonsense",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not tell %q: %v", want, err)
		}
	}
}

package rtc

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// What is announced can be reached, at its own port or the socket's; everything else is refused at the start, and the
// error tells what to do.
func TestWhatIsAnnouncedCanBeReached(t *testing.T) {
	for _, test := range []struct{ bound, public, want string }{
		{"192.0.2.1:5004", "", "[192.0.2.1:5004]"},
		{"192.0.2.1:5004", "198.51.100.7:0", "[198.51.100.7:5004]"}, // behind a NAT
		{"192.0.2.1:5004", "198.51.100.7:40000", "[198.51.100.7:40000]"},
		{"0.0.0.0:5004", "198.51.100.7:0 127.0.0.2:9", "[198.51.100.7:5004 127.0.0.2:9]"},
		{"[::]:5004", "198.51.100.7:0 [2001:db8::7]:443 [::1]:0", "[198.51.100.7:5004 [2001:db8::7]:443 [::1]:5004]"},
		{"[2001:db8::1]:5004", "[2001:db8::7]:0", "[[2001:db8::7]:5004]"},
		{"127.0.0.1:5004", "", "[127.0.0.1:5004]"},
		{"127.0.0.1:5004", "127.0.0.2:6000", "[127.0.0.2:6000]"}, // a relay
		{"[::]:5004", "[::ffff:198.51.100.7]:0", "[198.51.100.7:5004]"},

		{"0.0.0.0:5004", "198.51.100.7:0 [2001:db8::7]:0", "hears no IPv6; listen on [::]:5004"},
		{"192.0.2.1:5004", "[2001:db8::7]:0", "hears no IPv6; listen on [::]:5004"},
		{"[2001:db8::1]:5004", "198.51.100.7:0", "hears no IPv4; listen on [::]:5004 or 0.0.0.0:5004"},
		{"127.0.0.1:5004", "198.51.100.7:0", "hears this machine alone; listen on 0.0.0.0:5004"},
		{"[::1]:5004", "[2001:db8::7]:0", "hears this machine alone; listen on 0.0.0.0:5004, [::]:5004"},
		{"192.0.2.1:5004", "127.0.0.1:0", "hears 192.0.2.1 alone; announce that"},
		{"127.0.0.2:5004", "127.0.0.1:0", "hears 127.0.0.2 alone; announce that"},
		{"0.0.0.0:5004", "0.0.0.0:0", "give a unicast address"},
		{"0.0.0.0:5004", "255.255.255.255:0", "give a unicast address"},
		{"[::]:5004", "[ff02::1]:0", "give a unicast address"},
		{"[::]:5004", "[fe80::1]:0", "give another one"},
		{"[fe80::1%eth0]:5004", "", "give another one"},
	} {
		var public []netip.AddrPort
		for _, address := range strings.Fields(test.public) {
			public = append(public, netip.MustParseAddrPort(address))
		}
		announced, err := candidateAddresses(netip.MustParseAddrPort(test.bound), public)
		if err == nil && fmt.Sprint(announced) != test.want || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("bound to %s, public %q: announced %v, error %v; want %s",
				test.bound, test.public, announced, err, test.want)
		}
	}
	socket, err := udp.Listen("127.0.0.1:0", 1)
	must(t, err)
	defer socket.Close() //nolint:errcheck // Nothing to lose.
	public := []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::7]:0")}
	if engine, err := New(Config{Socket: socket, PublicAddresses: public}); err == nil {
		_ = engine.Close()
		t.Error("an engine starts that announces what nobody reaches")
	}
}

func TestAddressesOfInterfaces(t *testing.T) {
	all := func(prefixes ...string) (networks []net.Addr) {
		for _, prefix := range prefixes {
			ip, network, err := net.ParseCIDR(prefix)
			must(t, err)
			networks = append(networks, &net.IPNet{IP: ip, Mask: network.Mask})
		}

		return networks
	}
	some := all("127.0.0.1/8", "::1/128", "192.0.2.1/24", "169.254.1.1/16", "2001:db8::1/64", "fe80::1/64")
	for _, test := range []struct {
		networks []net.Addr
		ipv4     bool
		want     string
	}{
		{some, false, "[192.0.2.1 2001:db8::1]"},
		{some, true, "[192.0.2.1]"},
		{all("127.0.0.1/8", "::1/128", "fe80::1/64"), false, "[127.0.0.1 ::1]"},
		{all("fe80::1/64"), false, "[]"},
		{nil, true, "[]"},
	} {
		if got := fmt.Sprint(unicast(test.networks, test.ipv4)); got != test.want {
			t.Errorf("of %v: %s, want %s", test.networks, got, test.want)
		}
	}
}

// A client that is told of the second address of a machine joins there: checks, DTLS and media, both ways, by every
// kind of socket.
func TestEveryAddressOfAMachineServes(t *testing.T) {
	for _, listened := range []string{"0.0.0.0:0", "[::]:0", "127.0.0.2:0"} {
		for _, asked := range []string{"127.0.0.2", "127.0.0.1", "::1"} {
			public := netip.AddrPortFrom(netip.MustParseAddr(asked), 0)
			if asked == "::1" != (listened == "[::]:0") || listened == "127.0.0.2:0" && asked != "127.0.0.2" {
				continue
			}
			t.Run(listened+" at "+asked, func(t *testing.T) {
				socket, err := udp.Listen(listened, 2)
				must(t, err)
				engine, err := New(Config{Socket: socket, PublicAddresses: []netip.AddrPort{public}})
				must(t, err)
				t.Cleanup(func() { must(t, engine.Close()) })
				c := connect(t, engine, true)
				if got := c.peer.selected.Load().Path().Local; socket.Addr().Addr().IsUnspecified() && got != public.Addr() {
					t.Errorf("the path begins at %v, want %v", got, public.Addr())
				}
				d, _ := bind(t, c, "SENDER")
				if s, _ := readStream(t, c.client, d, 1); s.track.StreamID() != "SENDER" {
					t.Errorf("stream %q", s.track.StreamID())
				}
				number := uint16(0)
				until(t, "a packet at the uplink", func() bool { return len(c.video.received()) > 0 }, func() {
					number++
					must(t, c.client.video.WriteRTP(numbered(number)))
				})
			})
		}
	}
}

// The announced port may be another's: a NAT, or a load balancer, that hands on to the socket's.
func TestTheAnnouncedPortMayDiffer(t *testing.T) {
	outside := netip.MustParseAddrPort("127.0.0.1:40000")
	socket, err := udp.Listen("127.0.0.1:0", 1)
	must(t, err)
	engine, err := New(Config{Socket: socket, PublicAddresses: []netip.AddrPort{outside}})
	must(t, err)
	t.Cleanup(func() { must(t, engine.Close()) })
	offer, err := newConnection(t, engine, true).peer.Offer()
	must(t, err)
	if want := "127.0.0.1 40000 typ host"; !strings.Contains(offer, want) || strings.Count(offer, " typ host") != 1 {
		t.Errorf("no candidate %q alone in\n%s", want, offer)
	}
}

package browser

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
)

// nat stands between browsers and a media server, which sees one of its ports for each of theirs.
type nat struct {
	t      *testing.T
	inside *net.UDPConn

	mu      sync.Mutex
	server  netip.AddrPort
	flows   map[netip.AddrPort]*flow
	conns   []*net.UDPConn
	running sync.WaitGroup
}

// flow is what passes between one browser's port and the server. Counts are of the port outside that it has now.
type flow struct {
	outside       *net.UDPConn
	former        []*net.UDPConn
	checks        int // Checks of the server's: STUN requests.
	answers       int // The browser's answers to checks.
	media         int // RTP and RTCP to the browser.
	early         int // Of media, what came before an answer.
	onFormerPorts int // RTP and RTCP that still came to the ports before.
}

// newNAT makes one that has to be told of the server.
func newNAT(t *testing.T) *nat {
	t.Helper()
	n := &nat{t: t, flows: make(map[netip.AddrPort]*flow)}
	n.inside = n.listen()
	n.running.Go(n.up)
	t.Cleanup(func() {
		n.mu.Lock()
		for _, conn := range n.conns {
			_ = conn.Close()
		}
		n.mu.Unlock()
		n.running.Wait()
	})

	return n
}

// listen opens a port. It is called with mu held, but for the first.
func (n *nat) listen() *net.UDPConn {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		n.t.Fatal(err)
	}
	n.conns = append(n.conns, conn)

	return conn
}

func (n *nat) addr() string { return n.inside.LocalAddr().String() }

func (n *nat) serve(address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.server = netip.MustParseAddrPort(address)
}

// forget gives every browser another port outside, as a NAT does that has forgotten the ones before, or a phone that
// leaves its Wi-Fi. What still comes to those is lost.
func (n *nat) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for browser, f := range n.flows {
		n.flows[browser] = n.open(browser, f)
	}
}

// open gives a browser's port one outside, instead of what before has. It is called with mu held.
func (n *nat) open(browser netip.AddrPort, before *flow) *flow {
	f := &flow{outside: n.listen()}
	if before != nil {
		f.former = append(before.former, before.outside)
	}
	outside := f.outside
	n.running.Go(func() { n.down(browser, outside) })

	return f
}

// counts are those of all flows together.
func (n *nat) counts() (sum flow, flows int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, f := range n.flows {
		sum.checks += f.checks
		sum.answers += f.answers
		sum.media += f.media
		sum.early += f.early
		sum.onFormerPorts += f.onFormerPorts
	}

	return sum, len(n.flows)
}

// hasMedia tells whether so many packets of media have come to each browser's port outside.
func (n *nat) hasMedia(packets int) func() error {
	return func() error {
		n.mu.Lock()
		defer n.mu.Unlock()
		for browser, f := range n.flows {
			if f.media < packets {
				return fmt.Errorf("for %v only %d have come", browser, f.media)
			}
		}

		return nil
	}
}

func (n *nat) up() {
	buffer := make([]byte, 2000)
	for {
		size, browser, err := n.inside.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return
		}
		n.mu.Lock()
		f := n.flows[browser]
		if f == nil {
			f = n.open(browser, nil)
			n.flows[browser] = f
		}
		if buffer[0] == 1 && buffer[1] == 1 { // A success response (RFC 8489 section 5).
			f.answers++
		}
		_, _ = f.outside.WriteToUDPAddrPort(buffer[:size], n.server)
		n.mu.Unlock()
	}
}

func (n *nat) down(browser netip.AddrPort, outside *net.UDPConn) {
	buffer := make([]byte, 2000)
	for {
		size, _, err := outside.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return
		}
		n.mu.Lock()
		f := n.flows[browser]
		isMedia := buffer[0] >= 128 && buffer[0] < 192 // RFC 7983 section 7.
		forgotten := f.outside != outside
		switch {
		case forgotten && isMedia:
			f.onFormerPorts++
		case forgotten:
		case isMedia:
			f.media++
			if f.answers == 0 {
				f.early++
			}
		case buffer[0] == 0 && buffer[1] == 1: // A request.
			f.checks++
		}
		n.mu.Unlock()
		if !forgotten {
			_, _ = n.inside.WriteToUDPAddrPort(buffer[:size], browser)
		}
	}
}

package browser

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/pion/stun/v4"
)

// nat stands between browsers and a media server, which sees one of its ports for each of theirs.
type nat struct {
	t       *testing.T
	address string // of all its ports, on either side
	inside  *net.UDPConn

	mu     sync.Mutex
	server netip.AddrPort
	flows  map[netip.AddrPort]*flow
	conns  []*net.UDPConn
	// onFormerPorts is the media that came to ports before, in all moves together: in one a browser's choice may come
	// before the next packet.
	onFormerPorts int
	running       sync.WaitGroup
}

// flow is what passes between one browser's port and the server. Counts and times are of the port outside that it has
// now; times that are zero have not come.
type flow struct {
	outside       *net.UDPConn
	former        []*net.UDPConn
	checks        int // Checks of the server's: STUN requests.
	answers       int // The browser's answers to checks.
	media         int // RTP and RTCP to the browser.
	early         int // Of media, what came before an answer.
	onFormerPorts int // RTP and RTCP that still came to the ports before.

	chosen   time.Time // The browser's first check that chooses the port (RFC 8445 section 7.1.2).
	checked  time.Time // The server's first check there.
	answered time.Time // The browser's first answer.
	moved    time.Time // The first media.
}

// newNAT makes one that has to be told of the server. Firefox does not believe that it comes from a loopback address.
func newNAT(t *testing.T, address string) *nat {
	t.Helper()
	n := &nat{t: t, address: address, flows: make(map[netip.AddrPort]*flow)}
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
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(n.address)})
	if err != nil {
		n.t.Fatal(err)
	}
	n.conns = append(n.conns, conn)

	return conn
}

func (n *nat) addr() string { return n.inside.LocalAddr().String() }

// serve begins, once it is known where the server has its media.
func (n *nat) serve(media string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.server = netip.AddrPortFrom(netip.MustParseAddr(n.address), netip.MustParseAddrPort(media).Port())
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

// promptly tells whether the browser's media has moved within a round trip and 50 ms from when it chose the port.
// Firefox chooses once, and goes on with checks that choose nothing (for consent: RFC 7675): then the server waits
// until the port before has been silent, and it counts from its own check.
func (f *flow) promptly() error {
	const most = 50 * time.Millisecond
	begin := f.checked
	if !f.chosen.IsZero() && f.chosen.Before(begin) {
		begin = f.chosen
	}
	took, roundTrip := f.moved.Sub(begin), f.answered.Sub(f.checked)
	if took > roundTrip+most {
		return fmt.Errorf("media has moved after %v, with a round trip of %v", took, roundTrip)
	}

	return nil
}

// moves has all browsers get other ports, and waits until their media has moved there: from the ports before, where it
// goes on until the browser has answered a check. It returns the flows that did not move promptly.
func (n *nat) moves(t *testing.T) (late map[netip.AddrPort]error) {
	t.Helper()
	n.forget()
	eventually(t, "media comes to the new ports", n.hasMedia(enough))
	counts, flows := n.counts()
	if counts.checks < flows || counts.early > 0 {
		t.Errorf("%d checks at %d new ports, and %d packets of media before any answer", counts.checks, flows, counts.early)
	}
	n.onFormerPorts += counts.onFormerPorts
	eventually(t, "more media comes to the new ports", n.hasMedia(2*enough))
	if now, _ := n.counts(); now.onFormerPorts > counts.onFormerPorts {
		t.Errorf("%d packets of media still come to the ports before", now.onFormerPorts-counts.onFormerPorts)
	}
	late = make(map[netip.AddrPort]error)
	n.mu.Lock()
	defer n.mu.Unlock()
	for browser, f := range n.flows {
		if err := f.promptly(); err != nil {
			late[browser] = err
		}
	}

	return late
}

// first notes when something has come for the first time.
func first(at *time.Time) {
	if at.IsZero() {
		*at = time.Now()
	}
}

// chooses tells whether a datagram is a check by which a browser chooses the path that it comes on.
func chooses(datagram []byte) bool {
	check := stun.Message{Raw: datagram}

	return stun.IsMessage(datagram) && check.Decode() == nil && check.Type == stun.BindingRequest &&
		check.Contains(stun.AttrUseCandidate)
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
		switch {
		case buffer[0] == 1 && buffer[1] == 1: // A success response (RFC 8489 section 5).
			f.answers++
			first(&f.answered)
		case chooses(buffer[:size]):
			first(&f.chosen)
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
			first(&f.moved)
			if f.answers == 0 {
				f.early++
			}
		case buffer[0] == 0 && buffer[1] == 1: // A request.
			f.checks++
			first(&f.checked)
		}
		n.mu.Unlock()
		if !forgotten {
			_, _ = n.inside.WriteToUDPAddrPort(buffer[:size], browser)
		}
	}
}

package browser

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"regexp"
	"sync"
	"testing"
	"time"
)

// way is what lies between a browser and the media server.
type way struct {
	rate  int           // bit/s towards the browser, with a queue of 300 ms that drops what does not fit; 0: any
	delay time.Duration // each way
	loss  float64       // share of the packets that is lost each way
}

// ways is a relay that gives each browser that comes the way that is set then, and lets it be changed.
type ways struct {
	t       *testing.T
	inside  *net.UDPConn
	running sync.WaitGroup

	mu     sync.Mutex
	server netip.AddrPort
	next   *way // of those who come from now on; it may be changed
	flows  map[netip.AddrPort]*passage
	conns  []*net.UDPConn
}

// passage is one browser's port.
type passage struct {
	way      *way
	up, down chan waiting
	free     time.Time // when what waits towards the browser has passed
}

func newWays(t *testing.T) *ways {
	t.Helper()
	w := &ways{t: t, next: &way{}, flows: make(map[netip.AddrPort]*passage)}
	w.inside = w.listen()
	t.Cleanup(func() {
		w.mu.Lock()
		for _, conn := range w.conns {
			_ = conn.Close()
		}
		w.mu.Unlock()
		w.running.Wait()
	})

	return w
}

// listen opens a port. It is called with mu held, but for the first.
func (w *ways) listen() *net.UDPConn {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		w.t.Fatal(err)
	}
	w.conns = append(w.conns, conn)

	return conn
}

// serve begins, once the server's address is known.
func (w *ways) serve(server string) {
	w.server = netip.MustParseAddrPort(server)
	w.running.Go(w.receive)
}

// change changes a way.
func (w *ways) change(to *way, change func(*way)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(to)
}

// newcomers sets the way of who comes from now on.
func (w *ways) newcomers(next *way) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next = next
}

func (w *ways) receive() {
	buffer := make([]byte, 2000)
	for {
		size, browser, err := w.inside.ReadFromUDPAddrPort(buffer)
		if err != nil {
			break
		}
		w.mu.Lock()
		p := w.flows[browser]
		if p == nil {
			p = w.open(browser)
			w.flows[browser] = p
		}
		lost, delay := rand.Float64() < p.way.loss, p.way.delay
		w.mu.Unlock()
		if !lost {
			p.up <- waiting{append([]byte(nil), buffer[:size]...), time.Now().Add(delay)}
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.flows {
		close(p.up)
	}
}

// open gives a browser's port one outside. It is called with mu held.
func (w *ways) open(browser netip.AddrPort) *passage {
	p := &passage{way: w.next, up: make(chan waiting, 10_000), down: make(chan waiting, 10_000)}
	outside := w.listen()
	pass := func(queue <-chan waiting, from *net.UDPConn, to netip.AddrPort) {
		for next := range queue {
			time.Sleep(time.Until(next.until)) // This is what the way is.
			_, _ = from.WriteToUDPAddrPort(next.datagram, to)
		}
	}
	w.running.Go(func() { pass(p.up, outside, w.server) })
	w.running.Go(func() { pass(p.down, w.inside, browser) })
	w.running.Go(func() { w.down(p, outside) })

	return p
}

func (w *ways) down(p *passage, outside *net.UDPConn) {
	defer close(p.down)
	buffer := make([]byte, 2000)
	for {
		size, _, err := outside.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return
		}
		now := time.Now()
		w.mu.Lock()
		until, way := now, *p.way
		if way.rate > 0 {
			if p.free.After(now) {
				until = p.free
			}
			until = until.Add(time.Duration((size + 28) * 8 * int(time.Second) / way.rate)) // with IP's and UDP's headers
		}
		dropped := until.Sub(now) > 300*time.Millisecond || rand.Float64() < way.loss
		if !dropped {
			p.free = until
		}
		w.mu.Unlock()
		if !dropped {
			p.down <- waiting{append([]byte(nil), buffer[:size]...), until.Add(way.delay)}
		}
	}
}

// TestReceiverOnANarrowWay: who has little room gets a smaller picture, soon, with its sound, and the large one again
// once there is room; another receiver of the same sender notices nothing.
func TestReceiverOnANarrowWay(t *testing.T) {
	const channelID = "browser-narrow-receiver"
	w := newWays(t)
	signaling, media := startMediaServer(t, w.inside.LocalAddr().String())
	w.serve(fmt.Sprint("127.0.0.1:", regexp.MustCompile(`\d+$`).FindString(media)))
	join := newSDKOn(t, "ws://"+signaling+"/signaling")
	options := `{large: true, simulcast: true, videoCodecType: "VP8", videoBitRate: 1500}`
	sender := join(channelID, "heidi", "sendonly", options)
	other := join(channelID, "ivan", "recvonly", `{simulcast: true}`)
	mine := &way{rate: 3_000_000, delay: 50 * time.Millisecond}
	w.newcomers(mine)
	receiver := join(channelID, "judy", "recvonly", `{simulcast: true}`)
	eventually(t, "both see the large picture", func() error {
		if err := other.sees(t, sender, 960); err != nil {
			return err
		}

		return receiver.sees(t, sender, 960)
	})
	w.change(mine, func(mine *way) { mine.rate = 300_000 })
	narrowed := time.Now()
	eventually(t, "the small picture comes", func() error {
		if err := other.sees(t, sender, 960); err != nil {
			t.Error("the other receiver's picture has changed:", err)
		}

		return receiver.sees(t, sender, 240)
	})
	t.Logf("the small picture came after %v", time.Since(narrowed).Round(100*time.Millisecond))
	before := receiver.received(t)
	eventually(t, "picture and sound go on", func() error {
		if err := receiver.audioGoesOn(t, sender.connectionID, before, receiver.received(t)); err != nil {
			return err
		}

		return receiver.goesOn(t, sender.connectionID, before)
	})
	w.change(mine, func(mine *way) { mine.rate = 3_000_000 })
	widened := time.Now()
	eventually(t, "the large picture comes back", func() error { return receiver.sees(t, sender, 960) })
	t.Logf("the large picture came back after %v", time.Since(widened).Round(100*time.Millisecond))
}

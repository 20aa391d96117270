package browser

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"sync"
	"testing"
	"time"
)

const (
	// bottleneckRate is less than a browser sends of a 640x360 picture when nothing holds it back, in bit/s.
	bottleneckRate = 1_000_000
	// bottleneckQueue is how long a packet may wait in the queue, which drops what would wait longer.
	bottleneckQueue = 300 * time.Millisecond
)

// bottleneck stands between one browser and a media server. What the browser sends has a rate and a queue.
type bottleneck struct {
	t               *testing.T
	inside, outside *net.UDPConn
	server          netip.AddrPort
	running         sync.WaitGroup

	mu      sync.Mutex
	browser netip.AddrPort
	free    time.Time // when what waits has passed
	counted passing
}

// waiting is a datagram in the queue.
type waiting struct {
	datagram []byte
	until    time.Time
}

func newBottleneck(t *testing.T) *bottleneck {
	t.Helper()
	b := &bottleneck{t: t}
	for _, conn := range []**net.UDPConn{&b.inside, &b.outside} {
		var err error
		if *conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
			t.Fatal(err)
		}
	}

	return b
}

// serve begins, once the server's address is known.
func (b *bottleneck) serve(server string) {
	b.server = netip.MustParseAddrPort(server)
	queue := make(chan waiting, 10_000)
	b.running.Go(func() { b.up(queue) })
	b.running.Go(func() {
		for next := range queue {
			time.Sleep(time.Until(next.until)) // This is what the queue is.
			_, _ = b.outside.WriteToUDPAddrPort(next.datagram, b.server)
		}
	})
	b.running.Go(b.down)
	b.t.Cleanup(func() {
		_ = b.inside.Close()
		_ = b.outside.Close()
		b.running.Wait()
	})
}

func (b *bottleneck) up(queue chan<- waiting) {
	defer close(queue)
	buffer := make([]byte, 2000)
	for {
		size, browser, err := b.inside.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return
		}
		now := time.Now()
		b.mu.Lock()
		b.browser = browser
		until := b.free
		if until.Before(now) {
			until = now
		}
		until = until.Add(time.Duration(size) * 8 * time.Second / bottleneckRate)
		if until.Sub(now) > bottleneckQueue {
			b.counted.drop(size)
			b.mu.Unlock()

			continue
		}
		b.free = until
		b.counted.pass(size)
		b.mu.Unlock()
		queue <- waiting{append([]byte(nil), buffer[:size]...), until}
	}
}

func (b *bottleneck) down() {
	buffer := make([]byte, 2000)
	for {
		size, _, err := b.outside.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return
		}
		b.mu.Lock()
		browser := b.browser
		b.mu.Unlock()
		_, _ = b.inside.WriteToUDPAddrPort(buffer[:size], browser)
	}
}

// passing is what came to the bottleneck, and what of it passed.
type passing struct {
	Came        int     `json:"came"` // packets
	Passed      int     `json:"passed"`
	CameKbits   float64 `json:"cameKbits"`
	PassedKbits float64 `json:"passedKbits"`
	Seconds     float64 `json:"seconds"`
}

func (p *passing) drop(size int) {
	p.Came++
	p.CameKbits += float64(size) * 8 / 1000
}

func (p *passing) pass(size int) {
	p.drop(size)
	p.Passed++
	p.PassedKbits += float64(size) * 8 / 1000
}

// lost is the share of the packets that did not pass.
func (p *passing) lost() float64 { return 1 - float64(p.Passed)/float64(p.Came) }

func (p *passing) String() string {
	return fmt.Sprintf("%.0f kbit/s come and %.0f pass; %.1f %% of the packets are lost",
		p.CameKbits/p.Seconds, p.PassedKbits/p.Seconds, 100*p.lost())
}

// watch waits until the browser has found its rate, and gives what passed until then, and in a while after it.
func (b *bottleneck) watch(t *testing.T) (atFirst, later *passing) {
	t.Helper()
	const settling, watched = 800, 1500 // packets
	came := func(packets int) func() error {
		return func() error {
			if now := b.counts(); now.Came < packets {
				return fmt.Errorf("%d packets have come", now.Came)
			}

			return nil
		}
	}
	begin := time.Now()
	eventually(t, "the browser has found its rate", came(settling))
	first, settled := b.counts(), time.Now()
	first.Seconds = settled.Sub(begin).Seconds()
	eventually(t, "it has sent for a while", came(first.Came+watched))
	now := b.counts()

	return &first, &passing{
		Came: now.Came - first.Came, Passed: now.Passed - first.Passed, CameKbits: now.CameKbits - first.CameKbits,
		PassedKbits: now.PassedKbits - first.PassedKbits, Seconds: time.Since(settled).Seconds(),
	}
}

// counts are those so far.
func (b *bottleneck) counts() passing {
	b.mu.Lock()
	defer b.mu.Unlock()

	return b.counted
}

// TestUplinkIsNotFlooded: a browser whose way to the server is narrow sends what passes there, and not what its picture
// asks for: by the feedback it finds out. What it tries in the beginning, and now and then, is lost, and little else.
func TestUplinkIsNotFlooded(t *testing.T) {
	const most = 0.05
	b := newBottleneck(t)
	signaling, media := startMediaServer(t, b.inside.LocalAddr().String())
	b.serve(fmt.Sprint("127.0.0.1:", regexp.MustCompile(`\d+$`).FindString(media)))
	join := newSDKOn(t, "ws://"+signaling+"/signaling")
	join("browser-narrow", "frank", "sendonly", "{snow: true}")

	atFirst, later := b.watch(t)
	t.Logf("%v, at first %v", later, atFirst)
	if later.lost() > most {
		t.Errorf("%.1f %% of the packets are lost", 100*later.lost())
	}
}

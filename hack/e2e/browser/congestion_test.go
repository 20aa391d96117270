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

	mu              sync.Mutex
	browser         netip.AddrPort
	free            time.Time // when what waits has passed
	passed, dropped int       // packets
	bits            int       // that passed
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
			b.dropped++
			b.mu.Unlock()

			continue
		}
		b.free = until
		b.passed++
		b.bits += size * 8
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

// counts are those so far.
func (b *bottleneck) counts() (passed, dropped, bits int) {
	b.mu.Lock()
	defer b.mu.Unlock()

	return b.passed, b.dropped, b.bits
}

// TestUplinkIsNotFlooded: a browser whose way to the server is narrow sends what passes there, and not what its picture
// asks for: by the feedback it finds out. What it tries in the beginning, and now and then, is lost, and little else.
func TestUplinkIsNotFlooded(t *testing.T) {
	const settling, watched, most = 800, 1500, 0.05
	b := newBottleneck(t)
	signaling, media := startMediaServer(t, b.inside.LocalAddr().String())
	b.serve(fmt.Sprint("127.0.0.1:", regexp.MustCompile(`\d+$`).FindString(media)))
	join := newSDKOn(t, "ws://"+signaling+"/signaling")
	join("browser-narrow", "frank", "sendonly", "{snow: true}")

	packets := func(n int) func() error {
		return func() error {
			if passed, dropped, _ := b.counts(); passed+dropped < n {
				return fmt.Errorf("%d packets", passed+dropped)
			}

			return nil
		}
	}
	eventually(t, "the browser has found its rate", packets(settling))
	passed, dropped, bits := b.counts()
	begin := time.Now()
	eventually(t, "it has sent for a while", packets(passed+dropped+watched))
	passedNow, droppedNow, bitsNow := b.counts()
	lost := float64(droppedNow-dropped) / float64(passedNow-passed+droppedNow-dropped)
	t.Logf("%.1f %% of the packets are lost, %.1f %% at first; %.0f kbit/s pass", 100*lost,
		100*float64(dropped)/float64(passed+dropped),
		float64(bitsNow-bits)/time.Since(begin).Seconds()/1000)
	if lost > most {
		t.Errorf("%.1f %% of the packets are lost", 100*lost)
	}
}

package rtc

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// open opens datagrams that arrive now, and says how many could be.
func open(p *Peer, now time.Time, datagrams ...[]byte) int {
	burst := make([]udp.Datagram, len(datagrams))
	for i, datagram := range datagrams {
		burst[i] = udp.Datagram{Payload: datagram, Source: p.selected.Load().AddrPort()}
	}

	return p.open(burst, make([]media.Received, len(burst)), make([]*uplink, len(burst)), now)
}

// A sender begins at any sequence number, and any number of its first packets may be lost, those up to the first
// wrap-around (RFC 3711 section 3.3.1) among them: all that arrive are opened, also late ones of before it.
func TestFirstPacketsAreLost(t *testing.T) {
	const count = 40
	for _, c := range []struct {
		first uint16
		lost  int
		late  int // of those that are lost, how many come after all, behind the others
	}{
		{0, 0, 0}, {1, 5, 2}, {1<<15 - 3, 0, 0}, {1<<15 - 3, 6, 2}, {1<<15 + 1, 1, 1},
		{65_535, 0, 0}, {65_535, 1, 0}, {65_535, 1, 1}, {65_530, 6, 3}, {65_530, 20, 15}, {65_530, 3, 2},
	} {
		t.Run(fmt.Sprintf("from %d without %d", c.first, c.lost), func(t *testing.T) {
			t.Parallel()
			conn := connect(t, newEngine(t), true)
			context := ofClient(t, conn.peer)
			var datagrams [][]byte
			for i := range uint16(count) {
				header := rtp.Header{SequenceNumber: c.first + i, SSRC: conn.peer.videoSSRC(), PayloadType: 96}
				datagrams = append(datagrams, sealed(t, context, &rtp.Packet{Header: header, Payload: []byte{byte(i)}}))
			}
			arrive(conn.peer, udp.NewBatch(0, nil), append(datagrams[c.lost:], datagrams[c.lost-c.late:c.lost]...)...)
			if got, want := len(conn.video.received()), count-c.lost+c.late; got != want {
				t.Errorf("%d packets of %d that arrived", got, want)
			}
			if got := conn.peer.engine.Stats().MalformedRTP; got != 0 {
				t.Errorf("%d count as malformed", got)
			}
		})
	}
}

// The roll-over counter that is known is not guessed again, whatever a re-answer says.
func TestRollOverCounterOutlivesAnswers(t *testing.T) {
	c := connect(t, newEngine(t), true)
	context, ssrc := ofClient(t, c.peer), c.peer.videoSSRC()
	media := func(n uint16) []byte {
		header := rtp.Header{SequenceNumber: n, SSRC: ssrc, PayloadType: 96}

		return sealed(t, context, &rtp.Packet{Header: header, Payload: []byte{1}})
	}
	number := uint16(65_000)
	for range 3 * 65_536 / 20_000 { // three wrap-arounds, in steps that SRTP follows
		number += 20_000
		open(c.peer, time.Now(), media(number)) // Two in order begin a new run of numbers.
		if number++; open(c.peer, time.Now(), media(number)) != 1 {
			t.Fatalf("packet %d", number)
		}
	}
	negotiate(t, c.peer, c.client)
	if number++; open(c.peer, time.Now(), media(number)) != 1 {
		t.Error("a packet after a re-answer cannot be opened")
	}
}

// strangers seals packets of a client's stream with keys that are not the client's.
func strangers(t *testing.T, p *Peer) func(n int) []byte {
	t.Helper()
	k := p.keys.Load()
	key := make([]byte, len(k.session.RemoteMasterKey))
	context, err := srtp.CreateContext(key, k.session.RemoteMasterSalt, k.profile)
	must(t, err)

	return func(n int) []byte {
		header := rtp.Header{SequenceNumber: uint16(n), SSRC: p.videoSSRC(), PayloadType: 96}

		return sealed(t, context, &rtp.Packet{Header: header, Payload: []byte{1}})
	}
}

// A client of whose stream packets come and none can be opened is told so, also when some could once. While some can
// be it is not, however many strangers send.
func TestUnreadableStream(t *testing.T) {
	for name, c := range map[string]struct {
		before, between int           // good packets before all bad ones, and in the middle of them
		bad             int           // packets in each half
		over            time.Duration // from the first of them to the last
		dismissed       bool
	}{
		"never readable":       {0, 0, 50, 5 * time.Second, true},
		"once readable":        {3, 0, 50, 5 * time.Second, true},
		"few":                  {0, 0, 4, time.Minute, false},
		"for a short while":    {0, 0, 5000, 4 * time.Second, false},
		"readable in between":  {3, 1, 50, 9 * time.Second, false},
		"readable for once":    {0, 1, 50, 9 * time.Second, false},
		"enough, slowly (DTX)": {0, 0, 5, 5 * time.Second, true},
	} {
		t.Run(name, func(t *testing.T) {
			engine := newEngine(t)
			conn := connect(t, engine, true)
			context, bad := ofClient(t, conn.peer), strangers(t, conn.peer)
			good, now := uint16(0), time.Now()
			openGood := func(count int) {
				for range count {
					good++
					header := rtp.Header{SequenceNumber: good, SSRC: conn.peer.videoSSRC(), PayloadType: 96}
					if open(conn.peer, now, sealed(t, context, &rtp.Packet{Header: header, Payload: []byte{1}})) != 1 {
						t.Fatalf("good packet %d", good)
					}
				}
			}
			openGood(c.before)
			step := c.over/time.Duration(2*c.bad-1) + 1
			for i := range 2 * c.bad {
				if i == c.bad {
					openGood(c.between)
				}
				if open(conn.peer, now, bad(1000+i)) != 0 {
					t.Fatal("a stranger's packet was opened")
				}
				now = now.Add(step)
			}
			if !c.dismissed {
				if got := engine.Stats().UnreadableStreams; got != 0 || len(conn.closed) != 0 {
					t.Errorf("%d streams count as unreadable, %d clients were dismissed", got, len(conn.closed))
				}

				return
			}
			if err := within(t, "OnClosed", conn.closed); !errors.Is(err, ErrUnreadableMedia) {
				t.Errorf("closed with %v", err)
			}
			if got := engine.Stats().UnreadableStreams; got != 1 {
				t.Errorf("%d streams count as unreadable", got)
			}
		})
	}
}

// What says that it is of an encoding and cannot be opened dismisses a client of which nothing can be opened. One
// that sends others is left alone: whoever forges its address need not even know an SSRC to name one that is quiet.
func TestUnreadableLayer(t *testing.T) {
	for name, readable := range map[string]bool{"nothing readable": false, "another readable": true} {
		t.Run(name, func(t *testing.T) {
			c := connectSimulcast(t)
			context, now := ofClient(t, c.peer), time.Now()
			sealedAs := func(ssrc uint32, number uint16, rid string) []byte {
				packet := said(t, number, ridExtension, rid)
				packet.SSRC, packet.PayloadType = ssrc, 96

				return sealed(t, context, packet)
			}
			if readable && open(c.peer, now, sealedAs(7, 1, "r0")) != 1 {
				t.Fatal("r0 was not opened")
			}
			for i := range uint16(20) {
				forged := sealedAs(8, i, "r1")
				forged[len(forged)-1] ^= 1
				if open(c.peer, now, forged) != 0 {
					t.Fatal("a forged packet was opened")
				}
				now = now.Add(time.Second)
			}
			if got := c.peer.engine.Stats().UnreadableStreams; readable != (got == 0) {
				t.Errorf("%d streams count as unreadable", got)
			}
		})
	}
}

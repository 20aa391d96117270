package rtc

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/pion/rtcp"

	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

func bind(t testing.TB, c *connection, streamID string) (*Downlink, *fed) {
	t.Helper()
	d, err := c.peer.AddDownlink(streamID, vp8)
	if err != nil {
		t.Fatal(err)
	}
	if err := write(d, 1, 1, false, nil); !errors.Is(err, ErrNotBound) || d.SSRC() != 0 {
		t.Fatalf("write before negotiation: %v, SSRC %d", err, d.SSRC())
	}
	f := newFed()
	d.Attach(f)
	negotiate(t, c.peer, c.client)
	within(t, "Bound", f.bound)

	return d, f
}

func TestDownlinkArrives(t *testing.T) {
	c := connect(t, newEngine(t), true)
	d, f := bind(t, c, "SENDER")
	s, packets := readStream(t, c.client, d, 65530)
	if s.track.StreamID() != "SENDER" || uint32(s.track.SSRC()) != d.SSRC() {
		t.Errorf("stream %q, SSRC %d, want SENDER, %d", s.track.StreamID(), s.track.SSRC(), d.SSRC())
	}
	for i, packet := range packets {
		if packet.SequenceNumber != 65530+uint16(i) || packet.Timestamp != 3000*uint32(i) || !packet.Marker ||
			string(packet.Payload) != fmt.Sprintf("\x10payload %d", i) || packet.PayloadType != 96 || packet.Extension {
			t.Errorf("packet %d is %v", i, packet)
		}
	}

	feedback := []rtcp.Packet{
		&rtcp.TransportLayerNack{MediaSSRC: d.SSRC(), Nacks: []rtcp.NackPair{{PacketID: 65535, LostPackets: 0b11}}},
		&rtcp.PictureLossIndication{MediaSSRC: d.SSRC()},
		&rtcp.FullIntraRequest{FIR: []rtcp.FIREntry{{SSRC: d.SSRC()}}},
		&rtcp.PictureLossIndication{MediaSSRC: d.SSRC() + 1},
	}
	if err := c.client.pc.WriteRTCP(feedback); err != nil {
		t.Fatal(err)
	}
	if nacks := within(t, "NACK", f.nacks); fmt.Sprint(nacks) != "[65535 0 1]" {
		t.Errorf("NACK of %v", nacks)
	}
	within(t, "PLI", f.plis)
	within(t, "FIR", f.plis)

	batch := newBatch(d)
	if err := d.WriteSenderReport(batch, 1<<33, 5, 20, 200); err != nil {
		t.Fatal(err)
	}
	batch.Flush()
	_ = s.receiver.SetReadDeadline(time.Now().Add(patience))
	reports, _, err := s.receiver.ReadRTCP()
	if err != nil {
		t.Fatal(err)
	}
	want := []rtcp.Packet{
		&rtcp.SenderReport{SSRC: d.SSRC(), NTPTime: 1 << 33, RTPTime: 5, PacketCount: 20, OctetCount: 200},
		rtcp.NewCNAMESourceDescription(d.SSRC(), "SENDER"),
	}
	if len(reports) < 2 { // Pion delivers a compound once for each SSRC that it names, in parts
		more, _, err := s.receiver.ReadRTCP()
		if err != nil {
			t.Fatal(err)
		}
		reports = append(reports, more...)
	}
	if diff := cmp.Diff(want, reports, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("reports (-want +got):\n%s", diff)
	}
}

func TestRemovedLineServesTheNext(t *testing.T) {
	c := connect(t, newEngine(t), true)
	first, _ := bind(t, c, "FIRST")
	firstSSRC := first.SSRC()
	readStream(t, c.client, first, 1)
	within(t, "negotiation needed", c.needed)

	if err := first.Remove(); err != nil {
		t.Fatal(err)
	}
	within(t, "negotiation needed", c.needed)
	if err := write(first, 2, 2, false, nil); !errors.Is(err, ErrNotBound) {
		t.Errorf("write after Remove: %v", err)
	}
	if offer := lines(t, negotiate(t, c.peer, c.client)); len(offer) != 3 || !strings.Contains(offer[2], "a=inactive") ||
		strings.Contains(offer[2], "msid") {
		t.Errorf("offer after Remove: %q", offer)
	}

	second, err := c.peer.AddDownlink("SECOND", vp8)
	if err != nil {
		t.Fatal(err)
	}
	f := newFed()
	second.Attach(f)
	offer := lines(t, negotiate(t, c.peer, c.client))
	if len(offer) != 3 || !strings.Contains(offer[2], "a=sendonly") || !strings.Contains(offer[2], "a=msid:SECOND ") ||
		strings.Contains(offer[2], fmt.Sprint(firstSSRC)) {
		t.Errorf("offer of the second: %q", offer)
	}
	within(t, "Bound", f.bound)
	s, _ := readStream(t, c.client, second, 1)
	if s.track.StreamID() != "SECOND" || second.SSRC() == firstSSRC {
		t.Errorf("stream %q, SSRC %d after %d", s.track.StreamID(), second.SSRC(), firstSSRC)
	}
}

func TestRemoveBeforeNegotiated(t *testing.T) {
	c := connect(t, newEngine(t), true)
	never, err := c.peer.AddDownlink("NEVER", vp8)
	if err != nil {
		t.Fatal(err)
	}
	if err := never.Remove(); err != nil {
		t.Fatal(err)
	}
	late, err := c.peer.AddDownlink("LATE", vp8)
	if err != nil {
		t.Fatal(err)
	}
	offer, err := c.peer.Offer()
	if err != nil {
		t.Fatal(err)
	}
	if err := late.Remove(); err != nil { // while its offer waits for the answer
		t.Fatal(err)
	}
	if err := c.peer.Answer(c.client.answer(t, offer)); err != nil {
		t.Fatal(err)
	}
	d, _ := bind(t, c, "STAYS")
	if s, _ := readStream(t, c.client, d, 9); s.track.StreamID() != "STAYS" {
		t.Errorf("stream %q", s.track.StreamID())
	}
}

func TestDescriptionDoesNotGrow(t *testing.T) {
	c := connect(t, newEngine(t), true)
	var offer string
	for i := range 50 {
		d, err := c.peer.AddDownlink(fmt.Sprintf("SENDER%d", i), vp8)
		if err != nil {
			t.Fatal(err)
		}
		f := newFed()
		d.Attach(f)
		offer = negotiate(t, c.peer, c.client)
		within(t, "Bound", f.bound)
		if s, _ := readStream(t, c.client, d, 1); s.track.StreamID() != fmt.Sprintf("SENDER%d", i) {
			t.Fatalf("cycle %d: stream %q", i, s.track.StreamID())
		}
		if err := d.Remove(); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 { // otherwise the next join comes with the leave in one offer
			negotiate(t, c.peer, c.client)
		}
	}
	if n := len(lines(t, offer)); n > 4 {
		t.Errorf("%d m-lines after 50 joins and leaves", n)
	}
}

func TestReceiverInAnEmptyChannel(t *testing.T) {
	c := newConnection(t, newEngine(t), false)
	offer := negotiate(t, c.peer, c.client)
	if got := lines(t, offer); len(got) != 1 || !strings.HasPrefix(got[0], "audio") ||
		!strings.Contains(got[0], "a=inactive") || !strings.Contains(got[0], "a=candidate") {
		t.Errorf("offer: %s", offer)
	}
	within(t, "connection", c.connected)
	within(t, "connection at the client", c.client.connected)
	if sends := c.peer.Sends(); len(sends) != 0 {
		t.Errorf("client sends %v", sends)
	}
	if _, err := c.peer.AddDownlink("SENDER", opus); err != nil {
		t.Fatal(err)
	}
	d, _ := bind(t, c, "SENDER")
	if s, _ := readStream(t, c.client, d, 7); s.track.StreamID() != "SENDER" {
		t.Errorf("stream %q", s.track.StreamID())
	}
}

func TestWriteRTPDoesNotAllocate(t *testing.T) {
	c := connect(t, newEngine(t), true)
	d, _ := bind(t, c, "SENDER")
	batch := udp.NewBatch(0, nil)
	payload := make([]byte, 1100)
	n := uint16(0)
	allocs := testing.AllocsPerRun(2000, func() {
		n++
		batch.Room(2)
		if err := errors.Join(d.WriteRTP(batch, &media.Outgoing{SequenceNumber: n, Payload: payload, Padding: 3}),
			d.ResendRTP(batch, &media.Outgoing{SequenceNumber: n, Payload: payload, Padding: 3})); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations per packet", allocs)
	}
}

func BenchmarkWriteRTP(b *testing.B) {
	c := connect(b, newEngine(b), true)
	d, _ := bind(b, c, "SENDER")
	batch := udp.NewBatch(0, nil)
	payload := make([]byte, 1100)
	b.ReportAllocs()
	n := uint16(0)
	for b.Loop() {
		n++
		batch.Room(1)
		if err := d.WriteRTP(batch, &media.Outgoing{SequenceNumber: n, Payload: payload}); err != nil {
			b.Fatal(err)
		}
	}
}

// Whoever joins while an offer waits for its answer is in the next one.
func TestJoinWhileAnOfferIsOutstanding(t *testing.T) {
	c := newConnection(t, newEngine(t), true)
	offer, err := c.peer.Offer()
	must(t, err)
	answer := c.client.answer(t, offer)
	d, err := c.peer.AddDownlink("LATE", vp8)
	must(t, err)
	f := newFed()
	d.Attach(f)
	must(t, c.peer.Answer(answer))
	within(t, "connection", c.connected)
	negotiate(t, c.peer, c.client)
	within(t, "Bound", f.bound)
	if s, _ := readStream(t, c.client, d, 1); s.track.StreamID() != "LATE" {
		t.Errorf("stream %q", s.track.StreamID())
	}
}

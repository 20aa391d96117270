package rtc

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtcp"

	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// heard is Reports that keeps them.
type heard struct {
	mu    sync.Mutex
	says  []string
	trips []time.Duration
}

func (h *heard) say(format string, values ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.says = append(h.says, fmt.Sprintf(format, values...))
}

func (h *heard) ReceiveREMB(bitsPerSecond float64) { h.say("remb %v", bitsPerSecond) }

func (h *heard) ReceiveMeasured(took time.Duration, _ time.Time) {
	h.say("measured, positive %t", took > 0)
}

func (h *heard) ReceiveLoss(lost, expected int, _ time.Time) { h.say("lost %d of %d", lost, expected) }

func (h *heard) ReceiveRoundTrip(took time.Duration, _ time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.trips = append(h.trips, took)
}

func (h *heard) Moved(time.Time) { h.say("moved") }

func (h *heard) said() []string {
	h.mu.Lock()
	defer h.mu.Unlock()

	return slices.Clone(h.says)
}

// What a client says of what it is sent is heard, in receiver reports and in the sender reports of one that sends too;
// what it says of anything else is not.
func TestReportsAreHeard(t *testing.T) {
	c := connect(t, newEngine(t), true)
	h := &heard{}
	c.peer.config.Reports = h
	d, _ := bind(t, c, "SENDER")
	batch := udp.NewBatch(0, nil)
	now := time.Now()
	d.reported.leaves(0x1111_2222_3333_4444, now.Add(-time.Second))
	d.reported.leaves(0x5555_6666_7777_8888, now)

	about := func(highest uint32, fraction uint8, last, delay uint32) []rtcp.ReceptionReport {
		return []rtcp.ReceptionReport{
			{SSRC: d.ssrc + 1, LastSequenceNumber: highest, FractionLost: 255},
			{SSRC: d.ssrc, LastSequenceNumber: highest, FractionLost: fraction, LastSenderReport: last, Delay: delay},
		}
	}
	for _, packet := range []rtcp.Packet{
		&rtcp.ReceiverEstimatedMaximumBitrate{Bitrate: 1_000_000},
		&rtcp.ReceiverReport{Reports: about(100, 128, 0, 0)}, // what it is counted from is not known
		&rtcp.ReceiverReport{Reports: about(200, 64, 0, 0)},  // a quarter of 100
		&rtcp.SenderReport{SSRC: 5, Reports: about(300, 128, 0, 0)},
		&rtcp.ReceiverReport{Reports: about(400, 0, 0, 0)},
		&rtcp.ReceiverReport{Reports: about(500, 200, 0, 0)}, // an outage
		&rtcp.ReceiverReport{Reports: about(600, 0, 0, 0)},
		&rtcp.ReceiverReport{Reports: about(600, 128, 0, 0)},     // again
		&rtcp.ReceiverReport{Reports: about(550, 128, 0, 0)},     // late
		&rtcp.ReceiverReport{Reports: about(1<<31-7, 255, 0, 0)}, // nonsense
		&rtcp.ReceiverReport{Reports: about(1<<31-7, 0, 0x2222_3333, 65536/2)},
		&rtcp.ReceiverReport{Reports: about(1<<31-7, 0, 0x6666_7777, 0)},
		&rtcp.ReceiverReport{Reports: about(1<<31-7, 0, 0x0bad_0bad, 0)},
	} {
		plain, err := packet.Marshal()
		must(t, err)
		if !c.peer.dispatch(batch, plain, now.Add(100*time.Millisecond)) {
			t.Errorf("%+v cannot be read", packet)
		}
	}
	if got, want := h.said(), []string{
		"remb 1e+06", "lost 25 of 100", "lost 50 of 100", "lost 0 of 100", "lost 0 of 100", "lost 0 of 100",
	}; !slices.Equal(got, want) {
		t.Errorf("heard %q, want %q", got, want)
	}
	if want := []time.Duration{600 * time.Millisecond, 100 * time.Millisecond}; !slices.Equal(h.trips, want) {
		t.Errorf("round trips of %v, want %v", h.trips, want)
	}
}

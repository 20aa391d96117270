package rtc

import (
	"time"

	"github.com/pion/rtcp"

	"github.com/nagi-rtc/nagi/mediaserver/media"
)

// Reports hears what a client says of what it is sent, all streams together. Its functions are called by readers of the
// socket: they must not wait for anything.
type Reports interface {
	// ReceiveREMB gets how much the client holds to be possible, in bit/s (draft-alvestrand-rmcat-remb-03).
	ReceiveREMB(bitsPerSecond float64)
	// ReceiveLoss gets how many packets of a stream were lost of those that should have come since the report before,
	// without those of an outage.
	ReceiveLoss(lost, expected int, now time.Time)
	// ReceiveRoundTrip gets how long a round trip took.
	ReceiveRoundTrip(took time.Duration, now time.Time)
	// ReceiveMeasured gets how long a round trip took that Peer.MeasureRoundTrip measured.
	ReceiveMeasured(took time.Duration, now time.Time)
	// Moved tells that the client is reached on another path from now on.
	Moved(now time.Time)
}

// maxExpected is more packets than a stream has between two reports.
const maxExpected = 1 << 16

// reported is what is known of the reports about one stream, ours and the client's (RFC 3550 section 6.4.1). Of ours
// there are two, for the client's may have crossed the second.
type reported struct {
	left    [2]reportTime
	highest uint32 // sequence number, in the client's last report
	began   bool   // there was one
	lossy   bool   // the client's last report told of losses
}

// reportTime is when a sender report left, and the middle of the time in it, by which clients name it.
type reportTime struct {
	middle uint32
	at     time.Time
}

// leaves notes a sender report.
func (r *reported) leaves(ntpTime uint64, now time.Time) {
	r.left = [2]reportTime{{uint32(ntpTime >> 16), now}, r.left[0]}
}

// losses are what a report adds to the one before it. steady: that one told of losses, too. Where a queue is full they
// are in every report, and after an outage of the path, however much was lost in it, they are in one.
func (r *reported) losses(report rtcp.ReceptionReport) (lost, expected int, steady bool) {
	before, lossy, began := r.highest, r.lossy, r.began
	if ahead := int32(report.LastSequenceNumber - before); began && ahead <= 0 {
		return 0, 0, false
	}
	r.highest, r.lossy, r.began = report.LastSequenceNumber, report.FractionLost > 0, true
	expected = int(report.LastSequenceNumber - before)
	if !began || expected > maxExpected {
		return 0, 0, false
	}

	return expected * int(report.FractionLost) >> 8, expected, lossy
}

// trip is how long it took from a report of ours to the client's about it, without what the client waited; 0: unknown.
func (r *reported) trip(report rtcp.ReceptionReport, now time.Time) time.Duration {
	if report.LastSenderReport == 0 {
		return 0
	}
	for _, left := range r.left {
		if left.middle == report.LastSenderReport && !left.at.IsZero() {
			return max(0, now.Sub(left.at)-time.Duration(report.Delay)*time.Second/65536)
		}
	}

	return 0
}

// receiveReports hands on what the client reports about streams that it is sent, in blocks as they came.
func (p *Peer) receiveReports(blocks []byte, now time.Time) {
	for ; len(blocks) >= reportBlockBytes; blocks = blocks[reportBlockBytes:] {
		var report rtcp.ReceptionReport
		if report.Unmarshal(blocks) != nil {
			return
		}
		p.downlinks.RLock()
		d := p.bySSRC[report.SSRC]
		p.downlinks.RUnlock()
		if d == nil {
			continue
		}
		d.mu.Lock()
		lost, expected, steady := d.reported.losses(report)
		trip := d.reported.trip(report, now)
		d.mu.Unlock()
		if d.format.Codec.Kind() == media.Video {
			p.playout.receive(lost, expected, trip, now)
		}
		if !steady {
			lost = 0
		}
		if p.config.Reports != nil && expected > 0 {
			p.config.Reports.ReceiveLoss(lost, expected, now)
		}
		if p.config.Reports != nil && trip > 0 {
			p.config.Reports.ReceiveRoundTrip(trip, now)
		}
	}
}

package rtc

import (
	"math"
	"slices"
	"time"

	"github.com/pion/rtcp"

	"github.com/nagi-rtc/nagi/mediaserver/numbers"
)

const (
	// maxMissing is how many lost packets of a stream are asked for at a time. A sender that lost more begins anew with a
	// keyframe, which whoever needs one asks for.
	maxMissing = 256
	// nackDelay is how long a gap may be reordering. Then the packet is asked for, nackTries times in all.
	nackDelay = 10 * time.Millisecond
	nackTries = 10
	// firstNACKInterval is how long an answer may take while the round trip is not known, and minNACKInterval how long it
	// may take in any case: a sender may wait for its next turn to send.
	firstNACKInterval = 50 * time.Millisecond
	minNACKInterval   = 20 * time.Millisecond
	// maxNACKBackOff is what the wait for an answer doubles up to: after a few that were lost, the next will be as well.
	maxNACKBackOff = 160 * time.Millisecond
	// maxNACKInterval is for round trips so long that an answer hardly is of use.
	maxNACKInterval = 500 * time.Millisecond
)

// reception is the statistics of one stream that a client sends (RFC 3550 appendix A), and what is missing of it.
type reception struct {
	ssrc      uint32 // 0: the client sends nothing
	clockRate uint32 // ticks per second

	sequence      numbers.Sequence
	started       bool
	began         time.Time // what arrivals are measured from
	base, highest uint64    // sequence numbers, extended
	received      uint64
	priorExpected uint64
	priorReceived uint64
	transit       uint32  // in ticks
	jitter        float64 // in ticks

	reportTime    uint32 // the middle of the last sender report's NTP time
	reportArrival time.Time

	missing []missing // in order
	trips   roundTrips
	resent  bool // the sender sends again on a stream of its own
}

// missing is a packet that did not come.
type missing struct {
	sequenceNumber uint64 // extended
	due            time.Time
	asked          time.Time // for the first time
	tries          int
}

// restart begins anew with another SSRC, or the same.
func (r *reception) restart(ssrc uint32) {
	if r.ssrc != ssrc {
		*r = r.fresh()
		r.ssrc = ssrc
	}
}

// fresh is a reception that keeps what does not depend on a run of numbers.
func (r *reception) fresh() reception {
	return reception{
		ssrc: r.ssrc, clockRate: r.clockRate, sequence: r.sequence, missing: r.missing[:0], trips: r.trips, resent: r.resent,
	}
}

// receive takes in a packet's header. It returns the packet's extended number, and tells whether packets before it are
// missing; not ok: the packet belongs to no run of numbers.
func (r *reception) receive(
	sequenceNumber uint16, timestamp uint32, retransmission bool, now time.Time,
) (number uint64, gap, ok bool) {
	sequence, n, ok := r.sequence.Receive(r.ssrc, sequenceNumber)
	r.sequence = sequence
	if !ok {
		return 0, false, false
	}
	if n.Restarted && r.started {
		reportTime, reportArrival := r.reportTime, r.reportArrival
		*r = r.fresh()
		r.reportTime, r.reportArrival = reportTime, reportArrival
	}
	if !r.started {
		r.started, r.began = true, now
		r.base, r.highest, r.received = n.Extended, n.Extended, 1
		r.transit = -timestamp // It arrives at 0.

		return n.Extended, false, true
	}
	// Another stream brings them (RFC 4588). What was lost stays lost in reports: senders find their rate by it.
	if !retransmission {
		r.received++
		r.measureJitter(timestamp, now)
	}
	if !n.Newest {
		r.found(n.Extended, retransmission, now)

		return n.Extended, false, true
	}
	for lost := r.highest + 1; lost < n.Extended && len(r.missing) < maxMissing; lost++ {
		gap = true
		r.missing = append(r.missing, missing{sequenceNumber: lost, due: now.Add(nackDelay)})
	}
	r.highest = n.Extended

	return n.Extended, gap, true
}

// found notes that a packet which may have been missing has come.
func (r *reception) found(number uint64, retransmission bool, now time.Time) {
	r.resent = r.resent || retransmission
	r.missing = slices.DeleteFunc(r.missing, func(m missing) bool {
		if m.sequenceNumber != number {
			return false
		}
		if m.tries > 0 && retransmission == r.resent { // else it was late, and not sent again
			r.trips.add(now.Sub(m.asked))
		}

		return true
	})
}

// near tells whether a number may belong to the run of numbers that comes in.
func (r *reception) near(sequenceNumber uint16) bool {
	return !r.started || r.sequence.Near(sequenceNumber)
}

// measureJitter is RFC 3550 appendix A.8.
func (r *reception) measureJitter(timestamp uint32, now time.Time) {
	arrival := uint32(uint64(now.Sub(r.began).Microseconds()) * uint64(r.clockRate) / 1_000_000)
	transit := arrival - timestamp
	distance := math.Abs(float64(int32(transit - r.transit)))
	r.transit = transit
	if distance < float64(r.clockRate)*10 { // Not the first one, nor a clock that jumped.
		r.jitter += (distance - r.jitter) / 16
	}
}

// minReportInterval is shorter than any that RFC 3550 section 6.2 leads to. A datagram has room for 70 reports, each
// of which would be sealed and sent to every receiver.
const minReportInterval = 100 * time.Millisecond

// reported notes a sender report; false: it comes too soon after the last one to be passed on.
func (r *reception) reported(ntpTime uint64, now time.Time) bool {
	if now.Sub(r.reportArrival) < minReportInterval {
		return false
	}
	r.reportTime, r.reportArrival = uint32(ntpTime>>16), now

	return true
}

// report makes the next reception report (RFC 3550 section 6.4.1); false when there is nothing to report.
func (r *reception) report(now time.Time) (rtcp.ReceptionReport, bool) {
	if !r.started {
		return rtcp.ReceptionReport{}, false
	}
	expected := r.highest - r.base + 1
	lost := int64(expected) - int64(r.received)
	report := rtcp.ReceptionReport{
		SSRC:               r.ssrc,
		TotalLost:          uint32(min(max(lost, 0), 1<<23-1)),
		LastSequenceNumber: uint32(r.highest - r.base&^(1<<16-1)), // counting wrap-arounds from 0
		Jitter:             uint32(r.jitter),
	}
	newlyExpected, newlyReceived := expected-r.priorExpected, r.received-r.priorReceived
	if newlyExpected > newlyReceived {
		report.FractionLost = uint8(min((newlyExpected-newlyReceived)<<8/newlyExpected, 255))
	}
	r.priorExpected, r.priorReceived = expected, r.received
	if !r.reportArrival.IsZero() {
		report.LastSenderReport = r.reportTime
		report.Delay = uint32(now.Sub(r.reportArrival) * 65536 / time.Second)
	}

	return report, true
}

// ask lists the packets that are to be asked for now, and says when to look again; zero: nothing is missing.
func (r *reception) ask(now time.Time) (numbers []uint16, next time.Time) {
	r.missing = slices.DeleteFunc(r.missing, func(m missing) bool { return m.tries >= nackTries && !now.Before(m.due) })
	for i := range r.missing {
		m := &r.missing[i]
		if !now.Before(m.due) {
			if m.tries == 0 {
				m.asked = now
			}
			m.tries++
			m.due = now.Add(r.nackInterval(m.tries))
			numbers = append(numbers, uint16(m.sequenceNumber))
		}
		if next.IsZero() || m.due.Before(next) {
			next = m.due
		}
	}

	return numbers, next
}

// nackInterval is how long the answer to the try may take: a round trip and a quarter, and twice as long each time,
// lest a round trip that is longer than known makes every packet be asked for many times.
func (r *reception) nackInterval(try int) time.Duration {
	first := firstNACKInterval
	if trip := r.trips.estimate(); trip > 0 {
		first = min(max(trip+trip/4, minNACKInterval), maxNACKInterval)
	}

	return max(first, min(first<<(try-1), maxNACKBackOff))
}

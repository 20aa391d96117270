package fanout

import "github.com/nagi-rtc/nagi/mediaserver/udp"

// clock is what a sender's last report says of its clocks: rtpTime, on the receivers'
// timeline, was ntpTime.
type clock struct {
	ntpTime uint64
	rtpTime uint32
	known   bool
}

// ReceiveSenderReport passes the sender's clock on to every negotiated receiver,
// withheld or not: RTCP goes on during a pause, and the relation of the two clocks
// is the sender's word, never our extrapolation. The counts are each edge's own.
// Reports are rare, so the reader's batch takes those of all workers' receivers.
func (t *Track) ReceiveSenderReport(batch *udp.Batch, ntpTime uint64, rtpTime uint32) {
	t.in.Lock()
	c := clock{ntpTime, t.source.Timestamp(rtpTime), true}
	t.clock = c
	t.in.Unlock()
	for _, e := range *t.all.Load() {
		if e.sink.SSRC() == 0 {
			continue
		}
		batch.Room(1)
		e.lock()
		e.report(batch, c)
		e.mu.Unlock()
	}
}

// introduce gives a receiver whose stream has just begun the sender's last report,
// unless it has had one: until the next, up to 5 s later, it could not play audio and
// video in step, and would jump when it comes.
//
// The report is given as it was. What it says, which RTP time was which NTP time, is
// as true as when it was said. To move both on to now would be to assume the sender's
// rate of either clock, and where the assumption is wrong, as after the sender has
// slept, every other receiver would be told otherwise.
func (e *Edge) introduce(batch *udp.Batch) {
	batch.Room(1)
	e.lock()
	defer e.mu.Unlock()
	if e.reported {
		return
	}
	e.track.in.Lock()
	c := e.track.clock
	e.track.in.Unlock()
	if c.known {
		e.report(batch, c)
	}
}

// report writes a sender report. Call with mu held.
func (e *Edge) report(batch *udp.Batch, c clock) {
	if e.removed {
		return
	}
	if err := e.sink.WriteSenderReport(batch, c.ntpTime, c.rtpTime, e.packets, e.octets); err != nil {
		e.track.counters.SinkErrors.Add(1)
		return
	}
	e.reported = true
}

package fanout

import (
	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// ReceiveSenderReport passes the sender's clock on to every negotiated receiver of the
// layer, withheld or not: RTCP goes on during a pause, and the relation of the two
// clocks is the sender's word, never our extrapolation. The counts are each
// projection's own. Reports are rare, so the reader's batch takes those of all workers'
// receivers.
func (t *Track) ReceiveSenderReport(batch *udp.Batch, layer media.Layer, ntpTime uint64, rtpTime uint32) {
	report := forwarding.Report{NTPTime: ntpTime, RTPTime: rtpTime}
	t.in.Lock()
	placed := t.timeline.Report(layer, report)
	if placed {
		t.layers[layer].report, t.layers[layer].known = report, true
	}
	offset := t.timeline.Offset(layer)
	t.in.Unlock()
	if !placed {
		return // Nothing has come that it could be about.
	}
	for _, pr := range *t.all.Load() {
		if pr.sink.SSRC() == 0 {
			continue
		}
		batch.Room(1)
		pr.lock()
		pr.report(batch, layer, report, offset)
		pr.mu.Unlock()
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
func (pr *Projection) introduce(batch *udp.Batch) {
	batch.Room(1)
	pr.lock()
	defer pr.mu.Unlock()
	if pr.reported {
		return
	}
	t, layer := pr.track, pr.state.Wanted()
	t.in.Lock()
	l, offset := &t.layers[layer], t.timeline.Offset(layer)
	report, known := l.report, l.known
	t.in.Unlock()
	if known {
		pr.report(batch, layer, report, offset)
	}
}

// report writes a sender report, if it is about the layer that the receiver gets, or, while
// it gets none, will get. Its time is moved as the packets' are. Call with mu held.
func (pr *Projection) report(batch *udp.Batch, layer media.Layer, report forwarding.Report, offset uint32) {
	switch present, flows := pr.state.Layer(); {
	case pr.removed, flows && layer != present, !flows && layer != pr.state.Wanted():
		return
	case flows:
		offset = pr.state.Shift()
	}
	if err := pr.sink.WriteSenderReport(batch, report.NTPTime, report.RTPTime+offset, pr.packets, pr.octets); err != nil {
		pr.track.counters.SinkErrors.Add(1)

		return
	}
	pr.reported = true
}

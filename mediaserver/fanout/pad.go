package fanout

import (
	"time"

	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

const (
	// paddingBytes is what one packet of padding has: as many as an RTP packet can say
	// (RFC 3550 section 5.1).
	paddingBytes = 255
	// padAtOnce is the most packets of padding that leave together: 8 KB, six full
	// packets of a picture.
	padAtOnce = 32
)

// Pad sends padding beside the projection's stream, to find out whether its receiver can
// be sent more, and tells how many bytes. A projection that forwards nothing is sent none:
// what its receiver gets of a paused stream ends with the fence, whichever stream it would
// be on.
//
// A worker calls it, so that the fence sees the batch.
func (pr *Projection) Pad(batch *udp.Batch, bytes int) (padded int) {
	batch.Room(padAtOnce)
	pr.lock()
	defer pr.mu.Unlock()
	if _, flows := pr.state.Layer(); pr.removed || !flows {
		return 0
	}
	pr.outgoing.SendTime = media.SendTime(time.Now())
	for range min((bytes+paddingBytes/2)/paddingBytes, padAtOnce) {
		if pr.sink.WritePadding(batch, &pr.outgoing, paddingBytes) != nil {
			break
		}
		padded += paddingBytes
	}
	pr.track.counters.Padding.Add(uint64(padded))

	return padded
}

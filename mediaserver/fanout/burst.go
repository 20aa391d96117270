package fanout

import (
	"sync/atomic"

	"github.com/nagi-rtc/nagi/mediaserver/codecs"
	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/media"
)

// maxSpare is how many bursts a track keeps to use again. More are under way only
// while a worker lags behind, and their memory is not worth keeping after that.
const maxSpare = 16

// arrival is one packet of a burst.
type arrival struct {
	packet    forwarding.Packet
	number    uint64 // order of arrival in the layer
	restarted bool   // a new run of the sender begins here
	padding   uint8  // see equalize
	payload   []byte
}

// fill makes the packet as it leaves.
func (a *arrival) fill(p *media.Outgoing, header forwarding.Header, pictures codecs.Shift) {
	p.SequenceNumber, p.Timestamp, p.Marker = uint16(header.SequenceNumber), header.Timestamp, header.Marker
	p.Payload, p.Padding, p.Patch = a.payload, a.padding, media.Patch{}
	if pictures != (codecs.Shift{}) {
		p.Patch = a.packet.PictureIDs.Patch(a.payload, pictures)
	}
}

// burst is what of one burst of one of the sender's layers is to be forwarded, or a few
// packets taken out of the stores. It is used by one goroutine, or, once handed over, read
// by several; the last of them lets go of it.
type burst struct {
	track    *Track
	layer    media.Layer
	number   uint64 // order of arrival of bursts, from 1
	sendTime uint32 // of what becomes of it, see media.SendTime
	arrivals []arrival
	memory   []byte // of payloads that are our own copies

	keyframe  bool   // a receiver may start within it
	restarted bool   // some arrival is
	layers    bool   // with it other layers are there than before
	wishes    uint64 // wishes for the layer's keyframes before it was walked

	handed     []bool       // which shards other workers walk
	references atomic.Int32 // walks that are not done
	waiting    atomic.Bool  // a projection that was walked still waits for a keyframe of the layer
	switched   atomic.Bool  // a projection that was walked has gone on to the layer from another
}

// fetch is an empty burst. Call with in held.
func (t *Track) fetch() *burst {
	n := len(t.spare)
	if n == 0 {
		return &burst{track: t, handed: make([]bool, len(t.shards))}
	}
	b := t.spare[n-1]
	t.spare = t.spare[:n-1]

	return b
}

// recycle gives the burst back. Nobody may use it any more.
func (b *burst) recycle() {
	b.arrivals, b.memory = b.arrivals[:0], b.memory[:0]
	b.keyframe, b.restarted, b.layers = false, false, false
	b.waiting.Store(false)
	b.switched.Store(false)
	b.track.in.Lock()
	if len(b.track.spare) < maxSpare {
		b.track.spare = append(b.track.spare, b)
	}
	b.track.in.Unlock()
}

// own copies the payloads, so that they outlive the reader's memory.
func (b *burst) own() {
	for i := range b.arrivals {
		b.arrivals[i].payload = b.copy(b.arrivals[i].payload)
	}
}

func (b *burst) copy(payload []byte) []byte {
	from := len(b.memory)
	b.memory = append(b.memory, payload...) // where it grows, earlier copies stay where they are

	return b.memory[from:len(b.memory):len(b.memory)]
}

// add copies a stored packet.
func (b *burst) add(s *stored) {
	b.arrivals = append(b.arrivals, arrival{packet: s.packet, number: s.arrival, padding: s.padding,
		payload: b.copy(s.payload)})
}

package tables

import (
	"fmt"
	"strings"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/mediaserver/codecs"
	"github.com/nagi-rtc/nagi/mediaserver/fanout"
	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/matching"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/numbers"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// forwarder is what a Host has behind the tables, of one instance of a channel: the
// matcher, and where media flows the fan-out of the audio and video that every member
// sends to everybody else. Its batch is never in a hurry: what is in it leaves at a
// fence, or when the test has it leave.
type forwarder struct {
	matcher *matching.Matcher
	media   bool
	tracks  map[string]map[media.Kind]*fanout.Track
	edges   map[matching.Edge]map[media.Kind]*fanout.Projection
	// holding tells that no table has come yet, and that nothing flows until then.
	holding bool
	batch   *udp.Batch
	// left are the packets that left since somebody looked, by flow; sent counts those
	// of each member.
	left map[flow][]string
	sent uint64
}

// flow is one kind of media of one edge.
type flow struct {
	matching.Edge
	kind media.Kind
}

func (f flow) String() string { return fmt.Sprintf("%s of %s at %s", f.kind, f.Sender, f.Receiver) }

var kinds = map[media.Kind]forwardingv1.Kind{
	media.Audio: forwardingv1.Kind_KIND_AUDIO, media.Video: forwardingv1.Kind_KIND_VIDEO,
}

func newForwarder(media bool) *forwarder {
	f := &forwarder{matcher: matching.New(), media: media, holding: true}
	if media {
		f.begin()
	}

	return f
}

func (f *forwarder) begin() {
	f.tracks = make(map[string]map[media.Kind]*fanout.Track)
	f.edges = make(map[matching.Edge]map[media.Kind]*fanout.Projection)
	f.left = make(map[flow][]string)
	f.batch = udp.NewBatch(0, func(datagram []byte, _ *udp.Destination) {
		words := strings.Fields(string(datagram))
		to := flow{matching.Edge{Receiver: words[1], Sender: words[2]}, media.Audio}
		if words[0] == media.Video.String() {
			to.kind = media.Video
		}
		f.left[to] = append(f.left[to], words[3])
	})
}

// Workers is one, which does nothing by itself.
func (f *forwarder) Workers() int { return 1 }

// Post is never needed: there is no other worker.
func (f *forwarder) Post(int, udp.Job) {}

// Quiesce has what is in the batch leave, as a worker does at the end of its burst.
func (f *forwarder) Quiesce() { f.batch.Flush() }

// join lets a connection in. Its edges are born with what is in force.
func (f *forwarder) join(c *forwardingv1.Connection) {
	f.change(f.matcher.Join(c))
	if !f.media {
		return
	}
	id := c.GetConnectionId()
	f.tracks[id] = make(map[media.Kind]*fanout.Track)
	for kind := range kinds {
		f.tracks[id][kind] = fanout.NewTrack(fanout.Config{
			Kind: kind, Workers: f, NoPadding: true,
			Inspect: func([]byte) codecs.Facts { return codecs.Facts{KeyframeStart: true} },
		})
	}
	for other := range f.tracks {
		for _, e := range []matching.Edge{{Receiver: id, Sender: other}, {Receiver: other, Sender: id}} {
			if !f.matcher.Live(e) {
				continue
			}
			withheld := f.matcher.Watch(e)
			f.edges[e] = make(map[media.Kind]*fanout.Projection)
			for kind, track := range f.tracks[e.Sender] {
				reasons := reasonsOf(withheld, kind)
				if f.holding {
					reasons |= forwarding.NoTable
				}
				f.edges[e][kind] = track.Project(&sink{flow{e, kind}}, reasons)
			}
		}
	}
}

func reasonsOf(withheld matching.Withheld, kind media.Kind) forwarding.Reasons {
	if withheld.Kinds().Has(kinds[kind]) {
		return forwarding.Paused
	}

	return 0
}

func (f *forwarder) leave(id string) {
	var gone []*fanout.Projection
	for e, projections := range f.edges {
		if e.Receiver != id && e.Sender != id {
			continue
		}
		for _, projection := range projections {
			gone = append(gone, projection)
		}
		delete(f.edges, e)
	}
	fanout.Remove(gone)
	for _, track := range f.tracks[id] {
		track.Close()
	}
	delete(f.tracks, id)
	f.change(f.matcher.Leave(id))
}

// apply takes what changed in the table and returns behind the fence.
func (f *forwarder) apply(set []*forwardingv1.Pause, removed []string) {
	changes := f.matcher.Apply(set, removed, time.Now())
	var first []fanout.Change
	if f.holding {
		f.holding = false
		for _, projections := range f.edges {
			for _, projection := range projections {
				first = append(first, fanout.Change{Projection: projection, Release: forwarding.NoTable})
			}
		}
	}
	f.change(changes, first...)
}

// change brings edges to what a step has changed, in one step.
func (f *forwarder) change(changes matching.Changes, more ...fanout.Change) {
	for _, change := range changes.Edges {
		for kind, projection := range f.edges[change.Edge] {
			reasons := reasonsOf(change.Withheld, kind)
			more = append(more, fanout.Change{
				Projection: projection, Withhold: reasons, Release: forwarding.Paused &^ reasons,
			})
		}
	}
	fanout.Apply(more)
	clear(f.left) // Until then it may.
}

// send has every member send one packet of each kind, a picture of its own in video,
// and every receiver ask for the last packet that it got once more. The packets may
// wait in the batch. It returns their payload.
func (f *forwarder) send() string {
	f.sent++
	payload := fmt.Sprint(f.sent)
	for _, tracks := range f.tracks {
		for _, track := range tracks {
			track.ReceiveRTP(f.batch, []media.Received{{
				SSRC: 1, SequenceNumber: numbers.Apart + f.sent, Timestamp: uint32(3000 * f.sent), Marker: true,
				Payload: []byte(payload),
			}})
		}
	}
	for _, projections := range f.edges {
		for _, projection := range projections {
			if last, ever := projection.LastSequenceNumber(); ever {
				projection.ReceiveNACK(f.batch, []uint16{last})
			}
		}
	}

	return payload
}

// arrived returns what left since the last time, after all has.
func (f *forwarder) arrived() map[flow][]string {
	f.batch.Flush()
	left := f.left
	f.left = make(map[flow][]string)

	return left
}

// sink is a receiver's transport for one flow.
type sink struct{ to flow }

func (s *sink) Worker() int  { return 0 }
func (s *sink) SSRC() uint32 { return 1 }

func (s *sink) WriteRTP(batch *udp.Batch, packet *media.Outgoing) error {
	s.write(batch, string(packet.Payload))

	return nil
}

func (s *sink) ResendRTP(batch *udp.Batch, packet *media.Outgoing) error {
	s.write(batch, "again:"+string(packet.Payload))

	return nil
}

func (s *sink) WritePadding(batch *udp.Batch, _ *media.Outgoing, _ uint8) error {
	s.write(batch, "padding")

	return nil
}

func (s *sink) WriteSenderReport(*udp.Batch, uint64, uint32, uint32, uint32) error { return nil }

func (s *sink) write(batch *udp.Batch, payload string) {
	datagram := fmt.Sprint(s.to.kind, " ", s.to.Receiver, " ", s.to.Sender, " ", payload)
	copy(batch.Append(nil, len(datagram)), datagram)
}

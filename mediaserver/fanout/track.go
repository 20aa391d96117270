// Package fanout walks one sender's stream over its edges: packets, sender reports
// and answers to the receivers' feedback; and it is the fence behind which
// an edge is known to be cut.
//
// Three kinds of locks, none of them ever taken while a later one is held:
//
//	Track.change    who is on the track; held for a few instructions only
//	Track.walk      the edges' states and the store; held while sinks are called
//	keyframes.mu    when to ask for a keyframe; a leaf
//
// The request for a keyframe is sent with none of them held.
package fanout

import (
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtp"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
)

// Sink is the transport to one receiver for one stream. Its calls are synchronous:
// when they return, the packet has been handed to the kernel. They may be slow but
// must not call back into the track.
type Sink interface {
	// WriteRTP sends one packet; payload is valid only during the call.
	WriteRTP(sequenceNumber uint16, timestamp uint32, marker bool, payload []byte) error
	// WriteSenderReport sends a sender report (RFC 3550 section 6.4.1): NTP time in
	// its 64-bit format, RTP time, packets and payload octets sent so far.
	WriteSenderReport(ntpTime uint64, rtpTime uint32, packetCount, octetCount uint32) error
	// SSRC is the stream's SSRC towards the receiver, 0 before it is negotiated.
	SSRC() uint32
}

// Config describes a track.
type Config struct {
	Kind forwardingv1.Kind
	// KeyframeStart tells the first packet of a keyframe by its payload; nil when a
	// receiver may start at any packet.
	KeyframeStart func(payload []byte) bool
	// RequestKeyframe asks the sender for a keyframe (PLI, RFC 4585 section 6.3.1).
	RequestKeyframe func()
	// Counters may be shared with other tracks; nil: the track's own.
	Counters *Counters
	Log      *slog.Logger
}

// Track is one sender's stream and its edges.
type Track struct {
	config    Config
	kind      forwarding.Kind
	counters  *Counters
	keyframes *keyframes

	change sync.Mutex              // orders changes of the two below
	all    atomic.Pointer[[]*Edge] // every edge
	open   atomic.Pointer[[]*Edge] // the snapshot that packets go to: nothing withholds them

	walk    sync.Mutex // guards all that follows, and the edges' states
	source  forwarding.Source
	arrived time.Time // when the last packet that belongs to a run came
	store   store
	burst   []arrival // memory used again
}

// arrival is one packet of the burst in hand.
type arrival struct {
	packet    forwarding.Packet
	number    uint64 // order of arrival
	restarted bool
	payload   []byte
}

// NewTrack makes a track without edges. Close it after use.
func NewTrack(config Config) *Track {
	t := &Track{config: config, counters: config.Counters}
	if t.counters == nil {
		t.counters = &Counters{}
	}
	if t.config.Log == nil {
		t.config.Log = slog.New(slog.DiscardHandler)
	}
	if config.Kind == forwardingv1.Kind_KIND_VIDEO {
		t.kind = forwarding.Video
	}
	t.source = forwarding.NewSource(t.kind)
	t.all.Store(&[]*Edge{})
	t.open.Store(&[]*Edge{})
	if t.kind == forwarding.Video && config.RequestKeyframe != nil {
		t.keyframes = startKeyframes(config.RequestKeyframe, t.wantsKeyframe, t.counters)
	}
	return t
}

// Counters are the track's counters.
func (t *Track) Counters() *Counters { return t.counters }

// Close ends the track's requests for keyframes and waits until the last one is
// sent. Edges stay as they are.
func (t *Track) Close() {
	if t.keyframes != nil {
		t.keyframes.close()
	}
}

// AddEdge adds a receiver that has got nothing of this track yet. Unless something
// withholds it, video begins with the next keyframe, which is asked for.
func (t *Track) AddEdge(sink Sink, withheld forwarding.Reasons) *Edge {
	e := &Edge{track: t, sink: sink, state: forwarding.NewEdge(t.kind, uint16(rand.Uint32N(1<<15))).Withhold(withheld)}
	e.reasons.Store(uint32(withheld))
	t.change.Lock()
	all := append([]*Edge{}, *t.all.Load()...)
	all = append(all, e)
	t.all.Store(&all)
	t.refresh()
	t.change.Unlock()
	if withheld == 0 {
		// Behind a walk that knows nothing of the edge yet, or a keyframe in it would
		// pass for the answer to the edge's wish.
		t.walk.Lock()
		wanted := e.wantsKeyframe()
		t.walk.Unlock()
		if wanted {
			t.askKeyframe()
		}
	}
	return e
}

// refresh makes the snapshot anew. Call with change held.
func (t *Track) refresh() {
	open := make([]*Edge, 0, len(*t.all.Load()))
	for _, e := range *t.all.Load() {
		if e.reasons.Load() == 0 {
			open = append(open, e)
		}
	}
	t.open.Store(&open)
}

// ReceiveRTP forwards a burst of the sender's packets. Only the goroutine that
// reads from the sender calls it; the packets are valid only during the call.
func (t *Track) ReceiveRTP(burst []*rtp.Packet) {
	t.walk.Lock()
	keyframe, restarted := t.takeIn(burst)
	open := *t.open.Load()
	var counts tally
	// Receiver by receiver, so that each one's packets form a run that a socket can
	// send at once.
	for _, e := range open {
		e.forward(t.burst, &counts)
	}
	if keyframe && t.keyframes != nil {
		// Under walk, or an edge released in between would have its wish taken for
		// answered by a keyframe that it did not see.
		t.keyframes.arrived(anyWantsKeyframe(open))
	}
	wanted := restarted && anyWantsKeyframe(open)
	t.walk.Unlock()
	counts.addTo(t.counters)
	if wanted {
		t.askKeyframe()
	}
}

// takeIn stores the burst and collects in t.burst what is to be forwarded.
func (t *Track) takeIn(burst []*rtp.Packet) (keyframe, restarted bool) {
	now := time.Now()
	t.burst = t.burst[:0]
	for _, p := range burst {
		source, a, ok := t.source.Receive(p.SSRC, p.SequenceNumber, p.Timestamp, now.Sub(t.arrived))
		t.source = source
		if !ok {
			t.counters.OutOfRun.Add(1)
			continue
		}
		// Not by packets that are refused, or the time before the first packet of a new
		// run, which comes twice, would be lost from the timeline.
		t.arrived = now
		if a.Restarted {
			restarted = true
			t.counters.SourceRestarts.Add(1)
			t.config.Log.Debug("sender began a new run of sequence numbers", "ssrc", p.SSRC, "sequenceNumber", p.SequenceNumber)
		}
		facts := forwarding.Packet{
			SequenceNumber: a.SequenceNumber, Timestamp: a.Timestamp, Marker: p.Marker,
			Empty: len(p.Payload) == 0, KeyframeStart: t.keyframeStart(p.Payload, a.Newest),
		}
		number, fresh := t.store.add(facts, p.Payload)
		if !fresh {
			t.counters.Duplicates.Add(1)
			continue
		}
		keyframe = keyframe || facts.KeyframeStart
		t.burst = append(t.burst, arrival{facts, number, a.Restarted, p.Payload})
	}
	return keyframe, restarted
}

func (t *Track) keyframeStart(payload []byte, newest bool) bool {
	if t.config.KeyframeStart == nil {
		return newest && len(payload) > 0
	}
	return t.config.KeyframeStart(payload)
}

// ReceiveSenderReport passes the sender's clock on to every negotiated receiver,
// withheld or not: RTCP goes on during a pause, and the relation of the two clocks
// is the sender's word, never our extrapolation. The counts are each edge's own.
func (t *Track) ReceiveSenderReport(ntpTime uint64, rtpTime uint32) {
	t.walk.Lock()
	defer t.walk.Unlock()
	rtpTime = t.source.Timestamp(rtpTime)
	for _, e := range *t.all.Load() {
		if e.sink.SSRC() == 0 {
			continue
		}
		if err := e.sink.WriteSenderReport(ntpTime, rtpTime, e.packets, e.octets); err != nil {
			t.counters.SinkErrors.Add(1)
		}
	}
}

// wantsKeyframe tells whether any edge still waits for one.
func (t *Track) wantsKeyframe() bool {
	t.walk.Lock()
	defer t.walk.Unlock()
	return anyWantsKeyframe(*t.open.Load())
}

func anyWantsKeyframe(edges []*Edge) bool {
	for _, e := range edges {
		if e.wantsKeyframe() {
			return true
		}
	}
	return false
}

func (t *Track) askKeyframe() {
	if t.keyframes != nil {
		t.keyframes.ask()
	}
}

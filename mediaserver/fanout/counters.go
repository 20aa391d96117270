package fanout

import (
	"sync/atomic"

	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
)

// Counters count packets and requests. Tracks may share one.
type Counters struct {
	Forwarded   atomic.Uint64 // packets handed to a sink, retransmissions not among them
	Withheld    atomic.Uint64 // packets dropped because the projection was cut when its turn came; of paused ones none
	Held        atomic.Uint64 // packets not sent, since the projection waits for a keyframe
	Replayed    atomic.Uint64 // packets that had overtaken a keyframe's first one; also among Forwarded
	BeforeStart atomic.Uint64 // packets dropped because they are older than the projection's start
	SinkErrors  atomic.Uint64 // packets and sender reports that a sink refused

	Duplicates     atomic.Uint64 // packets of the sender that had come before, or came too late to tell
	SourceRestarts atomic.Uint64 // new runs of sequence numbers begun by senders
	Padded         atomic.Uint64 // packets of senders that got padding to make a frame's sizes equal
	HandedOver     atomic.Uint64 // bursts walked by another worker than the one that received them

	KeyframeRequests          atomic.Uint64 // sent to senders, repetitions among them
	KeyframeRequestsCoalesced atomic.Uint64 // wishes that an earlier request serves too
	KeyframeRequestsDeferred  atomic.Uint64 // wishes that waited for the minimum interval
	PLIIgnored                atomic.Uint64 // PLIs of receivers that the stream is withheld from

	NACKAnswered atomic.Uint64 // packets sent again
	NACKIgnored  atomic.Uint64 // sequence numbers asked for and not sent again

	Padding atomic.Uint64 // bytes of padding sent to find out whether receivers can be sent more

	ResendsExhausted atomic.Uint64 // NACKs for a packet that is not sent again any more: wishes for a keyframe
}

// tally counts one burst without touching shared memory per packet.
type tally struct {
	forwarded, withheld, held, replayed, beforeStart, sinkErrors uint64
}

// drop counts a packet that is not forwarded; those of other layers are not counted.
func (t *tally) drop(cause forwarding.Cause) {
	switch cause {
	case forwarding.Withheld:
		t.withheld++
	case forwarding.BeforeStart:
		t.beforeStart++
	}
}

func (t *tally) addTo(c *Counters) {
	for _, x := range [...]struct {
		counter *atomic.Uint64
		n       uint64
	}{
		{&c.Forwarded, t.forwarded}, {&c.Withheld, t.withheld}, {&c.Held, t.held},
		{&c.Replayed, t.replayed}, {&c.BeforeStart, t.beforeStart}, {&c.SinkErrors, t.sinkErrors},
	} {
		if x.n != 0 {
			x.counter.Add(x.n)
		}
	}
}

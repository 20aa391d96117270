package channel

import (
	"errors"
	"fmt"
	"log/slog"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/mediaserver/fanout"
	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/rtc"
)

// edge is what one receiver gets from one sender.
type edge struct {
	receiver, sender *member
	streams          map[forwardingv1.Kind]*stream
	// paused is what the table wants, told what the receiver was last told.
	paused, told kinds
}

// stream is one kind of media of an edge.
type stream struct {
	downlink *rtc.Downlink
	forward  *fanout.Edge
	// withheld are the reasons of the channel's that are applied; the stream's
	// own reason, that it is not negotiated, is lifted by Bound.
	withheld forwarding.Reasons
}

// negotiate brings the edge's streams to the wanted kinds.
func (e *edge) negotiate(wanted kinds, bound func(), log *slog.Logger) error {
	for kind, s := range e.streams {
		if !wanted.has(kind) {
			removeStreams([]*stream{s}, log)
			delete(e.streams, kind)
		}
	}
	for _, kind := range wanted.list() {
		if e.streams[kind] != nil {
			continue
		}
		s, err := e.newStream(kind, bound)
		if err != nil {
			return err
		}
		e.streams[kind] = s
	}

	return nil
}

// newStream makes a stream that is held: the reconciliation that follows every
// change decides whether a table says more.
func (e *edge) newStream(kind forwardingv1.Kind, bound func()) (*stream, error) {
	downlink, err := e.receiver.peer.AddDownlink(e.sender.id(), kind)
	if err != nil {
		return nil, fmt.Errorf("adding %v of %s to the offer of %s: %w", kind, e.sender.id(), e.receiver.id(), err)
	}
	forward := e.sender.tracks[kind].AddEdge(downlink, forwarding.Unnegotiated|forwarding.NoTable)
	downlink.Attach(&feedback{Edge: forward, bound: bound})

	return &stream{downlink: downlink, forward: forward, withheld: forwarding.NoTable}, nil
}

// appendChanges adds what the fence must do to bring the edge's streams to what
// the table wants.
func (e *edge) appendChanges(changes []fanout.Change, hold bool) []fanout.Change {
	for kind, s := range e.streams {
		var wanted forwarding.Reasons
		if hold {
			wanted |= forwarding.NoTable
		}
		if e.paused.has(kind) {
			wanted |= forwarding.Paused
		}
		if wanted == s.withheld {
			continue
		}
		changes = append(changes, fanout.Change{
			Edge:     s.forward,
			Withhold: wanted &^ s.withheld,
			Release:  s.withheld &^ wanted,
		})
		s.withheld = wanted
	}

	return changes
}

// acknowledge says for each paused kind what left last.
func (e *edge) acknowledge(paused []forwardingv1.Kind) []*forwardingv1.StreamAcknowledgement {
	streams := make([]*forwardingv1.StreamAcknowledgement, len(paused))
	for i, kind := range paused {
		streams[i] = &forwardingv1.StreamAcknowledgement{Kind: kind}
		if e == nil || e.streams[kind] == nil {
			continue
		}
		forward := e.streams[kind].forward
		streams[i].Ssrc = forward.SSRC()
		if last, ok := forward.LastSequenceNumber(); ok {
			number := uint32(last)
			streams[i].LastSequenceNumber = &number
		}
	}

	return streams
}

// removeStreams ends streams: no packet leaves on them any more, and their receivers'
// next offers say so. However many they are, they wait for the workers once: the
// channel's pauses wait meanwhile.
func removeStreams(streams []*stream, log *slog.Logger) {
	edges := make([]*fanout.Edge, len(streams))
	for i, s := range streams {
		edges[i] = s.forward
	}
	fanout.Remove(edges)
	for _, s := range streams {
		if err := s.downlink.Remove(); err != nil && !errors.Is(err, rtc.ErrClosed) {
			log.Warn("removing a stream from an offer", "error", err)
		}
	}
}

// feedback is what comes back from the receiver of a stream.
type feedback struct {
	*fanout.Edge

	bound func()
}

// Bound lets the stream begin: packets can reach the receiver now.
func (f *feedback) Bound() {
	fanout.Apply([]fanout.Change{{Edge: f.Edge, Release: forwarding.Unnegotiated}})
	f.bound()
}

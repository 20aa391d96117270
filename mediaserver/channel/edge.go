package channel

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/nagi-rtc/nagi/mediaserver/codecs"
	"github.com/nagi-rtc/nagi/mediaserver/fanout"
	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/matching"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/rtc"
	"github.com/nagi-rtc/nagi/mediaserver/signaling"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// edge is what one receiver gets from one sender that has said what it sends.
type edge struct {
	receiver, sender *member
	streams          map[media.Kind]*stream
	// rejected are the kinds that the receiver does not take: it rejects the sender's
	// codec, or its last answer does not receive the m-line. rejectionTold is what it was
	// told of that.
	rejected, rejectionTold matching.Kinds
	// video is what its video gets of what the receiver can be sent.
	video part
	// withheld is what the table wants, told what the receiver was last told.
	withheld, told matching.Withheld
}

func (e *edge) names() matching.Edge {
	return matching.Edge{Receiver: e.receiver.id(), Sender: e.sender.id()}
}

// stream is one kind of media of an edge: how it leaves, and what is forwarded.
type stream struct {
	downlink   *rtc.Downlink
	projection *fanout.Projection
	// withheld are the reasons of the channel's that are applied; the stream's
	// own reason, that it is not negotiated, is lifted by Bound.
	withheld forwarding.Reasons
}

// negotiate brings the edge's streams to the wanted kinds.
func (e *edge) negotiate(wanted matching.Kinds, hold bool, log *slog.Logger) error {
	for kind, s := range e.streams {
		if !wanted.Has(protocolKind(kind)) {
			removeStreams([]*stream{s}, log)
			delete(e.streams, kind)
		}
	}
	for _, kind := range media.Kinds {
		if !wanted.Has(protocolKind(kind)) || e.streams[kind] != nil {
			continue
		}
		s, err := e.newStream(kind, hold)
		if errors.Is(err, rtc.ErrFormatNotTaken) {
			e.rejected |= kindsOf(kind)

			continue
		}
		if err != nil {
			return err
		}
		e.streams[kind] = s
	}

	return nil
}

// newStream makes a stream that has the reasons in force from the beginning. What an earlier
// stream of the kind got of the receiver's supply is none of them.
func (e *edge) newStream(kind media.Kind, hold bool) (*stream, error) {
	downlink, err := e.receiver.peer.AddDownlink(e.sender.id(), e.sender.formats[kind])
	if err != nil {
		return nil, fmt.Errorf("adding %v of %s to the offer of %s: %w", kind, e.sender.id(), e.receiver.id(), err)
	}
	if kind == media.Video {
		e.video = part{}
	}
	e.rejected &^= kindsOf(kind) // That was about an earlier stream.
	withheld := e.reasons(kind, hold)
	projection := e.sender.tracks[kind].Project(downlink, forwarding.Unnegotiated|withheld)
	if kind == media.Video {
		e.choose(projection)
	}
	downlink.Attach(&feedback{Projection: projection, supply: e.receiver.supply})

	return &stream{downlink: downlink, projection: projection, withheld: withheld}, nil
}

// highest is the highest of the sender's layers that the receiver asks for.
func (e *edge) highest() media.Layer {
	if layer := slices.Index(signaling.RIDs[:], e.rid()); layer >= 0 {
		return media.Layer(layer)
	}

	return media.MaxLayers - 1
}

// reject ends the streams of formats that the receiver has rejected.
func (e *edge) reject(rejected []codecs.Format, log *slog.Logger) {
	for kind, s := range e.streams {
		if slices.Contains(rejected, e.sender.formats[kind]) {
			log.Info("a receiver rejects a codec", "connection", e.receiver.id(), "format", e.sender.formats[kind].String())
			removeStreams([]*stream{s}, log)
			delete(e.streams, kind)
			e.rejected |= kindsOf(kind)
		}
	}
}

// refuse notes that the receiver does not receive a stream, or, if again, that it does
// after all. The fence is to follow.
func (e *edge) refuse(downlink *rtc.Downlink, again bool, log *slog.Logger) {
	for kind, s := range e.streams {
		switch {
		case s.downlink != downlink:
		case again:
			e.rejected &^= kindsOf(kind)
		default:
			log.Info("a receiver does not receive what it is offered", "connection", e.receiver.id(),
				"sender", e.sender.id(), "kind", kind.String())
			e.rejected |= kindsOf(kind)
		}
	}
}

// reasons are those of the channel's to withhold one kind of the edge.
func (e *edge) reasons(kind media.Kind, hold bool) forwarding.Reasons {
	var reasons forwarding.Reasons
	if hold {
		reasons |= forwarding.NoTable
	}
	if e.withheld.Kinds().Has(protocolKind(kind)) {
		reasons |= forwarding.Paused
	}
	if kind == media.Video && e.rid() == signaling.RIDNone {
		reasons |= e.unwanted()
	}
	if kind == media.Video && e.video.short {
		reasons |= forwarding.Bandwidth
	}
	if e.rejected.Has(protocolKind(kind)) {
		reasons |= forwarding.Unreceived
	}

	return reasons
}

// rid is the size of the sender's video that the receiver asks for; empty: any.
func (e *edge) rid() string {
	switch wanted := e.receiver.request.Spotlight; {
	case wanted == nil:
		return e.receiver.request.RequestRID
	case e.sender.focused:
		return wanted.FocusRID
	default:
		return wanted.UnfocusRID
	}
}

// unwanted is why video is withheld from who asks for no size of it. Out of spotlight
// channels that is meant for senders of several.
func (e *edge) unwanted() forwarding.Reasons {
	switch {
	case e.receiver.request.Spotlight != nil:
		return forwarding.Unfocused
	case e.sender.request.Simulcast:
		return forwarding.Unrequested
	default:
		return 0
	}
}

// choose has video go on in the size that the receiver asks for. What a receiver gets of
// whom not everything can be sent, divide chooses.
func (e *edge) choose(video *fanout.Projection) {
	if layer := slices.Index(signaling.RIDs[:], e.rid()); layer >= 0 && !e.receiver.supply.isDivided() {
		video.Choose(media.Layer(layer))
	}
}

// appendChanges adds what the fence must do to bring the edge's streams to what
// the table and the spotlight want.
func (e *edge) appendChanges(changes []fanout.Change, hold bool) []fanout.Change {
	for kind, s := range e.streams {
		wanted := e.reasons(kind, hold)
		if wanted == s.withheld {
			continue
		}
		changes = append(changes, fanout.Change{
			Projection: s.projection,
			Withhold:   wanted &^ s.withheld,
			Release:    s.withheld &^ wanted,
		})
		s.withheld = wanted
		if wanted == 0 {
			e.receiver.supply.opens()
		}
	}

	return changes
}

// removeStreams ends streams: no packet leaves on them any more, and their receivers'
// next offers say so. However many they are, they wait for the workers once: the
// channel's pauses wait meanwhile.
func removeStreams(streams []*stream, log *slog.Logger) {
	if len(streams) == 0 {
		return
	}
	projections := make([]*fanout.Projection, len(streams))
	for i, s := range streams {
		projections[i] = s.projection
	}
	fanout.Remove(projections)
	for _, s := range streams {
		if err := s.downlink.Remove(); err != nil && !errors.Is(err, rtc.ErrClosed) {
			log.Warn("removing a stream from an offer", "error", err)
		}
	}
}

// feedback is what comes back from the receiver of a stream.
type feedback struct {
	*fanout.Projection
	supply *supply
}

// ReceiveNACK has the stream send again what is missing, and the supply know of it.
func (f *feedback) ReceiveNACK(batch *udp.Batch, sequenceNumbers []uint16) {
	if missing := f.AnswerNACK(batch, sequenceNumbers); missing.Packets > 0 {
		f.supply.ReceiveMissing(missing, time.Now())
	}
}

// Bound lets the stream begin: packets can reach the receiver now.
func (f *feedback) Bound() {
	f.supply.opens()
	fanout.Apply([]fanout.Change{{Projection: f.Projection, Release: forwarding.Unnegotiated}})
}

package channel

import (
	"time"

	"github.com/nagi-rtc/nagi/mediaserver/allocation"
	"github.com/nagi-rtc/nagi/mediaserver/bandwidth"
	"github.com/nagi-rtc/nagi/mediaserver/fanout"
	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// part is what an edge's video gets of its receiver's supply.
type part struct {
	share allocation.Share
	since time.Time
	// short: it is nothing, though there is something to send.
	short bool
	// rates are what the sender's layers took when they came last.
	rates [media.MaxLayers]int
}

// supplied is what of one receiver is divided.
type supplied struct {
	edges       []*edge // in the order of their senders' joining
	demands     []allocation.Demand
	audio, sent int     // bit/s; audio is in what is sent
	padded      *stream // what padding can go beside; nil: nothing
}

// lookAtSupply divides anew what a receiver can be sent, and finds out whether that is more.
func (ch *channel) lookAtSupply(m *member) {
	if ch.closed || !ch.has(m) {
		return
	}
	now := time.Now()
	fence(ch.divide(m, now), ch.holding)
}

// divide divides what a receiver can be sent among the video streams that nothing else
// withholds, and gives the edges for which that changes anything. Who has not said that it is
// too much gets everything, and costs nothing more than this.
func (ch *channel) divide(m *member, now time.Time) (changed []*edge) {
	return ch.divideSupplied(m, ch.supplied(m, now), now)
}

func (ch *channel) divideSupplied(m *member, s supplied, now time.Time) (changed []*edge) {
	defer func() {
		if m.supply.wantsMeasurement() {
			m.peer.MeasureRoundTrip()
		}
	}()
	estimate, divided, sight := m.supply.conclude(s.sent, now)
	if sight.Congested {
		ch.metrics.congestions.Inc()
		m.peer.Congested(now)
	}
	if !divided {
		return nil
	}
	narrowed := m.supply.narrowed()
	if narrowed {
		s.lowest()
	}
	sight.Unpadded = s.padded == nil
	changed, spent := ch.shareOut(m, s, sight, estimate, now)
	if narrowed {
		s.restart()
		m.supply.limit(spent, now)
	}

	return changed
}

// shareOut divides an estimate among the pictures of a receiver, and goes on with finding out
// whether there is more. It gives what that takes, in bit/s.
func (ch *channel) shareOut(
	m *member, s supplied, sight bandwidth.Sight, estimate int, now time.Time,
) (changed []*edge, spent int) {
	for i := range s.demands {
		s.demands[i].Keeps = !sight.Congested
	}
	result := allocation.Divide(estimate, s.audio, s.demands, now)
	for i, e := range s.edges {
		if e.give(result.Shares[i], s.demands[i].Layers, now) {
			changed = append(changed, e)
		}
	}
	sight.Wanted = result.Wanted
	padding, proved := m.supply.probe(sight, result.Next, now)
	if result.Wanted == 0 && result.Next.IsZero() {
		m.supply.settle()
	}
	if proved {
		ch.metrics.probesProved.Inc()
	}
	if padding > 0 && s.padded != nil {
		ch.config.Engine.Socket().Post(s.padded.downlink.Worker(), padJob{s.padded.projection, padding})
	}

	return changed, result.Spent
}

// divideAmong divides anew what the receivers of edges that change can be sent, before these
// change: what resumes begins with what there is for it.
func (ch *channel) divideAmong(edges []*edge, now time.Time) (changed []*edge) {
	seen := make(map[*member]struct{})
	for _, e := range edges {
		m := e.receiver
		if _, has := seen[m]; has || !m.supply.isDivided() {
			continue
		}
		seen[m] = struct{}{}
		changed = append(changed, ch.divide(m, now)...)
	}

	return changed
}

// supplied gathers what there is to divide.
func (ch *channel) supplied(m *member, now time.Time) (s supplied) {
	for _, sender := range ch.members {
		e := m.incoming[sender]
		if e == nil {
			continue
		}
		if audio := e.streams[media.Audio]; audio != nil && audio.withheld == 0 && sender.heard() {
			_, rates := sender.tracks[media.Audio].Layers(now)
			s.audio += rates[0]
		}
		if video := e.streams[media.Video]; video != nil {
			s.add(e, video, ch.holding, now)
		}
	}
	s.sent += s.audio

	return s
}

// add adds an edge's video, if it is a demand: what is paused, or not wanted, takes nothing
// and has nothing to wait for.
func (s *supplied) add(e *edge, video *stream, hold bool, now time.Time) {
	if e.reasons(media.Video, hold)&^forwarding.Bandwidth != 0 {
		e.video.share, e.video.since, e.video.short = allocation.Share{}, time.Time{}, false

		return
	}
	there, rates := e.sender.tracks[media.Video].Layers(now)
	layer, flows := video.projection.Layer()
	if flows && video.withheld == 0 {
		s.sent += rates[layer]
		if s.padded == nil && video.downlink.TakesPadding() {
			s.padded = video
		}
	}
	for i, rate := range rates {
		if rate > 0 {
			e.video.rates[i] = rate
		}
	}
	share := e.video.share
	if _, has := share.Layer(); !has && !e.video.short && flows && video.withheld == 0 {
		share = allocation.ShareOf(layer) // Nothing has been divided yet.
	}
	s.edges = append(s.edges, e)
	s.demands = append(s.demands, allocation.Demand{
		Layers: there, Chosen: e.highest(), Rates: e.video.rates, Now: share, Since: e.video.since,
	})
}

// lowest has every picture be the smallest that there is: a full queue is emptied soonest so. By
// the estimate, which is still too high then, it would take two changes, and the keyframe of the
// first would be lost in the queue.
func (s *supplied) lowest() {
	for i := range s.demands {
		s.demands[i].Chosen = 0
	}
}

// restart ends at once what is sent of other pictures than those that were chosen, instead of
// with the keyframes of these: in a full queue it is lost in part, so that nobody can decode
// it, and takes the room of the keyframes. What was lost of it is not sent again, either.
func (s *supplied) restart() {
	var cut, released []fanout.Change
	for _, e := range s.edges {
		video := e.streams[media.Video]
		wanted, has := e.video.share.Layer()
		if layer, flows := video.projection.Layer(); !has || !flows || layer == wanted || video.withheld != 0 {
			continue
		}
		cut = append(cut, fanout.Change{Projection: video.projection, Withhold: forwarding.Bandwidth})
		released = append(released, fanout.Change{Projection: video.projection, Release: forwarding.Bandwidth})
	}
	if len(cut) > 0 {
		fanout.Apply(cut)
		fanout.Apply(released)
	}
}

// give has an edge's video go on with its share, and tells whether that changes the reasons
// to withhold it. A sender of whom nothing has come yet is short of nothing; its smallest
// picture comes first.
func (e *edge) give(share allocation.Share, there media.Layers, now time.Time) (changed bool) {
	layer, has := share.Layer()
	short := !has && there != 0
	projection := e.streams[media.Video].projection
	switch {
	case has && share != e.video.share:
		projection.Choose(layer)
	case !has && !short:
		projection.Choose(0)
	}
	if share != e.video.share || short != e.video.short {
		e.video.share, e.video.since = share, now
	}
	changed, e.video.short = short != e.video.short, short

	return changed
}

// padJob is padding that a worker sends, so that a pause's fence sees its batch.
type padJob struct {
	projection *fanout.Projection
	bytes      int
}

// Run sends it, unless the projection has been paused meanwhile.
func (j padJob) Run(batch *udp.Batch) { j.projection.Pad(batch, j.bytes) }

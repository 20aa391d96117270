// Package fanout walks what one sender sends of one kind over its projections: packets, sender
// reports and answers to the receivers' feedback; and it is the fence behind which a projection
// is known to be cut.
//
// Four locks, none of them ever taken while a later one is held:
//
//	Track.change    who is on the track; held for a few instructions only
//	Projection.mu   one projection's state; held while its packets of one burst are
//	                decided upon and appended to a batch
//	Track.in        the layers' stores and the timeline; held while a burst is taken in,
//	                and while stored packets are copied
//	keyframes.mu    when to ask for a keyframe; a leaf, as Track.in is
//
// No lock is held across a system call. Batches are flushed by their owners, or to
// make room, and requests for keyframes are sent, with none of them held. So a
// full socket buffer delays what goes through it, and no decision.
package fanout

import (
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nagi-rtc/nagi/mediaserver/codecs"
	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/media"
)

// Config describes a track.
type Config struct {
	Kind media.Kind
	// Inspect reads what a payload says by itself.
	Inspect func(payload []byte) codecs.Facts
	// RequestKeyframe asks the sender for a keyframe of each of the layers (PLI, RFC 4585
	// section 6.3.1).
	RequestKeyframe func(layers media.Layers)
	// Workers own the batches that the track is called with; nil: one worker, whose
	// batches the caller flushes before it changes anything.
	Workers Workers
	// HandOver is how many packets, over all projections of another worker, are worth
	// waking that one for; 0: 256.
	HandOver int
	// NoPadding leaves the sender's packets at the sizes that they came with.
	NoPadding bool
	// Counters may be shared with other tracks; nil: the track's own.
	Counters *Counters
	Log      *slog.Logger
}

// Track is what one sender sends of one kind, in one layer or several, and its
// projections.
type Track struct {
	config    Config
	counters  *Counters
	keyframes *keyframes

	change sync.Mutex                    // orders changes of all and of the shards' snapshots
	all    atomic.Pointer[[]*Projection] // every projection
	closed forwarding.Reasons            // why nobody gets anything, those to come neither; guarded by change
	shards []shard                       // by worker

	taken atomic.Uint64 // bursts taken in so far, with the one in hand

	in       sync.Mutex // guards all that follows
	layers   [media.MaxLayers]layer
	timeline forwarding.Timeline
	presence forwarding.Presence
	arrived  time.Time // when the last packet came
	spare    []*burst  // memory used again
}

// shard is the projections whose receivers one worker fans out to.
type shard struct {
	open    atomic.Pointer[snapshot]
	pending atomic.Int32 // bursts handed over to the worker that have not left yet
	foreign atomic.Bool  // another worker may hold packets for these projections in its batch
}

// snapshot is projections that nothing withholds, by the layers whose packets they look
// at: the one that they forward, and the one that they want.
type snapshot [media.MaxLayers][]*Projection

// NewTrack makes a track without projections. Close it after use.
func NewTrack(config Config) *Track {
	t := &Track{config: config, counters: config.Counters}
	if t.counters == nil {
		t.counters = &Counters{}
	}
	if t.config.Log == nil {
		t.config.Log = slog.New(slog.DiscardHandler)
	}
	if t.config.HandOver == 0 {
		t.config.HandOver = defaultHandOver
	}
	if t.config.Workers == nil {
		t.config.Workers = alone{}
	}
	t.timeline = forwarding.NewTimeline(t.config.Kind)
	t.all.Store(&[]*Projection{})
	t.shards = make([]shard, max(1, t.config.Workers.Workers()))
	for i := range t.shards {
		t.shards[i].open.Store(&snapshot{})
	}
	if t.config.Kind == media.Video && config.RequestKeyframe != nil {
		t.keyframes = startKeyframes(config.RequestKeyframe, t.wantsKeyframe, t.counters)
	}

	return t
}

// Counters are the track's counters.
func (t *Track) Counters() *Counters { return t.counters }

// Close ends the track's requests for keyframes and waits until the last one is
// sent. Projections stay as they are.
func (t *Track) Close() {
	if t.keyframes != nil {
		t.keyframes.close()
	}
}

// Project adds a receiver that has got nothing of this track yet. Unless something
// withholds it, video begins with the next keyframe, which is asked for.
func (t *Track) Project(sink Sink, withheld forwarding.Reasons) *Projection {
	state := forwarding.NewProjection(t.config.Kind, uint16(rand.Uint32N(1<<15)))
	pr := &Projection{track: t, sink: sink, state: state, chosen: media.MaxLayers - 1}
	t.change.Lock()
	withheld |= t.closed
	pr.state.Withhold(withheld)
	pr.want.Store(uint32(withheld) | cut)
	pr.aim(t.there())
	longer := append(*t.all.Load(), pr)
	t.all.Store(&longer)
	if withheld == 0 {
		t.open(pr)
	}
	t.change.Unlock()

	if from, wanted := pr.wishToStart(time.Now()); wanted {
		pr.askKeyframe(from, true)
	}

	return pr
}

// open puts a projection into the snapshots of the layers that it looks at. Call with
// change held.
//
// Those who look at a list before do not look beyond its end, so the memory behind that may
// be used: in a big channel a list is copied once in a while, not for every newcomer.
func (t *Track) open(pr *Projection) {
	shard := &t.shards[t.shardOf(pr.sink.Worker())]
	longer := *shard.open.Load()
	for layer := range longer {
		if pr.looksAt().Has(media.Layer(layer)) {
			longer[layer] = append(longer[layer], pr)
		}
	}
	shard.open.Store(&longer)
}

// leaveOut takes projections out of the snapshots. The others, of which there may be many,
// are not looked at. Call with change held.
func (t *Track) leaveOut(gone map[*Projection]struct{}) {
	for i := range t.shards {
		left := *t.shards[i].open.Load()
		for layer := range left {
			left[layer] = without(left[layer], gone)
		}
		t.shards[i].open.Store(&left)
	}
}

// move has an open projection in the snapshots of the layers that it looks at now, and in no
// other, in one swap: no walk misses it. Call with change held.
func (t *Track) move(pr *Projection) {
	shard := &t.shards[t.shardOf(pr.sink.Worker())]
	moved, self := *shard.open.Load(), map[*Projection]struct{}{pr: {}}
	for layer := range moved {
		moved[layer] = without(moved[layer], self)
		if pr.looksAt().Has(media.Layer(layer)) {
			moved[layer] = append(moved[layer], pr)
		}
	}
	shard.open.Store(&moved)
}

// without is the list without some projections; others may still look at the one that is
// given.
func without(list []*Projection, gone map[*Projection]struct{}) []*Projection {
	left := make([]*Projection, 0, len(list))
	for _, pr := range list {
		if _, is := gone[pr]; !is {
			left = append(left, pr)
		}
	}

	return left
}

// looksAt is the layers whose packets the projection is to decide upon.
func (pr *Projection) looksAt() media.Layers {
	layers := media.LayersOf(wantedLayer(pr.want.Load()))
	if present := pr.present.Load(); present != 0 {
		layers |= media.LayersOf(media.Layer(present - 1))
	}

	return layers
}

// refresh makes the snapshots anew. Call with change held.
func (t *Track) refresh() {
	open := make([]snapshot, len(t.shards))
	for _, pr := range *t.all.Load() {
		if forwarding.Reasons(pr.want.Load()) != 0 {
			continue
		}
		shard := &open[t.shardOf(pr.sink.Worker())]
		for layer := range shard {
			if pr.looksAt().Has(media.Layer(layer)) {
				shard[layer] = append(shard[layer], pr)
			}
		}
	}
	for i := range t.shards {
		t.shards[i].open.Store(&open[i])
	}
}

func (t *Track) shardOf(worker int) int { return int(uint(worker) % uint(len(t.shards))) }

// wantsKeyframe tells whether any projection still waits for one of the layer, and from
// when on the sender may be asked for it.
func (t *Track) wantsKeyframe(layer media.Layer) (from time.Time, wanted bool) {
	for i := range t.shards {
		for _, pr := range t.shards[i].open.Load()[layer] {
			pr.lock()
			if pr.needsKeyframe() && pr.state.Wanted() == layer && (!wanted || pr.wish.from.Before(from)) {
				from, wanted = pr.wish.from, true
			}
			pr.mu.Unlock()
		}
	}

	return from, wanted
}

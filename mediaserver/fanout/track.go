// Package fanout walks what one sender sends of one kind over its edges: packets, sender reports
// and answers to the receivers' feedback; and it is the fence behind which
// an edge is known to be cut.
//
// Four kinds of locks, none of them ever taken while a later one is held:
//
//	Track.change    who is on the track; held for a few instructions only
//	Edge.mu         one edge's state; held while its packets of one burst are
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
	// HandOver is how many packets, over all edges of another worker, are worth waking
	// that one for; 0: 256.
	HandOver int
	// NoPadding leaves the sender's packets at the sizes that they came with.
	NoPadding bool
	// Counters may be shared with other tracks; nil: the track's own.
	Counters *Counters
	Log      *slog.Logger
}

// Track is what one sender sends of one kind, in one layer or several, and its edges.
type Track struct {
	config    Config
	counters  *Counters
	keyframes *keyframes

	change sync.Mutex              // orders changes of all and of the shards' snapshots
	all    atomic.Pointer[[]*Edge] // every edge
	closed forwarding.Reasons      // why nobody gets anything, those to come neither; guarded by change
	shards []shard                 // by worker

	taken atomic.Uint64 // bursts taken in so far, with the one in hand

	in       sync.Mutex // guards all that follows
	layers   [media.MaxLayers]layer
	timeline forwarding.Timeline
	presence forwarding.Presence
	arrived  time.Time // when the last packet came
	spare    []*burst  // memory used again
}

// shard is the edges whose receivers one worker fans out to.
type shard struct {
	open    atomic.Pointer[snapshot]
	pending atomic.Int32 // bursts handed over to the worker that have not left yet
	foreign atomic.Bool  // another worker may hold packets for these edges in its batch
}

// snapshot is edges that nothing withholds, by the layers whose packets they look at: the
// one that they forward, and the one that they want.
type snapshot [media.MaxLayers][]*Edge

// NewTrack makes a track without edges. Close it after use.
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
	t.all.Store(&[]*Edge{})
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
// sent. Edges stay as they are.
func (t *Track) Close() {
	if t.keyframes != nil {
		t.keyframes.close()
	}
}

// AddEdge adds a receiver that has got nothing of this track yet. Unless something
// withholds it, video begins with the next keyframe, which is asked for.
func (t *Track) AddEdge(sink Sink, withheld forwarding.Reasons) *Edge {
	e := &Edge{track: t, sink: sink, state: forwarding.NewEdge(t.config.Kind, uint16(rand.Uint32N(1<<15)))}
	e.chosen = media.MaxLayers - 1
	t.change.Lock()
	withheld |= t.closed
	e.state.Withhold(withheld)
	e.want.Store(uint32(withheld) | cut)
	e.aim(t.there())
	longer := append(*t.all.Load(), e)
	t.all.Store(&longer)
	if withheld == 0 {
		t.open(e)
	}
	t.change.Unlock()

	if from, wanted := e.wishToStart(time.Now()); wanted {
		e.askKeyframe(from, true)
	}

	return e
}

// open puts an edge into the snapshots of the layers that it looks at. Call with change
// held.
//
// Those who look at a list before do not look beyond its end, so the memory behind that may
// be used: in a big channel a list is copied once in a while, not for every newcomer.
func (t *Track) open(e *Edge) {
	shard := &t.shards[t.shardOf(e.sink.Worker())]
	longer := *shard.open.Load()
	for layer := range longer {
		if e.looksAt().Has(media.Layer(layer)) {
			longer[layer] = append(longer[layer], e)
		}
	}
	shard.open.Store(&longer)
}

// leaveOut takes edges out of the snapshots. The others, of which there may be many, are not
// looked at. Call with change held.
func (t *Track) leaveOut(gone map[*Edge]struct{}) {
	for i := range t.shards {
		left := *t.shards[i].open.Load()
		for layer := range left {
			left[layer] = without(left[layer], gone)
		}
		t.shards[i].open.Store(&left)
	}
}

// move has an open edge in the snapshots of the layers that it looks at now, and in no other,
// in one swap: no walk misses it. Call with change held.
func (t *Track) move(e *Edge) {
	shard := &t.shards[t.shardOf(e.sink.Worker())]
	moved, self := *shard.open.Load(), map[*Edge]struct{}{e: {}}
	for layer := range moved {
		moved[layer] = without(moved[layer], self)
		if e.looksAt().Has(media.Layer(layer)) {
			moved[layer] = append(moved[layer], e)
		}
	}
	shard.open.Store(&moved)
}

// without is the list without some edges; others may still look at the one that is given.
func without(list []*Edge, gone map[*Edge]struct{}) []*Edge {
	left := make([]*Edge, 0, len(list))
	for _, e := range list {
		if _, is := gone[e]; !is {
			left = append(left, e)
		}
	}

	return left
}

// looksAt is the layers whose packets the edge is to decide upon.
func (e *Edge) looksAt() media.Layers {
	layers := media.LayersOf(wantedLayer(e.want.Load()))
	if present := e.present.Load(); present != 0 {
		layers |= media.LayersOf(media.Layer(present - 1))
	}

	return layers
}

// refresh makes the snapshots anew. Call with change held.
func (t *Track) refresh() {
	open := make([]snapshot, len(t.shards))
	for _, e := range *t.all.Load() {
		if forwarding.Reasons(e.want.Load()) != 0 {
			continue
		}
		shard := &open[t.shardOf(e.sink.Worker())]
		for layer := range shard {
			if e.looksAt().Has(media.Layer(layer)) {
				shard[layer] = append(shard[layer], e)
			}
		}
	}
	for i := range t.shards {
		t.shards[i].open.Store(&open[i])
	}
}

func (t *Track) shardOf(worker int) int { return int(uint(worker) % uint(len(t.shards))) }

// wantsKeyframe tells whether any edge still waits for one of the layer, and from when on
// the sender may be asked for it.
func (t *Track) wantsKeyframe(layer media.Layer) (from time.Time, wanted bool) {
	for i := range t.shards {
		for _, e := range t.shards[i].open.Load()[layer] {
			e.lock()
			if e.needsKeyframe() && e.state.Wanted() == layer && (!wanted || e.wish.from.Before(from)) {
				from, wanted = e.wish.from, true
			}
			e.mu.Unlock()
		}
	}

	return from, wanted
}

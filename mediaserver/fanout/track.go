// Package fanout walks one sender's stream over its edges: packets, sender reports
// and answers to the receivers' feedback; and it is the fence behind which
// an edge is known to be cut.
//
// Four kinds of locks, none of them ever taken while a later one is held:
//
//	Track.change    who is on the track; held for a few instructions only
//	Edge.mu         one edge's state; held while its packets of one burst are
//	                decided upon and appended to a batch
//	Track.in        the source and the store; held while a burst is taken in, and
//	                while stored packets are copied
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

	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/media"
)

// Config describes a track.
type Config struct {
	Kind media.Kind
	// KeyframeStart tells the first packet of a keyframe by its payload; nil when a
	// receiver may start at any packet.
	KeyframeStart func(payload []byte) bool
	// RequestKeyframe asks the sender for a keyframe (PLI, RFC 4585 section 6.3.1).
	RequestKeyframe func()
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

// Track is one sender's stream and its edges.
type Track struct {
	config    Config
	counters  *Counters
	keyframes *keyframes

	change sync.Mutex              // orders changes of all and of the shards' snapshots
	all    atomic.Pointer[[]*Edge] // every edge
	shards []shard                 // by worker

	taken atomic.Uint64 // bursts taken in so far, with the one in hand

	in      sync.Mutex // guards all that follows
	source  forwarding.Source
	arrived time.Time // when the last packet that belongs to a run came
	store   store
	clock   clock
	spare   []*burst // memory used again
}

// shard is the edges whose receivers one worker fans out to.
type shard struct {
	open    atomic.Pointer[[]*Edge] // the snapshot that packets go to: nothing withholds them
	pending atomic.Int32            // bursts handed over to the worker that have not left yet
	foreign atomic.Bool             // another worker may hold packets for these edges in its batch
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
	if t.config.HandOver == 0 {
		t.config.HandOver = defaultHandOver
	}
	if t.config.Workers == nil {
		t.config.Workers = alone{}
	}
	t.source = forwarding.NewSource(t.config.Kind)
	t.all.Store(&[]*Edge{})
	t.shards = make([]shard, max(1, t.config.Workers.Workers()))
	for i := range t.shards {
		t.shards[i].open.Store(&[]*Edge{})
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
	e := &Edge{track: t, sink: sink, state: forwarding.NewEdge(t.config.Kind, uint16(rand.Uint32N(1<<15))).Withhold(withheld)}
	e.want.Store(uint32(withheld) | cut)
	t.change.Lock()
	extend(&t.all, e)
	if withheld == 0 {
		t.open(e)
	}
	t.change.Unlock()

	if from, wanted := e.start(time.Now()); wanted {
		t.askKeyframe(from, true)
	}
	return e
}

// open puts an edge into the snapshots that it is not in. Call with change held.
func (t *Track) open(e *Edge) {
	extend(&t.shards[t.shardOf(e.sink.Worker())].open, e)
}

// extend publishes a list with one more edge. Those who look at the list before do
// not look beyond its end, so the memory behind that may be used: in a big channel
// a list is copied once in a while, not for every newcomer.
func extend(list *atomic.Pointer[[]*Edge], e *Edge) {
	longer := append(*list.Load(), e)
	list.Store(&longer)
}

// refresh makes the snapshots anew. Call with change held.
func (t *Track) refresh() {
	open := make([][]*Edge, len(t.shards))
	for _, e := range *t.all.Load() {
		if forwarding.Reasons(e.want.Load()) == 0 {
			worker := t.shardOf(e.sink.Worker())
			open[worker] = append(open[worker], e)
		}
	}
	for i := range t.shards {
		t.shards[i].open.Store(&open[i])
	}
}

func (t *Track) shardOf(worker int) int { return int(uint(worker) % uint(len(t.shards))) }

// wantsKeyframe tells whether any edge still waits for one, and from when on the sender
// may be asked for it.
func (t *Track) wantsKeyframe() (from time.Time, wanted bool) {
	for i := range t.shards {
		for _, e := range *t.shards[i].open.Load() {
			e.lock()
			if e.wantsKeyframe() && (!wanted || e.wish.from.Before(from)) {
				from, wanted = e.wish.from, true
			}
			e.mu.Unlock()
		}
	}
	return from, wanted
}

func (t *Track) askKeyframe(from time.Time, start bool) {
	if t.keyframes != nil {
		t.keyframes.ask(from, start)
	}
}

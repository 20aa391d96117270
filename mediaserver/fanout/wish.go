package fanout

import "time"

// hasty is how soon after its last start a stream's next one counts against its
// receiver's pace. Nobody starts a stream more often to look at it.
const hasty = time.Second

// wish is one receiver's wish for a keyframe, and the pace of its wishes.
type wish struct {
	from    time.Time // when the sender may be asked; zero: there is no wish, or nobody to blame for it
	started time.Time // when the receiver last began to wait for its stream's start
	pace    pace
}

// toStart wishes for the keyframe that a stream (re)starts with. A wish that stands
// already is enough.
func (w *wish) toStart(now time.Time) {
	if !w.from.IsZero() {
		return
	}
	w.from = now
	if now.Sub(w.started) < hasty {
		w.from = w.pace.grant(now)
	}
	w.started = now
}

// toGoOn wishes for a keyframe because the receiver cannot go on without one.
func (w *wish) toGoOn(now time.Time) {
	if w.from.IsZero() {
		w.from = w.pace.grant(now)
	}
}

// over ends the wish: the keyframe is here, or nobody waits for it any more.
func (w *wish) over() { w.from = time.Time{} }

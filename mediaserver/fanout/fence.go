package fanout

import (
	"slices"
	"time"

	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
)

// Change is a change of the reasons to withhold one projection. Withhold wins over
// Release.
type Change struct {
	Projection        *Projection
	Withhold, Release forwarding.Reasons
}

// Apply makes the changes and is the fence: when it returns, every walk and every
// answer to feedback that knew a projection as open has handed its packets to the
// kernel, and no packet leaves on a projection that is withheld now, nor is its
// LastSequenceNumber any other later on.
//
// All projections are cut before any is released, whichever tracks they are on, and
// before anything is waited for; the wait, one for all of them, is for batches to be
// flushed. Each track with released projections is asked for one keyframe of each layer
// that they go on with, however many they are, and before the wait: a receiver that
// resumes sees nothing until it is answered.
//
// Only for reasons that are promised (forwarding.Promised) is anything waited for.
// Changes that withhold for none of these may be made anywhere; others must not be made
// by a worker, whose batch would be waited for.
func Apply(changes []Change) {
	tracks := make(map[*Track][]Change)
	for _, c := range changes {
		tracks[c.Projection.track] = append(tracks[c.Projection.track], c)
	}
	for t, changes := range tracks {
		t.cut(changes)
	}
	for t, changes := range tracks {
		t.release(changes)
	}
	for t, changes := range tracks {
		t.follow(changes)
	}
	var quiet []Workers
	for _, c := range changes {
		workers := c.Projection.track.config.Workers
		if c.Withhold&forwarding.Promised != 0 && !slices.Contains(quiet, workers) {
			workers.Quiesce()
			quiet = append(quiet, workers)
		}
	}
}

// cut publishes snapshots without the projections that are to be withheld. Walks that
// begin after it see none of them.
func (t *Track) cut(changes []Change) {
	t.change.Lock()
	defer t.change.Unlock()
	gone := make(map[*Projection]struct{})
	for _, c := range changes {
		if c.Withhold != 0 {
			c.Projection.want.Or(uint32(c.Withhold) | cut)
			gone[c.Projection] = struct{}{}
		}
	}
	if len(gone) > 0 {
		t.leaveOut(gone)
	}
}

// release publishes snapshots with the projections that nothing withholds any more.
func (t *Track) release(changes []Change) {
	t.change.Lock()
	defer t.change.Unlock()
	for _, c := range changes {
		released := c.Release &^ c.Withhold
		before := forwarding.Reasons(c.Projection.want.And(^uint32(released)))
		if before != 0 && before&^released == 0 && !c.Projection.off {
			t.open(c.Projection)
		}
	}
}

// follow makes the states of the projections what is wanted of them. Walks under way
// leave out projections that are withheld. The keyframes that projections now wait for
// are asked for, one for all that go on with the same layer.
func (t *Track) follow(changes []Change) {
	var wishes wishes
	now := time.Now()
	for _, c := range changes {
		wishes.add(c.Projection, now)
	}
	if t.keyframes != nil {
		wishes.ask(t.keyframes)
	}
}

// Remove takes the projection off its track. When it returns, nothing is written to the
// sink any more, and what was written has been handed to the kernel. Like a cut it
// must not be made by a worker. Removing it again does nothing.
func (pr *Projection) Remove() { Remove([]*Projection{pr}) }

// Remove takes projections off their tracks as Projection.Remove does, with one wait
// for all.
func Remove(projections []*Projection) {
	tracks := make(map[*Track]map[*Projection]struct{})
	for _, pr := range projections {
		if tracks[pr.track] == nil {
			tracks[pr.track] = make(map[*Projection]struct{})
		}
		tracks[pr.track][pr] = struct{}{}
	}
	for t, gone := range tracks {
		t.takeOff(gone)
	}
	var quiet []Workers
	for t := range tracks {
		if workers := t.config.Workers; !slices.Contains(quiet, workers) {
			workers.Quiesce()
			quiet = append(quiet, workers)
		}
	}
}

func (t *Track) takeOff(gone map[*Projection]struct{}) {
	t.change.Lock()
	all := without(*t.all.Load(), gone)
	t.all.Store(&all)
	t.leaveOut(gone)
	for pr := range gone {
		pr.off = true
	}
	t.change.Unlock()

	for pr := range gone {
		pr.lock()
		pr.removed = true
		pr.mu.Unlock()
	}
}

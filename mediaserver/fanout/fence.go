package fanout

import "github.com/nagi-rtc/nagi/mediaserver/forwarding"

// Change is a change of the reasons to withhold one edge. Withhold wins over
// Release.
type Change struct {
	Edge              *Edge
	Withhold, Release forwarding.Reasons
}

// Apply makes the changes and is the fence: when it returns, every walk and every
// answer to feedback that knew an edge as open has handed its packets to
// its sink, and no packet is written on an edge that is withheld now.
//
// The snapshots of all tracks are swapped before the first one is waited for, so
// that a slow receiver on one track delays no cut on another. Each
// track with released edges is asked for one keyframe, however many they are.
func Apply(changes []Change) {
	tracks := make(map[*Track][]Change)
	for _, c := range changes {
		tracks[c.Edge.track] = append(tracks[c.Edge.track], c)
	}
	for t, changes := range tracks {
		t.swap(changes)
	}
	for t, changes := range tracks {
		if t.pass(changes) {
			t.askKeyframe()
		}
	}
}

// swap publishes a snapshot with the changes made. Walks that begin after it see
// no edge that is withheld.
func (t *Track) swap(changes []Change) {
	t.change.Lock()
	defer t.change.Unlock()
	for _, c := range changes {
		reasons := forwarding.Reasons(c.Edge.reasons.Load())&^c.Release | c.Withhold
		c.Edge.reasons.Store(uint32(reasons))
		if reasons != 0 {
			c.Edge.cut.Store(true)
		}
	}
	t.refresh()
}

// pass waits for the walk or the feedback in progress, if any, which may have begun
// with the old snapshot. It tells whether an edge now waits for a keyframe.
func (t *Track) pass(changes []Change) (wantsKeyframe bool) {
	t.walk.Lock()
	defer t.walk.Unlock()
	for _, c := range changes {
		c.Edge.follow()
		if c.Release != 0 && !c.Edge.removed && c.Edge.wantsKeyframe() {
			wantsKeyframe = true
		}
	}
	return wantsKeyframe
}

package fanout_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/nagi-rtc/nagi/mediaserver/fanout"
	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/media"
)

// looked counts how often a track looks at a receiver to place it.
type looked struct {
	discard
	at *atomic.Int64
}

func (l looked) Worker() int {
	l.at.Add(1)

	return 0
}

// Cutting, releasing and removing a projection of many looks at no other.
func TestChangesLookAtTheirOwnProjectionsOnly(t *testing.T) {
	track := newVideo(t, func() {})
	defer track.Close()
	var at atomic.Int64
	var projections []*fanout.Projection
	for range 200 {
		projections = append(projections, track.Project(looked{at: &at}, 0))
	}
	for name, change := range map[string]func(){
		"cut":     func() { fanout.Apply([]fanout.Change{{Projection: projections[7], Withhold: forwarding.Paused}}) },
		"release": func() { fanout.Apply([]fanout.Change{{Projection: projections[7], Release: forwarding.Paused}}) },
		"remove":  func() { projections[8].Remove() },
	} {
		at.Store(0)
		if change(); at.Load() > 2 {
			t.Errorf("%s looked %d times at receivers", name, at.Load())
		}
	}
}

// Nor does the choice of another layer.
func TestChoiceLooksAtItsOwnProjectionOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startSimulcast(fanout.Config{})
		defer s.track.Close()
		var at atomic.Int64
		var projections []*fanout.Projection
		for range 200 {
			projections = append(projections, s.track.Project(looked{at: &at}, 0))
		}
		s.send(0, "K")
		s.send(2, "K")
		for _, layer := range []media.Layer{0, 2} {
			at.Store(0)
			if projections[7].Choose(layer); at.Load() > 2 {
				t.Errorf("choosing layer %d looked %d times at receivers", layer, at.Load())
			}
		}
	})
}

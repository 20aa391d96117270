package fanout

import (
	"time"

	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/media"
)

// Choose has the edge go on with a layer, or, while that one is not there, with the one
// that is nearest to it, from the next keyframe on, which is asked for. What is forwarded
// now flows until then. It waits for nothing, and of an edge that is withheld it changes
// nothing but what that goes on with. An edge for which nothing was chosen has the
// highest layer.
func (e *Edge) Choose(layer media.Layer) {
	t := e.track
	t.change.Lock()
	e.chosen = layer
	changed := e.aim(t.there())
	if changed && !e.off && forwarding.Reasons(e.want.Load()) == 0 {
		t.move(e)
	}
	t.change.Unlock()
	if from, wanted := e.wishToStart(time.Now()); changed && wanted {
		e.askKeyframe(from, true)
	}
}

// aim makes the layer that is nearest to the chosen one the wanted one, and tells whether
// that is another. Call with Track.change held.
func (e *Edge) aim(there media.Layers) (changed bool) {
	layer, ok := there.Nearest(e.chosen)
	for ok {
		before := e.want.Load()
		if wantedLayer(before) == layer {
			return false
		}
		if e.want.CompareAndSwap(before, before&(1<<layerShift-1)|uint32(layer)<<layerShift) {
			return true
		}
	}

	return false // Nothing has come yet, so nothing can be missed.
}

// Layers tells which layers come, and what each takes, in bit/s of payload.
func (t *Track) Layers(now time.Time) (there media.Layers, rates [media.MaxLayers]int) {
	t.in.Lock()
	defer t.in.Unlock()
	for i := range rates {
		rates[i] = t.layers[i].meter.Rate(now)
	}

	return t.presence.There(), rates
}

func (t *Track) there() media.Layers {
	t.in.Lock()
	defer t.in.Unlock()

	return t.presence.There()
}

// aim has all edges want the layers that are nearest to the chosen ones, before the burst
// is walked with which other layers are there.
func (t *Track) aim(b *burst) {
	t.change.Lock()
	there := t.there()
	var changed []*Edge
	for _, e := range *t.all.Load() {
		if e.aim(there) {
			changed = append(changed, e)
		}
	}
	if len(changed) > 0 {
		t.refresh()
	}
	t.change.Unlock()
	for _, e := range changed {
		e.lock()
		if e.state.Wanted() == b.layer {
			e.another = b.number - 1 // None of the layer has been walked before, and this one is about to be.
		}
		e.mu.Unlock()
	}
}

// followAll makes the states of all edges what is wanted of them, and asks for the keyframes
// that they now wait for, one for all that go on with the same layer.
func (t *Track) followAll() {
	var wishes wishes
	now := time.Now()
	for _, e := range *t.all.Load() {
		wishes.add(e, now)
	}
	if t.keyframes != nil {
		wishes.ask(t.keyframes)
	}
}

// wishes are those that are made at once, by layer: when the sender may be asked.
type wishes [media.MaxLayers]time.Time

// add notes the wish of an edge that needs a keyframe to start.
func (w *wishes) add(e *Edge, now time.Time) {
	at, wanted := e.wishToStart(now)
	if !wanted {
		return
	}
	if from := &w[wantedLayer(e.want.Load())]; from.IsZero() || at.Before(*from) {
		*from = at
	}
}

func (w *wishes) ask(k *keyframes) {
	var layers media.Layers
	var from time.Time
	for layer, at := range w {
		if at.IsZero() {
			continue
		}
		layers |= media.LayersOf(media.Layer(layer))
		if from.IsZero() || at.Before(from) {
			from = at
		}
	}
	if layers != 0 {
		k.ask(layers, from, true)
	}
}

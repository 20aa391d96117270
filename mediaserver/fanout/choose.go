package fanout

import (
	"time"

	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/media"
)

// Choose has the projection go on with a layer, or, while that one is not there, with the
// one that is nearest to it, from the next keyframe on, which is asked for. What is
// forwarded now flows until then. It waits for nothing, and of a projection that is
// withheld it changes nothing but what that goes on with. A projection for which nothing
// was chosen has the highest layer.
func (pr *Projection) Choose(layer media.Layer) {
	t := pr.track
	t.change.Lock()
	pr.chosen = layer
	changed := pr.aim(t.there())
	if changed && !pr.off && forwarding.Reasons(pr.want.Load()) == 0 {
		t.move(pr)
	}
	t.change.Unlock()
	if from, wanted := pr.wishToStart(time.Now()); changed && wanted {
		pr.askKeyframe(from, true)
	}
}

// aim makes the layer that is nearest to the chosen one the wanted one, and tells whether
// that is another. Call with Track.change held.
func (pr *Projection) aim(there media.Layers) (changed bool) {
	layer, ok := there.Nearest(pr.chosen)
	for ok {
		before := pr.want.Load()
		if wantedLayer(before) == layer {
			return false
		}
		if pr.want.CompareAndSwap(before, before&(1<<layerShift-1)|uint32(layer)<<layerShift) {
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

// aim has all projections want the layers that are nearest to the chosen ones, before the
// burst is walked with which other layers are there.
func (t *Track) aim(b *burst) {
	t.change.Lock()
	there := t.there()
	var changed []*Projection
	for _, pr := range *t.all.Load() {
		if pr.aim(there) {
			changed = append(changed, pr)
		}
	}
	if len(changed) > 0 {
		t.refresh()
	}
	t.change.Unlock()
	for _, pr := range changed {
		pr.lock()
		if pr.state.Wanted() == b.layer {
			pr.another = b.number - 1 // None of the layer has been walked before, and this one is about to be.
		}
		pr.mu.Unlock()
	}
}

// followAll makes the states of all projections what is wanted of them, and asks for the
// keyframes that they now wait for, one for all that go on with the same layer.
func (t *Track) followAll() {
	var wishes wishes
	now := time.Now()
	for _, pr := range *t.all.Load() {
		wishes.add(pr, now)
	}
	if t.keyframes != nil {
		wishes.ask(t.keyframes)
	}
}

// wishes are those that are made at once, by layer: when the sender may be asked.
type wishes [media.MaxLayers]time.Time

// add notes the wish of a projection that needs a keyframe to start.
func (w *wishes) add(pr *Projection, now time.Time) {
	at, wanted := pr.wishToStart(now)
	if !wanted {
		return
	}
	if from := &w[wantedLayer(pr.want.Load())]; from.IsZero() || at.Before(*from) {
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

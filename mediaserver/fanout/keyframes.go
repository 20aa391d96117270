package fanout

import (
	"sync"
	"time"

	"github.com/nagi-rtc/nagi/mediaserver/media"
)

const (
	// keyframeRetry is how long a request may stay unanswered. Requests get lost like
	// other packets, and a receiver whose video does not come back sees a black tile.
	keyframeRetry = 500 * time.Millisecond
	// maxKeyframeRetry is the same for a sender of which nothing has come for long.
	maxKeyframeRetry = 64 * time.Second
	// keyframeInterval is the least time between two requests: each one costs
	// the sender, and every receiver, a keyframe's bandwidth.
	keyframeInterval = 200 * time.Millisecond
	// togetherTime is how soon after a request a keyframe of another layer is taken for
	// an answer to it: encoders take the next frame of each.
	togetherTime = 300 * time.Millisecond
)

// keyframes is the only place that asks a sender for keyframes. One request is in
// flight for however many wishes for a layer; a wish that comes too early for the
// sender's budget, or its receiver's, is put off, never forgotten; and while somebody
// waits, the next request is scheduled.
//
// A request that is not answered is repeated. Where nothing at all comes of the
// layer, which is muted then, the time doubles with each one: asking is of no use.
// With the first packet of it the usual time holds again.
type keyframes struct {
	request  func(media.Layers)                          // sends one
	wanted   func(media.Layer) (from time.Time, ok bool) // does somebody still wait, and from when on may it be sent?
	counters *Counters

	mu        sync.Mutex
	layers    [media.MaxLayers]pending
	last      time.Time    // of the last request,
	asked     media.Layers // and what it was for
	together  bool         // the sender was seen to answer for layers that it was not asked for
	allowance allowance

	wake chan struct{}
	stop chan struct{}
	done chan struct{}
	once sync.Once
}

// pending is the wishes for one layer.
type pending struct {
	scheduled bool          // a request is due
	due       time.Time     // while scheduled
	start     bool          // somebody's stream begins with it
	out       bool          // the last request is not answered; scheduled, too
	heard     bool          // and something of the layer has come since
	retry     time.Duration // how long the last request may stay unanswered
	last      time.Time     // of the last request for the layer
	lent      bool          // which was for another layer
	answered  time.Time     // when the last keyframe came
	wishes    uint64
}

func startKeyframes(
	request func(media.Layers), wanted func(media.Layer) (time.Time, bool), counters *Counters,
) *keyframes {
	k := &keyframes{
		request: request, wanted: wanted, counters: counters,
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	go k.run()

	return k
}

func (k *keyframes) close() {
	k.once.Do(func() { close(k.stop) })
	<-k.done
}

// ask wishes for keyframes of the layers newer than the last ones that arrived, and not to
// be asked for before from. start tells that somebody's stream begins with them: that is
// not kept waiting even if the sender seems to be muted.
func (k *keyframes) ask(layers media.Layers, from time.Time, start bool) {
	k.mu.Lock()
	now := time.Now()
	at := k.earliest(now, from, start)
	for i := range k.layers {
		layer := media.Layer(i)
		if !layers.Has(layer) {
			continue
		}
		p := &k.layers[i]
		p.wishes++
		if k.covered(p, now, start) || p.scheduled && !at.Before(p.due) {
			layers &^= media.LayersOf(layer)
			k.counters.KeyframeRequestsCoalesced.Add(1)

			continue
		}
		p.scheduled, p.due, p.start = true, at, p.start || start
	}
	early := at.After(now)
	switch {
	case layers == 0:
	case early:
		k.counters.KeyframeRequestsDeferred.Add(1)
	default:
		k.sending(now, layers)
	}
	k.mu.Unlock()
	if layers != 0 && !early {
		k.request(layers)
	}
	k.look()
}

// covered tells whether a request that is out is for a wish, too. One for another layer is,
// where the sender answers each with a keyframe of every layer. Call with mu held.
func (k *keyframes) covered(p *pending, now time.Time, start bool) bool {
	if p.out && (now.Sub(p.last) < keyframeRetry || !p.heard && !start) {
		return true
	}
	if !k.together || now.Sub(k.last) >= keyframeRetry || !p.answered.Before(k.last) {
		return false
	}
	if !p.scheduled {
		p.sending(k.last)
		p.scheduled, p.lent = true, true
	}

	return true
}

// earliest is when the next request may be sent. Call with mu held.
func (k *keyframes) earliest(now, from time.Time, start bool) time.Time {
	for _, at := range [...]time.Time{from, k.allowance.next(start), k.last.Add(keyframeInterval)} {
		if at.After(now) {
			now = at
		}
	}

	return now
}

// look has run look at what is scheduled.
func (k *keyframes) look() {
	select {
	case k.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// ensure schedules a request if none is: whoever sees somebody wait though something
// of the layer has come calls it, as when the sender begins a new run.
func (k *keyframes) ensure(layer media.Layer) {
	k.mu.Lock()
	p := &k.layers[layer]
	changed := true
	switch {
	case !p.scheduled:
		p.scheduled, p.due = true, time.Now()
	case p.out && !p.heard:
		p.heard, p.due = true, p.last.Add(keyframeRetry)
	default:
		changed = false
	}
	k.mu.Unlock()
	if changed {
		k.look()
	}
}

// sending notes that a request for the layers is sent now. Call with mu held.
func (k *keyframes) sending(now time.Time, layers media.Layers) {
	for layer := range k.layers {
		if layers.Has(media.Layer(layer)) {
			k.layers[layer].sending(now)
		}
	}
	k.last, k.asked, k.allowance = now, layers, k.allowance.spend(now)
	k.counters.KeyframeRequests.Add(1)
}

func (p *pending) sending(now time.Time) {
	if p.out && !p.heard {
		p.retry = min(2*p.retry, maxKeyframeRetry)
	} else {
		p.retry = keyframeRetry
	}
	p.out, p.heard, p.start, p.lent = true, false, false, false
	p.last, p.due = now, now.Add(p.retry)
}

// wished is how many wishes for the layer there were so far. Projections enter a snapshot
// before they wish, so a snapshot looked at later has every projection that these wishes
// are of.
func (k *keyframes) wished(layer media.Layer) uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()

	return k.layers[layer].wishes
}

// arrived notes that a keyframe of the layer has been walked over all its projections;
// waiting tells whether one of them still waits. Wishes beyond those counted before the
// walk may be of projections that it passed too early to serve, so the next request
// stays scheduled.
func (k *keyframes) arrived(layer media.Layer, wishes uint64, waiting bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	p, now := &k.layers[layer], time.Now()
	// A layer's first keyframe answers nothing, and one that is out answers its own request.
	unasked := !k.asked.Has(layer) && !p.out && !p.answered.IsZero()
	if unasked && now.Sub(k.last) < togetherTime {
		k.together = true
	}
	p.answered = now
	if !waiting && wishes == p.wishes {
		p.scheduled, p.out, p.start, p.lent = false, false, false, false
	}
}

// run repeats requests. Its timer runs only while one is scheduled.
func (k *keyframes) run() {
	defer close(k.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if wait, ok := k.wait(); ok {
			timer.Reset(wait)
		} else {
			timer.Stop()
		}
		select {
		case <-k.stop:
			return
		case <-k.wake:
		case <-timer.C:
			k.repeat()
		}
	}
}

func (k *keyframes) wait() (wait time.Duration, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range k.layers {
		if p := &k.layers[i]; p.scheduled {
			if until := time.Until(p.due); !ok || until < wait {
				wait, ok = until, true
			}
		}
	}

	return wait, ok
}

// repeat sends one request for all layers for which one is due, unless nobody waits any
// more.
func (k *keyframes) repeat() {
	var layers media.Layers
	var wishes [media.MaxLayers]uint64
	k.mu.Lock()
	for i := range k.layers {
		if p := &k.layers[i]; p.scheduled && !time.Now().Before(p.due) {
			layers |= media.LayersOf(media.Layer(i))
			wishes[i] = p.wishes
		}
	}
	k.mu.Unlock()
	var from [media.MaxLayers]time.Time // takes the projections' locks, so not under ours
	var wanted [media.MaxLayers]bool
	for i := range k.layers {
		if layer := media.Layer(i); layers.Has(layer) {
			from[i], wanted[i] = k.wanted(layer)
		}
	}
	k.mu.Lock()
	now := time.Now()
	for i := range k.layers {
		p, layer := &k.layers[i], media.Layer(i)
		switch {
		case !layers.Has(layer):
			continue
		case !p.scheduled || now.Before(p.due):
			// The request has been answered, or another sent, meanwhile.
			layers &^= media.LayersOf(layer)
		case !wanted[i]:
			// A wish since then may be the first after the last projection gave up waiting.
			p.scheduled = wishes[i] != p.wishes
			p.out, p.start = p.out && p.scheduled, p.start && p.scheduled
			layers &^= media.LayersOf(layer)
		default:
			if p.lent { // and was not answered
				k.together, p.lent = false, false
			}
			if p.due = k.earliest(now, from[i], p.start); p.due.After(now) {
				layers &^= media.LayersOf(layer)
			}
		}
	}
	if layers != 0 {
		k.sending(now, layers)
	}
	k.mu.Unlock()
	if layers != 0 {
		k.request(layers)
	}
}

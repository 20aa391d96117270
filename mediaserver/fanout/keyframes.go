package fanout

import (
	"sync"
	"time"
)

const (
	// keyframeRetry is how long a request may stay unanswered. Requests get lost like
	// other packets, and a receiver whose video does not come back sees a black tile.
	keyframeRetry = 500 * time.Millisecond
	// keyframeInterval is the least time between two requests: each one costs
	// the sender, and every receiver, a keyframe's bandwidth.
	keyframeInterval = 200 * time.Millisecond
)

// keyframes is the only place that asks a sender for keyframes. One request is in
// flight for however many wishes; a wish too early after the last request is
// put off, never forgotten; and while somebody waits, the next request is scheduled.
type keyframes struct {
	request  func()      // sends one
	wanted   func() bool // is somebody still waiting?
	counters *Counters

	mu       sync.Mutex
	inFlight bool      // a request is out, or put off until due
	due      time.Time // of the next request while inFlight
	last     time.Time // of the last request
	wishes   uint64

	wake chan struct{}
	stop chan struct{}
	done chan struct{}
	once sync.Once
}

func startKeyframes(request func(), wanted func() bool, counters *Counters) *keyframes {
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

// ask wishes for a keyframe newer than the last one that arrived.
func (k *keyframes) ask() {
	k.mu.Lock()
	k.wishes++
	if k.inFlight {
		k.mu.Unlock()
		k.counters.KeyframeRequestsCoalesced.Add(1)
		return
	}
	now := time.Now()
	k.inFlight = true
	early := !k.last.IsZero() && now.Sub(k.last) < keyframeInterval
	if early {
		k.due = k.last.Add(keyframeInterval)
		k.counters.KeyframeRequestsDeferred.Add(1)
	} else {
		k.sending(now)
	}
	k.mu.Unlock()
	if !early {
		k.request()
	}
	select {
	case k.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// ensure asks unless a request is scheduled: whoever sees somebody wait calls it, as
// when the sender begins a new run.
func (k *keyframes) ensure() {
	k.mu.Lock()
	scheduled := k.inFlight
	k.mu.Unlock()
	if !scheduled {
		k.ask()
	}
}

// sending notes that a request is sent now. Call with mu held.
func (k *keyframes) sending(now time.Time) {
	k.last, k.due = now, now.Add(keyframeRetry)
	k.counters.KeyframeRequests.Add(1)
}

// wished is how many wishes there were so far. Edges enter a snapshot before they
// wish, so a snapshot looked at later has every edge that these wishes are of.
func (k *keyframes) wished() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.wishes
}

// arrived notes that a keyframe has been walked over all edges; waiting tells
// whether one of them still waits. Wishes beyond those counted before the walk may
// be of edges that it passed too early to serve, so they keep the request in flight.
func (k *keyframes) arrived(wishes uint64, waiting bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.inFlight = k.inFlight && (waiting || wishes != k.wishes)
}

// run repeats requests. Its timer runs only while one is in flight.
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

func (k *keyframes) wait() (time.Duration, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return time.Until(k.due), k.inFlight
}

// repeat sends a request that is due, unless nobody waits any more.
func (k *keyframes) repeat() {
	k.mu.Lock()
	due, wishes := k.inFlight && !time.Now().Before(k.due), k.wishes
	k.mu.Unlock()
	if !due {
		return
	}
	wanted := k.wanted() // takes the edges' locks, so not under ours
	k.mu.Lock()
	if !wanted {
		// A wish since then may be the first after the last edge gave up waiting.
		k.inFlight = k.inFlight && wishes != k.wishes
	}
	// The request may have been answered and a new one sent meanwhile.
	now := time.Now()
	send := wanted && k.inFlight && !now.Before(k.due)
	if send {
		k.sending(now)
	}
	k.mu.Unlock()
	if send {
		k.request()
	}
}

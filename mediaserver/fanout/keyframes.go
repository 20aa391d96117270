package fanout

import (
	"sync"
	"time"
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
)

// keyframes is the only place that asks a sender for keyframes. One request is in
// flight for however many wishes; a wish that comes too early for the sender's budget,
// or its receiver's, is put off, never forgotten; and while somebody waits, the next
// request is scheduled.
//
// A request that is not answered is repeated. Where nothing at all comes of the
// sender, which is muted then, the time doubles with each one: asking is of no use.
// With the first packet of it the usual time holds again.
type keyframes struct {
	request  func()                           // sends one
	wanted   func() (from time.Time, ok bool) // does somebody still wait, and from when on may it be sent?
	counters *Counters

	mu        sync.Mutex
	scheduled bool          // a request is due
	due       time.Time     // while scheduled
	start     bool          // somebody's stream begins with it
	out       bool          // the last request is not answered; scheduled, too
	heard     bool          // and something of the sender has come since
	retry     time.Duration // how long the last request may stay unanswered
	last      time.Time     // of the last request
	allowance allowance
	wishes    uint64

	wake chan struct{}
	stop chan struct{}
	done chan struct{}
	once sync.Once
}

func startKeyframes(request func(), wanted func() (time.Time, bool), counters *Counters) *keyframes {
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

// ask wishes for a keyframe newer than the last one that arrived, and not to be asked
// for before from. start tells that somebody's stream begins with it: that is not
// kept waiting even if the sender seems to be muted.
func (k *keyframes) ask(from time.Time, start bool) {
	k.mu.Lock()
	k.wishes++
	now := time.Now()
	at := k.earliest(now, from, start)
	switch {
	case k.out && (now.Sub(k.last) < keyframeRetry || !k.heard && !start), // the request that is out is for it, too
		k.scheduled && !at.Before(k.due):
		k.mu.Unlock()
		k.counters.KeyframeRequestsCoalesced.Add(1)
		return
	}
	k.scheduled, k.due, k.start = true, at, k.start || start
	early := at.After(now)
	if early {
		k.counters.KeyframeRequestsDeferred.Add(1)
	} else {
		k.sending(now)
	}
	k.mu.Unlock()
	if !early {
		k.request()
	}
	k.look()
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
// of the sender has come calls it, as when the sender begins a new run.
func (k *keyframes) ensure() {
	k.mu.Lock()
	changed := true
	switch {
	case !k.scheduled:
		k.scheduled, k.due = true, time.Now()
	case k.out && !k.heard:
		k.heard, k.due = true, k.last.Add(keyframeRetry)
	default:
		changed = false
	}
	k.mu.Unlock()
	if changed {
		k.look()
	}
}

// sending notes that a request is sent now. Call with mu held.
func (k *keyframes) sending(now time.Time) {
	if k.out && !k.heard {
		k.retry = min(2*k.retry, maxKeyframeRetry)
	} else {
		k.retry = keyframeRetry
	}
	k.out, k.heard, k.start = true, false, false
	k.last, k.due = now, now.Add(k.retry)
	k.allowance = k.allowance.spend(now)
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
// be of edges that it passed too early to serve, so the next request stays scheduled.
func (k *keyframes) arrived(wishes uint64, waiting bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !waiting && wishes == k.wishes {
		k.scheduled, k.out, k.start = false, false, false
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

func (k *keyframes) wait() (time.Duration, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return time.Until(k.due), k.scheduled
}

// repeat sends a request that is due, unless nobody waits any more.
func (k *keyframes) repeat() {
	k.mu.Lock()
	due, wishes := k.scheduled && !time.Now().Before(k.due), k.wishes
	k.mu.Unlock()
	if !due {
		return
	}
	from, wanted := k.wanted() // takes the edges' locks, so not under ours
	k.mu.Lock()
	now := time.Now()
	send := false
	switch {
	case !k.scheduled || now.Before(k.due):
		// The request has been answered, or another sent, meanwhile.
	case !wanted:
		// A wish since then may be the first after the last edge gave up waiting.
		k.scheduled = wishes != k.wishes
		k.out, k.start = k.out && k.scheduled, k.start && k.scheduled
	default:
		k.due = k.earliest(now, from, k.start)
		if send = !k.due.After(now); send {
			k.sending(now)
		}
	}
	k.mu.Unlock()
	if send {
		k.request()
	}
}

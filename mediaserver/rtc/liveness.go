package rtc

import (
	"cmp"
	"sync/atomic"
	"time"
)

const (
	defaultSilenceTimeout = 30 * time.Second
	defaultMediaTimeout   = 10 * time.Second
)

// liveness is what tells whether a client is still there. Its moments are durations since the engine's start: Unix
// time is set by people and by NTP, and a step of it would end clients that are well.
//
// A client that answers nothing is gone. One whose checks come but nothing else while it is sent media is of no use to
// itself, as behind a relay that gives each packet a new port: whoever gets media reports on it (RFC 3550 section 6.2,
// each 5 s at most with the few members that a session has here). Media alone counts: a client that is alone, one
// whose streams are all paused, one that has nothing to send may be silent for as long as it likes.
type liveness struct {
	heard atomic.Int64 // When anything authentic came last, checks included; 0: nothing need have come yet.

	sent     atomic.Bool // Since the last look, media went to the client.
	received atomic.Bool // Since the last look, SRTP or SRTCP came from it.
	// unanswered is for how long media has gone to the client since SRTP or SRTCP came; it is the watch's own.
	unanswered time.Duration
}

func (l *liveness) hear(now time.Duration) { l.heard.Store(int64(now)) }

// hearMedia is hear for SRTP and SRTCP.
func (l *liveness) hearMedia(now time.Duration) {
	l.hear(now)
	mark(&l.received)
}

// silent is for how long nothing has come.
func (l *liveness) silent(now time.Duration) time.Duration {
	return now - time.Duration(l.heard.Load())
}

// sending notes that media goes to the client. It is called for each packet, hence no store for most of them.
func (l *liveness) sending() { mark(&l.sent) }

func mark(flag *atomic.Bool) {
	if !flag.Load() {
		flag.Store(true)
	}
}

// look tells why the client counts as gone, nil: it does not. elapsed is the time since the look before.
func (l *liveness) look(now, elapsed, silenceTimeout, mediaTimeout time.Duration) error {
	if l.heard.Load() == 0 {
		return nil
	}
	sent, received := l.sent.Swap(false), l.received.Swap(false)
	switch {
	case received:
		l.unanswered = 0
	case sent:
		l.unanswered += elapsed
	}
	switch {
	case l.silent(now) > silenceTimeout:
		return ErrICEFailed
	case l.unanswered >= mediaTimeout:
		return ErrMediaUnanswered
	}

	return nil
}

// since is the time since the engine's start, by the clock that nobody sets.
func (e *Engine) since(now time.Time) time.Duration { return now.Sub(e.began) }

// at is the time of which since tells.
func (e *Engine) at(since time.Duration) time.Time { return e.began.Add(since) }

// lookInterval is how often the peers are looked at.
func (e *Engine) lookInterval() time.Duration {
	return max(min(e.silenceTimeout, e.mediaTimeout)/16, 10*time.Millisecond)
}

// watch ends the peers whose clients are gone.
func (e *Engine) watch() {
	interval := e.lookInterval()
	timer := time.NewTimer(interval) // Not a ticker, which after a hold-up ticks twice at once.
	defer timer.Stop()
	last := e.began
	for {
		select {
		case <-e.watchClosed:
			return
		case <-timer.C:
		}
		now := time.Now()
		e.look(now, now.Sub(last))
		last = now
		timer.Reset(interval)
	}
}

// look looks at all peers. When it comes late, the process was held up, and what clients sent meanwhile waits to be
// read: it is left to the next one.
func (e *Engine) look(now time.Time, elapsed time.Duration) {
	if elapsed > 2*e.lookInterval() {
		return
	}
	e.mu.Lock()
	peers := e.list()
	e.mu.Unlock()
	for _, peer := range peers {
		if err := peer.liveness.look(e.since(now), elapsed, e.silenceTimeout, e.mediaTimeout); err != nil {
			peer.fail(err)
		}
	}
}

// timeouts are the configuration's, or what they are by default.
func (c Config) timeouts() (silence, media time.Duration) {
	return cmp.Or(c.SilenceTimeout, defaultSilenceTimeout), cmp.Or(c.MediaTimeout, defaultMediaTimeout)
}

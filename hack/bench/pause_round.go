//go:build linux

package main

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	// quiet is how long no video must come, while it comes to the reference,
	// before the last packet counts as the last.
	quiet = 150 * time.Millisecond
	// phase bounds the random wait before each request.
	phase = 100 * time.Millisecond
	// keyframeSpacing keeps keyframe requests apart: LiveKit and Janus let one
	// through in a second.
	keyframeSpacing = 1100 * time.Millisecond
	// roundLimit bounds each wait of a round.
	roundLimit = 15 * time.Second
	// flowing is how many packets after a keyframe show that the video is back.
	flowing = 4
)

// way is one door to pause the receiver's video and to let it go on.
type way struct {
	name          string
	pause, resume func(context.Context) (request, error)
	// acknowledged tells what the server says of the pause that was requested
	// last; nil: it says nothing.
	acknowledged func(context.Context, request) (acknowledgement, error)
}

// request is when one was about to be sent and when its answer was there.
type request struct {
	sent     time.Time
	answered time.Time // When the sending returned, where the server gives no answer.
	silent   bool      // It gives none.
}

// acknowledgement is the server's word on a pause, and what it is timed by.
type acknowledgement struct {
	lastSequence uint16
	// seen is when a watch of our own had the object; enforcing is the time from
	// there, at the manager, to the media server's acknowledgement.
	seen      time.Time
	enforcing time.Duration
}

// round pauses and resumes once, each at a random phase of the stream.
func (r *rig) round(ctx context.Context, w way) (line, error) {
	if err := sleep(ctx, rand.N(phase)); err != nil {
		return line{}, err
	}
	r.sender.begin()
	for _, p := range r.receivers() {
		p.begin()
	}
	l := line{Way: w.name}
	paused, err := w.pause(ctx)
	if err != nil {
		return l, err
	}
	l.notePause(paused)
	if w.acknowledged != nil {
		a, err := w.acknowledged(ctx, paused)
		if err != nil {
			return l, err
		}
		l.noteAcknowledgement(paused, a)
	}
	if err := r.untilQuiet(ctx, paused.sent); err != nil {
		return l, err
	}
	spacing := time.Until(r.sender.lastRequest().Add(keyframeSpacing))
	if err := sleep(ctx, max(0, spacing)+rand.N(phase)); err != nil {
		return l, err
	}
	video, _ := r.receiver.received()
	reference, _ := r.reference.received()
	l.noteCut(paused, video, reference)
	resumed, err := w.resume(ctx)
	if err != nil {
		return l, err
	}
	l.noteResume(resumed)
	if err := r.untilResumed(ctx, w, resumed.sent); err != nil {
		return l, err
	}
	after, _ := r.receiver.received()
	asked, _ := r.sender.requestedSince(resumed.sent)
	l.noteReturn(resumed, asked, video[len(video)-1], after[len(video):])
	l.AudioMissing = r.newlyMissing()

	return l, nil
}

// newlyMissing is how many packets of audio are missing at both receivers that
// were not yet after the round before.
func (r *rig) newlyMissing() int {
	missing := r.receiver.audioMissing() + r.reference.audioMissing()
	newly := missing - r.missing
	r.missing = missing

	return newly
}

// untilQuiet waits until no video has come for a while though audio has, and the
// reference gets both.
func (r *rig) untilQuiet(ctx context.Context, since time.Time) error {
	return await(ctx, roundLimit, "the end of the paused video, with audio and the other receiver going on", func() bool {
		video, audio := r.receiver.received()
		last := since
		if at := video[len(video)-1].at; at.After(last) {
			last = at
		}
		if time.Since(last) < quiet {
			return false
		}
		reference, referenceAudio := r.reference.received()

		return arrivedSince(reference, last) >= 2 && arrivedSince(audio, last) >= 2 && arrivedSince(referenceAudio, last) >= 2
	})
}

// untilResumed waits until the keyframe that was asked for, and some packets after
// it, have come.
func (r *rig) untilResumed(ctx context.Context, w way, since time.Time) error {
	return await(ctx, roundLimit, "a keyframe request and a keyframe after the resume by "+w.name, func() bool {
		if _, ok := r.sender.requestedSince(since); !ok {
			return false
		}
		video, _ := r.receiver.received()
		for i, a := range video {
			if a.keyframe && a.at.After(since) {
				return len(video) > i+flowing
			}
		}

		return false
	})
}

func arrivedSince(all []arrival, since time.Time) int {
	count := 0
	for i := len(all) - 1; i >= 0 && all[i].at.After(since); i-- {
		count++
	}

	return count
}

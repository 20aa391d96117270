// Package spotlight is pure: how loud the senders of a channel are goes in, who of them is
// heard and who is in focus comes out.
//
// These are two tests. A sender is heard from its first loud packet on, so that no word
// is cut. It comes into focus when it dominates, which takes longer and is not so easily
// mistaken: the test is Volfin and Cohen's ("Dominant speaker identification for
// multipoint videoconferencing", 2013), held against who of those in focus spoke longest
// ago. With one place that is their algorithm; with several, who never stops takes one.
//
// Nothing here has a clock, a lock or a goroutine. Times are since any start. What has
// no packet, as with discontinuous transmission (RFC 7587 section 3.1.3), is silence, and
// nothing changes but with a packet: where none comes there is nothing to be heard.
package spotlight

import (
	"slices"
	"time"
)

const (
	// slot is what one level stands for, however many packets say one, so that nobody is
	// louder by sending more.
	slot = 20 * time.Millisecond
	// spokenBlocks of the last second make what is loud a word, and not a noise.
	spokenBlocks = 3
	// comeback and comebacks bound how often one sender comes into focus: so many times at
	// once, and once in so long after that.
	comeback  = 3 * time.Second
	comebacks = 5
)

// Spotlight is the senders of one channel.
type Spotlight struct {
	number  int
	senders []*Sender
	focus   []*Sender
	block   int64 // that was looked at last
}

// Sender is one of them, in constant memory.
type Sender struct {
	hearing  hearing
	activity activity
	focused  bool
	spoke    time.Duration // when it was last seen to speak, while in focus; 0: never
	due      time.Duration // when all its comebacks are allowed again
}

// New makes a spotlight in which so many senders are in focus, at least 1.
func New(number int) *Spotlight { return &Spotlight{number: number} }

// Add adds a sender. Until it says how loud it is, it is heard.
func (s *Spotlight) Add() *Sender {
	sender := new(Sender)
	s.senders = append(s.senders, sender)

	return sender
}

// Remove takes a sender out. Whoever spoke last of those out of focus has its place.
func (s *Spotlight) Remove(gone *Sender) (refocused bool) {
	is := func(sender *Sender) bool { return sender == gone }
	s.senders = slices.DeleteFunc(s.senders, is)
	s.focus = slices.DeleteFunc(s.focus, is)
	if !gone.focused {
		return false
	}
	gone.focused = false
	var next *Sender
	for _, sender := range s.senders {
		if !sender.focused && sender.spoke > 0 && (next == nil || sender.spoke > next.spoke) {
			next = sender
		}
	}
	if next != nil {
		next.focused = true
		s.focus = append(s.focus, next)
	}

	return true
}

// Hear takes in how loud a packet of a sender is: in dB above digital silence, which is
// 127 dB below overload (RFC 6464 section 3). It tells whether others are in focus now.
func (s *Spotlight) Hear(sender *Sender, loudness uint8, now time.Duration) (refocused bool) {
	at := int64(now / slot)
	sender.hearing.hear(sender.activity.advance(at, &sender.hearing), loudness, now)
	sender.activity.came, sender.activity.loudest = true, max(sender.activity.loudest, loudness)
	if block := at / blockSlots; block > s.block {
		s.block = block

		return s.look(block*blockSlots, now)
	}

	return false
}

// Heard tells whether a sender is to be heard: in focus, or speaking.
func (s *Sender) Heard(now time.Duration) bool { return s.focused || s.hearing.open(now) }

// Focused tells whether a sender is in focus.
func (s *Sender) Focused() bool { return s.focused }

// look brings whoever dominates into focus, one at a time. All slots before at are over.
func (s *Spotlight) look(at int64, now time.Duration) (refocused bool) {
	var challenger *Sender
	for _, sender := range s.senders {
		sender.activity.advance(at, &sender.hearing)
		switch speaks := sender.activity.dominates(&activity{}); {
		case !speaks:
		case sender.focused:
			sender.spoke = now
		case sender.activity.long() < spokenBlocks: // It may be a cough.
		case now+(comebacks-1)*comeback < sender.due: // It has come too often.
		case challenger == nil || sender.activity.exceeds(&challenger.activity):
			challenger = sender
		}
	}
	if challenger == nil {
		return false
	}
	if len(s.focus) == s.number {
		last := s.last()
		if !challenger.activity.dominates(&s.focus[last].activity) {
			return false
		}
		s.focus[last].focused = false
		s.focus = slices.Delete(s.focus, last, last+1)
	}
	challenger.focused, challenger.spoke = true, now
	challenger.due = max(challenger.due, now) + comeback
	s.focus = append(s.focus, challenger)

	return true
}

// last is who of those in focus spoke longest ago, or, where several speak, least.
func (s *Spotlight) last() int {
	last := 0
	for i, sender := range s.focus {
		held := s.focus[last]
		if sender.spoke < held.spoke || sender.spoke == held.spoke && held.activity.exceeds(&sender.activity) {
			last = i
		}
	}

	return last
}

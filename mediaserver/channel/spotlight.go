package channel

import (
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/nagi-rtc/nagi/mediaserver/fanout"
	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/signaling"
	"github.com/nagi-rtc/nagi/mediaserver/spotlight"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// focus is who of a spotlight channel is heard and who is in focus. Workers ask it with
// each burst of audio, so its lock is held for a few instructions, and never the
// channel's with it by a worker: that one is held while the workers are waited for.
type focus struct {
	began time.Time
	// changed has the channel look at who is in focus.
	changed *time.Timer

	mu        sync.Mutex
	spotlight *spotlight.Spotlight
}

// newFocus makes one for a channel; look is called when others are in focus.
func newFocus(number int, look func()) *focus {
	return &focus{began: time.Now(), spotlight: spotlight.New(number), changed: time.AfterFunc(math.MaxInt64, look)}
}

// listener hears what a member says before its track has it.
type listener struct {
	*fanout.Track
	// focus and sender are set before the member's first offer, so before anything comes.
	focus  *focus
	sender *spotlight.Sender

	mu       sync.Mutex // orders changes of the track
	withheld bool
}

// ReceiveRTP opens the track with the first packet that is loud, and closes it with the
// first that comes long enough after the last one. Then the track gets the burst.
func (l *listener) ReceiveRTP(batch *udp.Batch, packets []media.Received) {
	l.mu.Lock()
	heard, refocused := l.hear(packets)
	if heard == l.withheld {
		l.withheld = !heard
		if heard {
			l.Release(forwarding.Unfocused)
		} else {
			l.Withhold(forwarding.Unfocused)
		}
	}
	l.mu.Unlock()
	if refocused {
		l.focus.changed.Reset(0)
	}
	l.Track.ReceiveRTP(batch, packets)
}

func (l *listener) hear(packets []media.Received) (heard, refocused bool) {
	now := time.Since(l.focus.began)
	l.focus.mu.Lock()
	defer l.focus.mu.Unlock()
	for i := range packets {
		if p := &packets[i]; p.HasLevel {
			refocused = l.focus.spotlight.Hear(l.sender, 127-p.Level, now) || refocused
		}
	}

	return l.sender.Heard(now), refocused
}

// heard tells whether what the member says is forwarded.
func (m *member) heard() bool {
	if m.listener == nil {
		return true
	}
	m.listener.mu.Lock()
	defer m.listener.mu.Unlock()

	return !m.listener.withheld
}

// agreeOnSpotlight makes the channel what its first member wants it to be, and tells what a later one
// cannot have.
func (ch *channel) agreeOnSpotlight(m *member) error {
	wanted := m.request.Spotlight
	if len(ch.members) > 0 {
		if (wanted != nil) == (ch.focus != nil) {
			return nil
		}

		return &signaling.CloseError{
			Code: signaling.CodeError, Reason: signaling.ReasonSpotlightMismatch,
			Detail: fmt.Sprintf("spotlight is %v in this channel; all in it say the same", ch.focus != nil),
		}
	}
	ch.closeFocus()
	if wanted != nil {
		ch.focus = newFocus(wanted.Number, func() {
			if ch.lock() {
				defer ch.mu.Unlock()
				ch.refocus()
			}
		})
	}

	return nil
}

// closeFocus ends what agreeOnSpotlight began.
func (ch *channel) closeFocus() {
	if ch.focus != nil {
		ch.focus.changed.Stop()
		ch.focus = nil
	}
}

// listen has who joins heard.
func (ch *channel) listen(m *member) {
	if m.listener != nil {
		ch.focus.mu.Lock()
		m.listener.focus, m.listener.sender = ch.focus, ch.focus.spotlight.Add()
		ch.focus.mu.Unlock()
	}
}

// unlisten forgets who has left.
func (ch *channel) unlisten(gone []*member) {
	for _, m := range gone {
		if m.listener != nil {
			ch.focus.mu.Lock()
			ch.focus.spotlight.Remove(m.listener.sender)
			ch.focus.mu.Unlock()
		}
	}
}

// refocus brings everybody's video to who is in focus now, and tells it.
func (ch *channel) refocus() {
	if ch.focus == nil {
		return
	}
	var before, now []*member
	ch.focus.mu.Lock()
	for _, m := range ch.members {
		switch {
		case m.listener == nil || m.listener.sender.Focused() == m.focused:
		case m.focused:
			before = append(before, m)
		default:
			now = append(now, m)
		}
	}
	ch.focus.mu.Unlock()

	var edges []*edge
	changed := append(before, now...)
	for _, m := range changed {
		m.focused = !m.focused
		ch.metrics.focusChanges.Inc()
		for _, e := range m.outgoing {
			if video := e.streams[media.Video]; video != nil {
				e.choose(video.projection)
			}
			edges = append(edges, e)
		}
	}
	fence(append(ch.divideAmong(edges, time.Now()), edges...), ch.holding)
	for _, m := range changed {
		ch.tellFocus(m)
	}
}

// tellFocus tells everybody whether somebody of whom they know is in focus.
func (ch *channel) tellFocus(m *member) {
	if m.connected {
		message := ch.describeFocus(m)
		for _, to := range ch.members {
			if to.connected {
				to.client.Notify(message)
			}
		}
	}
}

// tellFocused tells a newcomer who is in focus, and everybody if that is the newcomer.
func (ch *channel) tellFocused(newcomer *member) {
	for _, m := range ch.members {
		switch {
		case !m.focused || !m.connected:
		case m == newcomer:
			ch.tellFocus(m)
		default:
			newcomer.client.Notify(ch.describeFocus(m))
		}
	}
}

func (ch *channel) describeFocus(m *member) any {
	about := signaling.Focus{
		Timestamp: time.Now(), ChannelID: ch.id,
		ClientID: m.connection.GetClientId(), ConnectionID: m.id(),
		Audio: m.request.Audio != nil, Video: m.request.Video != nil,
	}
	if m.focused {
		return signaling.SpotlightFocused(about)
	}

	return signaling.SpotlightUnfocused(about)
}

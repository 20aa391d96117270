package e2e

import (
	"context"
	"sync"
	"time"

	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
)

// guest is a client that comes back whenever its connection has ended.
type guest struct {
	channel, clientID string
	role              bot.Role
	address           func() string // Where to come to.

	mu    sync.Mutex
	stays []*stay
}

// stay is one connection of a guest.
type stay struct {
	*member

	began, ended time.Time // When it began to join; when its end was seen, zero: not yet.
}

// comeBack bounds one attempt to join.
const comeBack = 5 * time.Second

// run joins again and again until ctx ends.
func (r *guest) run(ctx context.Context) {
	for ctx.Err() == nil {
		began := time.Now()
		joining, cancel := context.WithTimeout(ctx, comeBack)
		joined, err := joinAs(joining, bot.Config{URL: r.address(), ChannelID: r.channel, ClientID: r.clientID, Role: r.role})
		cancel()
		if err != nil {
			idle(ctx, 20*time.Millisecond)

			continue
		}
		v := &stay{member: joined, began: began}
		r.mu.Lock()
		r.stays = append(r.stays, v)
		r.mu.Unlock()
		select {
		case <-joined.Done():
		case <-ctx.Done():
		}
		r.mu.Lock()
		v.ended = time.Now()
		r.mu.Unlock()
		joined.Drop()
	}
}

// idle waits for that long, or until ctx ends.
func idle(ctx context.Context, length time.Duration) {
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// here is the connection that there is now; nil: none.
func (r *guest) here() *member {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.stays) == 0 {
		return nil
	}
	if last := r.stays[len(r.stays)-1]; last.ended.IsZero() && last.Err() == nil {
		return last.member
	}

	return nil
}

// ever are all stays, as they are now.
func (r *guest) ever() []stay {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]stay, 0, len(r.stays))
	for _, v := range r.stays {
		all = append(all, *v)
	}

	return all
}

// left is when the connection with that id ended; zero: it has not, or never was.
func (r *guest) left(connectionID string) time.Time {
	for _, v := range r.ever() {
		if v.ConnectionID() == connectionID {
			return v.ended
		}
	}

	return time.Time{}
}

// videoFrom is all video that came from a sender after a moment.
func (r *guest) videoFrom(sender *guest, since time.Time) []came {
	var all []came
	senders := sender.ever()
	for _, v := range r.ever() {
		if !v.ended.IsZero() && v.ended.Before(since) {
			continue
		}
		for _, s := range senders {
			arrivals := v.arrivals(s.ConnectionID(), bot.Video)
			for i := len(arrivals) - 1; i >= 0 && arrivals[i].at.After(since); i-- {
				joined := v.began
				if s.began.After(joined) {
					joined = s.began
				}
				all = append(all, came{arrivals[i], pair{v.ConnectionID(), s.ConnectionID()}, joined})
			}
		}
	}

	return all
}

// sawVideoSince tells whether video came from a sender after a moment.
func (r *guest) sawVideoSince(sender *guest, since time.Time) bool {
	receiver, from := r.here(), sender.here()
	if receiver == nil || from == nil {
		return false
	}
	arrivals := receiver.arrivals(from.ConnectionID(), bot.Video)

	return len(arrivals) > 0 && arrivals[len(arrivals)-1].at.After(since)
}

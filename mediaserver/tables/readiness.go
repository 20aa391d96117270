package tables

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

const (
	// refusedRetry is how long after its refusal a channel is reported again.
	refusedRetry = 10 * time.Second
	// namesTold bounds how many channels a text names.
	namesTold = 5
)

// Refused is a channel of which a replica takes nothing.
type Refused struct {
	Manager, ChannelID, Reason string
}

// Ready returns nil once some replica has given a complete answer: a table for
// every channel hosted when its stream began, and its version. It stays so when
// the managers are lost, for then the last tables go on acting. The error tells
// what is missing.
func (s *Subscriber) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ready {
		return nil
	}
	missing := make([]error, 0, len(s.streams)+len(s.failures))
	for st := range s.streams {
		missing = append(missing, fmt.Errorf("the manager %s has not told %s yet", st.address, st.missing()))
	}
	for address, err := range s.failures {
		missing = append(missing, fmt.Errorf("no stream to the manager %s: %w", address, err))
	}
	if len(missing) == 0 {
		return fmt.Errorf("no manager is known: none of %s has an address yet", strings.Join(s.config.Managers, ", "))
	}
	slices.SortFunc(missing, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(missing...)
}

// missing tells what the replica's answer lacks. Subscriber.mu is held.
func (st *stream) missing() string {
	if len(st.awaited) == 0 {
		return "its version"
	}
	return fmt.Sprintf("the tables of %d channels: %s", len(st.awaited), names(st.awaited))
}

// names lists some of the channels.
func names(channels map[string]struct{}) string {
	ids := slices.Sorted(maps.Keys(channels))
	if len(ids) > namesTold {
		ids = append(ids[:namesTold], "and more")
	}
	return strings.Join(ids, ", ")
}

// noteReady makes the subscriber ready when the stream's answer is complete. mu is held.
func (s *Subscriber) noteReady(st *stream) {
	if st.complete && st.confirmed && len(st.awaited) == 0 {
		s.ready = true
	}
}

// Refusals returns the channels of which some replica takes nothing, ordered.
// Their pauses act only as far as another replica, or the last table, tells them.
func (s *Subscriber) Refusals() []Refused {
	s.mu.Lock()
	defer s.mu.Unlock()
	var refusals []Refused
	for st := range s.streams {
		for id, e := range st.exchanges {
			if !e.refused.IsZero() {
				refusals = append(refusals, Refused{st.address, id, e.refusal})
			}
		}
	}
	slices.SortFunc(refusals, func(a, b Refused) int {
		return strings.Compare(a.ChannelID+"\x00"+a.Manager, b.ChannelID+"\x00"+b.Manager)
	})
	return refusals
}

// refused takes that the replica takes nothing of a channel. The channel is not
// reported, and its table not awaited, until it is tried again.
func (s *Subscriber) refused(st *stream, refusal *forwardingv1.Refusal) *malformed {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := refusal.GetChannelId()
	e := st.exchanges[id]
	if e == nil {
		return &malformed{notHosted, "the channel refused is not hosted here"}
	}
	s.metrics.refusals.Inc()
	e.refused = time.Now()
	if e.refusal != refusal.GetReason() {
		e.refusal = refusal.GetReason()
		s.config.Log.Warn("a manager takes nothing of a channel; trying again now and then", "manager", st.address, "channel", id, "reason", e.refusal)
	}
	delete(st.awaited, id)
	s.noteReady(st)
	s.settle(id)
	return nil
}

// retryRefused reports refused channels again, for what bounded them may be gone.
func (s *Subscriber) retryRefused() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for st := range s.streams {
		for id, e := range st.exchanges {
			if !e.refused.IsZero() && time.Since(e.refused) >= refusedRetry {
				e.forget()
				st.mark(id)
			}
		}
	}
}

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
	// namesTold bounds how many channels a text names, and reasonTold how many bytes
	// of the reason why one is refused.
	namesTold, reasonTold = 5, 1000
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

// Vouched returns nil while some live replica vouches for its tables, and before Ready
// does, which tells what is missing then. The error tells since when none does, and
// why: the tables held go on acting, so that the media server stays ready.
func (s *Subscriber) Vouched() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var reasons []string
	for st := range s.streams {
		switch {
		case st.fresh():
			return nil
		case st.stale:
			reasons = append(reasons, fmt.Sprintf("the manager %s does not hear from the API server", st.address))
		default:
			reasons = append(reasons, fmt.Sprintf("the manager %s has not told its version yet", st.address))
		}
	}
	if !s.ready {
		return nil
	}
	for address, err := range s.failures {
		reasons = append(reasons, fmt.Sprintf("no stream to the manager %s: %v", address, err))
	}
	if len(reasons) == 0 {
		reasons = append(reasons, fmt.Sprintf("no stream to any manager of %s", strings.Join(s.config.Managers, ", ")))
	}
	slices.Sort(reasons)

	return fmt.Errorf("no manager vouches for the tables since %s: the pauses held go on acting, "+
		"and no newer one does (%s)",
		s.lastFresh.UTC().Format(time.RFC3339), strings.Join(reasons, "; "))
}

// Taken returns nil while every replica takes every channel that is hosted. The error
// names some of those that one does not, and why: their pauses may not act.
func (s *Subscriber) Taken() error {
	refusals := s.Refusals()
	if len(refusals) == 0 {
		return nil
	}
	told := make([]string, 0, namesTold+1)
	for i, refused := range refusals {
		if i == namesTold {
			told = append(told, fmt.Sprintf("and %d more", len(refusals)-i))

			break
		}
		reason := refused.Reason
		if len(reason) > reasonTold {
			reason = strings.ToValidUTF8(reason[:reasonTold], "") + "..."
		}
		told = append(told, fmt.Sprintf("channel %q by the manager %s: %s", refused.ChannelID, refused.Manager, reason))
	}

	return fmt.Errorf("refused, so that pauses act only as far as another manager, or the last table, tells them: %s",
		strings.Join(told, "; "))
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
		s.config.Log.Warn("a manager takes nothing of a channel; trying again now and then", "manager", st.address,
			"channel", id, "reason", e.refusal)
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

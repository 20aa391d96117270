package knowledge

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/controllers/tables"
)

// acknowledgement is one whose parts are coming in.
type acknowledgement struct {
	instance, epoch uint64
	whole           bool
	set             map[string]state
	removed         []string
	bytes           int  // that it takes, as the stream counts them
	over            bool // it was too large, and nothing of it is kept
}

// Acknowledge takes a part of what a channel's instance does with the pauses of
// its table. One of an instance that is hosted no longer is late, not wrong.
func (s *Session) Acknowledge(a *forwardingv1.Acknowledgement, now time.Time) error {
	t := s.tenant
	s.lock()
	defer t.unlock()
	if s.server.session != s {
		return nil
	}
	part := s.acknowledgements[a.GetChannelId()]
	if part != nil && (part.instance != a.GetInstance() || part.epoch != a.GetEpoch() || part.whole != a.GetWhole()) {
		return fmt.Errorf("%w: acknowledgement.epoch: one of channel %q began while another had not ended: "+
			"send the parts of one after each other", ErrInvalid, a.GetChannelId())
	}
	if part == nil {
		part = &acknowledgement{
			instance: a.GetInstance(), epoch: a.GetEpoch(), whole: a.GetWhole(), set: make(map[string]state, len(a.GetSet())),
		}
		if a.GetMore() {
			if len(s.acknowledgements) >= assemblies {
				return fmt.Errorf("%w: acknowledgement.more: %d acknowledgements have begun and not ended: "+
					"send the parts of one after each other", ErrInvalid, assemblies)
			}
			s.acknowledgements[a.GetChannelId()] = part
		}
	}
	if err := s.addStates(part, a); err != nil {
		return err
	}
	if a.GetMore() {
		return nil
	}
	delete(s.acknowledgements, a.GetChannelId())
	s.partBytes -= part.bytes

	return s.acknowledged(a.GetChannelId(), part, now)
}

// addStates keeps the part, unless the stream has too much of such already: then the
// acknowledgement is refused when its last part is there.
func (s *Session) addStates(p *acknowledgement, a *forwardingv1.Acknowledgement) error {
	bytes := entryBytes * (len(a.GetSet()) + len(a.GetRemoved()))
	for _, pause := range a.GetSet() {
		bytes += len(pause.GetUid())
	}
	for _, uid := range a.GetRemoved() {
		bytes += len(uid)
	}
	if !s.keep(&p.bytes, &p.over, bytes) {
		p.set, p.removed = nil, nil

		return nil
	}
	for _, pause := range a.GetSet() {
		p.set[pause.GetUid()] = state{digest: Digest(pause.GetDigest()), state: pause.GetState()}
	}
	p.removed = append(p.removed, a.GetRemoved()...)
	if len(p.set) > 2*tables.MaxPauses || len(p.removed) > 4*tables.MaxPauses {
		return fmt.Errorf("%w: acknowledgement.set of channel %q names more pauses than a table can have: "+
			"acknowledge those of the table", ErrInvalid, a.GetChannelId())
	}

	return nil
}

// acknowledged applies an acknowledgement that is there in all its parts.
func (s *Session) acknowledged(channelID string, a *acknowledgement, now time.Time) error {
	t := s.tenant
	h := s.server.channels[channelID]
	switch {
	case h == nil || !h.holds(s) || h.instance != a.instance:
		return nil
	case a.epoch > h.epoch, !a.whole && h.acknowledgedBy != s:
		// The report of the epoch, or the base, is not held here.
		s.askAgain(channelID)

		return nil
	case h.acknowledgedBy == s && a.epoch < h.acknowledgedEpoch:
		return fmt.Errorf("%w: acknowledgement.epoch: channel %q was acknowledged at epoch %d, and now at %d: "+
			"it does not go back", ErrInvalid, channelID, h.acknowledgedEpoch, a.epoch)
	}
	if reason := s.boundStates(h, a); reason != "" {
		s.overflow(h, h.instance, h.epoch, reason)

		return nil
	}
	changed := s.states(h, a, now)
	// A stream that comes begins with what it does with all its pauses.
	begins := h.acknowledgedBy != s && s.passing.Load()
	h.acknowledgedEpoch, h.acknowledgedBy = a.epoch, s
	t.notify(len(changed) > many || begins || s.server.complete.IsZero(), changed...)
	t.bells.ring(channelBell(channelID))

	return nil
}

// boundStates names the bound that the acknowledgement breaks.
func (s *Session) boundStates(h *hosted, a *acknowledgement) string {
	t, limits, more := s.tenant, s.tenant.config.Limits, h.more(a)
	switch {
	case a.over:
		return s.tooManyBytes("acknowledgements", h.channel.id)
	case s.server.states+more > limits.States:
		return fmt.Sprintf("media server %q has acknowledged more than %d pauses, which is the bound: "+
			"nothing of channel %q is taken; spread the channels over more media servers",
			s.server.name, limits.States, h.channel.id)
	case t.states+more > limits.NamespaceStates:
		return fmt.Sprintf("the media servers of namespace %q have acknowledged more than %d pauses, "+
			"which is the bound: nothing of channel %q is taken; use more namespaces",
			t.namespace, limits.NamespaceStates, h.channel.id)
	default:
		return ""
	}
}

// more is how many more states the acknowledgement makes.
func (h *hosted) more(a *acknowledgement) int {
	if a.whole {
		return len(a.set) - len(h.acknowledged)
	}
	more := 0
	for uid := range a.set {
		if _, known := h.acknowledged[uid]; !known {
			more++
		}
	}

	return more
}

// states merges the acknowledgement and returns the pauses of which something
// changed.
func (s *Session) states(h *hosted, a *acknowledgement, now time.Time) (changed []*entry) {
	t := s.tenant
	drop := func(uid string) {
		delete(h.acknowledged, uid)
		if e := t.byUID[types.UID(uid)]; e != nil {
			changed = append(changed, e)
		}
	}
	before := len(h.acknowledged)
	if a.whole {
		for uid := range h.acknowledged {
			if _, still := a.set[uid]; !still {
				drop(uid)
			}
		}
	} else {
		for _, uid := range a.removed {
			if _, is := h.acknowledged[uid]; is {
				drop(uid)
			}
		}
	}
	for uid, next := range a.set {
		had := h.acknowledged[uid]
		if had.digest == next.digest && had.state == next.state {
			continue
		}
		e := t.byUID[types.UID(uid)]
		if next.after = had.after; had.digest != next.digest {
			next.after = t.latency(e, next.digest, now)
		}
		if e != nil {
			uid = string(e.object.UID) // One copy of it in memory is enough.
			changed = append(changed, e)
		}
		h.acknowledged[uid] = next
	}
	t.countStates(s.server, len(h.acknowledged)-before)

	return changed
}

// latency is from learning of the pause's content to now; 0 where it was known
// before this replica began, or is not known.
func (t *Tenant) latency(e *entry, digest Digest, now time.Time) time.Duration {
	if e == nil || e.digest != digest || e.learned.IsZero() {
		return 0
	}
	after := max(now.Sub(e.learned), 1)
	if t.metrics != nil {
		t.metrics.latency.Observe(after.Seconds())
	}

	return after
}

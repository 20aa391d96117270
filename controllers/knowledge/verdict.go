package knowledge

import (
	"slices"
	"strings"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/held"
)

// Verdict is where a pause stands.
type Verdict struct {
	// Reason is of the Ready condition, one of v1alpha1.Reason*.
	Reason string
	// Matching are the media servers that have acknowledged the present content and
	// withhold a live edge; Waiting host the channel, are in touch, and have not
	// acknowledged it; Lost are out of touch and hosted the channel, or own it, or, where it
	// would be Armed, any that is out of touch. All are sorted.
	Matching, Waiting, Lost []string
	// Withholding say that they withhold an edge though expiresAt has passed by this
	// clock: theirs is slower. Sorted.
	Withholding []string
	// Gone tells that the media server that the status names has ended, or has been
	// out of touch for too long.
	Gone bool
	// LostSince is since when the first of Lost is out of touch; zero when none is.
	LostSince time.Time
	// Until is when the passing of time alone changes the verdict; zero: never.
	Until time.Time
}

// Judge tells where the pause stands at the time now. inOffice is since when the
// asker has listened. A pause that is found MediaServerLost is watched until that
// may have changed.
func (t *Tenant) Judge(pause *held.Pause, inOffice, now time.Time) Verdict {
	t.mu.Lock()
	defer t.mu.Unlock()
	j := judgement{t: t, pause: pause, inOffice: inOffice, now: now}
	j.judge()
	if e := t.byUID[pause.UID]; e != nil {
		if e.lost = j.Reason == v1alpha1.ReasonMediaServerLost; e.lost {
			t.judgedLost[e] = struct{}{}
		} else {
			delete(t.judgedLost, e)
		}
	}

	return j.Verdict
}

// judgement is one in the making.
type judgement struct {
	Verdict
	t             *Tenant
	pause         *held.Pause
	inOffice, now time.Time

	digest Digest
	// Of those in touch, how many host the channel, and say Expired or NotUnderstood.
	hosting, expired, notUnderstood int
	// unsure are those that are lost and had not acknowledged the present content.
	unsure int
	// done are those that are lost and have said that it has expired.
	done []string
}

func (j *judgement) judge() {
	e := j.t.byUID[j.pause.UID]
	if e != nil && e.object == j.pause {
		j.digest = e.digest
	} else {
		j.digest, _ = content(j.pause)
	}
	switch {
	case j.pause.Deletion != nil:
		j.Reason = v1alpha1.ReasonDeleting
	case j.digest == Digest{}:
		j.Reason = v1alpha1.ReasonNotUnderstood
	case e != nil && e.beyond:
		j.Reason = v1alpha1.ReasonLimitExceeded
	default:
		j.hear()
		j.weigh()
	}
	slices.SortFunc(j.Matching, strings.Compare)
	slices.SortFunc(j.Waiting, strings.Compare)
	slices.SortFunc(j.Lost, strings.Compare)
	j.Withholding = j.slower()
	if named := j.pause.Status.MediaServer; named != "" && j.t.servers[named] == nil {
		_, j.Gone = j.t.givenUp.at[named]
	}
}

// hear takes what each media server that hosts the channel, or may, said of the content.
func (j *judgement) hear() {
	if c := j.t.channels[j.pause.Spec.ChannelID]; c != nil {
		j.hearHosts(c)
	}
	owners := j.t.formerOwnersOf(j.pause.Spec.ChannelID)
	if owner, out := j.owner(); out && j.hosting > 0 {
		owners = append(owners, owner) // Whoever hosts it does so without a claim.
	}
	for _, owner := range owners {
		if j.loses(owner) {
			j.unsure++
		}
	}
}

// owner is the channel's owner where that is out of touch.
func (j *judgement) owner() (owner lostOwner, out bool) {
	owner, out = j.t.ownerOutOfTouch(j.pause.Spec.ChannelID)
	if owner.unheard && owner.since.Before(j.inOffice) {
		owner.since = j.inOffice
	}

	return owner, out
}

// loses notes an owner that is out of touch, and tells whether that is news.
func (j *judgement) loses(owner lostOwner) bool {
	if slices.Contains(j.Lost, owner.name) || slices.Contains(j.done, owner.name) || !j.lost(owner.since) {
		return false
	}
	j.Lost = append(j.Lost, owner.name)

	return true
}

func (j *judgement) hearHosts(c *channel) {
	for _, h := range c.hosts {
		said := h.acknowledged[string(j.pause.UID)]
		present := said.digest == j.digest
		if lost := h.lostSince(); !lost.IsZero() {
			// What has expired does not act any more, whoever is in touch.
			switch {
			case present && said.state == forwardingv1.State_STATE_EXPIRED:
				j.done = append(j.done, h.server.name)
			case j.lost(lost):
				j.Lost = append(j.Lost, h.server.name)
				if !present {
					j.unsure++
				}
			}

			continue
		}
		j.hosting++
		switch {
		case !present:
			j.Waiting = append(j.Waiting, h.server.name)
		case said.state == forwardingv1.State_STATE_MATCHING:
			j.Matching = append(j.Matching, h.server.name)
		case said.state == forwardingv1.State_STATE_EXPIRED:
			j.expired++
		case said.state == forwardingv1.State_STATE_NOT_UNDERSTOOD:
			j.notUnderstood++
		}
	}
}

// lost tells whether a loss still counts, and notes when it no longer does.
func (j *judgement) lost(since time.Time) bool {
	until := since.Add(j.t.config.MediaServerLost)
	if !j.now.Before(until) {
		return false
	}
	j.until(until)
	if j.LostSince.IsZero() || since.Before(j.LostSince) {
		j.LostSince = since
	}

	return true
}

// weigh finds the reason. Whatever may be wrong in the dangerous direction comes
// first.
func (j *judgement) weigh() {
	expired := j.pause.Spec.ExpiresAt != nil && !j.now.Before(j.pause.Spec.ExpiresAt.Time)
	if j.pause.Spec.ExpiresAt != nil && !expired {
		j.until(j.pause.Spec.ExpiresAt.Time)
	}
	switch known := j.inOffice.Add(OfficeBeforeArmed); {
	case len(j.Waiting) > 0:
		j.Reason = v1alpha1.ReasonNotAcknowledged
	case j.notUnderstood > 0:
		j.Reason = v1alpha1.ReasonNotUnderstood
	case len(j.Lost) > 0:
		// Also where it had acknowledged: an acknowledgement ends with its process.
		j.Reason = v1alpha1.ReasonMediaServerLost
	case len(j.Matching) > 0:
		j.Reason = v1alpha1.ReasonEnforced
	case j.hosting > 0 && j.expired == j.hosting, j.hosting == 0 && expired && j.pause.Expired():
		j.Reason = v1alpha1.ReasonExpired
	case j.now.Before(known):
		j.Reason = v1alpha1.ReasonStarting
		j.until(known)
	case !j.t.claims.listed:
		// Somebody may own the channel of whom nothing has been heard here. No time mends that.
		j.Reason = v1alpha1.ReasonStarting
	case j.anyLost(expired):
		j.Reason = v1alpha1.ReasonMediaServerLost
	case len(j.Waiting) > 0:
		j.Reason = v1alpha1.ReasonNotAcknowledged
	case j.hosting == 0 && expired:
		// Not before: one that is yet to be heard of may withhold by a slower clock.
		j.Reason = v1alpha1.ReasonExpired
	default:
		j.Reason = v1alpha1.ReasonArmed
	}
}

// anyLost tells whether the channel may be hosted by a media server that nothing
// is heard of. It notes those whose channels are more than are taken as waiting.
func (j *judgement) anyLost(expired bool) bool {
	if !expired {
		j.done = nil // It is the clock of one that is fast.
	}
	out := &j.t.out
	if j.t.claims.known {
		// Nobody else can host a channel that it does not own.
		out = &j.t.anywhere
	}
	if names, since := out.lost(); len(names) > 0 && len(j.done) == 0 && j.lost(since) {
		j.Lost = slices.Clone(names)
	} else {
		for server := range out.servers {
			if !slices.Contains(j.done, server.name) && j.lost(server.lostSince) {
				j.Lost = append(j.Lost, server.name)
			}
		}
	}
	for name := range j.t.unheard {
		if j.lost(j.inOffice) {
			j.Lost = append(j.Lost, name)
		}
	}
	if owner, out := j.owner(); out {
		j.loses(owner)
	}
	if away := j.t.turnedAway; away.name != "" && j.lost(away.at) {
		j.Lost = append(j.Lost, away.name)
	}
	j.Waiting = append(j.Waiting, j.t.untoldOf()...)

	return len(j.Lost) > 0
}

// slower are those that still withhold though expiresAt has passed here.
func (j *judgement) slower() []string {
	if j.pause.Spec.ExpiresAt == nil || j.now.Before(j.pause.Spec.ExpiresAt.Time) {
		return nil
	}

	return j.Matching
}

func (j *judgement) until(at time.Time) {
	if j.Until.IsZero() || at.Before(j.Until) {
		j.Until = at
	}
}

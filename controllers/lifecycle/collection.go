package lifecycle

import (
	"math"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/knowledge"
)

// collection tells when the object is to be deleted, as its status stands, and
// which of its fields asks for it; an empty reason: never.
func collection(object *v1alpha1.RtpStreamPause, verdict knowledge.Verdict) (reason string, at time.Time) {
	if ttl := object.Spec.TTLSecondsAfterExpired; ttl != nil && object.Spec.ExpiresAt != nil && actsNowhere(verdict) {
		reason, at = afterExpiry, secondsAfter(object.Spec.ExpiresAt.Time, *ttl)
	}
	if gone := object.Spec.DeleteAfterDisconnectSeconds; gone != nil && object.Status.DisconnectedAt != nil {
		if then := secondsAfter(object.Status.DisconnectedAt.Time, *gone); reason == "" || then.Before(at) {
			reason, at = afterDisconnect, then
		}
	}

	return reason, at
}

// actsNowhere tells that no media server can withhold anything because of the
// pause, whatever its clock says: the object is not deleted before, since that
// would resume what a slower clock still withholds.
func actsNowhere(verdict knowledge.Verdict) bool {
	switch verdict.Reason {
	case v1alpha1.ReasonExpired, v1alpha1.ReasonNotUnderstood, v1alpha1.ReasonLimitExceeded:
		return len(verdict.Matching)+len(verdict.Withholding)+len(verdict.Waiting)+len(verdict.Lost) == 0
	default:
		return false
	}
}

// secondsAfter adds seconds as the API has them, which may be more than a
// time.Duration holds.
func secondsAfter(t time.Time, seconds int64) time.Time {
	if seconds > math.MaxInt64-t.Unix() {
		seconds = math.MaxInt64 - t.Unix()
	}

	return time.Unix(t.Unix()+max(seconds, 0), 0)
}

// disconnectedAt is what the status has to say of a departure at the time left;
// nil while there is none.
func disconnectedAt(object *v1alpha1.RtpStreamPause, left, now time.Time) *metav1.Time {
	switch kept := object.Status.DisconnectedAt; {
	case left.IsZero():
		return nil
	case object.Status.ObservedGeneration != object.Generation:
		// An edit starts anew, as a creation does.
		return wholeSeconds(now)
	case kept != nil:
		// The clock that is kept in the status runs on, whichever replica reads it and
		// whenever that one learnt of the departure.
		return kept
	default:
		return wholeSeconds(left)
	}
}

// wholeSeconds rounds up, as far as the API stores times, so that no object is
// deleted early.
func wholeSeconds(t time.Time) *metav1.Time {
	seconds := t.Unix()
	if t.Nanosecond() > 0 && seconds < math.MaxInt64 {
		seconds++
	}

	return &metav1.Time{Time: time.Unix(seconds, 0)}
}

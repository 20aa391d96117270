package lifecycle

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/knowledge"
)

const (
	// conflictRetry is when to compute again what was computed from an object that
	// has changed since. The watch brings the change, and with it the next try, long
	// before, unless it is broken; then asking more often would only conflict more.
	conflictRetry = time.Second
	// soonestWake keeps a clock that is slightly off from spinning.
	soonestWake = 50 * time.Millisecond
	// doubtGrace is for how long a status in place is left while a media server has
	// yet to acknowledge again, as one that has just come back; knowledge.LossGrace
	// is for one that is out of touch. A blip must not rewrite every status there is.
	doubtGrace = time.Second
	// acknowledgeGrace is for how long a pause that is new, or edited, may lack an
	// acknowledgement before its status says so: one takes milliseconds, and so every
	// pause would be written twice.
	acknowledgeGrace = 200 * time.Millisecond
	// loneliness is how often to look again at a pause whose status says that no
	// media server is connected.
	loneliness = 30 * time.Second
)

// reconciler writes status, expires and collects during one term of office.
type reconciler struct {
	knowledge Knowledge
	writer    *writer
	story     *story
	log       *slog.Logger
	metrics   *metrics
	inOffice  time.Time

	mu sync.Mutex
	// doubts are since when what a status says, or is yet to say, has lacked an
	// acknowledgement.
	doubts map[types.NamespacedName]time.Time
}

// reconcile brings one pause's status up to date and deletes the pause when its
// time has come. It tells when to look again, and whether it has written.
func (r *reconciler) reconcile(ctx context.Context, name types.NamespacedName) (again next, wrote bool, err error) {
	known := r.knowledge.Pause(name)
	if known == nil {
		r.believe(name)

		return next{}, false, nil
	}
	now := time.Now()
	verdict := r.knowledge.Judge(known, r.inOffice, now)
	left, ask := r.knowledge.Departure(known, r.inOffice, now)
	streaming := r.knowledge.Streaming(name.Namespace)

	object := known.Object()
	status := nextStatus(object, verdict, streaming)
	again = sooner(next{at: verdict.Until, level: due}, ask, due)
	if verdict.Reason == v1alpha1.ReasonArmed && streaming == 0 {
		again = sooner(again, now.Add(loneliness), mass)
	}
	if until := r.leave(name, object, verdict, now); !until.IsZero() {
		status = *object.Status.DeepCopy()
		again = sooner(again, until, mass)
	}
	status.DisconnectedAt = disconnectedAt(object, left, now)
	if !equality.Semantic.DeepEqual(status, object.Status) {
		return r.write(ctx, object, &status, again)
	}
	if object.DeletionTimestamp != nil {
		return again.notBefore(now), false, nil
	}
	reason, at := collection(object, verdict)
	if reason == "" || now.Before(at) {
		return sooner(again, at, due).notBefore(now), false, nil
	}

	return r.collect(ctx, object, reason)
}

// sure is until when a writer new in office leaves what its predecessor knew: then it
// can know better itself.
func (r *reconciler) sure() time.Time { return r.inOffice.Add(knowledge.OfficeBeforeArmed) }

// judged tells that there is a status of the pause's present content.
func (r *reconciler) judged(name types.NamespacedName) bool {
	known := r.knowledge.Pause(name)

	return known != nil && known.Judged()
}

// leave tells until when the status that the object has is left as it is; zero:
// write now.
func (r *reconciler) leave(
	name types.NamespacedName, object *v1alpha1.RtpStreamPause, verdict knowledge.Verdict, now time.Time,
) time.Time {
	reason := readyReason(object)
	if verdict.Reason != v1alpha1.ReasonNotAcknowledged || reason == v1alpha1.ReasonNotAcknowledged {
		r.believe(name)
	}
	if certain(verdict) {
		return time.Time{}
	}
	var until time.Time
	switch {
	case !written(object) && (verdict.Reason != v1alpha1.ReasonNotAcknowledged || reason == verdict.Reason):
		return time.Time{}
	case !written(object):
		until = r.doubt(name, now).Add(acknowledgeGrace)
	case now.Before(r.sure()):
		// Else each election would rewrite every status twice.
		return r.sure()
	case verdict.Reason == v1alpha1.ReasonStarting:
		// The namespace is known later than the others.
		return verdict.Until
	case verdict.Reason == v1alpha1.ReasonMediaServerLost:
		until = verdict.LostSince.Add(knowledge.LossGrace)
	case verdict.Reason == v1alpha1.ReasonNotAcknowledged && reason != verdict.Reason:
		until = r.doubt(name, now).Add(doubtGrace)
	}
	if now.Before(until) {
		return until
	}

	return time.Time{}
}

// doubt returns since when the pause has lacked an acknowledgement.
func (r *reconciler) doubt(name types.NamespacedName, now time.Time) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	since, ok := r.doubts[name]
	if !ok {
		since, r.doubts[name] = now, now
	}

	return since
}

func (r *reconciler) believe(name types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.doubts, name)
}

// certain tells that the verdict needs no knowledge of every media server.
func certain(verdict knowledge.Verdict) bool {
	switch verdict.Reason {
	case v1alpha1.ReasonEnforced, v1alpha1.ReasonExpired, v1alpha1.ReasonDeleting, v1alpha1.ReasonNotUnderstood,
		v1alpha1.ReasonLimitExceeded:
		return true
	default:
		return false
	}
}

// written tells that the status is of the present generation.
func written(object *v1alpha1.RtpStreamPause) bool {
	return object.Status.ObservedGeneration == object.Generation && len(object.Status.Conditions) > 0
}

func readyReason(object *v1alpha1.RtpStreamPause) string {
	if ready := meta.FindStatusCondition(object.Status.Conditions, v1alpha1.ConditionReady); ready != nil {
		return ready.Reason
	}

	return ""
}

// sooner returns the earlier of what is planned and the time at; zero is never.
func sooner(planned next, at time.Time, l level) next {
	if at.IsZero() || !planned.at.IsZero() && !at.Before(planned.at) {
		return planned
	}

	return next{at: at, level: l}
}

func (n next) notBefore(now time.Time) next {
	if soonest := now.Add(soonestWake); !n.at.IsZero() && n.at.Before(soonest) {
		n.at = soonest
	}

	return n
}

// write applies the status. What it brings about (a collection that is due) comes
// with the watch's news of it; again is for what does not.
func (r *reconciler) write(
	ctx context.Context, object *v1alpha1.RtpStreamPause, status *v1alpha1.RtpStreamPauseStatus, again next,
) (next, bool, error) {
	now := time.Now()
	switch err := r.writer.status(ctx, object, status); {
	case errors.Is(err, errGone):
		return next{}, false, nil
	case errors.Is(err, errStale):
		return next{at: now.Add(conflictRetry), level: due}, false, nil
	case err != nil:
		return next{}, false, err
	}
	r.metrics.statusWrites.Inc()
	after := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
	if after != nil && after.Reason != readyReason(object) {
		if after.Reason == v1alpha1.ReasonExpired {
			r.metrics.expired.Inc()
		}
		r.story.tell(object, status)
	}

	return again.notBefore(now), true, nil
}

func (r *reconciler) collect(ctx context.Context, object *v1alpha1.RtpStreamPause, reason string) (next, bool, error) {
	switch err := r.writer.remove(ctx, object); {
	case errors.Is(err, errGone):
		return next{}, false, nil
	case errors.Is(err, errStale):
		return next{at: time.Now().Add(conflictRetry), level: due}, false, nil
	case err != nil:
		return next{}, false, err
	}
	r.metrics.collected.WithLabelValues(reason).Inc()
	r.log.Info("deleted, as its spec asks for", "namespace", object.Namespace, "name", object.Name, "because", reason)

	return next{}, true, nil
}

package lifecycle

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	eventsv1 "k8s.io/client-go/kubernetes/typed/events/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/flowcontrol"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

const (
	kind = "RtpStreamPause"
	// reporter names this controller in events.
	reporter = "nagi-manager"
	// A namespace's events: so many a second, and so many at once. The recorder
	// knows no bound of its own, sends each in a goroutine of its own, and remembers
	// each for 12 minutes.
	eventRate  = 10
	eventBurst = 50
	// eventTimeout bounds one try to send an event.
	eventTimeout = 5 * time.Second
	// eventDelay is how long after a status its event follows.
	eventDelay = 2 * time.Second
	// maxUntold is how many events may be waiting.
	maxUntold = 4096
)

// Reasons of events.
const (
	eventEnforced = "Enforced"
	eventArmed    = "Armed"
	eventExpired  = "Expired"
	eventRefused  = "Refused"
)

// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

func newEventsClient(api *rest.Config) (eventsv1.EventsV1Interface, error) {
	config := rest.CopyConfig(api)
	config.QPS = -1 // Bounded before they reach the recorder.
	config.Timeout = eventTimeout
	client, err := eventsv1.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("prepare the recorder of events: %w", err)
	}

	return client, nil
}

// story tells as events on a pause what has become of it, a moment later, and only
// while the pause is there: of one that is gone again nobody can ask. Nothing waits
// for an event, and one that cannot be told is dropped.
//
// Each event is a write that etcd has seen and no reader of pauses has, so that the
// API server's next read of what pauses there are asks etcd first, for up to 100 ms.
// That is another reason to write no event that nobody will see.
type story struct {
	recorder events.EventRecorder
	exists   func(types.NamespacedName, types.UID) bool
	metrics  *metrics
	untold   chan chapter
	// limiter is by namespace, and used by run alone.
	limiter map[string]flowcontrol.PassiveRateLimiter
}

// chapter is one event that is yet to be told.
type chapter struct {
	due                        time.Time
	name                       types.NamespacedName
	uid                        types.UID
	kind, reason, action, note string
}

func newStory(
	broadcaster events.EventBroadcaster, exists func(types.NamespacedName, types.UID) bool, m *metrics,
) *story {
	return &story{
		recorder: broadcaster.NewRecorder(scheme.Scheme, reporter), exists: exists, metrics: m,
		untold: make(chan chapter, maxUntold), limiter: map[string]flowcontrol.PassiveRateLimiter{},
	}
}

// tell records that the object has come to the status just written, if that is
// worth telling.
func (s *story) tell(object *v1alpha1.RtpStreamPause, status *v1alpha1.RtpStreamPauseStatus) {
	ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
	c := chapter{
		due: time.Now().Add(eventDelay), name: types.NamespacedName{Namespace: object.Namespace, Name: object.Name},
		uid:  object.UID,
		kind: corev1.EventTypeNormal, note: ready.Message,
	}
	switch ready.Reason {
	case v1alpha1.ReasonEnforced:
		c.reason, c.action = eventEnforced, "Enforce"
		if enforced := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionEnforced); enforced != nil {
			c.note = enforced.Message
		}
	case v1alpha1.ReasonArmed:
		c.reason, c.action = eventArmed, "Arm"
	case v1alpha1.ReasonExpired:
		c.reason, c.action = eventExpired, "Expire"
	case v1alpha1.ReasonNotUnderstood, v1alpha1.ReasonLimitExceeded:
		c.kind, c.reason, c.action = corev1.EventTypeWarning, eventRefused, "Refuse"
	default:
		return
	}
	select {
	case s.untold <- c:
	default:
		s.metrics.eventsDropped.Inc()
	}
}

// run tells what is due until ctx ends.
func (s *story) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-s.untold:
			if !pause(ctx, time.Until(c.due)) {
				return
			}
			s.publish(c)
		}
	}
}

func (s *story) publish(c chapter) {
	if !s.exists(c.name, c.uid) {
		return
	}
	if !s.mayTell(c.name.Namespace) {
		s.metrics.eventsDropped.Inc()

		return
	}
	s.metrics.events.Inc()
	// Without a resource version, so that the recorder counts what repeats itself
	// instead of telling it again.
	s.recorder.Eventf(&corev1.ObjectReference{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: kind, Namespace: c.name.Namespace, Name: c.name.Name, UID: c.uid,
	}, nil, c.kind, c.reason, c.action, "%s", c.note)
}

// mayTell keeps one namespace's events from crowding out another's. There are as
// many limiters as namespaces that are watched.
func (s *story) mayTell(namespace string) bool {
	limiter := s.limiter[namespace]
	if limiter == nil {
		limiter = flowcontrol.NewTokenBucketPassiveRateLimiter(eventRate, eventBurst)
		s.limiter[namespace] = limiter
	}

	return limiter.TryAccept()
}

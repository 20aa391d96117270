package lifecycle

import (
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
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
)

// Reasons of events.
const (
	eventEnforced = "Enforced"
	eventArmed    = "Armed"
	eventExpired  = "Expired"
	eventRefused  = "Refused"
)

// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

func newEventsClient(api *rest.Config) (kubernetes.Interface, error) {
	config := rest.CopyConfig(api)
	config.QPS = -1 // Bounded before they reach the recorder.
	config.Timeout = eventTimeout
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("prepare the recorder of events: %w", err)
	}

	return clients, nil
}

// story tells as events on a pause what has become of it. Nothing waits for an
// event, and one that cannot be told is dropped.
type story struct {
	recorder events.EventRecorder
	metrics  *metrics

	mu      sync.Mutex
	limiter map[string]flowcontrol.PassiveRateLimiter
}

func newStory(broadcaster events.EventBroadcaster, m *metrics) *story {
	return &story{recorder: broadcaster.NewRecorder(scheme.Scheme, reporter), metrics: m, limiter: map[string]flowcontrol.PassiveRateLimiter{}}
}

// tell records that the object has come to the status just written, if that is
// worth telling.
func (s *story) tell(object *v1alpha1.RtpStreamPause, status *v1alpha1.RtpStreamPauseStatus) {
	ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
	kindOfEvent := corev1.EventTypeNormal
	var reason, action string
	switch ready.Reason {
	case v1alpha1.ReasonEnforced:
		reason, action = eventEnforced, "Enforce"
	case v1alpha1.ReasonArmed:
		reason, action = eventArmed, "Arm"
	case v1alpha1.ReasonExpired:
		reason, action = eventExpired, "Expire"
	case v1alpha1.ReasonNotUnderstood, v1alpha1.ReasonLimitExceeded:
		kindOfEvent, reason, action = corev1.EventTypeWarning, eventRefused, "Refuse"
	default:
		return
	}
	if !s.mayTell(object.Namespace) {
		s.metrics.eventsDropped.Inc()

		return
	}
	s.metrics.events.Inc()
	note := ready.Message
	if reason == eventEnforced {
		if enforced := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionEnforced); enforced != nil {
			note = enforced.Message
		}
	}
	// Without a resource version, so that the recorder counts what repeats itself
	// instead of telling it again.
	s.recorder.Eventf(&corev1.ObjectReference{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: kind, Namespace: object.Namespace, Name: object.Name, UID: object.UID,
	}, nil, kindOfEvent, reason, action, "%s", note)
}

// mayTell keeps one namespace's events from crowding out another's. There are as
// many limiters as namespaces that are watched.
func (s *story) mayTell(namespace string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	limiter := s.limiter[namespace]
	if limiter == nil {
		limiter = flowcontrol.NewTokenBucketPassiveRateLimiter(eventRate, eventBurst)
		s.limiter[namespace] = limiter
	}

	return limiter.TryAccept()
}

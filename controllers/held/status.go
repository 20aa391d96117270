package held

import (
	"unique"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// Status is an RtpStreamPauseStatus.
type Status struct {
	ObservedGeneration int64
	EnforcedGeneration int64
	MediaServer        string
	DisconnectedAt     *metav1.Time

	conditions []condition
}

// condition is one of which many pauses have all but the numbers alike.
type condition struct {
	words                unique.Handle[words]
	observedGeneration   int64
	transitionUnixSecond int64 // As the API server stores it, to the second.
}

type words struct {
	kind, reason, message string
	status                metav1.ConditionStatus
}

func newStatus(of *v1alpha1.RtpStreamPauseStatus) Status {
	s := Status{
		ObservedGeneration: of.ObservedGeneration, EnforcedGeneration: of.EnforcedGeneration,
		MediaServer: one(of.MediaServer), DisconnectedAt: of.DisconnectedAt,
	}
	if len(of.Conditions) > 0 {
		s.conditions = make([]condition, 0, len(of.Conditions))
	}
	for _, c := range of.Conditions {
		s.conditions = append(s.conditions, condition{
			unique.Make(words{c.Type, c.Reason, c.Message, c.Status}), c.ObservedGeneration, c.LastTransitionTime.Unix(),
		})
	}

	return s
}

// ready is the reason of the condition Ready, as far as it is of the generation.
func (s *Status) ready(generation int64) string {
	for _, c := range s.conditions {
		if w := c.words.Value(); w.kind == v1alpha1.ConditionReady && c.observedGeneration == generation {
			return w.reason
		}
	}

	return ""
}

func (s *Status) object() v1alpha1.RtpStreamPauseStatus {
	object := v1alpha1.RtpStreamPauseStatus{
		ObservedGeneration: s.ObservedGeneration, EnforcedGeneration: s.EnforcedGeneration,
		MediaServer: s.MediaServer, DisconnectedAt: s.DisconnectedAt.DeepCopy(),
	}
	for _, c := range s.conditions {
		w := c.words.Value()
		object.Conditions = append(object.Conditions, metav1.Condition{
			Type: w.kind, Status: w.status, Reason: w.reason, Message: w.message,
			ObservedGeneration: c.observedGeneration, LastTransitionTime: metav1.Unix(c.transitionUnixSecond, 0),
		})
	}

	return object
}

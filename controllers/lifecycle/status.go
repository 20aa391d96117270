package lifecycle

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/tables"
)

// nextStatus is the status of the object that follows from the verdict and from
// what the media servers said of its channel.
func nextStatus(object *v1alpha1.RtpStreamPause, verdict tables.Verdict, servers []tables.MediaServer, streaming int) v1alpha1.RtpStreamPauseStatus {
	next := *object.Status.DeepCopy()
	next.ObservedGeneration = object.Generation
	if host := hostOf(tables.Pause(object), servers); host != "" {
		next.MediaServer = host
	}
	if role := receiverRole(object, servers); role != "" {
		next.Role = role
	}
	ready, enforced := conditions(verdict, streaming)
	for _, condition := range []metav1.Condition{ready, enforced} {
		condition.ObservedGeneration = object.Generation
		meta.SetStatusCondition(&next.Conditions, condition)
	}

	return next
}

// hostOf names a media server that hosts a matching edge, or else every
// connection that the pause names; the one in touch where there are several.
// That both are there is what lets a later writer know that both were seen.
func hostOf(pause *forwardingv1.Pause, servers []tables.MediaServer) string {
	host := ""
	for _, server := range servers {
		if !hosts(pause, server.Connections) {
			continue
		}
		if server.LostSince.IsZero() {
			return server.Name
		}
		host = server.Name
	}

	return host
}

func hosts(pause *forwardingv1.Pause, connections []*forwardingv1.Connection) bool {
	for range tables.MatchingEdges(pause, connections) {
		return true
	}
	named := []string{}
	for _, id := range []string{pause.GetRecvConnectionId(), pause.GetSendConnectionId()} {
		if id != "" {
			named = append(named, id)
		}
	}

	return len(named) > 0 && !slices.ContainsFunc(named, func(id string) bool { return find(connections, id) == nil })
}

func find(connections []*forwardingv1.Connection, id string) *forwardingv1.Connection {
	for _, c := range connections {
		if c.GetConnectionId() == id {
			return c
		}
	}

	return nil
}

func receiverRole(object *v1alpha1.RtpStreamPause, servers []tables.MediaServer) v1alpha1.Role {
	if object.Spec.RecvConnectionID == nil {
		return ""
	}
	for _, server := range servers {
		switch find(server.Connections, *object.Spec.RecvConnectionID).GetRole() {
		case forwardingv1.Role_ROLE_SENDRECV:
			return v1alpha1.RoleSendRecv
		case forwardingv1.Role_ROLE_SENDONLY:
			return v1alpha1.RoleSendOnly
		case forwardingv1.Role_ROLE_RECVONLY:
			return v1alpha1.RoleRecvOnly
		case forwardingv1.Role_ROLE_UNSPECIFIED:
		}
	}

	return ""
}

// conditions words the verdict. Messages hold no times and no numbers of edges:
// each change is a write, and a pause of an open side has as many edges as there
// are connections.
func conditions(verdict tables.Verdict, streaming int) (ready, enforced metav1.Condition) {
	var state, withheld metav1.ConditionStatus
	var message string
	switch verdict.Reason {
	case v1alpha1.ReasonEnforced:
		state, withheld = metav1.ConditionTrue, metav1.ConditionTrue
		message = fmt.Sprintf("Withheld by %s.", list(verdict.Enforced))
	case v1alpha1.ReasonArmed:
		state, withheld = metav1.ConditionTrue, metav1.ConditionFalse
		message = "In force; no live edge matches it now."
		if streaming == 0 {
			message = "In force; no media server is connected, so that no live edge is known."
		}
	case v1alpha1.ReasonExpired:
		state, withheld = metav1.ConditionTrue, metav1.ConditionFalse
		message = "expiresAt has passed: the pause no longer acts. Move expiresAt, or delete the object."
	case v1alpha1.ReasonNotAcknowledged:
		state, withheld = metav1.ConditionFalse, metav1.ConditionFalse
		message = fmt.Sprintf("Waiting for the acknowledgement of %s.", list(verdict.Waiting))
	case v1alpha1.ReasonMediaServerLost:
		state, withheld = metav1.ConditionUnknown, metav1.ConditionUnknown
		message = fmt.Sprintf("Out of touch with %s; a media server goes on with the tables it has.", list(verdict.Lost))
	default:
		state, withheld = metav1.ConditionUnknown, metav1.ConditionUnknown
		message = "This manager has just begun to write and does not know every media server yet."
	}

	return metav1.Condition{Type: v1alpha1.ConditionReady, Status: state, Reason: verdict.Reason, Message: message},
		metav1.Condition{Type: v1alpha1.ConditionEnforced, Status: withheld, Reason: verdict.Reason, Message: message}
}

// namedServers bounds the message.
const namedServers = 5

func list(servers []tables.Hosted) string {
	var words []string
	for i, s := range servers {
		if i == namedServers {
			words = append(words, fmt.Sprintf("%d more", len(servers)-i))

			break
		}
		words = append(words, fmt.Sprintf("media server %q", s.MediaServer.Name))
	}

	return strings.Join(words, ", ")
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

package lifecycle

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/knowledge"
	"github.com/nagi-rtc/nagi/controllers/tables"
)

// nextStatus is the status of the object that follows from the verdict;
// disconnectedAt is left as it is.
func nextStatus(
	object *v1alpha1.RtpStreamPause, verdict knowledge.Verdict, streaming int,
) v1alpha1.RtpStreamPauseStatus {
	status := *object.Status.DeepCopy()
	status.ObservedGeneration = object.Generation
	status.MediaServer = mediaServer(object, verdict)
	if len(verdict.Matching) > 0 {
		status.EnforcedGeneration = object.Generation
	}
	ready, enforced := conditions(object, verdict, streaming)
	for _, condition := range []metav1.Condition{ready, enforced} {
		condition.ObservedGeneration = object.Generation
		meta.SetStatusCondition(&status.Conditions, condition)
	}

	return status
}

// mediaServer names one that withholds, or did last; of several, the one that is
// named already.
func mediaServer(object *v1alpha1.RtpStreamPause, verdict knowledge.Verdict) string {
	named := object.Status.MediaServer
	switch {
	case slices.Contains(verdict.Matching, named):
		return named
	case len(verdict.Matching) > 0:
		return verdict.Matching[0]
	case verdict.Gone:
		// Nobody needs to be asked after it any more.
		return ""
	case object.Status.ObservedGeneration != object.Generation &&
		(verdict.Reason == v1alpha1.ReasonArmed || slices.Contains(verdict.Waiting, named)):
		// Who withheld what the pause named before an edit says nothing of what it
		// names now. Only the knowledge that nobody does, or that this one does not
		// yet, lets it be forgotten.
		return ""
	default:
		return named
	}
}

// conditions words the verdict. Messages hold no times and no numbers of edges:
// each change is a write, and a pause of an open side has as many edges as there
// are connections.
func conditions(
	object *v1alpha1.RtpStreamPause, verdict knowledge.Verdict, streaming int,
) (ready, enforced metav1.Condition) {
	ready = metav1.Condition{Type: v1alpha1.ConditionReady, Reason: verdict.Reason}
	enforced = metav1.Condition{Type: v1alpha1.ConditionEnforced}
	switch verdict.Reason {
	case v1alpha1.ReasonEnforced:
		ready.Status, ready.Message = metav1.ConditionTrue,
			"In place on every media server that hosts the channel, for who is there and for who comes."
		enforced.Status, enforced.Reason = metav1.ConditionTrue, v1alpha1.ReasonWithheld
		enforced.Message = fmt.Sprintf("Withheld by %s.", servers(verdict.Matching))
		if len(verdict.Withholding) > 0 {
			ready.Message = fmt.Sprintf("expiresAt has passed by this manager's clock, and %s still withholds: "+
				"the clocks differ. Set them alike, with NTP.", servers(verdict.Withholding))
			enforced.Message = fmt.Sprintf("Withheld by %s, by whose clock expiresAt is still to come.",
				servers(verdict.Withholding))
		}
	case v1alpha1.ReasonArmed:
		ready.Status, ready.Message = metav1.ConditionTrue,
			"In place for whoever comes; nobody whom it concerns is there now."
		if streaming == 0 {
			ready.Message = "In place for whoever comes. No media server is connected to this manager: " +
				"where one should be, see that it runs and that its --managers names this one."
		}
		enforced.Status, enforced.Reason, enforced.Message = metav1.ConditionFalse, v1alpha1.ReasonNoLiveEdge,
			"No live edge matches."
	case v1alpha1.ReasonExpired:
		ready.Status, ready.Message = metav1.ConditionTrue,
			"expiresAt has passed: the pause no longer acts. Move expiresAt, or delete the object."
		enforced.Status, enforced.Reason, enforced.Message = metav1.ConditionFalse, v1alpha1.ReasonNotInForce,
			"The pause has expired."
	case v1alpha1.ReasonNotAcknowledged:
		ready.Status, ready.Message = metav1.ConditionFalse, fmt.Sprintf("Waiting for the acknowledgement of %s. "+
			"Where it does not come, read that media server's log.", servers(verdict.Waiting))
		enforced.Status, enforced.Reason, enforced.Message = metav1.ConditionFalse, v1alpha1.ReasonNotAcknowledged,
			"Not acknowledged everywhere, so that packets may pass."
	case v1alpha1.ReasonMediaServerLost:
		ready.Status, ready.Message = metav1.ConditionUnknown, fmt.Sprintf("Out of touch with %s: start it again, "+
			"or mend its way to the managers. It is taken for gone after --media-server-lost.", servers(verdict.Lost))
		enforced.Status, enforced.Reason, enforced.Message = metav1.ConditionUnknown, v1alpha1.ReasonMediaServerLost,
			"A media server that is out of touch goes on with the pauses that it knows."
	case v1alpha1.ReasonNotUnderstood:
		ready.Status, ready.Message = metav1.ConditionFalse, "Acts on nobody: a member of receivers or senders, "+
			"or one of kinds, is of a newer version than this manager or a media server of the channel. Update them, "+
			"or name connectionIDs, clientIDs, everyone or everyoneExcept, and Video or Audio."
		enforced.Status, enforced.Reason, enforced.Message = metav1.ConditionFalse, v1alpha1.ReasonNotInForce,
			"The pause is not understood."
	case v1alpha1.ReasonLimitExceeded:
		ready.Status, ready.Message = metav1.ConditionFalse,
			fmt.Sprintf("Does not act: of a channel's pauses the oldest act, at most %d of them and %d MiB. "+
				"Delete pauses of this channel, or name more ids in fewer pauses.", tables.MaxPauses, tables.MaxBytes>>20)
		enforced.Status, enforced.Reason, enforced.Message = metav1.ConditionFalse, v1alpha1.ReasonNotInForce,
			"The channel has too many pauses."
	case v1alpha1.ReasonDeleting:
		ready.Status, ready.Message = metav1.ConditionFalse, fmt.Sprintf("Deleted: it no longer acts. "+
			"The object stays until whoever set them removes its finalizers (%s).", words(object.Finalizers, "%s"))
		enforced.Status, enforced.Reason, enforced.Message = metav1.ConditionFalse, v1alpha1.ReasonNotInForce,
			"The pause is being deleted."
	default:
		ready.Reason = v1alpha1.ReasonStarting
		ready.Status, ready.Message = metav1.ConditionUnknown, "This manager does not know every media server yet, "+
			"or not yet which of them own channels; wait a moment, or see its log."
		enforced.Status, enforced.Reason, enforced.Message = metav1.ConditionUnknown, v1alpha1.ReasonStarting,
			"Not known yet."
	}

	return ready, enforced
}

// named bounds the message.
const named = 5

func servers(names []string) string {
	if len(names) == 0 {
		return "a media server"
	}

	return "media server " + words(names, "%q")
}

func words(names []string, format string) string {
	var result []string
	for i, name := range names {
		if i == named {
			result = append(result, fmt.Sprintf("%d more", len(names)-i))

			break
		}
		result = append(result, fmt.Sprintf(format, name))
	}

	return strings.Join(result, ", ")
}

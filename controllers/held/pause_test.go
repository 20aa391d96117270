package held_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/held"
)

// What is held is the object, but for what nobody reads of its metadata.
func TestNothingIsLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := object().Draw(t, "object")
		want := o.DeepCopy()
		want.TypeMeta, want.Labels, want.Annotations, want.ManagedFields = metav1.TypeMeta{}, nil, nil, nil
		if want.DeletionTimestamp == nil {
			want.Finalizers = nil
		}
		p := held.New(o)
		if got := p.Object(); !equality.Semantic.DeepEqual(got, want) {
			t.Fatalf("held is\n%+v\nof\n%+v", got, want)
		}
		changed := p.Object()
		changed.Status.Conditions = append(changed.Status.Conditions[:0], metav1.Condition{Type: "changed"})
		changed.Spec.Receivers.ConnectionIDs = append(changed.Spec.Receivers.ConnectionIDs[:0], "changed")
		if got := p.Object(); !equality.Semantic.DeepEqual(got, want) {
			t.Fatal("what was handed out is what is held")
		}
	})
}

func object() *rapid.Generator[*v1alpha1.RtpStreamPause] {
	return rapid.Custom(func(t *rapid.T) *v1alpha1.RtpStreamPause {
		text := func(name string) string { return rapid.StringMatching(`[a-c]{0,3}`).Draw(t, name) }
		at := func(name string) metav1.Time {
			return metav1.Unix(rapid.Int64Range(0, 253402300799).Draw(t, name), 0)
		}
		o := &v1alpha1.RtpStreamPause{ObjectMeta: metav1.ObjectMeta{
			Namespace: text("namespace"), Name: text("name"), UID: types.UID(text("uid")), ResourceVersion: text("version"),
			Generation: rapid.Int64().Draw(t, "generation"), CreationTimestamp: at("created"),
			Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"a": "b"}, Finalizers: []string{"f"},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}},
		}}
		o.Kind = "RtpStreamPause"
		if rapid.Bool().Draw(t, "deleted") {
			o.DeletionTimestamp = new(at("deletion"))
		}
		o.Spec.ChannelID, o.Spec.Reason = text("channel"), text("reason")
		o.Spec.Receivers, o.Spec.Senders = side(t), side(t)
		o.Spec.Kinds = rapid.SampledFrom([][]v1alpha1.Kind{
			nil, {v1alpha1.KindVideo}, {v1alpha1.KindAudio, v1alpha1.KindVideo}, {"Smell"},
		}).Draw(t, "kinds")
		if rapid.Bool().Draw(t, "ends") {
			nanoseconds := time.Duration(rapid.IntRange(0, 999_999_999).Draw(t, "nanoseconds"))
			o.Spec.ExpiresAt = &metav1.Time{Time: at("end").Add(nanoseconds)}
			o.Spec.TTLSecondsAfterExpired = new(rapid.Int64().Draw(t, "ttl"))
			o.Spec.DeleteAfterDisconnectSeconds = new(rapid.Int64().Draw(t, "gone"))
		}
		o.Status.ObservedGeneration, o.Status.MediaServer = rapid.Int64().Draw(t, "observed"), text("server")
		o.Status.EnforcedGeneration = rapid.Int64().Draw(t, "enforced")
		if rapid.Bool().Draw(t, "disconnected") {
			o.Status.DisconnectedAt = new(at("disconnected at"))
		}
		for i := range rapid.IntRange(0, 3).Draw(t, "conditions") {
			o.Status.Conditions = append(o.Status.Conditions, metav1.Condition{
				Type: fmt.Sprint(i), Status: metav1.ConditionStatus(text("status")), Reason: text("why"), Message: text("message"),
				ObservedGeneration: rapid.Int64().Draw(t, "condition"), LastTransitionTime: at("transition"),
			})
		}

		return o
	})
}

func side(t *rapid.T) v1alpha1.Side {
	ids := func() []string {
		return slices.Repeat([]string{strings.Repeat("i", 26)}, rapid.IntRange(1, 3).Draw(t, "ids"))
	}
	switch rapid.IntRange(0, 6).Draw(t, "side") {
	case 0:
		return v1alpha1.Side{ConnectionIDs: ids()}
	case 1:
		return v1alpha1.Side{ClientIDs: ids()}
	case 2:
		return v1alpha1.Side{Everyone: &v1alpha1.Everyone{}}
	case 3:
		return v1alpha1.Side{EveryoneExcept: &v1alpha1.EveryoneExcept{ConnectionIDs: ids(), ClientIDs: ids()}}
	case 4:
		return v1alpha1.Side{EveryoneExcept: &v1alpha1.EveryoneExcept{}}
	case 5: // What a CRD of another version lets through.
		return v1alpha1.Side{ConnectionIDs: ids(), ClientIDs: ids(), Everyone: &v1alpha1.Everyone{}}
	default:
		return v1alpha1.Side{}
	}
}

// Package held is pure: a pause as a manager holds it, which holds all there are.
package held

import (
	"time"
	"unique"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// Pause is an RtpStreamPause in 0.6 of its memory: without what nobody reads of
// its metadata, and with one copy of what many pauses have alike. It is shared and
// must not be changed.
type Pause struct {
	Namespace, Name string
	UID             types.UID
	ResourceVersion string
	Generation      int64
	// CreatedUnixSecond is the creation timestamp, as the API server stores it.
	CreatedUnixSecond int64
	// Deletion is nil unless the object has been deleted and stays for its finalizers.
	Deletion *Deletion
	Spec     Spec
	Status   Status
}

// Deletion is since when the object has been deleted, and what it stays for.
type Deletion struct {
	Timestamp  metav1.Time
	Finalizers []string
}

// Spec is an RtpStreamPauseSpec.
type Spec struct {
	ChannelID                    string
	Receivers, Senders           Side
	Kinds                        []v1alpha1.Kind
	Reason                       string
	ExpiresAt                    *metav1.Time
	TTLSecondsAfterExpired       *int64
	DeleteAfterDisconnectSeconds *int64
}

// Side is one side of the paused edges. Most name connections.
type Side struct {
	ConnectionIDs []string
	// Others is what else the side has, nil for nothing.
	Others *Others
}

// Others are the members of a v1alpha1.Side beside connectionIDs.
type Others struct {
	ClientIDs      []string
	Everyone       *v1alpha1.Everyone
	EveryoneExcept *v1alpha1.EveryoneExcept
}

// New is the pause of the object, which must not be changed afterwards.
func New(object *v1alpha1.RtpStreamPause) *Pause {
	spec := &object.Spec
	p := &Pause{
		Namespace: one(object.Namespace), Name: object.Name, UID: object.UID,
		ResourceVersion: object.ResourceVersion, Generation: object.Generation,
		CreatedUnixSecond: object.CreationTimestamp.Unix(),
		Spec: Spec{
			ChannelID: one(spec.ChannelID), Receivers: newSide(spec.Receivers), Senders: newSide(spec.Senders),
			Kinds: spec.Kinds, Reason: one(spec.Reason), ExpiresAt: spec.ExpiresAt,
			TTLSecondsAfterExpired: spec.TTLSecondsAfterExpired, DeleteAfterDisconnectSeconds: spec.DeleteAfterDisconnectSeconds,
		},
		Status: newStatus(&object.Status),
	}
	if object.DeletionTimestamp != nil {
		p.Deletion = &Deletion{*object.DeletionTimestamp, object.Finalizers}
	}
	if len(spec.Kinds) == 1 && spec.Kinds[0] == v1alpha1.KindVideo {
		p.Spec.Kinds = video
	}

	return p
}

var video = []v1alpha1.Kind{v1alpha1.KindVideo}

func newSide(of v1alpha1.Side) Side {
	s := Side{ConnectionIDs: exactly(of.ConnectionIDs)}
	if of.ClientIDs != nil || of.Everyone != nil || of.EveryoneExcept != nil {
		s.Others = &Others{exactly(of.ClientIDs), of.Everyone, of.EveryoneExcept}
	}

	return s
}

// Created is when the object was created.
func (p *Pause) Created() time.Time { return time.Unix(p.CreatedUnixSecond, 0) }

// Judged tells that the status is of this very content.
func (p *Pause) Judged() bool {
	return p.Status.ObservedGeneration == p.Generation && len(p.Status.conditions) > 0
}

// Expired tells that the status says of this very content that it has expired.
func (p *Pause) Expired() bool { return p.Status.ready(p.Generation) == v1alpha1.ReasonExpired }

// Object is the object again, without the metadata that nobody reads.
func (p *Pause) Object() *v1alpha1.RtpStreamPause {
	spec := &p.Spec
	shared := v1alpha1.RtpStreamPauseSpec{
		ChannelID: spec.ChannelID, Receivers: spec.Receivers.object(), Senders: spec.Senders.object(),
		Kinds: spec.Kinds, Reason: spec.Reason, ExpiresAt: spec.ExpiresAt,
		TTLSecondsAfterExpired: spec.TTLSecondsAfterExpired, DeleteAfterDisconnectSeconds: spec.DeleteAfterDisconnectSeconds,
	}
	object := &v1alpha1.RtpStreamPause{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: p.Namespace, Name: p.Name, UID: p.UID, ResourceVersion: p.ResourceVersion,
			Generation: p.Generation, CreationTimestamp: metav1.NewTime(p.Created()),
		},
		Spec: *shared.DeepCopy(), Status: p.Status.object(),
	}
	if p.Deletion != nil {
		object.DeletionTimestamp, object.Finalizers = p.Deletion.Timestamp.DeepCopy(), p.Deletion.Finalizers
	}

	return object
}

// object shares what it names.
func (s Side) object() v1alpha1.Side {
	object := v1alpha1.Side{ConnectionIDs: s.ConnectionIDs}
	if o := s.Others; o != nil {
		object.ClientIDs, object.Everyone, object.EveryoneExcept = o.ClientIDs, o.Everyone, o.EveryoneExcept
	}

	return object
}

// exactly drops the room for more that decoding leaves.
func exactly[T any](list []T) []T {
	if len(list) == cap(list) {
		return list
	}

	return append(make([]T, 0, len(list)), list...)
}

// one is the one copy of a string that many pauses have.
func one(s string) string {
	if s == "" {
		return ""
	}

	return unique.Make(s).Value()
}

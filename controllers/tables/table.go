// Package tables is pure: objects in, the pauses of channel tables out.
package tables

import (
	"cmp"
	"errors"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/held"
)

// The bounds of one channel's table: what is beyond them does not act.
const (
	MaxPauses = 20_000
	MaxBytes  = 16 << 20
)

// ErrNotUnderstood is returned for an object that asks for what is not known here,
// as a newer version's may: a side without a known member, a kind that is not known.
// It acts on nobody, as with media servers: one that acted in part would be said to be
// enforced while what is not known here flows.
var ErrNotUnderstood = errors.New("the spec names connections or kinds in a way that this version does not know")

// Pause is the rule that the object puts on edges. It is nil without an error
// when it puts none, because its user has deleted it: Nagi has no finalizers, and
// a finalizer of somebody else must not keep a stream paused.
func Pause(object *held.Pause) (*forwardingv1.Pause, error) {
	if object.Deletion != nil {
		return nil, nil //nolint:nilnil // No rule is an answer.
	}
	receivers, senders, paused := side(object.Spec.Receivers), side(object.Spec.Senders), kinds(object.Spec.Kinds)
	if receivers == nil || senders == nil || len(paused) == 0 {
		return nil, ErrNotUnderstood
	}
	pause := &forwardingv1.Pause{
		Uid:         string(object.UID),
		Receivers:   receivers,
		Senders:     senders,
		Kinds:       paused,
		Reason:      object.Spec.Reason,
		CreatedTime: timestamppb.New(object.Created()),
		Generation:  object.Generation,
	}
	if object.Spec.ExpiresAt != nil {
		pause.ExpiresAt = timestamppb.New(object.Spec.ExpiresAt.Time)
	}
	sum := pause.Sum()
	pause.Digest = sum[:]

	return pause, nil
}

// Digest is the digest of the object's rule; zero when it puts none.
func Digest(object *held.Pause) [forwardingv1.DigestBytes]byte {
	pause, err := Pause(object)
	if pause == nil || err != nil {
		return [forwardingv1.DigestBytes]byte{}
	}

	return [forwardingv1.DigestBytes]byte(pause.GetDigest())
}

// Admit returns which of one channel's objects act, and which do not because the
// channel has more than the bounds allow: the oldest by creation, then uid, act,
// alike on every replica. Objects that put no rule are in neither.
func Admit(objects []*held.Pause) (acting, refused []*held.Pause) {
	size := 0
	for _, object := range slices.SortedFunc(slices.Values(objects), Older) {
		pause, err := Pause(object)
		if pause == nil || err != nil {
			continue
		}
		size += proto.Size(pause)
		if len(acting) >= MaxPauses || size > MaxBytes {
			refused = append(refused, object)

			continue
		}
		acting = append(acting, object)
	}

	return acting, refused
}

// Older orders objects by creation, then uid.
func Older(a, b *held.Pause) int {
	return cmp.Or(cmp.Compare(a.CreatedUnixSecond, b.CreatedUnixSecond), cmp.Compare(a.UID, b.UID))
}

func side(of held.Side) *forwardingv1.Side {
	switch named := of.Others; {
	case len(of.ConnectionIDs) > 0:
		return &forwardingv1.Side{
			Names: &forwardingv1.Side_ConnectionIds{ConnectionIds: &forwardingv1.IDs{Ids: of.ConnectionIDs}},
		}
	case named == nil:
		return nil
	case len(named.ClientIDs) > 0:
		return &forwardingv1.Side{Names: &forwardingv1.Side_ClientIds{ClientIds: &forwardingv1.IDs{Ids: named.ClientIDs}}}
	case named.Everyone != nil:
		return &forwardingv1.Side{Names: &forwardingv1.Side_Everyone{Everyone: &forwardingv1.Everyone{}}}
	case named.EveryoneExcept != nil && len(named.EveryoneExcept.ConnectionIDs)+len(named.EveryoneExcept.ClientIDs) > 0:
		return &forwardingv1.Side{Names: &forwardingv1.Side_EveryoneExcept{EveryoneExcept: &forwardingv1.EveryoneExcept{
			ConnectionIds: named.EveryoneExcept.ConnectionIDs, ClientIds: named.EveryoneExcept.ClientIDs,
		}}}
	default:
		return nil
	}
}

// kinds applies the default, which is not in the CRD because GitOps tools would
// take a defaulted spec for drift. It is empty when one of them is not known here.
func kinds(named []v1alpha1.Kind) []forwardingv1.Kind {
	if len(named) == 0 {
		return []forwardingv1.Kind{forwardingv1.Kind_KIND_VIDEO}
	}
	var result []forwardingv1.Kind
	for _, kind := range named {
		switch kind {
		case v1alpha1.KindAudio:
			result = append(result, forwardingv1.Kind_KIND_AUDIO)
		case v1alpha1.KindVideo:
			result = append(result, forwardingv1.Kind_KIND_VIDEO)
		default:
			return nil
		}
	}
	slices.Sort(result)

	return slices.Compact(result)
}

// Package tables is pure: objects in, channel tables out; and, beside them, what
// media servers said of a pause in, a verdict on that pause out.
package tables

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// Table is the table of one channel at a version (the resource version up to
// which objects is complete). Objects of other channels are left out, expired
// ones are not: media servers enforce expiry themselves. The order of objects
// does not matter.
func Table(channelID string, version uint64, objects []*v1alpha1.RtpStreamPause) *forwardingv1.Table {
	table := &forwardingv1.Table{ChannelId: channelID, Version: version}
	for _, object := range objects {
		if object.Spec.ChannelID != channelID {
			continue
		}
		if pause := Pause(object); pause != nil {
			table.Pauses = append(table.Pauses, pause)
		}
	}
	slices.SortFunc(table.Pauses, func(a, b *forwardingv1.Pause) int { return strings.Compare(a.GetUid(), b.GetUid()) })

	return table
}

// Pause is the rule that the object puts on edges; nil when it puts none, because
// its user has deleted it: Nagi has no finalizers, and a finalizer of somebody
// else must not keep a stream paused.
func Pause(object *v1alpha1.RtpStreamPause) *forwardingv1.Pause {
	if object.DeletionTimestamp != nil {
		return nil
	}
	pause := &forwardingv1.Pause{
		Uid:              string(object.UID),
		Generation:       object.Generation,
		RecvConnectionId: value(object.Spec.RecvConnectionID),
		RecvClientId:     value(object.Spec.RecvClientID),
		SendConnectionId: value(object.Spec.SendConnectionID),
		SendClientId:     value(object.Spec.SendClientID),
		Kinds:            kinds(object.Spec.Kinds),
	}
	if object.Spec.ExpiresAt != nil {
		pause.ExpiresAt = timestamppb.New(object.Spec.ExpiresAt.Time)
	}

	return pause
}

// kinds applies the default, which is not in the CRD because GitOps tools would
// take a defaulted spec for drift.
func kinds(named []v1alpha1.Kind) []forwardingv1.Kind {
	if len(named) == 0 {
		return []forwardingv1.Kind{forwardingv1.Kind_KIND_VIDEO}
	}
	var result []forwardingv1.Kind
	if slices.Contains(named, v1alpha1.KindAudio) {
		result = append(result, forwardingv1.Kind_KIND_AUDIO)
	}
	if slices.Contains(named, v1alpha1.KindVideo) {
		result = append(result, forwardingv1.Kind_KIND_VIDEO)
	}

	return result
}

func value(s *string) string {
	if s == nil {
		return ""
	}

	return *s
}

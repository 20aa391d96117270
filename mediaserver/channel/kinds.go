package channel

import (
	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/mediaserver/matching"
	"github.com/nagi-rtc/nagi/mediaserver/media"
)

// protocolKind is the control protocol's word for a kind of media. Pauses are spoken of
// in its words, streams in those of package media.
func protocolKind(kind media.Kind) forwardingv1.Kind {
	if kind == media.Video {
		return forwardingv1.Kind_KIND_VIDEO
	}

	return forwardingv1.Kind_KIND_AUDIO
}

// kindsOf is a set of kinds as pauses have it.
func kindsOf(list ...media.Kind) matching.Kinds {
	var set matching.Kinds
	for _, kind := range list {
		set |= matching.KindsOf(protocolKind(kind))
	}

	return set
}

package tables

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// notHosted is the one reason that is no fault of the replica's.
const notHosted = "not_hosted"

// maxPauseBytes is more than an object can make of a pause: two sides of 128 ids
// of 255 bytes, and a reason.
const maxPauseBytes = 128 << 10

// malformed is why something that a replica said was dropped.
type malformed struct {
	// reason is one of a few words: the metric's label.
	reason string
	detail string
}

// validate checks the rules that the protocol puts on a part of a table, but for
// its pauses; nil when it keeps them.
func validate(table *forwardingv1.Table) *malformed {
	switch {
	case table.GetChannelId() == "":
		return &malformed{"no_channel", "the table names no channel"}
	case table.GetVersion() == 0:
		return &malformed{"no_version", fmt.Sprintf("the table of channel %q has no version", table.GetChannelId())}
	}

	return nil
}

// validatePause checks the rules that the protocol puts on a pause. What a pause
// asks for, and whether that is understood, is the Host's matter.
func validatePause(pause *forwardingv1.Pause) *malformed {
	switch {
	case pause.GetUid() == "":
		return &malformed{"no_uid", "a pause has no uid"}
	case len(pause.GetDigest()) != forwardingv1.DigestBytes:
		return &malformed{"digest", fmt.Sprintf("pause %q has a digest of %d bytes, not of %d", pause.GetUid(),
			len(pause.GetDigest()), forwardingv1.DigestBytes)}
	case len(pause.GetKinds()) == 0:
		return &malformed{"kinds", fmt.Sprintf("pause %q names no kind", pause.GetUid())}
	case pause.GetExpiresAt() != nil && pause.GetExpiresAt().CheckValid() != nil:
		return &malformed{"expiry", fmt.Sprintf("pause %q has an expires_at that is no time", pause.GetUid())}
	case proto.Size(pause) > maxPauseBytes:
		return &malformed{"oversized", fmt.Sprintf("pause %q has %d bytes, more than %d", pause.GetUid(), proto.Size(pause),
			maxPauseBytes)}
	}

	return nil
}

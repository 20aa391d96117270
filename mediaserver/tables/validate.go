package tables

import (
	"fmt"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// notHosted is the one reason that is no fault of the replica's.
const notHosted = "not_hosted"

// malformed is why a message of a replica was dropped.
type malformed struct {
	// reason is one of a few words: the metric's label.
	reason string
	detail string
}

func (m *malformed) Error() string {
	return fmt.Sprintf("%s: %s", m.reason, m.detail)
}

// validate checks the rules that the protocol puts on a table; nil when it keeps
// them. A table is taken whole or not at all: a part of it would be acknowledged
// as if it were the whole.
func validate(table *forwardingv1.Table) *malformed {
	if table.GetChannelId() == "" {
		return &malformed{"no_channel", "the table names no channel"}
	}
	uids := make(map[string]struct{}, len(table.GetPauses()))
	for i, pause := range table.GetPauses() {
		if pause.GetUid() == "" {
			return &malformed{"no_uid", fmt.Sprintf("pause %d has no uid", i)}
		}
		if _, twice := uids[pause.GetUid()]; twice {
			return &malformed{"duplicate_uid", fmt.Sprintf("uid %q is there twice", pause.GetUid())}
		}
		uids[pause.GetUid()] = struct{}{}
		if m := validatePause(pause); m != nil {
			m.detail = fmt.Sprintf("pause %q %s", pause.GetUid(), m.detail)
			return m
		}
	}
	return nil
}

func validatePause(pause *forwardingv1.Pause) *malformed {
	receiver, sender := pause.GetRecvConnectionId(), pause.GetSendConnectionId()
	receivers, senders := pause.GetRecvClientId(), pause.GetSendClientId()
	switch {
	case receiver == "" && sender == "" && receivers == "" && senders == "":
		return &malformed{"no_ids", "names neither receiver nor sender"}
	case receiver != "" && receivers != "", sender != "" && senders != "":
		return &malformed{"two_ids", "has two ids on one side"}
	case receiver != "" && receiver == sender:
		return &malformed{"same_connection", "names one connection on both sides"}
	}
	if m := validateKinds(pause.GetKinds()); m != nil {
		return m
	}
	if pause.GetExpiresAt() != nil && pause.GetExpiresAt().CheckValid() != nil {
		return &malformed{"expiry", "has an expires_at that is no time"}
	}
	return nil
}

func validateKinds(kinds []forwardingv1.Kind) *malformed {
	if len(kinds) == 0 {
		return &malformed{"kinds", "names no kind"}
	}
	seen := make(map[forwardingv1.Kind]struct{}, len(kinds))
	for _, kind := range kinds {
		if kind != forwardingv1.Kind_KIND_AUDIO && kind != forwardingv1.Kind_KIND_VIDEO {
			return &malformed{"kinds", fmt.Sprintf("has the unknown kind %s", kind)}
		}
		if _, twice := seen[kind]; twice {
			return &malformed{"kinds", fmt.Sprintf("has %s twice", kind)}
		}
		seen[kind] = struct{}{}
	}
	return nil
}

package tables

import (
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

func TestValidate(t *testing.T) {
	video := []forwardingv1.Kind{forwardingv1.Kind_KIND_VIDEO}
	for name, test := range map[string]struct {
		want string
		// pause becomes the second of a table whose first one is right.
		pause *forwardingv1.Pause
	}{
		"both connections":  {"", &forwardingv1.Pause{Uid: "b", RecvConnectionId: "r", SendConnectionId: "s", Kinds: video}},
		"equal clients":     {"", &forwardingv1.Pause{Uid: "b", RecvClientId: "c", SendClientId: "c", Kinds: video}},
		"expires":           {"", &forwardingv1.Pause{Uid: "b", RecvClientId: "c", Kinds: video, ExpiresAt: timestamppb.Now()}},
		"absent":            {"no_uid", nil},
		"no uid":            {"no_uid", &forwardingv1.Pause{RecvConnectionId: "r", Kinds: video}},
		"uid twice":         {"duplicate_uid", &forwardingv1.Pause{Uid: "a", RecvConnectionId: "r", Kinds: video}},
		"no ids":            {"no_ids", &forwardingv1.Pause{Uid: "b", Kinds: video}},
		"two receivers":     {"two_ids", &forwardingv1.Pause{Uid: "b", RecvConnectionId: "r", RecvClientId: "c", Kinds: video}},
		"two senders":       {"two_ids", &forwardingv1.Pause{Uid: "b", SendConnectionId: "s", SendClientId: "c", Kinds: video}},
		"equal connections": {"same_connection", &forwardingv1.Pause{Uid: "b", RecvConnectionId: "r", SendConnectionId: "r", Kinds: video}},
		"no kinds":          {"kinds", &forwardingv1.Pause{Uid: "b", RecvConnectionId: "r"}},
		"unspecified kind":  {"kinds", &forwardingv1.Pause{Uid: "b", RecvConnectionId: "r", Kinds: []forwardingv1.Kind{0}}},
		"unknown kind":      {"kinds", &forwardingv1.Pause{Uid: "b", RecvConnectionId: "r", Kinds: []forwardingv1.Kind{9}}},
		"kind twice":        {"kinds", &forwardingv1.Pause{Uid: "b", RecvConnectionId: "r", Kinds: append(video, video...)}},
		"no time":           {"expiry", &forwardingv1.Pause{Uid: "b", RecvConnectionId: "r", Kinds: video, ExpiresAt: &timestamppb.Timestamp{Nanos: -1}}},
	} {
		t.Run(name, func(t *testing.T) {
			candidate := table(1, "a")
			candidate.Pauses = append(candidate.Pauses, test.pause)
			got := ""
			if bad := validate(candidate); bad != nil {
				got = bad.reason
			}
			if got != test.want {
				t.Errorf("validate: %q, want %q", got, test.want)
			}
		})
	}
}

func TestParseManagers(t *testing.T) {
	for entry, right := range map[string]bool{
		"127.0.0.1:7300": true, "[::1]:7300": true, "managers.nagi.svc:7300": true,
		"": false, "127.0.0.1": false, ":7300": false, "host:0": false, "host:grpc": false, "host:70000": false,
	} {
		if err := ParseManagers([]string{entry}); (err == nil) != right {
			t.Errorf("ParseManagers(%q): %v", entry, err)
		}
	}
	if ParseManagers(nil) == nil {
		t.Error("ParseManagers of nothing: no error")
	}
}

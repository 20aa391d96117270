package v1alpha1_test

import (
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// Everything but channelID may be edited, each within the rules of a new object.
func TestEdits(t *testing.T) {
	const immutable = `: channelID is immutable: delete this pause and create another`
	for from, start := range map[string]struct {
		spec  string
		edits map[string][]string // merge patch of the spec → messages, none where it is allowed
	}{
		"connections": {
			`{channelID: sora, receivers: {connectionIDs: [A]}, senders: {connectionIDs: [B]}, kinds: [Video], ` +
				`expiresAt: "2026-12-01T09:00:00Z", ttlSecondsAfterExpired: 60, deleteAfterDisconnectSeconds: 60}`,
			map[string][]string{
				`{}`:                 nil,
				`{channelID: other}`: {`spec.channelID: Invalid value: "other"` + immutable},
				`{channelID: ""}`: {`spec.channelID: Invalid value: "": channelID is empty: name the channel`,
					`spec.channelID: Invalid value: ""` + immutable},
				`{channelID: null}`: {unchecked, "spec.channelID: Required value"},

				`{receivers: {connectionIDs: [C]}}`:                                nil,
				`{receivers: {connectionIDs: [A, C]}}`:                             nil,
				`{receivers: {connectionIDs: [B]}, senders: {connectionIDs: [A]}}`: nil,
				`{receivers: {connectionIDs: [B]}}`: {"spec: Invalid value: receivers and senders name the same single " +
					"connection, but no connection receives its own stream: name two connections"},
				`{receivers: {connectionIDs: null, clientIDs: [alice]}}`: nil,
				`{receivers: {connectionIDs: null, everyone: {}}}`:       nil,
				`{receivers: {clientIDs: [alice]}}`:                      {"spec.receivers" + exclusive},
				`{receivers: {everyone: {}}}`:                            {"spec.receivers" + exclusive},
				`{receivers: {connectionIDs: []}}`: {
					"spec.receivers.connectionIDs" + emptyList,
				},
				`{receivers: {connectionIDs: null}}`: {"spec.receivers" + nobody},
				`{receivers: null}`:                  {noReceivers},
				`{senders: null}`:                    {noSenders},
				`{senders: {connectionIDs: null, everyoneExcept: {clientIDs: [stage]}}}`: nil,
				`{senders: {connectionIDs: null, everyoneExcept: {}}}`: {
					"spec.senders.everyoneExcept" + exceptsNobody,
				},

				`{kinds: [Audio]}`:        nil,
				`{kinds: [Video, Audio]}`: nil,
				`{kinds: null}`:           nil,
				`{kinds: []}`: {
					"spec.kinds: Required value: the list is empty: name Video, Audio or both, or remove kinds for Video alone",
				},
				`{reason: camera test}`: nil,
				`{reason: ""}`:          {`spec.reason: Invalid value: "": reason is empty: write one line, or remove it`},

				`{expiresAt: "2027-12-01T09:00:00Z"}`:             nil,
				`{expiresAt: "1999-12-01T09:00:00Z"}`:             nil,
				`{expiresAt: soon}`:                               {`spec.expiresAt: Invalid value: "soon"` + notATime},
				`{expiresAt: null}`:                               {needsExpiry},
				`{expiresAt: null, ttlSecondsAfterExpired: null}`: nil,
				`{ttlSecondsAfterExpired: 7200}`:                  nil,
				`{ttlSecondsAfterExpired: -1}`: {
					"spec.ttlSecondsAfterExpired: Invalid value: -1: ttlSecondsAfterExpired" + secondsRange,
				},
				`{deleteAfterDisconnectSeconds: 7200}`: nil,
				`{deleteAfterDisconnectSeconds: null}`: nil,
				`{receivers: {connectionIDs: null, everyone: {}}, senders: {connectionIDs: null, everyone: {}}}`: {
					needsConnections,
				},
			},
		},
		"everyone": {
			`{channelID: sora, receivers: {everyone: {}}, senders: {everyoneExcept: {clientIDs: [stage], connectionIDs: [A]}}}`,
			map[string][]string{
				`{receivers: {everyone: null, clientIDs: [alice]}}`:  nil,
				`{receivers: {everyone: null}}`:                      {"spec.receivers" + nobody},
				`{senders: {everyoneExcept: {connectionIDs: null}}}`: nil,
				`{senders: {everyoneExcept: {connectionIDs: null, clientIDs: null}}}`: {
					"spec.senders.everyoneExcept" + exceptsNobody,
				},
				`{senders: {everyoneExcept: null, everyone: {}}}`:                                         nil,
				`{deleteAfterDisconnectSeconds: 60}`:                                                      {needsConnections},
				`{senders: {everyoneExcept: null, connectionIDs: [A]}, deleteAfterDisconnectSeconds: 60}`: nil,
				`{ttlSecondsAfterExpired: 60}`:                                                            {needsExpiry},
				`{kinds: [Audio]}`:                                                                        nil,
			},
		},
	} {
		t.Run(from, func(t *testing.T) {
			object := stored(t, "edited", start.spec)
			for edit, messages := range start.edits {
				t.Run(edit, func(t *testing.T) {
					err := api.Patch(t.Context(), object.DeepCopy(), specPatch(t, edit), client.DryRunAll)
					if messages != nil {
						wantRefusal(t, err, messages...)
					} else if err != nil {
						t.Errorf("refused: %v", err)
					}
				})
			}
		})
	}
}

// specPatch is a merge patch of the spec.
func specPatch(t *testing.T, edit string) client.Patch {
	t.Helper()
	patch, err := yaml.YAMLToJSON([]byte("spec: " + edit))
	if err != nil {
		t.Fatalf("the test's own YAML: %v\n%s", err, edit)
	}

	return client.RawPatch(types.MergePatchType, patch)
}

// Each edit is a real one: it starts a new generation.
func TestEditsStartGenerations(t *testing.T) {
	object := stored(t, "generations", `{channelID: sora, receivers: {connectionIDs: [A]}, senders: {everyone: {}}}`)
	for i, edit := range []string{
		`{receivers: {connectionIDs: [A, C]}}`,
		`{receivers: {connectionIDs: [C, A]}}`, // Another order of a set is stored as it is sent.
		`{receivers: {connectionIDs: null, everyone: {}}}`,
		`{senders: {everyone: null, everyoneExcept: {clientIDs: [stage]}}}`,
		`{kinds: [Video]}`,
		`{kinds: [Audio, Video]}`,
		`{reason: camera test}`,
		`{expiresAt: "2027-12-01T09:00:00Z", ttlSecondsAfterExpired: 60}`,
		`{expiresAt: "2027-12-01T10:00:00+09:00"}`,
		`{expiresAt: null, ttlSecondsAfterExpired: null}`,
		`{senders: {everyoneExcept: null, connectionIDs: [B]}, deleteAfterDisconnectSeconds: 60}`,
		`{deleteAfterDisconnectSeconds: null}`,
	} {
		if err := api.Patch(t.Context(), object, specPatch(t, edit)); err != nil {
			t.Fatalf("%s: %v", edit, err)
		}
		if want := int64(i + 2); object.GetGeneration() != want {
			t.Errorf("%s: generation %d, want %d", edit, object.GetGeneration(), want)
		}
	}
}

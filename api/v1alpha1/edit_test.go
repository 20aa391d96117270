package v1alpha1_test

import (
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

func TestEdits(t *testing.T) {
	const mend = " is immutable: delete this pause and create another"
	for from, start := range map[string]struct {
		spec  string
		edits map[string]string // merge patch of the spec → message, or "" where it is allowed
	}{
		"connections": {
			`{channelID: sora, recvConnectionID: A, sendConnectionID: B, kinds: [Video], expiresAt: "2026-12-01T09:00:00Z", deleteAfterDisconnect: 60s}`,
			map[string]string{
				`{}`:                       "",
				`{channelID: other}`:       "channelID" + mend,
				`{channelID: null}`:        "spec.channelID: Required value",
				`{recvConnectionID: C}`:    "recvConnectionID" + mend,
				`{recvConnectionID: null}`: "recvConnectionID" + mend,
				`{recvConnectionID: null, recvClientID: alice}`: "recvConnectionID" + mend,
				`{sendConnectionID: C}`:                         "sendConnectionID" + mend,
				`{sendConnectionID: null}`:                      "sendConnectionID" + mend,
				`{sendConnectionID: null, sendClientID: bob}`:   "sendClientID" + mend,
				`{recvConnectionID: B, sendConnectionID: A}`:    "recvConnectionID" + mend,
				`{kinds: [Audio]}`:                              "kinds" + mend,
				`{kinds: [Video, Audio]}`:                       "kinds" + mend,
				`{kinds: null}`:                                 "kinds" + mend,
				`{expiresAt: "2027-12-01T09:00:00Z"}`:           "",
				`{expiresAt: "1999-12-01T09:00:00Z"}`:           "",
				`{expiresAt: null}`:                             "",
				`{expiresAt: soon}`:                             "spec.expiresAt in body must be of type date-time",
				`{deleteAfterDisconnect: 2h}`:                   "",
				`{deleteAfterDisconnect: null}`:                 "",
				`{deleteAfterDisconnect: soon}`:                 "spec.deleteAfterDisconnect in body should match",
				`{colour: red}`:                                 `unknown field "spec.colour"`,
			},
		},
		"clients": {
			`{channelID: sora, recvClientID: alice, sendClientID: bob, kinds: [Video, Audio]}`,
			map[string]string{
				`{recvClientID: carol}`:                     "recvClientID" + mend,
				`{recvClientID: null}`:                      "recvClientID" + mend,
				`{recvClientID: null, recvConnectionID: A}`: "recvConnectionID" + mend,
				`{sendClientID: carol}`:                     "sendClientID" + mend,
				`{sendClientID: null}`:                      "sendClientID" + mend,
				`{kinds: [Video]}`:                          "kinds" + mend,
				`{kinds: [Audio, Video]}`:                   "", // a set: the order is no change
				`{expiresAt: "2027-12-01T09:00:00Z"}`:       "",
				`{deleteAfterDisconnect: 60s}`:              "deleteAfterDisconnect needs a connection to watch",
			},
		},
		// What is absent stays absent: otherwise absent → B → absent → C would do
		// what B → C may not.
		"open receiver": {
			`{channelID: sora, sendConnectionID: B}`,
			map[string]string{
				`{recvConnectionID: A}`:               "recvConnectionID" + mend,
				`{recvClientID: alice}`:               "recvClientID" + mend,
				`{kinds: [Video]}`:                    "kinds" + mend,
				`{expiresAt: "2027-12-01T09:00:00Z"}`: "",
				`{deleteAfterDisconnect: 60s}`:        "",
			},
		},
		"open sender": {
			`{channelID: sora, recvConnectionID: A}`,
			map[string]string{
				`{sendConnectionID: B}`: "sendConnectionID" + mend,
				`{sendConnectionID: A}`: "sendConnectionID" + mend,
				`{sendClientID: bob}`:   "sendClientID" + mend,
			},
		},
	} {
		t.Run(from, func(t *testing.T) {
			object := pause(t, "", start.spec)
			object.SetGenerateName("edited-")
			if err := api.Create(t.Context(), object); err != nil {
				t.Fatal(err)
			}
			for edit, message := range start.edits {
				t.Run(edit, func(t *testing.T) {
					patch, err := yaml.YAMLToJSON([]byte("spec: " + edit))
					if err != nil {
						t.Fatal(err)
					}
					err = api.Patch(t.Context(), object.DeepCopy(), client.RawPatch(types.MergePatchType, patch), client.DryRunAll)
					if message != "" {
						wantRefusal(t, err, message)
					} else if err != nil {
						t.Errorf("refused: %v", err)
					}
				})
			}
		})
	}
}

// The edits that are allowed are real ones: each starts a new generation.
func TestMutableFieldsComeAndGo(t *testing.T) {
	object := pause(t, "", `{channelID: sora, recvConnectionID: A}`)
	object.SetGenerateName("mutable-")
	if err := api.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	for i, patch := range []string{
		`{"spec":{"expiresAt":"2027-12-01T09:00:00Z"}}`,
		`{"spec":{"expiresAt":"2027-12-01T10:00:00+09:00","deleteAfterDisconnect":"60s"}}`,
		`{"spec":{"expiresAt":null,"deleteAfterDisconnect":"1h"}}`,
		`{"spec":{"deleteAfterDisconnect":null}}`,
	} {
		if err := api.Patch(t.Context(), object, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
			t.Fatalf("%s: %v", patch, err)
		}
		if want := int64(i + 2); object.GetGeneration() != want {
			t.Errorf("%s: generation %d, want %d", patch, object.GetGeneration(), want)
		}
	}
}

package v1alpha1_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// Each round draws a batch, so that one typed list judges many objects, as that of
// whoever watches does.
const batch = 8

// One accepted object that the Go types cannot read fails the typed list of
// everybody who watches. And what the Go types read they must be able to write back,
// or a client that changes a label is refused, or removes the expiry (metav1.Time
// writes its zero as null).
func TestWhatIsAcceptedDecodes(t *testing.T) {
	accepted, refused := 0, 0
	rapid.Check(t, func(r *rapid.T) {
		defer deleteAll(t)
		sent := map[string]map[string]any{}
		for i := range batch {
			object := pause(t, fmt.Sprintf("drawn-%d", i), `{}`)
			spec := drawSpec(r)
			object.Object["spec"] = runtime.DeepCopyJSON(spec)
			switch err := api.Create(t.Context(), object); {
			case err == nil:
				accepted++
				sent[object.GetName()] = spec
			case apierrors.IsInvalid(err):
				refused++
				wantReadable(r, err)
			default:
				r.Fatalf("neither accepted nor invalid: %v", err)
			}
		}
		readBack(t, r, sent)
	})
	t.Logf("%d accepted, %d refused", accepted, refused)
	if accepted == 0 || refused == 0 {
		t.Error("what is drawn is all on one side of the schema's edges")
	}
}

// wantReadable looks for what nobody can act on: an error of CEL's own, a pattern, a
// type of Go.
func wantReadable(r *rapid.T, err error) {
	for _, cause := range causes(err) {
		for _, unreadable := range []string{
			"evaluating rule", "no such", "should match", "'^", "int32", "int64", "float64", "map[", "interface {}",
		} {
			if strings.Contains(cause, unreadable) {
				r.Errorf("%q is in an answer: %s", unreadable, cause)
			}
		}
	}
}

// causes are the texts of a refusal without the values that it quotes.
func causes(err error) []string {
	status, ok := err.(apierrors.APIStatus) //nolint:errorlint // The client's own, unwrapped.
	if !ok || status.Status().Details == nil {
		return nil
	}
	var texts []string
	for _, cause := range status.Status().Details.Causes {
		text := cause.Message
		if i := strings.LastIndex(text, `": `); i >= 0 {
			text = text[i:]
		}
		texts = append(texts, text)
	}

	return texts
}

func deleteAll(t *testing.T) {
	if err := api.DeleteAllOf(t.Context(), &v1alpha1.RtpStreamPause{}, client.InNamespace(namespace)); err != nil {
		t.Errorf("deleting what was accepted: %v", err)
	}
}

// readBack lists all with the Go types and writes each back.
func readBack(t *testing.T, r *rapid.T, sent map[string]map[string]any) {
	var list v1alpha1.RtpStreamPauseList
	if err := api.List(t.Context(), &list, client.InNamespace(namespace)); err != nil {
		r.Fatalf("a typed list of accepted objects: %v", err)
	}
	for _, got := range list.Items {
		want, ok := sent[got.Name]
		if !ok {
			continue
		}
		before := got.Spec.DeepCopy()
		if err := api.Update(t.Context(), &got); err != nil {
			r.Errorf("read and written back, refused: %v\n%v", err, want)

			continue
		}
		if diff := cmp.Diff(before, &got.Spec, wholeSeconds); diff != "" {
			r.Errorf("written back, it is another (-before +after):\n%s\n%v", diff, want)
		}
		written, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&got.Spec)
		if err != nil {
			r.Fatal(err)
		}
		if diff := cmp.Diff(normal(r, want), normal(r, written)); diff != "" {
			r.Errorf("the Go types say something else than what was sent (-sent +decoded):\n%s", diff)
		}
	}
}

// wholeSeconds compares times as metav1.Time writes them: without fractions.
var wholeSeconds = cmp.Options{
	cmp.Comparer(func(a, b metav1.Time) bool { return a.Unix() == b.Unix() }),
	cmp.Comparer(func(a, b *metav1.Time) bool { return (a == nil) == (b == nil) && (a == nil || a.Unix() == b.Unix()) }),
}

// normal makes what one value can be written as in several ways the same: whole
// seconds of a time in UTC, a whole number as an integer, an absent field for null.
func normal(r *rapid.T, spec map[string]any) map[string]any {
	spec = withoutNulls(spec)
	for key, value := range spec {
		switch value := value.(type) {
		case float64:
			spec[key] = int64(value)
		case string:
			if key == "expiresAt" {
				at, err := time.Parse(time.RFC3339, value)
				if err != nil {
					r.Fatalf("accepted, but no time to Go: %v", err)
				}
				spec[key] = at.UTC().Format(time.RFC3339)
			}
		}
	}

	return spec
}

func withoutNulls(fields map[string]any) map[string]any {
	kept := map[string]any{}
	for key, value := range fields {
		switch value := value.(type) {
		case nil:
		case map[string]any:
			kept[key] = withoutNulls(value)
		default:
			kept[key] = value
		}
	}

	return kept
}

// The controllers' own fields freeze whoever watches just as well.
func TestWhatIsAcceptedAsStatusDecodes(t *testing.T) {
	object := stored(t, "status", `{channelID: sora, `+all+`}`)
	accepted, refused := 0, 0
	rapid.Check(t, func(r *rapid.T) {
		for range batch {
			object.Object["status"] = map[string]any{
				"observedGeneration": rapid.SampledFrom([]any{int64(-1), 1.0, 1.5, 1e30}).Draw(r, "observedGeneration"),
				"disconnectedAt":     often(dateTime(), among("")).Draw(r, "disconnectedAt"),
				"mediaServer":        id().Draw(r, "mediaServer"),
				"conditions": []any{map[string]any{
					"type": "Ready", "status": "True", "reason": "Armed", "message": "",
					"lastTransitionTime": dateTime().Draw(r, "lastTransitionTime"),
				}},
			}
			// A refusal leaves the resource version as it was.
			err := api.Status().Update(t.Context(), object.DeepCopy())
			if apierrors.IsInvalid(err) {
				refused++

				continue
			}
			if err != nil {
				r.Fatalf("neither accepted nor invalid: %v", err)
			}
			accepted++
			writeStatusBack(t, r, object)
		}
	})
	t.Logf("%d accepted, %d refused", accepted, refused)
	if accepted == 0 || refused == 0 {
		t.Error("the values drawn are all on one side of the schema's edges")
	}
}

func writeStatusBack(t *testing.T, r *rapid.T, object *unstructured.Unstructured) {
	var got v1alpha1.RtpStreamPause
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(object), &got); err != nil {
		r.Fatalf("accepted, but does not decode: %v\n%v", err, object.Object["status"])
	}
	before := got.Status.DeepCopy()
	if err := api.Status().Update(t.Context(), &got); err != nil {
		r.Errorf("read and written back, refused: %v\n%v", err, object.Object["status"])
	}
	if diff := cmp.Diff(before, &got.Status, wholeSeconds); diff != "" {
		r.Errorf("written back, it is another (-before +after):\n%s", diff)
	}
	object.SetResourceVersion(got.ResourceVersion)
}

// What a Go program may well write is accepted: any second from 1970 to 9999, any
// whole number of seconds up to the longest.
func TestWhatGoWritesIsAccepted(t *testing.T) {
	last := time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC).Unix()
	rapid.Check(t, func(r *rapid.T) {
		ttl, watch := rapid.Int64Range(0, 31536000).Draw(r, "ttl"), rapid.Int64Range(0, 31536000).Draw(r, "watch")
		object := &v1alpha1.RtpStreamPause{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "written"},
			Spec: v1alpha1.RtpStreamPauseSpec{
				ChannelID:                    "sora",
				Receivers:                    v1alpha1.Side{ConnectionIDs: []string{"A"}},
				Senders:                      v1alpha1.Side{Everyone: &v1alpha1.Everyone{}},
				ExpiresAt:                    &metav1.Time{Time: time.Unix(rapid.Int64Range(0, last).Draw(r, "expiresAt"), 0)},
				TTLSecondsAfterExpired:       &ttl,
				DeleteAfterDisconnectSeconds: &watch,
			},
		}
		if err := api.Create(t.Context(), object, client.DryRunAll); err != nil {
			r.Errorf("refused: %v", err)
		}
	})
}

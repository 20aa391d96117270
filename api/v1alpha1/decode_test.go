package v1alpha1_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// Each round draws a batch, so that one typed list judges many objects, as an
// informer's does.
const batch = 8

// One accepted object that the Go types cannot read would fail the typed list
// of every informer, and with it every pause of the namespace. And what the Go
// types read they must be able to write back, or a client that changes a label
// is refused, or removes the expiry (metav1.Time writes its zero as null).
func TestWhatIsAcceptedDecodes(t *testing.T) {
	accepted, refused := 0, 0
	rapid.Check(t, func(r *rapid.T) {
		sent := map[string]*unstructured.Unstructured{}
		for i := range batch {
			object := pause(t, fmt.Sprintf("drawn-%d", i), `{recvConnectionID: A}`)
			spec := object.Object["spec"].(map[string]any)
			spec["channelID"] = id().Draw(r, "channelID")
			spec["sendClientID"] = id().Draw(r, "sendClientID")
			spec["expiresAt"] = dateTime().Draw(r, "expiresAt")
			spec["deleteAfterDisconnect"] = duration().Draw(r, "deleteAfterDisconnect")
			switch err := api.Create(t.Context(), object); {
			case err == nil:
				accepted++
				sent[object.GetName()] = object
			case apierrors.IsInvalid(err):
				refused++
			default:
				r.Fatalf("neither accepted nor invalid: %v", err)
			}
		}
		readBack(t, r, sent)
	})
	t.Logf("%d accepted, %d refused", accepted, refused)
	if accepted == 0 || refused == 0 {
		t.Error("the strings drawn are all on one side of the schema's edges")
	}
}

// readBack lists all with the Go types, writes each back and deletes it.
func readBack(t *testing.T, r *rapid.T, sent map[string]*unstructured.Unstructured) {
	defer func() {
		if err := api.DeleteAllOf(t.Context(), &v1alpha1.RtpStreamPause{}, client.InNamespace(namespace)); err != nil {
			t.Errorf("deleting what was accepted: %v", err)
		}
	}()
	var list v1alpha1.RtpStreamPauseList
	if err := api.List(t.Context(), &list, client.InNamespace(namespace)); err != nil {
		r.Fatalf("a typed list of accepted objects: %v", err)
	}
	for _, got := range list.Items {
		object, ok := sent[got.Name]
		if !ok {
			continue
		}
		want := object.Object["spec"].(map[string]any)
		if got.Spec.ChannelID != want["channelID"] || *got.Spec.SendClientID != want["sendClientID"] {
			r.Errorf("decoded ids %q %q, sent %q %q", got.Spec.ChannelID, *got.Spec.SendClientID, want["channelID"], want["sendClientID"])
		}
		expiresAt, deleteAfter := got.Spec.ExpiresAt.Rfc3339Copy(), *got.Spec.DeleteAfterDisconnect
		if err := api.Update(t.Context(), &got); err != nil {
			r.Errorf("read and written back, refused: %v (expiresAt %q, deleteAfterDisconnect %q)", err, want["expiresAt"], want["deleteAfterDisconnect"])
		} else if !got.Spec.ExpiresAt.Equal(&expiresAt) || *got.Spec.DeleteAfterDisconnect != deleteAfter {
			r.Errorf("written back, %q and %q became %v and %v", want["expiresAt"], want["deleteAfterDisconnect"], got.Spec.ExpiresAt, got.Spec.DeleteAfterDisconnect)
		}
	}
}

// The controllers' own fields freeze an informer just as well.
func TestWhatIsAcceptedAsStatusDecodes(t *testing.T) {
	object := pause(t, "", `{channelID: sora, recvConnectionID: A}`)
	object.SetGenerateName("status-")
	if err := api.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	accepted, refused := 0, 0
	rapid.Check(t, func(r *rapid.T) {
		for range batch {
			object.Object["status"] = map[string]any{
				"observedGeneration": rapid.OneOf(rapid.Just[any](int64(-1)), rapid.Just[any](1.0), rapid.Just[any](1.5), rapid.Just[any](1e30)).Draw(r, "observedGeneration"),
				"disconnectedAt":     dateTime().Draw(r, "disconnectedAt"),
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
			var got v1alpha1.RtpStreamPause
			if err := api.Get(t.Context(), client.ObjectKeyFromObject(object), &got); err != nil {
				r.Fatalf("accepted, but does not decode: %v\n%v", err, object.Object["status"])
			}
			if err := api.Status().Update(t.Context(), &got); err != nil {
				r.Errorf("read and written back, refused: %v\n%v", err, object.Object["status"])
			}
			object.SetResourceVersion(got.ResourceVersion)
		}
	})
	t.Logf("%d accepted, %d refused", accepted, refused)
	if accepted == 0 || refused == 0 {
		t.Error("the values drawn are all on one side of the schema's edges")
	}
}

// What a Go program may well write is accepted: any second from 1970 to 9999,
// any whole number of seconds up to the longest.
func TestWhatGoWritesIsAccepted(t *testing.T) {
	last := time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC).Unix()
	rapid.Check(t, func(r *rapid.T) {
		receiver := "A"
		object := &v1alpha1.RtpStreamPause{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "written"},
			Spec: v1alpha1.RtpStreamPauseSpec{
				ChannelID:             "sora",
				RecvConnectionID:      &receiver,
				ExpiresAt:             &metav1.Time{Time: time.Unix(rapid.Int64Range(0, last).Draw(r, "expiresAt"), 0)},
				DeleteAfterDisconnect: &metav1.Duration{Duration: time.Duration(rapid.Int64Range(0, 999999*3600).Draw(r, "deleteAfterDisconnect")) * time.Second},
			},
		}
		if err := api.Create(t.Context(), object, client.DryRunAll); err != nil {
			r.Errorf("refused: %v", err)
		}
	})
}

// id draws strings about the limit of 255 bytes, of one to four bytes a letter.
func id() *rapid.Generator[string] {
	limit := rapid.Custom(func(r *rapid.T) string {
		letter := rapid.Rune().Draw(r, "letter")
		letters := 255/utf8.RuneLen(letter) + rapid.IntRange(-1, 0).Draw(r, "more")

		return strings.Repeat(string(letter), letters)
	})
	beyond := rapid.Map(limit, func(s string) string { return s + s[:utf8.RuneLen([]rune(s)[0])] + "a" })

	return often(rapid.OneOf(rapid.StringN(1, 40, 255), limit), rapid.OneOf(rapid.Just(""), beyond))
}

// dateTime draws strings of which about a third are RFC 3339 date-times and the
// others fall short of it by a little.
func dateTime() *rapid.Generator[string] {
	return parts(
		often(rapid.StringMatching(`[2-8]\d{3}`), among("0000", "0001", "0004", "1582", "1969", "1970", "9999", "10000", "-001", "26")),
		among("-"),
		often(rapid.StringMatching(`0[1-9]|1[0-2]`), among("00", "13", "2", "02")),
		among("-"),
		often(rapid.StringMatching(`0[1-9]|1\d|2[0-8]`), among("00", "29", "30", "31", "32", "1")),
		often(among("T"), among("t", " ", "")),
		often(rapid.StringMatching(`[01]\d|2[0-3]`), among("24", "25", "7")),
		among(":"),
		often(rapid.StringMatching(`[0-5]\d`), among("60", "5")),
		among(":"),
		often(rapid.StringMatching(`[0-5]\d`), among("60", "61", "5")),
		often(among("", ".5", ".123456789"), among(".", ",5", ".1234567890", ".1.2")),
		often(among("Z", "+09:00", "-00:00", "+23:59", "-23:59"), among("z", "", "+24:00", "-12:60", "+0900", "+09", "Z\n", " Z", "UTC")),
	)
}

// duration draws strings of which about half are durations that Go reads.
func duration() *rapid.Generator[string] {
	digits := often(rapid.StringMatching(`\d{1,4}`), among("999999", "1000000", "2562047", "000001", "", "1.5", "-5", "+5", "٣"))
	unit := often(among("h", "m", "s"), among("H", "ms", "us", "µs", "ns", "d", "", " h", " minute", "\n"))
	some := rapid.Custom(func(r *rapid.T) string {
		return strings.Join(rapid.SliceOfN(parts(digits, unit), 1, 3).Draw(r, "terms"), "")
	})

	return often(some, rapid.OneOf(rapid.StringMatching(`([0-9]{5,6}h){2,3}`), among("", "0", "1 minute", "PT1H", "Inf")))
}

// often draws from usual nine times in ten, else from odd.
func often(usual, odd *rapid.Generator[string]) *rapid.Generator[string] {
	return rapid.Custom(func(r *rapid.T) string {
		if rapid.IntRange(0, 9).Draw(r, "odd") == 9 {
			return odd.Draw(r, "odd one")
		}

		return usual.Draw(r, "usual one")
	})
}

func among(strings ...string) *rapid.Generator[string] { return rapid.SampledFrom(strings) }

func parts(generators ...*rapid.Generator[string]) *rapid.Generator[string] {
	return rapid.Custom(func(r *rapid.T) string {
		var s strings.Builder
		for _, generator := range generators {
			s.WriteString(generator.Draw(r, "part"))
		}

		return s.String()
	})
}

package sora

import (
	"net/http"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// TestEditedBack: what the shim made and says something else now is edited, so that
// nothing flows in between.
func TestEditedBack(t *testing.T) {
	s := newShim(t, 1)
	for name, test := range map[string]struct {
		change func(*v1alpha1.RtpStreamPauseSpec)
		edits  int64
	}{
		"same":       {func(*v1alpha1.RtpStreamPauseSpec) {}, 0},
		"says video": {func(spec *v1alpha1.RtpStreamPauseSpec) { spec.Kinds = []v1alpha1.Kind{v1alpha1.KindVideo} }, 0},
		"expired":    {func(spec *v1alpha1.RtpStreamPauseSpec) { spec.ExpiresAt = &metav1.Time{Time: time.Unix(1, 0)} }, 1},
		"will expire": {func(spec *v1alpha1.RtpStreamPauseSpec) {
			spec.ExpiresAt, spec.TTLSecondsAfterExpired = &metav1.Time{Time: time.Now().Add(time.Hour)}, new(int64(5))
		}, 1},
		"other kinds": {func(spec *v1alpha1.RtpStreamPauseSpec) { spec.Kinds = []v1alpha1.Kind{v1alpha1.KindAudio} }, 1},
		"reason":      {func(spec *v1alpha1.RtpStreamPauseSpec) { spec.Reason = "because" }, 1},
		"stays":       {func(spec *v1alpha1.RtpStreamPauseSpec) { spec.DeleteAfterDisconnectSeconds = nil }, 1},
		"lasts":       {func(spec *v1alpha1.RtpStreamPauseSpec) { spec.DeleteAfterDisconnectSeconds = new(int64(61)) }, 1},
	} {
		channel := t.Name() + name
		e := connectionsOf(channel, alice, bob)
		s.views[0].join(channel, sendrecv(alice), sendrecv(bob))
		old := s.createdByShim(e, func(pause *v1alpha1.RtpStreamPause) {
			test.change(&pause.Spec)
			pause.Annotations = map[string]string{"kept": "yes"}
		})
		body := edgeBody(channel, alice, bob)
		s.expect(pauseTarget, body, http.StatusOK, body)
		found := s.find(channel)
		if len(found) != 1 || found[0].UID != old.UID || found[0].Generation != 1+test.edits ||
			found[0].Annotations["kept"] != "yes" {
			t.Errorf("%s: %+v", name, found)
		} else if wanted := e.object("").Spec; !sameContent(&found[0].Spec, &wanted) {
			t.Errorf("%s: %+v", name, found[0].Spec)
		}
		s.expect(resumeTarget, body, http.StatusOK, body)
	}
}

// TestNotOurs: what stands under the derived name and is not the shim's is neither
// edited nor deleted.
func TestNotOurs(t *testing.T) {
	s := newShim(t, 1)
	for name, change := range map[string]func(*v1alpha1.RtpStreamPause){
		"no label":    func(pause *v1alpha1.RtpStreamPause) { pause.Labels = nil },
		"other label": func(pause *v1alpha1.RtpStreamPause) { pause.Labels[managedByLabel] = "argocd" },
		"more ids":    func(pause *v1alpha1.RtpStreamPause) { pause.Spec.Receivers.ConnectionIDs = []string{alice, carol} },
		"other id":    func(pause *v1alpha1.RtpStreamPause) { pause.Spec.Senders.ConnectionIDs = []string{carol} },
		"clients":     func(pause *v1alpha1.RtpStreamPause) { pause.Spec.Senders = v1alpha1.Side{ClientIDs: []string{bob}} },
		"everyone": func(pause *v1alpha1.RtpStreamPause) {
			pause.Spec.Senders = v1alpha1.Side{Everyone: &v1alpha1.Everyone{}}
		},
	} {
		channel := t.Name() + name
		s.views[0].join(channel, sendrecv(alice), sendrecv(bob))
		old := s.createdByShim(connectionsOf(channel, alice, bob), change)
		body := edgeBody(channel, alice, bob)
		s.expectFailure(pauseTarget, body, http.StatusBadRequest, nameTaken, old.Name)
		withholds := names(&old.Spec.Receivers, sendrecv(alice)) && names(&old.Spec.Senders, sendrecv(bob))
		if withholds {
			s.expectFailure(resumeTarget, body, http.StatusBadRequest, stillPaused, old.Name)
		} else {
			s.expect(resumeTarget, body, http.StatusOK, body)
		}
		if found := s.find(channel); len(found) != 1 || found[0].ResourceVersion != old.ResourceVersion {
			t.Errorf("%s: touched: %+v", name, found)
		}
	}
}

// TestBeingDeleted: one that a finalizer keeps is named at once.
func TestBeingDeleted(t *testing.T) {
	s := newShim(t, 1)
	channel := t.Name()
	s.views[0].join(channel, sendrecv(alice), sendrecv(bob))
	old := s.createdByShim(connectionsOf(channel, alice, bob), func(pause *v1alpha1.RtpStreamPause) {
		pause.Finalizers = []string{"example.org/hold"}
	})
	body := edgeBody(channel, alice, bob)
	// It acts no longer, so that the stream flows.
	s.expect(resumeTarget, body, http.StatusOK, body)
	// Had it been waited for, the answer would be that it was changed again and again.
	s.expectFailure(pauseTarget, body, http.StatusServiceUnavailable, beingDeleted, `"finalizers":["example.org/hold"]`)
	s.expect(resumeTarget, body, http.StatusOK, body)
	if err := s.objects.Patch(t.Context(), old,
		client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))); err != nil {
		t.Fatal(err)
	}
	s.expect(pauseTarget, body, http.StatusOK, body)
}

func TestConcurrentPauses(t *testing.T) {
	s := newShim(t, 2)
	channel := t.Name()
	for _, v := range s.views {
		v.join(channel, sendrecv(alice), sendrecv(bob))
	}
	s.createdByShim(connectionsOf(channel, alice, bob), func(pause *v1alpha1.RtpStreamPause) {
		pause.Spec.ExpiresAt = &metav1.Time{Time: time.Unix(1, 0)}
	})
	body := edgeBody(channel, alice, bob)
	var calls sync.WaitGroup
	for range 20 {
		calls.Go(func() {
			if status, got := s.post(pauseTarget, body); status != http.StatusOK || got != body {
				t.Errorf("%d %s", status, got)
			}
		})
	}
	calls.Wait()
	if found := s.find(channel); len(found) != 1 || found[0].Generation != 2 {
		t.Errorf("%+v", found)
	}
	for range 20 {
		calls.Go(func() {
			if status, got := s.post(resumeTarget, body); status != http.StatusOK || got != body {
				t.Errorf("%d %s", status, got)
			}
		})
	}
	calls.Wait()
	if found := s.find(channel); len(found) != 0 {
		t.Errorf("%d objects", len(found))
	}
}

// TestNamesOfObjects: the names of stored pauses.
func TestNamesOfObjects(t *testing.T) {
	taken := map[string]edge{}
	for _, e := range []edge{
		connectionsOf("a", "b", "c"), connectionsOf("ab", "", "c"), connectionsOf("", "ab", "c"),
		connectionsOf("a", "bc", ""), connectionsOf("a", "c", "b"),
		{"a", end{"b", true}, end{"c", false}}, {"a", end{"b", false}, end{"c", true}},
		{"a", end{"b", true}, end{"c", true}}, {"a", end{"c", true}, end{"b", true}},
	} {
		name := e.name()
		if other, found := taken[name]; found || len(name) != len("pause-")+40 {
			t.Errorf("%v and %v: %s", e, other, name)
		}
		taken[name] = e
	}
	for want, e := range map[string]edge{
		"pause-3eb2f84fe5c7bb84f7f15849729c0e6fe077ce58": connectionsOf("sora", alice, bob),
	} {
		if got := e.name(); got != want {
			t.Errorf("the derivation changed, and with it the names of stored pauses: %s", got)
		}
	}
}

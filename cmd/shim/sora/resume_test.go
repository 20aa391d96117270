package sora

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// TestStillPaused: Resume deletes the shim's own pause alone, and names what else
// withholds the stream's video.
func TestStillPaused(t *testing.T) {
	s := newShim(t, 1)
	for name, test := range map[string]struct {
		change func(*v1alpha1.RtpStreamPauseSpec)
		want   bool
	}{
		"exact":       {nil, true},
		"exact-video": {func(spec *v1alpha1.RtpStreamPauseSpec) { spec.Kinds = []v1alpha1.Kind{"Video"} }, true},
		"client": {func(spec *v1alpha1.RtpStreamPauseSpec) {
			spec.Senders = v1alpha1.Side{ClientIDs: []string{"client-3X0"}}
		}, true},
		"other-client": {
			func(spec *v1alpha1.RtpStreamPauseSpec) { spec.Senders = v1alpha1.Side{ClientIDs: []string{"client"}} }, false,
		},
		"everyone": {func(spec *v1alpha1.RtpStreamPauseSpec) {
			spec.Receivers = v1alpha1.Side{Everyone: &v1alpha1.Everyone{}}
		}, true},
		"both-kinds":  {func(spec *v1alpha1.RtpStreamPauseSpec) { spec.Kinds = []v1alpha1.Kind{"Video", "Audio"} }, true},
		"audio-alone": {func(spec *v1alpha1.RtpStreamPauseSpec) { spec.Kinds = []v1alpha1.Kind{"Audio"} }, false},
		"expired": {
			func(spec *v1alpha1.RtpStreamPauseSpec) { spec.ExpiresAt = &metav1.Time{Time: time.Unix(1, 0)} }, false,
		},
		"other-edge": {func(spec *v1alpha1.RtpStreamPauseSpec) { spec.Receivers.ConnectionIDs = []string{carol} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			channel := t.Name()
			s.views[0].join(channel, sendrecv(alice), sendrecv(bob))
			s.create(name, of(channel, test.change))
			body := edgeBody(channel, alice, bob)
			s.expect(pauseTarget, body, http.StatusOK, body)
			for range 2 { // also with nothing to delete
				if test.want {
					s.expectFailure(resumeTarget, body, http.StatusBadRequest, stillPaused, `"names":["`+name+`"]`)
				} else {
					s.expect(resumeTarget, body, http.StatusOK, body)
				}
			}
			key := client.ObjectKey{Namespace: "default", Name: connectionsOf(channel, alice, bob).name()}
			if err := s.objects.Get(t.Context(), key, &v1alpha1.RtpStreamPause{}); !apierrors.IsNotFound(err) {
				t.Errorf("the shim's own object: %v", err)
			}
			if len(s.find(channel)) != 1 {
				t.Error("somebody else's object is gone")
			}
		})
	}
}

// TestStillPausedNames: all pauses of video, and of those alone.
func TestStillPausedNames(t *testing.T) {
	s := newShim(t, 1)
	channel := t.Name()
	s.views[0].join(channel, sendrecv(alice), sendrecv(bob))
	s.create("names-b", of(channel, nil))
	s.create("names-a", of(channel, func(spec *v1alpha1.RtpStreamPauseSpec) {
		spec.Kinds = []v1alpha1.Kind{"Video", "Audio"}
	}))
	s.create("names-audio", of(channel, func(spec *v1alpha1.RtpStreamPauseSpec) { spec.Kinds = []v1alpha1.Kind{"Audio"} }))
	s.expectFailure(resumeTarget, edgeBody(channel, alice, bob), http.StatusBadRequest, stillPaused,
		`"names":["names-a","names-b"]`)
}

// TestStillPausedByOthers: where the pauses that are named withhold no video, some
// other does.
func TestStillPausedByOthers(t *testing.T) {
	s := newShim(t, 1)
	channel := t.Name()
	s.createdByShim(connectionsOf(channel, alice, bob), func(*v1alpha1.RtpStreamPause) {})
	s.create("named-audio", of(channel, func(spec *v1alpha1.RtpStreamPauseSpec) { spec.Kinds = []v1alpha1.Kind{"Audio"} }))
	withheld := []forwardingv1.Withheld{forwardingv1.Withheld_WITHHELD_PAUSED}
	s.views[0].set(func(v *view) {
		v.extra = []*forwardingv1.Edge{{
			RecvConnectionId: alice, SendConnectionId: bob, PauseNames: []string{"named-audio"},
			Streams: []*forwardingv1.Stream{{Kind: forwardingv1.Kind_KIND_AUDIO, Withheld: withheld},
				{Kind: forwardingv1.Kind_KIND_VIDEO, Withheld: withheld}},
		}}
	})
	s.expectFailure(resumeTarget, edgeBody(channel, alice, bob), http.StatusBadRequest, stillPaused,
		`"names":["named-audio"]`)
}

// meddling changes what was read before it is used.
type meddling struct {
	client.Client

	once   sync.Once
	change func()
}

func (m *meddling) Get(
	ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption,
) error {
	err := m.Client.Get(ctx, key, object, options...)
	m.once.Do(m.change)

	return err
}

// TestResumeOfWhatIsEdited: what somebody makes their own while Resume looks at it
// is not deleted.
func TestResumeOfWhatIsEdited(t *testing.T) {
	m := &meddling{}
	s := newShim(t, 1, func(c *Config) { m.Client, c.Client = c.Client, m })
	channel := t.Name()
	s.views[0].join(channel, sendrecv(alice), sendrecv(bob))
	old := s.createdByShim(connectionsOf(channel, alice, bob), func(*v1alpha1.RtpStreamPause) {})
	m.change = func() {
		patch := client.RawPatch(types.MergePatchType,
			[]byte(`{"spec":{"receivers":{"connectionIDs":["`+alice+`","`+carol+`"]}}}`))
		if err := s.objects.Patch(t.Context(), old, patch); err != nil {
			t.Error(err)
		}
	}
	s.expectFailure(resumeTarget, edgeBody(channel, alice, bob), http.StatusBadRequest, stillPaused, old.Name)
	if found := s.find(channel); len(found) != 1 || found[0].UID != old.UID {
		t.Errorf("%+v", found)
	}
}

// cached answers as an API server whose cache is behind, or fails if it is asked what
// it may not have.
type cached struct {
	client.Client

	// answer is that of the cache, by an error or into the object.
	answer func(object client.Object) error
	looks  atomic.Int32
}

func (c *cached) Get(
	ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption,
) error {
	asked := client.GetOptions{}
	asked.ApplyOptions(options)
	if asked.Raw == nil || asked.Raw.ResourceVersion != "0" {
		return c.Client.Get(ctx, key, object, options...)
	}
	c.looks.Add(1)

	return c.answer(object)
}

// TestResumeByTheCache: a deletion goes by what the API server has in its cache,
// however old that is, and nothing else does.
func TestResumeByTheCache(t *testing.T) {
	c := &cached{}
	s := newShim(t, 1, func(config *Config) { c.Client, config.Client = config.Client, c })
	channel := t.Name()
	s.views[0].join(channel, sendrecv(alice), sendrecv(bob))
	body := edgeBody(channel, alice, bob)
	notFound := apierrors.NewNotFound(v1alpha1.Resource(v1alpha1.Plural), "pause")
	shows := func(shown *v1alpha1.RtpStreamPause) func(client.Object) error {
		return func(object client.Object) error {
			shown.DeepCopyInto(object.(*v1alpha1.RtpStreamPause))

			return nil
		}
	}
	for name, answer := range map[string]func(now *v1alpha1.RtpStreamPause) func(client.Object) error{
		"as it is": shows,
		"not yet made": func(*v1alpha1.RtpStreamPause) func(client.Object) error {
			return func(client.Object) error { return notFound }
		},
		"before an edit": func(now *v1alpha1.RtpStreamPause) func(client.Object) error {
			now.ResourceVersion = "1"

			return shows(now)
		},
		"another's": func(now *v1alpha1.RtpStreamPause) func(client.Object) error {
			now.Labels = nil

			return shows(now)
		},
		"one of the same name, long gone": func(now *v1alpha1.RtpStreamPause) func(client.Object) error {
			now.UID = "gone"

			return shows(now)
		},
	} {
		made := s.createdByShim(connectionsOf(channel, alice, bob), func(*v1alpha1.RtpStreamPause) {})
		looks := c.looks.Load()
		c.answer = answer(made)
		s.expect(resumeTarget, body, http.StatusOK, body)
		if found := s.find(channel); len(found) != 0 || c.looks.Load() != looks+1 {
			t.Errorf("%s: %d objects are left after %d looks at the cache", name, len(found), c.looks.Load()-looks)
		}
	}

	// What is gone in truth was not deleted by this request, which is the only one that
	// may end well for connections that are not there.
	gone := s.createdByShim(connectionsOf(channel, alice, carol), func(*v1alpha1.RtpStreamPause) {})
	c.answer = shows(gone)
	s.expect(resumeTarget, edgeBody(channel, alice, carol), http.StatusOK, edgeBody(channel, alice, carol))
	s.expectFailure(resumeTarget, edgeBody(channel, alice, carol), http.StatusBadRequest, connectionNotFound, carol)
}

// TestResumeOfWhoHasLeft: cleaning up is possible, once.
func TestResumeOfWhoHasLeft(t *testing.T) {
	s := newShim(t, 1)
	channel := t.Name()
	s.createdByShim(connectionsOf(channel, alice, bob), func(*v1alpha1.RtpStreamPause) {})
	body := edgeBody(channel, alice, bob)
	s.expect(resumeTarget, body, http.StatusOK, body)
	s.expectFailure(resumeTarget, body, http.StatusBadRequest, channelNotFound, channel)
}

// TestVersions: List and Resume ask for what was committed before them.
func TestVersions(t *testing.T) {
	s := newShim(t, 1)
	channel := t.Name()
	s.views[0].join(channel, sendrecv(alice), sendrecv(bob))
	committed := func() uint64 {
		version, err := s.handler.pauses.version(t.Context())
		if err != nil {
			t.Fatal(err)
		}

		return version
	}
	asked := func() (version uint64) {
		s.views[0].set(func(v *view) { version = v.versions[len(v.versions)-1] })

		return version
	}
	s.expect(listTarget, channelBody(channel), http.StatusOK, "[]")
	body := edgeBody(channel, alice, bob)
	s.expect(pauseTarget, body, http.StatusOK, body)
	for _, operation := range []string{listTarget, resumeTarget} {
		before := committed()
		if code, got := s.post(operation, body); code != http.StatusOK {
			t.Fatalf("%s: %d %s", operation, code, got)
		}
		if operation == resumeTarget {
			before++ // its own deletion
		}
		if asked() < before {
			t.Errorf("%s asked for %d, committed was %d", operation, asked(), before)
		}
	}
}

// TestListIsTheTruth: whoever declared it, and only what lives and is withheld.
func TestListIsTheTruth(t *testing.T) {
	s := newShim(t, 1)
	channel := t.Name()
	s.views[0].join(channel, member(alice, forwardingv1.Role_ROLE_RECVONLY), sendrecv(bob),
		member(carol, forwardingv1.Role_ROLE_SENDONLY))
	s.create("list-audio", of(channel, func(spec *v1alpha1.RtpStreamPauseSpec) { spec.Kinds = []v1alpha1.Kind{"Audio"} }))
	s.create("list-expired", of(channel, func(spec *v1alpha1.RtpStreamPauseSpec) {
		spec.ExpiresAt = &metav1.Time{Time: time.Unix(1, 0)}
	}))
	s.create("list-gone", of(channel, func(spec *v1alpha1.RtpStreamPauseSpec) {
		spec.Senders.ConnectionIDs = []string{"GONE"}
	}))
	s.expect(listTarget, channelBody(channel), http.StatusOK, "[]")
	everyone := v1alpha1.Side{Everyone: &v1alpha1.Everyone{}}
	s.create("list-everyone", of(channel, func(spec *v1alpha1.RtpStreamPauseSpec) {
		spec.Receivers, spec.Senders, spec.DeleteAfterDisconnectSeconds = everyone, everyone, nil
	}))
	entry := func(recv, role, send string) string {
		return fmt.Sprintf(`{"channel_id":%q,"recv_connection_id":%q,"role":%q,"send_connection_id":%q}`, channel, recv,
			role, send)
	}
	s.expect(listTarget, channelBody(channel), http.StatusOK,
		"["+entry(bob, "sendrecv", carol)+","+entry(alice, "recvonly", bob)+","+entry(alice, "recvonly", carol)+"]")
}

// TestListOfMany: as many as there are up to the bound, in parts and in order;
// beyond it the pauses are named.
func TestListOfMany(t *testing.T) {
	s := newShim(t, 1)
	channel := t.Name()
	s.views[0].join(channel, sendrecv(alice))
	s.views[0].set(func(v *view) {
		for i := range maxListed {
			v.extra = append(v.extra, &forwardingv1.Edge{
				RecvConnectionId: fmt.Sprintf("R%03d", i/1000), SendConnectionId: fmt.Sprintf("S%03d", i%1000),
				RecvRole: forwardingv1.Role_ROLE_SENDRECV,
				Streams: []*forwardingv1.Stream{
					{Kind: forwardingv1.Kind_KIND_VIDEO, Withheld: []forwardingv1.Withheld{forwardingv1.Withheld_WITHHELD_PAUSED}},
				},
			})
		}
		v.names = []string{"stage-alone", "wall"}
	})
	code, got := s.post(listTarget, channelBody(channel))
	var listed []pausedStream
	if err := json.Unmarshal([]byte(got), &listed); err != nil || code != http.StatusOK || len(listed) != maxListed {
		t.Fatalf("%d, %d entries, %v", code, len(listed), err)
	}
	if !slices.IsSortedFunc(listed, func(a, b pausedStream) int {
		return strings.Compare(a.RecvConnectionID+a.SendConnectionID, b.RecvConnectionID+b.SendConnectionID)
	}) {
		t.Error("not in order")
	}
	s.views[0].set(func(v *view) { v.extra = append(v.extra, v.extra[0]) })
	s.expectFailure(listTarget, channelBody(channel), http.StatusBadRequest, tooMany,
		`"message":"100001 streams of this channel are paused, and no more than 100000 are listed; `+
			`names tells which RtpStreamPauses withhold most","names":["stage-alone","wall"]`)
}

// TestReplicasDiffer: one that is behind, or that no media server has reached, hides
// nothing that another knows.
func TestReplicasDiffer(t *testing.T) {
	s := newShim(t, 2, func(c *Config) { c.PauseTimeout = 500 * time.Millisecond })
	channel := t.Name()
	s.views[1].join(channel, sendrecv(alice), sendrecv(bob))
	body := edgeBody(channel, alice, bob)
	s.expect(pauseTarget, body, http.StatusOK, body)
	listed := func(want int) {
		t.Helper()
		for range 10 {
			if code, got := s.post(listTarget, channelBody(channel)); code != http.StatusOK ||
				strings.Count(got, "role") != want {
				t.Fatalf("%d %s, want %d entries", code, got, want)
			}
		}
	}
	listed(1) // the first replica knows nobody
	s.views[0].set(func(v *view) { v.behind = true })
	listed(1)
	// The one that knows the channel cannot tell, and the one that can tell does not
	// know it.
	s.views[0].set(func(v *view) { v.behind = false })
	s.views[1].set(func(v *view) { v.behind = true })
	s.expectFailure(listTarget, channelBody(channel), http.StatusServiceUnavailable, notConfirmed, "behind")
	s.expectFailure(resumeTarget, body, http.StatusServiceUnavailable, notConfirmed, "the pause is deleted")
	s.views[1].set(func(v *view) { v.behind = false })
	s.expect(resumeTarget, body, http.StatusOK, body)
	listed(0)
}

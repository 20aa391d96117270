package sora

import (
	"context"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// find returns the pauses of a channel as the API server has them.
func (s *shim) find(channel string) []v1alpha1.RtpStreamPause {
	s.t.Helper()
	var list v1alpha1.RtpStreamPauseList
	if err := s.objects.List(s.t.Context(), &list, client.InNamespace("default")); err != nil {
		s.t.Fatal(err)
	}
	var found []v1alpha1.RtpStreamPause
	for _, pause := range list.Items {
		if pause.Spec.ChannelID == channel {
			found = append(found, pause)
		}
	}

	return found
}

func (s *shim) create(name string, spec v1alpha1.RtpStreamPauseSpec) *v1alpha1.RtpStreamPause {
	s.t.Helper()

	return s.store(&v1alpha1.RtpStreamPause{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: spec})
}

// createdByShim is an object that the shim might have made, but for a change.
func (s *shim) createdByShim(e edge, change func(*v1alpha1.RtpStreamPause)) *v1alpha1.RtpStreamPause {
	s.t.Helper()
	pause := e.object("default")
	change(pause)

	return s.store(pause)
}

// store creates the object until the end of the test.
func (s *shim) store(pause *v1alpha1.RtpStreamPause) *v1alpha1.RtpStreamPause {
	s.t.Helper()
	if err := s.objects.Create(s.t.Context(), pause); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		// By name: a test may have made it anew.
		byName := &v1alpha1.RtpStreamPause{ObjectMeta: metav1.ObjectMeta{Namespace: pause.Namespace, Name: pause.Name}}
		if err := s.objects.Delete(context.Background(), byName); client.IgnoreNotFound(err) != nil {
			s.t.Error(err)
		}
	})

	return pause
}

func of(channel string, change func(*v1alpha1.RtpStreamPauseSpec)) v1alpha1.RtpStreamPauseSpec {
	spec := connectionsOf(channel, alice, bob).object("").Spec
	if change != nil {
		change(&spec)
	}

	return spec
}

func TestPauseListResume(t *testing.T) {
	s := newShim(t, 2)
	channel := "a, b=c\\ \"q\" <&> 日本 " + strings.Repeat("é", 100)
	for _, v := range s.views {
		v.join(channel, sendrecv(alice), sendrecv(bob), sendrecv(carol))
	}
	body := edgeBody(channel, alice, bob)
	for range 2 {
		s.expect(pauseTarget, body, http.StatusOK, body)
	}
	found := s.find(channel)
	if len(found) != 1 {
		t.Fatalf("%d objects", len(found))
	}
	pause := found[0]
	if pause.Name != connectionsOf(channel, alice, bob).name() || pause.Labels[managedByLabel] != managedBy ||
		!reflect.DeepEqual(pause.Spec, v1alpha1.RtpStreamPauseSpec{
			ChannelID:                    channel,
			Receivers:                    v1alpha1.Side{ConnectionIDs: []string{alice}},
			Senders:                      v1alpha1.Side{ConnectionIDs: []string{bob}},
			DeleteAfterDisconnectSeconds: new(int64(60)),
		}) || pause.Status.ObservedGeneration != -1 || pause.Generation != 1 {
		t.Errorf("%+v", pause)
	}

	second := edgeBody(channel, alice, carol)
	s.expect(pauseTarget, second, http.StatusOK, second)
	entry := func(send string) string {
		listed, err := compactJSON(pausedStream{channel, alice, "sendrecv", send})
		if err != nil {
			t.Fatal(err)
		}

		return string(listed)
	}
	s.expect(listTarget, channelBody(channel), http.StatusOK, "["+entry(bob)+","+entry(carol)+"]")
	s.expect(resumeTarget, second, http.StatusOK, second)
	for range 2 {
		s.expect(resumeTarget, body, http.StatusOK, body)
	}
	s.expect(listTarget, channelBody(channel), http.StatusOK, "[]")
	if found := s.find(channel); len(found) != 0 {
		t.Errorf("left over: %v", found)
	}
}

// TestChannelNames: whatever is in the name of a channel.
func TestChannelNames(t *testing.T) {
	s := newShim(t, 1)
	names := []string{
		",", "=", "==", "!=", `\`, `\\`, `\,`, `a,spec.channelID=b`, `"`, "'", " ", " a ", "a", "A", "%2C", "+", "&",
		"?x=1#y", "../..", "\t", "\n", "\u0001", "\u007f", "\u0000", "a\u0000b",
		"日本語", "😀", "e\u0301", "é", "\u2028", "<script>", "{}", "null", strings.Repeat("x", 255), strings.Repeat(",", 255),
		strings.Repeat("é", 127),
	}
	for _, name := range names {
		s.views[0].join(name, sendrecv(alice), sendrecv(bob))
		if status, got := s.post(pauseTarget, edgeBody(name, alice, bob)); status != http.StatusOK {
			t.Errorf("pause in %q: %d %s", name, status, got)
		}
	}
	for _, name := range names {
		if status, got := s.post(listTarget, channelBody(name)); status != http.StatusOK ||
			strings.Count(got, "recv_connection_id") != 1 {
			t.Errorf("list of %q: %d %s", name, status, got)
		}
	}
	for _, name := range names {
		body := edgeBody(name, alice, bob)
		if status, got := s.post(resumeTarget, body); status != http.StatusOK {
			t.Errorf("resume in %q: %d %s", name, status, got)
		}
		if left := s.find(name); len(left) != 0 {
			t.Errorf("%q keeps %d objects", name, len(left))
		}
	}
	long := strings.Repeat("x", 100_000)
	s.expect(listTarget, channelBody(long), http.StatusOK, "[]")
	s.expectFailure(resumeTarget, edgeBody(long, alice, bob), http.StatusBadRequest, channelNotFound, "")
}

func TestRefusedPauses(t *testing.T) {
	s := newShim(t, 2)
	channel := t.Name()
	bundled := sendrecv("BUNDLED")
	bundled.BundleId = alice
	s.views[0].join(channel, sendrecv(alice), sendrecv(bob), bundled,
		member("SENDONLY", forwardingv1.Role_ROLE_SENDONLY), member("RECVONLY", forwardingv1.Role_ROLE_RECVONLY))
	s.views[0].joinAt("mediaserver-1", channel, sendrecv("ELSEWHERE"))
	long := strings.Repeat("é", 128)
	for _, test := range []struct{ channel, recv, send, name, piece string }{
		{"empty", alice, bob, channelNotFound, `"channel_id":"empty"`},
		{"", alice, bob, channelNotFound, ""},
		{long, alice, bob, channelNotFound, "é…"},
		{channel, carol, bob, connectionNotFound, carol},
		{channel, alice, carol, connectionNotFound, carol},
		{channel, alice, "", connectionNotFound, ""},
		{channel, long, bob, connectionNotFound, ""},
		{channel, alice, alice, sameConnection, alice},
		{channel, "SENDONLY", alice, roleMismatch, `"role":"sendonly"`},
		{channel, alice, "RECVONLY", roleMismatch, `"role":"recvonly"`},
		{channel, alice, "BUNDLED", sameBundle, alice},
		{channel, alice, "ELSEWHERE", differentMediaServers, ""},
	} {
		for _, operation := range []string{pauseTarget, resumeTarget} {
			s.expectFailure(operation, edgeBody(test.channel, test.recv, test.send), http.StatusBadRequest,
				test.name, test.piece)
		}
	}
	if found := s.find(channel); len(found) != 0 {
		t.Errorf("refused, yet created: %v", found)
	}
}

// TestLookUp: an unknown id costs each replica one question, which names it.
func TestLookUp(t *testing.T) {
	s := newShim(t, 2)
	s.views[0].join(t.Name(), sendrecv(alice))
	s.expectFailure(pauseTarget, edgeBody(t.Name(), alice, carol), http.StatusBadRequest, connectionNotFound, carol)
	for i, v := range s.views {
		v.set(func(v *view) {
			if len(v.looked) != 1 || !slices.Equal(v.looked[0].GetConnectionIds(), []string{alice, carol}) ||
				v.looked[0].GetWait().AsDuration() != 250*time.Millisecond {
				t.Errorf("replica %d was asked %v", i, v.looked)
			}
		})
	}
}

// TestGrace: a connection whose report is on its way is waited for.
func TestGrace(t *testing.T) {
	s := newShim(t, 1)
	channel := t.Name()
	joined := make(chan struct{})
	go func() {
		defer close(joined)
		<-s.views[0].asked
		s.views[0].join(channel, sendrecv(alice), sendrecv(bob))
	}()
	body := edgeBody(channel, alice, bob)
	s.expect(pauseTarget, body, http.StatusOK, body)
	<-joined
}

// TestOutOfTouch: what is not known while a media server is out of touch is not
// said to be absent.
func TestOutOfTouch(t *testing.T) {
	s := newShim(t, 2, func(c *Config) { c.PauseTimeout = 300 * time.Millisecond })
	channel := t.Name()
	body := edgeBody(channel, alice, bob)
	s.views[0].set(func(v *view) { v.outOfTouch = true })
	s.expectFailure(pauseTarget, body, http.StatusServiceUnavailable, notConfirmed, "nothing was paused")
	s.expectFailure(resumeTarget, body, http.StatusServiceUnavailable, notConfirmed, "out of touch")
	s.expectFailure(listTarget, channelBody(channel), http.StatusServiceUnavailable, notConfirmed, "out of touch")
	s.expectFailure(whoTarget, channelBody(channel), http.StatusServiceUnavailable, notConfirmed, "out of touch")
	if found := s.find(channel); len(found) != 0 {
		t.Errorf("created unseen: %v", found)
	}

	// Its connections as last heard of: the object is stored.
	for _, v := range s.views {
		v.join(channel, sendrecv(alice), sendrecv(bob))
		v.set(func(v *view) {
			v.outOfTouch, v.holding = true, true
			for _, c := range v.channels[channel] {
				c.OutOfTouch = true
			}
		})
	}
	s.expectFailure(pauseTarget, body, http.StatusServiceUnavailable, notConfirmed, "the pause is stored")
	if found := s.find(channel); len(found) != 1 {
		t.Errorf("%d objects", len(found))
	}
	s.expectFailure(listTarget, channelBody(channel), http.StatusServiceUnavailable, notConfirmed, "out of touch")
	if code, got := s.post(whoTarget, channelBody(channel)); code != http.StatusOK || !strings.Contains(got, alice) {
		t.Errorf("%d %s", code, got)
	}
	s.expectFailure(resumeTarget, body, http.StatusServiceUnavailable, notConfirmed, "the pause is deleted")
	if found := s.find(channel); len(found) != 0 {
		t.Errorf("%d objects", len(found))
	}
}

func TestNotConfirmed(t *testing.T) {
	s := newShim(t, 2, func(c *Config) { c.PauseTimeout = 300 * time.Millisecond })
	channel := t.Name()
	body := edgeBody(channel, alice, bob)
	for _, v := range s.views {
		v.join(channel, sendrecv(alice), sendrecv(bob))
		v.set(func(v *view) { v.failing = status.Error(codes.Unavailable, "starting") })
	}
	s.expectFailure(pauseTarget, body, http.StatusServiceUnavailable, notConfirmed, "nothing was paused")
	if found := s.find(channel); len(found) != 0 {
		t.Errorf("created unseen: %v", found)
	}
	for _, operation := range []string{whoTarget, listTarget, disconnectChannelTarget} {
		s.expectFailure(operation, channelBody(channel), http.StatusServiceUnavailable, notConfirmed, "")
	}

	for _, v := range s.views {
		v.set(func(v *view) { v.failing, v.holding = nil, true })
	}
	s.expectFailure(pauseTarget, body, http.StatusServiceUnavailable, notConfirmed,
		connectionsOf(channel, alice, bob).name())
	found := s.find(channel)
	if len(found) != 1 {
		t.Fatalf("%d objects after an unconfirmed pause", len(found))
	}
	s.views[1].set(func(v *view) { v.refusing = status.Error(codes.NotFound, "deleted") })
	s.expectFailure(pauseTarget, body, http.StatusServiceUnavailable, notConfirmed, "deleted by somebody else")
	s.views[1].set(func(v *view) {
		v.refusing = status.Error(codes.FailedPrecondition, "the channel has 20,000 older pauses")
	})
	s.expectFailure(pauseTarget, body, http.StatusBadRequest, pauseRefused, "20,000 older pauses")
	s.views[1].set(func(v *view) { v.refusing = nil })
	// One replica's word is enough, and the object of the first try is shared.
	s.views[1].set(func(v *view) { v.holding = false })
	s.views[0].set(func(v *view) { v.failing = status.Error(codes.Unavailable, "starting") })
	s.expect(pauseTarget, body, http.StatusOK, body)
	if again := s.find(channel); len(again) != 1 || again[0].UID != found[0].UID || again[0].Generation != 1 {
		t.Errorf("not shared: %v", again)
	}
	for _, v := range s.views {
		v.set(func(v *view) { v.failing = status.Error(codes.Unavailable, "starting") })
	}
	s.expectFailure(resumeTarget, body, http.StatusServiceUnavailable, notConfirmed, "the pause is deleted")
	if found := s.find(channel); len(found) != 0 {
		t.Errorf("%d objects", len(found))
	}
}

// TestMoved: connections that turn out to be on different media servers are told so
// at once.
func TestMoved(t *testing.T) {
	s := newShim(t, 1)
	channel := t.Name()
	s.views[0].join(channel, sendrecv(alice), sendrecv(bob))
	s.views[0].set(func(v *view) {
		v.refusing = status.Error(codes.FailedPrecondition, "different media servers")
		v.moveAfter = 1
	})
	s.expectFailure(pauseTarget, edgeBody(channel, alice, bob), http.StatusBadRequest, differentMediaServers, "")
}

package sora

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

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

func (s *shim) create(name string, spec v1alpha1.RtpStreamPauseSpec, finalizers ...string) *v1alpha1.RtpStreamPause {
	s.t.Helper()
	pause := &v1alpha1.RtpStreamPause{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Finalizers: finalizers}, Spec: spec}
	if err := s.objects.Create(s.t.Context(), pause); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := s.objects.Delete(context.Background(), pause); client.IgnoreNotFound(err) != nil {
			s.t.Error(err)
		}
	})
	return pause
}

func of(channel string, change func(*v1alpha1.RtpStreamPauseSpec)) v1alpha1.RtpStreamPauseSpec {
	recv, send := alice, bob
	spec := v1alpha1.RtpStreamPauseSpec{ChannelID: channel, RecvConnectionID: &recv, SendConnectionID: &send}
	if change != nil {
		change(&spec)
	}
	return spec
}

func TestPauseListResume(t *testing.T) {
	s := newShim(t, 2)
	channel := "a, b=c\\ \"q\" <&> 日本 " + strings.Repeat("é", 100)
	// The replicas know one connection each: only together they know the edge.
	s.views[0].join(channel, sendrecv(alice))
	s.views[1].join(channel, sendrecv(bob), sendrecv(carol))
	body := edgeBody(channel, alice, bob)
	for range 2 {
		s.expect(pauseTarget, body, http.StatusOK, body)
	}
	found := s.find(channel)
	if len(found) != 1 {
		t.Fatalf("%d objects", len(found))
	}
	pause := found[0]
	if pause.Name != (edge{channel, alice, bob}).name() || pause.Labels[managedByLabel] != managedBy || pause.Spec.Kinds != nil ||
		pause.Spec.DeleteAfterDisconnect.Duration != time.Minute || pause.Status.ObservedGeneration != -1 {
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
	// One second may hold both creations; then ids decide, and 3 sorts before G.
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

// TestChannelNames: the field selector finds exactly the channel, whatever is in
// its name.
func TestChannelNames(t *testing.T) {
	s := newShim(t, 1)
	names := []string{
		",", "=", "==", "!=", `\`, `\\`, `\,`, `a,spec.channelID=b`, `"`, "'", " ", " a ", "a", "A", "%2C", "+", "&", "?x=1#y", "../..", "\t", "\n", "\u0001", "\u007f", "\u0000", "a\u0000b",
		"日本語", "😀", "e\u0301", "é", "\u2028", "<script>", "{}", "null", strings.Repeat("x", 255), strings.Repeat(",", 255), strings.Repeat("é", 127),
	}
	for _, name := range names {
		s.views[0].join(name, sendrecv(alice), sendrecv(bob))
		if status, got := s.post(pauseTarget, edgeBody(name, alice, bob)); status != http.StatusOK {
			t.Errorf("pause in %q: %d %s", name, status, got)
		}
	}
	for _, name := range names {
		if status, got := s.post(listTarget, channelBody(name)); status != http.StatusOK || strings.Count(got, "recv_connection_id") != 1 {
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
	for _, test := range []struct{ channel, recv, send, name, piece string }{
		{"empty", alice, bob, channelNotFound, `"channel_id":"empty"`},
		{"", alice, bob, channelNotFound, ""},
		{channel, carol, bob, connectionNotFound, carol},
		{channel, alice, carol, connectionNotFound, carol},
		{channel, alice, alice, sameConnection, alice},
		{channel, "SENDONLY", alice, roleMismatch, `"role":"sendonly"`},
		{channel, alice, "RECVONLY", roleMismatch, `"role":"recvonly"`},
		{channel, alice, "BUNDLED", sameBundle, alice},
	} {
		for _, operation := range []string{pauseTarget, resumeTarget} {
			s.expectFailure(operation, edgeBody(test.channel, test.recv, test.send), http.StatusBadRequest, test.name, test.piece)
		}
	}
	if found := s.find(channel); len(found) != 0 {
		t.Errorf("refused, yet created: %v", found)
	}
}

// TestGrace: a connection whose report is on its way is waited for.
func TestGrace(t *testing.T) {
	s := newShim(t, 1)
	channel := t.Name()
	joined := make(chan struct{})
	go func() {
		defer close(joined)
		for range 2 { // the second question comes after the first answer
			<-s.views[0].asked
		}
		s.views[0].join(channel, sendrecv(alice), sendrecv(bob))
	}()
	body := edgeBody(channel, alice, bob)
	s.expect(pauseTarget, body, http.StatusOK, body)
	<-joined
	s.expect(resumeTarget, body, http.StatusOK, body)
}

func TestNotConfirmed(t *testing.T) {
	s := newShim(t, 2, func(c *Config) { c.PauseTimeout = 100 * time.Millisecond })
	channel := t.Name()
	body := edgeBody(channel, alice, bob)
	for _, v := range s.views {
		v.join(channel, sendrecv(alice), sendrecv(bob))
		v.set(func(v *view) { v.failing = true })
	}
	s.expectFailure(pauseTarget, body, http.StatusServiceUnavailable, notConfirmed, "nothing was paused")
	if found := s.find(channel); len(found) != 0 {
		t.Errorf("created unseen: %v", found)
	}
	s.expectFailure(whoTarget, channelBody(channel), http.StatusServiceUnavailable, notConfirmed, "")

	for _, v := range s.views {
		v.set(func(v *view) { v.failing, v.holding = false, true })
	}
	s.expectFailure(pauseTarget, body, http.StatusServiceUnavailable, notConfirmed, (edge{channel, alice, bob}).name())
	found := s.find(channel)
	if len(found) != 1 {
		t.Fatalf("%d objects after an unconfirmed pause", len(found))
	}
	s.views[1].set(func(v *view) { v.withdrawn = true })
	s.expectFailure(pauseTarget, body, http.StatusServiceUnavailable, notConfirmed, "deleted by somebody else")
	s.views[1].set(func(v *view) { v.withdrawn = false })
	// One replica's word is enough, and the object of the first try is shared.
	s.views[1].set(func(v *view) { v.holding = false })
	s.views[0].set(func(v *view) { v.failing = true })
	s.expect(pauseTarget, body, http.StatusOK, body)
	if again := s.find(channel); len(again) != 1 || again[0].UID != found[0].UID {
		t.Errorf("not shared: %v", again)
	}
	s.expect(resumeTarget, body, http.StatusOK, body)
}

// TestReplaced: what stands under the derived name and does something else makes
// way.
func TestReplaced(t *testing.T) {
	s := newShim(t, 1)
	for name, change := range map[string]func(*v1alpha1.RtpStreamPauseSpec){
		"expired": func(spec *v1alpha1.RtpStreamPauseSpec) { spec.ExpiresAt = &metav1.Time{Time: time.Unix(1, 0)} },
		"will expire": func(spec *v1alpha1.RtpStreamPauseSpec) {
			spec.ExpiresAt = &metav1.Time{Time: time.Now().Add(time.Hour)}
		},
		"other kinds": func(spec *v1alpha1.RtpStreamPauseSpec) { spec.Kinds = []v1alpha1.Kind{v1alpha1.KindAudio} },
		"other side":  func(spec *v1alpha1.RtpStreamPauseSpec) { spec.SendConnectionID = nil },
		"stays":       nil,
	} {
		channel := t.Name() + name
		s.views[0].join(channel, sendrecv(alice), sendrecv(bob))
		old := s.create((edge{channel, alice, bob}).name(), of(channel, change))
		body := edgeBody(channel, alice, bob)
		s.expect(pauseTarget, body, http.StatusOK, body)
		found := s.find(channel)
		if len(found) != 1 || found[0].UID == old.UID || !pausesExactly(&found[0], edge{channel, alice, bob}) || !endsWithConnections(&found[0]) {
			t.Errorf("%s: %+v", name, found)
		}
		s.expect(resumeTarget, body, http.StatusOK, body)
	}
}

// TestReplacedWhenFreed: an object held by a finalizer is waited for.
func TestReplacedWhenFreed(t *testing.T) {
	s := newShim(t, 1)
	channel := t.Name()
	s.views[0].join(channel, sendrecv(alice), sendrecv(bob))
	e := edge{channel, alice, bob}
	old := s.create(e.name(), s.pausesObject(e), "example.org/hold")
	if err := s.objects.Delete(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	answered := make(chan string, 1)
	body := edgeBody(channel, alice, bob)
	go func() {
		_, got := s.post(pauseTarget, body)
		answered <- got
	}()
	<-s.views[0].asked
	if err := s.objects.Patch(t.Context(), old, release()); err != nil {
		t.Fatal(err)
	}
	if got := <-answered; got != body {
		t.Errorf("got %s", got)
	}
	if found := s.find(channel); len(found) != 1 || found[0].UID == old.UID {
		t.Errorf("%v", found)
	}
	s.expect(resumeTarget, body, http.StatusOK, body)
}

func (s *shim) pausesObject(e edge) v1alpha1.RtpStreamPauseSpec {
	return pauses{namespace: "default"}.object(e).Spec
}

func TestConcurrentPauses(t *testing.T) {
	s := newShim(t, 2)
	channel := t.Name()
	for _, v := range s.views {
		v.join(channel, sendrecv(alice), sendrecv(bob))
	}
	s.create((edge{channel, alice, bob}).name(), of(channel, func(spec *v1alpha1.RtpStreamPauseSpec) {
		spec.ExpiresAt = &metav1.Time{Time: time.Unix(1, 0)}
	}))
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
	if found := s.find(channel); len(found) != 1 {
		t.Errorf("%d objects", len(found))
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

func TestResumeDeletesEveryExactPause(t *testing.T) {
	s := newShim(t, 1)
	channel := t.Name()
	s.create("by-a-person", of(channel, nil))
	s.create("by-gitops", of(channel, func(spec *v1alpha1.RtpStreamPauseSpec) { spec.Kinds = []v1alpha1.Kind{v1alpha1.KindVideo} }))
	s.create("other-edge", of(channel, func(spec *v1alpha1.RtpStreamPauseSpec) { spec.SendConnectionID = new(carol) }))
	s.create("audio", of(channel, func(spec *v1alpha1.RtpStreamPauseSpec) { spec.Kinds = []v1alpha1.Kind{v1alpha1.KindAudio} }))
	// Nobody is connected: cleaning up is possible all the same.
	body := edgeBody(channel, alice, bob)
	s.expect(resumeTarget, body, http.StatusOK, body)
	if found := s.find(channel); len(found) != 2 {
		t.Errorf("%v", found)
	}
	s.expectFailure(resumeTarget, body, http.StatusBadRequest, channelNotFound, channel)
}

func TestStillPaused(t *testing.T) {
	s := newShim(t, 1)
	sender, stranger := "client-"+bob[:3], "somebody else"
	for name, test := range map[string]struct {
		change     func(*v1alpha1.RtpStreamPauseSpec)
		finalizers []string
		want       bool
	}{
		"client":       {func(spec *v1alpha1.RtpStreamPauseSpec) { spec.SendConnectionID, spec.SendClientID = nil, &sender }, nil, true},
		"other-client": {func(spec *v1alpha1.RtpStreamPauseSpec) { spec.SendConnectionID, spec.SendClientID = nil, &stranger }, nil, false},
		"open":         {func(spec *v1alpha1.RtpStreamPauseSpec) { spec.RecvConnectionID = nil }, nil, true},
		"both-kinds":   {func(spec *v1alpha1.RtpStreamPauseSpec) { spec.Kinds = []v1alpha1.Kind{"Video", "Audio"} }, nil, true},
		"audio-alone":  {func(spec *v1alpha1.RtpStreamPauseSpec) { spec.Kinds = []v1alpha1.Kind{"Audio"} }, nil, false},
		"expired-open": {func(spec *v1alpha1.RtpStreamPauseSpec) {
			spec.RecvConnectionID, spec.ExpiresAt = nil, &metav1.Time{Time: time.Unix(1, 0)}
		}, nil, false},
		"other-edge":    {func(spec *v1alpha1.RtpStreamPauseSpec) { spec.RecvConnectionID = new(carol) }, nil, false},
		"held-finalize": {nil, []string{"example.org/hold"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			channel := t.Name()
			s.views[0].join(channel, sendrecv(alice), sendrecv(bob))
			other := s.create(name, of(channel, test.change), test.finalizers...)
			body := edgeBody(channel, alice, bob)
			s.expect(pauseTarget, body, http.StatusOK, body)
			if test.want {
				s.expectFailure(resumeTarget, body, http.StatusBadRequest, stillPaused, `"name":"`+name+`"`)
			} else {
				s.expect(resumeTarget, body, http.StatusOK, body)
			}
			if err := s.objects.Get(t.Context(), types.NamespacedName{Namespace: "default", Name: (edge{channel, alice, bob}).name()}, &v1alpha1.RtpStreamPause{}); !apierrors.IsNotFound(err) {
				t.Errorf("the shim's own object: %v", err)
			}
			if name == "client" {
				s.views[0].set(func(v *view) { v.failing = true })
				s.expectFailure(resumeTarget, body, http.StatusServiceUnavailable, notConfirmed, name)
				s.views[0].set(func(v *view) { v.failing = false })
			}
			if len(test.finalizers) > 0 {
				if err := s.objects.Patch(t.Context(), other, release()); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// release takes all finalizers off.
func release() client.Patch {
	return client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
}

func TestList(t *testing.T) {
	s := newShim(t, 1)
	channel := t.Name()
	s.views[0].join(channel, member(alice, forwardingv1.Role_ROLE_RECVONLY), sendrecv(bob))
	s.create("list-audio", of(channel, func(spec *v1alpha1.RtpStreamPauseSpec) { spec.Kinds = []v1alpha1.Kind{"Audio"} }))
	s.create("list-expired", of(channel, func(spec *v1alpha1.RtpStreamPauseSpec) { spec.ExpiresAt = &metav1.Time{Time: time.Unix(1, 0)} }))
	s.create("list-gone", of(channel, func(spec *v1alpha1.RtpStreamPauseSpec) { spec.SendConnectionID = new(carol) }))
	s.create("list-open", of(channel, func(spec *v1alpha1.RtpStreamPauseSpec) { spec.SendConnectionID = nil }))
	s.expect(listTarget, channelBody(channel), http.StatusOK, "[]")
	s.create("list-one", of(channel, nil))
	twin := s.create("list-twin", of(channel, func(spec *v1alpha1.RtpStreamPauseSpec) { spec.Kinds = []v1alpha1.Kind{"Audio", "Video"} }))
	want := func(role string) string {
		return `[{"channel_id":"` + channel + `","recv_connection_id":"` + alice + `","role":"` + role + `","send_connection_id":"` + bob + `"}]`
	}
	s.expect(listTarget, channelBody(channel), http.StatusOK, want("recvonly"))

	// Without managers, the controllers' last word stands in.
	s.views[0].set(func(v *view) { v.failing = true })
	s.expect(listTarget, channelBody(channel), http.StatusOK, "[]")
	twin.Status.Role = v1alpha1.RoleSendRecv
	if err := s.objects.Status().Update(t.Context(), twin); err != nil {
		t.Fatal(err)
	}
	s.expect(listTarget, channelBody(channel), http.StatusOK, want("sendrecv"))
}

func TestListChannelConnections(t *testing.T) {
	s := newShim(t, 2)
	channel := t.Name()
	quiet := member(bob, forwardingv1.Role_ROLE_SENDONLY)
	quiet.Audio, quiet.Video.BitRate = nil, 0
	s.views[0].join(channel, sendrecv(alice))
	s.views[1].join(channel, sendrecv(alice), quiet)
	s.expect(whoTarget, channelBody(channel), http.StatusOK, `[`+
		`{"audio":false,"channel_id":"`+channel+`","client_id":"client-3X0","connection_id":"`+bob+`","created_time":1600000000123456,"multistream":true,"role":"sendonly","session_id":"SESSION","simulcast":false,"spotlight":false,"video":{"codec_type":"VP8"}},`+
		`{"audio":{"codec_type":"OPUS"},"channel_id":"`+channel+`","client_id":"client-VTG","connection_id":"`+alice+`","created_time":1600000000123456,"multistream":true,"role":"sendrecv","session_id":"SESSION","simulcast":false,"spotlight":false,"video":{"bit_rate":500,"codec_type":"VP8"}}]`)
	s.expect(whoTarget, channelBody("nobody"), http.StatusOK, "[]")
	// One replica that fails hides nothing that the other knows.
	s.views[0].set(func(v *view) { v.failing = true })
	if _, got := s.post(whoTarget, channelBody(channel)); strings.Count(got, "connection_id") != 2 {
		t.Errorf("%s", got)
	}
}

func TestForbidden(t *testing.T) {
	user, err := apiServer(t).Environment.AddUser(envtest.User{Name: "nobody", Groups: []string{"nobodies"}}, &rest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s := newShim(t, 1, func(c *Config) { c.Client = newClient(t, user.Config()) })
	channel := t.Name()
	s.views[0].join(channel, sendrecv(alice), sendrecv(bob))
	for operation, body := range map[string]string{pauseTarget: edgeBody(channel, alice, bob), resumeTarget: edgeBody(channel, alice, bob), listTarget: channelBody(channel)} {
		s.expectFailure(operation, body, http.StatusForbidden, forbidden, "ServiceAccount")
	}
}

func TestKubernetesUnavailable(t *testing.T) {
	s := newShim(t, 1, func(c *Config) { c.Client = unreachable(t) })
	channel := t.Name()
	s.views[0].join(channel, sendrecv(alice), sendrecv(bob))
	for operation, body := range map[string]string{pauseTarget: edgeBody(channel, alice, bob), resumeTarget: edgeBody(channel, alice, bob), listTarget: channelBody(channel)} {
		s.expectFailure(operation, body, http.StatusServiceUnavailable, kubernetesUnavailable, "refused")
	}
}

// unreachable is a client whose every request fails on its way.
func unreachable(t testing.TB) client.Client {
	nowhere := &rest.Config{Host: "http://127.0.0.1:1"}
	refusing := errors.New("connection refused by the test's network")
	nowhere.Wrap(func(http.RoundTripper) http.RoundTripper {
		return roundTripper(func(*http.Request) (*http.Response, error) { return nil, refusing })
	})
	return newClient(t, nowhere)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestNames(t *testing.T) {
	names := map[string]edge{}
	for _, e := range []edge{{"a", "b", "c"}, {"ab", "", "c"}, {"", "ab", "c"}, {"a", "bc", ""}, {"a", "c", "b"}} {
		name := e.name()
		if other, taken := names[name]; taken || len(name) != len("pause-")+40 {
			t.Errorf("%v and %v: %s", e, other, name)
		}
		names[name] = e
	}
	if got := (edge{"sora", alice, bob}).name(); got != "pause-3eb2f84fe5c7bb84f7f15849729c0e6fe077ce58" {
		t.Errorf("the derivation changed, and with it the names of stored pauses: %s", got)
	}
}

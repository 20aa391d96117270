package e2e

import (
	"net/http"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// caller makes a ServiceAccount that may do what a role in config/rbac says, and
// returns its name as the API server knows it and a token for the audience.
func (s *system) caller(t *testing.T, name, file, audience string) (user, token string) {
	t.Helper()
	set, err := kubernetes.NewForConfigAndClient(s.plane.Config, s.http)
	if err != nil {
		t.Fatal(err)
	}
	accounts := set.CoreV1().ServiceAccounts(namespace)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := accounts.Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}}}
	made, err := accounts.CreateToken(t.Context(), name, request, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	user = "system:serviceaccount:" + namespace + ":" + name
	r, err := shippedRole(file, user)
	if err != nil {
		t.Fatal(err)
	}
	s.mustGrant(t, *r)

	return user, made.Status.Token
}

// TestCallers proves on media that a shim that asks for tokens lets those pause and
// resume who have the role that we ship for that, and nobody else: what is refused
// neither stops a packet nor lets one go on.
func TestCallers(t *testing.T) {
	t.Parallel()
	const identity = "shim-with-tokens"
	s := own(t, layout{managers: 2, shims: 1, mediaServers: 1})
	p, err := s.addShim(t.Context(), identity, "--namespace="+namespace, "--allow-anonymous=false")
	if err != nil {
		t.Fatal(err)
	}
	p.awaitUnready(t, "to create tokenreviews", "to create localsubjectaccessreviews")
	r, err := shippedRole("shim/role.yaml", identity)
	if err != nil {
		t.Fatal(err)
	}
	s.mustGrant(t, *r)
	p.awaitReady(t)

	editor, token := s.caller(t, "editor", "people/editor.yaml", "nagi")
	_, looks := s.caller(t, "viewer", "people/viewer.yaml", "nagi")
	_, foreign := s.caller(t, "foreign", "people/editor.yaml", "vault")
	refused := map[string]int{
		"": http.StatusUnauthorized, foreign: http.StatusUnauthorized, looks: http.StatusForbidden,
	}

	m := s.newMeeting(t, channelOf(t))
	edgeOf := edgeBody(m.channel, m.alice, m.bob)
	w := m.watchEdge(t, m.paused(), edge{m.carol, m.bob}, "video")
	for sent, want := range refused {
		if status, text := p.postAs(t, sent, pauseTarget, edgeOf); status != want {
			t.Errorf("pause: %d %s, want %d", status, text, want)
		}
	}
	m.paused().awaitMore(t, "video", enoughVideo)
	if status, text := p.postAs(t, token, pauseTarget, edgeOf); status != http.StatusOK || text != edgeOf {
		t.Fatalf("pause: %d %s", status, text)
	}
	w.provePaused(t)
	var pauses v1alpha1.RtpStreamPauseList
	if err := s.api.List(t.Context(), &pauses, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	if len(pauses.Items) != 1 || pauses.Items[0].Annotations[v1alpha1.RequestedByAnnotation] != editor {
		t.Errorf("%+v, want one that %s asked for", pauses.Items, editor)
	}
	for _, target := range []string{listTarget, connectionsTarget} {
		status, text := p.postAs(t, looks, target, body(field{"channel_id", m.channel}))
		if status != http.StatusOK || !strings.Contains(text, m.alice.ConnectionID()) {
			t.Errorf("%s of who may look: %d %s", target, status, text)
		}
	}
	for sent, want := range refused {
		if status, text := p.postAs(t, sent, resumeTarget, edgeOf); status != want {
			t.Errorf("resume: %d %s, want %d", status, text, want)
		}
	}
	w.reference.awaitMore(t, "video", enoughVideo)
	w.proveSilence(t)
	if status, text := p.postAs(t, token, resumeTarget, edgeOf); status != http.StatusOK || text != edgeOf {
		t.Errorf("resume: %d %s", status, text)
	}
	w.proveResumed(t)
	for _, secret := range []string{token, looks, foreign} {
		if strings.Contains(p.wrote(t), secret[strings.LastIndex(secret, ".")+1:]) {
			t.Errorf("the shim wrote a token down:\n%s", p.wrote(t))
		}
	}
}

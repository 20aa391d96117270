//go:build linux && cluster

package cluster

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// serviceAddress is host:port of a Service's first port.
func serviceAddress(t *testing.T, namespace, name string) string {
	t.Helper()

	return kubectl(t, "--namespace="+namespace, "get", "service", name,
		"--output=jsonpath={.spec.clusterIP}:{.spec.ports[0].port}")
}

// signaling is the address that clients connect to: the Service, which leads to whichever media server.
func signaling(t *testing.T) string {
	t.Helper()

	return "ws://" + serviceAddress(t, tenant, "nagi-mediaserver") + "/signaling"
}

// shim is the HTTP API, by its Service.
type shim struct{ url string }

// post sends a request as the bearer of a token, if there is one, and returns the status and the answer.
func (s shim) post(t *testing.T, token, target string, of *lesson) (int, string) {
	t.Helper()
	alice, err := of.alice.connection()
	if err != nil {
		t.Fatal(err)
	}
	bob, err := of.bob.connection()
	if err != nil {
		t.Fatal(err)
	}
	body := fmt.Sprintf(`{"channel_id":%q,"recv_connection_id":%q,"send_connection_id":%q}`, of.name,
		alice.ConnectionID(), bob.ConnectionID())
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Close = true
	request.Header.Set("X-Sora-Target", "Sora_20200401."+target)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}

	return response.StatusCode, string(answer)
}

// throughServices pauses and resumes by kubectl, and by HTTP with a token: everybody comes through the Services, and
// media goes to the node's address.
func (r *reader) throughServices(t *testing.T, v *view) {
	l := newLesson(t, r, "services")
	await(t, "everybody to get everybody", func() error { return l.flows(time.Now().Add(-time.Second)) })
	l.pause(t, v)
	l.proveSilence(t)
	l.resume(t)

	// As docs/sora.md says.
	kubectl(t, "--namespace=apps", "create", "serviceaccount", "lesson-bot")
	kubectl(t, "create", "rolebinding", "lesson-bot", "--namespace="+tenant, "--clusterrole=nagi-editor",
		"--serviceaccount=apps:lesson-bot")
	token := func(account string, options ...string) string {
		return kubectl(t, append([]string{"--namespace=apps", "create", "token", account}, options...)...)
	}
	editor := token("lesson-bot", "--audience=nagi")
	refused := map[string]int{
		"":                                   http.StatusUnauthorized,
		token("lesson-bot"):                  http.StatusUnauthorized,
		token("observer", "--audience=nagi"): http.StatusForbidden,
	}
	s := shim{"http://" + serviceAddress(t, system, "nagi-shim") + "/"}
	refuse := func(target string) {
		t.Helper()
		for bearer, want := range refused {
			if status, answer := s.post(t, bearer, target, l); status != want {
				t.Errorf("%s: %d %s, want %d", target, status, answer, want)
			}
		}
	}
	refuse("PauseRtpStream")
	await(t, "alice to go on getting video", func() error { return l.receivesVideo(time.Now().Add(-time.Second / 10)) })
	if status, answer := s.post(t, editor, "PauseRtpStream", l); status != http.StatusOK {
		t.Fatalf("pause: %d %s", status, answer)
	}
	l.proveSilence(t)
	refuse("ResumeRtpStream")
	l.proveSilence(t)
	asked := time.Now()
	if status, answer := s.post(t, editor, "ResumeRtpStream", l); status != http.StatusOK {
		t.Fatalf("resume: %d %s", status, answer)
	}
	await(t, "video after the pause", func() error { return l.receivesVideo(asked) })
}

// inBrowsers has Chromium with the unmodified SDK do the same: hack/e2e/browser has the test, and
// the Makefile builds it.
func (r *reader) inBrowsers(t *testing.T) {
	const channel = "browser"
	command := exec.CommandContext(t.Context(), filepath.Join(r.sources(t), "bin/cluster/browser.test"), "-test.v",
		"-test.run=TestInstalled")
	command.Dir = filepath.Join(r.sources(t), "hack/e2e/browser")
	command.Env = append(os.Environ(), "NAGI_SIGNALING="+signaling(t),
		"NAGI_API=http://"+serviceAddress(t, system, "nagi-shim")+"/",
		"NAGI_API_TOKEN="+kubectl(t, "--namespace=apps", "create", "token", "lesson-bot", "--audience=nagi"))
	for _, who := range []string{"alice", "bob", "carol"} {
		command.Env = append(command.Env, "NAGI_TOKEN_"+who+"="+r.token(channel, who))
	}
	if output, err := command.CombinedOutput(); err != nil ||
		!strings.Contains(string(output), "--- PASS: TestInstalled") {
		t.Fatalf("%v\n%s", err, output)
	}
}

// proveSilence proves that while a second of video comes to carol none comes to alice, once what had left before has
// arrived.
func (l *lesson) proveSilence(t *testing.T) {
	t.Helper()
	began := time.Now().Add(time.Second / 2)
	await(t, "carol to go on getting video", func() error { return l.flows(began.Add(time.Second)) })
	if l.receivesVideo(began) == nil {
		t.Errorf("%s: alice gets video", l.name)
	}
}

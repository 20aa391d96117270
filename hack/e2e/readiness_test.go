package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestShimIsNotReady proves that a shim says what it cannot do: of a namespace that
// no manager serves, without rights, and without any manager in reach.
func TestShimIsNotReady(t *testing.T) {
	t.Parallel()
	s := own(t, layout{managers: 2, shims: 1, mediaServers: 1})
	foreign, err := s.addShim(t.Context(), "", "--namespace=elsewhere")
	if err != nil {
		t.Fatal(err)
	}
	foreign.awaitUnready(t, "elsewhere", "serves")

	powerless, err := s.addShim(t.Context(), "somebody", "--namespace="+namespace)
	if err != nil {
		t.Fatal(err)
	}
	powerless.awaitUnready(t, "right")
	r, err := shippedRole("shim/role.yaml", "somebody")
	if err != nil {
		t.Fatal(err)
	}
	s.mustGrant(t, *r)
	powerless.awaitReady(t)

	m := s.newMeeting(t, channelOf(t))
	foreign.mustRefuse(t, pauseTarget, edgeBody(m.channel, m.alice, m.bob), http.StatusServiceUnavailable, "NOT-CONFIRMED")
	w := m.watchEdge(t, m.paused(), edge{m.carol, m.bob}, "video")
	powerless.mustPost(t, pauseTarget, edgeBody(m.channel, m.alice, m.bob))
	w.provePaused(t)
	s.shims[0].expectList(t, m.channel, m.paused())

	// Without a manager in reach nothing can be confirmed; what a resume deletes is
	// deleted all the same.
	for _, manager := range s.managers {
		manager.shims.hold()
	}
	powerless.awaitUnready(t)
	text := powerless.mustRefuse(t, resumeTarget, edgeBody(m.channel, m.alice, m.bob), http.StatusServiceUnavailable,
		"NOT-CONFIRMED")
	t.Log(text)
	w.proveResumed(t)
	for _, manager := range s.managers {
		manager.shims.pass()
	}
	powerless.awaitReady(t)
	powerless.expectList(t, m.channel)
}

// TestManagersBehind cuts the managers off from the API server, which the shim goes on
// reaching, and proves that the shim and the media server say that nothing new acts:
// the shim by not being ready, once no manager hears; the media server beside being
// ready, for what is enforced stays so.
func TestManagersBehind(t *testing.T) {
	t.Parallel()
	s := own(t, layout{managers: 2, shims: 1, mediaServers: 1})
	m := s.newMeeting(t, channelOf(t))
	_, held := m.enforced(t, m.channel, m.paused())
	back := make([]func(), 0, len(s.managers))
	for _, manager := range s.managers {
		target := manager.api.opened()
		back = append(back, func() { manager.api.to(target) })
		manager.api.cut()
		manager.awaitUnready(t, "API server")
		if manager == s.managers[0] {
			// The other one hears: nothing is amiss.
			s.shims[0].awaitReady(t)
			s.mediaServers[0].awaitDetails(t)
		}
	}
	text := s.shims[0].awaitUnready(t, "namespace "+namespace,
		"the managers that serve it do not hear from the API server")
	if strings.Contains(text, "right") {
		t.Errorf("the shim's own access is blamed: %s", text)
	}
	s.shims[0].mustRefuse(t, pauseTarget, edgeBody(m.channel, m.carol, m.alice), http.StatusServiceUnavailable,
		"NOT-CONFIRMED")
	s.mediaServers[0].awaitDetails(t, "no manager vouches for the tables since ", "does not hear from the API server")
	held.proveSilence(t)
	for _, pass := range back {
		pass()
	}
	s.shims[0].awaitReady(t)
	s.mediaServers[0].awaitDetails(t)
	held.proveSilence(t)
}

// awaitDetails waits until the program is ready and says what it cannot do though it
// is, in words that contain those given; none: there is nothing.
func (p *program) awaitDetails(t *testing.T, words ...string) {
	t.Helper()
	await(t, fmt.Sprintf("%s to be ready but for %q", p.name, words), func() (string, bool) {
		status, text := p.ask(t, "/readyz")
		ok := status == http.StatusOK && (text == "ok\n") == (len(words) == 0)
		for _, word := range words {
			ok = ok && strings.Contains(text, word)
		}

		return fmt.Sprint(status, " ", text), ok
	})
}

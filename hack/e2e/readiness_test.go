package e2e

import (
	"net/http"
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
	r, err := shippedRole("shim", "somebody")
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
	text := powerless.mustRefuse(t, resumeTarget, edgeBody(m.channel, m.alice, m.bob), http.StatusServiceUnavailable, "NOT-CONFIRMED")
	t.Log(text)
	w.proveResumed(t)
	for _, manager := range s.managers {
		manager.shims.pass()
	}
	powerless.awaitReady(t)
	powerless.expectList(t, m.channel)
}

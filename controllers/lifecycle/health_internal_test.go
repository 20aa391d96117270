package lifecycle

import (
	"errors"
	"fmt"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestHealth(t *testing.T) {
	start := time.Now()
	fail := func(h *health, seconds ...int) {
		for _, s := range seconds {
			h.failed("a", errors.New("no answer"), start.Add(time.Duration(s)*time.Second))
		}
	}
	fresh := func() *health { return &health{limit: 30 * time.Second} }
	h := fresh()
	fail(h, 0, 5, 15, 25)
	if h.failure() != nil {
		t.Error("given up after 25 s")
	}
	fail(h, 31)
	if h.failure() == nil {
		t.Error("31 s of failures and still in office")
	}
	h = fresh()
	fail(h, 0, 15)
	h.succeeded("a", true)
	fail(h, 31, 40)
	if h.failure() != nil {
		t.Error("given up though a write succeeded")
	}
	h = fresh()
	fail(h, 0, 3600)
	if h.failure() != nil {
		t.Error("given up for two failures an hour apart")
	}
	h = fresh()
	for i := range 5 * panicsInARow {
		h.panicked(errors.New("panic"))
		if i%2 == 0 {
			h.succeeded("a", false)
		}
	}
	if h.failure() != nil {
		t.Error("one object that panics ends the term of all")
	}
	for range panicsInARow {
		h.panicked(errors.New("panic"))
	}
	if h.failure() == nil {
		t.Error("nothing but panics and still in office")
	}
}

// A namespace in which the manager lacks rights costs the others neither a worker
// nor the writer, and is a reason to leave the office where there is no other.
func TestRightsLackInOneNamespace(t *testing.T) {
	start := time.Now()
	forbidden := fmt.Errorf("write: %w", apierrors.NewForbidden(schema.GroupResource{Resource: "rtpstreampauses"}, "pause", errors.New("no role")))
	refuse := func(h *health, namespace string) {
		for s := 0; s <= 60; s += 5 {
			h.failed(namespace, forbidden, start.Add(time.Duration(s)*time.Second))
		}
	}

	alone := &health{limit: 30 * time.Second}
	refuse(alone, "a")
	if alone.failure() == nil || !alone.hinders("a", forbidden) {
		t.Error("no right anywhere, and still in office")
	}

	h := &health{limit: 30 * time.Second}
	h.succeeded("b", true)
	refuse(h, "a")
	if h.failure() != nil || h.hinders("a", forbidden) || !h.wrote() {
		t.Errorf("one namespace ends the writing in the other: %v", h.failure())
	}
	if !h.hinders("a", errors.New("no answer")) {
		t.Error("an API server that does not answer is taken for a namespace's affair")
	}
	h.failed("b", forbidden, start)
	refuse(h, "a")
	if h.failure() == nil {
		t.Error("no right in either namespace, and still in office")
	}
}

package lifecycle

import (
	"context"
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
		h.panicked("a", errors.New("panic"))
		if i%2 == 0 {
			h.succeeded("a", false)
		}
	}
	if h.failure() != nil {
		t.Error("one object that panics ends the term of all")
	}
	for range panicsInARow {
		h.panicked("a", errors.New("panic"))
	}
	if h.failure() == nil {
		t.Error("nothing but panics and still in office")
	}
}

// A namespace that cannot be written, whatever the failure, costs the others no
// writer, and is a reason to leave the office where there is no other.
func TestOneNamespaceThatFailsIsNoReasonToGiveUp(t *testing.T) {
	start := time.Now()
	lasting := func(err error) func(*health, string) {
		return func(h *health, namespace string) {
			for s := 0; s <= 60; s += 5 {
				h.failed(namespace, err, start.Add(time.Duration(s)*time.Second))
			}
		}
	}
	for what, fail := range map[string]func(h *health, namespace string){
		"no rights": lasting(fmt.Errorf("write: %w",
			apierrors.NewForbidden(schema.GroupResource{Resource: "rtpstreampauses"}, "pause", errors.New("no role")))),
		"webhook":   lasting(fmt.Errorf("write: %w", apierrors.NewInternalError(errors.New("failed calling webhook")))),
		"no answer": lasting(fmt.Errorf("write: %w", context.DeadlineExceeded)),
		"panics": func(h *health, namespace string) {
			for range 2 * panicsInARow {
				h.panicked(namespace, errors.New("panic"))
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			alone := &health{limit: 30 * time.Second}
			fail(alone, "a")
			if alone.failure() == nil || alone.wrote() || alone.fine() {
				t.Error("no namespace is written, and still in office")
			}

			h := &health{limit: 30 * time.Second}
			h.succeeded("b", true)
			fail(h, "a")
			if h.failure() != nil || !h.wrote() || h.fine() {
				t.Errorf("one namespace ends the writing in the other: %v", h.failure())
			}
			fail(h, "b")
			if h.failure() == nil || h.wrote() {
				t.Error("neither namespace is written, and still in office")
			}
		})
	}
}

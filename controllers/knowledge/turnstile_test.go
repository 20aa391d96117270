package knowledge

import (
	"runtime"
	"testing"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// within fails when the call has not returned in a time that is more than enough.
func within(t *testing.T, what string, call func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		call()
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s has not returned", what)
	}
}

// passes fails unless the call goes through the turnstile.
func (w *world) passes(t *testing.T, what string, call func()) {
	t.Helper()
	done := make(chan struct{})
	w.Tenant.mu.Lock()
	go func() {
		defer close(done)
		call()
	}()
	within(t, what+", which goes to the turnstile,", func() {
		for w.turnstile.TryLock() {
			w.turnstile.Unlock()
			runtime.Gosched()
		}
	})
	w.Tenant.mu.Unlock()
	within(t, what, func() { <-done })
}

func TestStreamsThatComeAndGoPassTheTurnstile(t *testing.T) {
	w := listed()
	w.create("pause")
	var s *Session
	w.passes(t, "Connect", func() { s = w.connect(t, "ms", "first", start) })
	w.passes(t, "Report", func() { must(t, s.Report(reportOf("lobby", 1, 1, 0, "R", "S"), start)) })
	w.passes(t, "Complete", func() { must(t, s.Complete(start)) })
	w.passes(t, "Crowded", func() { s.Crowded() })
	w.passes(t, "Next", func() { s.Next() })
	w.passes(t, "Acknowledge", func() {
		w.acknowledge(t, s, "lobby", 1, 1, start, map[string]forwardingv1.State{"pause": forwardingv1.State_STATE_MATCHING})
	})
	w.passes(t, "Close", func() { s.Close(start) })
	if !w.turnstile.TryLock() {
		t.Error("somebody is still in the turnstile")
	}
}

func TestAChangeWaitsForNobodyAtTheTurnstile(t *testing.T) {
	w := listed()
	s := w.stream(t, "ms", start, reportOf("lobby", 1, 1, 0, "R", "S"))
	drain(s)
	// It says its second version: what it was told first is long since dealt with.
	s.StateVersion()
	drain(s)
	w.turnstile.Lock() // Somebody else comes, and takes long.
	within(t, "the change", func() {
		o := w.create("pause")
		if sent := drain(s); len(sent) != 1 || len(sent[0].Table.Set) != 1 {
			t.Errorf("%d messages, want one table with the pause", len(sent))
		}
		w.acknowledge(t, s, "lobby", 1, 1, start, map[string]forwardingv1.State{"pause": forwardingv1.State_STATE_MATCHING})
		if v := w.Judge(o, start.Add(-time.Hour), start); v.Reason != "Enforced" {
			t.Errorf("the verdict is %s", describe(v))
		}
	})
	w.turnstile.Unlock()
	w.passes(t, "its going", func() { s.Close(start) })
}

package main

import (
	"testing"
	"time"

	"github.com/coder/websocket"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// A media server that nobody is at goes on to answer when it is told to end: a Service sends
// it clients still. It does so within --drain-timeout.
func TestAnEmptyMediaServerAnswersUntilItIsLeftOut(t *testing.T) {
	const drained = 3 * time.Second
	s := start(t, &manager{reports: make(chan *forwardingv1.ChannelReport, 16)},
		"--drain-at-least=1h", "--drain-timeout="+drained.String())
	began := time.Now()
	s.end()
	socket := s.join(t)
	var err error
	for err == nil {
		_, _, err = socket.Read(t.Context())
	}
	// There is no other to pass it on to.
	if websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("a client that comes meanwhile is closed with %v, want 1001", err)
	}
	if err := receive(t, s.ended); err != nil {
		t.Errorf("the graceful end: %v", err)
	}
	if lasted := time.Since(began); lasted < drained {
		t.Errorf("it ended after %s", lasted)
	}
}

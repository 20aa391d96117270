package signaling

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

func TestRefusedBeforeJoin(t *testing.T) {
	f := start(t, Config{MaxMessageSize: 100_000})
	for text, reason := range refused {
		if text == "" {
			continue // Dialled clients cannot be told apart from silence.
		}
		p := f.dial()
		p.send(text)
		if !strings.Contains(text, "\xff") {
			p.closed(CodeError, reason)
		}
	}
	for _, text := range []string{`{"type":"answer","sdp":"x"}`, `{"type":"re-answer","sdp":"x"}`,
		`{"type":"candidate","candidate":""}`, `{"type":"pong"}`} {
		p := f.dial()
		p.send(text)
		p.closed(CodeError, ReasonUnexpectedType)
	}
	p := f.dial()
	p.sendFrame(websocket.MessageBinary, []byte(connectText("")))
	p.closed(CodeError, ReasonBinaryMessage)
	p = f.dial()
	p.send(connectText(`,"x":"` + strings.Repeat("x", 100_000) + `"`))
	p.closed(CodeError, ReasonMessageTooLarge)
	p = f.dial()
	p.send(`{"type":"disconnect"}`)
	p.closed(1000, ReasonTypeDisconnect)
	if len(f.room.sessions) != 0 {
		t.Error("a refused client is in a channel")
	}
	p, _ = f.established() // The server is none the worse for it.
	p.send(`{"type":"disconnect"}`)
	p.closed(1000, ReasonTypeDisconnect)
}

func TestRefusedInChannel(t *testing.T) {
	f := start(t, Config{MaxMessageSize: 100_000})
	bystander, other := f.established()
	for _, test := range []struct {
		state  func() (*peer, *seat)
		frame  string
		reason string
	}{
		{f.offered, connectText(""), ReasonUnexpectedType},
		{f.offered, `{"type":"re-answer","sdp":"x"}`, ReasonUnexpectedType},
		{f.established, `{"type":"answer","sdp":"x"}`, ReasonUnexpectedType},
		{f.established, `{"type":"update","sdp":"x"}`, ReasonUnexpectedType},
		{f.established, connectText(""), ReasonUnexpectedType},
		{f.established, "no JSON", ReasonFailureJSONDecode},
		{f.established, `{"type":"push"}`, ReasonUnknownType},
		// The longest message goes by the offer, whose SDP is "first", 5 bytes.
		{f.established, strings.Repeat(" ", 100_020), ReasonFailureJSONDecode},
		{f.established, strings.Repeat(" ", 100_021), ReasonMessageTooLarge},
	} {
		p, s := test.state()
		p.send(test.frame)
		p.closed(CodeError, test.reason)
		s.expectLeft(t, test.reason)
	}

	p, s := f.offered()
	s.mu.Lock()
	s.answer = errors.New("no SDP")
	s.mu.Unlock()
	p.send(`{"type":"answer","sdp":"x"}`)
	p.closed(CodeError, ReasonInvalidSDP)
	s.expectLeft(t, ReasonInvalidSDP)

	other.client.Notify(RTPStreamPaused{})
	bystander.receive("notify")
}

func TestNoWebSocket(t *testing.T) {
	f := start(t, Config{})
	if status := f.get(); status != http.StatusUpgradeRequired {
		t.Errorf("a plain GET gets %d", status)
	}
}

package signaling

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/nagi-rtc/nagi/internal/bounds"
)

// An address has its pace: as many at once as in ten seconds, and then one by one. Others
// have their own, and nobody is remembered for long.
func TestPace(t *testing.T) {
	p, now := newPace(2), time.Now()
	a, b := bounds.NetworkOf("192.0.2.1:1"), bounds.NetworkOf("192.0.2.2:1")
	take := func(n int, what string) {
		t.Helper()
		for i := range n {
			if !p.allow(a, now) {
				t.Fatalf("%s: number %d is refused", what, i+1)
			}
		}
		if p.allow(a, now) {
			t.Errorf("%s: one too many is allowed", what)
		}
	}
	take(20, "at once")
	if !p.allow(b, now) {
		t.Error("another address is refused")
	}
	now = now.Add(1500 * time.Millisecond)
	take(3, "1.5 s later")
	now = now.Add(time.Hour)
	take(20, "an hour later")

	now = now.Add(time.Hour)
	for i := range 3 * minSweep {
		p.allow(bounds.NetworkOf("[2001:db8:"+hex4(i)+"::1]:1"), now)
		now = now.Add(100 * time.Millisecond)
	}
	if len(p.byNet) > minSweep {
		t.Errorf("%d networks are remembered", len(p.byNet))
	}
}

func hex4(i int) string {
	const digits = "0123456789abcdef"

	return string([]byte{digits[i>>12&15], digits[i>>8&15], digits[i>>4&15], digits[i&15]})
}

// Who comes too fast is told so before anything is made for it, and counted.
func TestConnectsArePaced(t *testing.T) {
	f := start(t, Config{MaxConnectsPerAddress: 1})
	status := http.StatusSwitchingProtocols
	deadline := time.Now().Add(patience)
	for status == http.StatusSwitchingProtocols && time.Now().Before(deadline) {
		var socket *websocket.Conn
		if socket, status = f.tryDial(); socket != nil {
			_ = socket.CloseNow()
		}
	}
	got := measured(t, f.server.metrics.refused.WithLabelValues("pace"))
	if status != http.StatusTooManyRequests || got != 1 {
		t.Errorf("refused with %d, counted %v times", status, got)
	}
}

// Before its offer a client has little to say, and little is listened to.
func TestMessagesBeforeTheOfferAreShort(t *testing.T) {
	f := start(t, Config{})
	p := f.dial()
	p.send(connectText(`,"x":"` + strings.Repeat("x", maxConnectSize) + `"`))
	p.closed(CodeError, ReasonMessageTooLarge)
	p = f.dial()
	p.send(connectText(`,"sdp":"` + strings.Repeat("x", maxConnectSize-1000) + `"`))
	p.receive("offer")
	p.send(`{"type":"answer","sdp":"` + strings.Repeat("x", 2*maxConnectSize) + `"}`)
	f.seat().expect(t, "answer "+strings.Repeat("x", 2*maxConnectSize))
}

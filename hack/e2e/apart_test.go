package e2e

import (
	"net/http"
	"testing"
	"time"

	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
)

// TestDifferentMediaServers proves that a receiver and a sender who are in one
// channel at different media servers, so that no stream can go from one to the
// other, get an error of their own, at once, and no object.
func TestDifferentMediaServers(t *testing.T) {
	channel := channelOf(t)
	alice := running.mediaServers[0].join(t, channel, "alice", bot.SendRecv)
	bob := running.mediaServers[1].join(t, channel, "bob", bot.SendRecv)
	for _, shim := range running.shims {
		begun := time.Now()
		shim.mustRefuse(t, pauseTarget, edgeBody(channel, alice, bob), http.StatusBadRequest, "DIFFERENT-MEDIA-SERVERS")
		if took := time.Since(begun); took > time.Second {
			t.Errorf("the error took %s", took)
		}
	}
	if pauses := pausesOf(t, channel); len(pauses) != 0 {
		t.Errorf("%d objects were made", len(pauses))
	}
	running.shims[0].expectList(t, channel)
}

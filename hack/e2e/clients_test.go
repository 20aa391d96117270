package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
)

const (
	disconnectConnectionTarget = "Sora_20151104.DisconnectConnection"
	disconnectClientTarget     = "Sora_20151104.DisconnectClient"
	disconnectChannelTarget    = "Sora_20151104.DisconnectChannel"
)

// TestPauseByClientIDs proves that a pause that was asked for by client ids
// outlives its receiver's and its sender's reconnect, is in the list, and ends
// when asked to by client ids.
func TestPauseByClientIDs(t *testing.T) {
	m := newMeeting(t)
	byClients := body(field{"channel_id", m.channel}, field{"recv_client_id", "alice"}, field{"send_client_id", "bob"})
	mustPost(t, pauseTarget, byClients)
	for range 2 {
		m.alice.Drop()
		m.alice = join(t, m.channel, "alice", bot.SendRecv)
		proveNoVideo(t, m.paused(), edge{m.carol, m.bob})
	}
	m.bob.Drop()
	m.bob = join(t, m.channel, "bob", bot.SendRecv)
	proveNoVideo(t, m.paused(), edge{m.carol, m.bob})
	await(t, "the list to hold the edge alone", func() ([]entry, bool) {
		listed := running.shims[1].list(t, m.channel) // Those who dropped may still be known.

		return listed, len(listed) == 1
	})
	running.shims[0].expectList(t, m.channel, m.paused())
	mustPost(t, resumeTarget, byClients)
	m.paused().awaitMore(t, bot.Video, enoughVideo)
	if pauses := pausesOf(t, m.channel); len(pauses) != 0 {
		t.Errorf("after the resume %d objects are left", len(pauses))
	}
}

// TestStillPausedByExactObject proves that a resume does not take back what
// somebody else declared, exactly this edge included.
func TestStillPausedByExactObject(t *testing.T) {
	m := newMeeting(t)
	w := m.watchEdge(t, m.paused(), edge{m.carol, m.bob}, bot.Video)
	pause := createPause(t, m.channel, byConnectionID(m))
	waitEnforced(t, pause.UID)
	w.findCut(t)
	for range 2 {
		text := running.shims[0].mustRefuse(t, resumeTarget, edgeBody(m.channel, m.alice, m.bob), http.StatusBadRequest,
			"STILL-PAUSED")
		if !strings.Contains(text, pause.Name) {
			t.Errorf("the refusal does not name %s: %s", pause.Name, text)
		}
		mustPost(t, pauseTarget, edgeBody(m.channel, m.alice, m.bob))
	}
	if pauses := pausesOf(t, m.channel); len(pauses) != 2 {
		t.Errorf("there are %d objects, want the foreign one and the shim's", len(pauses))
	}
	w.reference.awaitMore(t, bot.Video, enoughVideo)
	w.proveSilence(t)
	deletePause(t, pause)
	mustPost(t, resumeTarget, edgeBody(m.channel, m.alice, m.bob))
	w.proveResumed(t)
}

// TestDisconnect proves who is dismissed by each of the three operations, and what
// the dismissed are told.
func TestDisconnect(t *testing.T) {
	channel := channelOf(t)
	alice, bob := join(t, channel, "alice", bot.SendRecv), join(t, channel, "bob", bot.RecvOnly)
	phone, desk := join(t, channel, "carol", bot.SendOnly), join(t, channel, "carol", bot.RecvOnly)
	elsewhere := running.mediaServers[1].join(t, channel, "dave", bot.SendRecv)
	dismissed := func(all ...*member) {
		t.Helper()
		for _, m := range all {
			await(t, m.ClientID()+" to be dismissed", func() (string, bool) { return fmt.Sprint(m.Err()), m.Err() != nil })
			if text := m.Err().Error(); !strings.Contains(text, `code 1000, reason "DISCONNECTED-API"`) {
				t.Errorf("%s was told: %s", m.ClientID(), text)
			}
		}
	}
	stay := func(all ...*member) {
		t.Helper()
		for _, m := range all {
			if err := m.Err(); err != nil {
				t.Errorf("%s is out of the channel: %v", m.ClientID(), err)
			}
		}
	}

	connection := body(field{"channel_id", channel}, field{"connection_id", alice.ConnectionID()})
	mustPost(t, disconnectConnectionTarget, connection)
	dismissed(alice)
	stay(bob, phone, desk, elsewhere)
	mustPost(t, disconnectClientTarget, body(field{"channel_id", channel}, field{"client_id", "carol"}))
	dismissed(phone, desk)
	stay(bob, elsewhere)
	mustPost(t, disconnectChannelTarget, body(field{"channel_id", channel}))
	dismissed(bob, elsewhere)

	// Naming who is not there is no error, as a request that is repeated.
	for _, shim := range running.shims {
		shim.mustPost(t, disconnectConnectionTarget, connection)
	}
}

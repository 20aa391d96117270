package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
)

// TestList follows the list of pauses of a channel through pauses and resumes.
func TestList(t *testing.T) {
	channel := channelOf(t)
	alice := join(t, channel, "alice", bot.RecvOnly)
	bob, carol := join(t, channel, "bob", bot.SendOnly), join(t, channel, "carol", bot.SendRecv)
	entry := func(receiver, sender *member, role bot.Role) string {
		return body(field{"channel_id", channel}, field{"recv_connection_id", receiver.ConnectionID()},
			field{"role", string(role)}, field{"send_connection_id", sender.ConnectionID()})
	}
	list := func(want ...string) {
		t.Helper()
		status, text := post(t, listTarget, body(field{"channel_id", channel}))
		if status != http.StatusOK || text != "["+strings.Join(want, ",")+"]" {
			t.Errorf("list: %d %s, want %v", status, text, want)
		}
	}
	list()
	mustPost(t, pauseTarget, edgeBody(channel, alice, bob))
	mustPost(t, pauseTarget, edgeBody(channel, alice, bob)) // Again: the same.
	list(entry(alice, bob, bot.RecvOnly))
	mustPost(t, pauseTarget, edgeBody(channel, carol, bob))
	status, text := post(t, listTarget, body(field{"channel_id", channel}))
	if status != http.StatusOK || !strings.Contains(text, entry(alice, bob, bot.RecvOnly)) ||
		!strings.Contains(text, entry(carol, bob, bot.SendRecv)) {
		t.Errorf("two pauses are listed as %d %s", status, text)
	}
	mustPost(t, resumeTarget, edgeBody(channel, alice, bob))
	mustPost(t, resumeTarget, edgeBody(channel, alice, bob)) // Again: the same.
	list(entry(carol, bob, bot.SendRecv))
	bob.leave(t)
	await(t, "an empty list after the sender left", func() (string, bool) {
		_, text := post(t, listTarget, body(field{"channel_id", channel}))

		return text, text == "[]"
	})
}

// TestListChannelConnections proves that a user finds the ids to pause by.
func TestListChannelConnections(t *testing.T) {
	m := newMeeting(t)
	status, text := post(t, connectionsTarget, body(field{"channel_id", m.channel}))
	var connections []struct {
		ConnectionID string   `json:"connection_id"`
		ClientID     string   `json:"client_id"`
		ChannelID    string   `json:"channel_id"`
		Role         bot.Role `json:"role"`
	}
	if err := json.Unmarshal([]byte(text), &connections); err != nil || status != http.StatusOK || len(connections) != 3 {
		t.Fatalf("%d %s: %v, want 200 and 3 connections", status, text, err)
	}
	for _, c := range connections {
		want := map[string]*member{"alice": m.alice, "bob": m.bob, "carol": m.carol}[c.ClientID]
		if want == nil || c.ConnectionID != want.ConnectionID() || c.ChannelID != m.channel || c.Role != bot.SendRecv {
			t.Errorf("listed: %+v", c)
		}
	}
}

// TestRefusals proves what the shim refuses, and that nothing is created for it.
func TestRefusals(t *testing.T) {
	channel := channelOf(t)
	receiver, sender := join(t, channel, "receiver", bot.RecvOnly), join(t, channel, "sender", bot.SendOnly)
	nobody := "3X0W1C23KS1TQAAYMKA9TXJS4G"
	of := func(channel, recv, send string) string {
		return body(field{"channel_id", channel}, field{"recv_connection_id", recv}, field{"send_connection_id", send})
	}
	await(t, "managers that have listened for long enough to say that nobody is there", func() (string, bool) {
		_, text := post(t, connectionsTarget, body(field{"channel_id", channel + "-empty"}))

		return text, text == "[]"
	})
	for _, test := range []struct {
		name, target, body, want string
	}{
		{"unknown channel", pauseTarget, of(channel+"-empty", receiver.ConnectionID(), sender.ConnectionID()),
			"CHANNEL-NOT-FOUND"},
		{"unknown receiver", pauseTarget, of(channel, nobody, sender.ConnectionID()), "CONNECTION-NOT-FOUND"},
		{"unknown sender", pauseTarget, of(channel, receiver.ConnectionID(), nobody), "CONNECTION-NOT-FOUND"},
		{"one connection twice", pauseTarget, of(channel, sender.ConnectionID(), sender.ConnectionID()), "SAME-CONNECTION"},
		{"the wrong way round", pauseTarget, of(channel, sender.ConnectionID(), receiver.ConnectionID()), "ROLE-MISMATCH"},
		{"resume of an unknown connection", resumeTarget, of(channel, nobody, sender.ConnectionID()), "CONNECTION-NOT-FOUND"},
		{"no target", "", "{}", "MissingHeaderName"},
		{"malformed target", "Pause", "{}", "MissingService"},
		{"unknown service", "Other_20200401.PauseRtpStream", "{}", "InvalidTarget"},
		{"unknown operation", "Sora_20200401.PauseRtpStreams", "{}", "SchemaNotFound"},
		{"unknown operation without a body", "Sora_20200401.PauseRtpStreams", "", "MissingTarget"},
		{"no body", pauseTarget, "", "MissingTargetFunction"},
		{"no JSON", pauseTarget, "channel_id=sora", "MalformedJSON"},
		{"a missing argument", pauseTarget, body(field{"channel_id", channel}), "InvalidJSON"},
		{"a number for a string", listTarget, `{"channel_id":1}`, "InvalidJSON"},
	} {
		t.Run(test.name, func(t *testing.T) {
			running.shims[0].mustRefuse(t, test.target, test.body, http.StatusBadRequest, test.want)
		})
	}
	if pauses := pausesOf(t, channel); len(pauses) != 0 {
		t.Errorf("refused requests made %d objects", len(pauses))
	}
	if status, _, text := request(t, http.MethodGet, running.shims[0].url, http.Header{},
		""); status != http.StatusBadRequest || text != `{"type":"UnexpectedMethod"}` {
		t.Errorf("GET: %d %s", status, text)
	}
}

// TestStillPaused proves that the shim lets what somebody else paused stay paused,
// and says whose object it is.
func TestStillPaused(t *testing.T) {
	m := newMeeting(t)
	w := m.watchEdge(t, m.paused(), edge{m.carol, m.bob}, bot.Video)
	pause := createPause(t, m.channel, byClientID(m))
	mustPost(t, pauseTarget, edgeBody(m.channel, m.alice, m.bob))
	waitEnforced(t, pause.UID)
	w.provePaused(t)

	status, text := post(t, resumeTarget, edgeBody(m.channel, m.alice, m.bob))
	if status != http.StatusBadRequest || !strings.Contains(text, "STILL-PAUSED") || !strings.Contains(text, pause.Name) {
		t.Errorf("resume: %d %s, want 400 STILL-PAUSED and the name %s", status, text, pause.Name)
	}
	w.reference.awaitMore(t, bot.Video, enoughVideo)
	w.proveSilence(t)
	deletePause(t, pause)
	w.proveResumed(t)
}

// TestCORS proves that pages of the one configured origin may call.
func TestCORS(t *testing.T) {
	header := http.Header{
		"Origin":                         {corsOrigin},
		"Access-Control-Request-Method":  {"POST"},
		"Access-Control-Request-Headers": {"x-sora-target"},
	}
	status, answer, text := request(t, http.MethodOptions, running.shims[0].url, header, "")
	if status != http.StatusNoContent || text != "" {
		t.Errorf("OPTIONS: %d %q", status, text)
	}
	for name, want := range map[string]string{
		"access-control-allow-origin":  corsOrigin,
		"access-control-allow-methods": "POST, OPTIONS",
		"access-control-allow-headers": "Origin, X-Requested-With, Content-Type, Accept, x-sora-target, Authorization, " +
			"x-sora-release-channel",
		"access-control-max-age": "1000",
	} {
		if got := answer.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

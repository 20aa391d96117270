package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
)

// entry is what the list of a channel's paused streams says of one.
type entry struct {
	ChannelID        string   `json:"channel_id"`
	RecvConnectionID string   `json:"recv_connection_id"`
	Role             bot.Role `json:"role"`
	SendConnectionID string   `json:"send_connection_id"`
}

// list asks for the paused streams of a channel, ordered by their connections.
func (p *shim) list(t *testing.T, channel string) []entry {
	t.Helper()
	status, text := p.post(t, listTarget, body(field{"channel_id", channel}))
	var entries []entry
	if err := json.Unmarshal([]byte(text), &entries); err != nil || status != http.StatusOK {
		t.Fatalf("list %s: %d %s (%v)", channel, status, text, err)
	}
	slices.SortFunc(entries, compareEntries)

	return entries
}

func compareEntries(a, b entry) int {
	return strings.Compare(a.RecvConnectionID+a.SendConnectionID, b.RecvConnectionID+b.SendConnectionID)
}

// expectList fails the test unless exactly those edges are listed as paused, of
// receivers that are all sendrecv.
func (p *shim) expectList(t *testing.T, channel string, want ...edge) {
	t.Helper()
	expected := make([]entry, 0, len(want))
	for _, e := range want {
		expected = append(expected, entry{channel, e.receiver.ConnectionID(), bot.SendRecv, e.sender.ConnectionID()})
	}
	slices.SortFunc(expected, compareEntries)
	if got := p.list(t, channel); !slices.Equal(got, expected) {
		t.Errorf("%s lists %v, want %v", p.name, got, expected)
	}
}

// TestShimsAgree proves that what one shim answered is in the very next list of
// another, 200 times.
func TestShimsAgree(t *testing.T) {
	m := newMeeting(t)
	edges := []edge{{m.alice, m.bob}, {m.carol, m.bob}, {m.bob, m.alice}}
	for round := range 200 {
		one, other := running.shims[round%2], running.shims[(round+1)%2]
		e := edges[round%len(edges)]
		one.mustPost(t, pauseTarget, edgeBody(m.channel, e.receiver, e.sender))
		other.expectList(t, m.channel, e)
		other.mustPost(t, resumeTarget, edgeBody(m.channel, e.receiver, e.sender))
		one.expectList(t, m.channel)
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
}

// TestListIsTheTruth proves that what kubectl creates, edits and deletes is in the
// very next list of every shim, whichever way it names its edges.
func TestListIsTheTruth(t *testing.T) {
	m := newMeeting(t)
	path := filepath.Join(t.TempDir(), "pause.yaml")
	write := func(receivers, senders string) {
		t.Helper()
		text := fmt.Sprintf("apiVersion: rtp.nagi.dev/v1alpha1\nkind: RtpStreamPause\nmetadata: {name: %s, "+
			"namespace: %s}\nspec:\n  channelID: %s\n  receivers: %s\n  senders: %s\n",
			m.channel, namespace, m.channel, receivers, senders)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(want ...edge) {
		t.Helper()
		for _, shim := range running.shims {
			shim.expectList(t, m.channel, want...)
		}
	}
	ab, ac, cb, bc := edge{m.alice, m.bob}, edge{m.alice, m.carol}, edge{m.carol, m.bob}, edge{m.bob, m.carol}
	for range 3 {
		write("{clientIDs: [alice]}", "{everyone: {}}")
		mustKubectl(t, "create", "-f", path)
		expect(ab, ac)
		write("{everyoneExcept: {clientIDs: [alice]}}", "{everyoneExcept: {connectionIDs: ["+m.alice.ConnectionID()+"]}}")
		mustKubectl(t, "replace", "-f", path)
		expect(cb, bc)
		mustKubectl(t, "patch", "rsp", m.channel, "-n", namespace, "--type=merge", "-p", `{"spec":{"kinds":["Audio"]}}`)
		expect()
		mustKubectl(t, "patch", "rsp", m.channel, "-n", namespace, "--type=merge", "-p",
			`{"spec":{"kinds":["Audio","Video"],"senders":{"everyoneExcept":null,"clientIDs":["bob","nobody"]}}}`)
		expect(cb)
		mustKubectl(t, "delete", "rsp", m.channel, "-n", namespace)
		expect()
	}
}

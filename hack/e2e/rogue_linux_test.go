package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
)

// elsewhere is another tenant's namespace, which the managers serve too.
const elsewhere = "elsewhere"

// lies are what the rogue says that it is, against its token, and what the managers
// say to that; empty: it tells the truth, and only hosts a channel of the same name.
func lies() []struct{ namespace, name, answer string } {
	return []struct{ namespace, name, answer string }{
		{namespace, "mediaserver-0", "its token that it is"},
		{namespace, "rogue", "its token that it is"},
		{elsewhere, "mediaserver-0", "its token that its pod is"},
		{elsewhere, "rogue", ""},
	}
}

// rogues have a media server come that has a valid token of another namespace, says
// that it is one of ours, and hosts a channel of ours with the same clients in it. It
// gets none of our tables, which a client of its own shows: it receives what would be
// paused.
func rogues(rounds int) []ordeal {
	var rogue *mediaServer
	var members []*member

	return []ordeal{{
		name: "rogue media server", rounds: rounds, length: 500 * time.Millisecond,
		strike: func(t *testing.T, l *load, round int) {
			t.Helper()
			lie := lies()[round%len(lies())]
			if round == 0 {
				rogue = l.system.newRogue(t)
			}
			written := 0
			if round > 0 {
				written = len(rogue.wrote(t))
			}
			args := rogue.args
			rogue.args = append(args[:len(args):len(args)], "--namespace="+lie.namespace, "--name="+lie.name)
			err := l.system.startMediaServer(t.Context(), rogue)
			rogue.args = args
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			members = nil
			for _, r := range []*guest{l.kept[0].sender, l.kept[0].receiver} {
				m, err := joinAs(ctx, bot.Config{URL: rogue.signalingURL, ChannelID: r.channel, ClientID: r.clientID, Role: r.role})
				if err != nil {
					t.Fatal(err)
				}
				members = append(members, m)
			}
			edge{members[1], members[0]}.awaitMore(t, bot.Video, enoughVideo)
			await(t, "the managers' answer to the rogue", func() (string, bool) {
				text := rogue.wrote(t)[written:]

				return text, strings.Contains(text, lie.answer)
			})
		},
		heal: func(_ *testing.T, _ *load, _ int) {
			for _, m := range members {
				m.Drop()
			}
			rogue.kill()
		},
	}}
}

// newRogue makes the pod of a media server in the other namespace.
func (s *system) newRogue(t *testing.T) *mediaServer {
	t.Helper()
	known, err := s.mount(t.Context(), elsewhere, "rogue", "mediaserver/role.yaml")
	if err != nil {
		t.Fatal(err)
	}
	rogue := &mediaServer{program: s.newProgram("mediaserver", "rogue"), name: "rogue"}
	rogue.args = []string{
		"--media-listen=127.0.0.1:0", "--without-table=forward", "--table-wait=0s",
		"--manager-ca=" + known.CAFile, "--token-file=" + known.TokenFile,
	}
	for _, m := range s.managers {
		rogue.args = append(rogue.args, "--managers="+m.mediaServers.address())
	}

	return rogue
}

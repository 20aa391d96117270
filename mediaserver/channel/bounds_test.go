package channel

import (
	"errors"
	"fmt"
	"runtime"
	"testing"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/mediaserver/signaling"
)

// newBounded makes a registry; joinTo takes somebody into a channel of it.
func newBounded(tb testing.TB, maxChannels, maxMembers int) (joinTo func(channelID string) (signaling.Session, error)) {
	tb.Helper()
	registry := newRegistry(tb, 1, func(c *Config) { c.MaxChannels, c.MaxMembers = maxChannels, maxMembers })

	return func(channelID string) (signaling.Session, error) {
		return registry.Join(tb.Context(), signaling.Connect{
			ChannelID: channelID, Role: forwardingv1.Role_ROLE_SENDRECV,
			Audio: &signaling.Media{CodecType: "OPUS"}, Video: &signaling.Media{CodecType: "VP8"},
		}, &dismissals{})
	}
}

// A channel has room for so many, and the media server for so many channels. Whoever is one too many is told which it
// is, the others notice nothing, and who leaves makes room.
func TestMembersAndChannelsAreBounded(t *testing.T) {
	joinTo := newBounded(t, 2, 2)
	join := func(channelID string) signaling.Session {
		t.Helper()
		s, err := joinTo(channelID)
		if err != nil {
			t.Fatalf("joining %s: %v", channelID, err)
		}

		return s
	}
	refused := func(channelID, reason string) {
		t.Helper()
		s, err := joinTo(channelID)
		var told *signaling.CloseError
		if !errors.As(err, &told) || told.Code != signaling.CodeError || told.Reason != reason {
			t.Errorf("joining %s: %v and %v, want %s", channelID, s, err, reason)
		}
	}
	first, second, other := join("a"), join("a"), join("b")
	refused("a", signaling.ReasonChannelFull)
	refused("c", signaling.ReasonTooManyChannels)
	first.Leave("over")
	first = join("a")
	refused("a", signaling.ReasonChannelFull)
	other.Leave("over")
	other = join("c")
	refused("b", signaling.ReasonTooManyChannels)
	for _, s := range []signaling.Session{first, second, other} {
		s.Leave("over")
	}
}

// What a stranger who says connect, and then nothing, makes the server hold until it gives up.
func TestMemoryOfASilentClient(t *testing.T) {
	const clients, most = 200, 32 << 10
	joinTo := newBounded(t, clients, clients)
	held := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)

		return m.HeapAlloc + m.StackInuse
	}
	before := held()
	var sessions []signaling.Session
	for i := range clients {
		s, err := joinTo(fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Offer(t.Context()); err != nil {
			t.Fatal(err)
		}
		sessions = append(sessions, s)
	}
	each := (held() - before) / clients
	t.Logf("%d bytes each", each)
	if each > most {
		t.Errorf("a client that has been sent an offer holds %d bytes, %d at most are wanted", each, most)
	}
	for _, s := range sessions {
		s.Leave("over")
	}
}

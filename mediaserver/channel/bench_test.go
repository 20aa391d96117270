package channel

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/rtc"
	"github.com/nagi-rtc/nagi/mediaserver/signaling"
	"github.com/nagi-rtc/nagi/mediaserver/tables"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// hall is a channel in which a few send and everybody watches. Its clients hear
// nothing, and their transports never connect.
type hall struct {
	registry *Registry
	channel  *channel
}

func newHall(tb testing.TB, connections, senders int) *hall {
	tb.Helper()
	socket, err := udp.Listen("127.0.0.1:0", 2)
	if err != nil {
		tb.Fatal(err)
	}
	engine, err := rtc.New(rtc.Config{Socket: socket})
	if err != nil {
		tb.Fatal(err)
	}
	h := &hall{registry: New(Config{
		Engine: engine, Changed: func(string) {}, TableWait: time.Hour, WithoutTable: Hold, MaxMembers: 20_000,
		Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})}
	var sessions []*session
	for i := range connections {
		role := forwardingv1.Role_ROLE_RECVONLY
		if i < senders {
			role = forwardingv1.Role_ROLE_SENDRECV
		}
		s := h.join(tb, fmt.Sprint(i), role)
		if h.channel = s.channel; i < senders {
			h.channel.mu.Lock()
			h.channel.announce(s.member, []media.Kind{media.Video})
			h.channel.mu.Unlock()
		}
		sessions = append(sessions, s)
	}
	tb.Cleanup(func() {
		h.registry.Ask(&forwardingv1.Question{ChannelId: "hall", Asks: &forwardingv1.Question_Dismiss{
			Dismiss: &forwardingv1.Dismissal{Whom: &forwardingv1.Dismissal_Everyone{Everyone: &forwardingv1.Everyone{}}},
		}})
		for _, s := range sessions {
			s.Leave("the end")
		}
		if err := engine.Close(); err != nil {
			tb.Error(err)
		}
	})

	return h
}

func (h *hall) join(tb testing.TB, clientID string, role forwardingv1.Role) *session {
	tb.Helper()
	s, err := h.registry.Join(tb.Context(), signaling.Connect{
		ChannelID: "hall", ClientID: clientID, Role: role, Video: &signaling.Media{CodecType: "VP8"},
	}, &dismissals{})
	if err != nil {
		tb.Fatal(err)
	}

	return s.(*session)
}

// apply sets n open-side pauses: every second withholds one sender from nearly
// everybody, the others nearly everybody from one client.
func (h *hall) apply(n int) {
	client := func(id string) *forwardingv1.Side {
		return &forwardingv1.Side{Names: &forwardingv1.Side_ClientIds{ClientIds: &forwardingv1.IDs{Ids: []string{id}}}}
	}
	except := func(id string) *forwardingv1.Side {
		all := &forwardingv1.EveryoneExcept{ClientIds: []string{id}}

		return &forwardingv1.Side{Names: &forwardingv1.Side_EveryoneExcept{EveryoneExcept: all}}
	}
	table := tables.Table{ChannelID: "hall", Instance: h.channel.instance, Version: 1, Whole: true}
	for i := range n {
		sides := []*forwardingv1.Side{except("assistant"), client(fmt.Sprint(i / 2 % 5))}
		if i%2 == 1 {
			slices.Reverse(sides)
		}
		table.Set = append(table.Set, &forwardingv1.Pause{
			Uid: fmt.Sprint(i), Receivers: sides[0], Senders: sides[1], Kinds: []forwardingv1.Kind{forwardingv1.Kind_KIND_VIDEO},
		})
	}
	h.registry.Apply(table)
}

// BenchmarkJoin is a newcomer's joining a channel with 50 open-side pauses, with
// what is told of it, and leaving.
func BenchmarkJoin(b *testing.B) {
	for _, n := range []int{100, 1_000, 10_000} {
		b.Run(fmt.Sprintf("connections=%d", n), func(b *testing.B) {
			h := newHall(b, n, 5)
			h.apply(50)
			for b.Loop() {
				epoch := h.registry.Membership("hall", 0, 0).Epoch
				s := h.join(b, "newcomer", forwardingv1.Role_ROLE_RECVONLY)
				if m := h.registry.Membership("hall", s.channel.instance, epoch); len(m.Joined) != 1 {
					b.Fatalf("told of %v", m)
				}
				s.Leave("the end")
			}
		})
	}
}

// BenchmarkEdit widens and narrows a pause of one sender, between one receiver and
// everybody.
func BenchmarkEdit(b *testing.B) {
	for _, n := range []int{100, 1_000, 10_000} {
		b.Run(fmt.Sprintf("connections=%d", n), func(b *testing.B) {
			h := newHall(b, n, 5)
			h.apply(0)
			one := &forwardingv1.Side{Names: &forwardingv1.Side_ClientIds{ClientIds: &forwardingv1.IDs{Ids: []string{"7"}}}}
			all := &forwardingv1.Side{Names: &forwardingv1.Side_Everyone{Everyone: &forwardingv1.Everyone{}}}
			sender := &forwardingv1.Side{Names: &forwardingv1.Side_ClientIds{ClientIds: &forwardingv1.IDs{Ids: []string{"1"}}}}
			for b.Loop() {
				for _, receivers := range []*forwardingv1.Side{one, all} {
					h.registry.Apply(tables.Table{ChannelID: "hall", Instance: h.channel.instance, Set: []*forwardingv1.Pause{
						{Uid: "1", Receivers: receivers, Senders: sender, Kinds: []forwardingv1.Kind{forwardingv1.Kind_KIND_VIDEO}},
					}})
				}
			}
		})
	}
}

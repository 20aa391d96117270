package channel_test

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/timestamppb"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
	"github.com/nagi-rtc/nagi/mediaserver/channel"
	"github.com/nagi-rtc/nagi/mediaserver/rtc"
	"github.com/nagi-rtc/nagi/mediaserver/signaling"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const channelID = "sora"

// deadline bounds every wait for a condition.
const deadline = 20 * time.Second

// server is a registry behind real signalling and a real UDP socket.
type server struct {
	registry *channel.Registry
	url      string
	changed  chan struct{}
}

func newServer(t *testing.T, tableWait time.Duration, without channel.WithoutTable) *server {
	t.Helper()
	socket, err := udp.Listen("127.0.0.1:0", 2)
	if err != nil {
		t.Fatal(err)
	}
	engine, err := rtc.New(rtc.Config{Socket: socket})
	if err != nil {
		t.Fatal(err)
	}
	s := &server{changed: make(chan struct{}, 1)}
	s.registry = channel.New(channel.Config{
		Engine: engine,
		Changed: func(string) {
			select {
			case s.changed <- struct{}{}:
			default:
			}
		},
		TableWait:    tableWait,
		WithoutTable: without,
		Log:          slog.New(slog.DiscardHandler),
		Registerer:   prometheus.NewRegistry(),
	})
	signalling := signaling.NewServer(signaling.Config{Channels: s.registry, Log: slog.New(slog.DiscardHandler)})
	web := httptest.NewServer(signalling)
	s.url = "ws" + strings.TrimPrefix(web.URL, "http")

	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), deadline)
		defer cancel()
		if err := signalling.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		web.Close()
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
		if hosted := s.registry.Hosted(); len(hosted) != 0 {
			t.Errorf("still hosted after everybody left: %v", hosted)
		}
	})

	return s
}

func (s *server) join(t *testing.T, clientID string) *bot.Bot {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	b, err := bot.Join(ctx, bot.Config{URL: s.url, ChannelID: channelID, ClientID: clientID, Role: bot.SendRecv})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Drop)

	return b
}

func (s *server) apply(pauses ...*forwardingv1.Pause) *forwardingv1.Acknowledgement {
	s.registry.Apply(&forwardingv1.Table{ChannelId: channelID, Version: 1, Pauses: pauses})

	return s.registry.Acknowledgement(channelID)
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v until %s", deadline, what)
		}
	}
}

func packets(receiver, sender *bot.Bot, kind bot.Kind) uint64 {
	stream, _ := receiver.Stream(sender.ConnectionID(), kind)

	return stream.Packets
}

func comes(receiver, sender *bot.Bot, kind bot.Kind) func() bool {
	before := packets(receiver, sender, kind)

	return func() bool { return packets(receiver, sender, kind) > before }
}

func video(uid string, receiver, sender *bot.Bot) *forwardingv1.Pause {
	return &forwardingv1.Pause{
		Uid: uid, Generation: 1,
		RecvConnectionId: receiver.ConnectionID(), SendConnectionId: sender.ConnectionID(),
		Kinds: []forwardingv1.Kind{forwardingv1.Kind_KIND_VIDEO},
	}
}

func TestEverythingIsHeldUntilTheTableComes(t *testing.T) {
	s := newServer(t, time.Hour, channel.Forward)
	a, b := s.join(t, "a"), s.join(t, "b")
	// Both offer everything to each other, and nothing of it arrives, while both publish.
	eventually(t, "both publish", func() bool {
		return a.Published().VideoPackets > 100 && b.Published().VideoPackets > 100
	})
	for _, kind := range []bot.Kind{bot.Audio, bot.Video} {
		if n := packets(a, b, kind); n != 0 {
			t.Errorf("%d %s packets arrived without a table", n, kind)
		}
	}

	acknowledgement := s.apply(video("1", a, b))

	eventually(t, "what is not paused comes", comes(a, b, bot.Audio))
	eventually(t, "the other way comes", comes(b, a, bot.Video))
	if n := packets(a, b, bot.Video); n != 0 {
		t.Errorf("%d video packets of a stream that was paused from the first table on", n)
	}
	edges := acknowledgement.GetPauses()[0].GetEdges()
	if len(edges) != 1 || edges[0].GetStreams()[0].LastSequenceNumber != nil {
		t.Errorf("acknowledged %v; want one edge of which nothing ever left", edges)
	}

	eventually(t, "the paused stream's SSRC is known", func() bool {
		edges := s.registry.Acknowledgement(channelID).GetPauses()[0].GetEdges()

		return edges[0].GetStreams()[0].GetSsrc() != 0
	})

	s.apply()
	eventually(t, "the paused stream begins", comes(a, b, bot.Video))
}

func TestWithoutATablePolicyDecides(t *testing.T) {
	t.Run("forward", func(t *testing.T) {
		s := newServer(t, 50*time.Millisecond, channel.Forward)
		a, b := s.join(t, "a"), s.join(t, "b")
		eventually(t, "the meeting opens", comes(a, b, bot.Video))
		if s.registry.Acknowledgement(channelID) != nil {
			t.Error("acknowledged a table that never came")
		}
	})
	t.Run("hold", func(t *testing.T) {
		s := newServer(t, 50*time.Millisecond, channel.Hold)
		a, b := s.join(t, "a"), s.join(t, "b")
		eventually(t, "both publish", func() bool {
			return a.Published().VideoPackets > 100 && b.Published().VideoPackets > 100
		})
		if n := packets(a, b, bot.Audio) + packets(a, b, bot.Video); n != 0 {
			t.Errorf("%d packets arrived", n)
		}
		s.apply()
		eventually(t, "the table opens the meeting", comes(a, b, bot.Video))
	})
}

func TestThePauseEndsByItselfWhenItExpires(t *testing.T) {
	s := newServer(t, time.Hour, channel.Hold)
	a, b := s.join(t, "a"), s.join(t, "b")
	s.apply()
	eventually(t, "video comes", comes(a, b, bot.Video))

	pause := video("1", a, b)
	pause.ExpiresAt = timestamppb.New(time.Now().Add(500 * time.Millisecond))
	acknowledgement := s.apply(pause)
	stream := acknowledgement.GetPauses()[0].GetEdges()[0].GetStreams()[0]
	eventually(t, "the last packet arrives", func() bool {
		got, _ := a.Stream(b.ConnectionID(), bot.Video)

		return uint32(got.LastSequenceNumber) == stream.GetLastSequenceNumber()
	})
	eventually(t, "video comes again", comes(a, b, bot.Video))
	if edges := s.registry.Acknowledgement(channelID).GetPauses()[0].GetEdges(); len(edges) != 0 {
		t.Errorf("an expired pause is acknowledged with the edges %v", edges)
	}
}

func TestReceiversAreToldAndLeaversAreForgotten(t *testing.T) {
	s := newServer(t, time.Hour, channel.Hold)
	a, b := s.join(t, "a"), s.join(t, "b")
	s.apply(video("1", a, b))

	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	told := func(event string) {
		t.Helper()
		n, err := a.WaitNotification(ctx, func(n bot.Notification) bool { return n.EventType == event })
		if err != nil {
			t.Fatalf("waiting for %s: %v", event, err)
		}
		if event != bot.EventConnectionDestroyed && (n.SendConnectionID != b.ConnectionID() || n.StreamID != b.ConnectionID()) {
			t.Errorf("%s names %s", event, n.Raw)
		}
	}
	told(bot.EventStreamPaused)
	s.apply()
	told(bot.EventStreamResumed)

	if err := b.Leave(ctx); err != nil {
		t.Fatal(err)
	}
	told(bot.EventConnectionDestroyed)
	if report := s.registry.Report(channelID); len(report.GetConnections()) != 1 {
		t.Errorf("reported after one left: %v", report)
	}
	if edges := s.apply(video("1", a, b)).GetPauses()[0].GetEdges(); len(edges) != 0 {
		t.Errorf("an edge with somebody who left is acknowledged: %v", edges)
	}
}

package channel_test

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
	"github.com/nagi-rtc/nagi/mediaserver/auth"
	"github.com/nagi-rtc/nagi/mediaserver/channel"
	"github.com/nagi-rtc/nagi/mediaserver/rtc"
	"github.com/nagi-rtc/nagi/mediaserver/signaling"
	"github.com/nagi-rtc/nagi/mediaserver/tables"
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
	version  uint64
}

func newServer(t *testing.T, tableWait time.Duration, without channel.WithoutTable) *server {
	t.Helper()

	return newServerWith(t, nil, tableWait, without)
}

// newServerWith makes a server whose clients an authority decides about.
func newServerWith(
	t *testing.T, authority auth.Authority, tableWait time.Duration, without channel.WithoutTable,
) *server {
	t.Helper()

	return startServer(t, tableWait, without, func(channels signaling.Channels) signaling.Config {
		return signaling.Config{Channels: channels, Authority: authority}
	})
}

// newServerBehind makes a server whose clients' answers are changed on their way.
func newServerBehind(
	t *testing.T, refusals *refusals, tableWait time.Duration, without channel.WithoutTable,
) *server {
	t.Helper()

	return startServer(t, tableWait, without, func(channels signaling.Channels) signaling.Config {
		refusals.Channels = channels

		return signaling.Config{Channels: refusals}
	})
}

func startServer(
	t *testing.T, tableWait time.Duration, without channel.WithoutTable,
	configure func(signaling.Channels) signaling.Config,
) *server {
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
	config := configure(s.registry)
	config.Log = slog.New(slog.DiscardHandler)
	signalling := signaling.NewServer(config)
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

// instance is that of the channel as it is now, 0: not hosted.
func (s *server) instance() uint64 { return s.registry.Membership(channelID, 0, 0).Instance }

// apply makes the pauses the whole table.
func (s *server) apply(pauses ...*forwardingv1.Pause) {
	s.version++
	s.registry.Apply(tables.Table{ChannelID: channelID, Instance: s.instance(), Version: s.version, Whole: true,
		Set: pauses})
}

// edge asks for the facts of an edge, nil when it is not live.
func (s *server) edge(receiver, sender *bot.Bot) *forwardingv1.Edge {
	answer := s.ask(&forwardingv1.Question{Asks: &forwardingv1.Question_Edge{Edge: &forwardingv1.EdgeName{
		RecvConnectionId: receiver.ConnectionID(), SendConnectionId: sender.ConnectionID(),
	}}})
	if len(answer.GetEdges()) == 0 {
		return nil
	}

	return answer.GetEdges()[0]
}

func (s *server) ask(question *forwardingv1.Question) *forwardingv1.Answer {
	question.ChannelId = channelID

	return s.registry.Ask(question)
}

// state is what the channel does with a pause.
func (s *server) state(uid string) forwardingv1.State {
	for _, state := range s.registry.States(channelID, 0, 0).Set {
		if state.GetUid() == uid {
			return state.GetState()
		}
	}

	return forwardingv1.State_STATE_UNSPECIFIED
}

func streamOf(e *forwardingv1.Edge, kind forwardingv1.Kind) *forwardingv1.Stream {
	for _, stream := range e.GetStreams() {
		if stream.GetKind() == kind {
			return stream
		}
	}

	return nil
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

// one names one connection.
func one(b *bot.Bot) *forwardingv1.Side { return connections(b.ConnectionID()) }

func connections(ids ...string) *forwardingv1.Side {
	return &forwardingv1.Side{Names: &forwardingv1.Side_ConnectionIds{ConnectionIds: &forwardingv1.IDs{Ids: ids}}}
}

func clients(ids ...string) *forwardingv1.Side {
	return &forwardingv1.Side{Names: &forwardingv1.Side_ClientIds{ClientIds: &forwardingv1.IDs{Ids: ids}}}
}

func everyone() *forwardingv1.Side {
	return &forwardingv1.Side{Names: &forwardingv1.Side_Everyone{Everyone: &forwardingv1.Everyone{}}}
}

func except(clientIDs ...string) *forwardingv1.Side {
	all := &forwardingv1.EveryoneExcept{ClientIds: clientIDs}

	return &forwardingv1.Side{Names: &forwardingv1.Side_EveryoneExcept{EveryoneExcept: all}}
}

// newPause makes a pause of video with its digest, after it has been changed.
func newPause(
	uid string, receivers, senders *forwardingv1.Side, change ...func(*forwardingv1.Pause),
) *forwardingv1.Pause {
	pause := &forwardingv1.Pause{Uid: uid, Receivers: receivers, Senders: senders,
		Kinds: []forwardingv1.Kind{forwardingv1.Kind_KIND_VIDEO}}
	for _, change := range change {
		change(pause)
	}
	sum := pause.Sum()
	pause.Digest = sum[:]

	return pause
}

func video(uid string, receiver, sender *bot.Bot) *forwardingv1.Pause {
	return newPause(uid, one(receiver), one(sender))
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
	held := streamOf(s.edge(a, b), forwardingv1.Kind_KIND_VIDEO).GetWithheld()
	if !slices.Contains(held, forwardingv1.Withheld_WITHHELD_NO_TABLE) {
		t.Errorf("without a table a stream is withheld for %v", held)
	}
	if states := s.registry.States(channelID, 0, 0); states.Instance != 0 {
		t.Errorf("without a table the states are %v", states)
	}

	s.apply(video("1", a, b))

	eventually(t, "what is not paused comes", comes(a, b, bot.Audio))
	eventually(t, "the other way comes", comes(b, a, bot.Video))
	if n := packets(a, b, bot.Video); n != 0 {
		t.Errorf("%d video packets of a stream that was paused from the first table on", n)
	}
	eventually(t, "the paused stream's SSRC is known", func() bool {
		return streamOf(s.edge(a, b), forwardingv1.Kind_KIND_VIDEO).GetSsrc() != 0
	})
	e := s.edge(a, b)
	want := &forwardingv1.Stream{
		Kind: forwardingv1.Kind_KIND_VIDEO, Ssrc: streamOf(e, forwardingv1.Kind_KIND_VIDEO).GetSsrc(),
		Withheld: []forwardingv1.Withheld{forwardingv1.Withheld_WITHHELD_PAUSED},
	}
	if got := streamOf(e, forwardingv1.Kind_KIND_VIDEO); !proto.Equal(got, want) {
		t.Errorf("the paused stream is %v, want %v: nothing ever left", got, want)
	}
	if e.GetRecvRole() != forwardingv1.Role_ROLE_SENDRECV || !slices.Equal(e.GetPauseUids(), []string{"1"}) {
		t.Errorf("the edge is %v", e)
	}
	if state := s.state("1"); state != forwardingv1.State_STATE_MATCHING {
		t.Errorf("the pause is %v", state)
	}

	s.apply()
	eventually(t, "the paused stream begins", comes(a, b, bot.Video))
}

func TestWithoutATablePolicyDecides(t *testing.T) {
	t.Run("forward", func(t *testing.T) {
		s := newServer(t, 50*time.Millisecond, channel.Forward)
		a, b := s.join(t, "a"), s.join(t, "b")
		eventually(t, "the meeting opens", comes(a, b, bot.Video))
		if states := s.registry.States(channelID, 0, 0); states.Instance != 0 {
			t.Errorf("states of a table that never came: %v", states)
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

	s.apply(newPause("1", one(a), one(b), func(p *forwardingv1.Pause) {
		p.ExpiresAt = timestamppb.New(time.Now().Add(500 * time.Millisecond))
	}))
	sequence := s.registry.States(channelID, 0, 0).Sequence
	last := streamOf(s.edge(a, b), forwardingv1.Kind_KIND_VIDEO).GetLastSequenceNumber()
	eventually(t, "the last packet arrives", func() bool {
		got, _ := a.Stream(b.ConnectionID(), bot.Video)

		return uint32(got.LastSequenceNumber) == last
	})
	eventually(t, "video comes again", comes(a, b, bot.Video))
	states := s.registry.States(channelID, s.instance(), sequence)
	if states.Whole || len(states.Set) != 1 || states.Set[0].GetState() != forwardingv1.State_STATE_EXPIRED {
		t.Errorf("since it acted, %v", states)
	}
	if uids := s.edge(a, b).GetPauseUids(); len(uids) != 0 {
		t.Errorf("an expired pause is said to match: %v", uids)
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
		if event != bot.EventConnectionDestroyed && (n.SendConnectionID != b.ConnectionID() ||
			n.StreamID != b.ConnectionID()) {
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
	if m := s.registry.Membership(channelID, 0, 0); len(m.Joined) != 1 {
		t.Errorf("reported after one left: %v", m)
	}
	s.apply(video("1", a, b))
	if state := s.state("1"); state != forwardingv1.State_STATE_NOT_MATCHING {
		t.Errorf("a pause of somebody who left is %v", state)
	}
}

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
	"github.com/nagi-rtc/nagi/internal/ports"
)

// manyRounds is how often two clients come at once to a new channel.
const manyRounds = 200

// visit is a client that takes an offer and sends no media, so that many can come and go.
type visit struct {
	socket *websocket.Conn
	// media is where the offer has the client send its media: the owner's port.
	media string
}

var candidatePort = regexp.MustCompile(`a=candidate:\S+ 1 udp \d+ \S+ (\d+) `)

// visit says connect for a channel, again while the media server says that it could not be
// reached, as applications do.
func (m *mediaServer) visit(ctx context.Context, channel string) (*visit, error) {
	for {
		v, err := m.visitOnce(ctx, channel)
		if err == nil || ctx.Err() != nil {
			return v, err
		}
		closed, ok := errors.AsType[websocket.CloseError](err)
		if !ok || closed.Code != 1001 && closed.Reason != "CHANNEL-UNREACHABLE" {
			return nil, err
		}
	}
}

func (m *mediaServer) visitOnce(ctx context.Context, channel string) (*visit, error) {
	socket, _, err := websocket.Dial(ctx, m.signalingURL, nil) //nolint:bodyclose // The library closes it.
	if err != nil {
		return nil, err
	}
	socket.SetReadLimit(1 << 20)
	text, err := json.Marshal(map[string]any{"type": "connect", "role": "sendrecv", "channel_id": channel})
	if err == nil {
		err = socket.Write(ctx, websocket.MessageText, text)
	}
	if err == nil {
		_, text, err = socket.Read(ctx)
	}
	var offer struct{ Type, SDP string }
	if err == nil {
		err = json.Unmarshal(text, &offer)
	}
	found := candidatePort.FindStringSubmatch(offer.SDP)
	if err == nil && found == nil {
		err = fmt.Errorf("no offer with a candidate: %.300s", text)
	}
	if err != nil {
		_ = socket.CloseNow()

		return nil, fmt.Errorf("%s: %w", m.name, err)
	}

	return &visit{socket: socket, media: found[1]}, nil
}

// end says goodbye and waits for the answer.
func (v *visit) end(ctx context.Context) error {
	if err := v.socket.Write(ctx, websocket.MessageText, []byte(`{"type":"disconnect","reason":"NO-ERROR"}`)); err != nil {
		return err
	}
	for {
		if _, _, err := v.socket.Read(ctx); err != nil {
			if closed, ok := errors.AsType[websocket.CloseError](err); ok && closed.Code == 1000 {
				return nil
			}

			return err
		}
	}
}

// meet has two clients come at once for a new channel to two media servers, and proves that
// they are at the same one.
func (s *system) meet(t *testing.T, channel string, at ...*mediaServer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	type arrived struct {
		visit *visit
		err   error
	}
	arrivals := make(chan arrived, len(at))
	for _, m := range at {
		go func() {
			v, err := m.visit(ctx, channel)
			arrivals <- arrived{v, err}
		}()
	}
	var visits []*visit
	for range at {
		a := <-arrivals
		if a.err != nil {
			t.Errorf("%s: %v", channel, a.err)

			continue
		}
		visits = append(visits, a.visit)
	}
	for _, v := range visits {
		if v.media != visits[0].media {
			t.Errorf("%s is split: media goes to the ports %s and %s", channel, visits[0].media, v.media)
		}
	}
	for _, v := range visits {
		if err := v.end(ctx); err != nil {
			t.Errorf("%s: leave: %v", channel, err)
		}
	}
}

// TestMeet proves that two clients who come at once to different media servers for a new
// channel meet at one, 200 times, while managers are killed and start again.
func TestMeet(t *testing.T) {
	t.Parallel()
	s := own(t, layout{managers: 2, shims: 1, mediaServers: 3})
	for round := range manyRounds {
		struck := s.managers[round/20%2]
		switch round % 20 {
		case 10:
			struck.kill()
		case 15:
			if err := s.startManager(t.Context(), struck); err != nil {
				t.Fatal(err)
			}
		case 19: // The next one is struck in the midst of rounds once all hear this one again.
			for _, m := range s.mediaServers {
				await(t, m.name+" to hear both managers", func() (float64, bool) {
					streams := m.metric(t, "nagi_tables_streams")

					return streams, streams == 2
				})
			}
		}
		first := round % 3
		s.meet(t, fmt.Sprintf("meet-%d", round), s.mediaServers[first], s.mediaServers[(first+1+round%2)%3])
	}
	var passed float64
	for _, m := range s.mediaServers {
		passed += m.metric(t, "nagi_signaling_passes_total")
	}
	if passed == 0 {
		t.Error("nobody was ever passed on")
	}
	t.Logf("%.0f passes in %d rounds", passed, manyRounds)
}

// TestMeetWhileMediaServersDie proves the same while media servers are killed, for those who
// come to the others.
func TestMeetWhileMediaServersDie(t *testing.T) {
	t.Parallel()
	s := own(t, layout{managers: 2, shims: 1, mediaServers: 3})
	for round := range 5 * *rounds {
		struck := round % 3
		s.mediaServers[struck].kill()
		for i := range 4 {
			s.meet(t, fmt.Sprintf("meet-%d-%d", round, i), s.mediaServers[(struck+1)%3], s.mediaServers[(struck+2)%3])
		}
		if err := s.startMediaServer(t.Context(), s.mediaServers[struck]); err != nil {
			t.Fatal(err)
		}
		s.mediaServers[struck].awaitReady(t)
	}
}

// TestPassedOn proves that clients who come to different media servers are in one channel:
// media flows between all, a pause acts on those who were passed on, and their media goes
// straight to the owner.
func TestPassedOn(t *testing.T) {
	t.Parallel()
	s := own(t, layout{managers: 1, shims: 1, mediaServers: 3})
	channel := channelOf(t)
	m := &meeting{
		system: s, channel: channel,
		alice: s.mediaServers[0].join(t, channel, "alice", bot.SendRecv),
		bob:   s.mediaServers[1].join(t, channel, "bob", bot.SendRecv),
		carol: s.mediaServers[2].join(t, channel, "carol", bot.SendRecv),
	}
	w := m.watchEdge(t, m.paused(), edge{m.carol, m.bob}, bot.Video)
	pause := s.createPause(t, channel, byClientID(m))
	s.waitEnforced(t, pause.UID)
	w.provePaused(t)
	s.deletePause(t, pause)
	w.proveResumed(t)
	var passed, hosted float64
	for _, m := range s.mediaServers {
		passed += m.metric(t, "nagi_signaling_passed_sockets")
		hosted += m.metric(t, "nagi_peers_channels")
	}
	if passed != 2 || hosted != 1 {
		t.Errorf("%v are passed on, and the channel is at %v media servers", passed, hosted)
	}
	// The edge of two who were passed on is one as any.
	edgeBody := edgeBody(channel, m.alice, m.bob)
	s.shims[0].mustPost(t, pauseTarget, edgeBody)
	s.shims[0].expectList(t, channel, m.paused())
	s.shims[0].mustPost(t, resumeTarget, edgeBody)
}

// TestRedirected proves that clients go where they are redirected, if the owner has an
// address of its own.
func TestRedirected(t *testing.T) {
	t.Parallel()
	s := own(t, layout{managers: 1, shims: 1})
	for i := range 2 {
		m := s.newMediaServer(i)
		held, err := ports.Hold("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = held.Close() })
		address := held.Address().String()
		m.args = append(m.args, "--listen="+address, "--signaling-url=ws://"+address+"/signaling")
		s.mediaServers = append(s.mediaServers, m)
		if err := s.startMediaServer(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range s.mediaServers {
		m.awaitReady(t)
	}
	channel := channelOf(t)
	alice := s.mediaServers[0].join(t, channel, "alice", bot.SendRecv)
	bob := s.mediaServers[1].join(t, channel, "bob", bot.SendRecv)
	edge{alice, bob}.awaitFlow(t)
	var redirected, passed float64
	for _, m := range s.mediaServers {
		redirected += m.metric(t, "nagi_signaling_redirects_total")
		passed += m.metric(t, "nagi_signaling_passes_total")
	}
	if redirected == 0 || passed != 0 {
		t.Errorf("%v clients were redirected, and %v passed on", redirected, passed)
	}
}

// TestWithoutAPIServer proves that without the API server channels that are hosted go on,
// for those who come back and to other media servers too; that a new channel opens at one
// media server alone; and that it is claimed once the API server is there again.
func TestWithoutAPIServer(t *testing.T) {
	t.Parallel()
	s := own(t, layout{managers: 2, shims: 1, mediaServers: 3})
	m := s.newMeeting(t, channelOf(t))
	m.paused().awaitFlow(t)
	away := func(strike func(*relay)) {
		for _, manager := range s.managers {
			strike(manager.api)
		}
	}
	away((*relay).hold)
	m.alice.Drop()
	m.alice = s.mediaServers[2].join(t, m.channel, "alice", bot.SendRecv)
	m.paused().awaitFlow(t)

	channel := m.channel + "-new"
	var members []*member
	for i, at := range s.mediaServers {
		members = append(members, at.join(t, channel, fmt.Sprintf("client-%d", i), bot.SendRecv))
	}
	edge{members[0], members[1]}.awaitFlow(t)
	edge{members[2], members[0]}.awaitFlow(t)
	unclaimed := func() (total float64) {
		for _, m := range s.mediaServers {
			total += m.metric(t, "nagi_peers_channels_without_claim")
		}

		return total
	}
	if got := unclaimed(); got != 1 {
		t.Errorf("%v channels are without a claim, want the new one", got)
	}
	away((*relay).pass)
	await(t, "the claim", func() (float64, bool) {
		left := unclaimed()

		return left, left == 0
	})
	for _, m := range members {
		if err := m.Err(); err != nil {
			t.Errorf("%s is out of the channel: %v", m.ClientID(), err)
		}
	}
}

// quantile of durations, which it orders.
func quantile(all []time.Duration, q float64) time.Duration {
	slices.Sort(all)

	return all[min(int(q*float64(len(all))), len(all)-1)]
}

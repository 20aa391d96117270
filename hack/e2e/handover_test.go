package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
)

// regular is a client that comes again whenever its media server goes away, to the next
// one that it can reach, as applications do.
type regular struct {
	system *system
	name   string

	mu sync.Mutex
	// lives are its connections, one after the other.
	lives []*member
	done  chan struct{}
}

// newRegular joins a channel at the system's media server of that index.
func (s *system) newRegular(t *testing.T, channel, name string, first int) *regular {
	t.Helper()
	r := &regular{system: s, name: name, done: make(chan struct{})}
	r.lives = append(r.lives, s.mediaServers[first].join(t, channel, name, bot.SendRecv))
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	go func() {
		defer close(r.done)
		for at := first; ; {
			life := r.last()
			select {
			case <-ctx.Done():
				life.Drop()

				return
			case <-life.Done():
			}
			if closed, ok := errors.AsType[*bot.ClosedError](life.Err()); !ok || closed.Code != 1001 {
				t.Errorf("%s: %v", name, life.Err())

				return
			}
			for next := (*member)(nil); next == nil && ctx.Err() == nil; {
				at = (at + 1) % len(s.mediaServers)
				if joined, err := s.mediaServers[at].tryJoin(ctx, channel, name); err == nil {
					next = joined
					r.mu.Lock()
					r.lives = append(r.lives, next)
					r.mu.Unlock()
				}
			}
			life.Drop()
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-r.done
	})

	return r
}

// tryJoin adds a client that its caller ends.
func (m *mediaServer) tryJoin(ctx context.Context, channel, clientID string) (*member, error) {
	return joinAs(ctx, bot.Config{URL: m.signalingURL, ChannelID: channel, ClientID: clientID, Role: bot.SendRecv})
}

func (r *regular) last() *member {
	r.mu.Lock()
	defer r.mu.Unlock()

	return r.lives[len(r.lives)-1]
}

func (r *regular) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()

	return len(r.lives)
}

// next waits for a life beyond so many.
func (r *regular) next(t *testing.T, lives int) *member {
	t.Helper()
	await(t, r.name+" to come again", func() (int, bool) {
		n := r.count()

		return n, n > lives
	})

	return r.last()
}

// TestHandOver drains the owner of a channel again and again, and proves that its clients
// meet at the next one, that a pause by client ids is in force there before the first packet,
// and that readiness ends at once. It prints the gap in the media that clients see.
func TestHandOver(t *testing.T) {
	t.Parallel()
	s := own(t, layout{managers: 2, shims: 1, mediaServers: 3})
	channel := channelOf(t)
	// alice does not receive bob's video.
	pause := s.createPause(t, channel, clientSpec(channel, "alice", "bob"))
	alice, bob, carol := s.newRegular(t, channel, "alice", 0), s.newRegular(t, channel, "bob", 1),
		s.newRegular(t, channel, "carol", 2)
	var gaps []time.Duration
	leaked := 0
	for range 3 * *rounds {
		before := []*member{alice.last(), bob.last(), carol.last()}
		edge{before[2], before[1]}.awaitFlow(t)
		edge{before[0], before[1]}.awaitMore(t, bot.Audio, enoughAudio)
		s.awaitReady(t, pause, v1alpha1.ReasonEnforced)
		owner := s.ownerOf(t, channel)
		lives := []int{alice.count(), bob.count(), carol.count()}
		owner.ended = true
		stopped := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			stopped <- owner.Stop(ctx)
		}()
		after := []*member{alice.next(t, lives[0]), bob.next(t, lives[1]), carol.next(t, lives[2])}
		if err := <-stopped; err != nil {
			t.Fatal(err)
		}
		edge{after[2], after[1]}.awaitFlow(t)
		edge{after[0], after[1]}.awaitMore(t, bot.Audio, enoughAudio)
		// The pause is by client ids: no packet of bob's video ever came to alice.
		for _, receiver := range []*member{before[0], after[0]} {
			for _, sender := range []*member{before[1], after[1]} {
				leaked += len(receiver.arrivals(sender.ConnectionID(), bot.Video))
			}
		}
		old, fresh := edge{before[2], before[1]}.arrivals(bot.Audio), edge{after[2], after[1]}.arrivals(bot.Audio)
		gaps = append(gaps, fresh[0].at.Sub(old[len(old)-1].at))
		if err := s.startMediaServer(t.Context(), owner); err != nil {
			t.Fatal(err)
		}
		owner.awaitReady(t)
	}
	if leaked != 0 {
		t.Errorf("%d packets came over the paused edge", leaked)
	}
	line, err := json.Marshal(map[string]any{
		"bench": "handover", "rounds": len(gaps), "packets_on_paused_edges": leaked,
		"gap_p50_ms": quantile(gaps, 0.5).Milliseconds(), "gap_p99_ms": quantile(gaps, 0.99).Milliseconds(),
	})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(os.Stdout, "%s\n", line)
}

// ownerOf is the media server that hosts a channel; it is the only one that is hosted.
func (s *system) ownerOf(t *testing.T, channel string) *mediaServer {
	t.Helper()

	return await(t, "one owner of "+channel, func() (*mediaServer, bool) {
		var owner *mediaServer
		owners := 0
		for _, m := range s.mediaServers {
			if m.metric(t, "nagi_peers_channels") > 0 {
				owner = m
				owners++
			}
		}

		return owner, owners == 1
	})
}

// TestDraining proves what a media server does that is told to end and has time: it is not
// ready at once, its channels go on, new ones open elsewhere, whoever it passes on goes on
// too, and when nobody is left it ends; or at once at the second signal.
func TestDraining(t *testing.T) {
	t.Parallel()
	s := own(t, layout{managers: 1, shims: 1, mediaServers: 2, mediaServerArgs: []string{"--drain-timeout=10m"}})
	channel := channelOf(t)
	alice := s.mediaServers[0].join(t, channel, "alice", bot.SendRecv)
	bob := s.mediaServers[1].join(t, channel, "bob", bot.SendRecv)
	edge{alice, bob}.awaitFlow(t)
	owner := s.ownerOf(t, channel)
	other := s.mediaServers[0]
	if other == owner {
		other = s.mediaServers[1]
	}
	owner.ended = true
	if err := syscall.Kill(owner.PID(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	await(t, "readiness to end", func() (string, bool) {
		status, text := owner.ask(t, "/readyz")

		return text, status == 503
	})
	if status, _ := owner.ask(t, "/healthz"); status != 200 {
		t.Error("it is not alive while it drains")
	}
	carol := owner.join(t, channel, "carol", bot.SendRecv)
	edge{carol, alice}.awaitFlow(t)
	dave := owner.join(t, channel+"-new", "dave", bot.SendRecv)
	if hosted := other.metric(t, "nagi_peers_channels"); hosted != 1 {
		t.Errorf("the other one hosts %v channels, want the new one", hosted)
	}
	for _, m := range []*member{alice, bob, carol} {
		m.leave(t)
	}
	// The one that it passes on keeps it.
	await(t, "the channel to end", func() (float64, bool) {
		hosted := owner.metric(t, "nagi_peers_channels")

		return hosted, hosted == 0
	})
	if err := dave.Err(); err != nil {
		t.Errorf("one that is passed on is gone: %v", err)
	}
	dave.leave(t)
	select {
	case <-owner.Done():
	case <-time.After(patience):
		t.Fatal("it does not end, though nobody is left")
	}

	erin := other.join(t, channel, "erin", bot.SendRecv)
	other.ended = true
	tell := func() {
		t.Helper()
		if err := syscall.Kill(other.PID(), syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	tell()
	await(t, "the first signal to be taken", func() (int, bool) {
		status, _ := other.ask(t, "/readyz")

		return status, status == 503
	})
	tell()
	select {
	case <-other.Done():
	case <-time.After(patience):
		t.Fatal("it does not end at the second signal")
	}
	erin.Drop()
}

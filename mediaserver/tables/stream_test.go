package tables

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/nagi-rtc/nagi/api/forwarding/managers"
	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

func TestStreamSaysHelloReportsCompleteThenAcknowledges(t *testing.T) {
	inWorld(t, []string{replicaA}, func(t *testing.T, w *world) {
		s := w.replicas[replicaA].last()
		expectSaid(t, s, "hello meetings/sfu-0", "report sora 2", "complete")
		s.sendTable(t, table(7, "u1"))
		expectSaid(t, s, "ack sora 7 1")
		expectTables(t, w, "7 whole u1")

		// Only the epoch moves: the difference is empty, but WaitEnforced learns of it.
		w.hosts("sora", "receiver", "sender", "third")
		expectSaid(t, s, "report sora +1 -0", "ack sora 7 +0 -0")
		w.Changed("sora")
		expectSaid(t, s)
		w.hosts("sora", "third")
		expectSaid(t, s, "report sora +0 -2", "ack sora 7 +1 -0")

		// The same pauses at a newer version: acknowledged, not applied again.
		s.sendTable(t, difference(7, 9, "u1"))
		expectSaid(t, s, "ack sora 9 +0 -0")
		expectTables(t, w, "7 whole u1")
		s.sendTable(t, removing(difference(9, 10, "u2"), "u1"))
		expectSaid(t, s, "ack sora 10 +1 -1")
		expectTables(t, w, "7 whole u1", "10 u2 -u1")

		w.hosts("sora")
		expectSaid(t, s, "closed sora")
		w.Changed("sora")
		expectSaid(t, s)
	})
}

func TestReconnectSaysEverythingAgain(t *testing.T) {
	inWorld(t, []string{replicaA}, func(t *testing.T, w *world) {
		a := w.replicas[replicaA]
		a.last().sendTable(t, table(7, "u1"))
		synctest.Wait()
		first := a.last().received[0].GetHello()
		a.last().end <- status.Error(codes.Internal, "the manager is ill")
		synctest.Wait()
		w.host.host("other", "x")
		w.hosts("sora", "receiver")
		time.Sleep(firstRetry)
		synctest.Wait()
		if a.count() != 2 {
			t.Fatalf("%d streams %s after the first was lost, want 2", a.count(), firstRetry)
		}
		if again := a.last().received[0].GetHello(); again.GetIncarnation() == "" ||
			again.GetIncarnation() != first.GetIncarnation() {
			t.Errorf("the incarnation is %q at first and %q later", first.GetIncarnation(), again.GetIncarnation())
		}
		expectSaid(t, a.last(), "hello meetings/sfu-0", "report other 1", "report sora 1", "complete", "ack sora 7 1")
	})
}

func TestEachProcessHasAnIncarnationOfItsOwn(t *testing.T) {
	config := Config{Log: slog.New(slog.DiscardHandler)}
	if a, b := New(config, nil).config.Incarnation, New(config, nil).config.Incarnation; a == "" || a == b {
		t.Errorf("the incarnations are %q and %q", a, b)
	}
}

func TestReplicaHearsAChannelAgainWhenItAsks(t *testing.T) {
	inWorld(t, []string{replicaA}, func(t *testing.T, w *world) {
		s := w.replicas[replicaA].last()
		s.sendTable(t, table(7, "u1"))
		w.hosts("other", "x")
		w.hosts("sora", "receiver", "third")
		synctest.Wait()
		s.said()
		resend := func(id string) {
			s.send(t, &forwardingv1.SubscribeResponse{
				Message: &forwardingv1.SubscribeResponse_Resend{Resend: &forwardingv1.Resend{ChannelId: id}},
			})
		}
		resend("sora")
		expectSaid(t, s, "report sora 2", "ack sora 7 1")
		resend("nowhere")
		expectSaid(t, s)
		w.hosts("sora", "third", "sender")
		expectSaid(t, s, "report sora +1 -1", "ack sora 7 +1 -0")
	})
}

func TestTheClockIsToldWhenAVersionAsksForIt(t *testing.T) {
	inWorld(t, []string{replicaA}, func(t *testing.T, w *world) {
		s := w.replicas[replicaA].last()
		synctest.Wait()
		s.said()
		ask := func() {
			s.send(t, &forwardingv1.SubscribeResponse{Message: &forwardingv1.SubscribeResponse_ReplicaVersion{
				ReplicaVersion: &forwardingv1.ReplicaVersion{Version: 3, Clock: true},
			}})
		}
		ask()
		synctest.Wait()
		if clock := s.received[0].GetClock(); !clock.GetTime().AsTime().Equal(time.Now()) {
			t.Errorf("the clock says %s at %s", clock.GetTime().AsTime(), time.Now())
		}
		expectSaid(t, s, "clock")
		s.sendVersion(t, 4, false)
		expectSaid(t, s)
		// Each that asks has its answer, or the replica could not tell what it measures by.
		for range 3 {
			ask()
		}
		expectSaid(t, s, "clock", "clock", "clock")
	})
}

func TestDifferencesThatTheHostCannotTellAreWhole(t *testing.T) {
	inWorld(t, []string{replicaA}, func(t *testing.T, w *world) {
		w.host.forgets = true
		s := w.replicas[replicaA].last()
		s.sendTable(t, table(7, "u1"))
		expectSaid(t, s, "hello meetings/sfu-0", "report sora 2", "complete", "ack sora 7 1")
		w.hosts("sora", "receiver", "sender", "third")
		expectSaid(t, s, "report sora 3", "ack sora 7 +0 -0")
		w.hosts("sora", "sender")
		expectSaid(t, s, "report sora 1", "ack sora 7 1")
	})
}

func TestRetriesSlowDownAndRecover(t *testing.T) {
	inWorld(t, []string{replicaA}, func(t *testing.T, w *world) {
		a := w.replicas[replicaA]
		a.mu.Lock()
		a.refuse = status.Error(codes.Unavailable, "the informers are not synced")
		a.mu.Unlock()
		a.last().end <- errors.New("restart")
		time.Sleep(60 * time.Second)
		if n := a.count(); n < 40 || n > 90 {
			t.Errorf("%d attempts in 60 s, want about one per %s", n, lastRetry*3/4)
		}
		a.mu.Lock()
		a.refuse = nil
		a.mu.Unlock()
		time.Sleep(lastRetry)
		synctest.Wait()
		if w.streamCount() != 1 {
			t.Error("no stream although the manager is back")
		}
	})
}

func TestSilentManagerIsDialledAnew(t *testing.T) {
	inWorld(t, []string{replicaA}, func(t *testing.T, w *world) {
		a := w.replicas[replicaA]
		for range 10 {
			time.Sleep(5 * time.Second)
			a.last().sendVersion(t, 1, false)
		}
		if a.count() != 1 {
			t.Fatalf("%d streams to a manager that speaks every 5 s, want 1", a.count())
		}
		time.Sleep(silence + firstRetry)
		synctest.Wait()
		if a.count() != 2 {
			t.Errorf("%d streams after %s of silence, want 2", a.count(), silence)
		}
	})
}

func TestSlowReplicaIsBoundedAndDelaysNobody(t *testing.T) {
	inWorld(t, []string{replicaA}, func(t *testing.T, w *world) {
		gate := make(chan struct{})
		w.replicas[replicaA].gate = gate
		w.replicas[replicaA].last().end <- errors.New("restart")
		time.Sleep(firstRetry)
		synctest.Wait()
		slow := w.replicas[replicaA].last()
		var stream *stream
		w.mu.Lock()
		for st := range w.streams {
			stream = st
		}
		w.mu.Unlock()
		if stream == nil {
			t.Fatal("no stream")
		}
		const many = 100
		for round := range 60 {
			for i := range many {
				connections := make([]string, 20+round%2)
				for j := range connections {
					connections[j] = fmt.Sprintf("connection-%d-%d-%d", round, i, j)
				}
				w.hosts(fmt.Sprint(i), connections...)
			}
			synctest.Wait()
		}
		w.mu.Lock()
		waiting, marks := len(stream.queue), len(stream.marked)
		w.mu.Unlock()
		if waiting > many+1 || marks > many+1 || waiting < many/2 {
			t.Errorf("%d channels queued and %d marked for a replica that reads nothing, want about %d", waiting, marks, many)
		}
		close(gate)
		synctest.Wait()
		slow.mu.Lock()
		defer slow.mu.Unlock()
		if total := len(slow.received); total > 60*many/2 {
			t.Errorf("%d messages for %d changes: not coalesced", total, 60*many)
		}
		for i := range many {
			members := slow.ledger.channels[fmt.Sprint(i)].members
			if len(members) != 21 || members[fmt.Sprintf("connection-59-%d-0", i)] == nil {
				t.Fatalf("the last report of channel %d is not its last state", i)
			}
		}
	})
}

func TestDeafReplicaDoesNotDelayTheOther(t *testing.T) {
	inWorld(t, []string{replicaA, replicaB}, func(t *testing.T, w *world) {
		deaf := w.replicas[replicaA]
		deaf.gate = make(chan struct{})
		deaf.last().end <- errors.New("restart")
		time.Sleep(firstRetry)
		synctest.Wait()
		b := w.replicas[replicaB].last()
		b.said()
		for i := range 2500 {
			w.hosts("sora", fmt.Sprint("connection-", i), "another")
			synctest.Wait()
		}
		b.sendTable(t, table(5, "u1"))
		synctest.Wait()
		said := b.said()
		if len(said) != 2501 || said[2500] != "ack sora 5 1" {
			t.Errorf("the attentive replica was told %d things, want 2500 reports and an acknowledgement", len(said))
		}
	})
}

func TestReadinessNeedsOneCompleteAnswer(t *testing.T) {
	inWorld(t, []string{replicaA}, func(t *testing.T, w *world) {
		a := w.replicas[replicaA]
		expect := func(want string, when string) {
			t.Helper()
			synctest.Wait()
			err := w.Ready()
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("Ready says %v %s, want %q", err, when, want)
			}
		}
		expect("the tables of 1 channels: sora", "before any answer")
		a.last().sendVersion(t, 5, false)
		expect("the tables of 1 channels: sora", "before the table of a channel hosted")
		a.mu.Lock()
		a.refuse = status.Error(codes.Unavailable, "not synced yet")
		a.mu.Unlock()
		a.last().end <- errors.New("restart")
		time.Sleep(lastRetry)
		expect("not synced yet", "while the manager refuses")
		a.mu.Lock()
		a.refuse = nil
		a.mu.Unlock()
		time.Sleep(lastRetry)
		synctest.Wait()
		a.last().sendTable(t, table(5))
		expect("its version", "before the version")
		a.last().sendVersion(t, 5, false)
		expect("", "after a complete answer")
		a.server.Stop()
		time.Sleep(time.Minute)
		expect("", "without managers")
	})
}

func TestStalenessCountsFromTheLossOfTheLastFreshReplica(t *testing.T) {
	inWorld(t, []string{replicaA}, func(t *testing.T, w *world) {
		a := w.replicas[replicaA]
		a.last().sendVersion(t, 5, false)
		time.Sleep(3 * time.Second)
		if got := w.staleness(); got != 0 {
			t.Errorf("staleness %s with a fresh replica", got)
		}
		a.last().sendVersion(t, 5, true)
		synctest.Wait()
		time.Sleep(4 * time.Second)
		if got := w.staleness(); got != 4*time.Second {
			t.Errorf("staleness %s 4 s after the replica became stale", got)
		}
		a.server.Stop()
		time.Sleep(4 * time.Second)
		if got := w.staleness(); got != 8*time.Second {
			t.Errorf("staleness %s, want 8s", got)
		}
	})
}

func TestStreamsFollowTheAddressesOfAName(t *testing.T) {
	inWorld(t, []string{replicaA}, func(t *testing.T, w *world) {
		w.stop()
		var mu sync.Mutex
		hosts := []string{"192.0.2.1"}
		resolve := func(newHosts ...string) {
			mu.Lock()
			hosts = newHosts
			mu.Unlock()
			time.Sleep(managers.LookupInterval)
		}
		again := New(w.config, w.host)
		again.config.Managers = []string{"managers.example:7300"}
		again.config.LookupHost = func(context.Context, string) ([]string, error) {
			mu.Lock()
			defer mu.Unlock()

			return hosts, nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- again.Run(ctx) }()
		expect := func(streams, a, b int, when string) {
			t.Helper()
			synctest.Wait()
			if again.streamCount() != streams || w.replicas[replicaA].count() != a || w.replicas[replicaB].count() != b {
				t.Errorf("%s: %d streams, %d to A and %d to B so far; want %d, %d, %d", when,
					again.streamCount(), w.replicas[replicaA].count(), w.replicas[replicaB].count(), streams, a, b)
			}
		}
		expect(1, 2, 0, "one address")
		resolve("192.0.2.2", "192.0.2.1")
		expect(2, 2, 1, "a second address")
		resolve("192.0.2.2")
		expect(1, 2, 1, "an address is gone")
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestDrainDeliversWhatIsLeftToSay(t *testing.T) {
	inWorld(t, []string{replicaA}, func(t *testing.T, w *world) {
		s := w.replicas[replicaA].last()
		s.said()
		w.hosts("sora")
		w.Drain(t.Context())
		expectSaid(t, s, "closed sora", "farewell")
		time.Sleep(time.Minute)
		if n := w.replicas[replicaA].count(); n != 1 {
			t.Errorf("%d streams, want none opened after the draining", n)
		}
	})
}

func TestWhoStillHostsSaysNoFarewell(t *testing.T) {
	inWorld(t, []string{replicaA}, func(t *testing.T, w *world) {
		s := w.replicas[replicaA].last()
		s.said()
		w.Drain(t.Context())
		expectSaid(t, s)
	})
}

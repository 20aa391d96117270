package tables

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

func TestStreamSaysHelloReportsCompleteThenAcknowledges(t *testing.T) {
	inWorld(t, []string{replicaA}, func(t *testing.T, w *world) {
		s := w.replicas[replicaA].last()
		expectSaid(t, s, "hello meetings/sfu-0", "report sora 2", "complete")
		s.sendTable(t, table(7, "u1"))
		expectSaid(t, s, "ack sora 7 1")
		expectApplied(t, w, 7)

		w.host.host("sora", "receiver", "sender", "third")
		w.Changed("sora")
		expectSaid(t, s, "report sora 3", "ack sora 7 1")
		w.Changed("sora")
		expectSaid(t, s, "ack sora 7 1")

		// The same pauses at a newer version: acknowledged, not applied again.
		s.sendTable(t, table(9, "u1"))
		expectSaid(t, s, "ack sora 9 1")
		expectApplied(t, w, 7)

		w.host.host("sora")
		w.Changed("sora")
		expectSaid(t, s, "report sora 0")
		w.Changed("sora")
		expectSaid(t, s)
	})
}

func TestReconnectSaysEverythingAgain(t *testing.T) {
	inWorld(t, []string{replicaA}, func(t *testing.T, w *world) {
		a := w.replicas[replicaA]
		a.last().sendTable(t, table(7, "u1"))
		synctest.Wait()
		a.last().end <- status.Error(codes.Internal, "the manager is ill")
		synctest.Wait()
		w.host.host("other", "x")
		w.host.host("sora", "receiver")
		w.Changed("sora")
		time.Sleep(firstRetry)
		synctest.Wait()
		if a.count() != 2 {
			t.Fatalf("%d streams %s after the first was lost, want 2", a.count(), firstRetry)
		}
		said := a.last().said()
		if len(said) != 5 || said[0] != "hello meetings/sfu-0" || said[3] != "complete" || said[4] != "ack sora 7 1" {
			t.Errorf("the new stream was told %q", said)
		}
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

func TestMalformedMessagesAreDroppedAndTheStreamLives(t *testing.T) {
	inWorld(t, []string{replicaA}, func(t *testing.T, w *world) {
		s := w.replicas[replicaA].last()
		expectSaid(t, s, "hello meetings/sfu-0", "report sora 2", "complete")
		s.sendTable(t, &forwardingv1.Table{})
		s.sendTable(t, &forwardingv1.Table{ChannelId: "elsewhere", Version: 3})
		s.sendTable(t, table(8, "u1", "u1"))
		if err := s.call.Send(&forwardingv1.SubscribeResponse{}); err != nil {
			t.Fatal(err)
		}
		expectSaid(t, s)
		expectApplied(t, w)
		s.sendTable(t, table(8, "u1"))
		expectSaid(t, s, "ack sora 8 1")
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
				w.host.host(fmt.Sprint(i), connections...)
				w.Changed(fmt.Sprint(i))
			}
			synctest.Wait()
		}
		w.mu.Lock()
		waiting, marks := len(stream.queue), len(stream.marks)
		w.mu.Unlock()
		if waiting > many+1 || marks > many+1 || waiting < many/2 {
			t.Errorf("%d channels queued and %d marked for a replica that reads nothing, want about %d", waiting, marks, many)
		}
		close(gate)
		synctest.Wait()
		reports := make(map[string]*forwardingv1.ChannelReport)
		slow.mu.Lock()
		total := len(slow.received)
		for _, request := range slow.received {
			if report := request.GetReport(); report != nil {
				reports[report.GetChannelId()] = report
			}
		}
		slow.mu.Unlock()
		if total > 60*many/2 {
			t.Errorf("%d messages for %d changes: not coalesced", total, 60*many)
		}
		for i := range many {
			if got := reports[fmt.Sprint(i)].GetConnections(); len(got) != 21 || got[0].GetConnectionId() != fmt.Sprintf("connection-59-%d-0", i) {
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
			w.host.host("sora", fmt.Sprint("connection-", i), "another")
			w.Changed("sora")
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
		expect := func(want bool, when string) {
			t.Helper()
			synctest.Wait()
			if w.Ready() != want {
				t.Errorf("Ready is %t %s", !want, when)
			}
		}
		expect(false, "before any answer")
		a.last().sendVersion(t, 5, false)
		expect(false, "before the table of a channel hosted")
		a.last().sendTable(t, table(5))
		expect(true, "after a complete answer")
		a.server.Stop()
		time.Sleep(time.Minute)
		expect(true, "without managers")
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

func TestNamesAreLookedUpAgain(t *testing.T) {
	var mu sync.Mutex
	hosts, failure := []string{"192.0.2.1"}, error(nil)
	resolve := func(newHosts []string, newFailure error) {
		mu.Lock()
		defer mu.Unlock()
		hosts, failure = newHosts, newFailure
	}
	inWorld(t, []string{replicaA}, func(t *testing.T, w *world) {
		w.stop()
		w.lookup = func() ([]string, error) {
			mu.Lock()
			defer mu.Unlock()
			return hosts, failure
		}
		again := New(w.config, w.host)
		again.config.Managers = []string{"managers.example:7300"}
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
		resolve([]string{"192.0.2.2", "192.0.2.1"}, nil)
		time.Sleep(lookupInterval)
		expect(2, 2, 1, "a second address")
		resolve(nil, errors.New("the resolver is down"))
		time.Sleep(lookupInterval)
		expect(2, 2, 1, "the resolver fails")
		resolve([]string{"192.0.2.2"}, nil)
		time.Sleep(lookupInterval)
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
		w.host.host("sora")
		w.Changed("sora")
		w.Drain(t.Context())
		expectSaid(t, s, "report sora 0")
		time.Sleep(time.Minute)
		if n := w.replicas[replicaA].count(); n != 1 {
			t.Errorf("%d streams, want none opened after the draining", n)
		}
	})
}

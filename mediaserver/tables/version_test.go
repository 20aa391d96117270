package tables

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

func TestNewestTableOfTwoReplicasActs(t *testing.T) {
	inWorld(t, []string{replicaA, replicaB}, func(t *testing.T, w *world) {
		a, b := w.replicas[replicaA].last(), w.replicas[replicaB].last()
		synctest.Wait()
		a.said()
		b.said()
		a.sendTable(t, table(10, "u1"))
		expectApplied(t, w, 10)
		expectSaid(t, a, "ack sora 10 1")
		expectSaid(t, b, "ack sora 10 1")
		b.sendTable(t, table(9))
		expectApplied(t, w, 10)
		expectSaid(t, a)
		expectSaid(t, b, "ack sora 10 1")
		b.sendTable(t, table(11, "u1", "u2"))
		expectApplied(t, w, 10, 11)
		expectSaid(t, a, "ack sora 11 2")
		expectSaid(t, b, "ack sora 11 2")
		// The replica with the newest table goes; what it said stays in force.
		w.replicas[replicaB].server.Stop()
		time.Sleep(time.Second)
		expectApplied(t, w, 10, 11)
	})
}

func TestStaleTableDoesNotEndTheHoldWhileAnotherMayAnswer(t *testing.T) {
	inWorld(t, []string{replicaA, replicaB}, func(t *testing.T, w *world) {
		w.replicas[replicaA].last().sendTable(t, stale(table(10)))
		expectApplied(t, w)
		w.replicas[replicaB].last().sendTable(t, table(9, "u1"))
		// B has answered: the newer one of the two acts, though it is stale.
		expectApplied(t, w, 10)
	})
}

func TestStaleTableActsWhenNobodyElseCanAnswer(t *testing.T) {
	for name, hinder := range map[string]func(t *testing.T, b *replica){
		"the other is lost":     func(_ *testing.T, b *replica) { b.server.Stop() },
		"the other is stale":    func(t *testing.T, b *replica) { b.last().sendVersion(t, 3, true) },
		"the other's is stale":  func(t *testing.T, b *replica) { b.last().sendTable(t, stale(table(8))) },
		"the other ends itself": func(_ *testing.T, b *replica) { b.last().end <- errors.New("bye") },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, []string{replicaA, replicaB}, func(t *testing.T, w *world) {
				w.replicas[replicaA].last().sendTable(t, stale(table(10, "u1")))
				expectApplied(t, w)
				hinder(t, w.replicas[replicaB])
				expectApplied(t, w, 10)
			})
		})
	}
}

func TestRestoredBackupIsAdoptedAfterTenSeconds(t *testing.T) {
	inWorld(t, []string{replicaA, replicaB}, func(t *testing.T, w *world) {
		a, b := w.replicas[replicaA].last(), w.replicas[replicaB].last()
		a.sendTable(t, table(100, "u1"))
		b.sendTable(t, table(100, "u1"))
		expectApplied(t, w, 100)
		// A lags alone: nothing happens, however long.
		for range 6 {
			a.sendVersion(t, 50, false)
			b.sendVersion(t, 100, false)
			time.Sleep(5 * time.Second)
		}
		expectApplied(t, w, 100)
		b.sendTable(t, table(40))
		a.sendTable(t, table(50, "u0"))
		time.Sleep(9 * time.Second)
		expectApplied(t, w, 100)
		time.Sleep(3 * time.Second)
		expectApplied(t, w, 100, 50)
		b.sendTable(t, table(51, "u2"))
		expectApplied(t, w, 100, 50, 51)
	})
}

func TestRestoredBackupWithoutChangesMakesRoomForLaterOnes(t *testing.T) {
	inWorld(t, []string{replicaA}, func(t *testing.T, w *world) {
		a := w.replicas[replicaA].last()
		a.sendTable(t, table(100, "u1"))
		expectApplied(t, w, 100)
		for range 4 {
			a.sendVersion(t, 50, false)
			time.Sleep(4 * time.Second)
		}
		expectApplied(t, w, 100, 50)
		a.sendTable(t, table(51, "u1", "u2"))
		expectApplied(t, w, 100, 50, 51)
	})
}

func TestStaleReplicaBelowIsNotARestoredBackup(t *testing.T) {
	inWorld(t, []string{replicaA, replicaB}, func(t *testing.T, w *world) {
		b := w.replicas[replicaB].last()
		w.replicas[replicaA].last().sendTable(t, table(100, "u1"))
		b.sendTable(t, stale(table(50)))
		synctest.Wait()
		w.replicas[replicaA].server.Stop()
		for range 12 {
			b.sendVersion(t, 50, true)
			time.Sleep(5 * time.Second)
		}
		expectApplied(t, w, 100)
	})
}

func TestChannelHostedAgainForgetsItsVersion(t *testing.T) {
	inWorld(t, []string{replicaA}, func(t *testing.T, w *world) {
		a := w.replicas[replicaA].last()
		a.sendTable(t, table(100, "u1"))
		expectApplied(t, w, 100)
		// So fast that the stream's writer sees only the difference.
		w.host.host("sora")
		w.host.host("sora", "newcomer")
		w.Changed("sora")
		synctest.Wait()
		a.sendTable(t, table(100, "u1"))
		expectApplied(t, w, 100, 100)

		w.host.host("sora")
		w.Changed("sora")
		time.Sleep(3 * watchInterval)
		w.mu.Lock()
		left := len(w.channels)
		w.mu.Unlock()
		if left != 0 {
			t.Errorf("%d channels are remembered though none is hosted", left)
		}
	})
}

func TestApplyIsSerialisedAndCoalescedPerChannel(t *testing.T) {
	inWorld(t, []string{replicaA, replicaB}, func(t *testing.T, w *world) {
		var running atomic.Int32
		release := make(chan struct{})
		w.host.apply = func(table *forwardingv1.Table) {
			if table.GetChannelId() == "sora" {
				if running.Add(1) > 1 {
					t.Error("Apply runs twice at a time for one channel")
				}
				<-release
				running.Add(-1)
			}
		}
		a, b := w.replicas[replicaA].last(), w.replicas[replicaB].last()
		w.host.host("other", "x")
		w.Changed("other")
		synctest.Wait()
		a.said()
		a.sendTable(t, table(1, "u1"))
		synctest.Wait()
		for version := uint64(2); version <= 20; version++ {
			b.sendTable(t, table(version, "u1", "u2"))
		}
		a.sendTable(t, &forwardingv1.Table{ChannelId: "other", Version: 20})
		synctest.Wait()
		if got := a.said(); len(got) != 1 || got[0] != "ack other 20 0" {
			t.Errorf("while the fence of one channel is slow the replica was told %q, want the other channel's acknowledgement", got)
		}
		close(release)
		expectApplied(t, w, 20, 1, 20)
	})
}

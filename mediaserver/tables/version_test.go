package tables

import (
	"errors"
	"fmt"
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
		expectSaid(t, b, "ack sora 10 +0 -0")
		b.sendTable(t, difference(9, 11, "u1", "u2"))
		expectTables(t, w, "10 whole u1", "11 u2")
		expectSaid(t, a, "ack sora 11 +1 -0")
		expectSaid(t, b, "ack sora 11 +1 -0")
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
		// B vouches for its table. A's may be of a history that is no more.
		w.replicas[replicaB].last().sendTable(t, table(9, "u1"))
		expectApplied(t, w, 9)
		// A hears from the API server again: what it states counts again.
		w.replicas[replicaA].last().sendVersion(t, 10, false)
		expectApplied(t, w, 9, 10)
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
		a.sendTable(t, removing(difference(100, 50, "u0"), "u1"))
		time.Sleep(9 * time.Second)
		expectApplied(t, w, 100)
		time.Sleep(3 * time.Second)
		expectApplied(t, w, 100, 50)
		b.sendTable(t, difference(40, 51, "u2"))
		expectTables(t, w, "100 whole u1", "50 u0 -u1", "51 u2 -u0")
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
		a.sendTable(t, difference(100, 51, "u2"))
		expectTables(t, w, "100 whole u1", "50", "51 u2")
	})
}

// The cluster has come past the version held before ten seconds were over, by
// changes in other channels: the version alone says nothing any more.
func TestRestoredBackupIsAdoptedThoughItsVersionHasPassed(t *testing.T) {
	inWorld(t, []string{replicaA, replicaB}, func(t *testing.T, w *world) {
		a, b := w.replicas[replicaA].last(), w.replicas[replicaB].last()
		a.sendTable(t, table(100, "u1"))
		b.sendTable(t, table(100, "u1"))
		expectApplied(t, w, 100)
		for _, s := range []*session{a, b} {
			s.sendTable(t, removing(difference(100, 50, "u0"), "u1"))
		}
		a.sendVersion(t, 101, false)
		b.sendVersion(t, 102, false)
		for range 3 {
			time.Sleep(5 * time.Second)
			a.sendVersion(t, 103, false)
			b.sendVersion(t, 103, false)
		}
		expectTables(t, w, "100 whole u1", "103 u0 -u1")
		b.sendTable(t, difference(50, 104, "u2"))
		expectTables(t, w, "100 whole u1", "103 u0 -u1", "104 u2")
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

func TestStaleReplicaAtAHighVersionHindersNoAdoption(t *testing.T) {
	inWorld(t, []string{replicaA, replicaB}, func(t *testing.T, w *world) {
		a, b := w.replicas[replicaA].last(), w.replicas[replicaB].last()
		a.sendTable(t, table(100, "u1"))
		b.sendTable(t, table(100, "u1"))
		expectApplied(t, w, 100)
		// etcd is restored to 50: A follows, B's watch is wedged.
		a.sendTable(t, removing(difference(100, 50, "u0"), "u1"))
		for range 3 {
			a.sendVersion(t, 50, false)
			b.sendVersion(t, 100, true)
			time.Sleep(5 * time.Second)
		}
		want := []string{"100 whole u1", "50 u0 -u1"}
		expectTables(t, w, want...)
		// What B states is of a history that is no more, also when A is stale, and
		// when it is gone, and when B comes anew.
		b.sendVersion(t, 100, true)
		a.sendVersion(t, 50, true)
		expectTables(t, w, want...)
		w.replicas[replicaA].server.Stop()
		b.sendVersion(t, 100, true)
		expectTables(t, w, want...)
		w.replicas[replicaB].last().end <- errors.New("restart")
		time.Sleep(lastRetry)
		synctest.Wait()
		b = w.replicas[replicaB].last()
		b.sendTable(t, stale(table(100, "u1")))
		expectTables(t, w, want...)
		// It has listed anew.
		b.sendTable(t, removing(difference(100, 62, "u0", "u3"), "u1"))
		expectTables(t, w, append(want, "62 u3")...)
	})
}

func TestStaleReplicaThatComesLaterMayKnowMore(t *testing.T) {
	inWorld(t, []string{replicaA, replicaB}, func(t *testing.T, w *world) {
		w.replicas[replicaA].last().sendTable(t, table(10, "u1"))
		expectApplied(t, w, 10)
		w.replicas[replicaA].server.Stop()
		w.replicas[replicaB].last().sendTable(t, stale(table(12, "u1", "u2")))
		expectTables(t, w, "10 whole u1", "12 u2")
	})
}

func TestChannelHostedAgainForgetsItsVersion(t *testing.T) {
	inWorld(t, []string{replicaA}, func(t *testing.T, w *world) {
		a := w.replicas[replicaA].last()
		a.sendTable(t, table(100, "u1"))
		expectApplied(t, w, 100)
		// So fast that the stream's writer sees only the difference.
		w.host.host("sora")
		w.hosts("sora", "newcomer")
		synctest.Wait()
		// What was under way for the instance before.
		a.sendTable(t, difference(100, 101, "u2"))
		expectApplied(t, w, 100)
		again := table(99, "u1")
		again.Instance = 2
		a.sendTable(t, again)
		expectTables(t, w, "100 whole u1", "99 whole u1")

		w.hosts("sora")
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
		w.host.apply = func(table Table) {
			if table.ChannelID == "sora" {
				if running.Add(1) > 1 {
					t.Error("Apply runs twice at a time for one channel")
				}
				<-release
				running.Add(-1)
			}
		}
		a, b := w.replicas[replicaA].last(), w.replicas[replicaB].last()
		w.hosts("other", "x")
		synctest.Wait()
		a.said()
		a.sendTable(t, table(1, "u1"))
		synctest.Wait()
		b.sendTable(t, table(2, "u1", "u2"))
		for version := uint64(3); version <= 20; version++ {
			b.sendTable(t, difference(version-1, version, fmt.Sprint("u", version)))
		}
		a.sendTable(t, &forwardingv1.Table{ChannelId: "other", Instance: 2, Version: 20})
		synctest.Wait()
		if got := a.said(); len(got) != 1 || got[0] != "ack other 20 0" {
			t.Errorf("while the fence of one channel is slow the replica was told %q, want the other channel's acknowledgement",
				got)
		}
		close(release)
		expectApplied(t, w, 20, 1, 20)
	})
}

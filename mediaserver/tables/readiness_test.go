package tables

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

func (s *session) refuse(t *testing.T, channelID, reason string) {
	t.Helper()
	s.send(t, &forwardingv1.SubscribeResponse{Message: &forwardingv1.SubscribeResponse_Refusal{
		Refusal: &forwardingv1.Refusal{ChannelId: channelID, Reason: reason},
	}})
}

func TestRefusedChannelIsItsOwnTrouble(t *testing.T) {
	inWorld(t, []string{replicaA}, func(t *testing.T, w *world) {
		var log bytes.Buffer
		w.config.Log = slog.New(slog.NewTextHandler(&log, nil))
		s := w.replicas[replicaA].last()
		w.hosts("other", "x")
		synctest.Wait()
		s.said()
		s.refuse(t, "sora", "20001 connections are more than 20000")
		s.sendVersion(t, 5, false)
		expectSaid(t, s)
		want := []Refused{{replicaA, "sora", "20001 connections are more than 20000"}}
		if got := w.Refusals(); !slices.Equal(got, want) {
			t.Errorf("the refusals are %v, want %v", got, want)
		}
		// Its table is not waited for, and its changes are not said.
		if err := w.Ready(); err != nil {
			t.Errorf("not ready though all but a refused channel is answered: %v", err)
		}
		w.hosts("sora", "receiver")
		s.sendTable(t, &forwardingv1.Table{ChannelId: "other", Instance: 2, Version: 5})
		expectSaid(t, s, "ack other 5 0")
		for range 3 {
			time.Sleep(refusedRetry + watchInterval)
			expectSaid(t, s, "report sora 1")
			s.refuse(t, "sora", "20001 connections are more than 20000")
			s.sendVersion(t, 5, false)
			expectSaid(t, s)
		}
		if n := strings.Count(log.String(), "takes nothing of a channel"); n != 1 {
			t.Errorf("logged %d times, want once:\n%s", n, log.String())
		}
		time.Sleep(refusedRetry + watchInterval)
		expectSaid(t, s, "report sora 1")
		s.sendTable(t, table(6, "u1"))
		expectSaid(t, s, "ack sora 6 1")
		w.hosts("sora", "receiver", "sender")
		expectSaid(t, s, "report sora +1 -0", "ack sora 6 +1 -0")
		if got := w.Refusals(); len(got) != 0 {
			t.Errorf("the refusals are %v after the channel was taken", got)
		}
	})
}

func TestRefusedChannelEnds(t *testing.T) {
	inWorld(t, []string{replicaA}, func(t *testing.T, w *world) {
		s := w.replicas[replicaA].last()
		s.refuse(t, "sora", "too many channels")
		synctest.Wait()
		s.said()
		w.hosts("sora")
		expectSaid(t, s, "closed sora")
		if got := w.Refusals(); len(got) != 0 {
			t.Errorf("the refusals are %v after the channel has ended", got)
		}
		w.hosts("sora", "receiver")
		expectSaid(t, s, "report sora 1")
	})
}

// That nobody vouches for the tables, and since when, is told beside readiness, which
// stays: the tables held go on acting.
func TestNobodyVouchesForTheTables(t *testing.T) {
	inWorld(t, []string{replicaA, replicaB}, func(t *testing.T, w *world) {
		a, b := w.replicas[replicaA].last(), w.replicas[replicaB].last()
		expect := func(what string, want ...string) {
			t.Helper()
			synctest.Wait()
			if err := w.Ready(); (err == nil) != (what != "before an answer") {
				t.Errorf("%s: readiness %v", what, err)
			}
			err := w.Vouched()
			if (err == nil) != (len(want) == 0) {
				t.Errorf("%s: %v, want words %q", what, err, want)

				return
			}
			for _, word := range want {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%s: %v, want %q", what, err, word)
				}
			}
		}
		expect("before an answer")
		a.sendTable(t, table(5, "u1"))
		a.sendVersion(t, 5, false)
		expect("one vouches")
		time.Sleep(3 * time.Second)
		since := "since " + time.Now().UTC().Format(time.RFC3339)
		a.sendVersion(t, 5, true)
		synctest.Wait()
		time.Sleep(3 * time.Second)
		expect("it is stale", "no manager vouches for the tables "+since,
			"the manager "+replicaA+" does not hear from the API server",
			"the manager "+replicaB+" has not told its version yet")
		for address, s := range map[string]*session{replicaA: a, replicaB: b} {
			r := w.replicas[address]
			r.mu.Lock()
			r.refuse = errors.New("gone")
			r.mu.Unlock()
			s.end <- r.refuse
		}
		expect("both are gone", since, "no stream to the manager "+replicaA, "no stream to the manager "+replicaB)
	})
}

// The channels that a replica does not take are named with their reasons, some of them.
func TestRefusedChannelsAreTold(t *testing.T) {
	inWorld(t, []string{replicaA}, func(t *testing.T, w *world) {
		s := w.replicas[replicaA].last()
		if err := w.Taken(); err != nil {
			t.Errorf("before anything is refused: %v", err)
		}
		for i := range namesTold + 2 {
			id := "hall-" + string(rune('a'+i))
			w.hosts(id, "x")
			synctest.Wait()
			s.refuse(t, id, "too many connections of "+id+strings.Repeat("é", reasonTold))
		}
		synctest.Wait()
		err := w.Taken()
		if err == nil {
			t.Fatal("nothing is told")
		}
		text := err.Error()
		for _, want := range []string{`channel "hall-a" by the manager ` + replicaA + ": too many connections of hall-a",
			`"hall-e"`, "and 2 more"} {
			if !strings.Contains(text, want) {
				t.Errorf("%q is not in %s", want, text)
			}
		}
		if strings.Contains(text, "hall-f") || len(text) > 2*namesTold*reasonTold || !utf8.ValidString(text) ||
			strings.Contains(text, "\n") {
			t.Errorf("told is %s", text)
		}
		for i := range namesTold + 2 {
			w.hosts("hall-" + string(rune('a'+i)))
		}
		synctest.Wait()
		if err := w.Taken(); err != nil {
			t.Errorf("after they have ended: %v", err)
		}
	})
}

// A whole report names somebody: a channel that all have left, and that is about to
// end, is closed.
func TestEmptiedChannelIsReportedAsClosed(t *testing.T) {
	inWorld(t, []string{replicaA}, func(t *testing.T, w *world) {
		s := w.replicas[replicaA].last()
		synctest.Wait()
		s.said()
		w.host.mu.Lock()
		w.host.forgets = true
		h := w.host.hosted["sora"]
		h.epoch++
		h.members = append(h.members, map[string]*forwardingv1.Connection{})
		w.host.mu.Unlock()
		w.Changed("sora")
		expectSaid(t, s, "closed sora")
		w.Changed("sora")
		expectSaid(t, s)
		w.hosts("sora", "newcomer")
		expectSaid(t, s, "report sora 1")
	})
}

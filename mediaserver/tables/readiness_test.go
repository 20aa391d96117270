package tables

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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
		expectSaid(t, s, "report sora +1 -0", "ack sora 6 +0 -0")
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

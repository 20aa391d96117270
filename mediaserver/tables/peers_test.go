package tables

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// neighbours is a Peers that remembers what it heard.
type neighbours struct {
	mu    sync.Mutex
	heard []string
}

func (n *neighbours) note(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.heard = append(n.heard, text)
}

func (n *neighbours) Members(replica string, members *forwardingv1.Members) {
	n.note(fmt.Sprintf("%s: %d members", replica, len(members.GetSet())))
}
func (n *neighbours) Left(replica string)        { n.note(replica + ": left") }
func (n *neighbours) Unclaimed(channelID string) { n.note("unclaimed " + channelID) }
func (n *neighbours) Reaches(_ context.Context, member *forwardingv1.Member) (bool, error) {
	if member.GetName() == "sfu-3" {
		return false, errors.New("it cannot say")
	}

	return member.GetName() == "sfu-1", nil
}

func (n *neighbours) expect(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Equal(n.heard, want) {
		t.Errorf("heard %q, want %q", n.heard, want)
	}
	n.heard = nil
}

// TestPeers proves that what replicas say of other media servers is handed on, that they are
// asked where channels are once they know what is hosted here, and that each is told once
// that this media server drains.
func TestPeers(t *testing.T) {
	inWorld(t, []string{replicaA, replicaB}, func(t *testing.T, w *world) {
		w.stop()
		heard := &neighbours{}
		w.config.Peers = heard
		w.config.Standing = &forwardingv1.Hello{
			PeerAddress: "192.0.2.9:5000", SignalingUrl: "wss://a.example", ServesWithoutClaim: true, MaxChannels: 7,
			Namespace: "another",
		}
		w.Subscriber = New(w.config, w.host)
		w.start(t)
		synctest.Wait()
		a, b := w.replicas[replicaA].last(), w.replicas[replicaB].last()
		hello := a.received[0].GetHello()
		if hello.GetPeerAddress() != "192.0.2.9:5000" || hello.GetSignalingUrl() != "wss://a.example" ||
			!hello.GetServesWithoutClaim() || hello.GetMaxChannels() != 7 || hello.GetNamespace() != "meetings" {
			t.Errorf("the hello is %v", hello)
		}
		expectSaid(t, a, "hello meetings/sfu-0", "report sora 2", "complete")
		if got := len(w.Placements()); got != 0 {
			t.Errorf("%d replicas are asked before they have said their version", got)
		}
		a.sendVersion(t, 5, false)
		synctest.Wait()
		if got := len(w.Placements()); got != 1 {
			t.Errorf("%d replicas are asked, want the one that knows", got)
		}

		a.send(t, &forwardingv1.SubscribeResponse{Message: &forwardingv1.SubscribeResponse_Members{
			Members: &forwardingv1.Members{Whole: true, Set: []*forwardingv1.Member{{Name: "sfu-1"}}},
		}})
		a.send(t, &forwardingv1.SubscribeResponse{Message: &forwardingv1.SubscribeResponse_Unclaimed{
			Unclaimed: &forwardingv1.Unclaimed{ChannelId: "sora"},
		}})
		heard.expect(t, replicaA+": 1 members", "unclaimed sora")
		for id, name := range map[uint64]string{1: "sfu-1", 2: "sfu-2"} {
			a.ask(t, &forwardingv1.Question{Id: id, Asks: &forwardingv1.Question_Reach{Reach: &forwardingv1.Member{Name: name}}})
			if answer := a.answer(id); answer.GetCount() != id%2 || answer.GetError() != "" {
				t.Errorf("whether %s is reached: %v", name, answer)
			}
		}
		a.ask(t, &forwardingv1.Question{
			Id: 3, Asks: &forwardingv1.Question_Reach{Reach: &forwardingv1.Member{Name: "sfu-3"}},
		})
		if answer := a.answer(3); answer.GetCount() != 0 || answer.GetError() != "it cannot say" {
			t.Errorf("whether one is reached of whom that is not known: %v", answer)
		}
		a.said()
		b.said()
		w.Retire()
		w.Retire()
		expectSaid(t, a, "standing true")
		expectSaid(t, b, "standing true")

		a.end <- nil
		heard.expect(t, replicaA+": left")
	})
}

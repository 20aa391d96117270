package channel

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/tables"
)

func clientSide(ids ...string) *forwardingv1.Side {
	return &forwardingv1.Side{Names: &forwardingv1.Side_ClientIds{ClientIds: &forwardingv1.IDs{Ids: ids}}}
}

func everyoneSide() *forwardingv1.Side {
	return &forwardingv1.Side{Names: &forwardingv1.Side_Everyone{Everyone: &forwardingv1.Everyone{}}}
}

// withheld asks for the edges of which video is withheld.
func (h *hall) withheld(limit uint32) *forwardingv1.Answer { return h.askWithheld(limit, false) }

func (h *hall) askWithheld(limit uint32, byReceiver bool) *forwardingv1.Answer {
	return h.registry.Ask(&forwardingv1.Question{ChannelId: "hall", Asks: &forwardingv1.Question_Withheld{
		Withheld: &forwardingv1.WithheldEdges{Kind: forwardingv1.Kind_KIND_VIDEO, Limit: limit, ByReceiver: byReceiver},
	}})
}

// TestEdgesCountBeforeTheyAreNegotiated: nobody has answered an offer yet, and the
// pauses match all the same.
func TestEdgesCountBeforeTheyAreNegotiated(t *testing.T) {
	h := newHall(t, 0, 0)
	a := h.join(t, "a", forwardingv1.Role_ROLE_SENDRECV)
	defer a.Leave("the end")
	b := h.join(t, "b", forwardingv1.Role_ROLE_RECVONLY)
	defer b.Leave("the end")
	h.registry.Apply(tables.Table{ChannelID: "hall", Instance: a.channel.instance, Version: 1, Whole: true,
		Set: []*forwardingv1.Pause{{
			Uid: "1", Receivers: everyoneSide(), Senders: clientSide("a"),
			Kinds: []forwardingv1.Kind{forwardingv1.Kind_KIND_VIDEO},
		}}})
	expect := func(want ...forwardingv1.Withheld) {
		t.Helper()
		answer := h.withheld(10)
		if len(answer.GetEdges()) != 1 || len(answer.GetEdges()[0].GetStreams()) != 1 {
			t.Fatalf("the answer is %v", answer)
		}
		e := answer.GetEdges()[0]
		if got := e.GetStreams()[0]; got.GetSsrc() != 0 || got.LastSequenceNumber != nil ||
			!slices.Equal(got.GetWithheld(), want) {
			t.Errorf("the stream is %v", got)
		}
		if e.GetRecvConnectionId() != b.member.id() || e.GetRecvRole() != forwardingv1.Role_ROLE_RECVONLY {
			t.Errorf("the edge is %v", e)
		}
	}
	expect(forwardingv1.Withheld_WITHHELD_PAUSED, forwardingv1.Withheld_WITHHELD_UNNEGOTIATED)
	a.channel.mu.Lock()
	a.channel.announce(a.member, []media.Kind{media.Video})
	a.channel.mu.Unlock()
	expect(forwardingv1.Withheld_WITHHELD_PAUSED, forwardingv1.Withheld_WITHHELD_UNNEGOTIATED)
}

// TestEverythingAtOnce joins, leaves, edits, lets expire, asks and dismisses from
// many goroutines. In the end, as at every moment, what is told adds up.
func TestEverythingAtOnce(t *testing.T) {
	h := newHall(t, 8, 3)
	h.apply(4)
	var workers sync.WaitGroup
	stop := make(chan struct{})
	work := func(do func(i int)) {
		workers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					do(i)
				}
			}
		})
	}
	for range 3 {
		work(func(i int) {
			s := h.join(t, fmt.Sprint(i%5), forwardingv1.Role_ROLE_SENDRECV)
			s.channel.mu.Lock()
			s.channel.announce(s.member, []media.Kind{media.Video})
			s.channel.mu.Unlock()
			s.Leave("the end")
		})
	}
	work(func(i int) {
		pause := &forwardingv1.Pause{
			Uid: fmt.Sprint(i % 4), Receivers: clientSide(fmt.Sprint(i % 5)), Senders: everyoneSide(),
			Kinds:     []forwardingv1.Kind{forwardingv1.Kind_KIND_VIDEO},
			ExpiresAt: timestamppb.New(time.Now().Add(time.Duration(rand.IntN(2_000)) * time.Microsecond)),
		}
		h.registry.Apply(tables.Table{
			ChannelID: "hall", Instance: h.channel.instance, Version: uint64(i) + 2,
			Set: []*forwardingv1.Pause{pause}, Removed: []string{fmt.Sprint(i % 7)},
		})
	})
	work(func(i int) {
		h.withheld(uint32(i % 20))
		h.registry.Ask(&forwardingv1.Question{ChannelId: "hall", Asks: &forwardingv1.Question_Dismiss{
			Dismiss: &forwardingv1.Dismissal{Whom: &forwardingv1.Dismissal_ClientId{ClientId: "4"}},
		}})
	})

	// A replica follows meanwhile.
	var epoch, sequence uint64
	there, held := map[string]bool{}, map[string]forwardingv1.State{}
	follow := func() {
		m := h.registry.Membership("hall", h.channel.instance, epoch)
		if m.Base == 0 {
			clear(there)
		}
		for _, c := range m.Joined {
			there[c.GetConnectionId()] = true
		}
		for _, id := range m.Left {
			if !there[id] {
				t.Errorf("%s left and was not there", id)
			}
			delete(there, id)
		}
		epoch = m.Epoch
		states := h.registry.States("hall", h.channel.instance, sequence)
		if states.Whole {
			clear(held)
		}
		for _, state := range states.Set {
			held[state.GetUid()] = state.GetState()
		}
		for _, uid := range states.Removed {
			delete(held, uid)
		}
		if sequence = states.Sequence; states.Epoch < epoch {
			t.Errorf("states are of epoch %d, told after %d", states.Epoch, epoch)
		}
	}
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
		follow()
	}
	close(stop)
	workers.Wait()
	follow()

	h.channel.mu.Lock()
	defer h.channel.mu.Unlock()
	if len(there) != len(h.channel.members) || len(held) != h.channel.matcher.Len() {
		t.Errorf("told of %d connections and %d pauses; there are %d and %d", len(there), len(held), len(h.channel.members),
			h.channel.matcher.Len())
	}
	for _, m := range h.channel.members {
		if !there[m.id()] {
			t.Errorf("nobody was told of %s", m.id())
		}
		if len(m.incoming) > len(h.channel.members) {
			t.Errorf("%s has edges from %d members", m.id(), len(m.incoming))
		}
	}
	for uid, state := range held {
		// The channel's timer may be about to tell that one has expired.
		if is := h.channel.matcher.State(uid).GetState(); is != state && is != forwardingv1.State_STATE_EXPIRED {
			t.Errorf("%s is %v, told %v", uid, is, state)
		}
	}
}

// BenchmarkList tells 5,000 edges that 5,000 pauses withhold, with their facts and
// without.
func BenchmarkList(b *testing.B) {
	h := newHall(b, 1_005, 5)
	h.apply(0)
	table := tables.Table{ChannelID: "hall", Instance: h.channel.instance, Version: 1}
	for i := range 5_000 {
		table.Set = append(table.Set, &forwardingv1.Pause{
			Uid: fmt.Sprint(i), Kinds: []forwardingv1.Kind{forwardingv1.Kind_KIND_VIDEO},
			Receivers: clientSide(fmt.Sprint(5 + i%1_000)), Senders: clientSide(fmt.Sprint(i / 1_000)),
		})
	}
	h.registry.Apply(table)
	for _, byReceiver := range []bool{false, true} {
		b.Run(fmt.Sprintf("byReceiver=%v", byReceiver), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if answer := h.askWithheld(100_000, byReceiver); answer.GetCount() != 5_000 {
					b.Fatalf("%d edges, want 5,000", answer.GetCount())
				}
			}
		})
	}
}

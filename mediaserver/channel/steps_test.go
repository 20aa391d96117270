package channel

import (
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/signaling"
)

// negotiator is a client that answers each offer, one at a time, as signalling has it.
type negotiator struct {
	dismissals
	session  *session
	wanted   chan struct{}
	reoffers atomic.Int64
	streams  atomic.Int64 // in the latest offer
}

// Renegotiate gives those who make offers a chance to do so in the midst of the step.
func (n *negotiator) Renegotiate() {
	select {
	case n.wanted <- struct{}{}:
	default:
	}
	for range 100 {
		runtime.Gosched()
	}
}

// joinNegotiator has somebody join and answer the first offer; re-offers are answered until the test ends.
func joinNegotiator(t *testing.T, registry *Registry, role forwardingv1.Role) *negotiator {
	t.Helper()
	n := &negotiator{wanted: make(chan struct{}, 1)}
	joined, err := registry.Join(t.Context(), signaling.Connect{
		ChannelID: "hall", Role: role, Audio: &signaling.Media{CodecType: "OPUS"}, Video: &signaling.Media{CodecType: "VP8"},
	}, n)
	if err != nil {
		t.Fatal(err)
	}
	n.session = joined.(*session)
	offer, err := n.session.Offer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n.answer(t, offer.SDP)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range n.wanted {
			sdp, err := n.session.Reoffer(t.Context())
			if err != nil {
				t.Error(err)

				return
			}
			n.reoffers.Add(1)
			n.answer(t, sdp)
		}
	}()
	t.Cleanup(func() {
		close(n.wanted)
		<-ended
		n.session.Leave("the end")
	})

	return n
}

func (n *negotiator) answer(t *testing.T, offer string) {
	t.Helper()
	n.streams.Store(int64(strings.Count(offer, "a=sendonly")))
	if err := n.session.Answer(t.Context(), answerTo(offer)); err != nil {
		t.Error(err)
	}
}

// answerTo is an answer by which the client sends and receives whatever it is offered to.
func answerTo(offer string) string {
	const transport = "a=ice-ufrag:Xq9v\r\na=ice-pwd:J4F1bTWz3kYxJq9vJ4F1bTWz\r\na=setup:active\r\n" +
		"a=fingerprint:sha-256 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:" +
		"19:E5:7C:AB:3E:4B:65:2E:7D:46:3F:54:42:CD:54:F1\r\n"
	answer := strings.NewReplacer("a=setup:actpass\r\n", transport, "a=sendonly", "a=recvonly", "a=recvonly",
		"a=sendonly\r\na=ssrc:1 cname:x").Replace(offer)
	var kept []string
	for line := range strings.SplitAfterSeq(answer, "\r\n") {
		if !strings.HasPrefix(line, "a=ssrc-group") && !strings.HasPrefix(line, "a=candidate") {
			kept = append(kept, line)
		}
	}

	return strings.Join(kept, "")
}

// awaitStreams waits until everybody's latest offer has so many streams.
func awaitStreams(t *testing.T, receivers []*negotiator, streams int64) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for _, n := range receivers {
		for n.streams.Load() != streams {
			select {
			case <-deadline:
				t.Fatalf("an offer of %d streams, want %d", n.streams.Load(), streams)
			case <-time.After(time.Millisecond):
			}
		}
	}
}

// Somebody who comes with audio and video, or leaves, brings everybody one re-offer.
func TestOneReofferForAStep(t *testing.T) {
	registry := newRegistry(t, 1, nil)
	var receivers []*negotiator
	for range 20 {
		receivers = append(receivers, joinNegotiator(t, registry, forwardingv1.Role_ROLE_RECVONLY))
	}
	for round := range int64(5) {
		sender := joinNegotiator(t, registry, forwardingv1.Role_ROLE_SENDONLY)
		awaitStreams(t, receivers, 2)
		sender.session.Leave("the end of the round")
		awaitStreams(t, receivers, 0)
		for _, n := range receivers {
			if got, most := n.reoffers.Load(), 2*(round+1); got > most {
				t.Fatalf("%d re-offers for %d steps", got, most)
			}
		}
	}
}

// An answer that says what the one before said has nobody looked at.
func TestAnswersThatSayNothingNew(t *testing.T) {
	registry := newRegistry(t, 1, nil)
	receiver := joinNegotiator(t, registry, forwardingv1.Role_ROLE_RECVONLY).session
	sender := joinNegotiator(t, registry, forwardingv1.Role_ROLE_SENDONLY).session
	ch := sender.channel
	ch.mu.Lock()
	defer ch.mu.Unlock()
	e := receiver.member.incoming[sender.member]
	delete(receiver.member.incoming, sender.member) // Whoever looks makes the edge anew.
	ch.announce(sender.member, sender.member.peer.Sends())
	if len(receiver.member.incoming) > 0 {
		t.Error("an answer that said nothing new had all receivers looked at")
	}
	receiver.member.incoming[sender.member] = e
	ch.announce(sender.member, []media.Kind{media.Audio})
	if len(e.streams) != 1 {
		t.Error("an answer that said less had no effect")
	}
}

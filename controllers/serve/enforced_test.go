package serve

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

var edgeSR = &forwardingv1.EdgeName{RecvConnectionId: "R", SendConnectionId: "S"}

func (s *serving) waitEnforced(
	ctx context.Context, o *v1alpha1.RtpStreamPause, edge *forwardingv1.EdgeName,
) (*forwardingv1.WaitEnforcedResponse, error) {
	return s.view.WaitEnforced(ctx, &forwardingv1.WaitEnforcedRequest{
		Namespace: o.Namespace, Uid: string(o.UID), Generation: o.Generation, Edge: edge,
	})
}

func expectCode(t *testing.T, err error, code codes.Code, words string) {
	t.Helper()
	if status.Code(err) != code || !strings.Contains(status.Convert(err).Message(), words) {
		t.Errorf("got %v, want %s with %q", err, code, words)
	}
}

func TestPauseIsPushedAcknowledgedAndWaitedFor(t *testing.T) {
	namespace := newNamespace(t)
	s := serve(t, namespace)
	p := s.peer(t, namespace, "ms", wholeReport("lobby", "R", "S"))
	o := create(t, namespace, "pause", "lobby")
	response, err := s.waitEnforced(within(t, patience), o, edgeSR)
	if err != nil {
		t.Fatal(err)
	}
	if len(response.GetMediaServers()) != 1 || response.GetMediaServers()[0] != "ms" ||
		response.GetLatency().AsDuration() <= 0 {
		t.Errorf("enforced by %v", response)
	}

	// An edit counts once its own content is acknowledged.
	p.hold(true)
	o.Spec.Senders = v1alpha1.Side{Everyone: &v1alpha1.Everyone{}}
	if err := k8s.Update(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	until(t, "the edit is pushed", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()

		return p.pauses["lobby"][string(o.UID)].GetSenders().GetEveryone() != nil
	})
	_, err = s.waitEnforced(within(t, 200*time.Millisecond), o, edgeSR)
	expectCode(t, err, codes.DeadlineExceeded, "")
	p.hold(false)
	if _, err := s.waitEnforced(within(t, patience), o, edgeSR); err != nil {
		t.Fatal(err)
	}

	// Who joins later needs an acknowledgement of an epoch that knows them.
	p.hold(true)
	p.report(&forwardingv1.ChannelReport{
		ChannelId: "lobby", Instance: 1, Epoch: 2, BaseEpoch: 1, Joined: []*forwardingv1.Connection{connection("L")},
	})
	late := &forwardingv1.EdgeName{RecvConnectionId: "L", SendConnectionId: "S"}
	_, err = s.waitEnforced(within(t, 200*time.Millisecond), o, late)
	expectCode(t, err, codes.DeadlineExceeded, "")
	if _, err := s.waitEnforced(within(t, patience), o, edgeSR); err != nil {
		t.Errorf("a join in flight has made the pause unacknowledged: %v", err)
	}
	p.hold(false)
	if _, err := s.waitEnforced(within(t, patience), o, late); err != nil {
		t.Fatal(err)
	}

	// What matches another edge does not say that it matches this one.
	p.mu.Lock()
	p.answers = func(*forwardingv1.Question) []*forwardingv1.Answer {
		return []*forwardingv1.Answer{{Edges: []*forwardingv1.Edge{
			{RecvConnectionId: "L", SendConnectionId: "S", RecvRole: forwardingv1.Role_ROLE_SENDRECV},
		}}}
	}
	p.mu.Unlock()
	_, err = s.waitEnforced(within(t, patience), o, late)
	expectCode(t, err, codes.FailedPrecondition, "does not match the stream")

	waiting := make(chan error, 1)
	p.hold(true)
	o.Spec.Reason = "another"
	if err := k8s.Update(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := s.waitEnforced(within(t, patience), o, edgeSR)
		waiting <- err
	}()
	remove(t, o)
	expectCode(t, <-waiting, codes.NotFound, "deleted")
	until(t, "the media server is told of the deletion", func() bool { return !p.holds("lobby", string(o.UID)) })
}

func TestWaitingInVainEndsAtOnce(t *testing.T) {
	namespace := newNamespace(t)
	s := serve(t, namespace)
	p := s.peer(t, namespace, "one", wholeReport("lobby", "R", "X"))
	s.peer(t, namespace, "two", wholeReport("lobby", "S"))
	o := create(t, namespace, "apart", "lobby")
	_, err := s.waitEnforced(within(t, patience), o, edgeSR)
	expectCode(t, err, codes.FailedPrecondition, `the receiver is on media server "one" and the sender on "two"`)

	p.report(&forwardingv1.ChannelReport{ChannelId: "lobby", Instance: 1, Epoch: 2, BaseEpoch: 1, Left: []string{"R"}})
	until(t, "it is known that R has left", func() bool {
		_, ids, _ := s.connections(t, &forwardingv1.ConnectionsRequest{
			Namespace: namespace, ChannelId: "lobby", ConnectionIds: []string{"R"},
		})

		return len(ids) == 0
	})
	_, err = s.waitEnforced(within(t, patience), o, edgeSR)
	expectCode(t, err, codes.FailedPrecondition, "has left")

	p.mu.Lock()
	p.state = forwardingv1.State_STATE_EXPIRED
	p.mu.Unlock()
	old := pauseOf(namespace, "old", "elsewhere")
	old.Spec.ExpiresAt = &metav1.Time{Time: time.Now().Add(-time.Hour)}
	if err := k8s.Create(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	_, err = s.waitEnforced(within(t, patience), old, nil)
	expectCode(t, err, codes.FailedPrecondition, "expired")

	p.mu.Lock()
	p.state = forwardingv1.State_STATE_NOT_UNDERSTOOD
	p.mu.Unlock()
	o = create(t, namespace, "strange", "lobby")
	_, err = s.waitEnforced(within(t, patience), o, nil)
	expectCode(t, err, codes.FailedPrecondition, "does not know")
}

func TestWaitEnforcedNeedsAMediaServer(t *testing.T) {
	namespace := newNamespace(t)
	s := serve(t, namespace)
	o := create(t, namespace, "armed", "lobby")
	_, err := s.waitEnforced(within(t, 300*time.Millisecond), o, nil)
	expectCode(t, err, codes.DeadlineExceeded, "")
	p := s.peer(t, namespace, "ms", wholeReport("lobby", "R", "S"))
	if _, err := s.waitEnforced(within(t, patience), o, edgeSR); err != nil {
		t.Fatal(err)
	}
	p.stop()
	until(t, "the loss is noticed", func() bool { return s.knowledge.Streaming(namespace) == 0 })
	_, err = s.waitEnforced(within(t, 300*time.Millisecond), o, edgeSR)
	expectCode(t, err, codes.DeadlineExceeded, "")
}

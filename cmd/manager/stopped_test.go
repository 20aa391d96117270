package main

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// member is a media server as managers see it: it hosts nothing, and reaches nobody.
type member struct {
	name    string
	manager *grpc.ClientConn
	cancel  context.CancelFunc
	ended   sync.WaitGroup
}

// join has a media server stream to a manager, once that has taken all that it reports.
func join(t *testing.T, manager *grpc.ClientConn, name string) *member {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	m := &member{name: name, manager: manager, cancel: cancel}
	t.Cleanup(m.leave)
	stream, err := forwardingv1.NewForwardingClient(manager).Subscribe(ctx, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	for _, message := range []*forwardingv1.SubscribeRequest{
		{Message: &forwardingv1.SubscribeRequest_Hello{Hello: &forwardingv1.Hello{
			Namespace: "default", MediaServer: name, Incarnation: name, PeerAddress: name + ":7440",
		}}},
		{Message: &forwardingv1.SubscribeRequest_Complete{Complete: &forwardingv1.ReportComplete{}}},
	} {
		if err := stream.Send(message); err != nil {
			t.Fatal(err)
		}
	}
	there := make(chan error, 1)
	m.ended.Go(func() {
		told := sync.OnceFunc(func() { there <- nil })
		for {
			message, err := stream.Recv()
			if err != nil {
				select {
				case there <- err:
				default: // It was there.
				}

				return
			}
			if message.GetReplicaVersion() != nil {
				told() // It comes once everything has been reported.
			}
			if q := message.GetQuestion(); q != nil {
				_ = stream.Send(&forwardingv1.SubscribeRequest{Message: &forwardingv1.SubscribeRequest_Answer{
					Answer: &forwardingv1.Answer{QuestionId: q.GetId()},
				}})
			}
		}
	})
	select {
	case err := <-there:
		if err != nil {
			t.Fatalf("%s is not taken in: %v", name, err)
		}
	case <-time.After(patience):
		t.Fatalf("%s is told no version", name)
	}

	return m
}

// leave ends the stream, without a farewell.
func (m *member) leave() {
	m.cancel()
	m.ended.Wait()
}

// claims is who owns the channel once the media server has claimed it.
func (m *member) claims(ctx context.Context, channelID string) (owner string, err error) {
	answer, err := forwardingv1.NewPlacementClient(m.manager).Claim(ctx, &forwardingv1.ClaimRequest{
		Namespace: "default", MediaServer: m.name, ChannelId: channelID, Opening: 1,
	})

	return answer.GetOwner().GetName(), err
}

func dial(t *testing.T, p *process) *grpc.ClientConn {
	t.Helper()
	_, address, _ := strings.Cut(p.says(t, "what=grpc"), "address=")
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })

	return connection
}

// A manager stands still for longer than --takeover-after, just as a media server's stream
// to it has ended, and wakes: what it has not heard meanwhile is no silence, whatever has
// been waiting for it.
func TestAManagerThatIsStoppedAndWokenTakesNoClaimAway(t *testing.T) {
	const takeoverAfter = 5 * time.Second
	arguments := []string{"--kubeconfig=" + plane.Kubeconfig, "--takeover-after=" + takeoverAfter.String()}
	stopped, other := begin(t, arguments...), begin(t, arguments...)
	here, there := dial(t, stopped), dial(t, other)
	for _, each := range []*process{stopped, other} {
		readyz(t, each.probes(t), http.StatusOK, "ok") // Before, it takes nobody in.
	}
	owner, heir := join(t, here, "owner"), join(t, here, "heir")
	join(t, there, "owner")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if got, err := owner.claims(ctx, "lobby"); err != nil || got != "owner" {
		t.Fatalf("%q owns it: %v", got, err)
	}
	owner.leave()
	if got, err := heir.claims(ctx, "lobby"); err != nil || got != "owner" {
		t.Fatalf("%q owns it: %v", got, err)
	}

	if err := stopped.command.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	claimed := make(chan error, 8)
	for range cap(claimed) {
		go func() {
			got, err := heir.claims(ctx, "lobby")
			if err == nil && got != "owner" {
				t.Errorf("woken it gives the channel to %q", got)
			}
			claimed <- err
		}()
	}
	<-time.After(takeoverAfter + time.Second) // It is what the manager has to stand still for.
	if err := stopped.command.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for range cap(claimed) {
		if err := <-claimed; err != nil {
			t.Error(err)
		}
	}
	join(t, here, "owner")
	if got, err := heir.claims(ctx, "lobby"); err != nil || got != "owner" {
		t.Errorf("in the end %q owns it: %v", got, err)
	}
	stopped.end(t)
	other.end(t)
}

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"

	"google.golang.org/grpc"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// connections and clients are sides that name those ids.
func connections(members ...*member) v1alpha1.Side {
	var side v1alpha1.Side
	for _, m := range members {
		side.ConnectionIDs = append(side.ConnectionIDs, m.ConnectionID())
	}

	return side
}

func clients(ids ...string) v1alpha1.Side { return v1alpha1.Side{ClientIDs: ids} }

func everyone() v1alpha1.Side { return v1alpha1.Side{Everyone: &v1alpha1.Everyone{}} }

// clientSpec names one client on each side.
func clientSpec(channel, receiver, sender string) v1alpha1.RtpStreamPauseSpec {
	return v1alpha1.RtpStreamPauseSpec{ChannelID: channel, Receivers: clients(receiver), Senders: clients(sender)}
}

// newPause is an object that is not created yet.
func newPause(name string, spec v1alpha1.RtpStreamPauseSpec) *v1alpha1.RtpStreamPause {
	return &v1alpha1.RtpStreamPause{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: spec}
}

// createPause creates an object in the shared system.
func createPause(t *testing.T, name string, spec v1alpha1.RtpStreamPauseSpec) *v1alpha1.RtpStreamPause {
	t.Helper()

	return running.createPause(t, name, spec)
}

// createPause creates an object, which is deleted when the test ends.
func (s *system) createPause(t *testing.T, name string, spec v1alpha1.RtpStreamPauseSpec) *v1alpha1.RtpStreamPause {
	t.Helper()
	pause := newPause(name, spec)
	if err := s.api.Create(t.Context(), pause); err != nil {
		t.Fatal(err)
	}
	if s == running {
		t.Cleanup(func() {
			if err := client.IgnoreNotFound(s.api.Delete(context.WithoutCancel(t.Context()), pause)); err != nil {
				t.Error(err)
			}
		})
	}

	return pause
}

func deletePause(t *testing.T, pause *v1alpha1.RtpStreamPause) {
	t.Helper()
	running.deletePause(t, pause)
}

func (s *system) deletePause(t *testing.T, pause *v1alpha1.RtpStreamPause) {
	t.Helper()
	if err := s.api.Delete(t.Context(), pause); err != nil {
		t.Fatal(err)
	}
}

// edit changes the object by a merge patch, and returns what it is then.
func (s *system) edit(
	t *testing.T, pause *v1alpha1.RtpStreamPause, change func(*v1alpha1.RtpStreamPauseSpec),
) *v1alpha1.RtpStreamPause {
	t.Helper()
	now := s.get(t, pause)
	before := now.DeepCopy()
	change(&now.Spec)
	if err := s.api.Patch(t.Context(), now, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}

	return now
}

func (s *system) get(t *testing.T, pause *v1alpha1.RtpStreamPause) *v1alpha1.RtpStreamPause {
	t.Helper()
	now := &v1alpha1.RtpStreamPause{}
	if err := s.api.Get(t.Context(), client.ObjectKeyFromObject(pause), now); err != nil {
		t.Fatal(err)
	}

	return now
}

// waitEnforced waits until every media server that hosts the pause's channel has
// acknowledged its present content.
func waitEnforced(t *testing.T, uid types.UID) {
	t.Helper()
	running.waitEnforced(t, uid)
}

func (s *system) waitEnforced(t *testing.T, uid types.UID) {
	t.Helper()
	s.waitGeneration(t, &v1alpha1.RtpStreamPause{ObjectMeta: metav1.ObjectMeta{UID: uid}})
}

// waitGeneration waits so for the object's generation; 0 is any. It asks every
// manager that is in reach, as a shim does.
func (s *system) waitGeneration(t *testing.T, pause *v1alpha1.RtpStreamPause) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := waitEnforcedBy(ctx, s.viewsInReach(), pause); err != nil {
		t.Fatalf("wait until %s is enforced: %v", pause.UID, err)
	}
}

// waitEnforcedBy waits until one of the managers says so of the object's generation.
func waitEnforcedBy(ctx context.Context, views []forwardingv1.ViewClient, pause *v1alpha1.RtpStreamPause) error {
	request := &forwardingv1.WaitEnforcedRequest{
		Namespace: namespace, Uid: string(pause.UID), Generation: pause.Generation,
	}
	_, err := firstOf(ctx, views,
		func(ctx context.Context, view forwardingv1.ViewClient) (*forwardingv1.WaitEnforcedResponse, error) {
			return view.WaitEnforced(ctx, request)
		})

	return err
}

// firstOf asks all managers at once and returns the first answer that is no error.
func firstOf[T any](
	ctx context.Context, views []forwardingv1.ViewClient, ask func(context.Context, forwardingv1.ViewClient) (T, error),
) (T, error) {
	type answer struct {
		value T
		err   error
	}
	ctx, cancel := context.WithCancel(ctx)
	answers := make(chan answer, len(views))
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	for _, view := range views {
		asking.Go(func() {
			value, err := ask(ctx, view)
			answers <- answer{value, err}
		})
	}
	var problems []error
	for range views {
		a := <-answers
		if a.err == nil {
			return a.value, nil
		}
		problems = append(problems, a.err)
	}
	var none T

	return none, errors.Join(append(problems, errors.New("no manager answers"))...)
}

func (s *system) viewsInReach() []forwardingv1.ViewClient {
	var views []forwardingv1.ViewClient
	for _, m := range s.inReach() {
		views = append(views, m.view)
	}

	return views
}

// inReach are the managers that run and are not cut off.
func (s *system) inReach() []*manager {
	var all []*manager
	for _, m := range s.managers {
		if !m.ended && !m.isFrozen && !slices.ContainsFunc(m.relays, (*relay).held) {
			all = append(all, m)
		}
	}

	return all
}

// explain asks the managers in reach what is so with an edge, until one knows.
func (s *system) explain(t *testing.T, channel string, e edge) *forwardingv1.Edge {
	t.Helper()
	var told *forwardingv1.Edge
	await(t, "somebody who knows the edge", func() (string, bool) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		var err error
		told, err = explainBy(ctx, s.viewsInReach(), channel, e)

		return fmt.Sprint(err), err == nil
	})

	return told
}

// explainBy asks the managers what is so with an edge, and returns what the first
// says that knows it.
func explainBy(
	ctx context.Context, views []forwardingv1.ViewClient, channel string, e edge,
) (*forwardingv1.Edge, error) {
	request := &forwardingv1.ExplainRequest{Namespace: namespace, ChannelId: channel}
	request.Of = &forwardingv1.ExplainRequest_Edge{Edge: &forwardingv1.EdgeName{
		RecvConnectionId: e.receiver.ConnectionID(), SendConnectionId: e.sender.ConnectionID(),
	}}

	return firstOf(ctx, views, func(ctx context.Context, view forwardingv1.ViewClient) (*forwardingv1.Edge, error) {
		stream, err := view.Explain(ctx, request)
		parts, err := collect(stream, err)
		for _, part := range parts {
			for _, told := range part.GetEdges() {
				return told, nil
			}
		}

		return nil, errors.Join(err, errors.New("the edge is not live"))
	})
}

// collect reads all parts of an answer.
func collect[T any](stream grpc.ServerStreamingClient[T], err error) ([]*T, error) {
	if err != nil {
		return nil, err
	}
	var parts []*T
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return parts, nil
		}
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
}

// condition is one of the object's conditions, if it is about what the object is
// now.
func condition(pause *v1alpha1.RtpStreamPause, name string) metav1.Condition {
	found := meta.FindStatusCondition(pause.Status.Conditions, name)
	if found == nil || found.ObservedGeneration != pause.Generation ||
		pause.Status.ObservedGeneration != pause.Generation {
		return metav1.Condition{}
	}

	return *found
}

// awaitReady waits until the object's Ready condition is True for its current
// generation, with that reason.
func awaitReady(t *testing.T, pause *v1alpha1.RtpStreamPause, reason string) *v1alpha1.RtpStreamPause {
	t.Helper()

	return running.awaitStatus(t, pause, metav1.ConditionTrue, reason)
}

func (s *system) awaitReady(t *testing.T, pause *v1alpha1.RtpStreamPause, reason string) *v1alpha1.RtpStreamPause {
	t.Helper()

	return s.awaitStatus(t, pause, metav1.ConditionTrue, reason)
}

// awaitStatus waits until the object's Ready condition is so for its current
// generation.
func (s *system) awaitStatus(
	t *testing.T, pause *v1alpha1.RtpStreamPause, status metav1.ConditionStatus, reason string,
) *v1alpha1.RtpStreamPause {
	t.Helper()

	return await(t, "Ready "+string(status)+", reason "+reason, func() (*v1alpha1.RtpStreamPause, bool) {
		now := s.get(t, pause)
		ready := condition(now, v1alpha1.ConditionReady)

		return now, ready.Status == status && ready.Reason == reason
	})
}

// awaitGone waits until the object does not exist.
func awaitGone(t *testing.T, pause *v1alpha1.RtpStreamPause) {
	t.Helper()
	await(t, "the object's deletion", func() (v1alpha1.RtpStreamPauseStatus, bool) {
		now := &v1alpha1.RtpStreamPause{}
		err := running.api.Get(t.Context(), client.ObjectKeyFromObject(pause), now)
		if err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}

		return now.Status, err != nil
	})
}

// pausesOf lists the objects of a channel.
func pausesOf(t *testing.T, channel string) []v1alpha1.RtpStreamPause {
	t.Helper()

	return running.pausesOf(t, channel)
}

func (s *system) pausesOf(t *testing.T, channel string) []v1alpha1.RtpStreamPause {
	t.Helper()
	list := &v1alpha1.RtpStreamPauseList{}
	err := s.api.List(t.Context(), list, client.InNamespace(namespace), client.MatchingFields{"spec.channelID": channel})
	if err != nil {
		t.Fatal(err)
	}

	return list.Items
}

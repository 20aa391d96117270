//go:build linux && cluster

package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
)

var errNotYet = errors.New("it has not connected yet")

// lesson is a channel of three: alice and carol receive bob, and what alice gets of his video is paused.
type lesson struct {
	name              string // Of the channel, and of the pause.
	alice, bob, carol *member
	video             paused // What alice gets of bob's.

	mu     sync.Mutex
	fresh  map[string]time.Time // When the last packet came, by "RECEIVER KIND".
	silent time.Duration        // The longest that no audio came to carol, since it was last asked for.
}

// newLesson opens a channel at whichever media server the Service leads to.
func newLesson(t *testing.T, r *reader, name string) *lesson {
	t.Helper()
	url := signaling(t)
	l := &lesson{name: name, fresh: map[string]time.Time{}}
	config := func(id string, role bot.Role, observe func(bot.Packet)) bot.Config {
		return bot.Config{
			URL: url, ChannelID: name, ClientID: id, Role: role, Observer: observe,
			Metadata: map[string]string{"access_token": r.token(name, id)},
		}
	}
	l.bob = join(t, config("bob", bot.SendOnly, nil))
	l.carol = join(t, config("carol", bot.RecvOnly, func(p bot.Packet) { l.seen("carol", p) }))
	l.alice = join(t, config("alice", bot.RecvOnly, func(p bot.Packet) {
		l.seen("alice", p)
		if p.Kind == bot.Video {
			l.video.arrived(arrival{
				of: stream{p.Header.SSRC, p.SenderConnectionID}, sequence: p.Header.SequenceNumber, at: p.Arrived,
			})
		}
	}))

	return l
}

func (l *lesson) seen(who string, p bot.Packet) {
	l.mu.Lock()
	defer l.mu.Unlock()
	what := who + " " + string(p.Kind)
	if what == "carol audio" && !l.fresh[what].IsZero() {
		l.silent = max(l.silent, p.Arrived.Sub(l.fresh[what]))
	}
	l.fresh[what] = p.Arrived
}

// silence is the longest that no audio came to carol since it was last asked for.
func (l *lesson) silence() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	longest := l.silent
	l.silent = 0

	return longest
}

// flows tells what does not flow since a moment though it should: everything but what is paused.
func (l *lesson) flows(since time.Time) error {
	for _, c := range []*member{l.alice, l.bob, l.carol} {
		if b, err := c.connection(); b == nil {
			return fmt.Errorf("%s: %s is not connected: %w", l.name, c.id, err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, what := range []string{"alice audio", "carol audio", "carol video"} {
		if !l.fresh[what].After(since) {
			return fmt.Errorf("%s: nothing comes: %s", l.name, what)
		}
	}

	return nil
}

// look tells what there is to know about a lesson in which something is wrong.
func (l *lesson) look(t *testing.T, v *view) string {
	t.Helper()
	l.mu.Lock()
	said := ""
	for what, at := range l.fresh {
		said += fmt.Sprintf("%s: %s ago\n", what, time.Since(at).Round(time.Millisecond))
	}
	l.mu.Unlock()
	ids := map[string]string{}
	for _, c := range []*member{l.alice, l.bob, l.carol} {
		if b, err := c.connection(); b != nil {
			ids[c.id] = b.ConnectionID()
			said += fmt.Sprintf("%s is %s and has sent %+v\n", c.id, b.ConnectionID(), b.Published())
		} else {
			said += fmt.Sprintf("%s: %v\n", c.id, err)
		}
	}
	for _, receiver := range []string{"alice", "carol"} {
		edge, err := v.anybody(t.Context(), l.name, ids[receiver], ids["bob"])
		said += fmt.Sprintf("bob to %s: %v %v\n", receiver, edge, err)
	}

	return said
}

// receivesVideo tells whether alice has got video of bob's since a moment.
func (l *lesson) receivesVideo(since time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.fresh["alice video"].After(since) {
		return fmt.Errorf("%s: alice gets no video", l.name)
	}

	return nil
}

// isEnforced tells whether a pause's status says that it withholds, for what it is now.
func isEnforced(p *v1alpha1.RtpStreamPause) bool {
	found := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionEnforced)

	return found != nil && found.Status == metav1.ConditionTrue && found.ObservedGeneration == p.Generation &&
		p.Status.ObservedGeneration == p.Generation
}

// enforced tells why the lesson's pause is not said to be enforced.
func (l *lesson) enforced(ctx context.Context) error {
	var p v1alpha1.RtpStreamPause
	if err := api.Get(ctx, client.ObjectKey{Namespace: tenant, Name: l.name}, &p); err != nil {
		return err
	}
	if !isEnforced(&p) {
		return fmt.Errorf("%s is not enforced: %+v", l.name, p.Status)
	}

	return nil
}

// pause makes the lesson's pause by kubectl, waits until it is enforced, and finds out what left last.
func (l *lesson) pause(t *testing.T, v *view) {
	t.Helper()
	await(t, "video before the pause", func() error { return l.receivesVideo(time.Now().Add(-time.Second)) })
	l.video.begin()
	kubectlWith(t, fmt.Sprintf(`{"apiVersion": "rtp.nagi.dev/v1alpha1", "kind": "RtpStreamPause",
"metadata": {"name": %[1]q, "namespace": %[2]q},
"spec": {"channelID": %[1]q, "receivers": {"clientIDs": ["alice"]}, "senders": {"clientIDs": ["bob"]}}}`,
		l.name, tenant), "apply", "--filename=-")
	await(t, "the pause to be enforced", func() error { return l.enforced(t.Context()) })
	alice, err := l.alice.connection()
	if err != nil {
		t.Fatal(err)
	}
	bob, err := l.bob.connection()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range v.explain(t, l.name, alice.ConnectionID(), bob.ConnectionID()).GetStreams() {
		if s.GetKind() != forwardingv1.Kind_KIND_VIDEO {
			continue
		}
		if s.LastSequenceNumber == nil {
			t.Fatalf("%s: View says that no packet ever left", l.name)
		}
		l.video.cut(stream{s.GetSsrc(), bob.ConnectionID()}, uint16(s.GetLastSequenceNumber()))
	}
}

// resume deletes the lesson's pause by kubectl, and waits until alice gets video again.
func (l *lesson) resume(t *testing.T) {
	t.Helper()
	l.video.end()
	asked := time.Now()
	kubectl(t, "--namespace="+tenant, "delete", "rsp", l.name)
	await(t, "video after the pause", func() error { return l.receivesVideo(asked) })
}

// followClaims notes what statuses say of the lessons' pauses, until the test ends.
func followClaims(t *testing.T, lessons []*lesson) {
	t.Helper()
	byName := map[string]*lesson{}
	for _, l := range lessons {
		byName[l.name] = l
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		for ctx.Err() == nil {
			watcher, err := api.Watch(ctx, &v1alpha1.RtpStreamPauseList{}, client.InNamespace(tenant))
			if err != nil {
				continue
			}
			for event := range watcher.ResultChan() {
				if p, is := event.Object.(*v1alpha1.RtpStreamPause); is && byName[p.Name] != nil {
					byName[p.Name].video.claimed(event.Type != "DELETED" && isEnforced(p))
				}
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

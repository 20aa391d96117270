package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// randomSpec is one of the ways to name the edge, which all match it.
func (l *lane) randomSpec() v1alpha1.RtpStreamPauseSpec {
	spec := clientSpec(l.channel, l.receiver.clientID, l.sender.clientID)
	switch l.random.IntN(4) {
	case 0:
		spec.Senders = everyone()
	case 1:
		spec.Senders = v1alpha1.Side{EveryoneExcept: &v1alpha1.EveryoneExcept{ClientIDs: []string{"nobody"}}}
	case 2:
		spec.Receivers = clients("nobody", l.receiver.clientID)
	}
	if l.random.IntN(2) == 0 {
		spec.ExpiresAt = new(metav1.NewTime(time.Now().Add(time.Hour).Truncate(time.Second)))
	}
	spec.Reason = fmt.Sprintf("reason %d", l.random.Uint64()) // So that each edit is one.

	return spec
}

// create makes an object that pauses the edge.
func (l *lane) create(ctx context.Context) error {
	asked := l.begin()
	pause := newPause(fmt.Sprintf("%s-%d", l.name, l.made), l.randomSpec())
	err := l.load.system.api.Create(ctx, pause)
	if apierrors.IsAlreadyExists(err) { // By an attempt that was not answered.
		err = l.load.system.api.Get(ctx, client.ObjectKeyFromObject(pause), pause)
	}
	if err != nil {
		return err
	}
	l.made++
	l.has(pause, asked)

	return nil
}

// edit makes the object say something else.
func (l *lane) edit(ctx context.Context, spec v1alpha1.RtpStreamPauseSpec) error {
	pause := l.object()
	if pause == nil {
		return nil // Something else has taken it away.
	}
	matches := l.matches(spec)
	if !matches {
		l.finish()
	}
	asked := time.Now()
	now := &v1alpha1.RtpStreamPause{}
	err := l.load.system.api.Get(ctx, client.ObjectKeyFromObject(pause), now)
	if apierrors.IsNotFound(err) && l.isServed(ctx) {
		l.finish()
		l.has(nil, asked)

		return nil
	}
	if err != nil {
		return err
	}
	before := now.DeepCopy()
	now.Spec = spec
	if err := l.load.system.api.Patch(ctx, now, client.MergeFrom(before)); err != nil {
		return err
	}
	l.has(now, asked)

	return nil
}

// isServed tells whether the API server knows the type: it says the same of an object
// that is not there.
func (l *lane) isServed(ctx context.Context) bool {
	pauses := &v1alpha1.RtpStreamPauseList{}

	return l.load.system.api.List(ctx, pauses, client.InNamespace(namespace), client.Limit(1)) == nil
}

// remove deletes the object.
func (l *lane) remove(ctx context.Context) error {
	l.finish()
	if pause := l.object(); pause != nil {
		if err := client.IgnoreNotFound(l.load.system.api.Delete(ctx, pause)); err != nil {
			return err
		}
	}
	l.has(nil, time.Time{})

	return nil
}

// pauseByShim pauses over HTTP.
func (l *lane) pauseByShim(ctx context.Context, byClient bool) error {
	receiver, sender := l.receiver.here(), l.sender.here()
	if receiver == nil || sender == nil {
		return errors.New("nobody is there")
	}
	text := edgeBody(l.channel, receiver, sender)
	if byClient {
		text = l.clientBody()
	}
	asked := l.begin()
	status, answer, err := l.send(ctx, pauseTarget, text)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		if strings.Contains(answer, "-NOT-FOUND") {
			l.finish() // They have left meanwhile; what the shim made before collects itself.
		}

		return fmt.Errorf("pause: %d %s", status, answer)
	}
	l.hear(statement{at: time.Now(), by: "the shim's answer", asked: asked})
	pauses := &v1alpha1.RtpStreamPauseList{}
	if err := l.load.system.api.List(ctx, pauses, client.InNamespace(namespace)); err != nil {
		return err
	}
	for i := range pauses.Items {
		if pause := &pauses.Items[i]; l.owns(pause) && l.matches(pause.Spec) {
			l.has(pause, asked)

			return nil
		}
	}

	return fmt.Errorf("the shim said %s and there is no object", answer)
}

// send sends a request to one of the shims, and to another when that one does not answer.
func (l *lane) send(ctx context.Context, target, text string) (status int, answer string, err error) {
	for _, url := range l.load.anyShims() {
		asking, cancel := context.WithTimeout(ctx, 2*time.Second)
		status, _, answer, err = ask(asking, http.MethodPost, url, http.Header{"X-Sora-Target": {target}}, text)
		cancel()
		if err == nil {
			return status, answer, nil
		}
		l.mu.Lock()
		l.unanswered = true
		l.mu.Unlock()
	}

	return 0, "", err
}

// takeBack deletes what a request that was not answered has made since, as whoever
// gave up on it has to. Nobody else makes objects for the edge.
func (l *lane) takeBack(ctx context.Context) error {
	l.mu.Lock()
	wanted, unanswered := l.wanted, l.unanswered
	l.mu.Unlock()
	if !unanswered {
		return nil
	}
	pauses := &v1alpha1.RtpStreamPauseList{}
	if err := l.load.system.api.List(ctx, pauses, client.InNamespace(namespace)); err != nil {
		return err
	}
	for i := range pauses.Items {
		pause := &pauses.Items[i]
		if !l.owns(pause) || wanted != nil && pause.UID == wanted.UID {
			continue
		}
		if err := client.IgnoreNotFound(l.load.system.api.Delete(ctx, pause)); err != nil {
			return err
		}
	}

	return nil
}

func (l *lane) clientBody() string {
	return body(field{"channel_id", l.channel},
		field{"recv_client_id", l.receiver.clientID}, field{"send_client_id", l.sender.clientID})
}

// resume takes back over HTTP what was made over HTTP, by the ids that it was made by.
func (l *lane) resume(ctx context.Context) error {
	l.finish()
	pause := l.object()
	if pause == nil {
		return nil // Something else has taken it away.
	}
	text := l.clientBody()
	if ids := pause.Spec.Receivers.ConnectionIDs; len(ids) > 0 {
		text = body(field{"channel_id", l.channel},
			field{"recv_connection_id", ids[0]}, field{"send_connection_id", pause.Spec.Senders.ConnectionIDs[0]})
	}
	status, answer, err := l.send(ctx, resumeTarget, text)
	if err != nil {
		return err
	}
	if strings.Contains(answer, "STILL-PAUSED") {
		if err := l.takeBack(ctx); err != nil {
			return err
		}
	}
	if status != http.StatusOK && !strings.Contains(answer, "-NOT-FOUND") { // Else they have left meanwhile.
		return fmt.Errorf("resume: %d %s", status, answer)
	}
	l.has(nil, time.Time{})

	return nil
}

package claims

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// podSeenFor is how long an answer about a pod counts: whoever asks for many channels
	// of one media server makes one question of them.
	podSeenFor = time.Second
	// podTimeout bounds that question. A client waits for the answer.
	podTimeout = 2 * time.Second
	// maxPodsSeen bounds the answers that are kept.
	maxPodsSeen = 10_000
)

// passesOn tells why a claim passes on to whoever claims the channel; empty: it does not.
// What is not known for sure keeps it where it is: to wait costs a channel some seconds,
// and a channel in two places costs the meeting.
func (c *Claims) passesOn(ctx context.Context, held *claim, w Witness) (because string) {
	if held.holder == (Holder{}) {
		return becauseReleased
	}
	silence := w.Silence(held.holder)
	if silence == 0 {
		return ""
	}
	if w.Ended(held.holder).After(held.learned) {
		return becauseReleased
	}
	if c.config.Pods {
		switch state, err := c.podOf(ctx, held.namespace, held.holder); {
		case err != nil:
			c.log.Warn("a media server is silent, and whether its pod lives is not known; its claims stay with it",
				"namespace", held.namespace, "mediaServer", held.holder.Name, "err", err)

			return ""
		case state == podGone:
			return becausePodGone
		case state == podReady:
			return ""
		}
	}
	// Another replica has heard it, where that is whom it claimed the channel by.
	if min(silence, time.Since(held.learned)) < c.config.TakeoverAfter {
		return ""
	}
	if reached, err := w.Reached(ctx, held.holder, held.address); reached || err != nil {
		return ""
	}

	return becauseSilent
}

// podState is what a media server's pod says of it.
type podState int

const (
	podUnready podState = iota // It is there, and may be dead or out of reach.
	podReady
	podGone // It is not there, is another one, or has come to its end.
)

type podKey struct {
	namespace string
	Holder
}

type podSeen struct {
	state podState
	at    time.Time
}

// +kubebuilder:rbac:groups="",resources=pods,verbs=get

// podOf asks the API server about the pod of a media server.
func (c *Claims) podOf(ctx context.Context, namespace string, holder Holder) (podState, error) {
	key := podKey{namespace, holder}
	c.podsMu.Lock()
	seen, ok := c.seen[key]
	c.podsMu.Unlock()
	if ok && time.Since(seen.at) < podSeenFor {
		return seen.state, nil
	}
	answer, err, _ := c.looks.Do(namespace+"/"+holder.identity(), func() (any, error) {
		// Whoever else waits for the answer is not to lose it when the first one goes.
		pod, err := c.pod(context.WithoutCancel(ctx), namespace, holder.Name)
		if err != nil {
			return podUnready, err
		}
		state := podGone
		if pod != nil {
			state = stateOf(pod, holder)
		}
		c.podsMu.Lock()
		defer c.podsMu.Unlock()
		if len(c.seen) >= maxPodsSeen {
			clear(c.seen)
		}
		c.seen[key] = podSeen{state, time.Now()}

		return state, nil
	})
	if err != nil {
		return podUnready, err // Wrapped above.
	}

	return answer.(podState), nil
}

// podNamed asks about the pod of that name, whichever it is.
func (c *Claims) podNamed(ctx context.Context, namespace string, holder Holder) (podState, error) {
	pod, err := c.pod(ctx, namespace, holder.Name)
	switch {
	case err != nil:
		return podUnready, err
	case pod == nil:
		return podGone, nil
	}
	holder.PodUID = string(pod.UID)

	return stateOf(pod, holder), nil
}

// pod reads a pod; nil: there is none.
func (c *Claims) pod(ctx context.Context, namespace, name string) (*corev1.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, podTimeout)
	defer cancel()
	pod, err := c.pods.Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil //nolint:nilnil // Documented.
	case err != nil:
		return nil, fmt.Errorf("ask for the pod: %w; the role nagi-manager, bound in its namespace, permits it", err)
	}

	return pod, nil
}

func stateOf(pod *corev1.Pod, holder Holder) podState {
	ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	if ended || string(pod.UID) != holder.PodUID {
		return podGone
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
			return podReady
		}
	}

	return podUnready
}

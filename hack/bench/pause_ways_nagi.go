//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/watch"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// post is the shim's door: one HTTP request, answered once the pause acts.
func (n *nagi) post(r *rig) (way, error) {
	body, err := json.Marshal(map[string]string{
		"channel_id": channelID, "recv_connection_id": r.receiver.connectionID, "send_connection_id": r.sender.connectionID,
	})
	if err != nil {
		return way{}, fmt.Errorf("write the request: %w", err)
	}
	ask := func(operation string) func(context.Context) (request, error) {
		return func(ctx context.Context) (request, error) { return n.ask(ctx, operation, body) }
	}

	return way{
		name: "post", pause: ask("PauseRtpStream"), resume: ask("ResumeRtpStream"),
		acknowledged: n.acknowledgedFor,
	}, nil
}

func (n *nagi) ask(ctx context.Context, operation string, body []byte) (request, error) {
	h, err := http.NewRequestWithContext(ctx, http.MethodPost, n.shimURL, bytes.NewReader(body))
	if err != nil {
		return request{}, fmt.Errorf("make a request: %w", err)
	}
	h.Header.Set("X-Sora-Target", "Sora_20200401."+operation)
	r := request{sent: time.Now()}
	response, err := n.http.Do(h)
	if err != nil {
		return r, fmt.Errorf("ask for %s: %w", operation, err)
	}
	text, err := io.ReadAll(response.Body)
	r.answered = time.Now()
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return r, fmt.Errorf("read the answer to %s: %w", operation, err)
	}
	if response.StatusCode != http.StatusOK {
		return r, fmt.Errorf("%s was answered with %s: %s", operation, response.Status, text)
	}

	return r, nil
}

// object is Kubernetes' own door. Its answer says that the object is stored, not
// that it acts.
func (n *nagi) object(r *rig) way {
	edgePause := func() *v1alpha1.RtpStreamPause {
		return newPause("bench-pause", v1alpha1.RtpStreamPauseSpec{
			ChannelID: channelID,
			Receivers: v1alpha1.Side{ConnectionIDs: []string{r.receiver.connectionID}},
			Senders:   v1alpha1.Side{ConnectionIDs: []string{r.sender.connectionID}},
		})
	}
	timed := func(
		what string, do func(context.Context, *v1alpha1.RtpStreamPause) error,
	) func(context.Context) (request, error) {
		return func(ctx context.Context) (request, error) {
			object := edgePause()
			q := request{sent: time.Now()}
			err := do(ctx, object)
			q.answered = time.Now()
			if err != nil {
				return q, fmt.Errorf("%s %s: %w", what, object.Name, err)
			}

			return q, nil
		}
	}
	api := n.kubernetes.api

	return way{
		name: "object",
		pause: timed("create", func(ctx context.Context, o *v1alpha1.RtpStreamPause) error {
			return api.Create(ctx, o)
		}),
		resume: timed("delete", func(ctx context.Context, o *v1alpha1.RtpStreamPause) error {
			return api.Delete(ctx, o)
		}),
		acknowledged: n.acknowledgedFor,
	}
}

// acknowledgedFor asks the manager's View what the media server acknowledged for
// the object that a request made.
func (n *nagi) acknowledgedFor(ctx context.Context, q request) (acknowledgement, error) {
	var a acknowledgement
	added, err := n.kubernetes.await(ctx, q.sent, watch.Added, channelID)
	if err != nil {
		return a, err
	}
	a.seen = added.at
	ctx, cancel := context.WithTimeout(ctx, roundLimit)
	defer cancel()
	uid := string(added.uid)
	enforced, err := n.view.WaitEnforced(ctx, &forwardingv1.WaitEnforcedRequest{Namespace: namespace, Uid: uid})
	if err != nil {
		return a, fmt.Errorf("wait for the acknowledgement: %w", err)
	}
	a.enforcing = enforced.GetLatency().AsDuration()
	explanation, err := n.view.Explain(ctx, &forwardingv1.ExplainRequest{
		Namespace: namespace, ChannelId: channelID,
		Of: &forwardingv1.ExplainRequest_Pause{Pause: &forwardingv1.PauseEdges{Uid: uid, Limit: 1}},
	})
	if err != nil {
		return a, fmt.Errorf("ask what left last: %w", err)
	}
	for {
		part, err := explanation.Recv()
		if err != nil {
			return a, fmt.Errorf("no last sequence number was told: %w", err)
		}
		for _, edge := range part.GetEdges() {
			for _, s := range edge.GetStreams() {
				if s.GetKind() == forwardingv1.Kind_KIND_VIDEO && s.LastSequenceNumber != nil {
					a.lastSequence = uint16(s.GetLastSequenceNumber()) //nolint:gosec // RTP's 16 bits.

					return a, nil
				}
			}
		}
	}
}

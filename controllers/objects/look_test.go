package objects

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// lateWatch holds back what the store's own watch brings, and answers every second
// watch with answer while there is one.
type lateWatch struct {
	next http.RoundTripper

	mu     sync.Mutex
	held   chan struct{} // closed: nothing is held back
	code   int
	answer string
}

func (l *lateWatch) RoundTrip(request *http.Request) (*http.Response, error) {
	query := request.URL.Query()
	if query.Get("watch") != "true" {
		return l.next.RoundTrip(request)
	}
	if query.Get("allowWatchBookmarks") == "" {
		l.mu.Lock()
		code, answer := l.code, l.answer
		l.mu.Unlock()
		if answer == "" {
			return l.next.RoundTrip(request)
		}

		return &http.Response{
			StatusCode: code, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{"Content-Type": {"application/json"}},
			Body: io.NopCloser(strings.NewReader(answer)), Request: request,
		}, nil
	}
	response, err := l.next.RoundTrip(request)
	if err == nil {
		response.Body = &lateBody{response.Body, l}
	}

	return response, err
}

type lateBody struct {
	io.ReadCloser
	watch *lateWatch
}

func (b *lateBody) Read(into []byte) (int, error) {
	n, err := b.ReadCloser.Read(into)
	b.watch.mu.Lock()
	held := b.watch.held
	b.watch.mu.Unlock()
	<-held

	return n, err
}

// A second watch that fails has shown nothing: whoever waits is not told that
// everything is known, though an edit has not come yet.
func TestNothingIsConfirmedByAWatchThatFails(t *testing.T) {
	const refusal = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"TooManyRequests","code":429}`
	for name, test := range map[string]struct {
		code   int
		answer string
		few    int
	}{
		"refused":            {http.StatusTooManyRequests, refusal, 0},
		"refused, uncounted": {http.StatusTooManyRequests, refusal, 1},
		"too old": {http.StatusOK, `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure",` +
			`"reason":"Expired","code":410}}`, 0},
		"broken": {http.StatusOK, `{"type":"MODI`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			namespace := newNamespace(t)
			open := make(chan struct{})
			close(open)
			late := &lateWatch{held: open}
			config := rest.CopyConfig(plane.config)
			config.Wrap(func(next http.RoundTripper) http.RoundTripper {
				late.next = next

				return late
			})
			o := create(t, namespace, "one")
			create(t, namespace, "two")
			s := follow(t, Config{Namespace: namespace, REST: config, few: test.few})
			s.ready()

			held := make(chan struct{})
			release := sync.OnceFunc(func() { close(held) })
			defer release()
			late.mu.Lock()
			late.held, late.code, late.answer = held, test.code, test.answer
			late.mu.Unlock()
			update(t, o, "edited")
			version := collectionVersion(t, namespace)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			err := s.Confirm(ctx, version)
			if err == nil {
				t.Errorf("confirmed, and the reason known is %q", s.toldUID(o.UID).Spec.Reason)
			} else if !strings.Contains(err.Error(), "watch from version") {
				t.Errorf("not confirmed: %v", err)
			}

			release()
			late.mu.Lock()
			late.answer = ""
			late.mu.Unlock()
			ctx, cancel = context.WithTimeout(t.Context(), patience)
			defer cancel()
			if err := s.Confirm(ctx, version); err != nil || s.toldUID(o.UID).Spec.Reason != "edited" {
				t.Errorf("%v, and the reason known is %q", err, s.toldUID(o.UID).Spec.Reason)
			}
		})
	}
}

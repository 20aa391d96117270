package identity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"k8s.io/client-go/rest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"))
}

// slow is an API server that answers nothing, and counts who waits.
type slow struct{ waiting, asked atomic.Int32 }

func (s *slow) RoundTrip(request *http.Request) (*http.Response, error) {
	s.waiting.Add(1)
	defer s.waiting.Add(-1)
	s.asked.Add(1)
	<-request.Context().Done()

	return nil, request.Context().Err()
}

func newReviewer(t *testing.T, transport http.RoundTripper, log io.Writer) *Reviewer {
	t.Helper()
	config := &rest.Config{Host: "http://192.0.2.1", Transport: transport, QPS: -1}
	r, err := New(Config{REST: config, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}

	return r
}

// Strangers with invented tokens cost the API server, and the log, no more than so much.
func TestReviewsUnderWayAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api, log := &slow{}, &strings.Builder{}
		r := newReviewer(t, api, log)
		var callers sync.WaitGroup
		for i := range 20 * maxReviews {
			callers.Go(func() {
				_, _, err := r.Review(t.Context(), fmt.Sprint("invented-", i), Subscribe, "")
				if !errors.Is(err, ErrUnanswerable) {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if waiting := api.waiting.Load(); waiting != maxReviews {
			t.Errorf("%d reviews are under way, want %d", waiting, maxReviews)
		}
		callers.Wait()
		if lines := strings.Count(log.String(), "\n"); lines > 10 {
			t.Errorf("%d lines in the log", lines)
		}
		if strings.Contains(log.String(), "invented") {
			t.Error("a token is in the log")
		}
	})
}

// hanging allows everything at first, and then answers nothing.
type hanging struct {
	slow
	hangs atomic.Bool
}

func (h *hanging) RoundTrip(request *http.Request) (*http.Response, error) {
	if h.hangs.Load() {
		return h.slow.RoundTrip(request)
	}
	answer := `{"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "status": {"authenticated": true, ` +
		`"audiences": ["nagi"], "user": {"username": "system:serviceaccount:meetings:shim"}}}`
	if strings.HasSuffix(request.URL.Path, "subjectaccessreviews") {
		answer = `{"kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "status": {"allowed": true}}`
	}

	return &http.Response{
		StatusCode: http.StatusCreated,
		Header:     http.Header{"Content-Type": {"application/json"}},
		Body:       io.NopCloser(strings.NewReader(answer)),
	}, nil
}

func TestAnAPIServerThatHangsIsWaitedForOnceInAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &hanging{}
		r := newReviewer(t, api, io.Discard)
		ask := func(want time.Duration, right bool) {
			t.Helper()
			begun := time.Now()
			caller, _, err := r.Review(t.Context(), "opaque", List, "meetings")
			if (err == nil) != right || right && caller.Namespace != "meetings" || time.Since(begun) != want {
				t.Errorf("after %s: %+v, %v; want it after %s", time.Since(begun), caller, err, want)
			}
		}
		ask(0, true)
		api.hangs.Store(true)
		ask(0, true)
		time.Sleep(2 * time.Minute)
		ask(timeout, true)
		ask(0, true)
		time.Sleep(time.Minute / 6)
		ask(timeout, true)
		time.Sleep(goodInOutage)
		ask(timeout, false)
	})
}

func TestWhoAsksTheSameAtOnceSharesAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &slow{}
		r := newReviewer(t, api, io.Discard)
		first, cancel := context.WithCancel(t.Context())
		var callers sync.WaitGroup
		for i := range 50 {
			ctx := t.Context()
			if i == 0 {
				ctx = first
			}
			callers.Go(func() { _, _, _ = r.Review(ctx, "token", List, "meetings") })
		}
		synctest.Wait()
		cancel()
		begun := time.Now()
		callers.Wait()
		if api.asked.Load() != 1 || time.Since(begun) != timeout {
			t.Errorf("%d questions were asked, and the last answered after %s", api.asked.Load(), time.Since(begun))
		}
	})
}

// hangsForStrangers answers about one token alone.
type hangsForStrangers struct {
	hanging
	known string
}

func (h *hangsForStrangers) RoundTrip(request *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(request.URL.Path, "tokenreviews") && !strings.Contains(string(body), h.known) {
		return h.slow.RoundTrip(request)
	}

	return h.hanging.RoundTrip(request)
}

// Neither who is known, nor a living stream with a renewed token, waits for strangers.
func TestWhoIsKnownDoesNotQueueBehindStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReviewer(t, &hangsForStrangers{known: "known"}, io.Discard)
		if _, _, err := r.Review(t.Context(), "known-1", List, "meetings"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		var strangers sync.WaitGroup
		for i := range 2 * maxReviews {
			strangers.Go(func() { _, _, _ = r.Review(t.Context(), fmt.Sprint("invented-", i), List, "meetings") })
		}
		// The same token may wait among the strangers at the same time.
		strangers.Go(func() { _, _, _ = r.Review(t.Context(), "known-2", List, "meetings") })
		synctest.Wait()
		begun := time.Now()
		_, _, err := r.Review(t.Context(), "known-1", List, "meetings")
		_, _, renewed := r.Repeat(t.Context(), "known-2", List, "meetings")
		if err != nil || renewed != nil || time.Since(begun) != 0 || !r.Knows("known-2") || r.Knows("invented-1") {
			t.Errorf("after %s: %v, %v; known: %t", time.Since(begun), err, renewed, r.Knows("known-2"))
		}
		strangers.Wait()
	})
}

// The API server takes "token anything" for the token: nobody is to be remembered as
// often as they like.
func TestATokenIsOneTextAlone(t *testing.T) {
	r := newReviewer(t, &hanging{}, io.Discard)
	for _, text := range []string{
		"token 1", "token\t2", "token\n3", " token", "token\x00", "tokén", "", strings.Repeat("a", maxTokenBytes+1),
	} {
		if _, _, err := r.Review(t.Context(), text, List, "meetings"); !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
	if len(r.known.byKey) != 0 {
		t.Errorf("%d are remembered", len(r.known.byKey))
	}
}

// undecided allows a token, and says this of a right.
type undecided string

func (u undecided) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := new(hanging).RoundTrip(request)
	if strings.HasSuffix(request.URL.Path, "subjectaccessreviews") {
		answer := `{"kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "status": ` + string(u) + `}`
		response.Body = io.NopCloser(strings.NewReader(answer))
	}

	return response, err
}

// An authorizer that is away is no denial, which would end streams.
func TestAnAuthorizerThatIsAwayDeniesNothing(t *testing.T) {
	for status, want := range map[string]error{
		`{"allowed": false}`: ErrDenied,
		`{"allowed": false, "evaluationError": "webhook: connection refused"}`:                 ErrUnanswerable,
		`{"allowed": false, "denied": true, "evaluationError": "webhook: connection refused"}`: ErrDenied,
		`{"allowed": true, "evaluationError": "webhook: connection refused"}`:                  nil,
	} {
		r := newReviewer(t, undecided(status), io.Discard)
		if _, _, err := r.Review(t.Context(), "token", Subscribe, ""); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", status, err, want)
		}
	}
}

// chatty repeats the token, and tells of the cluster.
type chatty struct{}

func (chatty) RoundTrip(*http.Request) (*http.Response, error) {
	answer := `{"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", ` +
		`"status": {"error": "a.secret.token: ask 10.0.0.7 ` + strings.Repeat("again ", 1000) + `"}}`

	return &http.Response{
		StatusCode: http.StatusCreated,
		Header:     http.Header{"Content-Type": {"application/json"}},
		Body:       io.NopCloser(strings.NewReader(answer)),
	}, nil
}

func TestTheLogTellsWhatIsWrongWithATokenAndNotTheToken(t *testing.T) {
	log := &strings.Builder{}
	_, _, err := newReviewer(t, chatty{}, log).Review(t.Context(), "a.secret.token", List, "meetings")
	if !errors.Is(err, ErrUnauthenticated) || strings.Contains(err.Error(), "secret") || len(err.Error()) > 2*maxWords {
		t.Error(err)
	}
	if strings.Contains(log.String(), "secret") || !strings.Contains(log.String(), "10.0.0.7") || log.Len() > 2*maxWords {
		t.Errorf("the log says: %s", log)
	}
}

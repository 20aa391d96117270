package callers_test

import (
	"context"
	"errors"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nagi-rtc/nagi/cmd/shim/callers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is an API server for tests of what is remembered for how long, which no real
// one could be asked about: the real one is in cmd/shim/sora.
type clock struct {
	asked  atomic.Int64
	answer func(context.Context, client.Object) error
}

func (c *clock) Create(ctx context.Context, object client.Object, _ ...client.CreateOption) error {
	c.asked.Add(1)

	return c.answer(ctx, object)
}

func reviewsBy(c *clock) (*callers.Reviews, *prometheus.Registry) {
	registry := prometheus.NewRegistry()

	return callers.New(callers.Config{
		API: c, Namespace: "meetings", Audiences: []string{"nagi", "other"}, Registerer: registry,
	}), registry
}

// everybody accepts every token and right.
func everybody(_ context.Context, object client.Object) error {
	switch review := object.(type) {
	case *authenticationv1.TokenReview:
		review.Status = authenticationv1.TokenReviewStatus{
			Authenticated: true, User: authenticationv1.UserInfo{Username: "alice"}, Audiences: []string{"other"},
		}
	case *authorizationv1.LocalSubjectAccessReview:
		review.Status.Allowed = true
	}

	return nil
}

// nobody refuses every token, and repeats it.
func nobody(_ context.Context, object client.Object) error {
	if review, ok := object.(*authenticationv1.TokenReview); ok {
		review.Status.Error = "nobody's: " + review.Spec.Token
	}

	return nil
}

func away(context.Context, client.Object) error { return errors.New("connection refused") }

// TestRemembered: what was accepted counts for 10 s, also while the API server is away,
// what was refused for one; that there was no answer is not remembered.
func TestRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &clock{answer: everybody}
		r, _ := reviewsBy(api)
		right := callers.Right{Verb: "create", Resource: "rtpstreampauses"}
		both := func() (int, error) {
			user, err := r.Who(t.Context(), "token")
			if err != nil {
				return 0, err
			}
			missing, err := r.Missing(t.Context(), user, right)

			return len(missing), err
		}
		expect := func(when string, wantAsked int64, wantError error, wantMissing int) {
			t.Helper()
			missing, err := both()
			told := (err == nil) == (wantError == nil)
			if told && err != nil {
				told = strings.Contains(err.Error(), wantError.Error())
			}
			if asked := api.asked.Swap(0); asked != wantAsked || missing != wantMissing || !told {
				t.Errorf("%s: asked %d times, %d missing, %v", when, asked, missing, err)
			}
		}
		expect("first", 2, nil, 0)
		api.answer = away
		time.Sleep(10*time.Second - time.Nanosecond)
		expect("remembered", 0, nil, 0)
		time.Sleep(2 * time.Nanosecond)
		expect("away", 1, errors.New("connection refused"), 0)
		api.answer = nobody
		expect("refused", 1, callers.ErrRefused, 0)
		api.answer = everybody
		time.Sleep(time.Second - time.Nanosecond)
		expect("still refused", 0, callers.ErrRefused, 0)
		time.Sleep(2 * time.Nanosecond)
		expect("accepted", 2, nil, 0)
	})
}

// TestRightsAreTheirHolders: what one may is no answer for another of the same name.
func TestRightsAreTheirHolders(t *testing.T) {
	api := &clock{answer: func(_ context.Context, object client.Object) error {
		review := object.(*authorizationv1.LocalSubjectAccessReview)
		attributes := review.Spec.ResourceAttributes
		ours := review.Namespace == "meetings" && attributes.Namespace == "meetings" && attributes.Group == "rtp.nagi.dev"
		review.Status.Allowed = ours && review.Spec.Extra["scopes"][0] == "all" && attributes.Verb == "list"

		return nil
	}}
	r, _ := reviewsBy(api)
	for scope, want := range map[string]int{"all": 1, "none": 2} {
		user := authenticationv1.UserInfo{Username: "alice", Extra: map[string]authenticationv1.ExtraValue{"scopes": {scope}}}
		missing, err := r.Missing(t.Context(), user,
			callers.Right{Verb: "list", Resource: "connections"}, callers.Right{Verb: "delete", Resource: "connections"})
		if err != nil || len(missing) != want || missing[len(missing)-1].Verb != "delete" {
			t.Errorf("%s: %v %v", scope, missing, err)
		}
	}
}

// TestUndecided: that an authorizer could not say is no refusal, and is not remembered;
// where another allows or denies, that is the answer.
func TestUndecided(t *testing.T) {
	for name, test := range map[string]struct {
		allowed, denied bool
		undecided       bool
		missing         int
	}{
		"no opinion": {false, false, true, 0},
		"allowed":    {true, false, false, 0},
		"denied":     {false, true, false, 1},
	} {
		api := &clock{answer: func(_ context.Context, object client.Object) error {
			object.(*authorizationv1.LocalSubjectAccessReview).Status = authorizationv1.SubjectAccessReviewStatus{
				Allowed: test.allowed, Denied: test.denied, EvaluationError: "the webhook is away",
			}

			return nil
		}}
		r, _ := reviewsBy(api)
		for range 2 {
			missing, err := r.Missing(t.Context(), authenticationv1.UserInfo{Username: "alice"},
				callers.Right{Verb: "list", Resource: "rtpstreampauses"})
			if errors.Is(err, callers.ErrUndecided) != test.undecided || (err != nil) != test.undecided ||
				len(missing) != test.missing {
				t.Errorf("%s: %v %v", name, missing, err)
			}
		}
		if asked := api.asked.Load(); (asked == 2) != test.undecided {
			t.Errorf("%s: asked %d times", name, asked)
		}
	}
}

// TestAudiences: a review that names none, or none that was asked for, is of an
// authenticator that did not look at them.
func TestAudiences(t *testing.T) {
	for name, test := range map[string]struct {
		audiences []string
		user      string
		accepted  bool
	}{
		"asked for":   {[]string{"https://kubernetes.default.svc", "nagi"}, "alice", true},
		"another's":   {[]string{"https://kubernetes.default.svc"}, "alice", false},
		"none":        {nil, "alice", false},
		"nobody's":    {[]string{"nagi"}, "", false},
		"also nobody": {nil, "", false},
	} {
		r, _ := reviewsBy(&clock{answer: func(_ context.Context, object client.Object) error {
			object.(*authenticationv1.TokenReview).Status = authenticationv1.TokenReviewStatus{
				Authenticated: true, User: authenticationv1.UserInfo{Username: test.user}, Audiences: test.audiences,
			}

			return nil
		}})
		user, err := r.Who(t.Context(), "token")
		if (err == nil) != test.accepted || err != nil && (!errors.Is(err, callers.ErrRefused) || user.Username != "") {
			t.Errorf("%s: %v %v", name, user, err)
		}
	}
}

// TestTokensStayInside: an error repeats what the API server says, but for the token.
func TestTokensStayInside(t *testing.T) {
	const token = "eyJhbGciOiJSUzI1NiJ9.e30.c2lnbmF0dXJl"
	for name, answer := range map[string]func(context.Context, client.Object) error{
		"refused": nobody,
		"failed": func(context.Context, client.Object) error {
			return errors.New("a webhook denied it: " + token + " is bad")
		},
	} {
		r, registry := reviewsBy(&clock{answer: answer})
		_, err := r.Who(t.Context(), token)
		if err == nil || errors.Is(err, callers.ErrRefused) != (name == "refused") ||
			strings.Contains(err.Error(), "c2lnbmF0dXJl") || !strings.Contains(err.Error(), "(the token)") {
			t.Errorf("%s: %v", name, err)
		}
		families, err := registry.Gather()
		if err != nil || len(families) != 1 || families[0].GetName() != "nagi_shim_reviews_total" {
			t.Fatalf("%s: %v %v", name, families, err)
		}
		text := families[0].String()
		if !strings.Contains(text, `"`+name+`"`) || strings.Contains(text, "c2lnbmF0dXJl") {
			t.Errorf("%s: %v %v", name, families, err)
		}
	}
}

// TestRefusedTokensAreForgotten: what is remembered of a refusal is neither the token,
// which may be good elsewhere, nor as long as strangers make it.
func TestRefusedTokensAreForgotten(t *testing.T) {
	r, _ := reviewsBy(&clock{answer: nobody})
	const tokens = 1000
	before := heldBytes()
	for i := range tokens {
		_, err := r.Who(t.Context(), strings.Repeat("x", 60_000)+strconv.Itoa(i))
		if !errors.Is(err, callers.ErrRefused) || len(err.Error()) > 1000 {
			t.Fatal(err)
		}
	}
	if held := heldBytes() - before; held > tokens*2000 {
		t.Errorf("%d refused tokens hold %d bytes", tokens, held)
	}
	runtime.KeepAlive(r)
}

// heldBytes is how much the heap holds that is in use.
func heldBytes() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)

	return int64(stats.HeapAlloc)
}

// TestTokensAtOnce: strangers' tokens wait for each other, at most as long as the
// request may, and whoever was accepted before waits for none of them, nor where that
// has to be reviewed again.
func TestTokensAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &clock{answer: everybody}
		r, _ := reviewsBy(api)
		if _, err := r.Who(t.Context(), "known"); err != nil {
			t.Fatal(err)
		}
		api.answer = func(ctx context.Context, object client.Object) error {
			if review, ok := object.(*authenticationv1.TokenReview); ok && review.Spec.Token == "known" {
				return everybody(ctx, object)
			}
			<-ctx.Done()

			return ctx.Err()
		}
		time.Sleep(11 * time.Second)
		api.asked.Store(0)
		var failed atomic.Int64
		for i := range 100 {
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), callers.Timeout)
				defer cancel()
				if _, err := r.Who(ctx, strings.Repeat("x", i+1)); errors.Is(err, context.DeadlineExceeded) {
					failed.Add(1)
				}
			}()
		}
		synctest.Wait()
		if asked := api.asked.Load(); asked != 32 {
			t.Errorf("%d tokens are reviewed at once", asked)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if user, err := r.Who(ctx, "known"); err != nil || user.Username != "alice" {
			t.Errorf("%v %v", user, err)
		}
		time.Sleep(callers.Timeout)
		synctest.Wait()
		if failed.Load() != 100 {
			t.Errorf("%d gave up", failed.Load())
		}
	})
}

// TestOneTokenAtOnce: any number of requests with one token cost the API server no more
// reviews than there are places.
func TestOneTokenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &clock{answer: func(ctx context.Context, object client.Object) error {
			time.Sleep(10 * time.Millisecond)

			return nobody(ctx, object)
		}}
		r, _ := reviewsBy(api)
		var refused atomic.Int64
		for range 1000 {
			go func() {
				if _, err := r.Who(t.Context(), "one"); errors.Is(err, callers.ErrRefused) {
					refused.Add(1)
				}
			}()
		}
		time.Sleep(time.Second)
		if asked := api.asked.Load(); asked != 32 || refused.Load() != 1000 {
			t.Errorf("asked %d times, %d refused", asked, refused.Load())
		}
	})
}

// TestStrangersDisplaceNobody: any number of refused tokens leaves what was accepted.
func TestStrangersDisplaceNobody(t *testing.T) {
	api := &clock{answer: everybody}
	r, _ := reviewsBy(api)
	if _, err := r.Who(t.Context(), "known"); err != nil {
		t.Fatal(err)
	}
	api.answer = nobody
	for i := range 5000 {
		if _, err := r.Who(t.Context(), strings.Repeat("x", i+1)); !errors.Is(err, callers.ErrRefused) {
			t.Fatal(err)
		}
	}
	if user, err := r.Who(t.Context(), "known"); err != nil || user.Username != "alice" {
		t.Errorf("%v %v", user, err)
	}
}

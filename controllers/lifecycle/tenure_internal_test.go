package lifecycle

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// remote is a lock whose server answers as told, some time later.
type remote struct {
	resourcelock.Interface
	takes  time.Duration
	err    error
	holder string
	writes int
}

func (r *remote) Identity() string { return "me" }

func (r *remote) Get(context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	return &resourcelock.LeaderElectionRecord{HolderIdentity: r.holder}, nil, nil
}

func (r *remote) Update(_ context.Context, record resourcelock.LeaderElectionRecord) error {
	time.Sleep(r.takes)
	if r.err == nil {
		r.holder = record.HolderIdentity
		r.writes++
	}

	return r.err
}

type sent struct{ requests int }

func (s *sent) RoundTrip(*http.Request) (*http.Response, error) {
	s.requests++

	return &http.Response{StatusCode: http.StatusOK}, nil
}

func TestATenureLastsFromTheSendingOfTheLastRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &remote{takes: 4 * time.Second}
		lock := &tenure{Interface: server, lease: 15 * time.Second, requests: &requests{
			limit: 15 * time.Second, log: slog.New(slog.DiscardHandler),
		}}
		lock.begin(func(context.Context) {})
		out := &sent{}
		guard := lock.guard(out)
		request, _ := http.NewRequestWithContext(t.Context(), http.MethodPatch, "http://api/", nil)
		ask := func(right bool) {
			t.Helper()
			before := out.requests
			_, err := guard.RoundTrip(request) //nolint:bodyclose // There is none.
			if passed := out.requests > before; passed != right || right == errors.Is(err, errOutOfOffice) {
				t.Errorf("with %s left a request passed: %v, %v", lock.left(), passed, err)
			}
		}
		renew := func() {
			_ = lock.Update(t.Context(), resourcelock.LeaderElectionRecord{HolderIdentity: "me"})
		}
		ask(false)
		renew()
		if left := lock.left(); left != 11*time.Second {
			t.Errorf("%s left of 15 s after a renewal that took 4", left)
		}
		ask(true)
		time.Sleep(10 * time.Second)
		server.err = errors.New("away")
		renew()
		if left := lock.left(); left > 0 {
			t.Errorf("a renewal that failed left %s", left)
		}
		ask(false)
		server.err = nil
		renew()
		ask(true)
		bounded, cancel := lock.bound(t.Context(), time.Hour)
		defer cancel()
		if end, _ := bounded.Deadline(); time.Until(end) != lock.left() {
			t.Errorf("a write may last %s with %s left", time.Until(end), lock.left())
		}
		server.holder = "thief"
		if _, _, err := lock.Get(t.Context()); err != nil {
			t.Fatal(err)
		}
		ask(false)
	})
}

func TestAReleaseWaitsForTheWritingAndIsOfOnesOwnLease(t *testing.T) {
	server := &remote{}
	lock := &tenure{Interface: server, lease: 15 * time.Second, requests: &requests{
		limit: 15 * time.Second, log: slog.New(slog.DiscardHandler),
	}}
	var order []string
	lock.begin(func(context.Context) {
		if lock.left() > 0 {
			t.Error("writing goes on during the release")
		}
		order = append(order, "left")
	})
	if err := lock.Update(t.Context(), resourcelock.LeaderElectionRecord{HolderIdentity: "me"}); err != nil {
		t.Fatal(err)
	}
	release := resourcelock.LeaderElectionRecord{}
	if err := lock.Update(t.Context(), release); err != nil || len(order) != 1 || server.holder != "" {
		t.Errorf("release: %v, %v, holder %q", err, order, server.holder)
	}
	// Woken after a stop, the elector believes that it is still in office.
	server.holder = "another"
	if _, _, err := lock.Get(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := lock.Update(t.Context(), release); err == nil || server.holder != "another" || server.writes != 2 {
		t.Errorf("another's lease was released: %v", err)
	}
}

package lifecycle

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// errOutOfOffice: the last renewal is older than the lease, so that somebody else
// may be in office.
var errOutOfOffice = errors.New("not written: the last renewal of the lease is older than the lease")

// tenure is the lock of the election, and remembers until when this candidate may
// write: for as long as the lease lasts after the moment in which its last renewal
// that succeeded was sent. The elector itself tells that only when it comes round
// to it; a process that was stopped and woken writes before that.
type tenure struct {
	resourcelock.Interface
	lease    time.Duration
	requests *requests

	mu sync.Mutex
	// sent is when the last renewal was sent; zero while there is none.
	sent time.Time
	// holder is who had the lease when it was last read or written.
	holder string
	// leave ends the writing and waits for it.
	leave func(context.Context)
}

// begin forgets an earlier term; leave is called before the lease is released.
func (t *tenure) begin(leave func(context.Context)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sent, t.leave = time.Time{}, leave
}

// left returns for how long this candidate may write, at most 0 when it may not.
func (t *tenure) left() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sent.IsZero() {
		return 0
	}
	// By the monotonic clock, which no one sets, and by the wall clock, which goes on
	// while a machine sleeps: the one that says less.
	now := time.Now()

	return t.lease - max(now.Sub(t.sent), now.Round(0).Sub(t.sent.Round(0)))
}

// Get reads the record, which may tell that the lease is somebody else's.
func (t *tenure) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record, raw, err := t.Interface.Get(ctx)
	t.requests.read(raw, err, time.Now())
	if err == nil {
		t.mu.Lock()
		if t.holder = record.HolderIdentity; t.holder != t.Identity() {
			t.sent = time.Time{}
		}
		t.mu.Unlock()
	}

	return record, raw, err
}

// Create makes the record.
func (t *tenure) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	sent := time.Now()

	return t.renewed(t.Interface.Create(ctx, record), record, sent)
}

// Update writes the record: a renewal, or a release, which waits for the end of
// the writing that the lease guards.
func (t *tenure) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	if record.HolderIdentity != t.Identity() {
		t.mu.Lock()
		t.sent = time.Time{}
		holder, leave := t.holder, t.leave
		t.mu.Unlock()
		leave(ctx)
		if holder != t.Identity() {
			// The elector believes in what it read last and would release it all the same.
			return errors.New("not released: the lease is somebody else's by now")
		}
	}
	sent := time.Now()

	return t.renewed(t.Interface.Update(ctx, record), record, sent)
}

func (t *tenure) renewed(err error, record resourcelock.LeaderElectionRecord, sent time.Time) error {
	if record.HolderIdentity == t.Identity() {
		// A release that fails is no matter: the lease ends by itself.
		t.requests.written(err, time.Now())
	}
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.holder = record.HolderIdentity
	if t.holder == t.Identity() {
		t.sent = sent
	}

	return nil
}

// guard lets a request out only while this candidate may write, repetitions that
// the client makes by itself included.
func (t *tenure) guard(next http.RoundTripper) http.RoundTripper {
	return &guarded{tenure: t, next: next}
}

type guarded struct {
	tenure *tenure
	next   http.RoundTripper
}

func (g *guarded) RoundTrip(request *http.Request) (*http.Response, error) {
	if g.tenure.left() <= 0 {
		return nil, errOutOfOffice
	}

	return g.next.RoundTrip(request)
}

// WrappedRoundTripper lets client-go find the transport below.
func (g *guarded) WrappedRoundTripper() http.RoundTripper { return g.next }

// bound is ctx until the end of the lease, or for at most d.
func (t *tenure) bound(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, min(t.left(), d))
}

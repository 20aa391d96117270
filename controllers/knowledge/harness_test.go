package knowledge

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"k8s.io/apimachinery/pkg/types"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/controllers/held"
	"github.com/nagi-rtc/nagi/controllers/objects"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Unix(1_000_000, 0)

// told is a store whose objects the test tells.
type told struct {
	mu    sync.Mutex
	stale bool
}

func (s *told) Run(ctx context.Context) error {
	<-ctx.Done()

	return nil
}
func (s *told) Ready() error                          { return nil }
func (s *told) Synced() bool                          { return true }
func (s *told) Get(string) *held.Pause                { return nil }
func (s *told) Undecodable() []objects.Undecodable    { return nil }
func (s *told) Confirm(context.Context, uint64) error { return nil }

func (s *told) Stale() bool {
	s.mu.Lock()
	defer s.mu.Unlock()

	return s.stale
}

// world is one tenant, and its objects as the test has them.
type world struct {
	*Tenant
	store    *told
	objects  map[string]*held.Pause
	version  uint64
	uids     int
	mu       sync.Mutex
	enqueued []string
	lows     int
}

func newWorld(limits Limits) *world {
	w := &world{store: &told{}, objects: map[string]*held.Pause{}}
	limits.setDefaults()
	w.Tenant = newTenant("tenant",
		Config{Log: slog.New(slog.DiscardHandler), MediaServerLost: 10 * time.Minute, Limits: limits}, nil)
	w.Tenant.store = w.store
	w.claimsKnown(true) // They were listed once, and are not followed any more.
	w.claimsKnown(false)
	w.watch(func(name string, low bool) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.enqueued = append(w.enqueued, name)
		if low {
			w.lows++
		}
	})

	return w
}

// listed is after an empty initial list.
func listed() *world {
	w := newWorld(Limits{})
	w.list()

	return w
}

// list tells all objects at once.
func (w *world) list(objects ...*held.Pause) {
	var changes []Change
	for _, o := range objects {
		w.objects[o.Name] = o
		changes = append(changes, Change{After: o})
	}
	w.version++
	w.apply(changes, w.version)
}

// told returns who was enqueued since the last call, sorted, each once.
func (w *world) told() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	names := slices.Sorted(slices.Values(w.enqueued))
	w.enqueued, w.lows = nil, 0

	return slices.Compact(names)
}

// pause makes an object on the edge from S to R, which edit may change.
func (w *world) pause(name string, edit ...func(*held.Pause)) *held.Pause {
	w.uids++
	o := &held.Pause{
		Namespace: "tenant", Name: name, UID: types.UID(fmt.Sprintf("uid-%s-%d", name, w.uids)), Generation: 1,
		CreatedUnixSecond: start.Add(-time.Hour).Unix() + int64(w.uids),
	}
	o.Spec.ChannelID = "lobby"
	o.Spec.Receivers.ConnectionIDs, o.Spec.Senders.ConnectionIDs = []string{"R"}, []string{"S"}
	for _, e := range edit {
		e(o)
	}

	return o
}

func (w *world) create(name string, edit ...func(*held.Pause)) *held.Pause {
	o := w.pause(name, edit...)
	w.objects[name] = o
	w.version++
	w.apply([]Change{{After: o}}, w.version)

	return o
}

// edit changes the spec of the object.
func (w *world) edit(name string, edit func(*held.Pause)) *held.Pause {
	return w.change(name, func(o *held.Pause) {
		edit(o)
		o.Generation++
	})
}

func (w *world) change(name string, change func(*held.Pause)) *held.Pause {
	before := w.objects[name]
	after := new(held.Pause)
	*after = *before
	change(after)
	w.objects[name] = after
	w.version++
	w.apply([]Change{{Before: before, After: after}}, w.version)

	return after
}

func (w *world) remove(name string) {
	before := w.objects[name]
	delete(w.objects, name)
	w.version++
	w.apply([]Change{{Before: before}}, w.version)
}

func inChannel(id string) func(*held.Pause) {
	return func(o *held.Pause) { o.Spec.ChannelID = id }
}

func member(id string) *forwardingv1.Connection {
	return &forwardingv1.Connection{ConnectionId: id, ClientId: "client-" + id, Role: forwardingv1.Role_ROLE_SENDRECV}
}

func reportOf(channelID string, instance, epoch, base uint64, joined ...string) *forwardingv1.ChannelReport {
	r := &forwardingv1.ChannelReport{ChannelId: channelID, Instance: instance, Epoch: epoch, BaseEpoch: base}
	for _, id := range joined {
		r.Joined = append(r.Joined, member(id))
	}

	return r
}

func (w *world) connect(
	t testing.TB, name, incarnation string, now time.Time, reports ...*forwardingv1.ChannelReport,
) *Session {
	t.Helper()
	s, err := w.Connect(Introduction{Name: name, Incarnation: incarnation}, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range reports {
		must(t, s.Report(r, now))
	}

	return s
}

// stream connects and reports all.
func (w *world) stream(t testing.TB, name string, now time.Time, reports ...*forwardingv1.ChannelReport) *Session {
	t.Helper()
	s := w.connect(t, name, "first", now, reports...)
	must(t, s.Complete(now))

	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// acknowledge says all of the channel, of the objects as they are.
func (w *world) acknowledge(
	t testing.TB, s *Session, channelID string, instance, epoch uint64, now time.Time,
	states map[string]forwardingv1.State,
) {
	t.Helper()
	a := &forwardingv1.Acknowledgement{ChannelId: channelID, Instance: instance, Epoch: epoch, Whole: true}
	for name, state := range states {
		digest, _ := content(w.objects[name])
		a.Set = append(a.Set, &forwardingv1.PauseState{Uid: string(w.objects[name].UID), Digest: digest[:], State: state})
	}
	must(t, s.Acknowledge(a, now))
}

// drain takes everything that waits to be written.
func drain(s *Session) []Outgoing {
	var all []Outgoing
	for next, ok := s.Next(); ok; next, ok = s.Next() {
		all = append(all, next)
	}

	return all
}

// describe is a verdict in a line.
func describe(v Verdict) string {
	line := v.Reason
	for _, part := range []struct {
		name  string
		names []string
	}{{"matching", v.Matching}, {"waiting", v.Waiting}, {"lost", v.Lost}, {"withholding", v.Withholding}} {
		if len(part.names) > 0 {
			line += " " + part.name + " " + strings.Join(part.names, ",")
		}
	}

	return line
}

package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/knowledge"
	"github.com/nagi-rtc/nagi/controllers/lifecycle"
)

func TestTheLeaseIsLostAndWonBack(t *testing.T) {
	ns := namespace(t)
	e := elect(t, plane.Config, newActing(t, ns), ns)
	for round := range 3 {
		eventually(t, "in office", func() bool { return e.inOffice(t) })
		steal(t, ns)
		eventually(t, "out of office", func() bool { return !e.inOffice(t) })
		o := pauseIn(t, ns, fmt.Sprintf("meanwhile-%d", round), nil)
		waitReason(t, o, v1alpha1.ReasonArmed)
		if !e.inOffice(t) {
			t.Error("the status was written out of office")
		}
	}
	if e.counted(t, "nagi_manager_gave_up_total") != 0 {
		t.Errorf("gave up: %v", e.GaveUp())
	}
}

// steal takes the lease as another candidate would that is not there any more.
func steal(t *testing.T, ns string) {
	t.Helper()
	eventually(t, "the lease is stolen", func() bool {
		var l coordinationv1.Lease
		if err := k8s.Get(t.Context(), types.NamespacedName{Namespace: ns, Name: lifecycle.LeaseName}, &l); err != nil {
			t.Fatal(err)
		}
		thief, now := "thief", metav1.NowMicro()
		l.Spec.HolderIdentity, l.Spec.RenewTime, l.Spec.AcquireTime = &thief, &now, &now

		return k8s.Update(t.Context(), &l) == nil
	})
}

// ice stops requests about leases where they are, as a stop of the process would,
// while all the rest goes on.
type ice struct {
	mu     sync.Mutex
	thawed chan struct{}
}

func (i *ice) freeze() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.thawed = make(chan struct{})
}

func (i *ice) thaw() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.thawed != nil {
		close(i.thawed)
		i.thawed = nil
	}
}

func (i *ice) over(api *rest.Config) *rest.Config {
	config := rest.CopyConfig(api)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &frozen{ice: i, next: next} })

	return config
}

type frozen struct {
	ice  *ice
	next http.RoundTripper
}

func (f *frozen) RoundTrip(request *http.Request) (*http.Response, error) {
	f.ice.mu.Lock()
	thawed := f.ice.thawed
	f.ice.mu.Unlock()
	if thawed != nil && strings.Contains(request.URL.Path, "/leases") {
		<-thawed
	}

	return f.next.RoundTrip(request)
}

func (f *frozen) WrappedRoundTripper() http.RoundTripper { return f.next }

// A leader whose renewals hang, though its reconciler gets events all the time, is
// out of office by the end of its lease. Each of the two leaves its own name.
func TestNobodyWritesWhoseLeaseHasRunOut(t *testing.T) {
	ns := namespace(t)
	says := func(name string) knowledge.Verdict {
		return knowledge.Verdict{Reason: v1alpha1.ReasonEnforced, Matching: []string{name}}
	}
	first, second := newActing(t, ns), newActing(t, ns)
	first.judge("", says("first"))
	second.judge("", says("second"))
	i := &ice{}
	defer i.thaw()
	leader := elect(t, i.over(plane.Config), first, ns)
	eventually(t, "the first is in office", func() bool { return leader.inOffice(t) })
	other := elect(t, plane.Config, second, ns)
	before := pauseIn(t, ns, "before", nil)
	waitReason(t, before, v1alpha1.ReasonEnforced)

	i.freeze()
	eventually(t, "the second is in office", func() bool { return other.inOffice(t) })
	written := leader.counted(t, "nagi_pause_status_writes_total")
	for n := range 50 {
		o := pauseIn(t, ns, fmt.Sprint(n), nil)
		first.tell(o.Name, false)
		if got := waitReason(t, o, v1alpha1.ReasonEnforced); got.Status.MediaServer != "second" {
			t.Fatalf("written by %s", got.Status.MediaServer)
		}
		first.tell(before.Name, false)
		if n == 25 {
			i.thaw()
		}
	}
	eventually(t, "the first knows", func() bool { return !leader.inOffice(t) })
	if more := leader.counted(t, "nagi_pause_status_writes_total") - written; more != 0 || !other.inOffice(t) {
		t.Errorf("the first wrote %v statuses after the second had come into office", more)
	}
	// Its turn comes when the second ends, not before.
	other.stop()
	eventually(t, "the first is in office again", func() bool { return leader.inOffice(t) })
	o := pauseIn(t, ns, "last", nil)
	if got := waitReason(t, o, v1alpha1.ReasonEnforced); got.Status.MediaServer != "first" {
		t.Errorf("written by %s", got.Status.MediaServer)
	}
}

// What is stored at the end of a graceful term is the truth of who wrote last: the
// lease is released only after the last write.
func TestAReleasedLeaseIsFollowedByNoWrite(t *testing.T) {
	ns := namespace(t)
	known := []*acting{newActing(t, ns), newActing(t, ns)}
	leaders := []*elected{elect(t, plane.Config, known[0], ns)}
	eventually(t, "in office", func() bool { return leaders[0].inOffice(t) })
	for n := range 30 {
		pauseIn(t, ns, fmt.Sprint(n), nil)
	}
	for round := range 4 {
		from := leaders[round]
		leaders = append(leaders, elect(t, plane.Config, known[1-round%2], ns))
		ctx, stop := context.WithCancel(t.Context())
		var judging sync.WaitGroup
		judging.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				for _, k := range known {
					k.judge(fmt.Sprint(n%30), knowledge.Verdict{Reason: v1alpha1.ReasonEnforced, Matching: []string{fmt.Sprint(n)}})
				}
			}
		})
		from.stop()
		written := from.counted(t, "nagi_pause_status_writes_total")
		eventually(t, "the next is in office", func() bool { return leaders[round+1].inOffice(t) })
		stop()
		judging.Wait()
		if from.counted(t, "nagi_pause_status_writes_total") != written {
			t.Error("written after the end")
		}
	}
}

// roleOf makes a user that may do what the rules say in the namespace.
func roleOf(t *testing.T, ns string, rules ...rbacv1.PolicyRule) *rest.Config {
	t.Helper()
	user, err := plane.Environment.AddUser(envtest.User{Name: "manager-of-" + ns}, nil)
	if err != nil {
		t.Fatal(err)
	}
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "some"}, Rules: rules}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "some"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "some"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "manager-of-" + ns}},
	}
	for _, o := range []client.Object{role, binding} {
		if err := k8s.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}

	return user.Config()
}

var leases = rbacv1.PolicyRule{
	APIGroups: []string{coordinationv1.GroupName},
	Resources: []string{"leases"},
	Verbs:     []string{"get", "create", "update"},
}

func TestWhoMayNotWriteGivesTheOfficeUp(t *testing.T) {
	ns := namespace(t)
	known := newActing(t, ns)
	powerless := elect(t, roleOf(t, ns, leases), known, ns)
	eventually(t, "in office", func() bool { return powerless.inOffice(t) })
	o := pauseIn(t, ns, "pause", nil)
	able := elect(t, plane.Config, known, ns)
	waitReason(t, o, v1alpha1.ReasonArmed)
	if err := powerless.GaveUp(); err == nil || !strings.Contains(err.Error(), "bind the role nagi-manager") ||
		powerless.counted(t, "nagi_manager_gave_up_total") != 1 {
		t.Errorf("gave up %v times: %v", powerless.counted(t, "nagi_manager_gave_up_total"), err)
	}
	if able.GaveUp() != nil || !able.inOffice(t) {
		t.Errorf("the other one: %v", able.GaveUp())
	}

	// Once it may, and it is its turn, it says no more that it cannot.
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "some"}, Rules: []rbacv1.PolicyRule{leases, {
		APIGroups: []string{v1alpha1.GroupVersion.Group},
		Resources: []string{v1alpha1.Plural + "/status"},
		Verbs:     []string{"patch"},
	}}}
	if err := k8s.Update(t.Context(), role); err != nil {
		t.Fatal(err)
	}
	able.stop()
	later := pauseIn(t, ns, "later", nil)
	waitReason(t, later, v1alpha1.ReasonArmed)
	eventually(t, "it is mended", func() bool { return powerless.GaveUp() == nil })
}

func TestWhoPanicsOrDoesNotKnowGivesTheOfficeUp(t *testing.T) {
	ns := namespace(t)
	broken := map[string]*acting{"panics": newActing(t, ns), "Ready": newActing(t, ns)}
	for what, known := range broken {
		t.Run(what, func(t *testing.T) {
			e := elect(t, plane.Config, known, ns)
			eventually(t, "in office", func() bool { return e.inOffice(t) })
			known.mu.Lock()
			known.panics = what == "panics"
			if !known.panics {
				known.unready = errors.New("the API server is away")
			}
			known.mu.Unlock()
			var names []string
			for n := range 12 {
				names = append(names, pauseIn(t, ns, fmt.Sprintf("%s-%d", strings.ToLower(what), n), nil).Name)
			}
			eventually(t, "given up", func() bool {
				known.tell(names[0], false)

				return e.GaveUp() != nil
			})
			able := elect(t, plane.Config, newActing(t, ns), ns)
			eventually(t, "another is in office", func() bool { return able.inOffice(t) })
			waitReason(t, pauseIn(t, ns, "after-"+names[0], nil), v1alpha1.ReasonArmed)
		})
	}
}

// A new writer writes nothing and tells nothing of what is as it was, though for
// its first moments it knows less than its predecessor did.
func TestANewWriterLeavesWhatIsAsItWas(t *testing.T) {
	ns := namespace(t)
	known := newActing(t, ns)
	truth := knowledge.Verdict{Reason: v1alpha1.ReasonEnforced, Matching: []string{"ms"}}
	known.judge("", truth)
	first := elect(t, plane.Config, known, ns)
	versions := map[string]string{}
	for n := range 40 {
		o := pauseIn(t, ns, fmt.Sprint(n), nil)
		versions[o.Name] = waitReason(t, o, v1alpha1.ReasonEnforced).ResourceVersion
	}
	first.stop()
	ignorance := []string{
		v1alpha1.ReasonStarting, v1alpha1.ReasonArmed, v1alpha1.ReasonNotAcknowledged, v1alpha1.ReasonMediaServerLost,
	}
	for attempt := 1; ; attempt++ {
		for n := range 40 {
			known.judge(fmt.Sprint(n), knowledge.Verdict{Reason: ignorance[n%len(ignorance)]})
		}
		next := elect(t, plane.Config, known, ns)
		began := time.Now()
		eventually(t, "in office", func() bool { return next.inOffice(t) })
		fresh := pauseIn(t, ns, fmt.Sprint("fresh-", attempt), nil)
		waitReason(t, fresh, v1alpha1.ReasonEnforced)
		for n := range 40 {
			known.judge(fmt.Sprint(n), truth)
		}
		inTime := time.Since(began) < knowledge.OfficeBeforeArmed
		last := pauseIn(t, ns, fmt.Sprint("last-", attempt), nil)
		waitReason(t, last, v1alpha1.ReasonEnforced)
		eventually(t, "both are told", func() bool { return next.counted(t, "nagi_pause_events_total") >= 2 })
		next.stop()
		switch {
		case inTime:
			for name, version := range versions {
				if o := get(t, &v1alpha1.RtpStreamPause{
					ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name},
				}); o.ResourceVersion != version {
					t.Errorf("%s was rewritten: %+v", name, o.Status)
				}
			}
			writes, told := next.counted(t, "nagi_pause_status_writes_total"), next.counted(t, "nagi_pause_events_total")
			if writes != 2 || told != 2 {
				t.Errorf("%v statuses and %v events for two new pauses", writes, told)
			}

			return
		case attempt == 5:
			t.Fatal("this machine is too slow to tell")
		}
		// The truth took too long; all is to be as it was for the next writer.
		after := elect(t, plane.Config, known, ns)
		for name := range versions {
			versions[name] = waitReason(t, &v1alpha1.RtpStreamPause{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}},
				v1alpha1.ReasonEnforced).ResourceVersion
		}
		after.stop()
	}
}

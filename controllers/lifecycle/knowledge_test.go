package lifecycle_test

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/held"
	"github.com/nagi-rtc/nagi/controllers/knowledge"
	"github.com/nagi-rtc/nagi/controllers/tables"
)

// startReplica runs what cmd/manager runs but for gRPC: real knowledge, whose
// media servers the test is.
func startReplica(t *testing.T, api *rest.Config, ns string) (known *knowledge.Knowledge, e *elected) {
	t.Helper()
	known, err := knowledge.New(knowledge.Config{
		REST: api, Namespaces: []string{ns}, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Registerer: prometheus.NewRegistry(), MediaServerLost: 8 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	known.ClaimsKnown(ns, true) // They were listed once, and are not followed any more.
	known.ClaimsKnown(ns, false)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- known.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	e = elect(t, api, known, ns)
	eventually(t, "the replica knows", func() bool { return known.Ready() == nil })

	return known, e
}

// mediaServer hosts the channel lobby, as instance 1.
type mediaServer struct {
	t       *testing.T
	session *knowledge.Session
	epoch   uint64
}

func connect(t *testing.T, known *knowledge.Knowledge, ns, name string) *mediaServer {
	t.Helper()
	session, err := known.Tenant(ns).Connect(knowledge.Introduction{Name: name, Incarnation: "incarnation-of-" + name},
		time.Now())
	if err != nil {
		t.Fatal(err)
	}

	return &mediaServer{t: t, session: session}
}

// report says the whole membership.
func (m *mediaServer) report(ids ...string) {
	m.t.Helper()
	m.epoch++
	report := &forwardingv1.ChannelReport{ChannelId: "lobby", Instance: 1, Epoch: m.epoch}
	for _, id := range ids {
		report.Joined = append(report.Joined, &forwardingv1.Connection{
			ConnectionId: id, Role: forwardingv1.Role_ROLE_SENDRECV,
		})
	}
	if err := m.session.Report(report, time.Now()); err != nil {
		m.t.Fatal(err)
	}
}

func (m *mediaServer) complete() {
	m.t.Helper()
	if err := m.session.Complete(time.Now()); err != nil {
		m.t.Fatal(err)
	}
}

// acknowledge says of the pauses that they are in the state, and of no others.
func (m *mediaServer) acknowledge(state forwardingv1.State, pauses ...*v1alpha1.RtpStreamPause) {
	m.t.Helper()
	a := &forwardingv1.Acknowledgement{ChannelId: "lobby", Instance: 1, Epoch: m.epoch, Whole: true}
	for _, o := range pauses {
		digest := tables.Digest(held.New(o))
		a.Set = append(a.Set, &forwardingv1.PauseState{Uid: string(o.UID), Digest: digest[:], State: state})
	}
	if err := m.session.Acknowledge(a, time.Now()); err != nil {
		m.t.Fatal(err)
	}
}

const (
	matching    = forwardingv1.State_STATE_MATCHING
	notMatching = forwardingv1.State_STATE_NOT_MATCHING
)

// A connection that an edit names, and that has never been seen, does not count as
// gone, though its media server withheld what the pause named before, and a new
// writer sees that one come back.
func TestNeverSeenAfterAnEdit(t *testing.T) {
	ns := namespace(t)
	known, first := startReplica(t, plane.Config, ns)
	m := connect(t, known, ns, "ms")
	m.report("R", "S")
	m.complete()
	o := pauseIn(t, ns, "edge", func(o *v1alpha1.RtpStreamPause) { o.Spec.DeleteAfterDisconnectSeconds = new(int64(1)) })
	m.acknowledge(matching, o)
	got := waitReason(t, o, v1alpha1.ReasonEnforced)
	if got.Status.EnforcedGeneration != 1 {
		t.Errorf("enforced is generation %d", got.Status.EnforcedGeneration)
	}
	first.stop()
	known, _ = startReplica(t, plane.Config, ns)
	got.Spec.Receivers.ConnectionIDs = []string{"NEVERSEEN"}
	if err := k8s.Update(t.Context(), got); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new writer has seen the edit", func() bool {
		got = get(t, o)

		return got.Status.ObservedGeneration == got.Generation
	})
	m = connect(t, known, ns, "ms")
	m.report("R", "S")
	m.complete()
	m.acknowledge(notMatching, got)
	got = waitReason(t, o, v1alpha1.ReasonArmed)
	if got.Status.DisconnectedAt != nil || got.Status.EnforcedGeneration != 1 {
		t.Errorf("status %+v", got.Status)
	}
}

func TestFromCreationToDeletion(t *testing.T) {
	ns := namespace(t)
	known, first := startReplica(t, plane.Config, ns)
	eventually(t, "the first is in office", func() bool { return first.inOffice(t) })
	other, _ := startReplica(t, plane.Config, ns)
	m, m2 := connect(t, known, ns, "ms"), connect(t, other, ns, "ms")
	for _, each := range []*mediaServer{m, m2} {
		each.report("R", "S")
		each.complete()
	}
	o := pauseIn(t, ns, "edge", nil)
	waitReason(t, o, v1alpha1.ReasonNotAcknowledged)
	for _, each := range []*mediaServer{m, m2} {
		each.acknowledge(matching, o)
	}
	got := waitReason(t, o, v1alpha1.ReasonEnforced)
	if got.Status.MediaServer != "ms" || !meta.IsStatusConditionTrue(got.Status.Conditions, v1alpha1.ConditionEnforced) {
		t.Errorf("status %+v", got.Status)
	}
	// An edit is another content, which nobody has acknowledged.
	got.Spec.Reason = "edited"
	if err := k8s.Update(t.Context(), got); err != nil {
		t.Fatal(err)
	}
	waitReason(t, o, v1alpha1.ReasonNotAcknowledged)
	m.acknowledge(matching, got)
	m2.acknowledge(matching, got)
	waitReason(t, o, v1alpha1.ReasonEnforced)
	if err := k8s.Delete(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	// Under the same name: nothing is inherited.
	again := pauseIn(t, ns, "edge", nil)
	if got := waitReason(t, again, v1alpha1.ReasonNotAcknowledged); got.Status.DisconnectedAt != nil ||
		got.Status.MediaServer != "" {
		t.Errorf("inherited: %+v", got.Status)
	}
	// The writer ends: the other one writes in its turn.
	first.stop()
	m2.acknowledge(matching, again)
	waitReason(t, again, v1alpha1.ReasonEnforced)
}

func TestExpiryFollowsTheAcknowledgements(t *testing.T) {
	ns := namespace(t)
	known, _ := startReplica(t, plane.Config, ns)
	m := connect(t, known, ns, "slow")
	m.report("R", "S")
	m.complete()
	ttl := int64(1)
	o := pauseIn(t, ns, "expiring", func(o *v1alpha1.RtpStreamPause) {
		o.Spec.ExpiresAt = &metav1.Time{Time: time.Now().Add(3 * time.Second)}
		o.Spec.TTLSecondsAfterExpired = &ttl
	})
	m.acknowledge(matching, o)
	waitReason(t, o, v1alpha1.ReasonEnforced)
	eventually(t, "the slower clock is told of", func() bool {
		ready := meta.FindStatusCondition(get(t, o).Status.Conditions, v1alpha1.ConditionReady)

		return ready.Message != "" && ready.Reason == v1alpha1.ReasonEnforced &&
			time.Now().After(o.Spec.ExpiresAt.Add(2*time.Second)) && len(ready.Message) > 0 &&
			meta.FindStatusCondition(get(t, o).Status.Conditions, v1alpha1.ConditionEnforced).Message ==
				`Withheld by media server "slow", by whose clock expiresAt is still to come.`
	})
	m.acknowledge(forwardingv1.State_STATE_EXPIRED, o)
	eventually(t, "deleted once it expired there too", gone(t, o))
}

func TestDepartureSurvivesTheReplicaThatSawIt(t *testing.T) {
	ns := namespace(t)
	known, first := startReplica(t, plane.Config, ns)
	m := connect(t, known, ns, "ms")
	m.report("R", "S")
	m.complete()
	seconds := int64(1)
	brief := func(o *v1alpha1.RtpStreamPause) { o.Spec.DeleteAfterDisconnectSeconds = &seconds }
	seen := pauseIn(t, ns, "seen", brief)
	unseen := pauseIn(t, ns, "unseen", func(o *v1alpha1.RtpStreamPause) {
		brief(o)
		o.Spec.Senders.ConnectionIDs = []string{"X"}
	})
	m.acknowledge(matching, seen)
	waitReason(t, seen, v1alpha1.ReasonEnforced)
	first.stop()
	// The sender leaves while no manager listens; the next one finds out.
	known, _ = startReplica(t, plane.Config, ns)
	m = connect(t, known, ns, "ms")
	m.report("R")
	m.complete()
	m.acknowledge(notMatching, seen, unseen)
	eventually(t, "the pause is deleted", gone(t, seen))
	waitReason(t, unseen, v1alpha1.ReasonArmed)
}

func TestALostMediaServer(t *testing.T) {
	ns := namespace(t)
	known, _ := startReplica(t, plane.Config, ns)
	m := connect(t, known, ns, "ms")
	m.report("R", "S")
	m.complete()
	o := pauseIn(t, ns, "edge", nil)
	m.acknowledge(matching, o)
	before := waitReason(t, o, v1alpha1.ReasonEnforced)
	lost := time.Now()
	m.session.Close(lost)
	// A channel may have opened there.
	fresh := pauseIn(t, ns, "fresh", func(o *v1alpha1.RtpStreamPause) { o.Spec.ChannelID = "elsewhere" })
	waitReason(t, fresh, v1alpha1.ReasonMediaServerLost)
	waitReason(t, o, v1alpha1.ReasonMediaServerLost)
	if took := time.Since(lost); took < knowledge.LossGrace {
		t.Errorf("a loss of %s rewrote %+v", took, before.Status)
	}
	waitReason(t, o, v1alpha1.ReasonArmed)
	waitReason(t, fresh, v1alpha1.ReasonArmed)
	if took := time.Since(lost); took < 8*time.Second {
		t.Errorf("Armed %s after the loss, before --media-server-lost", took)
	}
}

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
)

// restored is a system whose etcd is put back to what it was earlier, and what was
// so then.
type restored struct {
	system  *system
	meeting *meeting
	version uint64 // The highest that anybody saw before the restore.
	// putBack puts the copy in the place of etcd's data.
	putBack func(t *testing.T)

	// kept is there all the time; gone was made after the copy; back was deleted
	// after it; edited named somebody else after it.
	kept, gone, back, edited                 *v1alpha1.RtpStreamPause
	keptEdge, goneEdge, backEdge, editedEdge *observation
}

// TestRestore puts back an older copy of etcd's data under running programs, and
// proves that soon what acts is what is stored: pauses that are gone withhold
// nothing, pauses that are back withhold again, and the rest never ceased to.
func TestRestore(t *testing.T) {
	t.Parallel()
	// The version stays below what the media servers hold: every manager lists what
	// there is as soon as the API server is back.
	t.Run("below", func(t *testing.T) {
		r := newRestored(t, copied)
		r.restore(t)
		r.system.plane.startAPIServer(t)
		r.prove(t, time.Now())
		if n := r.system.mediaServers[0].metric(t, "nagi_tables_regressions_total"); n == 0 {
			t.Error("the media server counted no regression")
		}
	})
	// The cluster has passed the old version before any manager hears of it again, so
	// that by their versions nothing has happened.
	t.Run("passed", func(t *testing.T) {
		r := newRestored(t, copied)
		for _, m := range r.system.managers {
			m.api.hold()
		}
		r.restore(t)
		r.system.plane.startAPIServer(t)
		r.pass(t)
		for _, m := range r.system.managers {
			m.api.pass()
		}
		r.prove(t, time.Now())
	})
	// One of two managers hears nothing of it, and goes on saying what was so, at a
	// version that is above all there is: it is stale, and holds nobody up.
	t.Run("beside a stale one", func(t *testing.T) {
		r := newRestored(t, copied)
		stale := r.system.managers[0]
		target := stale.api.opened()
		stale.api.cut()
		r.restore(t)
		r.system.plane.startAPIServer(t)
		back := time.Now()
		r.system.managers[1].awaitReady(t)
		took := r.goneEdge.flowsAfter(t, back)
		t.Logf("what was paused by a pause that is gone flowed after %s", took)
		if now, held := r.system.versionNow(t), r.version; now > held {
			t.Errorf("the cluster has come to version %d and passed %d: nothing is shown", now, held)
		}
		stale.awaitUnready(t, "API server")
		for _, shim := range r.system.shims {
			shim.expectList(t, r.meeting.channel, r.keptEdge.edge, r.backEdge.edge, r.editedEdge.edge)
		}
		stale.api.to(target)
		r.prove(t, back)
	})
	// A snapshot that etcd's own tools made, put back as docs/operations.md says: the
	// version goes on far above all that anybody has seen.
	t.Run("bumped", func(t *testing.T) {
		r := newRestored(t, snapshot)
		r.restore(t)
		r.system.plane.startAPIServer(t)
		r.prove(t, time.Now())
		if now := r.system.versionNow(t); now <= r.version {
			t.Errorf("the version is %d, and was %d before", now, r.version)
		}
		if n := r.system.mediaServers[0].metric(t, "nagi_tables_regressions_total"); n != 0 {
			t.Errorf("the media server counted %v regressions", n)
		}
	})
}

// backUp saves what etcd holds, and returns what puts it back.
type backUp func(t *testing.T, p *plane) (putBack func(t *testing.T))

// copied saves the files, as a snapshot of a disk does.
func copied(t *testing.T, p *plane) func(t *testing.T) {
	t.Helper()
	files := p.saveData(t)

	return func(t *testing.T) {
		t.Helper()
		p.restoreData(t, files)
	}
}

// snapshot has etcd's tools save and restore.
func snapshot(t *testing.T, p *plane) func(t *testing.T) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "snapshot.db")
	etcdTool(t, "etcdctl", "--endpoints="+p.Environment.ControlPlane.Etcd.URL.String(), "snapshot", "save", file)

	return func(t *testing.T) {
		t.Helper()
		if err := os.RemoveAll(p.data()); err != nil {
			t.Fatal(err)
		}
		etcdTool(t, "etcdutl", "snapshot", "restore", file,
			"--data-dir="+p.data(), "--bump-revision=1000000000", "--mark-compacted")
	}
}

// etcdTool runs a tool of the etcd that is tested with; the first time it is built.
func etcdTool(t *testing.T, name string, arguments ...string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go",
		append([]string{"-C", "../controlplane/etcd", "tool", "go.etcd.io/etcd/" + name + "/v3"}, arguments...)...)
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
}

func newRestored(t *testing.T, save backUp) *restored {
	t.Helper()
	s := own(t, layout{managers: 2, shims: 2, mediaServers: 1})
	m := s.newMeeting(t, channelOf(t))
	r := &restored{system: s, meeting: m}
	r.kept, r.keptEdge = m.enforced(t, m.channel+"-kept", m.paused())
	r.back, r.backEdge = m.enforced(t, m.channel+"-back", edge{m.carol, m.bob})
	r.edited, r.editedEdge = m.enforced(t, m.channel+"-edited", edge{m.carol, m.alice})

	r.putBack = save(t, s.plane)
	s.deletePause(t, r.back)
	r.backEdge.flowsAfter(t, time.Now())
	r.edited = s.edit(t, r.edited, func(spec *v1alpha1.RtpStreamPauseSpec) { spec.Receivers = clients("nobody") })
	r.editedEdge.flowsAfter(t, time.Now())
	r.gone, r.goneEdge = m.enforced(t, m.channel+"-gone", edge{m.bob, m.alice})
	s.awaitReady(t, r.edited, v1alpha1.ReasonArmed)
	// The versions have moved on a good deal since.
	s.spend(t, m.channel, 50)
	r.version = s.versionNow(t)

	return r
}

// restore ends API server and etcd and puts the copy in the place of the data.
// Etcd runs afterwards.
func (r *restored) restore(t *testing.T) {
	t.Helper()
	r.system.plane.killAPIServer(t)
	r.system.plane.killEtcd(t)
	for _, m := range r.system.managers {
		if m.api.held() {
			continue // It does not know yet.
		}
		m.awaitUnready(t, "API server")
	}
	r.putBack(t)
	r.system.plane.startEtcd(t)
}

// pass makes versions until the old ones are behind.
func (r *restored) pass(t *testing.T) {
	t.Helper()
	for r.system.versionNow(t) <= r.version {
		r.system.spend(t, r.meeting.channel+"-pass", 20)
	}
}

// prove proves what is so in the end. since is when the managers could hear of it.
func (r *restored) prove(t *testing.T, since time.Time) {
	t.Helper()
	s, m := r.system, r.meeting
	t.Logf("what was paused by a pause that is gone flowed after %s", r.goneEdge.flowsAfter(t, since))
	for what, w := range map[string]*observation{"deleted": r.backEdge, "edited": r.editedEdge} {
		took := await(t, "a pause that is back to act", func() (time.Duration, bool) {
			all := w.edge.arrivals(bot.Video)
			last := all[len(all)-1].at

			return last.Sub(since), time.Since(last) > time.Second
		})
		t.Logf("a pause that was %s acted again after %s", what, took)
		w.findCut(t)
	}
	for _, manager := range s.managers {
		manager.awaitReady(t)
		if held := manager.metric(t, "nagi_objects_held"); held != 3 {
			t.Errorf("%s holds %v pauses, etcd 3", manager.name, held)
		}
	}
	for _, pause := range []*v1alpha1.RtpStreamPause{r.kept, r.back, r.edited} {
		s.awaitReady(t, pause, v1alpha1.ReasonEnforced)
	}
	for _, shim := range s.shims {
		shim.expectList(t, m.channel, r.keptEdge.edge, r.backEdge.edge, r.editedEdge.edge)
	}

	// What comes now acts too.
	w := m.watchEdge(t, edge{m.alice, m.carol}, r.goneEdge.edge, bot.Video)
	fresh, took := w.pausedNow(t, m.channel+"-fresh")
	t.Logf("a new pause acted after %s", took)
	s.awaitReady(t, fresh, v1alpha1.ReasonEnforced)
	s.deletePause(t, fresh)
	w.proveResumed(t)
	for _, w := range []*observation{r.keptEdge, r.backEdge, r.editedEdge} {
		w.proveSilence(t)
	}
	s.deletePause(t, r.back)
	r.backEdge.flowsAfter(t, time.Now())
}

// spend makes that many versions.
func (s *system) spend(t *testing.T, name string, versions int) {
	t.Helper()
	object := &unstructured.Unstructured{}
	object.SetAPIVersion("v1")
	object.SetKind("ConfigMap")
	object.SetNamespace(namespace)
	object.SetName(name)
	if err := client.IgnoreAlreadyExists(s.api.Create(t.Context(), object.DeepCopy())); err != nil {
		t.Fatal(err)
	}
	for i := range versions {
		patch := fmt.Appendf(nil, `{"data":{"count":"%d-%d"}}`, time.Now().UnixNano(), i)
		if err := s.api.Patch(t.Context(), object.DeepCopy(),
			client.RawPatch("application/merge-patch+json", patch)); err != nil {
			t.Fatal(err)
		}
	}
}

// versionNow is the resource version that the API server is at.
func (s *system) versionNow(t *testing.T) uint64 {
	t.Helper()
	list := &v1alpha1.RtpStreamPauseList{}
	if err := s.api.List(t.Context(), list, client.InNamespace(namespace), client.Limit(1)); err != nil {
		t.Fatal(err)
	}
	version, err := strconv.ParseUint(list.ResourceVersion, 10, 64)
	if err != nil {
		t.Fatal(err)
	}

	return version
}

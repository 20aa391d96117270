package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
)

// track is one kind of media on an edge.
type track struct {
	edge
	kind bot.Kind
}

func (tr track) String() string {
	return fmt.Sprintf("%s from %s to %s", tr.kind, tr.sender.ClientID(), tr.receiver.ClientID())
}

// editor edits one pause again and again under media, and knows for each track
// what has come over it.
type editor struct {
	meeting *meeting
	random  *rand.Rand
	pause   *v1alpha1.RtpStreamPause
	// cuts are the tracks that are paused, with the number of packets that had come
	// over each when it was.
	cuts map[track]int
}

// TestEdits edits a pause at random, by all the ways that there are, and proves of
// each edit that it is one step: a track that the pause matches before and after
// carries no packet in between, one that it matches no more goes on.
func TestEdits(t *testing.T) {
	m := newMeeting(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("the seed is %d", seed)
	e := &editor{meeting: m, random: rand.New(rand.NewPCG(seed, 0)), cuts: map[track]int{}}
	for _, tr := range e.tracks() {
		tr.awaitMore(t, tr.kind, 10)
	}
	e.pause = createPause(t, m.channel, e.randomSpec())
	e.settle(t)
	ways := []func(*testing.T){e.update, e.merge, e.update, e.apply, e.merge, e.replace, e.update, e.force}
	for i := range 8 * max(*rounds, 3) {
		e.pause.Spec = e.randomSpec()
		ways[i%len(ways)](t)
		e.settle(t)
		if t.Failed() {
			t.Fatalf("in edit %d", i)
		}
	}
}

func (e *editor) members() []*member {
	return []*member{e.meeting.alice, e.meeting.bob, e.meeting.carol}
}

func (e *editor) tracks() []track {
	var all []track
	for _, receiver := range e.members() {
		for _, sender := range e.members() {
			if receiver != sender {
				all = append(all, track{edge{receiver, sender}, bot.Video}, track{edge{receiver, sender}, bot.Audio})
			}
		}
	}

	return all
}

func (e *editor) randomSpec() v1alpha1.RtpStreamPauseSpec {
	spec := v1alpha1.RtpStreamPauseSpec{ChannelID: e.meeting.channel, Receivers: e.randomSide(), Senders: e.randomSide()}
	for len(spec.Receivers.ConnectionIDs) == 1 && slices.Equal(spec.Receivers.ConnectionIDs, spec.Senders.ConnectionIDs) {
		spec.Senders = e.randomSide() // Nobody receives their own stream, and that is refused.
	}
	switch e.random.IntN(4) {
	case 0:
		spec.Kinds = []v1alpha1.Kind{v1alpha1.KindAudio}
	case 1:
		spec.Kinds = []v1alpha1.Kind{v1alpha1.KindAudio, v1alpha1.KindVideo}
	case 2:
		spec.Kinds = []v1alpha1.Kind{v1alpha1.KindVideo}
	}
	if e.random.IntN(2) == 0 {
		spec.Reason = fmt.Sprintf("reason %d", e.random.Uint64())
	}

	return spec
}

func (e *editor) randomSide() v1alpha1.Side {
	var ids, clientIDs []string
	for _, m := range e.members() {
		switch e.random.IntN(3) {
		case 0:
			ids = append(ids, m.ConnectionID())
		case 1:
			clientIDs = append(clientIDs, m.ClientID())
		}
	}
	switch form := e.random.IntN(4); {
	case form == 0 && len(ids) > 0:
		return v1alpha1.Side{ConnectionIDs: ids}
	case form == 1 && len(clientIDs) > 0:
		return v1alpha1.Side{ClientIDs: clientIDs}
	case form == 2 && len(ids)+len(clientIDs) > 0:
		return v1alpha1.Side{EveryoneExcept: &v1alpha1.EveryoneExcept{ConnectionIDs: ids, ClientIDs: clientIDs}}
	}

	return everyone()
}

// names tells whether a side names somebody, as the documentation has it.
func names(side v1alpha1.Side, m *member) bool {
	switch {
	case side.Everyone != nil:
		return true
	case side.EveryoneExcept != nil:
		return !slices.Contains(side.EveryoneExcept.ConnectionIDs, m.ConnectionID()) &&
			!slices.Contains(side.EveryoneExcept.ClientIDs, m.ClientID())
	}

	return slices.Contains(side.ConnectionIDs, m.ConnectionID()) || slices.Contains(side.ClientIDs, m.ClientID())
}

func pauses(spec v1alpha1.RtpStreamPauseSpec, tr track) bool {
	kind := v1alpha1.KindVideo
	if tr.kind == bot.Audio {
		kind = v1alpha1.KindAudio
	}
	named := slices.Contains(spec.Kinds, kind) || len(spec.Kinds) == 0 && kind == v1alpha1.KindVideo

	return named && names(spec.Receivers, tr.receiver) && names(spec.Senders, tr.sender)
}

// settle waits until what the pause says now is enforced, and proves what became
// of each track.
func (e *editor) settle(t *testing.T) {
	t.Helper()
	running.waitGeneration(t, e.pause)
	for _, tr := range e.tracks() {
		cut, wasPaused := e.cuts[tr]
		switch isPaused := pauses(e.pause.Spec, tr); {
		case wasPaused && isPaused:
			if leaked := len(tr.arrivals(tr.kind)) - cut; leaked != 0 {
				t.Errorf("%s: %d packets leaked at an edit to %s", tr, leaked, asJSON(e.pause.Spec))
			}
		case wasPaused:
			delete(e.cuts, tr)
			tr.awaitTotal(t, tr.kind, cut+1)
			if first := tr.arrivals(tr.kind)[cut]; tr.kind == bot.Video && !first.keyframeStart {
				t.Errorf("%s: the first packet after an edit begins no keyframe", tr)
			}
		case isPaused:
			e.cuts[tr] = e.cutOf(t, tr)
		}
	}
}

// cutOf waits until all that left over the track is there, and counts it.
func (e *editor) cutOf(t *testing.T, tr track) int {
	t.Helper()
	last := withheldStream(t, running.explain(t, e.meeting.channel, tr.edge), tr.kind)
	await(t, tr.String()+": the last packet that left", func() (uint16, bool) {
		highest := highest(tr.arrivals(tr.kind))

		return highest, highest == uint16(last.GetLastSequenceNumber())
	})

	return len(tr.arrivals(tr.kind))
}

// written is the pause as somebody writes it into a file.
func (e *editor) written(t *testing.T) (path string) {
	t.Helper()
	text := asJSON(map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": "RtpStreamPause",
		"metadata": map[string]string{"name": e.pause.Name, "namespace": namespace}, "spec": e.pause.Spec,
	})
	path = filepath.Join(t.TempDir(), "pause.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}

	return path
}

func asJSON(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}

	return string(text)
}

// take reads what an edit has made.
func (e *editor) take(t *testing.T) {
	t.Helper()
	wanted := e.pause.Spec
	e.pause = running.get(t, e.pause)
	if got := asJSON(e.pause.Spec); got != asJSON(wanted) {
		t.Fatalf("after the edit the spec is %s, want %s", got, asJSON(wanted))
	}
}

// update replaces the object over the API.
func (e *editor) update(t *testing.T) {
	t.Helper()
	spec := e.pause.Spec
	await(t, "an update without a conflict", func() (string, bool) {
		e.pause = running.get(t, e.pause)
		e.pause.Spec = spec
		err := running.api.Update(t.Context(), e.pause)
		if err != nil && !apierrors.IsConflict(err) { // Its status was written meanwhile.
			t.Fatal(err)
		}

		return fmt.Sprint(err), err == nil
	})
}

// merge sends the difference alone.
func (e *editor) merge(t *testing.T) {
	t.Helper()
	wanted := e.pause.Spec
	e.pause = running.edit(t, e.pause, func(spec *v1alpha1.RtpStreamPauseSpec) { *spec = wanted })
}

func (e *editor) replace(t *testing.T) {
	t.Helper()
	mustKubectl(t, "replace", "-f", e.written(t))
	e.take(t)
}

// apply applies on the server's side and takes over what others wrote.
func (e *editor) apply(t *testing.T) {
	t.Helper()
	mustKubectl(t, "apply", "--server-side", "--force-conflicts", "--field-manager=gitops", "-f", e.written(t))
	// Fields that others own and this one does not name stay: kinds and reason are
	// such, so that what is there now is what counts.
	e.pause = running.get(t, e.pause)
}

// force applies over the API, as a controller does.
func (e *editor) force(t *testing.T) {
	t.Helper()
	patch := asJSON(map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": "RtpStreamPause", "spec": e.pause.Spec,
	})
	err := running.api.Patch(t.Context(), e.pause, client.RawPatch("application/apply-patch+yaml", []byte(patch)),
		client.ForceOwnership, client.FieldOwner("controller"))
	if err != nil {
		t.Fatal(err)
	}
}

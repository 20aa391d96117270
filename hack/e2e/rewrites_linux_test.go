package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/config/crd"
)

// rewrites change what is stored behind the back of who asked for it: the CRD is
// deleted with all objects and made again, and etcd is put back to what it was.
func rewrites(rounds int) []ordeal {
	var copied string

	return []ordeal{
		{
			name: "CRD deleted and made again", rounds: rounds, length: time.Second, rewrites: true,
			strike: func(t *testing.T, l *load, _ int) {
				t.Helper()
				l.behindTheBack(t, l.lanes, func() { l.deleteCRD(t) })
			},
			heal: func(t *testing.T, l *load, _ int) {
				t.Helper()
				l.makeCRD(t)
				for _, kept := range l.kept {
					kept.ask(t.Context(), kept.create)
				}
			},
		},
		{
			name: "etcd restored to older data", rounds: rounds, length: time.Second, rewrites: true,
			strike: func(t *testing.T, l *load, _ int) {
				t.Helper()
				copied = l.system.plane.saveData(t)
			},
			heal: func(t *testing.T, l *load, _ int) {
				t.Helper()
				p := l.system.plane
				l.behindTheBack(t, l.passing(), func() {
					p.killAPIServer(t)
					p.killEtcd(t)
					p.restoreData(t, copied)
					p.startEtcd(t)
					p.startAPIServer(t)
					l.adopt(t)
				})
			},
		},
	}
}

// behindTheBack changes what is asked for of those lanes while nothing is asked for.
func (l *load) behindTheBack(t *testing.T, lanes []*lane, change func()) {
	t.Helper()
	l.shut(t)
	defer l.gate.Unlock()
	for _, lane := range lanes {
		lane.finish()
		lane.mu.Lock()
		lane.flowing = time.Time{}
		lane.mu.Unlock()
	}
	change()
}

// adopt takes what there is for what was asked for last, since something else than
// the load has changed it. Nothing is being asked for meanwhile. What is adopted
// counts once settle is called.
func (l *load) adopt(t *testing.T) {
	t.Helper()
	pauses := &v1alpha1.RtpStreamPauseList{}
	if err := l.system.api.List(t.Context(), pauses, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	for _, lane := range l.passing() {
		lane.finish()
		lane.mu.Lock()
		lane.turn++
		lane.wanted, lane.flowing = nil, time.Time{}
		lane.mu.Unlock()
		for i := range pauses.Items {
			pause := &pauses.Items[i]
			switch {
			case !lane.owns(pause):
			case lane.object() == nil:
				lane.has(pause, time.Now())
			default:
				if err := l.system.api.Delete(t.Context(), pause); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// settle has what was adopted count from now on. Until now a status that came from
// elsewhere, such as a backup, said what no manager had found out.
func (l *load) settle() {
	for _, lane := range l.passing() {
		if wanted := lane.object(); wanted != nil && lane.matches(wanted.Spec) {
			lane.has(wanted, lane.begin())
		}
	}
}

// passing are the lanes that do not stay paused.
func (l *load) passing() []*lane {
	return slices.DeleteFunc(slices.Clone(l.lanes), func(lane *lane) bool { return slices.Contains(l.kept, lane) })
}

func crdObject(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(crd.RtpStreamPauses, &object.Object); err != nil {
		t.Fatal(err)
	}

	return object
}

// deleteCRD returns once the CRD is gone, and so all objects.
func (l *load) deleteCRD(t *testing.T) {
	t.Helper()
	object := crdObject(t)
	if err := l.system.api.Delete(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	await(t, "the end of the CRD", func() (string, bool) {
		err := l.system.api.Get(t.Context(), client.ObjectKeyFromObject(object), object.DeepCopy())

		return fmt.Sprint(err), apierrors.IsNotFound(err)
	})
}

// makeCRD returns once the API server serves the type.
func (l *load) makeCRD(t *testing.T) {
	t.Helper()
	if err := l.system.api.Create(t.Context(), crdObject(t)); err != nil {
		t.Fatal(err)
	}
	await(t, "the type to be served", func() (string, bool) {
		err := l.system.api.List(t.Context(), &v1alpha1.RtpStreamPauseList{}, client.InNamespace(namespace), client.Limit(1))

		return fmt.Sprint(err), err == nil
	})
}

// skews step the clock of one kind of program after another, ahead and back, by less
// and by more than leases and by more than tokens are good for.
func skews(rounds int) []ordeal {
	steps := []time.Duration{
		8 * time.Second, -8 * time.Second, 40 * time.Second, -40 * time.Second, 5 * time.Minute, -5 * time.Minute,
	}
	var all []ordeal
	for _, v := range victims() {
		all = append(all, ordeal{
			name: "clock of a " + v.name + " skewed", rounds: rounds, length: time.Second,
			strike: func(t *testing.T, l *load, round int) {
				t.Helper()
				v.of(l.system, round).stepClock(t, steps[round%len(steps)])
			},
			heal: func(t *testing.T, l *load, round int) {
				t.Helper()
				v.of(l.system, round).stepClock(t, 0)
			},
		})
	}

	return all
}

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
)

// kubectl runs the kubectl of the control plane and returns its output and exit
// code.
func kubectl(t *testing.T, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, running.plane.Kubectl,
		append([]string{"--kubeconfig", running.plane.Kubeconfig}, args...)...)
	// Its discovery cache goes into the home directory.
	command.Env = append(os.Environ(), "HOME="+t.TempDir())
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	err := command.Run()
	var exited *exec.ExitError
	if err != nil && !errors.As(err, &exited) {
		t.Fatalf("kubectl %v: %v\n%s", args, err, &output)
	}

	return output.String(), command.ProcessState.ExitCode()
}

func mustKubectl(t *testing.T, args ...string) {
	t.Helper()
	if output, code := kubectl(t, args...); code != 0 {
		t.Fatalf("kubectl %v: exit code %d\n%s", args, code, output)
	}
}

// manifest writes an object as somebody keeps it in Git, and returns the file.
func manifest(t *testing.T, dir, name, channel, receiver, sender string) string {
	t.Helper()
	text := fmt.Sprintf(`apiVersion: rtp.nagi.dev/v1alpha1
kind: RtpStreamPause
metadata:
  name: %s
  namespace: %s
  labels:
    app.kubernetes.io/part-of: %s
spec:
  channelID: %s
  receivers: {clientIDs: [%s]}
  senders: {clientIDs: [%s]}
`, name, namespace, channel, channel, receiver, sender)
	path := filepath.Join(dir, name+".yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}

	return path
}

// TestGitOps applies, re-applies, compares and prunes as GitOps tools do, with
// live media behind the objects.
func TestGitOps(t *testing.T) {
	for name, apply := range map[string][]string{
		"client-side apply": {"apply"},
		"server-side apply": {"apply", "--server-side", "--field-manager=gitops"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMeeting(t)
			w := m.watchEdge(t, m.paused(), edge{m.carol, m.bob}, bot.Video)
			dir := t.TempDir()
			keep := manifest(t, dir, m.channel+"-keep", m.channel, "alice", "bob")
			mustKubectl(t, append(apply, "-f", dir)...)
			pause := awaitReady(t, newPause(m.channel+"-keep", v1alpha1.RtpStreamPauseSpec{}), v1alpha1.ReasonEnforced)
			t.Cleanup(func() { _ = running.api.Delete(context.WithoutCancel(t.Context()), pause) })
			waitEnforced(t, pause.UID)
			w.provePaused(t)

			proveNoDiff(t, apply, keep, pause)
			provePrune(t, m, apply, dir)

			mustKubectl(t, "delete", "rtpstreampause", "-n", namespace, "-l", "app.kubernetes.io/part-of="+m.channel)
			w.proveResumed(t)
		})
	}
}

// proveNoDiff proves that applying the same again writes nothing, although the
// controllers have written the status, and that a second field manager may apply
// the same too.
func proveNoDiff(t *testing.T, apply []string, path string, pause *v1alpha1.RtpStreamPause) {
	t.Helper()
	diff := []string{"diff", "-f", path}
	if len(apply) > 1 {
		diff = append(diff, apply[1:]...)
	}
	if output, code := kubectl(t, diff...); code != 0 {
		t.Errorf("kubectl %v: exit code %d, want 0\n%s", diff, code, output)
	}
	mustKubectl(t, append(apply, "-f", path)...)
	if now := resourceVersion(t, pause); now != pause.ResourceVersion {
		t.Errorf("applying the same again went from resource version %s to %s", pause.ResourceVersion, now)
	}

	if len(apply) == 1 {
		// kubectl's two ways to apply do not mix on one object.
		return
	}
	// A second manager becomes a co-owner: that is written once, and then never again.
	second := []string{"apply", "--server-side", "--field-manager=second", "-f", path}
	mustKubectl(t, second...)
	shared := resourceVersion(t, pause)
	mustKubectl(t, second...)
	mustKubectl(t, append(apply, "-f", path)...)
	if now := resourceVersion(t, pause); now != shared {
		t.Errorf("with two field managers, applying the same again went from resource version %s to %s", shared, now)
	}
	awaitReady(t, pause, v1alpha1.ReasonEnforced)
}

func resourceVersion(t *testing.T, pause *v1alpha1.RtpStreamPause) string {
	t.Helper()

	return running.get(t, pause).ResourceVersion
}

// provePrune proves that an object whose file is gone goes at the next apply, and
// that the stream that it paused goes on, while the other stays.
func provePrune(t *testing.T, m *meeting, apply []string, dir string) {
	t.Helper()
	pruned := edge{m.carol, m.alice}
	w := m.watchEdge(t, pruned, edge{m.carol, m.bob}, bot.Video)
	drop := manifest(t, dir, m.channel+"-drop", m.channel, "carol", "alice")
	prune := append(append([]string{}, apply...), "--prune", "-n", namespace,
		"--prune-allowlist=rtp.nagi.dev/v1alpha1/RtpStreamPause", "-l", "app.kubernetes.io/part-of="+m.channel, "-f", dir)
	if len(apply) > 1 {
		// kubectl prunes what client-side apply made; GitOps tools delete by label.
		prune = append(append([]string{}, apply...), "-f", dir)
	}
	mustKubectl(t, prune...)
	pause := awaitReady(t, newPause(m.channel+"-drop", v1alpha1.RtpStreamPauseSpec{}), v1alpha1.ReasonEnforced)
	waitEnforced(t, pause.UID)
	w.provePaused(t)

	if err := os.Remove(drop); err != nil {
		t.Fatal(err)
	}
	mustKubectl(t, prune...)
	if len(apply) > 1 {
		mustKubectl(t, "delete", "rtpstreampause", "-n", namespace, pause.Name)
	}
	awaitGone(t, pause)
	w.proveResumed(t)
	if left := pausesOf(t, m.channel); len(left) != 1 {
		t.Errorf("%d objects are left after pruning, want 1", len(left))
	}
}

// TestKstatus proves that no state that a watcher can see counts as Current to
// GitOps tools before the object is Ready, from its creation and through an edit,
// and that an armed and an enforced one become Current.
func TestKstatus(t *testing.T) {
	t.Run("armed", func(t *testing.T) {
		channel := channelOf(t)
		followStatus(t, channel, clientSpec(channel, "nobody", "nobody"), v1alpha1.ReasonArmed)
	})
	t.Run("enforced", func(t *testing.T) {
		m := newMeeting(t)
		m.paused().awaitFlow(t)
		followStatus(t, m.channel, byClientID(m), v1alpha1.ReasonEnforced)
	})
}

func followStatus(t *testing.T, name string, spec v1alpha1.RtpStreamPauseSpec, reason string) {
	t.Helper()
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("RtpStreamPauseList"))
	watcher, err := running.api.Watch(t.Context(), list, &client.ListOptions{
		Namespace: namespace, FieldSelector: fields.OneTermEqualSelector("metadata.name", name),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer watcher.Stop()

	pause := createPause(t, name, spec)
	awaitCurrent(t, watcher, pause.Generation, reason)

	pause = running.edit(t, pause, func(spec *v1alpha1.RtpStreamPauseSpec) {
		spec.ExpiresAt = new(metav1.NewTime(time.Now().Add(time.Hour)))
	})
	if pause.Generation != 2 {
		t.Fatalf("an edit made generation %d, want 2", pause.Generation)
	}
	awaitCurrent(t, watcher, pause.Generation, reason)
}

// awaitCurrent reads events until kstatus calls the object of that generation
// Current.
func awaitCurrent(t *testing.T, watcher watch.Interface, generation int64, reason string) {
	t.Helper()
	deadline := time.After(patience)
	for seen := 0; ; seen++ {
		var event watch.Event
		select {
		case event = <-watcher.ResultChan():
		case <-deadline:
			t.Fatalf("kstatus did not say Current for generation %d in %d events", generation, seen)
		}
		object, ok := event.Object.(*unstructured.Unstructured)
		if !ok {
			t.Fatalf("the watch brought %+v", event)
		}
		result, err := status.Compute(object)
		if err != nil {
			t.Fatal(err)
		}
		pause := &v1alpha1.RtpStreamPause{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, pause); err != nil {
			t.Fatal(err)
		}
		ready := meta.FindStatusCondition(pause.Status.Conditions, v1alpha1.ConditionReady)
		isReady := ready != nil && ready.Status == metav1.ConditionTrue &&
			ready.ObservedGeneration == pause.Generation && pause.Status.ObservedGeneration == pause.Generation
		switch result.Status {
		case status.CurrentStatus:
			if !isReady {
				t.Fatalf("kstatus says Current (%s) of an object that is not Ready: generation %d, status %+v", result.Message,
					pause.Generation, pause.Status)
			}
			if pause.Generation == generation {
				if ready.Reason != reason {
					t.Errorf("the reason is %s, want %s", ready.Reason, reason)
				}

				return
			}
		case status.FailedStatus, status.TerminatingStatus, status.NotFoundStatus, status.UnknownStatus:
			t.Fatalf("kstatus says %s: %s", result.Status, result.Message)
		case status.InProgressStatus:
		}
	}
}

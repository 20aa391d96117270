package v1alpha1_test

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// kubectl runs the real one against the package's API server.
func kubectl(t *testing.T, arguments ...string) string {
	t.Helper()
	arguments = append([]string{"--kubeconfig", plane.Kubeconfig, "--namespace", namespace}, arguments...)
	out, err := exec.CommandContext(t.Context(), plane.Kubectl, arguments...).CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(arguments, " "), err, out)
	}

	return string(out)
}

func TestKubectlAppliesTheSamples(t *testing.T) {
	samples := filepath.Join("..", "..", "config", "samples")
	out := kubectl(t, "apply", "-k", samples)
	files, err := filepath.Glob(filepath.Join(samples, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if created := strings.Count(out, " created"); created != len(files)-1 {
		t.Errorf("%d samples created of %d files beside the kustomization:\n%s", created, len(files)-1, out)
	}
	if out := kubectl(t, "diff", "-k", samples); out != "" {
		t.Errorf("applied, but not what the API server holds:\n%s", out)
	}
	kubectl(t, "delete", "-k", samples)
}

func TestKubectlAppliesTheDefault(t *testing.T) {
	out := kubectl(t, "apply", "--server-side", "--force-conflicts", "--dry-run=server", "-k", filepath.Join("..", "..", "config", "default"))
	for _, want := range []string{"rtpstreampauses.rtp.nagi.dev", "nagi-manager", "nagi-shim"} {
		if !strings.Contains(out, want) {
			t.Errorf("%s is not among what is applied:\n%s", want, out)
		}
	}
}

func TestKubectlPrintsColumns(t *testing.T) {
	for name, test := range map[string]struct {
		spec string
		want [3]string
	}{
		"connections":   {`{channelID: sora, recvConnectionID: A, sendConnectionID: B}`, [3]string{"sora", "A", "B"}},
		"clients":       {`{channelID: sora, recvClientID: alice, sendClientID: bob}`, [3]string{"sora", "alice", "bob"}},
		"mixed":         {`{channelID: sora, recvClientID: alice, sendConnectionID: B}`, [3]string{"sora", "alice", "B"}},
		"open-receiver": {`{channelID: sora, sendClientID: bob}`, [3]string{"sora", "", "bob"}},
		"open-sender":   {`{channelID: sora, recvConnectionID: A}`, [3]string{"sora", "A", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			object := pause(t, name, test.spec)
			if err := api.Create(t.Context(), object); err != nil {
				t.Fatal(err)
			}
			status := `{"status":{"conditions":[{"type":"Ready","status":"False","reason":"NotAcknowledged","message":"","lastTransitionTime":"2026-12-01T09:00:00Z"}]}}`
			if err := api.Status().Patch(t.Context(), object, client.RawPatch(types.MergePatchType, []byte(status))); err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(kubectl(t, "get", "rsp", name), "\n")
			if got, want := strings.Fields(lines[0]), "NAME CHANNEL RECEIVER SENDER READY REASON AGE"; strings.Join(got, " ") != want {
				t.Errorf("header %v, want %s", got, want)
			}
			for i, column := range []string{"CHANNEL", "RECEIVER", "SENDER"} {
				if got := cell(lines, column); got != test.want[i] {
					t.Errorf("%s shows %q, want %q:\n%s", column, got, test.want[i], strings.Join(lines, "\n"))
				}
			}
			if ready, reason := cell(lines, "READY"), cell(lines, "REASON"); ready != "False" || reason != "NotAcknowledged" {
				t.Errorf("READY shows %q and REASON %q:\n%s", ready, reason, strings.Join(lines, "\n"))
			}
		})
	}
	if out := kubectl(t, "get", "nagi"); !strings.Contains(out, "open-sender") {
		t.Errorf("kubectl get nagi lists no pauses:\n%s", out)
	}
}

// cell cuts one column out of kubectl's table: from where its header begins to
// where the next one does.
func cell(lines []string, column string) string {
	from := strings.Index(lines[0], column)
	to := from + len(column)
	for to < len(lines[0]) && lines[0][to] == ' ' {
		to++
	}

	return strings.TrimSpace(lines[1][from:min(to, len(lines[1]))])
}

func TestKubectlSelectsByField(t *testing.T) {
	for name, spec := range map[string]string{
		"selected-connections": `{channelID: fields, recvConnectionID: RC, sendConnectionID: SC}`,
		"selected-clients":     `{channelID: fields, recvClientID: rc, sendClientID: sc}`,
	} {
		if err := api.Create(t.Context(), pause(t, name, spec)); err != nil {
			t.Fatal(err)
		}
	}
	for selector, want := range map[string]string{
		"spec.channelID=fields":    "rtpstreampause.rtp.nagi.dev/selected-clients rtpstreampause.rtp.nagi.dev/selected-connections",
		"spec.recvConnectionID=RC": "rtpstreampause.rtp.nagi.dev/selected-connections",
		"spec.sendConnectionID=SC": "rtpstreampause.rtp.nagi.dev/selected-connections",
		"spec.recvClientID=rc":     "rtpstreampause.rtp.nagi.dev/selected-clients",
		"spec.sendClientID=sc":     "rtpstreampause.rtp.nagi.dev/selected-clients",
	} {
		got := strings.Join(strings.Fields(kubectl(t, "get", "rsp", "-o", "name", "--field-selector", selector)), " ")
		if got != want {
			t.Errorf("%s selects %q, want %q", selector, got, want)
		}
	}
}

// Every field of the spec has a text of its own.
func TestKubectlExplains(t *testing.T) {
	out := kubectl(t, "explain", "rtpstreampause.spec")
	for _, field := range []string{"channelID", "recvConnectionID", "recvClientID", "sendConnectionID", "sendClientID", "kinds", "expiresAt", "deleteAfterDisconnect"} {
		_, after, found := strings.Cut(out, "  "+field+"\t<")
		if !found || !strings.Contains(after, "    "+field+" ") {
			t.Errorf("kubectl explain says nothing of %s:\n%s", field, out)
		}
	}
}

// kstatus takes an object without status for finished; -1 equals no generation.
func TestUntouchedObjectIsUnobserved(t *testing.T) {
	for name, status := range map[string]any{
		"unobserved":       nil,
		"unobserved-empty": map[string]any{},
		"unobserved-forged": map[string]any{
			"observedGeneration": int64(1), "role": "recvonly",
		},
	} {
		t.Run(name, func(t *testing.T) {
			object := pause(t, name, `{channelID: sora, recvConnectionID: A}`)
			if status != nil {
				object.Object["status"] = status
			}
			if err := api.Create(t.Context(), object); err != nil {
				t.Fatal(err)
			}
			// Neither what create answers nor what is read later has another status.
			stored := &unstructured.Unstructured{}
			if err := json.Unmarshal([]byte(kubectl(t, "get", "rsp", name, "-o", "json")), stored); err != nil {
				t.Fatal(err)
			}
			for where, got := range map[string]any{"answered": object.Object["status"], "stored": stored.Object["status"]} {
				if status, ok := got.(map[string]any); !ok || len(status) != 1 || status["observedGeneration"] != int64(-1) {
					t.Errorf("%s status %v, want observedGeneration -1 alone", where, got)
				}
			}
		})
	}
}

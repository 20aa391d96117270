package v1alpha1_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// kubectl runs the real one against the package's API server.
func kubectl(t *testing.T, arguments ...string) string {
	t.Helper()
	out, err := tryKubectl(t, "", arguments...)
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(arguments, " "), err, out)
	}

	return out
}

func tryKubectl(t *testing.T, input string, arguments ...string) (string, error) {
	t.Helper()
	arguments = append([]string{"--kubeconfig", plane.Kubeconfig}, arguments...)
	command := exec.Command(plane.Kubectl, arguments...) // Cleanups run it too, when the test's context has ended.
	command.Stdin = strings.NewReader(input)
	out, err := command.CombinedOutput()

	return string(out), err
}

func TestKubectlAppliesTheSamples(t *testing.T) {
	samples := filepath.Join("..", "..", "config", "samples")
	out := kubectl(t, "apply", "-k", samples)
	t.Cleanup(func() { kubectl(t, "delete", "--ignore-not-found", "-k", samples) })
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
	// There is one for every way to name a side.
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	for _, way := range []string{
		"receivers: {connectionIDs:", "senders: {connectionIDs:", "receivers: {clientIDs:", "senders: {clientIDs:",
		"receivers: {everyone:", "senders: {everyone:", "receivers: {everyoneExcept:", "senders: {everyoneExcept:",
		"kinds:", "reason:", "expiresAt:", "ttlSecondsAfterExpired:", "deleteAfterDisconnectSeconds:",
	} {
		if !strings.Contains(all.String(), way) {
			t.Errorf("no sample has %s", way)
		}
	}
}

func TestKubectlAppliesTheDefault(t *testing.T) {
	out := kubectl(t, "apply", "--server-side", "--force-conflicts", "-k", filepath.Join("..", "..", "config", "default"))
	for _, want := range []string{
		"customresourcedefinition.apiextensions.k8s.io/rtpstreampauses.rtp.nagi.dev",
		"clusterrole.rbac.authorization.k8s.io/nagi-viewer", "clusterrole.rbac.authorization.k8s.io/nagi-editor",
		"clusterrole.rbac.authorization.k8s.io/nagi-manager", "clusterrole.rbac.authorization.k8s.io/nagi-shim",
		"serviceaccount/nagi-manager", "serviceaccount/nagi-shim",
		"rolebinding.rbac.authorization.k8s.io/nagi-manager", "rolebinding.rbac.authorization.k8s.io/nagi-shim",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%s is not among what is applied:\n%s", want, out)
		}
	}
	for _, test := range []struct {
		account, verb, what, namespace string
		want                           bool
	}{
		{"nagi-manager", "watch", "rtpstreampauses.rtp.nagi.dev", "meetings", true},
		{"nagi-manager", "patch", "rtpstreampauses.rtp.nagi.dev/status", "meetings", true},
		{"nagi-manager", "create", "events.events.k8s.io", "meetings", true},
		{"nagi-manager", "update", "leases.coordination.k8s.io", "nagi-system", true},
		{"nagi-manager", "update", "leases.coordination.k8s.io", "default", false},
		{"nagi-manager", "watch", "rtpstreampauses.rtp.nagi.dev", "kube-system", false},
		{"nagi-manager", "update", "rtpstreampauses.rtp.nagi.dev", "meetings", false},
		{"nagi-shim", "update", "rtpstreampauses.rtp.nagi.dev", "meetings", true},
		{"nagi-shim", "patch", "rtpstreampauses.rtp.nagi.dev/status", "meetings", false},
		{"nagi-shim", "create", "rtpstreampauses.rtp.nagi.dev", "kube-system", false},
	} {
		resource, subresource, _ := strings.Cut(test.what, "/")
		out, err := tryKubectl(t, "", "auth", "can-i", test.verb, resource, "--subresource", subresource,
			"--namespace", test.namespace,
			"--as", "system:serviceaccount:nagi-system:"+test.account)
		if allowed := err == nil; allowed != test.want {
			t.Errorf("%s may %s %s in %s: %v, want %v: %s", test.account, test.verb, test.what, test.namespace, allowed,
				test.want, out)
		}
	}
	// kube-controller-manager puts together what the API server's own roles select.
	for role, want := range map[string][]string{"view": {"nagi-viewer"}, "edit": {"nagi-viewer", "nagi-editor"}} {
		label := kubectl(t, "get", "clusterrole", role, "--output",
			"go-template={{range .aggregationRule.clusterRoleSelectors}}"+
				"{{range $k, $v := .matchLabels}}{{$k}}={{$v}}{{end}}{{end}}")
		selected := strings.Fields(kubectl(t, "get", "clusterroles", "--selector", label, "--output", "name"))
		selected = slices.DeleteFunc(selected, func(name string) bool { return !strings.Contains(name, "nagi-") })
		for i := range want {
			want[i] = "clusterrole.rbac.authorization.k8s.io/" + want[i]
		}
		slices.Sort(want)
		if !slices.Equal(selected, want) {
			t.Errorf("the role %s selects %v by %s, want %v", role, selected, label, want)
		}
	}
}

func TestKubectlPrintsColumns(t *testing.T) {
	for name, test := range map[string]struct{ spec, want, wide string }{
		"connections": {
			`{channelID: sora, receivers: {connectionIDs: [A]}, senders: {connectionIDs: [B, C]}}`,
			`sora|{"connectionIDs":["A"]}|{"connectionIDs":["B","C"]}|False|NotAcknowledged`, `||Unknown|media-1`,
		},
		"clients": {
			`{channelID: lobby, receivers: {clientIDs: [alice]}, senders: {everyone: {}}, kinds: [Video, Audio]}`,
			`lobby|{"clientIDs":["alice"]}|{"everyone":{}}|False|NotAcknowledged`, `["Video","Audio"]||Unknown|media-1`,
		},
		"exceptions": {
			`{channelID: sora, receivers: {everyoneExcept: {clientIDs: [a], connectionIDs: [A]}}, senders: {everyone: {}}, ` +
				`expiresAt: "2099-12-01T09:00:00Z"}`,
			`sora|{"everyoneExcept":{"clientIDs":["a"],"connectionIDs":["A"]}}|{"everyone":{}}|False|NotAcknowledged`,
			`|2099-12-01T09:00:00Z|Unknown|media-1`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			object := stored(t, name, test.spec)
			status := `{"status":{"mediaServer":"media-1","conditions":[
				{"type":"Ready","status":"False","reason":"NotAcknowledged","message":"",
				 "lastTransitionTime":"2026-12-01T09:00:00Z"},
				{"type":"Enforced","status":"Unknown","reason":"Starting","message":"",
				 "lastTransitionTime":"2026-12-01T09:00:00Z"}]}}`
			if err := api.Status().Patch(t.Context(), object,
				client.RawPatch(types.MergePatchType, []byte(status))); err != nil {
				t.Fatal(err)
			}
			narrow, wide := kubectl(t, "get", "rsp", object.GetName()), kubectl(t, "get", "rsp", object.GetName(), "-o", "wide")
			const columns = "CHANNEL RECEIVERS SENDERS READY REASON"
			wantTable(t, narrow, "NAME "+columns+" AGE", columns, test.want)
			wantTable(t, wide, "NAME "+columns+" AGE KINDS EXPIRES ENFORCED MEDIASERVER", columns, test.want)
			wantTable(t, wide, "", "KINDS EXPIRES ENFORCED MEDIASERVER", test.wide)
		})
	}
	stored(t, "category", `{channelID: sora, `+all+`}`)
	if out := kubectl(t, "get", "nagi"); !strings.Contains(out, "category-") {
		t.Errorf("kubectl get nagi lists no pauses:\n%s", out)
	}
}

// wantTable compares kubectl's header, unless header is "", and the cells of some
// columns.
func wantTable(t *testing.T, table, header, columns, cells string) {
	t.Helper()
	lines := strings.Split(table, "\n")
	if got := strings.Join(strings.Fields(lines[0]), " "); header != "" && got != header {
		t.Errorf("header %s, want %s", got, header)
	}
	var got []string
	for _, column := range strings.Fields(columns) {
		got = append(got, cell(lines, column))
	}
	if got := strings.Join(got, "|"); got != cells {
		t.Errorf("%s show\n  %s\nwant\n  %s", columns, got, cells)
	}
}

// cell cuts one column out of kubectl's table: from where its header begins to
// where the next one does.
func cell(lines []string, column string) string {
	from := strings.Index(lines[0]+" ", column+" ")
	to := from + len(column)
	for to < len(lines[0]) && lines[0][to] == ' ' {
		to++
	}
	if to == len(lines[0]) {
		to = len(lines[1])
	}

	return strings.TrimSpace(lines[1][from:min(to, len(lines[1]))])
}

func TestKubectlSelectsByChannel(t *testing.T) {
	one := stored(t, "selected", `{channelID: fields, receivers: {clientIDs: [a]}, senders: {everyone: {}}}`)
	two := stored(t, "selected", `{channelID: fields, `+all+`}`)
	stored(t, "unselected", `{channelID: elsewhere, `+all+`}`)
	got := strings.Fields(kubectl(t, "get", "rsp", "-o", "name", "--field-selector", "spec.channelID=fields"))
	if len(got) != 2 || !strings.Contains(strings.Join(got, " "), one.GetName()) ||
		!strings.Contains(strings.Join(got, " "), two.GetName()) {
		t.Errorf("selected %q, want %s and %s", got, one.GetName(), two.GetName())
	}
	if out, err := tryKubectl(t, "", "get", "rsp", "--field-selector", "spec.reason=x"); err == nil ||
		!strings.Contains(out, "field label not supported") {
		t.Errorf("a field that selects nothing: %v\n%s", err, out)
	}
}

// Every field has a text of its own.
func TestKubectlExplains(t *testing.T) {
	for path, fields := range map[string]string{
		"spec": "channelID receivers senders kinds reason expiresAt ttlSecondsAfterExpired " +
			"deleteAfterDisconnectSeconds",
		"spec.receivers":              "connectionIDs clientIDs everyone everyoneExcept",
		"spec.senders.everyoneExcept": "connectionIDs clientIDs",
		"status":                      "observedGeneration mediaServer disconnectedAt conditions",
	} {
		out := kubectl(t, "explain", "rtpstreampause."+path)
		for _, field := range strings.Fields(fields) {
			_, after, found := strings.Cut(out, "  "+field+"\t<")
			if !found || !strings.Contains(after, "    "+field+" ") {
				t.Errorf("kubectl explain says nothing of %s.%s:\n%s", path, field, out)
			}
		}
	}
}

// What a person sees whose template left an id and a side empty.
func TestKubectlTellsTheMend(t *testing.T) {
	const object = `
apiVersion: rtp.nagi.dev/v1alpha1
kind: RtpStreamPause
metadata: {name: template}
spec:
  channelID: sora
  receivers:
    clientIDs: [""]
  senders:
`
	want := []string{
		`The RtpStreamPause "template" is invalid: `,
		"* spec.receivers.clientIDs[0]" + emptyID,
		"* " + noSenders,
	}
	out, err := tryKubectl(t, object, "create", "-f", "-")
	if err == nil {
		t.Fatal("created:", out)
	}
	got := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	slices.Sort(got[1:]) // In no order.
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("kubectl create says something else (-want +got):\n%s", diff)
	}
}

// kstatus takes an object without status for finished; -1 equals no generation.
func TestUntouchedObjectIsUnobserved(t *testing.T) {
	for name, status := range map[string]any{
		"unobserved":        nil,
		"unobserved-empty":  map[string]any{},
		"unobserved-forged": map[string]any{"observedGeneration": int64(1), "mediaServer": "media-1"},
	} {
		t.Run(name, func(t *testing.T) {
			object := pause(t, name, `{channelID: sora, `+all+`}`)
			if status != nil {
				object.Object["status"] = status
			}
			if err := api.Create(t.Context(), object); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { kubectl(t, "delete", "rsp", name) })
			// Neither what create answers nor what is read later has another status.
			kept := &unstructured.Unstructured{}
			if err := json.Unmarshal([]byte(kubectl(t, "get", "rsp", name, "-o", "json")), kept); err != nil {
				t.Fatal(err)
			}
			for where, got := range map[string]any{"answered": object.Object["status"], "stored": kept.Object["status"]} {
				if status, ok := got.(map[string]any); !ok || len(status) != 1 || status["observedGeneration"] != int64(-1) {
					t.Errorf("%s status %v, want observedGeneration -1 alone", where, got)
				}
			}
		})
	}
}
